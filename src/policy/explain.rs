//! Each rule of a login by itself, its verdict, and why: for an admin whose user can't log in.
//!
//! It decides nothing: the verdict on all of them is what [`login`](super::login::login) says.
//!
//! Must not know: where the facts come from, how an explanation is shown.

use std::borrow::Cow;
use std::fmt::Write;

use serde::{Deserialize, Serialize};

use super::denial::Denial;
use super::host::{HostPolicy, Trust};
use super::login::{self, AccountFact, CertificateFacts};
use crate::identity::key::Key;
use crate::identity::visible::visible;
use crate::identity::{BareJid, Holder, UnixSeconds};

/// The verdict of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It lets the login through.
    Yes,
    /// It refuses the login.
    No,
    /// It would refuse, but another one may stand for it: `saslcertd_trust = "enrolled_or_ca"`.
    Unneeded,
    /// It could not be asked.
    Unknown,
}

/// A rule, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// `"certificate"`, `"key"`, `"validity"`, `"address"`, `"list"`, `"authority"`, `"revocation"`, `"account"` or
    /// `"identity"`.
    pub rule: Cow<'static, str>,
    /// Its verdict.
    pub verdict: Verdict,
    /// Why, for people.
    pub why: String,
}

impl Rule {
    /// The certificate itself is unacceptable, so that no other rule has anything to look at.
    #[must_use]
    pub fn unacceptable(denial: Denial) -> Self {
        no("certificate", text(denial))
    }
}

/// All rules, and what a login is answered with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Never [`Verdict::Unneeded`].
    pub verdict: Verdict,
    /// In the order in which somebody would ask.
    pub rules: Vec<Rule>,
}

/// The question about a certificate, beside its facts.
#[derive(Clone, Copy, Debug)]
pub struct LoginQuestion<'a> {
    /// The account that is to log in.
    pub account: &'a BareJid,
    /// That account and all others that the certificate may belong to.
    pub accounts: &'a [AccountFact],
    /// How much of that is known; of what is not, `accounts` says that all is well.
    pub known: AccountKnowledge,
    /// The authzid that the client is to send.
    pub authzid: Option<&'a [u8]>,
    /// The authorities' answer in words, or why they could not be asked: [`CertificateFacts::by_authority`]
    /// tells which of them.
    pub about_authority: Option<&'a str>,
}

impl LoginQuestion<'_> {
    fn fact(&self) -> Option<&AccountFact> {
        self.accounts
            .iter()
            .find(|fact| fact.account == *self.account)
    }
}

/// How much is known of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccountKnowledge {
    /// All of it: it lives in the daemon.
    All,
    /// Whether it exists, and which one it is; whether it is enabled only Prosody knows.
    Existence,
    /// Nothing: it lives in Prosody, which could not be asked.
    Nothing,
}

/// Why `asked.account` can log in with a certificate, or why not.
///
/// Units: `now` is seconds since the epoch.
#[must_use]
pub fn explain(
    facts: &CertificateFacts<'_>,
    asked: &LoginQuestion<'_>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Explanation {
    let mut rules = vec![
        certificate(facts, policy),
        key(facts, policy),
        validity(facts, now),
        address(facts, asked, policy),
    ];
    let listed = policy.trust.has_lists() && list(facts, asked).verdict == Verdict::Yes;
    let mut list = policy.trust.has_lists().then(|| list(facts, asked));
    let mut authority = policy.trust.ca().map(|_| authority(facts, asked));
    if let (Trust::EnrolledOrCa(_), Some(list), Some(authority)) =
        (&policy.trust, &mut list, &mut authority)
    {
        // An authority can't vouch for an account that the certificate doesn't name.
        let is_named = !facts.cert.addresses.is_empty();
        match (list.verdict, authority.verdict) {
            (Verdict::Yes, Verdict::No | Verdict::Unknown) => authority.verdict = Verdict::Unneeded,
            (Verdict::No, Verdict::Yes | Verdict::Unknown) if is_named => {
                list.verdict = Verdict::Unneeded;
            }
            _ => {}
        }
    }
    rules.extend(list);
    rules.extend(authority);
    rules.push(revocation(facts, asked, listed));
    rules.push(account(asked));
    rules.extend(identity(facts, asked, policy, now));
    let is_refused = rules.iter().any(|rule| rule.verdict == Verdict::No);
    let verdict = match login::login(facts, asked.authzid, asked.accounts, policy, now) {
        Ok(login) if login.account == *asked.account => Verdict::Yes,
        Err(_) if !is_refused && policy.trust.ca().is_some() && facts.by_authority.is_none() => {
            Verdict::Unknown
        }
        Ok(_) | Err(_) => Verdict::No,
    };
    Explanation { verdict, rules }
}

/// Which one it is: by its fingerprint here, by its serial number (as openssl writes it) for its authority.
///
/// Several things may speak against the certificate itself; of these, only its key has a rule of its own.
fn certificate(facts: &CertificateFacts<'_>, policy: &HostPolicy) -> Rule {
    match login::require_acceptable(facts.cert, policy) {
        Ok(()) | Err(Denial::KeyTooShort { .. }) => {}
        Err(denial) => return no("certificate", text(denial)),
    }
    let octets = match facts.cert.serial.as_slice() {
        // The sign.
        [0, octets @ ..] if !octets.is_empty() => octets,
        octets => octets,
    };
    let mut serial = String::new();
    for octet in octets.iter().take(MAX_SHOWN_SERIAL_BYTES) {
        // Proof: writing to a String can't fail.
        let _ = write!(serial, "{octet:02X}");
    }
    let rest = if octets.len() > MAX_SHOWN_SERIAL_BYTES {
        "…"
    } else {
        ""
    };
    let fingerprint = facts.cert.fingerprint;
    yes(
        "certificate",
        format!("SHA-256 {fingerprint}, serial number {serial}{rest}"),
    )
}

fn key(facts: &CertificateFacts<'_>, policy: &HostPolicy) -> Rule {
    let what = match facts.cert.key {
        Key::Rsa { bits } => format!("RSA with {bits} bits"),
        Key::Curve => "an elliptic curve".to_owned(),
    };
    match login::require_acceptable(facts.cert, policy) {
        Err(Denial::KeyTooShort { wanted, .. }) => {
            no("key", format!("{what}; this host wants {wanted}"))
        }
        Ok(()) | Err(_) => yes("key", what),
    }
}

fn validity(facts: &CertificateFacts<'_>, now: UnixSeconds) -> Rule {
    match login::require_validity(facts.cert, now) {
        Ok(()) => yes("validity", "it is valid now".to_owned()),
        Err(denial) => no("validity", text(denial)),
    }
}

fn address(facts: &CertificateFacts<'_>, asked: &LoginQuestion<'_>, policy: &HostPolicy) -> Rule {
    let addresses = &facts.cert.addresses;
    if addresses.is_empty() {
        return match (policy.require_address, &policy.trust) {
            (false, Trust::Enrolled | Trust::EnrolledAndCa(_) | Trust::EnrolledOrCa(_)) => yes(
                "address",
                "it names nobody, and this host does without".to_owned(),
            ),
            _ => no("address", text(Denial::AddressMissing)),
        };
    }
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let all = format!("it names {}", all.join(", "));
    if login::names(facts.cert, asked.account) {
        yes("address", all)
    } else {
        no("address", all)
    }
}

fn list(facts: &CertificateFacts<'_>, asked: &LoginQuestion<'_>) -> Rule {
    let meant = asked.fact().and_then(|fact| fact.incarnation.as_ref());
    let is_own = |held: &&Holder| held.account == *asked.account;
    let mut own = facts.holders.iter().filter(is_own);
    let any = own.clone().next();
    match own.find(|held| meant == Some(&held.incarnation)) {
        Some(held) => yes(
            "list",
            format!(
                "it is in the account's list, as \"{}\"",
                visible(held.name.as_str())
            ),
        ),
        None if any.is_some() => no(
            "list",
            "it is in the list of an earlier account of this name, which this one doesn't inherit"
                .to_owned(),
        ),
        None => no("list", "it is not in the account's list".to_owned()),
    }
}

fn authority(facts: &CertificateFacts<'_>, asked: &LoginQuestion<'_>) -> Rule {
    let words = asked.about_authority.unwrap_or_default();
    match facts.by_authority {
        Some(Ok(())) => yes(
            "authority",
            "an authority of this host vouches for it".to_owned(),
        ),
        Some(Err(denial)) => no("authority", format!("{} ({words})", text(denial))),
        None => unknown("authority", words),
    }
}

fn revocation(facts: &CertificateFacts<'_>, asked: &LoginQuestion<'_>, is_listed: bool) -> Rule {
    let account = asked.account;
    // For whom a list speaks only that account's own revocations count; else those of whoever has had the name.
    let own = asked.fact().and_then(|fact| fact.incarnation.as_ref());
    let counts = |by| !is_listed || own == Some(by);
    let mut revoked = facts.revoked_for.iter();
    if revoked.any(|(of, by)| of == account && counts(by)) {
        let lift = format!(
            "its key was revoked; to lift that: saslcertd cert unrevoke {account} {}",
            facts.cert.key_id
        );
        return no("revocation", lift);
    }
    if facts.is_disabled_for(account) && !is_listed {
        let what = if facts.disabled_for.contains(account) {
            "it"
        } else {
            "a certificate of its key"
        };
        let why = format!("{what} was taken out of the account's list");
        return no("revocation", why);
    }
    yes("revocation", "the account has not revoked it".to_owned())
}

fn account(asked: &LoginQuestion<'_>) -> Rule {
    let account = asked.account;
    match asked.fact() {
        Some(fact) if fact.exists && fact.enabled => match asked.known {
            AccountKnowledge::All => yes("account", format!("{account} exists and is enabled")),
            AccountKnowledge::Existence => {
                unknown("account", "it exists; Prosody knows whether it is enabled")
            }
            AccountKnowledge::Nothing => unknown(
                "account",
                "Prosody could not be asked whether it exists, is enabled, and has not been made anew",
            ),
        },
        Some(fact) if fact.exists => no("account", text(Denial::AccountDisabled)),
        _ => no("account", text(Denial::AccountMissing)),
    }
}

/// None where nobody can be meant.
fn identity(
    facts: &CertificateFacts<'_>,
    asked: &LoginQuestion<'_>,
    policy: &HostPolicy,
    now: UnixSeconds,
) -> Option<Rule> {
    let mut candidates = login::offer(facts, policy, now).unwrap_or_default();
    if facts.cert.addresses.is_empty() {
        login::retain_existing(&mut candidates, asked.accounts);
        if candidates.is_empty() {
            return None;
        }
    }
    let identity = login::parse_authzid(asked.authzid)
        .and_then(|authzid| login::identity(facts, authzid.as_ref(), &candidates));
    Some(match identity {
        Ok((account, resource)) => {
            let resource = resource.map(|resource| format!(", bound to the resource {resource}"));
            let why = format!("it stands for {account}{}", resource.unwrap_or_default());
            if account == *asked.account {
                yes("identity", why)
            } else {
                no("identity", why)
            }
        }
        Err(denial) => no("identity", text(denial)),
    })
}

fn yes(rule: &'static str, why: String) -> Rule {
    Rule {
        rule: rule.into(),
        verdict: Verdict::Yes,
        why,
    }
}

fn no(rule: &'static str, why: String) -> Rule {
    Rule {
        rule: rule.into(),
        verdict: Verdict::No,
        why,
    }
}

fn unknown(rule: &'static str, why: &str) -> Rule {
    Rule {
        rule: rule.into(),
        verdict: Verdict::Unknown,
        why: why.to_owned(),
    }
}

fn text(denial: Denial) -> String {
    denial.words().stanza_text
}

/// As many as an authority may use (RFC 5280 4.1.2.2).
const MAX_SHOWN_SERIAL_BYTES: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use crate::identity::{ClientCert, Incarnation};
    use crate::policy::fixtures::{NOW, account, cert_naming, holder, host, incarnation};
    use crate::policy::host::CaFiles;

    const H: &str = "h@a.lit";
    const G: &str = "g@a.lit";

    fn trusts() -> [Trust; 4] {
        let files = CaFiles {
            authorities: "/ca.pem".into(),
            lists: None,
            accept_expired_lists: true,
        };
        [
            Trust::Enrolled,
            Trust::Ca(files.clone()),
            Trust::EnrolledAndCa(files.clone()),
            Trust::EnrolledOrCa(files),
        ]
    }

    fn fact(jid: &str, exists: bool, enabled: bool, of: Option<&str>) -> AccountFact {
        AccountFact {
            account: account(jid),
            exists,
            enabled,
            incarnation: of.map(incarnation),
        }
    }

    fn policies() -> Vec<HostPolicy> {
        let of = |trust: Trust| {
            [true, false].map(|require_address| HostPolicy {
                trust: trust.clone(),
                require_address,
                ..HostPolicy::default()
            })
        };
        trusts().into_iter().flat_map(of).collect()
    }

    /// Each state that `h@a.lit` can be in, once.
    fn each_case(
        mut look: impl FnMut(&CertificateFacts<'_>, &LoginQuestion<'_>, &HostPolicy, UnixSeconds),
    ) {
        let host = host("a.lit");
        let policies = policies();
        let accounts = [
            fact(H, true, true, Some("one")),
            fact(H, true, false, Some("one")),
            fact(H, true, true, None),
            fact(H, false, false, None),
        ]
        .map(|of_h| [of_h, fact(G, true, true, Some("one"))]);
        let revocations: [Vec<(BareJid, Incarnation)>; 3] = [
            vec![],
            vec![(account(H), incarnation("one"))],
            vec![(account(H), incarnation("zero"))],
        ];
        let disabled = [vec![], vec![account(H)]];
        for addresses in [&[][..], &[H], &[H, G], &[G], &["h@b.lit"], &["h@a.lit/x"]] {
            let cert = cert_naming(addresses);
            let before = Holder {
                incarnation: incarnation("zero"),
                ..holder(H)
            };
            for holders in [
                vec![],
                vec![holder(H)],
                vec![before],
                vec![holder(G)],
                vec![holder(H), holder(G)],
            ] {
                for bits in 0..3 * 3 * 3 * 4 * 3 * 2_usize {
                    let mut bits = bits;
                    let mut of = |count: usize| {
                        let one = bits % count;
                        bits /= count;
                        one
                    };
                    let marks = of(3);
                    let facts = CertificateFacts {
                        host: &host,
                        cert: &cert,
                        holders: &holders,
                        by_authority: [None, Some(Ok(())), Some(Err(Denial::ChainUntrusted))]
                            [of(3)],
                        revoked_for: &revocations[of(3)],
                        disabled_for: &disabled[marks / 2],
                        key_disabled_for: &disabled[usize::from(marks > 0)],
                    };
                    let asked = LoginQuestion {
                        account: &account(H),
                        accounts: &accounts[of(4)],
                        known: AccountKnowledge::All,
                        authzid: [None, Some(H.as_bytes()), Some(G.as_bytes())][of(3)],
                        about_authority: None,
                    };
                    let now = [NOW, cert.not_after.plus(1)][of(2)];
                    for policy in &policies {
                        look(&facts, &asked, policy, now);
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_refused_has_a_rule_that_refuses_and_what_is_let_in_has_none() {
        let mut counts = [0; 3];
        each_case(|facts, asked, policy, now| {
            let decided = login::login(facts, asked.authzid, asked.accounts, policy, now);
            let is_in = decided.is_ok_and(|login| login.account == *asked.account);
            let explained = explain(facts, asked, policy, now);
            let case = || format!("{facts:?}\n{asked:?}\n{policy:?}\n{explained:?}");
            let says = |verdict| explained.rules.iter().any(|rule| rule.verdict == verdict);
            assert_eq!(explained.verdict == Verdict::Yes, is_in, "{}", case());
            assert_eq!(
                explained.verdict == Verdict::No,
                says(Verdict::No),
                "{}",
                case()
            );
            match explained.verdict {
                Verdict::Yes => counts[0] += 1,
                Verdict::No => counts[1] += 1,
                Verdict::Unknown => {
                    assert!(says(Verdict::Unknown), "{}", case());
                    counts[2] += 1;
                }
                Verdict::Unneeded => panic!("{}", case()),
            }
        });
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }

    #[test]
    fn a_rule_says_what_to_do() {
        let cert = cert_naming(&[H]);
        let host = host("a.lit");
        let list = [holder(H)];
        let revoked = [(account(H), incarnation("one"))];
        let facts = CertificateFacts {
            host: &host,
            cert: &cert,
            holders: &list,
            revoked_for: &revoked,
            disabled_for: &[],
            key_disabled_for: &[],
            by_authority: None,
        };
        let asked = LoginQuestion {
            account: &account(H),
            accounts: &[fact(H, true, true, Some("one"))],
            known: AccountKnowledge::Existence,
            authzid: None,
            about_authority: None,
        };
        let explained = explain(&facts, &asked, &HostPolicy::default(), NOW);
        let said: Vec<String> = explained
            .rules
            .iter()
            .map(|rule| format!("{:?} {}: {}", rule.verdict, rule.rule, rule.why))
            .collect();
        assert_eq!(
            said,
            [
                format!(
                    "Yes certificate: SHA-256 {}, serial number 5F3A",
                    cert.fingerprint
                ),
                "Yes key: an elliptic curve".to_owned(),
                "Yes validity: it is valid now".to_owned(),
                "Yes address: it names h@a.lit".to_owned(),
                "Yes list: it is in the account's list, as \"phone\"".to_owned(),
                format!(
                    "No revocation: its key was revoked; to lift that: saslcertd cert unrevoke h@a.lit {}",
                    cert.key_id
                ),
                "Unknown account: it exists; Prosody knows whether it is enabled".to_owned(),
                "Yes identity: it stands for h@a.lit".to_owned(),
            ]
        );
    }

    #[test]
    fn a_serial_number_is_shown_as_openssl_shows_it() {
        for (serial, shown) in [
            (vec![1], "01".to_owned()),
            (vec![0x0a], "0A".to_owned()),
            (vec![0, 0x80], "80".to_owned()),
            (vec![7; 20], "07".repeat(20)),
            (vec![7; 21], format!("{}…", "07".repeat(20))),
        ] {
            let cert = ClientCert {
                serial,
                ..cert_naming(&[H])
            };
            let facts = CertificateFacts {
                host: &host("a.lit"),
                cert: &cert,
                holders: &[],
                revoked_for: &[],
                disabled_for: &[],
                key_disabled_for: &[],
                by_authority: None,
            };
            let expected = format!("SHA-256 {}, serial number {shown}", cert.fingerprint);
            assert_eq!(certificate(&facts, &HostPolicy::default()).why, expected);
        }
    }
}
