//! DER by hand: what rcgen does not make.

use rcgen::{CustomExtension, SigningKey};

use super::Ca;

/// A value with `parts` in it.
pub(super) fn value(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = content.len();
    let mut out = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        Ok(long) => out.extend([0x81, long]),
        Err(_) => {
            out.push(0x82);
            out.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

pub(super) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    value(0x30, parts)
}

/// An object identifier below 2.5.29, as an extension has it.
fn id_ce(number: u8) -> Vec<u8> {
    value(0x06, &[&[0x55, 0x1d, number]])
}

/// A critical extension below 2.5.29 of a certificate.
pub(super) fn extension(number: u64, content: Vec<u8>) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, number], content);
    extension.set_criticality(true);
    extension
}

/// A revocation list in its parts.
pub(super) struct List {
    pub(super) version: Option<u8>,
    pub(super) this_update: Vec<u8>,
    pub(super) next_update: Option<Vec<u8>>,
    pub(super) entries: Vec<Vec<u8>>,
    pub(super) extensions: Vec<Vec<u8>>,
}

pub(super) fn utc_time(text: &str) -> Vec<u8> {
    value(0x17, &[text.as_bytes()])
}

/// A list's entry about one certificate.
pub(super) fn entry(serial: &[u8], extensions: &[Vec<u8>]) -> Vec<u8> {
    let serial = value(0x02, &[serial]);
    let extensions = match extensions {
        [] => Vec::new(),
        some => sequence(&[&some.concat()]),
    };
    sequence(&[&serial, &utc_time("260101000000Z"), &extensions])
}

/// An extension of a list or of an entry.
pub(super) fn list_extension(number: u8, is_critical: bool, content: &[u8]) -> Vec<u8> {
    let critical: &[u8] = if is_critical { &[1, 1, 0xff] } else { &[] };
    sequence(&[&id_ce(number), critical, &value(0x04, &[content])])
}

impl List {
    /// A plain one of version 2.
    pub(super) fn new() -> Self {
        Self {
            version: Some(1),
            this_update: utc_time("260101000000Z"),
            next_update: Some(utc_time("490101000000Z")),
            entries: Vec::new(),
            extensions: vec![list_extension(20, false, &[2, 1, 1])],
        }
    }

    /// Signed by `ca`, as a PEM section.
    pub(super) fn signed_by(&self, ca: &Ca) -> String {
        use base64::Engine;
        // ecdsa-with-SHA256
        let algorithm = sequence(&[&value(
            0x06,
            &[&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]],
        )]);
        let version = self.version.map(|number| value(0x02, &[&[number]]));
        let entries = match self.entries.as_slice() {
            [] => Vec::new(),
            some => sequence(&[&some.concat()]),
        };
        let extensions = match self.extensions.as_slice() {
            [] => Vec::new(),
            some => value(0xa0, &[&sequence(&[&some.concat()])]),
        };
        let content = sequence(&[
            &version.unwrap_or_default(),
            &algorithm,
            &ca.name(),
            &self.this_update,
            self.next_update.as_deref().unwrap_or_default(),
            &entries,
            &extensions,
        ]);
        let signature = ca.issuer.key().sign(&content).unwrap();
        let list = sequence(&[&content, &algorithm, &value(0x03, &[&[0], &signature])]);
        let body = base64::engine::general_purpose::STANDARD.encode(list);
        format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n")
    }
}
