//! Reads an account from the tables of Prosody's stores: its login and its certificates.
//!
//! Must not know: where the tables come from; whether anything is let in.

use std::fmt;

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};
use zeroize::Zeroizing;

use super::lua_table::{Key, Table, Value};
use crate::identity::password::{MAX_ITERATIONS, MAX_SALT_BYTES};
use crate::identity::{ScramHash, UnixSeconds};
use crate::protocol::{ImportLogin, ImportVerifier, Text};

/// How an account logs in.
#[derive(PartialEq, Eq)]
pub(super) struct StoredLogin {
    is_enabled: bool,
    created: Option<i64>,
    password_changed: Option<i64>,
    proof: Proof,
}

/// The means to check the password with.
#[derive(PartialEq, Eq)]
enum Proof {
    Password(Zeroizing<String>),
    Scram(ImportVerifier),
}

/// Why nobody can log in with what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoLogin {
    /// Prosody 13 creates accounts like this.
    NoPassword,
    /// The damage, in words.
    Damaged(&'static str),
}

/// A certificate as `mod_client_certs` stored it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct StoredCertificate {
    /// The user's name for it, as far as it is text.
    pub(super) name: String,
    pub(super) may_manage: bool,
    /// Base64 of its DER, or why there is none.
    pub(super) certificate: Result<String, &'static str>,
}

/// Reads the login from the store `accounts`.
///
/// Source: `mod_auth_internal_hashed`, `mod_auth_internal_plain`.
pub(super) fn login(table: &Table) -> Result<StoredLogin, NoLogin> {
    let is_true = |key| table.field(key).is_some_and(Value::is_true);
    let time = |key| table.field(key).and_then(Value::as_integer);
    Ok(StoredLogin {
        is_enabled: !is_true("disabled"),
        created: time("created"),
        password_changed: time("updated"),
        proof: proof(table)?,
    })
}

fn proof(table: &Table) -> Result<Proof, NoLogin> {
    let damaged = |text| Err(NoLogin::Damaged(text));
    // internal_hashed, too, uses a plain password before anything else, and replaces it at the next login.
    match table.field("password").map(Value::as_bytes) {
        None | Some(Some(b"")) => {}
        Some(None) => return damaged("its password is not a string"),
        Some(Some(bytes)) if bytes.len() > MAX_SECRET_BYTES => {
            return damaged("its password is longer than 1024 bytes");
        }
        Some(Some(bytes)) => match std::str::from_utf8(bytes) {
            Ok(text) => return Ok(Proof::Password(Zeroizing::new(text.to_owned()))),
            Err(_) => return damaged("its password is not UTF-8"),
        },
    }
    let fields = ["stored_key", "server_key", "salt", "iteration_count"];
    let [stored_key, server_key, salt, iterations] = fields.map(|key| table.field(key));
    if [stored_key, server_key, salt, iterations] == [None; 4] {
        return Err(NoLogin::NoPassword);
    }
    let Some(iterations) = iterations else {
        return damaged("iteration_count is missing");
    };
    let iterations = iterations.as_integer().map(u32::try_from);
    let Some(Ok(iterations @ 1..)) = iterations else {
        return damaged("iteration_count is not a positive integer");
    };
    let Some(salt) = salt else {
        return damaged("salt is missing");
    };
    let Some(salt @ [_, ..]) = salt.as_bytes() else {
        return damaged("salt is not a string, or empty");
    };
    if salt.len() > MAX_SALT_BYTES {
        return damaged("salt is longer than 64 bytes");
    }
    if iterations > MAX_ITERATIONS {
        return damaged("iteration_count is larger than 10000000");
    }
    let (Some(stored_key), Some(server_key)) = (stored_key, server_key) else {
        return damaged("stored_key or server_key is missing");
    };
    let (Some(stored_key), Some(server_key)) = (bytes_of_hex(stored_key), bytes_of_hex(server_key))
    else {
        return damaged("stored_key or server_key is not made of hex digits");
    };
    // Which hash it was is not recorded.
    let hash = match (stored_key.len(), server_key.len()) {
        (20, 20) => ScramHash::Sha1,
        (32, 32) => ScramHash::Sha256,
        _ => return damaged("stored_key and server_key are neither SHA-1's nor SHA-256's"),
    };
    Ok(Proof::Scram(ImportVerifier {
        hash,
        salt: salt.to_vec(),
        iterations,
        stored_key,
        server_key,
    }))
}

fn bytes_of_hex(value: &Value) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    value.as_bytes()?.chunks(2).map(pair).collect()
}

impl StoredLogin {
    /// As it stands in the question `account.import`.
    pub(super) fn question(&self) -> ImportLogin {
        let (password, scram) = match &self.proof {
            Proof::Password(password) => (Some(Text(password.clone())), Vec::new()),
            Proof::Scram(verifier) => (None, vec![verifier.clone()]),
        };
        ImportLogin {
            enabled: self.is_enabled,
            created: self.created.map(UnixSeconds),
            password_changed: self.password_changed.map(UnixSeconds),
            password,
            scram,
        }
    }

    /// How its password was kept.
    pub(super) fn kind(&self) -> &'static str {
        match &self.proof {
            Proof::Password(_) => "password",
            Proof::Scram(ImportVerifier { hash, .. }) => match hash {
                ScramHash::Sha1 => "SCRAM-SHA-1",
                ScramHash::Sha256 => "SCRAM-SHA-256",
            },
        }
    }

    /// Whether it may be used.
    pub(super) fn is_enabled(&self) -> bool {
        self.is_enabled
    }
}

// Its password and keys are nobody's business.
impl fmt::Debug for StoredLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoredLogin").field(&self.kind()).finish()
    }
}

/// Reads the certificates from the store `client_certs`, in the order of the names.
///
/// Source: `mod_client_certs`. `pem` is what it made of the certificate; `x509cert` what the client or the user gave.
pub(super) fn certificates(table: &Table) -> Vec<StoredCertificate> {
    table
        .iter()
        .map(|(key, entry)| stored(key, entry))
        .collect()
}

fn stored(key: &Key, entry: &Value) -> StoredCertificate {
    let (name, is_text) = match key {
        Key::String(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (String::from_utf8_lossy(bytes).into_owned(), false),
        },
        Key::Integer(integer) => (integer.to_string(), false),
        Key::Float(bits) => (f64::from_bits(*bits).to_string(), false),
        Key::Boolean(boolean) => (boolean.to_string(), false),
    };
    let Value::Table(entry) = entry else {
        return StoredCertificate {
            name,
            may_manage: false,
            certificate: Err("it is not a table"),
        };
    };
    let texts = ["pem", "x509cert"].map(|key| entry.field(key).and_then(Value::as_bytes));
    let certificate = texts.into_iter().flatten().find_map(der);
    StoredCertificate {
        // In the source, the variable for it says the opposite.
        may_manage: !entry
            .field("no_cert_management")
            .is_some_and(Value::is_true),
        certificate: if is_text {
            certificate
                .map(|der| BASE64.encode(der))
                .ok_or("neither \"pem\" nor \"x509cert\" is a certificate")
        } else {
            Err("its name is not text")
        },
        name,
    }
}

/// The bytes in a PEM, or in base64 without its frame.
fn der(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let base64 = match text.split_once(BEGIN) {
        Some((_, behind)) => behind.split_once(END)?.0,
        None => text,
    };
    let base64: String = base64.split_ascii_whitespace().collect();
    let der = LENIENT_BASE64.decode(base64).ok()?;
    // A certificate is a SEQUENCE. Whether it is a good one is not decided here.
    (der.first() == Some(&0x30)).then_some(der)
}

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Prosody took base64 without its padding, too.
const LENIENT_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);
/// Longest password (docs/protocol.md).
const MAX_SECRET_BYTES: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::lua_table::parse;
    use serde_json::json;

    use super::*;

    fn table(lua: &str) -> Table {
        match parse(format!("return {{ {lua} }};").as_bytes()) {
            Ok(Value::Table(table)) => table,
            other => panic!("{lua}: {other:?}"),
        }
    }

    fn hashed(digits: usize) -> String {
        let (stored, server) = ("01".repeat(digits / 2), "Fe".repeat(digits / 2));
        format!(
            "stored_key = \"{stored}\"; server_key = \"{server}\"; salt = \"\\255ab\"; iteration_count = 4096;"
        )
    }

    #[test]
    fn a_hashed_account_brings_its_verifier() {
        for (digits, hash, bytes) in [(40, "SHA-1", 20), (64, "SHA-256", 32)] {
            let login = login(&table(&hashed(digits))).unwrap();
            assert_eq!(login.kind(), format!("SCRAM-{hash}"));
            assert_eq!(
                json!(login.question()),
                json!({
                    "enabled": true, "created": null, "password_changed": null, "password": null,
                    "scram": [{
                        "hash": hash, "salt": "/2Fi", "iterations": 4096,
                        "stored_key": BASE64.encode(vec![1; bytes]), "server_key": BASE64.encode(vec![0xfe; bytes]),
                    }],
                })
            );
        }
    }

    #[test]
    fn a_plain_password_comes_before_the_hashed_one_and_an_empty_one_is_none() {
        let both = format!(
            "password = \"et tu?\"; created = 5; updated = 6.0; {}",
            hashed(40)
        );
        let login_of_both = login(&table(&both)).unwrap();
        assert_eq!(
            json!(login_of_both.question()),
            json!({"enabled": true, "created": 5, "password_changed": 6, "password": "et tu?", "scram": []})
        );
        assert!(!format!("{login_of_both:?}").contains("et tu"));
        let empty = format!("password = \"\"; {}", hashed(40));
        assert_eq!(login(&table(&empty)).unwrap().kind(), "SCRAM-SHA-1");
        assert_eq!(login(&table("password = \"\"")), Err(NoLogin::NoPassword));
    }

    #[test]
    fn disabled_is_what_lua_takes_for_true() {
        for (lua, is_enabled) in [
            ("true", false),
            ("false", true),
            ("nil", true),
            ("0", false),
        ] {
            let lua = format!("password = \"x\"; disabled = {lua}");
            assert_eq!(
                login(&table(&lua)).unwrap().is_enabled(),
                is_enabled,
                "{lua}"
            );
        }
    }

    #[test]
    fn what_nobody_can_log_in_with_is_told_apart_from_what_has_no_password_yet() {
        let none = "created = 1767225600; updated = 1767225600; disabled = true";
        assert_eq!(login(&table(none)), Err(NoLogin::NoPassword));
        assert_eq!(login(&Table::default()), Err(NoLogin::NoPassword));
        let good = hashed(40);
        let (stored, server) = ("01".repeat(20), "Fe".repeat(20));
        let without = |from: &str, to: &str| good.replace(from, to);
        let cases = [
            without("iteration_count = 4096", "iteration_count = 0"),
            without("iteration_count = 4096", "iteration_count = -1"),
            without("iteration_count = 4096", "iteration_count = 1.5"),
            without("iteration_count = 4096", "iteration_count = (1/0)"),
            without("iteration_count = 4096", "iteration_count = 4294967296"),
            without("iteration_count = 4096", "iteration_count = \"4096\""),
            without("iteration_count = 4096;", ""),
            without("\\255ab", ""),
            without("salt = \"\\255ab\";", ""),
            without("\"\\255ab\"", "5"),
            without("\\255ab", &"s".repeat(65)),
            without("iteration_count = 4096", "iteration_count = 10000001"),
            without(&stored, "01"),
            without(&stored, &"01".repeat(32)),
            without(&stored, &"0g".repeat(20)),
            without(&stored, &"0".repeat(39)),
            without(&format!("\"{server}\""), "nil"),
            without(&format!("\"{server}\""), "{}"),
            "password = 5".to_owned(),
            "password = \"\\255\"".to_owned(),
            format!("password = \"{}\"", "x".repeat(1025)),
        ];
        for lua in cases {
            let result = login(&table(&lua));
            assert!(
                matches!(result, Err(NoLogin::Damaged(_))),
                "{lua}: {result:?}"
            );
        }
    }

    #[test]
    fn a_certificate_is_read_from_its_pem_or_from_what_the_client_gave() {
        let pem = "-----BEGIN CERTIFICATE-----\\nMAMC\\nAQU=\\n-----END CERTIFICATE-----\\n";
        let cases = [
            (
                format!("pem = \"{pem}\"; x509cert = \"MAMCAQY=\""),
                "MAMCAQU=",
            ),
            (format!("x509cert = \"{pem}\""), "MAMCAQU="),
            (format!("x509cert = \"  typed before {pem}\""), "MAMCAQU="),
            ("x509cert = \" MAMC\\r\\n\\tAQY=\"".to_owned(), "MAMCAQY="),
            ("x509cert = \"MAMCAQY\"".to_owned(), "MAMCAQY="),
            ("pem = \"\"; x509cert = \"MAMCAQY=\"".to_owned(), "MAMCAQY="),
            ("pem = 5; x509cert = \"MAMCAQY=\"".to_owned(), "MAMCAQY="),
        ];
        for (lua, base64) in cases {
            let read = certificates(&table(&format!("phone = {{ {lua} }}")));
            let certificate = Ok(base64.to_owned());
            let phone = StoredCertificate {
                name: "phone".to_owned(),
                may_manage: true,
                certificate,
            };
            assert_eq!(read, [phone], "{lua}");
        }
        let unreadable = [
            "",
            "pem = \"\"",
            "x509cert = \"MAMC AQY*\"",
            "x509cert = \"hello\"",
            "x509cert = \"-----BEGIN CERTIFICATE-----MAMCAQU=\"",
        ];
        for lua in unreadable {
            let read = certificates(&table(&format!("phone = {{ {lua} }}")));
            assert!(read.iter().all(|one| one.certificate.is_err()), "{lua}");
        }
    }

    #[test]
    fn entries_of_any_shape_are_certificates_that_cannot_be_read() {
        let lua = "[\"b\"] = { x509cert = \"MAMCAQY=\"; no_cert_management = true };
                   [\"a\\255\"] = { x509cert = \"MAMCAQY=\" }; [1] = { x509cert = \"MAMCAQY=\" };
                   [true] = {}; [1.5] = {}; c = \"MAMCAQY=\"";
        let read = certificates(&table(lua));
        let seen: Vec<_> = read
            .iter()
            .map(|one| (one.name.as_str(), one.may_manage, one.certificate.is_ok()))
            .collect();
        assert_eq!(
            seen,
            [
                ("true", true, false),
                ("1", true, false),
                ("1.5", true, false),
                ("a\u{fffd}", true, false),
                ("b", false, true),
                ("c", false, false),
            ]
        );
    }
}
