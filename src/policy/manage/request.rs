//! The request of a client that speaks XEP-0257 to change its list, read from the children of its stanza.
//!
//! Must not know: XML, the list, who asks, the words of a refusal.

use std::collections::BTreeMap;

/// The texts of a request's children, by their names; none for a child that holds other elements.
pub type Children = BTreeMap<String, Vec<Option<String>>>;

/// The certificate to add to a list, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addition {
    /// As it came.
    pub name: String,
    /// Base64, as it came.
    pub certificate: String,
    /// The request does not say that this certificate's sessions may not change the list.
    pub may_manage: bool,
}

/// Reads the children of an `<append/>`.
///
/// Errors: the first child that is not what it must be.
/// Source: XEP-0257, 3.
pub fn addition(mut children: Children) -> Result<Addition, BadChild> {
    let name = only_text(&mut children, Child::Name)?;
    let certificate = only_text(&mut children, Child::Certificate)?;
    let may_manage = !children.contains_key("no-cert-management");
    Ok(Addition {
        name,
        certificate,
        may_manage,
    })
}

/// Which certificate a `<disable/>` or a `<revoke/>` means.
///
/// Errors: as [`addition`].
pub fn named(mut children: Children) -> Result<String, BadChild> {
    only_text(&mut children, Child::Name)
}

fn only_text(children: &mut Children, child: Child) -> Result<String, BadChild> {
    let malformed = |problem| BadChild { child, problem };
    let mut all = children.remove(child.name()).unwrap_or_default();
    match (all.pop(), all.is_empty()) {
        (None, _) => Err(malformed(Malformed::Missing)),
        (Some(_), false) => Err(malformed(Malformed::Several)),
        (Some(None), true) => Err(malformed(Malformed::NotText)),
        (Some(Some(text)), true) if text.trim().is_empty() => Err(malformed(Malformed::Empty)),
        (Some(Some(text)), true) => Ok(text),
    }
}

/// Why a request can't be carried out, whoever sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChild {
    /// Which child.
    pub child: Child,
    /// The problem with it.
    pub problem: Malformed,
}

/// A child that a request must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Child {
    /// The user's name for the certificate.
    Name,
    /// The certificate itself.
    Certificate,
}

impl Child {
    /// Its element.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Certificate => "x509cert",
        }
    }
}

/// The problem with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// There is none.
    Missing,
    /// There are two or more.
    Several,
    /// It holds other elements.
    NotText,
    /// Nothing, or white space.
    Empty,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn children(all: &[(&str, Option<&str>)]) -> Children {
        let mut children = Children::new();
        for (name, text) in all {
            let texts = children.entry((*name).to_owned()).or_default();
            texts.push(text.map(str::to_owned));
        }
        children
    }

    #[test]
    fn an_addition_has_a_name_and_a_certificate() {
        let plain = [("name", Some("phone")), ("x509cert", Some("AQID"))];
        let found = addition(children(&plain)).unwrap();
        let wanted = Addition {
            name: "phone".to_owned(),
            certificate: "AQID".to_owned(),
            may_manage: true,
        };
        assert_eq!(found, wanted);
        // With any content.
        for held in [Some(""), Some("x"), None] {
            let less = [plain[0], plain[1], ("no-cert-management", held)];
            assert!(!addition(children(&less)).unwrap().may_manage);
        }
        // An unknown child does no harm.
        let more = [plain[0], plain[1], ("colour", None)];
        assert_eq!(addition(children(&more)), Ok(wanted));
    }

    #[test]
    fn a_child_that_is_not_one_text_is_named() {
        let (name, certificate) = (("name", Some("phone")), ("x509cert", Some("AQID")));
        for (all, child, problem) in [
            (vec![certificate], Child::Name, Malformed::Missing),
            (vec![name], Child::Certificate, Malformed::Missing),
            (
                vec![name, name, certificate],
                Child::Name,
                Malformed::Several,
            ),
            (
                vec![name, certificate, ("x509cert", None)],
                Child::Certificate,
                Malformed::Several,
            ),
            (
                vec![("name", None), certificate],
                Child::Name,
                Malformed::NotText,
            ),
            (
                vec![("name", Some(" \n")), certificate],
                Child::Name,
                Malformed::Empty,
            ),
            (
                vec![name, ("x509cert", Some(""))],
                Child::Certificate,
                Malformed::Empty,
            ),
        ] {
            let wanted = BadChild { child, problem };
            assert_eq!(addition(children(&all)), Err(wanted), "{all:?}");
        }
    }

    #[test]
    fn a_removal_has_a_name() {
        assert_eq!(
            named(children(&[("name", Some("phone"))])),
            Ok("phone".to_owned())
        );
        let missing = BadChild {
            child: Child::Name,
            problem: Malformed::Missing,
        };
        assert_eq!(named(children(&[])), Err(missing));
    }
}
