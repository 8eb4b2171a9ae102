//! Accounts with passwords that live here: may this one log in, may that one be created? And decoys for those that do not exist.
//!
//! Must not know: where the facts come from, how slow a derivation is.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::identity::account::Looks;
use crate::identity::password::{Look, keyed};
use crate::identity::{Account, AccountName, Incarnation, ScramHash, ScramVerifier, UnixSeconds};

use super::denial::Denial;
use super::host::HostPolicy;

/// For whom Prosody asks to create an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// For somebody who registers, or for an admin in the running server.
    Server,
    /// For an admin at the command line: `prosodyctl passwd` of Prosody 0.12, and `register` of all versions,
    /// "create" accounts that exist.
    Prosodyctl,
    /// For somebody whom an invitation allows to set a new password.
    Reset,
}

/// The outcome of a request to create an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    /// A new account.
    New,
    /// The account exists, and gets the password.
    Password,
}

/// May `caller` reserve the name, of whose account `existing` is known? That of an account that exists only for a reset.
///
/// Shape: `is_anothers`: somebody else has reserved the name. For who exists it doesn't matter.
pub fn reserve(
    existing: Option<&Account>,
    caller: Caller,
    is_anothers: bool,
) -> Result<(), Denial> {
    match (existing, caller) {
        (Some(_), Caller::Reset) => Ok(()),
        (None, _) if !is_anothers => Ok(()),
        _ => Err(Denial::AccountExists),
    }
}

/// For whom an account is created that `asked` asks for. Nobody resets a password but by a reservation that was made for that.
///
/// Shape: `reserved`: for whom the reservation was made that the question names; `None` if it names none that still holds.
#[must_use]
pub fn acting(asked: Caller, reserved: Option<Caller>) -> Caller {
    match (asked, reserved) {
        (Caller::Prosodyctl, _) => Caller::Prosodyctl,
        (_, Some(Caller::Reset)) => Caller::Reset,
        (Caller::Server | Caller::Reset, _) => Caller::Server,
    }
}

/// May `caller` create the account, of which `existing` is known?
///
/// Shape: `is_anothers` as for [`reserve`].
pub fn create(
    existing: Option<&Account>,
    caller: Caller,
    is_anothers: bool,
) -> Result<Creation, Denial> {
    match (existing, caller) {
        // An admin at the command line waits for nobody; whoever has reserved the name hears that it is taken.
        (None, Caller::Prosodyctl) => Ok(Creation::New),
        (None, _) if is_anothers => Err(Denial::AccountExists),
        (None, _) => Ok(Creation::New),
        (Some(_), Caller::Prosodyctl | Caller::Reset) => Ok(Creation::Password),
        (Some(_), Caller::Server) => Err(Denial::AccountExists),
    }
}

/// The account that is to be changed, as it is now.
pub fn require(existing: Option<&Account>) -> Result<&Account, Denial> {
    existing.ok_or(Denial::AccountMissing)
}

/// May the password of the account be set, of which `existing` is known? It never makes one, whoever has reserved the name.
pub fn set_password(existing: Option<&Account>) -> Result<Creation, Denial> {
    require(existing).map(|_| Creation::Password)
}

/// Does a name that was reserved at `made` still wait for its account?
///
/// Not if the clock was ahead when it was reserved: it was set back since.
#[must_use]
pub fn is_reserved(made: UnixSeconds, now: UnixSeconds) -> bool {
    made <= now && now <= made.plus(RESERVED_SECONDS)
}

/// May a name be given back that was only reserved, of whose account `existing` is known? One that exists is another's.
pub fn give_back(existing: Option<&Account>) -> Result<(), Denial> {
    match existing {
        None => Ok(()),
        Some(_) => Err(Denial::AccountExists),
    }
}

/// Is the account that is to be deleted still the one that is meant? `None`: whichever has the name.
pub fn is_meant(existing: Option<&Account>, meant: Option<&Incarnation>) -> Result<(), Denial> {
    match existing {
        Some(known) if meant.is_none_or(|meant| *meant == known.incarnation) => Ok(()),
        _ => Err(Denial::AccountMissing),
    }
}

/// The account whose own verifiers a password may be tried with. `None`: a decoy's are in their place, as of a name that is none's.
#[must_use]
pub fn may_try(account: Option<&Account>) -> Option<&Account> {
    account.filter(|known| known.enabled)
}

/// May the client log in whose password was found right by means of `verifier`? `None`: it was found wrong.
///
/// `account` is what is known of it now: it may have been changed since the password was tried.
/// Errors: one and the same for every reason.
pub fn admits<'a>(
    account: Option<&'a Account>,
    verifier: Option<&ScramVerifier>,
) -> Result<&'a Account, Denial> {
    let verifier = verifier.ok_or(Denial::PasswordWrong)?;
    proves(account, verifier.hash(), verifier.stored_key())
}

/// May the client log in that has proven its password by this key, which the account had when the exchange began?
///
/// `account` and errors as for [`admits`].
pub fn proves<'a>(
    account: Option<&'a Account>,
    hash: ScramHash,
    stored_key: &[u8],
) -> Result<&'a Account, Denial> {
    let has_it = |known: &&Account| {
        let own = known.verifier(hash);
        own.is_some_and(|own| own.has_stored_key(stored_key))
    };
    may_try(account).filter(has_it).ok_or(Denial::PasswordWrong)
}

/// May a session of `account` begin that neither a password nor a certificate has logged in here? Something else did: a
/// token, say, that somebody else vouches for.
///
/// `mechanism` is the SASL mechanism, if there was one. The tokens of `HT-*` (XEP-0484) are never given out where accounts
/// live here: one that is presented all the same is older than the move.
/// Errors: one and the same for every reason.
pub fn begins<'a>(
    account: Option<&'a Account>,
    mechanism: Option<&str>,
) -> Result<&'a Account, Denial> {
    let is_left_over = mechanism.is_some_and(|name| name.starts_with("HT-"));
    account
        .filter(|account| account.enabled && !is_left_over)
        .ok_or(Denial::SessionRefused)
}

/// The hashes for which `account` is to get a new verifier as soon as its password is at hand: those that it
/// lacks, and those of fewer iterations than `policy` wants.
#[must_use]
pub fn outdated(account: &Account, policy: &HostPolicy) -> Vec<ScramHash> {
    let mut hashes = ScramHash::ALL.to_vec();
    hashes.retain(|hash| {
        let verifier = account.verifier(*hash);
        verifier.is_none_or(|verifier| verifier.iterations() < policy.scram_iterations)
    });
    hashes
}

/// A decoy, in the place of the verifiers of an account that does not exist, can't exist, or is disabled.
///
/// Always the same for the same name, secret and looks; no password leads to the keys.
///
/// Shape: `looks` are those of the host's accounts, with how many have each: a stranger shall find as many of each
/// among the names that are none. Empty, every decoy looks like a new account under `policy`.
#[must_use]
pub fn decoys(
    name: &AccountName,
    secret: &[u8; 32],
    looks: &BTreeMap<Looks, u64>,
    policy: &HostPolicy,
) -> Vec<ScramVerifier> {
    let newest = Looks([Some(newest(policy)); 2]);
    let looks = drawn(looks, name, secret).unwrap_or(newest);
    let of = |hash| Some(decoy_of(name, hash, secret, looks.of(hash)?));
    ScramHash::ALL.into_iter().filter_map(of).collect()
}

/// The same for an account that exists and lacks the verifier of `hash`.
#[must_use]
pub fn decoy(
    name: &AccountName,
    hash: ScramHash,
    secret: &[u8; 32],
    policy: &HostPolicy,
) -> ScramVerifier {
    decoy_of(name, hash, secret, newest(policy))
}

fn newest(policy: &HostPolicy) -> Look {
    Look {
        iterations: policy.scram_iterations,
        salt_bytes: NEW_SALT_BYTES,
        is_uuid: false,
    }
}

fn decoy_of(name: &AccountName, hash: ScramHash, secret: &[u8; 32], look: Look) -> ScramVerifier {
    let name = String::from(name.clone());
    // Of the look, too: an account that gets another count gets another salt with it.
    let look_bytes = bytes_of(look);
    let made = |what: &[u8]| {
        keyed(
            secret,
            &[what, hash.name().as_bytes(), &look_bytes, name.as_bytes()],
        )
    };
    let noise = [made(b"salt"), made(b"more salt")].concat();
    let salt = if look.is_uuid {
        uuid_text(&noise).into_bytes()
    } else {
        noise.into_iter().take(look.salt_bytes).collect()
    };
    let key = |what| made(what).into_iter().take(hash.key_bytes()).collect();
    let (stored_key, server_key) = (key(b"stored key"), key(b"server key"));
    // Proof: the look is that of a verifier or of an option: a salt of 1 to 64 bytes, a count within its bounds.
    #[allow(clippy::expect_used)]
    ScramVerifier::from_parts(hash, salt, look.iterations, stored_key, server_key)
        .expect("a decoy has the parts of a verifier")
}

/// One of the looks, each as often as it stands among the accounts.
///
/// When the proportions change, only so many names get another look as are needed for it: each look has a
/// score for each name, which does not depend on the others (weighted rendezvous).
fn drawn(looks: &BTreeMap<Looks, u64>, name: &AccountName, secret: &[u8; 32]) -> Option<Looks> {
    let name = String::from(name.clone());
    let score = |(looks, count): (&Looks, &u64)| {
        let Looks([sha1, sha256]) = looks;
        let bytes = [sha1, sha256].map(|look| look.map(bytes_of).unwrap_or_default());
        let lot = keyed(secret, &[b"looks", &bytes.concat(), name.as_bytes()]);
        let number = lot
            .first_chunk::<4>()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes));
        // From 0 to 1, both excluded.
        let share = (f64::from(number) + 0.5) / (f64::from(u32::MAX) + 1.0);
        #[allow(clippy::cast_precision_loss)]
        // So many accounts there are not.
        let count = *count as f64;
        -share.ln() / count
    };
    let mut scored: Vec<(f64, Looks)> = looks
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|look| (score(look), *look.0))
        .collect();
    scored.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    scored.first().map(|(_, looks)| *looks)
}

fn bytes_of(look: Look) -> Vec<u8> {
    let mut bytes = look.iterations.to_be_bytes().to_vec();
    bytes.extend((look.salt_bytes as u64).to_be_bytes());
    bytes.push(u8::from(look.is_uuid));
    bytes
}

/// As Prosody makes its salts: a UUID of version 4.
fn uuid_text(noise: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in noise.iter().take(16).enumerate() {
        let byte = match at {
            6 => 0x40 | byte & 0x0f,
            8 => 0x80 | byte & 0x3f,
            _ => *byte,
        };
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        // Proof: writing to a String never fails.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// How long a name is kept for whoever creates its account.
const RESERVED_SECONDS: i64 = 10;
/// Bytes of the salts that are made here.
pub const NEW_SALT_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use crate::identity::{BareJid, Secret};
    use crate::policy::fixtures::NOW;

    fn account(enabled: bool, verifiers: Vec<ScramVerifier>) -> Account {
        Account {
            jid: BareJid::parse("brutus@rome.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers,
        }
    }

    fn verifier(password: &str, hash: ScramHash, iterations: u32) -> ScramVerifier {
        let secret = Secret::prepare(password).unwrap();
        ScramVerifier::derive(hash, &secret, b"salt", iterations)
    }

    #[test]
    fn only_an_enabled_account_with_this_very_password_admits() {
        let right = verifier("right", ScramHash::Sha256, 4096);
        let other = verifier("other", ScramHash::Sha256, 4096);
        let sha1 = verifier("right", ScramHash::Sha1, 4096);
        for (known, admitted) in [
            (Some(account(true, vec![right.clone()])), true),
            (Some(account(true, vec![sha1.clone(), right.clone()])), true),
            (Some(account(false, vec![right.clone()])), false),
            (Some(account(true, vec![other])), false),
            (Some(account(true, vec![sha1])), false),
            (Some(account(true, vec![])), false),
            (None, false),
        ] {
            let known = known.as_ref();
            let expected = known.filter(|_| admitted).ok_or(Denial::PasswordWrong);
            assert_eq!(admits(known, Some(&right)), expected, "{known:?}");
            let proven = proves(known, right.hash(), right.stored_key());
            assert_eq!(proven, expected, "{known:?}");
            // Found wrong.
            assert_eq!(admits(known, None), Err(Denial::PasswordWrong));
        }
    }

    #[test]
    fn a_session_begins_by_another_way_only_for_an_account_that_is_enabled_and_never_by_an_old_token()
     {
        let (enabled, disabled) = (account(true, vec![]), account(false, vec![]));
        for (known, mechanism, admitted) in [
            (Some(&enabled), None, true),
            (Some(&enabled), Some("OAUTHBEARER"), true),
            (Some(&enabled), Some("HT-SHA-256-NONE"), false),
            (Some(&enabled), Some("HT-SHA-512-EXPR"), false),
            (Some(&disabled), None, false),
            (Some(&disabled), Some("OAUTHBEARER"), false),
            (None, None, false),
            (None, Some("OAUTHBEARER"), false),
        ] {
            let expected = known.filter(|_| admitted).ok_or(Denial::SessionRefused);
            assert_eq!(
                begins(known, mechanism),
                expected,
                "{known:?} {mechanism:?}"
            );
        }
    }

    #[test]
    fn who_exists_is_not_created_again_but_for_prosodys_own_detours() {
        let existing = account(true, vec![]);
        let taken = Err(Denial::AccountExists);
        // By whom, and with which answer: free, reserved by somebody else.
        for (existing, caller, free, anothers) in [
            (None, Caller::Server, Ok(Creation::New), taken),
            (
                None,
                Caller::Prosodyctl,
                Ok(Creation::New),
                Ok(Creation::New),
            ),
            (None, Caller::Reset, Ok(Creation::New), taken),
            (Some(&existing), Caller::Server, taken, taken),
            (
                Some(&existing),
                Caller::Prosodyctl,
                Ok(Creation::Password),
                Ok(Creation::Password),
            ),
            (
                Some(&existing),
                Caller::Reset,
                Ok(Creation::Password),
                Ok(Creation::Password),
            ),
        ] {
            assert_eq!(create(existing, caller, false), free, "{caller:?}");
            assert_eq!(create(existing, caller, true), anothers, "{caller:?}");
        }
    }

    #[test]
    fn a_password_is_reset_only_by_a_reservation_for_that() {
        let existing = account(true, vec![]);
        let taken = Err(Denial::AccountExists);
        for caller in [Caller::Server, Caller::Prosodyctl, Caller::Reset] {
            assert_eq!(reserve(None, caller, false), Ok(()), "{caller:?}");
            assert_eq!(reserve(None, caller, true), taken, "{caller:?}");
            let of_existing = if caller == Caller::Reset {
                Ok(())
            } else {
                taken
            };
            for is_anothers in [false, true] {
                let reserved = reserve(Some(&existing), caller, is_anothers);
                assert_eq!(reserved, of_existing, "{caller:?}");
            }
        }
        for (asked, reserved, expected) in [
            (Caller::Server, None, Caller::Server),
            (Caller::Server, Some(Caller::Server), Caller::Server),
            (Caller::Server, Some(Caller::Prosodyctl), Caller::Server),
            (Caller::Server, Some(Caller::Reset), Caller::Reset),
            (Caller::Reset, None, Caller::Server),
            (Caller::Reset, Some(Caller::Server), Caller::Server),
            (Caller::Reset, Some(Caller::Reset), Caller::Reset),
            (Caller::Prosodyctl, None, Caller::Prosodyctl),
            (Caller::Prosodyctl, Some(Caller::Reset), Caller::Prosodyctl),
        ] {
            assert_eq!(acting(asked, reserved), expected, "{asked:?} {reserved:?}");
        }
    }

    #[test]
    fn who_exists_is_changed_and_never_given_back_as_a_mere_name() {
        let existing = account(false, vec![]);
        assert_eq!(require(Some(&existing)), Ok(&existing));
        assert_eq!(require(None), Err(Denial::AccountMissing));
        assert_eq!(set_password(Some(&existing)), Ok(Creation::Password));
        assert_eq!(set_password(None), Err(Denial::AccountMissing));
        assert_eq!(give_back(Some(&existing)), Err(Denial::AccountExists));
        assert_eq!(give_back(None), Ok(()));
    }

    #[test]
    fn a_name_is_reserved_for_ten_seconds_whatever_the_clock_was() {
        for (seconds, expected) in [(0, true), (10, true), (11, false), (-1, false)] {
            let found = is_reserved(NOW, NOW.plus(seconds));
            assert_eq!(found, expected, "{seconds}");
        }
    }

    #[test]
    fn only_the_account_that_is_meant_is_deleted() {
        let existing = account(true, vec![]);
        let (own, other) = (existing.incarnation.clone(), Incarnation::parse("else"));
        let other = other.unwrap();
        for (known, meant, is_meant_so) in [
            (Some(&existing), None, true),
            (Some(&existing), Some(&own), true),
            (Some(&existing), Some(&other), false),
            (None, None, false),
            (None, Some(&own), false),
        ] {
            assert_eq!(is_meant(known, meant).is_ok(), is_meant_so, "{meant:?}");
        }
    }

    #[test]
    fn what_an_account_lacks_or_has_too_weak_is_outdated() {
        let policy = HostPolicy::default();
        let sha1 = |iterations| verifier("p", ScramHash::Sha1, iterations);
        let sha256 = |iterations| verifier("p", ScramHash::Sha256, iterations);
        for (verifiers, expected) in [
            (vec![sha1(10_000), sha256(10_000)], vec![]),
            (vec![sha1(20_000), sha256(10_000)], vec![]),
            (vec![sha1(10_000)], vec![ScramHash::Sha256]),
            (vec![sha1(4096), sha256(10_000)], vec![ScramHash::Sha1]),
            (vec![sha256(4096)], ScramHash::ALL.to_vec()),
        ] {
            assert_eq!(outdated(&account(true, verifiers), &policy), expected);
        }
    }

    #[test]
    fn a_decoy_is_always_the_same_and_another_for_everybody_else() {
        let policy = HostPolicy::default();
        let of = |name: &str, hash, secret: u8| {
            let jid = AccountName::parse(name).unwrap();
            let all = decoys(&jid, &[secret; 32], &BTreeMap::new(), &policy);
            let found = all.into_iter().find(|decoy| decoy.hash() == hash).unwrap();
            assert_eq!(found, decoy(&jid, hash, &[secret; 32], &policy));
            found
        };
        let first = of("a@b.c", ScramHash::Sha256, 1);
        assert_eq!(first, of("a@b.c", ScramHash::Sha256, 1));
        assert_eq!((first.iterations(), first.salt().len()), (10_000, 16));
        for other in [
            of("b@b.c", ScramHash::Sha256, 1),
            of("a@b.c", ScramHash::Sha256, 2),
            of("a@b.c", ScramHash::Sha1, 1),
        ] {
            assert_ne!(other.salt(), first.salt());
            assert_ne!(other.stored_key(), first.stored_key());
        }
        assert_ne!(first.stored_key(), first.server_key());
    }

    #[test]
    fn decoys_look_like_the_accounts_that_there_are() {
        let policy = HostPolicy::default();
        let look = |iterations, salt_bytes, is_uuid| {
            Some(Look {
                iterations,
                salt_bytes,
                is_uuid,
            })
        };
        let looks = BTreeMap::from([
            (Looks([look(4096, 36, true), None]), 3),
            (Looks([look(10_000, 16, false); 2]), 1),
        ]);
        let mut imported = 0;
        for number in 0..400 {
            let jid = AccountName::parse(&format!("user{number}@b.c")).unwrap();
            let made = decoys(&jid, &[7; 32], &looks, &policy);
            match made.as_slice() {
                [one] => {
                    imported += 1;
                    assert_eq!((one.hash(), one.iterations()), (ScramHash::Sha1, 4096));
                    let salt = std::str::from_utf8(one.salt()).unwrap();
                    let dashes: Vec<usize> = salt.match_indices('-').map(|(at, _)| at).collect();
                    assert_eq!(dashes, [8, 13, 18, 23], "{salt}");
                    assert!(one.look().is_uuid && salt.as_bytes()[14] == b'4', "{salt}");
                }
                both => assert!(both.iter().all(|one| one.salt().len() == 16)),
            }
        }
        assert!((240..=360).contains(&imported), "{imported} of 400");
    }

    #[test]
    fn another_account_moves_hardly_a_decoy_and_another_look_has_another_salt() {
        let policy = HostPolicy::default();
        let look = |iterations| {
            Looks(
                [Some(Look {
                    iterations,
                    salt_bytes: 16,
                    is_uuid: false,
                }); 2],
            )
        };
        let of = |number: u32, counts: [u64; 2]| {
            let jid = AccountName::parse(&format!("user{number}@b.c")).unwrap();
            let looks = BTreeMap::from([(look(4096), counts[0]), (look(10_000), counts[1])]);
            decoys(&jid, &[7; 32], &looks, &policy)
        };
        let mut moved = 0;
        for number in 0..1000 {
            let (before, after) = (of(number, [100, 100]), of(number, [100, 110]));
            if before != after {
                moved += 1;
                assert_eq!(
                    (before[0].iterations(), after[0].iterations()),
                    (4096, 10_000)
                );
                assert_ne!(before[0].salt(), after[0].salt());
                assert_ne!(before[0].stored_key(), after[0].stored_key());
            }
        }
        // The share of the second look has grown by 1/42.
        assert!((5..=60).contains(&moved), "{moved} of 1000");
    }
}
