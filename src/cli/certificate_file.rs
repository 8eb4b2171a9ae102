//! A file with a certificate, as somebody names it on the command line.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::identity::certificate::holds_private_key;
use crate::policy::chain::hides_section;

/// The certificates in the file, leaf first, each as base64 of DER. Whether they are any good is for the daemon to say.
pub(super) fn certificates_in(path: &Path) -> anyhow::Result<Vec<String>> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes))
        .with_context(|| format!("can't read {shown}"))?;
    ensure!(
        bytes.len() as u64 <= MAX_FILE_BYTES,
        "{shown} is larger than {} KiB: no certificate is",
        MAX_FILE_BYTES / 1024
    );
    let is_pem = bytes.windows(PEM.len()).any(|part| part == PEM);
    if !is_pem {
        return Ok(vec![BASE64.encode(bytes)]);
    }
    ensure!(
        !hides_section(&bytes),
        "{shown} is not readable as PEM: something stands before -----BEGIN in its line"
    );
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let Ok(found) = found else {
        bail!("{shown} is not readable as PEM");
    };
    ensure!(
        !found.is_empty(),
        if holds_private_key(&bytes) {
            format!("there is a private key in {shown}, and no certificate. Keep it to yourself")
        } else {
            format!("there is no certificate in {shown}")
        }
    );
    Ok(found.iter().map(|der| BASE64.encode(der)).collect())
}

const PEM: &[u8] = b"-----BEGIN ";
const MAX_FILE_BYTES: u64 = 64 * 1024;
