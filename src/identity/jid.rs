//! JIDs, prepared exactly as Prosody prepares them: two strings that Prosody takes for one account are
//! equal here, and nothing else is. A text that either side refuses is refused. A copy shares its text: a login makes many.
//!
//! Must not know: certificates, accounts, which hosts are served.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::as_text::as_text;

/// A domain, prepared (nameprep, no trailing dot, no empty label).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

/// An account's address: `localpart@host`, both prepared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BareJid {
    localpart: Arc<str>,
    host: Host,
}

/// Any JID, as it may stand in a certificate or an authzid: with or without localpart and resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    localpart: Option<Arc<str>>,
    host: Host,
    resource: Option<Arc<str>>,
}

/// Why a string is not a JID. The sender's fault; the text names the part, never its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JidError {
    /// It cannot be split into its parts: a second `@`, an empty part.
    #[error("not of the form localpart@host/resource")]
    Shape,
    /// A part that nodeprep, nameprep or resourceprep refuses, or that one of two implementations might.
    #[error("a character that is not allowed in a JID")]
    Character,
    /// An empty part or an empty label of the host.
    #[error("an empty part")]
    Empty,
    /// A part of more than 1023 bytes (RFC 6122 2.1).
    #[error("a part is longer than 1023 bytes")]
    TooLong,
    /// A full or domain JID where an account's bare JID is wanted.
    #[error("not the bare JID of an account")]
    NotBare,
}

impl Jid {
    /// Parses and prepares `text`.
    ///
    /// Errors: [`JidError`], the first that applies.
    /// Source: RFC 6122 2 with the profiles of RFC 3920; the split is that of Prosody's `util.jid`.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (localpart, host) = match bare.split_once('@') {
            Some((localpart, host)) => (Some(localpart), host),
            None => (None, bare),
        };
        if host.contains('@') {
            return Err(JidError::Shape);
        }
        Ok(Self {
            localpart: localpart.map(localpart_prepared).transpose()?,
            host: Host::parse(host)?,
            resource: resource
                .map(|part| prepared(part, stringprep::resourceprep))
                .transpose()?,
        })
    }

    /// The account that it names; `None` for a JID without a localpart.
    #[must_use]
    pub fn account(&self) -> Option<BareJid> {
        let localpart = self.localpart.clone()?;
        Some(BareJid {
            localpart,
            host: self.host.clone(),
        })
    }

    /// Does it name this account, with a resource or without?
    #[must_use]
    pub fn names(&self, account: &BareJid) -> bool {
        self.localpart.as_ref() == Some(&account.localpart) && self.host == account.host
    }

    /// Its domain.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Its resource, prepared.
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.resource.as_deref()
    }
}

impl BareJid {
    /// Parses `localpart@host`.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let jid = Jid::parse(text)?;
        if jid.resource.is_some() {
            return Err(JidError::NotBare);
        }
        jid.account().ok_or(JidError::NotBare)
    }

    /// The account `username` of `host`.
    pub fn of(username: &str, host: &Host) -> Result<Self, JidError> {
        if username.contains(['@', '/']) {
            return Err(JidError::Shape);
        }
        Ok(Self {
            localpart: localpart_prepared(username)?,
            host: host.clone(),
        })
    }

    /// Its localpart: the username in Prosody.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.localpart
    }

    /// Its domain.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
}

impl Host {
    /// Parses and prepares a domain. `xn--` and Unicode forms stay different, as in Prosody.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        if text.contains(['@', '/']) {
            return Err(JidError::Shape);
        }
        let host = prepared(text.strip_suffix('.').unwrap_or(text), stringprep::nameprep)?;
        if host.split('.').any(str::is_empty) {
            return Err(JidError::Empty);
        }
        // Nameprep lets controls, spaces and punctuation of ASCII pass; no domain or IP literal has them.
        let is_domain_ascii = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
        if host.chars().any(|c| c.is_ascii() && !is_domain_ascii(c)) {
            return Err(JidError::Character);
        }
        Ok(Self(host))
    }

    /// The prepared text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn localpart_prepared(part: &str) -> Result<Arc<str>, JidError> {
    prepared(part, stringprep::nodeprep)
}

type Profile = for<'a> fn(&'a str) -> Result<Cow<'a, str>, stringprep::Error>;

fn prepared(part: &str, profile: Profile) -> Result<Arc<str>, JidError> {
    // Before the profile runs: its mappings may grow the input, and the crate maps some code points that
    // are unassigned in Unicode 3.2 to ASCII letters, so that a stranger's name would become another's.
    if part.len() > MAX_PART_BYTES {
        return Err(JidError::TooLong);
    }
    if is_plain(part) {
        return Ok(part.into());
    }
    if part.chars().any(is_ambiguous) {
        return Err(JidError::Character);
    }
    let once = profile(part).map_err(|_| JidError::Character)?;
    if once.is_empty() {
        return Err(JidError::Empty);
    }
    if once.len() > MAX_PART_BYTES {
        return Err(JidError::TooLong);
    }
    // Not idempotent means that two implementations may disagree on it.
    match profile(&once) {
        Ok(twice) if twice == once => Ok(once.into()),
        _ => Err(JidError::Character),
    }
}

/// Every profile leaves such a part as it is. Most are; a login reads several.
fn is_plain(part: &str) -> bool {
    let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_');
    !part.is_empty() && part.bytes().all(is_plain)
}

/// Code points on which stringprep implementations differ: those unassigned in Unicode 3.2, and five CJK
/// compatibility ideographs whose decomposition Unicode corrected later (Corrigendum 4).
pub(super) fn is_ambiguous(c: char) -> bool {
    stringprep::tables::unassigned_code_point(c)
        || matches!(
            c,
            '\u{2F868}' | '\u{2F874}' | '\u{2F91F}' | '\u{2F95F}' | '\u{2F9BF}'
        )
}

const MAX_PART_BYTES: usize = 1023;

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.localpart, self.host)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(localpart) = &self.localpart {
            write!(f, "{localpart}@")?;
        }
        write!(f, "{}", self.host)?;
        match &self.resource {
            Some(resource) => write!(f, "/{resource}"),
            None => Ok(()),
        }
    }
}

impl From<BareJid> for String {
    fn from(jid: BareJid) -> Self {
        jid.to_string()
    }
}

as_text!(whole Host);
as_text!(BareJid);
as_text!(Jid);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn jids_are_prepared_as_prosody_prepares_them() {
        for (text, expected) in [
            ("Juliet@Example.COM", Ok("juliet@example.com")),
            ("juliet@example.com.", Ok("juliet@example.com")),
            (
                "juliet@example.com/Balcony",
                Ok("juliet@example.com/Balcony"),
            ),
            ("juliet@example.com/a/b@c", Ok("juliet@example.com/a/b@c")),
            ("example.com", Ok("example.com")),
            ("example.com/x", Ok("example.com/x")),
            (
                "stra\u{df}e@b\u{fc}cher.example",
                Ok("strasse@b\u{fc}cher.example"),
            ),
            ("xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("\u{ff2a}uliet@\u{ff25}xample.com", Ok("juliet@example.com")),
            ("", Err(JidError::Empty)),
            ("@example.com", Err(JidError::Empty)),
            ("juliet@", Err(JidError::Empty)),
            ("juliet@example.com/", Err(JidError::Empty)),
            ("juliet@a@b", Err(JidError::Shape)),
            ("juliet@example..com", Err(JidError::Empty)),
            ("juliet@.", Err(JidError::Empty)),
            ("jul iet@example.com", Err(JidError::Character)),
            ("jul\u{0}iet@example.com", Err(JidError::Character)),
            ("jul'iet@example.com", Err(JidError::Character)),
            ("juliet@exa\u{0}mple.com", Err(JidError::Character)),
            ("juliet@exa mple.com", Err(JidError::Character)),
            ("\u{1d2c}dmin@example.com", Err(JidError::Character)),
            ("\u{2f868}@example.com", Err(JidError::Character)),
        ] {
            let got = Jid::parse(text).map(|jid| jid.to_string());
            assert_eq!(got, expected.map(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn a_part_of_more_than_1023_bytes_is_refused() {
        let fits = "a".repeat(1023);
        assert!(Jid::parse(&format!("{fits}@example.com/{fits}")).is_ok());
        assert_eq!(
            Jid::parse(&format!("{fits}a@example.com")),
            Err(JidError::TooLong)
        );
    }

    #[test]
    fn a_bare_jid_is_an_account_and_nothing_else() {
        assert!(BareJid::parse("juliet@example.com").is_ok());
        for text in ["example.com", "juliet@example.com/balcony"] {
            assert_eq!(BareJid::parse(text), Err(JidError::NotBare), "{text}");
        }
        let host = Host::parse("example.com").unwrap();
        assert_eq!(BareJid::of("a@b", &host), Err(JidError::Shape));
        assert_eq!(
            BareJid::of("Juliet", &host).unwrap().to_string(),
            "juliet@example.com"
        );
    }

    #[test]
    fn a_plain_part_is_one_that_every_profile_leaves_as_it_is() {
        let plain = ('\0'..='\x7f').filter(|letter| is_plain(&letter.to_string()));
        let plain: String = plain.collect();
        assert_eq!(plain, "-.0123456789_abcdefghijklmnopqrstuvwxyz");
        let profiles: [Profile; 3] = [
            stringprep::nodeprep,
            stringprep::nameprep,
            stringprep::resourceprep,
        ];
        for profile in profiles {
            assert_eq!(profile(&plain).unwrap(), plain);
        }
        assert!(!plain.chars().any(is_ambiguous));
        for other in ["", "A", "a b", "\u{e9}", "a\u{1d2c}"] {
            assert!(!is_plain(other), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn preparing_never_panics_and_is_stable(text in "\\PC{0,40}") {
            if let Ok(jid) = Jid::parse(&text) {
                prop_assert_eq!(Jid::parse(&jid.to_string()), Ok(jid));
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Jid::parse(&String::from_utf8_lossy(&bytes));
        }
    }
}
