//! Reads a file of certificates that is named on the command line.
//!
//! Must not know: whether a certificate is any good.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::identity::ByteOrderMark;
use crate::identity::private_key::holds_private_key;
use crate::policy::chain::hides_section;
use crate::protocol::{MAX_CERTIFICATE_BASE64_BYTES, MAX_CHAIN, MAX_CHAIN_BASE64_BYTES};

/// The certificates in the file, leaf first, each as base64 of DER. Whether they are any good is for the daemon to say.
pub(super) fn certificates_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("can't read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{shown} is larger than {} KiB: no file of certificates is",
        MAX_FILE_BYTES / 1024
    );
    if let Some(mark) = ByteOrderMark::of(&bytes) {
        bail!("{shown} {mark}");
    }
    let is_pem = bytes.windows(PEM.len()).any(|part| part == PEM);
    if !is_pem {
        ensure!(
            inside_sequence(&bytes).is_some_and(|inside| inside.starts_with(&[SEQUENCE])),
            "{shown} {}",
            instead(&bytes)
        );
        return Ok(vec![BASE64.encode(bytes)]);
    }
    ensure!(
        !hides_section(&bytes),
        "{shown} is not readable as PEM: something stands before -----BEGIN in its line (a byte order mark, which nobody sees, for one)"
    );
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let Ok(found) = found else {
        bail!("{shown} is not readable as PEM");
    };
    ensure!(!found.is_empty(), "{shown} {}", instead(&bytes));
    Ok(found.iter().map(|der| BASE64.encode(der)).collect())
}

/// The probable nature of a file without a certificate.
fn instead(bytes: &[u8]) -> &'static str {
    let is_pkcs12 = || inside_sequence(bytes).is_some_and(|inside| inside.starts_with(PKCS12));
    if bytes.is_empty() {
        "is empty: no certificate (wanted: PEM or DER)"
    } else if holds_private_key(bytes) {
        "is a private key, and no certificate (wanted: PEM or DER). A key that others have seen must be replaced"
    } else if is_pkcs12() {
        "is PKCS#12, which holds the key, too, and no certificate by itself (wanted: PEM or DER); take it out with: \
         openssl pkcs12 -in FILE -clcerts -nokeys -out CERT"
    } else {
        "is no certificate (wanted: PEM or DER)"
    }
}

/// The bytes of DER behind the first tag and its length.
fn inside_sequence(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.strip_prefix(&[SEQUENCE])?.split_first()?;
    rest.get(usize::from(length.saturating_sub(0x80))..)
}

const SEQUENCE: u8 = 0x30;
/// Version 3, and another sequence (RFC 7292 4).
const PKCS12: &[u8] = &[2, 1, 3, SEQUENCE];

/// Of the certificates in a file those that a login would bring before the daemon, and how many others there are.
///
/// Errors: the first one, which no login does without, is too long.
pub(super) fn fitting(certificates: Vec<String>) -> anyhow::Result<(Vec<String>, usize)> {
    let all = certificates.len();
    let mut chain: Vec<String> = Vec::new();
    let mut total = 0;
    for (at, one) in certificates.into_iter().enumerate() {
        let fits = one.len() <= MAX_CERTIFICATE_BASE64_BYTES
            && total + one.len() <= MAX_CHAIN_BASE64_BYTES
            && chain.len() < MAX_CHAIN;
        ensure!(
            fits || at > 0,
            "the certificate is larger than {} KiB of base64, which is not read: nobody can log in with it",
            MAX_CERTIFICATE_BASE64_BYTES / 1024
        );
        if fits {
            total += one.len();
            chain.push(one);
        }
    }
    let left_out = all - chain.len();
    Ok((chain, left_out))
}

const PEM: &[u8] = b"-----BEGIN ";
const MAX_FILE_BYTES: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(content: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("phone.crt");
        std::fs::write(&path, content).unwrap();
        format!("{:#}", certificates_in(&path).unwrap_err())
    }

    #[test]
    fn a_byte_order_mark_is_named() {
        let pem = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let marked = read(format!("\u{feff}{pem}").as_bytes());
        assert!(marked.contains("begins with a byte order mark"), "{marked}");
        let wide: Vec<u8> = std::iter::once(0xfeff)
            .chain(pem.encode_utf16())
            .flat_map(u16::to_le_bytes)
            .collect();
        let wide = read(&wide);
        assert!(wide.contains("is UTF-16 text"), "{wide}");
        let hidden = read(format!("x{pem}").as_bytes());
        assert!(hidden.contains("something stands before"), "{hidden}");
    }

    #[test]
    fn what_is_no_certificate_is_named() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = key.serialize_pem();
        let is_key = "is a private key, and no certificate (wanted: PEM or DER). A key that others have seen must be replaced";
        for (content, words) in [
            (&b""[..], "is empty: no certificate (wanted: PEM or DER)"),
            (b"hello\n", "is no certificate (wanted: PEM or DER)"),
            (
                &vec![0xa7; 20_000],
                "is no certificate (wanted: PEM or DER)",
            ),
            (&[0x30], "is no certificate (wanted: PEM or DER)"),
            (
                b"-----BEGIN CERTIFICATE REQUEST-----\nMIIB\n-----END CERTIFICATE REQUEST-----\n",
                "is no certificate (wanted: PEM or DER)",
            ),
            (pem.as_bytes(), is_key),
            (key.serialized_der(), is_key),
            (
                &[0x30, 0x82, 0x0a, 0x00, 2, 1, 3, 0x30, 0x82],
                "is PKCS#12, which holds the key",
            ),
        ] {
            let refused = read(content);
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn of_a_long_chain_that_counts_which_fits() {
        let of = |sizes: &[usize]| {
            let certificates = sizes.iter().map(|size| "A".repeat(*size)).collect();
            let (chain, left_out) = fitting(certificates)?;
            let sizes: Vec<usize> = chain.iter().map(String::len).collect();
            anyhow::Ok((sizes, left_out))
        };
        let largest = MAX_CERTIFICATE_BASE64_BYTES;
        for (sizes, kept, left_out) in [
            (vec![1], vec![1], 0),
            (vec![1, largest + 1, 2], vec![1, 2], 1),
            (vec![1, 2, 3, 4, 5, 6, 7, 8], vec![1, 2, 3, 4, 5, 6], 2),
            (
                vec![largest, largest, largest, 1],
                vec![largest, largest, 1],
                1,
            ),
        ] {
            assert_eq!(of(&sizes).unwrap(), (kept, left_out));
        }
        let refused = of(&[largest + 1, 1]).unwrap_err().to_string();
        assert!(refused.contains("larger than 24 KiB"), "{refused}");
    }
}
