//! How much one account may pile up: which records leave to make room for another, and when there is none.
//!
//! Must not know: who may append, what makes a certificate acceptable.

use crate::identity::{Enrolment, UnixSeconds};
use crate::policy::denial::Denial;

use super::expiry::{is_expired, is_stale};

/// An account's records when another is to come: those that stay, and those that leave.
#[derive(Debug)]
pub(super) struct Room<'a> {
    /// Those that stay.
    pub(super) staying: Vec<&'a Enrolment>,
    /// Those that make room: the long expired, and of the other expired ones those that are too many.
    pub(super) leaving: Vec<&'a Enrolment>,
}

/// Makes room among `own` records for one of `bytes`.
///
/// A record that has not expired never leaves. An expired certificate can neither log in nor be appended again: with it nothing
/// is lost but its place in the list.
pub(super) fn make(own: Vec<&Enrolment>, bytes: usize, now: UnixSeconds) -> Room<'_> {
    let (stale, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|held| is_stale(held, now));
    let (mut expired, valid): (Vec<_>, Vec<_>) =
        own.into_iter().partition(|held| is_expired(held, now));
    // The record that expired last stays longest.
    expired.sort_by_key(|held| (std::cmp::Reverse(held.not_after), held.order));
    let taken = bytes_of(&valid).saturating_add(bytes);
    let kept = kept(&expired, MAX_EXPIRED, MAX_LIST_BYTES.saturating_sub(taken));
    let leaving = expired.split_off(kept);
    Room {
        staying: valid.into_iter().chain(expired).collect(),
        leaving: stale.into_iter().chain(leaving).collect(),
    }
}

impl Room<'_> {
    /// Is there room for one more of `bytes`?
    pub(super) fn require(
        &self,
        bytes: usize,
        max_certs: usize,
        now: UnixSeconds,
    ) -> Result<(), Denial> {
        let valid = self.staying.iter().filter(|held| !is_expired(held, now));
        if valid.count() >= max_certs {
            return Err(Denial::TooManyCertificates);
        }
        if bytes_of(&self.staying).saturating_add(bytes) > MAX_LIST_BYTES {
            return Err(Denial::ListTooLarge);
        }
        Ok(())
    }
}

/// Which records of earlier accounts of the name leave: as many stay as a list of its own may have that has expired.
pub(super) fn former_leaving(mut former: Vec<&Enrolment>) -> Vec<&Enrolment> {
    former.sort_by_key(|held| (std::cmp::Reverse(held.added_at), held.order));
    let kept = kept(&former, MAX_EXPIRED, MAX_LIST_BYTES);
    former.split_off(kept)
}

/// How many of the first ones are no more than `count` and `bytes`.
fn kept(records: &[&Enrolment], count: usize, bytes: usize) -> usize {
    let mut left = bytes;
    let fits = |held: &&&Enrolment| match left.checked_sub(held.der.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    };
    records.iter().take(count).take_while(fits).count()
}

fn bytes_of(records: &[&Enrolment]) -> usize {
    records.iter().map(|held| held.der.len()).sum()
}

/// Most records of one account that have expired.
pub const MAX_EXPIRED: usize = 20;
/// Most bytes of certificates in one account's list. A stanza with all of them, in base64, is one that Prosody carries and a client
/// reads; twenty certificates of the largest size fit.
pub const MAX_LIST_BYTES: usize = 512 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::identity::ClientCert;
    use crate::policy::fixtures::{NOW, cert_naming, enrolled};

    /// A record of so many bytes that expired so many seconds ago.
    fn record(order: u64, bytes: usize, expired: i64) -> Enrolment {
        let cert = ClientCert {
            der: vec![0; bytes],
            not_after: NOW.plus(-expired),
            ..cert_naming(&["h@a.lit"])
        };
        Enrolment {
            order,
            added_at: NOW.plus(i64::try_from(order).unwrap()),
            ..enrolled(&cert, "h@a.lit")
        }
    }

    fn orders(records: &[&Enrolment]) -> Vec<u64> {
        let mut orders: Vec<u64> = records.iter().map(|held| held.order).collect();
        orders.sort_unstable();
        orders
    }

    #[test]
    fn expired_records_make_room_and_valid_ones_never_do() {
        let valid = |order| record(order, 1000, -1000);
        let half = MAX_LIST_BYTES / 2;
        let mut many: Vec<Enrolment> = (1..=30).map(valid).collect();
        let expired = (31..=80).map(|order| record(order, 1000, i64::try_from(order).unwrap()));
        many.extend(expired);
        for (case, records, bytes, staying) in [
            ("empty", vec![], 1000, vec![]),
            ("stale", vec![record(1, 1, 31 * 86_400)], 1000, vec![]),
            ("in number", many, 1000, (1..=50).collect()),
            (
                "in bytes",
                vec![record(1, half, 3), record(2, half, 2), record(3, 1000, -1)],
                1000,
                vec![2, 3],
            ),
            (
                "in bytes, the longest expired first",
                vec![record(1, half, 3), record(2, half / 2, 2)],
                half,
                vec![2],
            ),
            (
                "valid ones are too large",
                vec![record(1, MAX_LIST_BYTES, -1)],
                1,
                vec![1],
            ),
        ] {
            let room = make(records.iter().collect(), bytes, NOW);
            assert_eq!(orders(&room.staying), staying, "{case}");
            let count = room.staying.len() + room.leaving.len();
            assert_eq!(count, records.len(), "{case}");
        }
    }

    #[test]
    fn a_list_is_full_in_number_and_in_bytes() {
        // Twenty of the largest size are no problem.
        let largest = 16 * 1024;
        let records: Vec<Enrolment> = (0..19).map(|at| record(at, largest, -1)).collect();
        let with = |records: &[Enrolment], bytes, max| {
            make(records.iter().collect(), bytes, NOW).require(bytes, max, NOW)
        };
        assert_eq!(with(&records, largest, 20), Ok(()));
        assert_eq!(with(&records, 1, 19), Err(Denial::TooManyCertificates));
        let large = [record(1, MAX_LIST_BYTES - 10, -1)];
        assert_eq!(with(&large, 10, 20), Ok(()));
        assert_eq!(with(&large, 11, 20), Err(Denial::ListTooLarge));
        // Expired ones are in nobody's way.
        let expired: Vec<Enrolment> = (0..100).map(|at| record(at, largest, 1)).collect();
        assert_eq!(with(&expired, largest, 1), Ok(()));
    }

    #[test]
    fn of_earlier_accounts_so_much_stays_and_the_newest_of_it() {
        let records: Vec<Enrolment> = (1..=30).map(|order| record(order, 1000, -1)).collect();
        let leaving = former_leaving(records.iter().collect());
        assert_eq!(orders(&leaving), (1..=10).collect::<Vec<u64>>());
        let large = [record(1, 10, -1), record(2, MAX_LIST_BYTES, -1)];
        assert_eq!(orders(&former_leaving(large.iter().collect())), [1]);
    }
}
