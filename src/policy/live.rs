//! Is a live session over?
//!
//! Must not know: where the facts come from, who closes the session, in which words.

use crate::identity::{Account, Incarnation, UnixSeconds};

use super::host::HostPolicy;

/// The facts about a live session that a certificate has logged in.
#[derive(Clone, Copy, Debug)]
pub struct SessionFacts<'a> {
    /// Which account of the name it is of; `None` if that is not known any more.
    pub incarnation: Option<&'a Incarnation>,
    /// For which accounts of the name its key is revoked.
    pub revoked_for: &'a [Incarnation],
    /// The present weight of an authority's word, if one has let the session in.
    pub word: Option<Word>,
    /// Last second of its certificate's validity; `None` if that is not known any more.
    pub not_after: Option<UnixSeconds>,
    /// There is room to keep it in mind: whatever ends it later finds it.
    pub is_kept: bool,
}

/// The present weight of an authority's word for a session that it has let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// The authority would still give it.
    pub holds: bool,
    /// The certificate is in the account's list, or was, until its user disabled it. Of no weight where lists have no say.
    pub has_record: bool,
}

/// Why a session that a certificate has logged in is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The certificate, its key or the authority's word that let it in was taken back.
    Revoked,
    /// There is no room to keep it in mind, and nothing else would end it in time.
    Unkept,
    /// Its certificate has expired.
    Expired,
}

/// Is the session over, and why?
///
/// `policy` is that of its host; `None` if that is not known here, or in error: then only what was taken back ends a session.
#[must_use]
pub fn ending(
    facts: &SessionFacts<'_>,
    policy: Option<&HostPolicy>,
    now: UnixSeconds,
) -> Option<Ending> {
    let ends_with_certificate = facts.not_after.filter(|_| closes_expired(policy));
    if is_taken_back(facts, policy) {
        Some(Ending::Revoked)
    } else if !facts.is_kept && (facts.word.is_some() || ends_with_certificate.is_some()) {
        // A revocation would end it in any case.
        Some(Ending::Unkept)
    } else if ends_with_certificate.is_some_and(|end| end < now) {
        Some(Ending::Expired)
    } else {
        None
    }
}

/// A session ends so if its entry or the store can't be read. Nothing vouches for it: rather one too many ends, it may
/// log in again.
pub const UNREADABLE: Ending = Ending::Revoked;

/// Does a host with this policy close the sessions of a certificate that expires (RFC 6120 13.7.2.3)?
#[must_use]
pub fn closes_expired(policy: Option<&HostPolicy>) -> bool {
    policy.is_some_and(|policy| policy.close_expired)
}

fn is_taken_back(facts: &SessionFacts<'_>, policy: Option<&HostPolicy>) -> bool {
    let is_revoked = match facts.incarnation {
        Some(incarnation) => facts.revoked_for.contains(incarnation),
        // Rather one too many: it may log in again.
        None => !facts.revoked_for.is_empty(),
    };
    // Where the list has a say since, too, an authority's word alone does not suffice any more.
    let wants_record = policy.is_some_and(|policy| policy.trust.wants_record());
    is_revoked
        || facts
            .word
            .is_some_and(|word| !word.holds || (wants_record && !word.has_record))
}

/// A change of an account since a session of it logged in, as far as it ends the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is gone.
    Deleted,
    /// It is disabled.
    Disabled,
    /// It has another password, or is another account of the name.
    Password,
}

/// Has the account of a live session changed so that the session must end?
///
/// Shape: `incarnation` and `password_changed` are what the login was told; `None` where that does not matter.
#[must_use]
pub fn changed_since(
    account: Option<&Account>,
    incarnation: Option<&Incarnation>,
    password_changed: Option<UnixSeconds>,
) -> Option<Change> {
    let Some(account) = account else {
        return Some(Change::Deleted);
    };
    if !account.enabled {
        return Some(Change::Disabled);
    }
    let is_other = incarnation.is_some_and(|of| *of != account.incarnation)
        || password_changed.is_some_and(|at| at != account.password_changed);
    is_other.then_some(Change::Password)
}

/// The change of an account if its entry or the store can't be read. Its sessions end, rather one too many, and
/// nothing is deleted.
///
/// `is_address`: it is at least named by an address. As another one nobody can log in.
#[must_use]
pub fn change_of_unreadable(is_address: bool) -> Change {
    if is_address {
        Change::Password
    } else {
        Change::Disabled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::fixtures::{self, NOW, incarnation};
    use crate::policy::host::{CaFiles, Trust};

    const VOUCHED: Word = Word {
        holds: true,
        has_record: false,
    };

    /// A session that nothing ends.
    fn going_on(own: &Incarnation) -> SessionFacts<'_> {
        SessionFacts {
            incarnation: Some(own),
            revoked_for: &[],
            word: None,
            not_after: Some(NOW),
            is_kept: true,
        }
    }

    fn closing_expired() -> HostPolicy {
        HostPolicy {
            close_expired: true,
            ..HostPolicy::default()
        }
    }

    #[test]
    fn a_session_ends_when_its_key_is_revoked_for_its_account() {
        let (own, other) = (incarnation("one"), incarnation("two"));
        let (both, others) = ([other.clone(), own.clone()], [other]);
        for (incarnation, revoked_for, is_over) in [
            (Some(&own), &[][..], false),
            (Some(&own), &others, false),
            (Some(&own), &both, true),
            (None, &[], false),
            (None, &others, true),
        ] {
            let facts = SessionFacts {
                incarnation,
                revoked_for,
                ..going_on(&own)
            };
            let expected = is_over.then_some(Ending::Revoked);
            for policy in [None, Some(&HostPolicy::default())] {
                assert_eq!(ending(&facts, policy, NOW), expected, "{facts:?}");
            }
        }
    }

    #[test]
    fn a_session_by_an_authoritys_word_ends_when_that_does_not_hold_or_not_suffice() {
        let own = incarnation("one");
        let files = CaFiles {
            authorities: "/ca.pem".into(),
            lists: None,
            accept_expired_lists: true,
        };
        let either = Trust::EnrolledOrCa(files.clone());
        let both = Trust::EnrolledAndCa(files.clone());
        // The trust now, the authority's word, in the list.
        for (trust, holds, has_record, is_over) in [
            (Trust::Ca(files), true, false, false),
            (either.clone(), true, false, false),
            (either.clone(), false, true, true),
            (both.clone(), true, true, false),
            (both.clone(), true, false, true),
            (both, false, true, true),
            (Trust::Enrolled, true, false, true),
            (Trust::Enrolled, true, true, false),
        ] {
            let policy = HostPolicy {
                trust,
                ..HostPolicy::default()
            };
            let facts = SessionFacts {
                word: Some(Word { holds, has_record }),
                ..going_on(&own)
            };
            let expected = is_over.then_some(Ending::Revoked);
            assert_eq!(
                ending(&facts, Some(&policy), NOW),
                expected,
                "{policy:?} {facts:?}"
            );
            // Of a host that is not known only the word counts.
            let expected = (!holds).then_some(Ending::Revoked);
            assert_eq!(ending(&facts, None, NOW), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_session_ends_behind_its_certificates_last_second_where_that_is_wanted() {
        let own = incarnation("one");
        let closing = closing_expired();
        let (soon, late) = (NOW.plus(1), NOW.plus(-1));
        for (policy, not_after, is_over) in [
            (Some(&closing), Some(soon), false),
            (Some(&closing), Some(NOW), false),
            (Some(&closing), Some(late), true),
            (Some(&closing), None, false),
            (Some(&HostPolicy::default()), Some(late), false),
            (None, Some(late), false),
        ] {
            let facts = SessionFacts {
                not_after,
                ..going_on(&own)
            };
            let expected = is_over.then_some(Ending::Expired);
            assert_eq!(ending(&facts, policy, NOW), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_session_that_cannot_be_kept_ends_if_nothing_else_would_end_it() {
        let own = incarnation("one");
        let (plain, closing) = (HostPolicy::default(), closing_expired());
        let revoked = [own.clone()];
        for (policy, word, not_after, revoked_for, expected) in [
            (&plain, None, Some(NOW), &[][..], None),
            (
                &plain,
                Some(Word {
                    has_record: true,
                    ..VOUCHED
                }),
                Some(NOW),
                &[],
                Some(Ending::Unkept),
            ),
            (&closing, None, Some(NOW), &[], Some(Ending::Unkept)),
            (
                &closing,
                None,
                Some(NOW.plus(-1)),
                &[],
                Some(Ending::Unkept),
            ),
            (&closing, None, None, &[], None),
            (&closing, None, Some(NOW), &revoked, Some(Ending::Revoked)),
        ] {
            let facts = SessionFacts {
                word,
                not_after,
                revoked_for,
                is_kept: false,
                ..going_on(&own)
            };
            assert_eq!(ending(&facts, Some(policy), NOW), expected, "{facts:?}");
        }
    }

    #[test]
    fn a_session_ends_with_the_account_that_it_logged_in_to() {
        let (one, two) = (incarnation("one"), incarnation("two"));
        let account = |enabled| Account {
            jid: fixtures::account("h@a.lit"),
            incarnation: incarnation("one"),
            enabled,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers: Vec::new(),
        };
        let (enabled, disabled) = (account(true), account(false));
        let (now, before) = (Some(UnixSeconds(0)), Some(UnixSeconds(-1)));
        for (known, incarnation, password, expected) in [
            (Some(&enabled), Some(&one), now, None),
            (Some(&enabled), None, None, None),
            (Some(&enabled), Some(&two), now, Some(Change::Password)),
            (Some(&enabled), Some(&one), before, Some(Change::Password)),
            (Some(&disabled), Some(&one), now, Some(Change::Disabled)),
            (None, Some(&one), now, Some(Change::Deleted)),
        ] {
            assert_eq!(changed_since(known, incarnation, password), expected);
        }
    }

    #[test]
    fn what_can_not_be_read_ends_sessions_and_deletes_nothing() {
        assert_eq!(UNREADABLE, Ending::Revoked);
        for (is_address, expected) in [(true, Change::Password), (false, Change::Disabled)] {
            assert_eq!(change_of_unreadable(is_address), expected);
        }
    }
}
