//! The verifiers are those that Prosody's own library makes of the same password, salt and count.
//!
//! Needs the Prosodys that `make fetch-test` unpacks, and lua5.4.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod prosodys;

use std::process::Command;

use saslcertd::identity::{ScramHash, ScramVerifier, Secret};

/// Prints the stored and the server key of `hash password salt count`, as hex.
const ASK: &str = r#"
local source = arg[1] .. "/usr/lib/prosody/";
package.path, package.cpath = source .. "?.lua;" .. package.path, source .. "?.so;" .. package.cpath;
-- Prosody 13 calls its modules so.
table.insert(package.searchers, 2, function (name)
	local short = name:match("^prosody%.(.+)$");
	return short and function () return require(short); end or nil;
end);
local function hex(s) return (s:gsub(".", function (c) return ("%02x"):format(c:byte()); end)); end
-- The hashers are there once the mechanisms are registered.
local scram = require "util.sasl.scram";
scram.init(function () end);
local ok, stored_key, server_key = scram.hashers[arg[2]](arg[3], arg[4], tonumber(arg[5]));
assert(ok, stored_key);
print(hex(stored_key) .. " " .. hex(server_key));
"#;

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"))
}

#[test]
fn stored_key_and_server_key_are_those_of_prosodys_own_library() {
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), ASK).unwrap();
    for prosody in prosodys::unpacked() {
        for hash in ScramHash::ALL {
            for (password, salt, iterations) in [
                ("pencil", "QSXCR+Q6sek8bf92", 4096),
                (
                    "et tu: Brute?",
                    "6f1d2c3a-0b1c-4d2e-8f3a-000102030405",
                    10_000,
                ),
                // SASLprep makes others of these.
                ("I\u{ad}X \u{2168} p\u{e4}ss Zoe\u{308}", "s", 4096),
                ("corre\u{1f40e}ct", "salt", 1),
            ] {
                let secret = Secret::prepare(password).unwrap();
                let ours = ScramVerifier::derive(hash, &secret, salt.as_bytes(), iterations);
                let asked = Command::new("lua5.4")
                    .arg(script.path())
                    .arg(&prosody)
                    .args([hash.name(), password, salt, &iterations.to_string()])
                    .output()
                    .expect("lua5.4; get it with: make fetch-test");
                assert!(asked.status.success(), "{asked:?}");
                assert_eq!(
                    String::from_utf8(asked.stdout).unwrap().trim(),
                    format!("{} {}", hex(ours.stored_key()), hex(ours.server_key())),
                    "{} of {password:?} in {}",
                    hash.name(),
                    prosody.display()
                );
            }
        }
    }
}
