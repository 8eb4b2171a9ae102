//! The authorities that a host trusts, and why one vouches for nobody.
//!
//! Must not know: which files they come from, which lists they have signed.

use rustls_pki_types::pem::SectionKind;

use super::pem::{self, PemError};
use super::signature;
use crate::identity::{Authority, CertificationPath};
use crate::policy::denial::Denial;

/// The authorities of one file.
#[derive(Debug)]
pub struct Authorities {
    pub(super) about: Vec<Authority>,
}

/// No path: the "no", and why, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untrusted {
    /// The "no".
    pub denial: Denial,
    /// In plain words.
    pub cause: String,
}

impl Authorities {
    /// The authorities in a PEM file; each certificate in it is trusted.
    ///
    /// Errors: nothing of a file that holds anything else than whole certificates of authorities is taken.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let command = "openssl x509 -inform DER -in FILE -out FILE.pem";
        let mut about = Vec::new();
        pem::each_section(
            pem,
            SectionKind::Certificate,
            "CERTIFICATE",
            command,
            |number, der| {
                let section = |problem| PemError::Section { number, problem };
                about.push(Authority::from_der(der).map_err(section)?);
                Ok(())
            },
        )?;
        Ok(Self { about })
    }

    /// The authorities themselves, for people, in the order of the file.
    #[must_use]
    pub fn about(&self) -> &[Authority] {
        &self.about
    }

    /// Why `authority` can vouch for nobody, whenever it is asked; `None` if it can.
    #[must_use]
    pub fn never_vouches(&self, authority: &Authority) -> Option<String> {
        let issued = &authority.issued;
        if let Some(cause) = signature::unusable_key(&issued.key) {
            return Some(cause);
        }
        if !issued.is_for_clients {
            return Some("it is not for clients (extendedKeyUsage)".to_owned());
        }
        let id = issued.not_understood.as_ref()?;
        Some(format!("its critical extension {id} is not understood"))
    }

    /// Does a path that was found earlier still end at one of them?
    #[must_use]
    pub fn still_trust(&self, path: &CertificationPath) -> bool {
        path.is_whole() && self.about.iter().any(|known| known.id == path.authority)
    }
}
