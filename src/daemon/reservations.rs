//! Names whose accounts somebody has begun to create: until it is done, or a while has passed, nobody else may.
//!
//! A reservation belongs to whoever made it, who names it again when the account is created. It only keeps others from
//! trying in vain: whether the name is free is decided where the account is written.
//!
//! Must not know: who may create an account, how long a reservation holds, what stands in the store.

use std::collections::HashMap;

use crate::identity::{BareJid, UnixSeconds};
use crate::policy::passwords::{Caller, is_reserved};
use crate::system::lock::Lock;

/// Every reservation that was made and not given back.
#[derive(Debug, Default)]
pub(super) struct Reservations(Lock<HashMap<BareJid, Reservation>>);

#[derive(Debug)]
struct Reservation {
    token: String,
    by: Caller,
    made: UnixSeconds,
}

impl Reservation {
    fn holds(&self, now: UnixSeconds) -> bool {
        is_reserved(self.made, now)
    }
}

/// Why a name was not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotReserved {
    /// Somebody else has reserved it.
    Taken,
    /// Too many are reserved.
    TooMany,
}

impl Reservations {
    /// Reserves the name for whoever has `token`. Of two resets the later one counts: there is nothing to be first for.
    pub(super) fn reserve(
        &self,
        account: BareJid,
        token: String,
        by: Caller,
        now: UnixSeconds,
    ) -> Result<(), NotReserved> {
        let mut all = self.0.lock();
        let is_for_reset = |own: &Reservation| own.by == Caller::Reset && by == Caller::Reset;
        if all
            .get(&account)
            .is_some_and(|own| own.holds(now) && own.token != token && !is_for_reset(own))
        {
            return Err(NotReserved::Taken);
        }
        if all.len() >= MAX_RESERVATIONS {
            all.retain(|_, own| own.holds(now));
        }
        if all.len() >= MAX_RESERVATIONS {
            return Err(NotReserved::TooMany);
        }
        let made = now;
        all.insert(account, Reservation { token, by, made });
        Ok(())
    }

    /// Is the name reserved, and not for whoever has `token`?
    #[must_use]
    pub(super) fn is_anothers(
        &self,
        account: &BareJid,
        token: Option<&str>,
        now: UnixSeconds,
    ) -> bool {
        let all = self.0.lock();
        all.get(account)
            .is_some_and(|own| own.holds(now) && Some(own.token.as_str()) != token)
    }

    /// For whom the reservation with `token` was made, if it still holds.
    #[must_use]
    pub(super) fn made_for(
        &self,
        account: &BareJid,
        token: Option<&str>,
        now: UnixSeconds,
    ) -> Option<Caller> {
        let all = self.0.lock();
        let own = all.get(account)?;
        (own.holds(now) && Some(own.token.as_str()) == token).then_some(own.by)
    }

    /// The reservation with this token is not needed any more. Another's stays.
    ///
    /// Was the name still reserved by it?
    pub(super) fn give_back(&self, account: &BareJid, token: &str, now: UnixSeconds) -> bool {
        let mut all = self.0.lock();
        if all.get(account).is_none_or(|own| own.token != token) {
            return false;
        }
        all.remove(account).is_some_and(|own| own.holds(now))
    }
}

const MAX_RESERVATIONS: usize = 1000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_000_000);

    fn brutus() -> BareJid {
        BareJid::parse("brutus@rome.lit").unwrap()
    }

    #[test]
    fn a_name_is_reserved_for_who_was_first_and_for_a_while() {
        let all = Reservations::default();
        let reserve =
            |token: &str, now| all.reserve(brutus(), token.to_owned(), Caller::Server, now);
        assert_eq!(reserve("one", NOW), Ok(()));
        assert_eq!(reserve("one", NOW), Ok(()));
        assert_eq!(reserve("two", NOW), Err(NotReserved::Taken));
        for (token, now, expected) in [
            (Some("one"), NOW, false),
            (Some("two"), NOW, true),
            (None, NOW, true),
            (None, NOW.plus(3600), false),
        ] {
            let found = all.is_anothers(&brutus(), token, now);
            assert_eq!(found, expected, "{token:?} {now:?}");
        }
        assert_eq!(reserve("two", NOW.plus(-3600)), Ok(()));
        let give_back = |token, now| all.give_back(&brutus(), token, now);
        assert!(!give_back("one", NOW.plus(-3600)));
        assert!(all.is_anothers(&brutus(), None, NOW.plus(-3600)));
        assert!(give_back("two", NOW.plus(-3600)));
        assert!(!all.is_anothers(&brutus(), None, NOW.plus(-3600)));
        // It was given back, or a while has passed.
        assert!(!give_back("two", NOW.plus(-3600)));
        assert_eq!(reserve("three", NOW), Ok(()));
        assert!(!give_back("three", NOW.plus(3600)));
    }

    #[test]
    fn a_reset_is_for_who_has_reserved_it_last_and_for_a_while() {
        let all = Reservations::default();
        let reserve = |token: &str, by| all.reserve(brutus(), token.to_owned(), by, NOW);
        assert_eq!(reserve("one", Caller::Reset), Ok(()));
        assert_eq!(reserve("two", Caller::Server), Err(NotReserved::Taken));
        assert_eq!(reserve("three", Caller::Reset), Ok(()));
        for (token, now, expected) in [
            (Some("one"), NOW, None),
            (Some("three"), NOW, Some(Caller::Reset)),
            (Some("three"), NOW.plus(3600), None),
            (Some("three"), NOW.plus(-1), None),
            (None, NOW, None),
        ] {
            let found = all.made_for(&brutus(), token, now);
            assert_eq!(found, expected, "{token:?} {now:?}");
        }
    }

    #[test]
    fn so_many_names_are_reserved_and_no_more() {
        let all = Reservations::default();
        let name = |number| BareJid::parse(&format!("{number}@rome.lit")).unwrap();
        for number in 0..MAX_RESERVATIONS {
            let made = all.reserve(name(number), "one".to_owned(), Caller::Server, NOW);
            assert_eq!(made, Ok(()));
        }
        let reserve = |now| all.reserve(brutus(), "one".to_owned(), Caller::Server, now);
        assert_eq!(reserve(NOW), Err(NotReserved::TooMany));
        // And in a while, or when the clock is set back, there is room again.
        assert_eq!(reserve(NOW.plus(-1)), Ok(()));
    }
}
