//! May this certificate log in, and as whom: the rules for offering EXTERNAL and for a login with it.
//!
//! Must not know: where the facts come from.

use crate::identity::{BareJid, ClientCert, Enrolment, Host, Incarnation, Jid, UnixSeconds};

use super::denial::Denial;
use super::host::HostPolicy;
use crate::identity::certificate::Key;

/// What an offer and a login are decided from.
#[derive(Clone, Debug)]
pub struct CertificateFacts<'a> {
    /// The host that the client connected to.
    pub host: &'a Host,
    /// The certificate that it proved in TLS.
    pub cert: &'a ClientCert,
    /// Every record on this host with this fingerprint, any account, any incarnation, any order.
    pub enrolments: &'a [Enrolment],
    /// Accounts of this host that this certificate names or that enrolled it, and for which its key is
    /// revoked; with the incarnation that it was revoked for.
    pub revoked_for: &'a [(BareJid, Incarnation)],
    /// Accounts for which this certificate was disabled.
    pub disabled_for: &'a [BareJid],
}

/// What Prosody knows of an account that the certificate may belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountFact {
    /// Which.
    pub account: BareJid,
    /// Does it exist?
    pub exists: bool,
    /// Is it enabled?
    pub enabled: bool,
    /// Which account of that name; `None` before its first certificate.
    pub incarnation: Option<Incarnation>,
}

/// Who is logged in, and what the session is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login<'a> {
    /// The record that admits it.
    pub enrolment: &'a Enrolment,
    /// The resource that the session must be bound to; `None` leaves it to the client.
    pub resource: Option<String>,
}

/// The records by which this certificate could log in; none empty.
///
/// Whether their accounts exist and are enabled is for the asker to find out.
///
/// Units: `now` and the validity are seconds since the epoch, both ends included.
/// Errors: why EXTERNAL is not to be offered.
/// Source: RFC 6120 6.3.4 and XEP-0178 1.0 (offer only what can succeed).
pub fn offer<'a>(
    facts: &CertificateFacts<'a>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Vec<&'a Enrolment>, Denial> {
    require_acceptable(facts.cert, policy)?;
    require_validity(facts.cert, now)?;
    let candidates: Vec<&Enrolment> = facts
        .enrolments
        .iter()
        .filter(|enrolment| !is_revoked(facts, enrolment))
        .filter(|enrolment| may_stand_for(facts, policy, &enrolment.account))
        .collect();
    if candidates.is_empty() {
        return Err(why_not_enrolled(facts, policy));
    }
    Ok(candidates)
}

/// Leaves those of `candidates` as whose accounts somebody could log in.
pub fn retain_usable(candidates: &mut Vec<&Enrolment>, accounts: &[AccountFact]) {
    candidates.retain(|held| {
        accounts.iter().any(|fact| {
            fact.account == held.account
                && fact.exists
                && fact.enabled
                && fact.incarnation.as_ref() == Some(&held.incarnation)
        })
    });
}

/// Decides a SASL EXTERNAL login.
///
/// With an authzid, it must be one of the certificate's addresses. Without, the certificate must
/// name exactly one account on the host; if it names none, exactly one account must have enrolled it.
///
/// Shape: `accounts` holds what is known of each candidate; one that is missing does not exist.
/// Units: `now` and the validity are seconds since the epoch, both ends included.
/// Errors: the first refusal in the order of the checks below.
/// Source: XEP-0178 (client-to-server); XEP-0257 (SASL EXTERNAL); RFC 4422 A.
pub fn login<'a>(
    facts: &CertificateFacts<'a>,
    authzid: Option<&[u8]>,
    accounts: &[AccountFact],
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Result<Login<'a>, Denial> {
    require_acceptable(facts.cert, policy)?;
    require_validity(facts.cert, now)?;
    let mut candidates = offer(facts, policy, now)?;
    let authzid = parse_authzid(authzid)?;
    if facts.cert.addresses.is_empty() {
        // Whose it is follows from the lists alone: of accounts that are gone they say nothing.
        candidates.retain(|held| {
            let known = accounts.iter().find(|fact| fact.account == held.account);
            known.is_some_and(|fact| {
                fact.exists && fact.incarnation.as_ref() == Some(&held.incarnation)
            })
        });
        if candidates.is_empty() {
            return Err(Denial::CertificateUnknown);
        }
    }
    let (account, resource) = identity(facts, authzid.as_ref(), &candidates)?;
    // The record must be the account's own: a certificate that names two accounts admits only those who
    // enrolled it themselves.
    let known = accounts.iter().find(|fact| fact.account == account);
    let enrolment = candidates
        .into_iter()
        .filter(|enrolment| enrolment.account == account)
        .find(|enrolment| {
            known.is_some_and(|fact| fact.incarnation.as_ref() == Some(&enrolment.incarnation))
        });
    match (known, enrolment) {
        (Some(fact), Some(_)) if !fact.exists => Err(Denial::AccountMissing),
        (Some(fact), Some(_)) if !fact.enabled => Err(Denial::AccountDisabled),
        (Some(_), Some(enrolment)) => Ok(Login {
            enrolment,
            resource,
        }),
        (Some(_), None) => Err(Denial::CertificateUnknown),
        (None, _) => Err(Denial::AccountMissing),
    }
}

/// Is the certificate's key long enough?
pub fn require_acceptable(cert: &ClientCert, policy: &HostPolicy) -> Result<(), Denial> {
    match cert.key {
        Key::Rsa { bits } if bits < policy.min_rsa_bits => Err(Denial::KeyTooShort),
        Key::Rsa { .. } | Key::Curve => Ok(()),
    }
}

/// Is `now` within the certificate's validity? A machine whose clock is up to 5 minutes ahead may have made it.
pub fn require_validity(cert: &ClientCert, now: UnixSeconds) -> Result<(), Denial> {
    if now > cert.not_after {
        return Err(Denial::CertificateExpired);
    }
    if now.plus(NOT_BEFORE_LEEWAY_SECONDS) < cert.not_before {
        return Err(Denial::CertificateNotYetValid);
    }
    Ok(())
}

/// Could `account` be meant by this certificate? It names it; or it names nobody at all, and the host allows that.
fn may_stand_for(facts: &CertificateFacts<'_>, policy: &HostPolicy, account: &BareJid) -> bool {
    if facts.cert.addresses.is_empty() {
        return !policy.require_address;
    }
    names(facts.cert, account)
}

/// Does the certificate carry an address of `account`?
#[must_use]
pub fn names(cert: &ClientCert, account: &BareJid) -> bool {
    let mut addresses = cert.addresses.iter();
    addresses.any(|address| address.account().as_ref() == Some(account))
}

fn is_revoked(facts: &CertificateFacts<'_>, enrolment: &Enrolment) -> bool {
    facts.revoked_for.iter().any(|(account, incarnation)| {
        *account == enrolment.account && *incarnation == enrolment.incarnation
    })
}

fn why_not_enrolled(facts: &CertificateFacts<'_>, policy: &HostPolicy) -> Denial {
    if facts.cert.addresses.is_empty() && policy.require_address {
        Denial::AddressMissing
    } else if !facts.revoked_for.is_empty() {
        Denial::KeyRevoked
    } else if !facts.disabled_for.is_empty() {
        Denial::CertificateDisabled
    } else if facts.enrolments.is_empty() {
        Denial::CertificateUnknown
    } else {
        Denial::AddressForeign
    }
}

fn parse_authzid(authzid: Option<&[u8]>) -> Result<Option<Jid>, Denial> {
    let bytes = match authzid {
        None | Some([]) => return Ok(None),
        Some(bytes) => bytes,
    };
    if bytes.contains(&0) {
        return Err(Denial::AuthzidMalformed);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Denial::AuthzidMalformed)?;
    Jid::parse(text)
        .map(Some)
        .map_err(|_| Denial::AuthzidInvalid)
}

/// In SASL2 a non-empty authzid must be whom the stream said it comes from, if it said so; resources aside.
///
/// Source: XEP-0388 1.0.4, "Initiation".
pub fn require_announced(authzid: Option<&[u8]>, stream_from: Option<&str>) -> Result<(), Denial> {
    let (Some(authzid), Some(stream_from)) = (parse_authzid(authzid)?, stream_from) else {
        return Ok(());
    };
    let announced = Jid::parse(stream_from).ok().and_then(|jid| jid.account());
    if announced.is_some() && announced == authzid.account() {
        Ok(())
    } else {
        Err(Denial::AuthzidInvalid)
    }
}

/// Which account is meant, and which resource its session is bound to.
fn identity(
    facts: &CertificateFacts<'_>,
    authzid: Option<&Jid>,
    candidates: &[&Enrolment],
) -> Result<(BareJid, Option<String>), Denial> {
    if let Some(authzid) = authzid {
        let account = authzid.account().ok_or(Denial::AuthzidInvalid)?;
        if account.host() != facts.host {
            return Err(Denial::AuthzidInvalid);
        }
        if facts.cert.addresses.is_empty() {
            // Nobody is named, so only the lists say whose it is.
            let holds = candidates.iter().any(|held| held.account == account);
            return if holds {
                Ok((account, None))
            } else {
                Err(Denial::AuthzidInvalid)
            };
        }
        let resource = resource_for(facts.cert, &account, authzid.resource())?;
        return Ok((account, resource));
    }
    let mut accounts: Vec<BareJid> = if facts.cert.addresses.is_empty() {
        candidates.iter().map(|held| held.account.clone()).collect()
    } else {
        // Enrolled or not: which identity is meant must not depend on what else happens to be enrolled.
        let addresses = facts.cert.addresses.iter();
        addresses
            .filter_map(Jid::account)
            .filter(|account| account.host() == facts.host)
            .collect()
    };
    accounts.sort();
    accounts.dedup();
    let mut accounts = accounts.into_iter();
    match (accounts.next(), accounts.next()) {
        (None, _) => Err(Denial::AddressForeign),
        (Some(account), None) => {
            let resource = if facts.cert.addresses.is_empty() {
                None
            } else {
                resource_for(facts.cert, &account, None)?
            };
            Ok((account, resource))
        }
        (Some(_), Some(_)) => Err(Denial::AuthzidRequired),
    }
}

/// The resource that a session of `account` is bound to, when it asked for `wanted` (or for none).
///
/// Source: XEP-0257, "full JID"; the table in the tests is the rule.
fn resource_for(
    cert: &ClientCert,
    account: &BareJid,
    wanted: Option<&str>,
) -> Result<Option<String>, Denial> {
    let own = |address: &&Jid| address.account().as_ref() == Some(account);
    let mut addresses: Vec<&Jid> = cert.addresses.iter().filter(own).collect();
    addresses.sort();
    addresses.dedup();
    let is_bare = addresses.iter().any(|address| address.resource().is_none());
    let mut resources = addresses.iter().filter_map(|address| address.resource());
    if let Some(wanted) = wanted {
        if resources.any(|resource| resource == wanted) {
            return Ok(Some(wanted.to_owned()));
        }
        return if is_bare {
            Ok(None)
        } else {
            Err(Denial::AuthzidInvalid)
        };
    }
    if is_bare {
        return Ok(None);
    }
    match (resources.next(), resources.next()) {
        (None, _) => Err(Denial::AuthzidInvalid),
        (Some(resource), None) => Ok(Some(resource.to_owned())),
        (Some(_), Some(_)) => Err(Denial::AuthzidRequired),
    }
}

/// How far notBefore may lie ahead, at enrolment and at login. There is no leeway for notAfter.
pub const NOT_BEFORE_LEEWAY_SECONDS: i64 = 300;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::policy::fixtures::{NOW, account, cert_naming, enrolled, host, incarnation};

    fn fact(jid: &str) -> AccountFact {
        AccountFact {
            account: account(jid),
            exists: true,
            enabled: true,
            incarnation: Some(incarnation("one")),
        }
    }

    fn try_login(
        addresses: &[&str],
        enrolled_by: &[&str],
        authzid: Option<&[u8]>,
        policy: &HostPolicy,
    ) -> Result<String, Denial> {
        let cert = cert_naming(addresses);
        let host = host("a.lit");
        let enrolments: Vec<Enrolment> =
            enrolled_by.iter().map(|jid| enrolled(&cert, jid)).collect();
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            enrolments: &enrolments,
            revoked_for: &[],
            disabled_for: &[],
        };
        let accounts = [fact("h@a.lit"), fact("g@a.lit")];
        login(&facts, authzid, &accounts, policy, NOW).map(|login| {
            let account = &login.enrolment.account;
            match login.resource {
                Some(resource) => format!("{account}/{resource}"),
                None => account.to_string(),
            }
        })
    }

    type Identities = (
        &'static [&'static str],
        &'static [(&'static str, &'static str)],
    );

    /// Addresses of the certificate, each with what becomes of an authzid. The host is `a.lit`; `h@a.lit` and
    /// `g@a.lit` exist and have enrolled the certificate. `-` stands for none or an empty one.
    ///
    /// Verdicts: an address is who is logged in, with the resource that is bound; `invalid` is an authzid that is
    /// not allowed, `which` one that is missing or ambiguous, `malformed` one that is no text, `foreign` a
    /// certificate of other hosts.
    const IDENTITIES: &[Identities] = &[
        (
            &["h@a.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("H@a.lit", "h@a.lit"),
                ("h@A.LIT", "h@a.lit"),
                ("H@A.Lit", "h@a.lit"),
                ("h@a.lit.", "h@a.lit"),
                ("\u{ff28}@a.lit", "h@a.lit"),
                ("h\u{ad}@a.lit", "h@a.lit"),
                ("h@a.lit/x", "h@a.lit"),
                ("h@a.lit/x/y@z", "h@a.lit"),
                ("H@A.LIT/X", "h@a.lit"),
                ("g@a.lit", "invalid"),
                ("g@a.lit/x", "invalid"),
                ("hh@a.lit", "invalid"),
                ("h@b.lit", "invalid"),
                ("h@x.a.lit", "invalid"),
                ("h@lit", "invalid"),
                ("h@a.lit..", "invalid"),
                ("a.lit", "invalid"),
                ("a.lit/h", "invalid"),
                ("h", "invalid"),
                ("h@", "invalid"),
                ("@a.lit", "invalid"),
                ("h@a.lit/", "invalid"),
                ("h@a.lit@b.lit", "invalid"),
                ("h@@a.lit", "invalid"),
                (" h@a.lit", "invalid"),
                ("h@a.lit ", "invalid"),
                ("h@a.lit\n", "invalid"),
                ("h @a.lit", "invalid"),
                ("\"h\"@a.lit", "invalid"),
                ("h&@a.lit", "invalid"),
                ("<h>@a.lit", "invalid"),
                ("xmpp:h@a.lit", "invalid"),
                ("=", "invalid"),
                ("\u{1d2c}@a.lit", "invalid"),
                ("\u{202e}h@a.lit", "invalid"),
                ("\0", "malformed"),
                ("h@a.lit\0", "malformed"),
                ("h@a.lit\0h@a.lit", "malformed"),
                ("\0h@a.lit", "malformed"),
            ],
        ),
        (
            &["H@A.LIT"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("H@A.LIT", "h@a.lit"),
                ("g@a.lit", "invalid"),
            ],
        ),
        (
            &["h@a.lit", "g@a.lit"],
            &[
                ("-", "which"),
                ("h@a.lit", "h@a.lit"),
                ("g@a.lit", "g@a.lit"),
                ("G@A.lit/x", "g@a.lit"),
                ("f@a.lit", "invalid"),
                ("h@b.lit", "invalid"),
                ("a.lit", "invalid"),
                ("h@a.lit,g@a.lit", "invalid"),
            ],
        ),
        (
            &["h@a.lit", "f@a.lit"],
            // Who has not enrolled it still counts as an address: which one is meant is not guessed.
            &[("-", "which"), ("h@a.lit", "h@a.lit"), ("f@a.lit", "gone")],
        ),
        (
            &["f@a.lit", "h@b.lit"],
            &[
                ("-", "foreign"),
                ("f@a.lit", "foreign"),
                ("h@b.lit", "foreign"),
            ],
        ),
        (
            &["h@a.lit", "h@a.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("h@a.lit/x", "h@a.lit"),
            ],
        ),
        (
            &["h@a.lit/x"],
            &[
                ("-", "h@a.lit/x"),
                ("h@a.lit", "h@a.lit/x"),
                ("H@a.lit", "h@a.lit/x"),
                ("h@a.lit/x", "h@a.lit/x"),
                ("H@A.LIT/x", "h@a.lit/x"),
                ("h@a.lit/X", "invalid"),
                ("h@a.lit/y", "invalid"),
                ("h@a.lit/x/", "invalid"),
                ("h@a.lit/xx", "invalid"),
                ("g@a.lit/x", "invalid"),
                ("h@b.lit/x", "invalid"),
                ("a.lit/x", "invalid"),
            ],
        ),
        (
            &["h@a.lit/a b"],
            &[
                ("-", "h@a.lit/a b"),
                ("h@a.lit/a\u{a0}b", "h@a.lit/a b"),
                ("h@a.lit/ab", "invalid"),
            ],
        ),
        (
            &["h@a.lit/x", "h@a.lit/y"],
            &[
                ("-", "which"),
                ("h@a.lit", "which"),
                ("h@a.lit/x", "h@a.lit/x"),
                ("h@a.lit/y", "h@a.lit/y"),
                ("h@a.lit/z", "invalid"),
                ("g@a.lit", "invalid"),
            ],
        ),
        (
            &["h@a.lit", "h@a.lit/x"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("h@a.lit/x", "h@a.lit/x"),
                ("h@a.lit/z", "h@a.lit"),
            ],
        ),
        (
            &["h@a.lit/x", "g@a.lit/x"],
            &[
                ("-", "which"),
                ("h@a.lit", "h@a.lit/x"),
                ("g@a.lit", "g@a.lit/x"),
                ("g@a.lit/x", "g@a.lit/x"),
                ("g@a.lit/y", "invalid"),
            ],
        ),
        (
            &["h@a.lit/x", "g@a.lit"],
            &[
                ("-", "which"),
                ("h@a.lit", "h@a.lit/x"),
                ("h@a.lit/y", "invalid"),
                ("g@a.lit/y", "g@a.lit"),
            ],
        ),
        (
            &["h@b.lit", "h@a.lit", "g@c.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("h@b.lit", "invalid"),
                ("g@c.lit", "invalid"),
                ("g@a.lit", "invalid"),
            ],
        ),
        (
            &["h@b.lit/x", "h@a.lit/y"],
            &[
                ("-", "h@a.lit/y"),
                ("h@a.lit", "h@a.lit/y"),
                ("h@a.lit/x", "invalid"),
            ],
        ),
        (
            &["a.lit", "h@a.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("a.lit", "invalid"),
            ],
        ),
        (
            &["h@b.lit"],
            &[
                ("-", "foreign"),
                ("h@a.lit", "foreign"),
                ("h@b.lit", "foreign"),
            ],
        ),
        (
            &["a.lit"],
            &[
                ("-", "foreign"),
                ("h@a.lit", "foreign"),
                ("a.lit", "foreign"),
            ],
        ),
        (&["a.lit/h"], &[("-", "foreign"), ("h@a.lit", "foreign")]),
        (
            &["h@a.lit/x", "h@a.lit/x"],
            &[
                ("-", "h@a.lit/x"),
                ("h@a.lit", "h@a.lit/x"),
                ("h@a.lit/y", "invalid"),
            ],
        ),
        (
            &["h@a.lit/x", "h@a.lit/y", "h@a.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("h@a.lit/y", "h@a.lit/y"),
                ("h@a.lit/z", "h@a.lit"),
                ("g@a.lit", "invalid"),
            ],
        ),
        (
            &["h@a.lit/x", "h@a.lit/y", "g@a.lit/x", "g@a.lit/y"],
            &[
                ("-", "which"),
                ("h@a.lit", "which"),
                ("g@a.lit", "which"),
                ("h@a.lit/y", "h@a.lit/y"),
                ("g@a.lit/x", "g@a.lit/x"),
                ("g@a.lit/z", "invalid"),
                ("f@a.lit/x", "invalid"),
            ],
        ),
        (
            &["h@a.lit", "g@a.lit", "f@a.lit", "h@b.lit"],
            &[
                ("-", "which"),
                ("h@a.lit", "h@a.lit"),
                ("g@a.lit", "g@a.lit"),
                ("f@a.lit", "gone"),
                ("h@b.lit", "invalid"),
                ("e@a.lit", "invalid"),
            ],
        ),
        (
            &["g@a.lit"],
            &[
                ("-", "g@a.lit"),
                ("g@a.lit", "g@a.lit"),
                ("G@A.LIT", "g@a.lit"),
                ("h@a.lit", "invalid"),
                ("g@b.lit", "invalid"),
                ("g@a.li", "invalid"),
                ("g@a.litt", "invalid"),
                ("g.@a.lit", "invalid"),
                ("g%@a.lit", "invalid"),
                ("g\t@a.lit", "invalid"),
            ],
        ),
        (
            &["h@a.lit/\u{ff38}"],
            // Resourceprep folds width, and keeps case.
            &[
                ("-", "h@a.lit/X"),
                ("h@a.lit/X", "h@a.lit/X"),
                ("h@a.lit/x", "invalid"),
            ],
        ),
        (
            &["h@a.lit/x@y/z"],
            &[
                ("-", "h@a.lit/x@y/z"),
                ("h@a.lit/x@y/z", "h@a.lit/x@y/z"),
                ("h@a.lit/x", "invalid"),
            ],
        ),
        (
            &["h@xn--a-lit.lit", "h@a.lit"],
            &[
                ("-", "h@a.lit"),
                ("h@a.lit", "h@a.lit"),
                ("h@xn--a-lit.lit", "invalid"),
            ],
        ),
        (
            &["x.a.lit", "h@x.a.lit"],
            &[("-", "foreign"), ("h@a.lit", "foreign")],
        ),
    ];

    #[test]
    fn the_identity_follows_from_the_addresses_and_the_authzid() {
        let policy = HostPolicy::default();
        let mut rows = 0;
        for (addresses, cases) in IDENTITIES {
            for (authzid, expected) in *cases {
                let sent = if *authzid == "-" { "" } else { *authzid };
                let got = try_login(
                    addresses,
                    &["h@a.lit", "g@a.lit"],
                    Some(sent.as_bytes()),
                    &policy,
                );
                let verdict = match &got {
                    Ok(who) => who.as_str(),
                    Err(Denial::AuthzidInvalid) => "invalid",
                    Err(Denial::AuthzidRequired) => "which",
                    Err(Denial::AuthzidMalformed) => "malformed",
                    Err(Denial::AddressForeign) => "foreign",
                    Err(Denial::AccountMissing) => "gone",
                    Err(other) => other.words().code,
                };
                assert_eq!(verdict, *expected, "{addresses:?} {authzid:?}");
                rows += 1;
            }
        }
        assert!(rows >= 150, "{rows} rows");
    }

    #[test]
    fn an_authzid_longer_than_any_jid_is_invalid() {
        let long = "h".repeat(10_000);
        let got = try_login(
            &["h@a.lit"],
            &["h@a.lit"],
            Some(long.as_bytes()),
            &HostPolicy::default(),
        );
        assert_eq!(got, Err(Denial::AuthzidInvalid));
    }

    #[test]
    fn an_absent_and_an_empty_authzid_are_the_same() {
        let policy = HostPolicy::default();
        for authzid in [None, Some(&b""[..])] {
            let got = try_login(&["h@a.lit"], &["h@a.lit"], authzid, &policy);
            assert_eq!(got.as_deref(), Ok("h@a.lit"));
        }
    }

    #[test]
    fn an_authzid_that_is_not_utf8_is_malformed() {
        let policy = HostPolicy::default();
        let got = try_login(&["h@a.lit"], &["h@a.lit"], Some(b"h\xff@a.lit"), &policy);
        assert_eq!(got, Err(Denial::AuthzidMalformed));
    }

    #[test]
    fn in_sasl2_an_authzid_must_be_whom_the_stream_comes_from() {
        let invalid = Err(Denial::AuthzidInvalid);
        for (authzid, stream_from, expected) in [
            ("h@a.lit", None, Ok(())),
            ("", Some("g@a.lit"), Ok(())),
            ("", Some("no jid@@"), Ok(())),
            ("h@a.lit", Some("h@a.lit"), Ok(())),
            ("H@a.lit", Some("h@A.LIT"), Ok(())),
            ("h@a.lit/x", Some("h@a.lit"), Ok(())),
            ("h@a.lit", Some("h@a.lit/x"), Ok(())),
            ("h@a.lit", Some("g@a.lit"), invalid),
            ("h@a.lit", Some("h@b.lit"), invalid),
            ("h@a.lit", Some("a.lit"), invalid),
            ("h@a.lit", Some("no jid@@"), invalid),
            ("h@a.lit", Some(""), invalid),
        ] {
            let got = require_announced(Some(authzid.as_bytes()), stream_from);
            assert_eq!(got, expected, "{authzid:?} {stream_from:?}");
        }
    }

    #[test]
    fn only_the_account_that_enrolled_it_logs_in_with_a_certificate() {
        let policy = HostPolicy::default();
        for (enrolled_by, authzid, expected) in [
            (&["h@a.lit"][..], "g@a.lit", Err(Denial::CertificateUnknown)),
            (&["h@a.lit"], "h@a.lit", Ok("h@a.lit")),
            (&[], "h@a.lit", Err(Denial::CertificateUnknown)),
        ] {
            let got = try_login(
                &["h@a.lit", "g@a.lit"],
                enrolled_by,
                Some(authzid.as_bytes()),
                &policy,
            );
            assert_eq!(got, expected.map(str::to_owned), "{enrolled_by:?}");
        }
    }

    #[test]
    fn a_certificate_without_addresses_belongs_to_whoever_enrolled_it() {
        let waived = HostPolicy {
            require_address: false,
            ..HostPolicy::default()
        };
        for (enrolled_by, authzid, expected) in [
            (&["h@a.lit"][..], "", Ok("h@a.lit")),
            (&["h@a.lit"], "h@a.lit", Ok("h@a.lit")),
            (&["h@a.lit"], "g@a.lit", Err(Denial::AuthzidInvalid)),
            (&["h@a.lit", "g@a.lit"], "", Err(Denial::AuthzidRequired)),
            (&["h@a.lit", "g@a.lit"], "g@a.lit", Ok("g@a.lit")),
            (&[], "h@a.lit", Err(Denial::CertificateUnknown)),
        ] {
            let got = try_login(&[], enrolled_by, Some(authzid.as_bytes()), &waived);
            assert_eq!(
                got,
                expected.map(str::to_owned),
                "{enrolled_by:?} {authzid}"
            );
        }
        let strict = HostPolicy::default();
        let got = try_login(&[], &["h@a.lit"], None, &strict);
        assert_eq!(got, Err(Denial::AddressMissing));
        // Waived is the absence of addresses only: one that names somebody else names somebody else.
        let got = try_login(&["x@a.lit"], &["h@a.lit"], None, &waived);
        assert_eq!(got, Err(Denial::AddressForeign));
    }

    #[test]
    fn validity_and_standing_are_checked_before_anything_is_offered() {
        let host = host("a.lit");
        let cert = cert_naming(&["h@a.lit"]);
        let enrolments = [enrolled(&cert, "h@a.lit")];
        let policy = HostPolicy::default();
        let revoked = [(account("h@a.lit"), incarnation("one"))];
        let revoked_before = [(account("h@a.lit"), incarnation("zero"))];
        let disabled = [account("h@a.lit")];
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            enrolments: &enrolments,
            revoked_for: &[],
            disabled_for: &[],
        };
        let not_enrolled = CertificateFacts {
            enrolments: &[],
            ..facts.clone()
        };
        let end = cert.not_after;
        let start = cert.not_before;
        for (name, facts, now, expected) in [
            ("fine", facts.clone(), NOW, None),
            ("last second", facts.clone(), end, None),
            (
                "over",
                facts.clone(),
                end.plus(1),
                Some(Denial::CertificateExpired),
            ),
            ("five minutes early", facts.clone(), start.plus(-300), None),
            (
                "earlier",
                facts.clone(),
                start.plus(-301),
                Some(Denial::CertificateNotYetValid),
            ),
            (
                "unknown",
                not_enrolled.clone(),
                NOW,
                Some(Denial::CertificateUnknown),
            ),
            (
                "revoked",
                CertificateFacts {
                    revoked_for: &revoked,
                    ..facts.clone()
                },
                NOW,
                Some(Denial::KeyRevoked),
            ),
            (
                "revoked for an earlier account of the name",
                CertificateFacts {
                    revoked_for: &revoked_before,
                    ..facts.clone()
                },
                NOW,
                None,
            ),
            (
                "disabled",
                CertificateFacts {
                    disabled_for: &disabled,
                    ..not_enrolled
                },
                NOW,
                Some(Denial::CertificateDisabled),
            ),
        ] {
            assert_eq!(offer(&facts, &policy, now).err(), expected, "offer: {name}");
            let accounts = [fact("h@a.lit")];
            let got = login(&facts, None, &accounts, &policy, now).err();
            assert_eq!(got, expected, "login: {name}");
        }
    }

    #[test]
    fn the_account_must_exist_be_enabled_and_be_the_one_that_enrolled() {
        let host = host("a.lit");
        let cert = cert_naming(&["h@a.lit"]);
        let enrolments = [enrolled(&cert, "h@a.lit")];
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            enrolments: &enrolments,
            revoked_for: &[],
            disabled_for: &[],
        };
        let fine = fact("h@a.lit");
        for (accounts, expected) in [
            (vec![fine.clone()], None),
            (vec![], Some(Denial::AccountMissing)),
            (
                vec![AccountFact {
                    exists: false,
                    ..fine.clone()
                }],
                Some(Denial::AccountMissing),
            ),
            (
                vec![AccountFact {
                    enabled: false,
                    ..fine.clone()
                }],
                Some(Denial::AccountDisabled),
            ),
            (
                vec![AccountFact {
                    incarnation: None,
                    ..fine.clone()
                }],
                Some(Denial::CertificateUnknown),
            ),
            (
                vec![AccountFact {
                    incarnation: Some(incarnation("two")),
                    ..fine
                }],
                Some(Denial::CertificateUnknown),
            ),
        ] {
            let got = login(&facts, None, &accounts, &HostPolicy::default(), NOW);
            assert_eq!(got.err(), expected, "{accounts:?}");
        }
    }

    #[test]
    fn a_short_rsa_key_is_refused() {
        let mut cert = cert_naming(&["h@a.lit"]);
        for (bits, expected) in [(2047, Err(Denial::KeyTooShort)), (2048, Ok(()))] {
            cert.key = Key::Rsa { bits };
            assert_eq!(require_acceptable(&cert, &HostPolicy::default()), expected);
        }
    }
}
