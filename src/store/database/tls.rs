//! TLS to the server: whose certificate is taken, and in which words another one is refused.
//!
//! Must not know: what is asked, and what stands in the admin's words but the authorities.

use std::error::Error;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::place::Roots;

/// TLS to a server whose certificate comes from these authorities, and names it.
///
/// Errors: a file that can't be read, or has no authority in it.
pub(super) fn from(roots: &Roots) -> Result<MakeRustlsConnect, String> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::Machine => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
        Roots::File(path) => {
            let unusable = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
            let certs = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
            for cert in certs {
                let cert = cert.map_err(|error| unusable(&error))?;
                store.add(cert).map_err(|error| unusable(&error))?;
            }
        }
    }
    if store.is_empty() {
        return Err("there is no authority that its certificate could come from: name a file with sslrootcert=FILE".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

/// Why there is no TLS with that server, and what mends it; `None` if that is not the matter.
pub(super) fn refused(error: &tokio_postgres::Error) -> Option<String> {
    let source = error.source()?;
    // The driver has no other mark of it.
    if source.to_string() == "server does not support TLS" {
        return Some("TLS is off at the server, so anybody could answer for it: set ssl = on in its postgresql.conf".to_owned());
    }
    let inner = source.downcast_ref::<io::Error>()?.get_ref()?;
    let rustls::Error::InvalidCertificate(problem) = inner.downcast_ref()? else {
        return None;
    };
    let mended_by = match problem {
        CertificateError::UnknownIssuer => {
            "no authority that is trusted here vouches for it: name the file of its authority with sslrootcert=FILE"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is another server's, or write the name in it with host=NAME, and where that is with hostaddr=ADDRESS"
        }
        _ => return Some(format!("its certificate is refused: {problem}")),
    };
    Some(format!(
        "its certificate is refused: {problem}; {mended_by}"
    ))
}
