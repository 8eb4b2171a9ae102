//! Every "no", and the only place that turns one into a SASL and a stanza error.
//!
//! Texts for SASL are read by strangers: they are the same for everything that would tell who exists or what
//! is enrolled. Texts for stanzas are read by the account's owner and say what to mend.
//!
//! Must not know: how a denial came about, where its words are sent.

use super::manage::request::{BadChild, Child, Malformed};
use crate::identity::certificate::Finding;
use crate::identity::password::VerifierError;

/// Why a question was answered with no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial {
    /// No certificate where one is needed.
    CertificateMissing,
    /// The connection has presented no certificate that could be added.
    NonePresented,
    /// The certificate itself is unacceptable, whoever presents it.
    CertificateUnacceptable {
        /// The problem with it.
        finding: Finding,
    },
    /// An RSA key below `saslcertd_min_rsa_bits`.
    KeyTooShort {
        /// So many bits it has.
        bits: usize,
        /// So many the host wants.
        wanted: usize,
    },
    /// After its notAfter.
    CertificateExpired,
    /// Before its notBefore.
    CertificateNotYetValid,
    /// Valid for longer than `saslcertd_max_validity_days`.
    ValidityTooLong,
    /// Not in any list.
    CertificateUnknown,
    /// Taken out of the list; to be appended again before it counts.
    CertificateDisabled,
    /// The key was revoked for this account.
    KeyRevoked,
    /// No path from the certificate to an authority of `saslcertd_ca_file`.
    ChainUntrusted,
    /// Outside of its validity: the certificate, or one that the path to the authority goes through.
    ChainExpired,
    /// An authority has revoked it, or one that the path goes through.
    ChainRevoked,
    /// There is no revocation list of an authority on the path in `saslcertd_crl_file`.
    CrlMissing,
    /// A revocation list is older than it promised, and `saslcertd_crl_expired = "refuse"`.
    CrlExpired,
    /// Nobody has a list here: `saslcertd_trust = "ca"`.
    NoList,
    /// No address in the certificate, and the host requires one.
    AddressMissing,
    /// Addresses, but none of them this account's (or on this host).
    AddressForeign,
    /// An authzid that is not UTF-8 or holds a NUL (RFC 4422 A.1).
    AuthzidMalformed,
    /// An authzid that is not one of the certificate's addresses.
    AuthzidInvalid,
    /// Several identities are possible, and the client named none.
    AuthzidRequired,
    /// The account does not exist.
    AccountMissing,
    /// The account is disabled.
    AccountDisabled,
    /// The stream is not encrypted.
    StreamNotSecure,
    /// This session may not add or remove certificates.
    ManagementForbidden,
    /// A session that a certificate has logged in asks for another password, or for the end of the account.
    ///
    /// Source: XEP-0257: whoever stole a device must not take the account.
    PasswordNeeded,
    /// A name that cannot be one.
    NameInvalid,
    /// The name stands in the list already.
    NameTaken,
    /// The certificate stands in the list already, under another name.
    AlreadyEnrolled,
    /// `saslcertd_max_certs` certificates stand in the list.
    TooManyCertificates,
    /// The list has as many bytes as one may have.
    ListTooLarge,
    /// So many keys and certificates were revoked and disabled that no more may come.
    TooManyMarks,
    /// It names nobody, and stands in another account's list.
    HeldByAnother,
    /// No certificate of that name in the list.
    NameUnknown,
    /// A request of a client (XEP-0257) that lacks something, or holds it twice.
    RequestMalformed {
        /// Which part of it, and why.
        bad: BadChild,
    },
    /// The text in the place of a certificate is not base64.
    NotBase64,
    /// A wrong password, an account that does not exist, or one that is disabled: nobody shall tell them apart.
    PasswordWrong,
    /// A session that neither a password nor a certificate has logged in here, of an account that does not exist or is disabled.
    SessionRefused,
    /// A new password that cannot be one.
    PasswordUnacceptable,
    /// Another system's verifier of a password is none.
    PasswordUnusable {
        /// The problem with it.
        error: VerifierError,
    },
    /// An account that is to be created has a name that none can have.
    AccountNameImpossible,
    /// The account exists already.
    AccountExists,
    /// A certificate moves in for an account that is here, and has another password.
    AccountKept,
    /// Not a link that can be redeemed: there never was one, or it was used, has expired or was revoked. Nobody shall tell them apart.
    LinkUnknown,
    /// No link has this id.
    LinkMissing,
    /// `saslcertd_links = "off"`.
    LinksOff,
    /// A link that only an administrator may make.
    LinkForbidden,
    /// A link that would live too long or too short, or be used too often.
    LinkTerms,
    /// So many links of the account, or of the host, wait already.
    TooManyLinks,
    /// So many wrong links were tried from the same network that the next one has to wait.
    TooManyGuesses,
}

/// A "no" in the words of both worlds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Words {
    /// Its name in logs and in the protocol.
    pub code: &'static str,
    /// SASL failure condition (RFC 6120 6.5).
    pub sasl: &'static str,
    /// The text beside it, for strangers.
    pub sasl_text: &'static str,
    /// Stanza error type (RFC 6120 8.3.2).
    pub stanza_type: &'static str,
    /// Stanza error condition (RFC 6120 8.3.3).
    pub stanza: &'static str,
    /// The text beside it, for the account's owner.
    pub stanza_text: String,
}

impl Denial {
    /// The words for this "no".
    ///
    /// Source: conditions by design for XEP-0178 (invalid-authzid), XEP-0257 (item-not-found), RFC 6120 6.5
    /// and 8.3.
    #[must_use]
    #[allow(clippy::too_many_lines)] // A table.
    pub fn words(&self) -> Words {
        let (code, (sasl, sasl_text), (stanza_type, stanza), stanza_text) = match self {
            Self::CertificateMissing => (
                "cert-missing",
                REFUSED,
                BAD_REQUEST,
                "There is no certificate in the request",
            ),
            Self::NonePresented => (
                "none-presented",
                REFUSED,
                BAD_REQUEST,
                "Your client has presented no certificate on this connection that could be added",
            ),
            Self::CertificateUnacceptable { finding } => {
                return words(
                    "cert-unacceptable",
                    REFUSED,
                    NOT_ACCEPTABLE,
                    &capitalised(&finding.to_string()),
                );
            }
            Self::KeyTooShort { bits, wanted } => {
                return words(
                    "key-too-short",
                    REFUSED,
                    NOT_ACCEPTABLE,
                    &format!(
                        "The certificate's RSA key is too short: it has {bits} bits, this server wants at least {wanted}"
                    ),
                );
            }
            Self::CertificateExpired => (
                "cert-expired",
                ("credentials-expired", "The certificate has expired"),
                NOT_ACCEPTABLE,
                "The certificate has expired",
            ),
            Self::CertificateNotYetValid => (
                "cert-not-yet-valid",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate is not valid yet; is the clock of the machine that made it right?",
            ),
            Self::ValidityTooLong => (
                "validity-too-long",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate is valid for longer than this server allows",
            ),
            Self::CertificateUnknown => (
                "cert-unknown",
                REFUSED,
                NOT_FOUND,
                "The certificate is not in this account's list",
            ),
            Self::CertificateDisabled => (
                "cert-disabled",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate was disabled",
            ),
            Self::KeyRevoked => (
                "key-revoked",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate's key was revoked for this account; make a new key",
            ),
            Self::ChainUntrusted => (
                "chain-untrusted",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate was not issued by an authority that this server trusts",
            ),
            Self::ChainExpired => (
                "chain-expired",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate, or that of an authority above it, is outside of its validity",
            ),
            Self::ChainRevoked => (
                "chain-revoked",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate was revoked by the authority that issued it",
            ),
            Self::CrlMissing => (
                "crl-missing",
                REFUSED,
                NOT_ACCEPTABLE,
                "This server has no revocation list of the authority that issued the certificate",
            ),
            Self::CrlExpired => (
                "crl-expired",
                REFUSED,
                NOT_ACCEPTABLE,
                "This server's revocation list of the authority that issued the certificate is too old",
            ),
            Self::NoList => (
                "no-list",
                REFUSED,
                ("cancel", "not-allowed"),
                "On this server only an authority's certificates count; there is no list to change",
            ),
            Self::AddressMissing => (
                "address-missing",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate names no XMPP address (xmppAddr in subjectAltName)",
            ),
            Self::AddressForeign => (
                "address-foreign",
                REFUSED,
                NOT_ACCEPTABLE,
                "The certificate names other XMPP addresses, not this account's",
            ),
            Self::AuthzidMalformed => (
                "authzid-malformed",
                (
                    "malformed-request",
                    "The authorization identity is not readable",
                ),
                BAD_REQUEST,
                "The authorization identity is not readable",
            ),
            Self::AuthzidInvalid => (
                "authzid-invalid",
                AUTHZID,
                FORBIDDEN,
                "The certificate does not allow this address",
            ),
            Self::AuthzidRequired => (
                "authzid-required",
                AUTHZID,
                BAD_REQUEST,
                "The certificate allows several addresses; the client must name one",
            ),
            Self::AccountMissing => (
                "account-missing",
                REFUSED,
                NOT_FOUND,
                "The account does not exist",
            ),
            Self::AccountDisabled => (
                "account-disabled",
                ("account-disabled", "The account is disabled"),
                FORBIDDEN,
                "The account is disabled",
            ),
            Self::StreamNotSecure => (
                "stream-not-secure",
                ("encryption-required", "The connection is not encrypted"),
                ("modify", "policy-violation"),
                "Certificates are managed over an encrypted connection only",
            ),
            Self::ManagementForbidden => (
                "management-forbidden",
                REFUSED,
                FORBIDDEN,
                "This session may not change the list of certificates; log in with your password",
            ),
            Self::PasswordNeeded => (
                "password-needed",
                REFUSED,
                ("auth", "not-authorized"),
                "Log in with your password to do this",
            ),
            Self::NameInvalid => (
                "name-invalid",
                REFUSED,
                BAD_REQUEST,
                "A certificate's name has 1 to 256 bytes, no control characters and nothing that XML can't carry",
            ),
            Self::NameTaken => (
                "name-taken",
                REFUSED,
                CONFLICT,
                "There is already a certificate of this name",
            ),
            Self::AlreadyEnrolled => (
                "already-enrolled",
                REFUSED,
                CONFLICT,
                "This certificate is already in the list, under another name",
            ),
            Self::TooManyCertificates => (
                "too-many-certificates",
                REFUSED,
                ("wait", "resource-constraint"),
                "The list is full; remove a certificate that is no longer used",
            ),
            Self::ListTooLarge => (
                "list-too-large",
                REFUSED,
                ("wait", "resource-constraint"),
                "The certificates of this list would be larger together than 512 KiB; remove one that is no longer used",
            ),
            Self::TooManyMarks => (
                "too-many-marks",
                REFUSED,
                ("wait", "resource-constraint"),
                "Too many certificates of this account were revoked or disabled; ask the server's administrator",
            ),
            Self::HeldByAnother => (
                "held-by-another",
                REFUSED,
                CONFLICT,
                "The certificate names no XMPP address, and another account uses it; make one that names yours",
            ),
            Self::NameUnknown => (
                "name-unknown",
                REFUSED,
                NOT_FOUND,
                "There is no certificate of this name",
            ),
            Self::RequestMalformed { bad } => {
                return words("request-malformed", REFUSED, BAD_REQUEST, &malformed(*bad));
            }
            Self::NotBase64 => (
                "not-base64",
                REFUSED,
                BAD_REQUEST,
                "The certificate is not valid base64",
            ),
            Self::PasswordWrong => (
                "password-wrong",
                (
                    "not-authorized",
                    "The password is wrong, or there is no such account",
                ),
                ("auth", "not-authorized"),
                "The password is wrong, or there is no such account",
            ),
            Self::SessionRefused => (
                "session-refused",
                ("not-authorized", "This account can't log in here like that"),
                ("auth", "not-authorized"),
                "This account can't log in here like that",
            ),
            Self::PasswordUnacceptable => (
                "password-unacceptable",
                REFUSED,
                NOT_ACCEPTABLE,
                "A password has 1 to 1024 bytes and no control characters",
            ),
            Self::PasswordUnusable { error } => {
                return words(
                    "password-unacceptable",
                    REFUSED,
                    NOT_ACCEPTABLE,
                    &format!("SCRAM can't use what is kept of its password: {error}"),
                );
            }
            Self::AccountNameImpossible => (
                "account-name-impossible",
                REFUSED,
                NOT_ACCEPTABLE,
                "No account can have this name",
            ),
            Self::AccountExists => (
                "account-exists",
                REFUSED,
                CONFLICT,
                "There is already an account of this name",
            ),
            Self::AccountKept => (
                "account-kept",
                REFUSED,
                CONFLICT,
                "The account that is here has another password; it may be somebody else's",
            ),
            Self::LinkUnknown => (
                "link-unknown",
                REFUSED,
                NOT_FOUND,
                "This link can't be used: it has been used, has expired, was revoked, or is not whole",
            ),
            Self::LinkMissing => (
                "link-missing",
                REFUSED,
                NOT_FOUND,
                "There is no link with this id",
            ),
            Self::LinksOff => (
                "links-off",
                REFUSED,
                ("cancel", "not-allowed"),
                "There are no links on this server: saslcertd_links = \"off\"",
            ),
            Self::LinkForbidden => (
                "link-forbidden",
                REFUSED,
                FORBIDDEN,
                "On this server only an administrator may make such a link",
            ),
            Self::LinkTerms => (
                "link-terms",
                REFUSED,
                BAD_REQUEST,
                "A link lives from 1 minute to 30 days, one that a user makes at most 24 hours; one that an administrator makes to \
                 add certificates can be used up to 100 times, any other one once",
            ),
            Self::TooManyLinks => (
                "too-many-links",
                REFUSED,
                ("wait", "resource-constraint"),
                "Too many links wait to be used; revoke some, or wait until they expire",
            ),
            Self::TooManyGuesses => (
                "too-many-guesses",
                REFUSED,
                ("wait", "policy-violation"),
                "Too many links that can't be used were tried from your network; wait a minute",
            ),
        };
        words(code, (sasl, sasl_text), (stanza_type, stanza), stanza_text)
    }
}

fn words(
    code: &'static str,
    (sasl, sasl_text): (&'static str, &'static str),
    (stanza_type, stanza): (&'static str, &'static str),
    stanza_text: &str,
) -> Words {
    Words {
        code,
        sasl,
        sasl_text,
        stanza_type,
        stanza,
        stanza_text: stanza_text.to_owned(),
    }
}

/// The problem of a request's child, in words for the client's author.
fn malformed(BadChild { child, problem }: BadChild) -> String {
    let name = child.name();
    match problem {
        Malformed::Missing => format!("There must be a <{name}/>"),
        Malformed::Several => format!("There must be only one <{name}/>"),
        Malformed::NotText => format!("<{name}/> must contain text only"),
        Malformed::Empty => format!("<{name}/> must not be empty"),
    }
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

/// One condition and one text for all that would tell a stranger who exists or what is enrolled.
const REFUSED: (&str, &str) = ("not-authorized", "This certificate cannot log in here");
const AUTHZID: (&str, &str) = (
    "invalid-authzid",
    "The certificate does not allow this address",
);

const BAD_REQUEST: (&str, &str) = ("modify", "bad-request");
const NOT_ACCEPTABLE: (&str, &str) = ("modify", "not-acceptable");
const CONFLICT: (&str, &str) = ("cancel", "conflict");
const NOT_FOUND: (&str, &str) = ("cancel", "item-not-found");
const FORBIDDEN: (&str, &str) = ("auth", "forbidden");

/// One of each, in the order of the documentation's table.
pub const EVERY_DENIAL: [Denial; 50] = [
    Denial::CertificateMissing,
    Denial::NonePresented,
    Denial::CertificateUnacceptable {
        finding: Finding::NotCertificate,
    },
    Denial::KeyTooShort {
        bits: 1024,
        wanted: 2048,
    },
    Denial::CertificateExpired,
    Denial::CertificateNotYetValid,
    Denial::ValidityTooLong,
    Denial::CertificateUnknown,
    Denial::CertificateDisabled,
    Denial::KeyRevoked,
    Denial::ChainUntrusted,
    Denial::ChainExpired,
    Denial::ChainRevoked,
    Denial::CrlMissing,
    Denial::CrlExpired,
    Denial::NoList,
    Denial::AddressMissing,
    Denial::AddressForeign,
    Denial::AuthzidMalformed,
    Denial::AuthzidInvalid,
    Denial::AuthzidRequired,
    Denial::AccountMissing,
    Denial::AccountDisabled,
    Denial::StreamNotSecure,
    Denial::ManagementForbidden,
    Denial::PasswordNeeded,
    Denial::NameInvalid,
    Denial::NameTaken,
    Denial::AlreadyEnrolled,
    Denial::TooManyCertificates,
    Denial::ListTooLarge,
    Denial::TooManyMarks,
    Denial::HeldByAnother,
    Denial::NameUnknown,
    Denial::RequestMalformed {
        bad: BadChild {
            child: Child::Name,
            problem: Malformed::Missing,
        },
    },
    Denial::NotBase64,
    Denial::PasswordWrong,
    Denial::SessionRefused,
    Denial::PasswordUnacceptable,
    Denial::PasswordUnusable {
        error: VerifierError::Iterations { count: 0 },
    },
    Denial::AccountNameImpossible,
    Denial::AccountExists,
    Denial::AccountKept,
    Denial::LinkUnknown,
    Denial::LinkMissing,
    Denial::LinksOff,
    Denial::LinkForbidden,
    Denial::LinkTerms,
    Denial::TooManyLinks,
    Denial::TooManyGuesses,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_cannot_tell_what_is_enrolled_from_who_exists() {
        let first = Denial::CertificateUnknown.words();
        for denial in [
            Denial::CertificateDisabled,
            Denial::KeyRevoked,
            Denial::ChainUntrusted,
            Denial::ChainExpired,
            Denial::ChainRevoked,
            Denial::CrlMissing,
            Denial::CrlExpired,
            Denial::AccountMissing,
            Denial::AddressForeign,
            Denial::AddressMissing,
        ] {
            let words = denial.words();
            assert_eq!(
                (words.sasl, words.sasl_text),
                (first.sasl, first.sasl_text),
                "{denial:?}"
            );
        }
    }

    #[test]
    fn a_malformed_request_names_the_child() {
        for child in [Child::Name, Child::Certificate] {
            for problem in [
                Malformed::Missing,
                Malformed::Several,
                Malformed::NotText,
                Malformed::Empty,
            ] {
                let denial = Denial::RequestMalformed {
                    bad: BadChild { child, problem },
                };
                let text = denial.words().stanza_text;
                assert!(text.contains(&format!("<{}/>", child.name())), "{text}");
            }
        }
    }

    #[test]
    fn the_documentation_lists_every_denial() {
        let doc = include_str!("../../docs/protocol.md");
        for denial in EVERY_DENIAL {
            let words = denial.words();
            let row = format!(
                "| `{}` | `{}` | {} `{}` |",
                words.code, words.sasl, words.stanza_type, words.stanza
            );
            assert!(doc.contains(&row), "docs/protocol.md lacks the row\n{row}");
        }
    }
}
