//! The ad-hoc command (XEP-0050) by which users manage their certificates: its forms (XEP-0004), what was filled in, and what
//! is said at the end. Names of fields and forms are those of `mod_client_certs`: clients have them in their caches.
//!
//! Must not know: what any of it does.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

use super::certificates::{Row, all_quoted, minute, moment, quoted};
use super::links::OwnLink;
use crate::identity::visible::visible;
use crate::identity::{CertificateName, Fingerprint, LinkId, UnixSeconds};

/// A choice in the menu of the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subcommand {
    /// Adds a certificate that is pasted.
    Add,
    /// Adds the one that the connection presented.
    AddCurrent,
    /// Shows the list.
    List,
    /// Takes one out of the list.
    Disable,
    /// Revokes one and its key.
    Revoke,
    /// Revokes all but the one that the session has logged in with, or one that is chosen.
    RevokeOthers,
    /// Makes a link by which another device gets a key.
    Link,
    /// Shows those that the user has made, and ends one of them or all.
    TakeBackLinks,
}

impl Subcommand {
    /// In the order of the menu.
    pub const ALL: [Self; 8] = [
        Self::Add,
        Self::AddCurrent,
        Self::List,
        Self::Disable,
        Self::Revoke,
        Self::RevokeOthers,
        Self::Link,
        Self::TakeBackLinks,
    ];

    /// As a form names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::AddCurrent => "add-current",
            Self::List => "list",
            Self::Disable => "disable",
            Self::Revoke => "revoke",
            Self::RevokeOthers => "revoke-others",
            Self::Link => "link",
            Self::TakeBackLinks => "take-back-links",
        }
    }

    /// The one of this word.
    #[must_use]
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.word() == word)
    }

    /// `in_use`: has the session logged in with a certificate?
    fn label(self, in_use: bool) -> &'static str {
        match self {
            Self::Add => "Add certificate",
            Self::AddCurrent => "Add the certificate that I am using now",
            Self::List => "List certificates",
            Self::Disable => "Disable certificate",
            Self::Revoke => "Revoke certificate",
            Self::RevokeOthers if in_use => {
                "Revoke all certificates but the one that I am using now"
            }
            Self::RevokeOthers => "Revoke all certificates but one",
            Self::Link => "Make a link for another device of mine",
            Self::TakeBackLinks => "See the links that I have made, and take them back",
        }
    }
}

/// A form, to be filled in or to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Form {
    /// Above it.
    pub title: String,
    /// Below the title.
    pub instructions: Option<String>,
    /// In this order.
    pub fields: Vec<Field>,
}

/// A field of a form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name in the form that comes back.
    pub name: String,
    /// Of which type of XEP-0004.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The text beside it, for people.
    pub label: Option<String>,
    /// Must it be filled in?
    pub required: bool,
    /// Its value.
    pub value: Option<Value>,
    /// Of a list: what can be chosen.
    pub options: Vec<Choice>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// Of a text of several lines, all of them.
    Text(String),
    /// Of a yes or no.
    Flag(bool),
}

/// One of the types of XEP-0004, 3.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Not shown.
    Hidden,
    /// A line.
    TextSingle,
    /// Several lines.
    TextMulti,
    /// Yes or no.
    Boolean,
    /// One of a list.
    ListSingle,
}

/// An option of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// As people read it.
    pub label: String,
    /// As it comes back.
    pub value: String,
}

fn field(name: &str, kind: Kind, label: &str) -> Field {
    Field {
        name: name.to_owned(),
        kind,
        label: Some(label.to_owned()),
        required: true,
        value: None,
        options: Vec::new(),
    }
}

fn form(of: &str, title: &str, instructions: String, fields: Vec<Field>) -> Form {
    let form_type = Field {
        label: None,
        required: false,
        value: Some(Value::Text(format!("{NODE}#{of}"))),
        ..field("FORM_TYPE", Kind::Hidden, "")
    };
    Form {
        title: title.to_owned(),
        instructions: Some(instructions),
        fields: std::iter::once(form_type).chain(fields).collect(),
    }
}

fn name_field() -> Field {
    field("name", Kind::TextSingle, "Name")
}

fn certificate_field() -> Field {
    field("cert", Kind::TextMulti, "Certificate (PEM)")
}

fn manage_field() -> Field {
    Field {
        required: false,
        value: Some(Value::Flag(true)),
        ..field("manage", Kind::Boolean, "Can manage certificates")
    }
}

fn choice_field() -> Field {
    field("cert", Kind::ListSingle, "Certificate")
}

fn link_field() -> Field {
    field("link", Kind::ListSingle, "Link that is taken back")
}

fn action_field() -> Field {
    field("subcmd", Kind::ListSingle, "Actions")
}

/// Which sub-command? `in_use`: has the session logged in with a certificate?
#[must_use]
pub fn menu(in_use: bool, offered: impl Fn(Subcommand) -> bool) -> Form {
    let offered = Subcommand::ALL.into_iter().filter(|one| offered(*one));
    let choice = |one: Subcommand| Choice {
        label: one.label(in_use).to_owned(),
        value: one.word().to_owned(),
    };
    let action = Field {
        options: offered.map(choice).collect(),
        ..action_field()
    };
    let question = "What action do you want to perform?".to_owned();
    form("subcmd", "Certificate management", question, vec![action])
}

/// Which certificate is to be added, and under which name?
#[must_use]
pub fn adding() -> Form {
    let fields = vec![name_field(), certificate_field(), manage_field()];
    let what = "Give the certificate a name, that of the device for example, and paste it as PEM";
    form("add", "Adding a certificate", what.to_owned(), fields)
}

/// Under which name is the certificate of this connection to be added?
#[must_use]
pub fn adding_current() -> Form {
    let what =
        "Your client has presented a certificate. Give it a name, and log in with it from now on";
    form(
        "add-current",
        "Adding the certificate of this connection",
        what.to_owned(),
        vec![name_field(), manage_field()],
    )
}

/// For which device is the link to be?
#[must_use]
pub fn linking() -> Form {
    let name = Field {
        required: false,
        ..field("name", Kind::TextSingle, "Name of the device")
    };
    let what = "Whoever opens the link gets a key for your account, once. Open it on the device itself, or scan it there";
    form(
        "link",
        "A link for another device of mine",
        what.to_owned(),
        vec![name],
    )
}

/// The link that was made. `url` is the link itself, and not for anybody else.
#[must_use]
pub fn linked(url: &str, expires: UnixSeconds) -> Form {
    let shown = |name, label, value: &str| Field {
        required: false,
        value: Some(Value::Text(value.to_owned())),
        ..field(name, Kind::TextSingle, label)
    };
    let fields = vec![
        shown("link", "Link", url),
        shown("expires", "Counts until", &moment(expires)),
    ];
    let what = "Open it on the other device. It counts once; do not send it to anybody else";
    form(
        "link",
        "A link for another device of mine",
        what.to_owned(),
        fields,
    )
}

/// Which of the links that the user has made is to be taken back? `name_of`: the name of the certificate of this fingerprint in the
/// user's list.
#[must_use]
pub fn taking_back(
    own: &[OwnLink],
    name_of: impl Fn(&Fingerprint) -> Option<CertificateName>,
) -> Form {
    let choice = |link: &OwnLink| Choice {
        label: link.in_one_line(&name_of),
        value: link.id.to_string(),
    };
    let all = Choice {
        label: "All of them".to_owned(),
        value: ALL_LINKS.to_owned(),
    };
    let field = Field {
        options: own
            .iter()
            .map(choice)
            .chain((own.len() > 1).then_some(all))
            .collect(),
        ..link_field()
    };
    let what = "Whoever opens one of them first gets a key for your account. One that you take back does not count any more; a device \
                that has its key keeps it";
    form(
        Subcommand::TakeBackLinks.word(),
        "Links that you have made",
        what.to_owned(),
        vec![field],
    )
}

/// A certificate that can be chosen to be disabled or revoked.
#[derive(Clone, Copy, Debug)]
pub struct Chosen<'a> {
    /// The user's name for it.
    pub name: &'a CertificateName,
    /// Its state, as the user should know it.
    pub state: ChosenState,
}

/// The state of a certificate, as the user should know it before choosing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChosenState {
    /// Nothing.
    Listed,
    /// The session that asks has logged in with it.
    InUse,
    /// It was disabled before, and sessions that use it may go on.
    Disabled,
}

/// Which certificate is to be disabled?
#[must_use]
pub fn disabling(all: &[Chosen<'_>]) -> Form {
    let what = "Nobody can log in with it any more, until it is added again. Sessions stay";
    choosing("disable", "Disabling a certificate", what, all)
}

/// Which certificate is to be revoked?
#[must_use]
pub fn revoking(all: &[Chosen<'_>]) -> Form {
    let what =
        "For a device that is lost: its sessions are closed, and its key can never be used again";
    choosing("revoke", "Revoking a certificate", what, all)
}

fn choosing(of: &str, title: &str, what: &str, all: &[Chosen<'_>]) -> Form {
    let mut options: Vec<Choice> = Vec::new();
    for one in all {
        let value = one.name.as_str();
        if options.iter().any(|known| known.value == value) {
            continue;
        }
        let state = match one.state {
            ChosenState::Listed => "",
            ChosenState::InUse => " (the one that you are using now)",
            ChosenState::Disabled => " (disabled; sessions may be online)",
        };
        options.push(Choice {
            label: format!("{}{state}", visible(value)),
            value: value.to_owned(),
        });
    }
    let choice = Field {
        options,
        ..choice_field()
    };
    form(of, title, what.to_owned(), vec![choice])
}

/// Are all these to be revoked?
#[must_use]
pub fn revoking_others(names: &[&CertificateName]) -> Form {
    let what = format!(
        "Their sessions are closed, and their keys can never be used again: {}",
        all_quoted(names)
    );
    form(
        "revoke-others",
        "Revoking all other certificates",
        what,
        Vec::new(),
    )
}

/// Which certificate is to stay when all others are revoked? For a session that has logged in with none.
#[must_use]
pub fn keeping(all: &[Chosen<'_>]) -> Form {
    let what = "The sessions of all others are closed, and their keys can never be used again";
    let mut form = choosing(
        "revoke-others",
        "Revoking all certificates but one",
        what,
        all,
    );
    for field in &mut form.fields {
        if field.name == choice_field().name {
            field.label = Some("Certificate that stays".to_owned());
        }
    }
    form
}

/// The list itself, to be read.
#[must_use]
pub fn list(rows: &[Row]) -> Form {
    let name_of = |fingerprint: &_| {
        let found = rows.iter().find(|row| row.fingerprint == *fingerprint);
        found.map(|row| row.name.clone())
    };
    let fields = rows.iter().map(|row| Field {
        required: false,
        value: Some(Value::Text(row.for_owner(name_of))),
        ..field(
            row.name.as_str(),
            Kind::TextMulti,
            &visible(row.name.as_str()),
        )
    });
    Form {
        title: "List of certificates".to_owned(),
        instructions: None,
        fields: fields.collect(),
    }
}

/// The fields of a form that came back, as they came. Wiped when it is dropped: somebody may have pasted a private key.
pub struct Filled(BTreeMap<String, Vec<Zeroizing<String>>>);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
        let wiped = |values: Vec<String>| values.into_iter().map(Zeroizing::new).collect();
        let fields = fields.into_iter();
        Ok(Self(
            fields.map(|(name, values)| (name, wiped(values))).collect(),
        ))
    }
}

impl Serialize for Filled {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.iter().map(|(name, values)| {
            let plain: Vec<&str> = values.iter().map(|value| value.as_str()).collect();
            (name, plain)
        });
        serializer.collect_map(fields)
    }
}

impl std::fmt::Debug for Filled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Filled(…)")
    }
}

/// The user's entries in [`adding()`] and [`adding_current()`].
#[derive(Debug)]
pub struct Added<'a> {
    /// Under which name.
    pub name: &'a str,
    /// May its sessions add and remove certificates?
    pub may_manage: bool,
}

impl Filled {
    /// The word of the sub-command that was chosen.
    ///
    /// Errors, of this and all others: what is wrong, field by field.
    pub fn chosen(&self) -> Result<&str, String> {
        self.line(&action_field())
    }

    /// The certificate that was chosen.
    pub fn certificate(&self) -> Result<&str, String> {
        self.line(&choice_field())
    }

    /// Of [`linking()`]: the name of the device, if it has one.
    #[must_use]
    pub fn device(&self) -> Option<&str> {
        self.first("name").filter(|name| !name.trim().is_empty())
    }

    /// Of [`taking_back()`]: the id that was chosen, or [`ALL_LINKS`].
    pub fn link(&self) -> Result<&str, String> {
        self.line(&link_field())
    }

    /// Of [`adding()`], with the text that was pasted.
    pub fn pasted(&self) -> Result<(Added<'_>, Zeroizing<String>), String> {
        let lines = self.values("cert");
        let text: Vec<&str> = lines.iter().map(|line| line.as_str()).collect();
        let text = Zeroizing::new(text.join("\n"));
        let missing = text
            .is_empty()
            .then(|| problem(&certificate_field(), MISSING));
        match (self.added(), missing) {
            (Ok(added), None) => Ok((added, text)),
            (Ok(_), Some(missing)) => Err(missing),
            (Err(wrong), missing) => Err(std::iter::once(wrong)
                .chain(missing)
                .collect::<Vec<_>>()
                .join("\n")),
        }
    }

    /// Of [`adding_current()`].
    pub fn added(&self) -> Result<Added<'_>, String> {
        let may_manage = match self.first("manage") {
            Some("1" | "true") => Ok(true),
            Some("0" | "false") | None => Ok(false),
            Some(_) => Err(problem(&manage_field(), "must be true or false")),
        };
        match (self.line(&name_field()), may_manage) {
            (Ok(name), Ok(may_manage)) => Ok(Added { name, may_manage }),
            (name, may_manage) => {
                let wrong: Vec<String> = name.err().into_iter().chain(may_manage.err()).collect();
                Err(wrong.join("\n"))
            }
        }
    }

    fn line(&self, field: &Field) -> Result<&str, String> {
        let value = self.first(&field.name).filter(|value| !value.is_empty());
        value.ok_or_else(|| problem(field, MISSING))
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.values(name).first().map(|value| value.as_str())
    }

    fn values(&self, name: &str) -> &[Zeroizing<String>] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

fn problem(field: &Field, what: &str) -> String {
    let label = field.label.as_deref().unwrap_or(&field.name);
    format!("{label}: {what}")
}

/// The command's words at its end.
#[must_use]
pub fn has_added(name: &CertificateName, not_after: UnixSeconds) -> String {
    format!(
        "Added the certificate {}. Expires: {}",
        quoted(name),
        minute(not_after)
    )
}

/// The same, of what was disabled.
#[must_use]
pub fn has_disabled(name: &CertificateName) -> String {
    format!("Disabled: {}", quoted(name))
}

/// The same, of all that were revoked.
#[must_use]
pub fn has_revoked(names: &[&CertificateName]) -> String {
    format!("Revoked: {}", all_quoted(names))
}

/// There was `nothing` to revoke but links.
#[must_use]
pub fn only_links_ended(nothing: &str) -> String {
    format!("{nothing}. The links that gave devices keys have ended")
}

/// The links that the user had made, `count` of them, count no more.
#[must_use]
pub fn links_taken_back(count: usize) -> String {
    match count {
        0 => NO_LINKS.to_owned(),
        1 => "The link that you have made does not count any more".to_owned(),
        _ => format!("The {count} links that you have made do not count any more"),
    }
}

/// The same of this one.
#[must_use]
pub fn link_taken_back(id: LinkId) -> String {
    format!("The link {id} does not count any more")
}

/// In the place of an id: all that there are.
pub const ALL_LINKS: &str = "all";
/// There are none to be taken back.
pub const NO_LINKS: &str = "You have made no links that still count";
/// There is nothing to show or to choose from.
pub const EMPTY_LIST: &str = "There are no certificates in your list";
/// There is nothing to revoke.
pub const NO_OTHERS: &str = "There are no other certificates in your list";
/// A step came without its form.
pub const NO_FORM: &str = "The form is missing";
/// The menu has no such entry.
pub const NO_SUBCOMMAND: &str = "There is no such action";
/// A step that the command can't take, as a stanza error.
///
/// Source: XEP-0050, the table of command error conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misstep {
    /// Its type.
    pub kind: &'static str,
    /// Its condition.
    pub condition: &'static str,
    /// The command's own condition.
    pub command: &'static str,
    /// For the user.
    pub text: &'static str,
}

/// XEP-0050 knows no such action, or not at this step.
pub const NO_ACTION: Misstep = Misstep {
    command: "malformed-action",
    text: "There is no such action",
    ..HAS_ENDED
};
/// The step belongs to a run that is over.
pub const HAS_ENDED: Misstep = Misstep {
    kind: "modify",
    condition: "bad-request",
    command: "bad-sessionid",
    text: "This command has ended, start it again",
};

const MISSING: &str = "must be filled in";
const NODE: &str = "http://prosody.im/protocol/certs";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn name(text: &str) -> CertificateName {
        CertificateName::parse(text).unwrap()
    }

    fn filled(fields: serde_json::Value) -> Filled {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn words_of_subcommands_find_them_again() {
        for one in Subcommand::ALL {
            assert_eq!(Subcommand::of(one.word()), Some(one));
            assert_eq!(json!(one), one.word());
        }
        assert_eq!(Subcommand::of("dance"), None);
    }

    #[test]
    fn forms_have_the_names_that_clients_know() {
        let phone = name("phone");
        let chosen = [Chosen {
            name: &phone,
            state: ChosenState::Listed,
        }];
        for (form, form_type, names) in [
            (menu(true, |_| true), "subcmd", vec!["subcmd"]),
            (adding(), "add", vec!["name", "cert", "manage"]),
            (adding_current(), "add-current", vec!["name", "manage"]),
            (disabling(&chosen), "disable", vec!["cert"]),
            (revoking(&chosen), "revoke", vec!["cert"]),
            (revoking_others(&[&phone]), "revoke-others", vec![]),
            (keeping(&chosen), "revoke-others", vec!["cert"]),
            (linking(), "link", vec!["name"]),
            (taking_back(&[], |_| None), "take-back-links", vec!["link"]),
            (
                linked("https://a.lit/devices#x", UnixSeconds(0)),
                "link",
                vec!["link", "expires"],
            ),
        ] {
            let (first, rest) = form.fields.split_first().unwrap();
            let wanted = format!("http://prosody.im/protocol/certs#{form_type}");
            assert_eq!(first.value, Some(Value::Text(wanted)));
            assert_eq!((&*first.name, first.kind), ("FORM_TYPE", Kind::Hidden));
            let got: Vec<&str> = rest.iter().map(|field| field.name.as_str()).collect();
            assert_eq!(got, names);
        }
    }

    #[test]
    fn the_menu_has_what_is_offered() {
        let form = menu(false, |one| {
            ![
                Subcommand::AddCurrent,
                Subcommand::RevokeOthers,
                Subcommand::Link,
            ]
            .contains(&one)
        });
        let values = form.fields.iter().flat_map(|field| &field.options);
        let values: Vec<&str> = values.map(|option| option.value.as_str()).collect();
        assert_eq!(
            values,
            ["add", "list", "disable", "revoke", "take-back-links"]
        );
    }

    #[test]
    fn a_name_that_cannot_be_seen_is_written_out_and_comes_back_as_it_is() {
        let (odd, own) = (name("a\u{202e}b"), name("mine"));
        let chosen = |name, state| Chosen { name, state };
        let form = revoking(&[
            chosen(&odd, ChosenState::Listed),
            chosen(&own, ChosenState::InUse),
            // A name is chosen once, whatever has it.
            chosen(&own, ChosenState::Disabled),
        ]);
        let options: Vec<(&str, &str)> = form
            .fields
            .iter()
            .flat_map(|field| &field.options)
            .map(|option| (option.label.as_str(), option.value.as_str()))
            .collect();
        assert_eq!(
            options,
            [
                ("a\\u{202e}b", "a\u{202e}b"),
                ("mine (the one that you are using now)", "mine")
            ]
        );
    }

    #[test]
    fn what_is_missing_or_wrong_is_named_by_its_label() {
        for (fields, wrong) in [
            (json!({"name": ["phone"], "cert": ["MIIB"]}), None),
            (
                json!({"name": ["phone"], "cert": ["MIIB"], "manage": ["0"]}),
                None,
            ),
            (
                json!({"name": [], "cert": ["MIIB"]}),
                Some("Name: must be filled in"),
            ),
            (
                json!({"name": [""], "cert": ["MIIB"]}),
                Some("Name: must be filled in"),
            ),
            (
                json!({"name": ["phone"]}),
                Some("Certificate (PEM): must be filled in"),
            ),
            (
                json!({"name": ["phone"], "cert": [""]}),
                Some("Certificate (PEM): must be filled in"),
            ),
            (
                json!({"name": ["phone"], "cert": ["MIIB"], "manage": ["perhaps"]}),
                Some("Can manage certificates: must be true or false"),
            ),
            (
                json!({}),
                Some("Name: must be filled in\nCertificate (PEM): must be filled in"),
            ),
        ] {
            let form = filled(fields.clone());
            assert_eq!(form.pasted().err().as_deref(), wrong, "{fields}");
        }
        assert!(filled(json!({})).chosen().is_err());
        assert!(filled(json!({"cert": []})).certificate().is_err());
    }

    #[test]
    fn several_values_are_the_lines_of_a_text() {
        let form =
            filled(json!({"name": ["phone", "late"], "cert": ["MI", "IB"], "manage": ["1"]}));
        let (added, text) = form.pasted().unwrap();
        assert_eq!((added.name, added.may_manage), ("phone", true));
        assert_eq!(*text, "MI\nIB");
    }

    #[test]
    fn the_list_is_read_by_name() {
        let form = list(&[]);
        assert_eq!(
            (form.title.as_str(), form.fields.len()),
            ("List of certificates", 0)
        );
    }
}
