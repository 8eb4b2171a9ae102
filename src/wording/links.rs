//! A link described: for an administrator, in a line of a terminal; for the user whose session has made it; and the words when one was
//! made.
//!
//! Must not know: who may make or redeem one.

use serde::{Deserialize, Serialize};

use super::certificates::{Added, AddedBy, in_quotes, minute, quoted};
use crate::identity::visible::visible;
use crate::identity::{
    BareJid, CertificateName, Fingerprint, Link, LinkId, LinkKind, LinkMaker, UnixSeconds, counted,
};

/// A link, without what makes it one; also a row of `link.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedLink {
    /// Its name for people.
    pub id: LinkId,
    /// For whom it is.
    pub account: BareJid,
    /// What it does.
    pub kind: LinkKind,
    /// The name that is proposed for the device.
    pub name: Option<CertificateName>,
    /// When it was made.
    pub created: UnixSeconds,
    /// By whom, in words.
    pub by: String,
    /// The first second in which it counts no more.
    pub expires: UnixSeconds,
    /// So often it can still be redeemed.
    pub uses: u16,
}

impl ListedLink {
    /// For an administrator, in one line of a terminal.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        let name = self.name.as_ref().map(|name| visible(name.as_str()));
        let name = name.map_or_else(String::new, |name| format!("  {}", in_quotes(&name)));
        format!(
            "{}  {}  {}{name}  until {}  {} left  made {} by {}",
            self.id,
            self.kind.name(),
            visible(&self.account.to_string()),
            minute(self.expires),
            counted(self.uses, "use", "uses"),
            minute(self.created),
            self.by,
        )
    }

    /// What happens to whom, and until when; for whoever hands it on.
    #[must_use]
    pub fn effect(&self) -> String {
        let account = self.account.to_string();
        let account = visible(&account);
        let what = match self.kind {
            LinkKind::Add => format!("gives a device a key for {account}"),
            LinkKind::New => format!(
                "makes the account {account}, without a password, and gives the device its key"
            ),
            LinkKind::Replace => {
                format!(
                    "gives a device a key for {account}, and revokes all others of the account (whoever knows its password can still log in: \
                     change that, too, if somebody else may)"
                )
            }
        };
        let often = match self.uses {
            1 => "once".to_owned(),
            uses => format!("{uses} times"),
        };
        format!(
            "Whoever opens it {what}; {often}, until {}",
            minute(self.expires)
        )
    }

    /// It does not count any more.
    #[must_use]
    pub fn is_revoked(&self) -> String {
        let account = self.account.to_string();
        format!("Revoked the link {} for {}", self.id, visible(&account))
    }
}

/// A link that a session of the account has made, for its user; also a row beside those of `certificate.list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnLink {
    /// Its name for people.
    pub id: LinkId,
    /// The name that is proposed for the device.
    pub name: Option<CertificateName>,
    /// Its texts that somebody chose, as a person may read them.
    pub shown: ShownLink,
    /// When and by whom it was made.
    pub made: Added,
    /// The first second in which it counts no more.
    pub expires: UnixSeconds,
    /// So often it can still be redeemed.
    pub uses: u16,
}

/// The texts of a link that somebody chose, as a person may read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownLink {
    /// The name that is proposed for the device.
    pub name: Option<String>,
    /// The session that made it.
    pub made_jid: Option<String>,
}

impl OwnLink {
    /// The link's row.
    #[must_use]
    pub fn of(link: &Link) -> Self {
        let (by, fingerprint, jid) = match &link.maker {
            LinkMaker::Admin => (AddedBy::Admin, None, None),
            LinkMaker::Password { jid } => (AddedBy::Password, None, jid.clone()),
            LinkMaker::Certificate { fingerprint, jid } => {
                (AddedBy::Certificate, Some(*fingerprint), jid.clone())
            }
        };
        let name = link.name.as_ref();
        Self {
            id: link.hash.id(),
            shown: ShownLink {
                name: name.map(|name| visible(name.as_str()).into_owned()),
                made_jid: jid
                    .as_ref()
                    .map(|jid| visible(&jid.to_string()).into_owned()),
            },
            name: link.name.clone(),
            made: Added {
                at: link.created,
                by,
                fingerprint,
                jid,
            },
            expires: link.expires,
            uses: link.uses,
        }
    }

    /// In one line of a form. `name_of`: the name of the certificate of this fingerprint in the account's list.
    #[must_use]
    pub fn in_one_line(&self, name_of: impl Fn(&Fingerprint) -> Option<CertificateName>) -> String {
        let name = self.name.as_ref();
        let name = name.map_or_else(String::new, |name| format!("{}, ", quoted(name)));
        format!(
            "{name}link {}: until {}, {} left; made {} by {}",
            self.id,
            minute(self.expires),
            counted(self.uses, "use", "uses"),
            minute(self.made.at),
            self.made.by_whom(name_of),
        )
    }
}

/// What is to be said of the page that a link to `account` leads to; `is_served`: somebody has told where it is.
#[must_use]
pub fn about_page(url: &str, is_served: bool, account: &BareJid) -> Option<String> {
    let host = account.host();
    if !is_served {
        return Some(format!(
            "Nobody has told where the page of {host} is (is mod_saslcertd_devices enabled, and Prosody running?): this is the usual address"
        ));
    }
    (!url.starts_with("https:")).then(|| {
        format!(
            "This is not https: browsers make no keys there, and whoever is on the way reads the link. Say the page's address in Prosody's \
             configuration, restart Prosody, and make another link: http_external_url = \"https://{host}/\""
        )
    })
}

/// So many wait.
#[must_use]
pub fn listed(count: usize) -> String {
    format!("{} can be used", counted(count, "link", "links"))
}

/// The kind that was typed is none.
pub const WHICH_KIND: &str = "A link's kind is add, new or replace";
/// The time that was typed is none.
pub const WHICH_TIME: &str =
    "How long a link counts is a number with s, m, h or d behind it, as 24h";
/// The number that was typed is none.
pub const HOW_OFTEN: &str = "How often a link can be used is a number";
/// The id that was typed is none.
pub const WHICH_ID: &str = "Which link? Its id of 8 letters and digits is needed, as it is listed";
/// What was typed is neither an account nor a host.
pub const OF_WHOM: &str = "This is neither an account (user@host) nor a host";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::{Incarnation, Jid, LinkHash};

    fn row(kind: LinkKind, uses: u16) -> ListedLink {
        ListedLink {
            id: "a5a5a5a5".parse().unwrap(),
            account: BareJid::parse("hamlet@shakespeare.lit").unwrap(),
            kind,
            name: CertificateName::parse("pho\u{200b}ne").ok(),
            created: UnixSeconds(1_767_225_600),
            by: "an administrator of the server".to_owned(),
            expires: UnixSeconds(1_767_312_000),
            uses,
        }
    }

    #[test]
    fn a_link_is_one_line_that_nobody_else_can_write() {
        assert_eq!(
            row(LinkKind::Add, 2).in_one_line(),
            "a5a5a5a5  add  hamlet@shakespeare.lit  \"pho\\u{200b}ne\"  until 2026-01-02 00:00 UTC  2 uses left  made \
             2026-01-01 00:00 UTC by an administrator of the server"
        );
    }

    #[test]
    fn a_user_reads_who_has_made_a_link_and_with_which_device() {
        let fingerprint = Fingerprint::from_bytes([3; 32]);
        let link = |name: Option<&str>, maker| Link {
            hash: LinkHash::from_bytes([0xa5; 32]),
            account: BareJid::parse("hamlet@shakespeare.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            kind: LinkKind::Add,
            name: name.map(|name| CertificateName::parse(name).unwrap()),
            created: UnixSeconds(1_767_225_600),
            maker,
            by: String::new(),
            expires: UnixSeconds(1_767_312_000),
            uses: 1,
        };
        let jid = Jid::parse("hamlet@shakespeare.lit/orchard").ok();
        let device = |jid| LinkMaker::Certificate { fingerprint, jid };
        let phone = |of: &Fingerprint| {
            (*of == fingerprint).then(|| CertificateName::parse("phone").unwrap())
        };
        for (name, maker, expected) in [
            (
                Some("tab\u{200b}let"),
                LinkMaker::Password { jid: jid.clone() },
                "\"tab\\u{200b}let\", link a5a5a5a5: until 2026-01-02 00:00 UTC, 1 use left; made 2026-01-01 00:00 UTC by \
                 hamlet@shakespeare.lit/orchard, logged in with a password",
            ),
            (
                None,
                device(None),
                "link a5a5a5a5: until 2026-01-02 00:00 UTC, 1 use left; made 2026-01-01 00:00 UTC by a session, logged in with the \
                 certificate \"phone\"",
            ),
        ] {
            let row = OwnLink::of(&link(name, maker));
            assert_eq!(row.in_one_line(phone), expected);
            let shown = row.shown.name.as_deref();
            assert_eq!(shown, name.map(|_| "tab\\u{200b}let"));
        }
        let gone = OwnLink::of(&link(None, device(jid))).in_one_line(|_| None);
        assert!(
            gone.ends_with("with a certificate that is no longer in the list"),
            "{gone}"
        );
    }

    #[test]
    fn whoever_hands_it_on_knows_what_it_does() {
        for (kind, uses, part) in [
            (
                LinkKind::Add,
                3,
                "gives a device a key for hamlet@shakespeare.lit; 3 times, until 2026-01-02",
            ),
            (
                LinkKind::New,
                1,
                "makes the account hamlet@shakespeare.lit, without a password",
            ),
            (
                LinkKind::Replace,
                1,
                "change that, too, if somebody else may); once, until",
            ),
        ] {
            let said = row(kind, uses).effect();
            assert!(said.contains(part), "{said}");
        }
    }
}
