//! PKCS#12 (RFC 7292): one password-protected file with a key and its certificate, as phones and browsers import it.
//!
//! Its password is made here, never chosen: then it withstands guessing, whatever the file's encryption is worth.
//!
//! Must not know: files, who gets the password.

use p12_keystore::{
    Certificate, EncryptionAlgorithm, KeyStore, KeyStoreEntry, MacAlgorithm, PrivateKey,
    PrivateKeyChain,
};
use sha1::{Digest, Sha1};

use super::certificate::Fresh;

/// The encryption of the file. Old systems read only the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// PBES2 with AES-256-CBC and HMAC-SHA-256 (RFC 8018).
    Aes,
    /// pbeWithSHAAnd3-KeyTripleDES-CBC and HMAC-SHA-1 (RFC 7292 appendix C).
    TripleDes,
}

/// A file's content and what opens it.
pub struct Archive {
    /// DER.
    pub content: Vec<u8>,
    /// Four groups of five of RFC 4648's base32 letters: 100 bits. To be shown, so it isn't wiped.
    pub password: String,
}

/// Why there is no archive.
#[derive(Debug, thiserror::Error)]
pub enum Pkcs12Error {
    /// The kernel gives no random numbers.
    #[error("there are no random numbers for its password")]
    Random {
        /// The message of the operating system.
        #[source]
        source: getrandom::Error,
    },
    /// The encoder doesn't take the key, the certificate or the name.
    #[error("it can't be encoded")]
    Encoding {
        /// The message of the encoder.
        #[source]
        source: p12_keystore::error::Error,
    },
}

/// The pair as PKCS#12; the key in it is called `name`. The copies of the key within the encoder are dropped unwiped.
pub fn archive(fresh: &Fresh, name: &str, encryption: Encryption) -> Result<Archive, Pkcs12Error> {
    let password = password().map_err(|source| Pkcs12Error::Random { source })?;
    let content = encode(fresh, &friendly(name), encryption, &password)
        .map_err(|source| Pkcs12Error::Encoding { source })?;
    Ok(Archive { content, password })
}

fn encode(
    fresh: &Fresh,
    name: &str,
    encryption: Encryption,
    password: &str,
) -> Result<Vec<u8>, p12_keystore::error::Error> {
    let certificate = Certificate::from_der(&fresh.der)?;
    // As OpenSSL does it: any value that the key and its certificate share.
    let local_key_id = Sha1::digest(&fresh.der).to_vec();
    let key = PrivateKey::from_der(&fresh.key_der)?;
    let chain = PrivateKeyChain::new(local_key_id, key, [certificate]);
    let mut store = KeyStore::new();
    store.add_entry(name, KeyStoreEntry::PrivateKeyChain(chain));
    let (algorithm, mac) = match encryption {
        Encryption::Aes => (
            EncryptionAlgorithm::PbeWithHmacSha256AndAes256,
            MacAlgorithm::HmacSha256,
        ),
        Encryption::TripleDes => (
            EncryptionAlgorithm::PbeWithShaAnd3KeyTripleDesCbc,
            MacAlgorithm::HmacSha1,
        ),
    };
    store
        .writer(password)
        .encryption_algorithm(algorithm)
        .mac_algorithm(mac)
        .write()
}

/// `friendlyName` is a `BMPString` (RFC 2985 section 5.5.1), which ends before U+FFFF.
fn friendly(name: &str) -> String {
    let in_plane = |letter| {
        if letter >= '\u{ffff}' {
            '\u{fffd}'
        } else {
            letter
        }
    };
    name.chars().map(in_plane).collect()
}

fn password() -> Result<String, getrandom::Error> {
    let mut random = [0; GROUPS * LETTERS_PER_GROUP];
    getrandom::fill(&mut random)?;
    let mut password = String::new();
    for (i, byte) in random.iter().enumerate() {
        if i > 0 && i % LETTERS_PER_GROUP == 0 {
            password.push('-');
        }
        password.push(letter(*byte));
    }
    Ok(password)
}

/// RFC 4648 section 6 in lower case, which leaves out 0, 1, 8 and 9; each as likely as another.
fn letter(random: u8) -> char {
    char::from(match random % 32 {
        number @ 0..26 => b'a' + number,
        number => b'2' + (number - 26),
    })
}

const GROUPS: usize = 4;
const LETTERS_PER_GROUP: usize = 5;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::process::{Command, Stdio};

    use p12_keystore::{Pkcs12ImportPolicy, error::Error};
    use time::OffsetDateTime;
    use xmpp_parsers::jid::BareJid;

    use super::super::certificate;
    use super::*;

    fn fresh() -> Fresh {
        let hamlet = BareJid::new("hamlet@shakespeare.lit").unwrap();
        certificate::make(&hamlet, 365, OffsetDateTime::now_utc()).unwrap()
    }

    /// OpenSSL's view of the file: its contents as PEM, and its words about the encryption.
    fn openssl(archive: &Archive, password: &str) -> Option<(String, String)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.p12");
        std::fs::File::create(&path)
            .unwrap()
            .write_all(&archive.content)
            .unwrap();
        let done = Command::new("openssl")
            .args([
                "pkcs12",
                "-info",
                "-nodes",
                "-passin",
                "env:PASSWORD",
                "-in",
            ])
            .arg(path)
            .env("PASSWORD", password)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // It prints a name's letters beyond ASCII in Latin-1.
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        done.status
            .success()
            .then(|| (text(done.stdout), text(done.stderr)))
    }

    #[test]
    fn openssl_finds_the_key_and_its_certificate_under_the_name() {
        let fresh = fresh();
        for (encryption, cipher, mac) in [
            (Encryption::Aes, "PBES2, PBKDF2, AES-256-CBC", "MAC: sha256"),
            (
                Encryption::TripleDes,
                "pbeWithSHA1And3-KeyTripleDES-CBC",
                "MAC: sha1",
            ),
        ] {
            let archive = archive(&fresh, "phone", encryption).unwrap();
            let (found, about) = openssl(&archive, &archive.password).unwrap();
            let lines = |pem: &str| pem.lines().map(str::to_owned).collect::<Vec<_>>();
            let all = lines(&found);
            for wanted in [&*fresh.key_pem, &*fresh.certificate_pem] {
                let wanted = lines(wanted);
                assert!(
                    all.windows(wanted.len()).any(|part| *part == wanted),
                    "{found}"
                );
            }
            assert!(found.contains("friendlyName: phone\n"), "{found}");
            assert!(about.contains(cipher) && about.contains(mac), "{about}");
            assert!(openssl(&archive, "").is_none());
        }
    }

    #[test]
    fn a_name_beyond_the_basic_plane_keeps_its_other_letters() {
        let archive =
            archive(&fresh(), "phone \u{1f4f1}\u{ffff}\u{fffe}", Encryption::Aes).unwrap();
        let read = |password| {
            KeyStore::from_pkcs12(&archive.content, password, Pkcs12ImportPolicy::Strict)
        };
        let store = read(archive.password.as_str()).unwrap();
        assert_eq!(
            store.private_key_chain().unwrap().0,
            "phone \u{fffd}\u{fffd}\u{fffe}"
        );
        assert!(matches!(read("wrong"), Err(Error::MacError(_))));
    }

    #[test]
    fn passwords_are_typed_easily_and_never_the_same() {
        let (one, other) = (password().unwrap(), password().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.len(), 23);
        let groups: Vec<&str> = one.split('-').collect();
        assert_eq!(groups.len(), GROUPS);
        for group in groups {
            assert_eq!(group.len(), LETTERS_PER_GROUP);
            assert!(
                group
                    .bytes()
                    .all(|letter| matches!(letter, b'a'..=b'z' | b'2'..=b'7'))
            );
        }
        let letters: String = (0..=255).map(letter).collect();
        assert_eq!(letters, "abcdefghijklmnopqrstuvwxyz234567".repeat(8));
    }
}
