//! PEM files of certificates or lists: taken whole or not at all.
//!
//! Must not know: what the sections are for.

use rustls_pki_types::pem::{PemObject, SectionKind};

use crate::identity::ByteOrderMark;
use crate::identity::authority::AuthorityError;
use crate::identity::private_key::holds_private_key;

/// The problem with a file of authorities or lists. Never quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No section of the wanted kind.
    #[error("holds no PEM section \"BEGIN {wanted}\"")]
    Empty {
        /// The kind.
        wanted: &'static str,
    },
    /// A key, and nothing of what is wanted.
    #[error(
        "holds a private key and no \"BEGIN {wanted}\"; an authority's key belongs nowhere near this server"
    )]
    PrivateKey {
        /// The kind of section that is wanted, for people.
        wanted: &'static str,
    },
    /// DER where PEM is wanted.
    #[error("is binary (DER); PEM is wanted: {command}")]
    IsDer {
        /// The command that makes PEM of it.
        command: &'static str,
    },
    /// A byte order mark in front of everything.
    #[error(transparent)]
    Marked(#[from] ByteOrderMark),
    /// Something stands before a section on its first line (the end of the section before), so that readers pass it
    /// over.
    #[error(
        "a section of it does not begin at the start of a line; a newline is missing, or something stands before it (a byte \
         order mark, which nobody sees, for one)"
    )]
    Hidden,
    /// Another section begins before one of the wanted kind has ended, and readers forget what they had.
    #[error("a section of it has no end")]
    Unended,
    /// Not PEM.
    #[error("is not readable as PEM, at its section {number}")]
    NotPem {
        /// Counted from 1.
        number: usize,
    },
    /// A section that is not what it says.
    #[error("its section {number} {problem}")]
    Section {
        /// Counted from 1.
        number: usize,
        /// The problem with it.
        problem: AuthorityError,
    },
    /// More sections than anybody needs, each of which costs work.
    #[error("holds more than {max} sections of that kind")]
    TooMany {
        /// As many are taken.
        max: usize,
    },
}

/// Hands each section of `kind` to `take`, numbered from 1; others are passed over.
pub(super) fn each_section(
    pem: &[u8],
    kind: SectionKind,
    wanted: &'static str,
    command: &'static str,
    mut take: impl FnMut(usize, &[u8]) -> Result<(), PemError>,
) -> Result<(), PemError> {
    const SEQUENCE: u8 = 0x30;
    if let Some(mark) = ByteOrderMark::of(pem) {
        return Err(mark.into());
    }
    if hides_section(pem) {
        return Err(PemError::Hidden);
    }
    let begin = [BEGIN, wanted.as_bytes(), b"-----"].concat();
    let there = lines(pem).filter(|line| line.starts_with(&begin)).count();
    let mut taken = 0;
    let sections = <(SectionKind, Vec<u8>)>::pem_slice_iter(pem);
    for (before, section) in sections.enumerate() {
        let number = before + 1;
        let (found, der) = section.map_err(|_| PemError::NotPem { number })?;
        if found == kind {
            if taken == MAX_SECTIONS {
                return Err(PemError::TooMany { max: MAX_SECTIONS });
            }
            take(number, &der)?;
            taken += 1;
        }
    }
    match taken {
        _ if taken != there => Err(PemError::Unended),
        0 if pem.first() == Some(&SEQUENCE) => Err(PemError::IsDer { command }),
        0 if holds_private_key(pem) => Err(PemError::PrivateKey { wanted }),
        0 => Err(PemError::Empty { wanted }),
        _ => Ok(()),
    }
}

/// Does a section of the PEM file begin where readers don't see it, behind something else in its line?
#[must_use]
pub fn hides_section(pem: &[u8]) -> bool {
    let hides = |line: &[u8]| line.windows(BEGIN.len()).skip(1).any(|part| part == BEGIN);
    lines(pem).any(hides)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| matches!(byte, b'\n' | b'\r'))
}

const BEGIN: &[u8] = b"-----BEGIN ";
/// Most certificates or lists in a file. Whole operating systems trust 150 authorities.
const MAX_SECTIONS: usize = 1_000;
