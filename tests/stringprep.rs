//! JIDs and passwords are prepared as Prosody prepares them: whatever our preparation accepts, Prosody's own library,
//! asked through Lua, makes the same string of. Ours may refuse more, and may never make another JID or password.
//!
//! Needs the Prosodys that `make fetch-test` unpacks, and lua5.4.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod prosodys;

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use saslcertd::identity::{Jid, Secret};

/// Reads lines `part hex` and answers each with the hex of the strict and of the lenient result, or `-`.
const ASK: &str = r#"
package.cpath = arg[1] .. "/usr/lib/prosody/?.so;" .. package.cpath;
local prep = require "util.encodings".stringprep;
-- A password is always a query: there is no strict form of it in Prosody.
local by_part = { localpart = prep.nodeprep, host = prep.nameprep, resource = prep.resourceprep;
	password = function (text) return prep.saslprep(text); end };
local function hex(s) return s and (s:gsub(".", function (c) return ("%02x"):format(c:byte()); end)) or "-"; end
for line in io.lines() do
	local part, text = line:match("^(%l+) (%x*)$");
	text = text:gsub("%x%x", function (digits) return string.char(tonumber(digits, 16)); end);
	local prepare = by_part[part];
	print(hex(prepare(text, true)) .. " " .. hex(prepare(text)));
end
"#;

/// A part of a JID as it is put in, and as our preparation makes it.
struct Prepared {
    part: &'static str,
    input: String,
    output: String,
}

/// The prepared form of `text` in each part of a JID; nothing where it is refused.
fn prepared(text: &str) -> Vec<Prepared> {
    let as_localpart = Jid::parse(&format!("{text}@host")).ok();
    let as_host = Jid::parse(&format!("user@{text}")).ok();
    let as_resource = Jid::parse(&format!("user@host/{text}")).ok();
    let localpart = as_localpart.and_then(|jid| Some(jid.account()?.username().to_owned()));
    let host = as_host.map(|jid| jid.host().as_str().to_owned());
    let resource = as_resource.and_then(|jid| jid.resource().map(str::to_owned));
    let secret = Secret::prepare(text).ok();
    let password = secret.map(|secret| String::from_utf8(secret.as_bytes().to_vec()).unwrap());
    let parts = [
        ("localpart", localpart),
        ("host", host),
        ("resource", resource),
        ("password", password),
    ];
    let found = parts.into_iter().filter_map(|(part, output)| {
        Some(Prepared {
            part,
            input: text.to_owned(),
            output: output?,
        })
    });
    // Another split is another question: these three characters cut a JID into its parts.
    found
        .filter(|_| !text.contains(['@', '/']) && !text.ends_with('.'))
        .collect()
}

fn hex(text: &str) -> String {
    data_encoding::HEXLOWER.encode(text.as_bytes())
}

fn compare(cases: &[Prepared]) {
    for prosody in prosodys::unpacked() {
        let script = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(script.path(), ASK).unwrap();
        let mut questions = tempfile::tempfile().unwrap();
        for case in cases {
            writeln!(questions, "{} {}", case.part, hex(&case.input)).unwrap();
        }
        std::io::Seek::rewind(&mut questions).unwrap();
        let asked = Command::new("lua5.4")
            .arg(script.path())
            .arg(&prosody)
            .stdin(Stdio::from(questions))
            .output()
            .expect("lua5.4; get it with: make fetch-test");
        assert!(
            asked.status.success(),
            "{}",
            String::from_utf8_lossy(&asked.stderr)
        );
        let answers = String::from_utf8(asked.stdout).unwrap();
        assert_eq!(answers.lines().count(), cases.len());
        for (case, answer) in cases.iter().zip(answers.lines()) {
            let ours = hex(&case.output);
            assert_eq!(
                answer,
                format!("{ours} {ours}"),
                "{} {:?} in {}",
                case.part,
                case.input,
                prosody.display()
            );
        }
    }
}

#[test]
fn every_character_that_is_accepted_becomes_what_prosody_makes_of_it() {
    let mut cases = Vec::new();
    for c in '\u{1}'..=char::MAX {
        // Alone and behind a letter: some characters may not stand at the beginning.
        cases.extend(prepared(&c.to_string()));
        cases.extend(prepared(&format!("a{c}")));
    }
    assert!(cases.len() > 200_000, "{} cases", cases.len());
    compare(&cases);
}

#[test]
fn generated_strings_that_are_accepted_become_what_prosody_makes_of_them() {
    let mut runner = TestRunner::deterministic();
    let character = prop_oneof![
        4 => proptest::char::range('!', '~'),
        2 => proptest::char::range('\u{a0}', '\u{24f}'),
        2 => proptest::char::range('\u{300}', '\u{5ff}'),
        1 => proptest::char::range('\u{600}', '\u{6ff}'),
        1 => proptest::char::range('\u{1e00}', '\u{22ff}'),
        1 => proptest::char::range('\u{3000}', '\u{33ff}'),
        1 => proptest::char::range('\u{ac00}', '\u{d7a3}'),
        1 => proptest::char::range('\u{f900}', '\u{ffef}'),
        1 => proptest::char::any(),
    ];
    let text = proptest::collection::vec(character, 1..12);
    let mut cases = Vec::new();
    let mut seen = BTreeSet::new();
    for _ in 0..60_000 {
        let text: String = text
            .new_tree(&mut runner)
            .unwrap()
            .current()
            .iter()
            .collect();
        if seen.insert(text.clone()) {
            cases.extend(prepared(&text));
        }
    }
    assert!(cases.len() > 10_000, "{} cases", cases.len());
    compare(&cases);
}
