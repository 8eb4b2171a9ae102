//! When a record has expired, and when nothing needs to be remembered of it.
//!
//! Must not know: why anybody asks, what is done with a record that is over.

use std::ops::RangeInclusive;

use crate::identity::{Enrolment, UnixSeconds};

/// Is the record so long expired that it goes by itself? Until then it is shown, and holds its name.
#[must_use]
pub fn is_stale(held: &Enrolment, now: UnixSeconds) -> bool {
    is_over(held.not_after, now)
}

/// Did the certificate expire so long ago that nothing needs to be remembered of it?
#[must_use]
pub fn is_over(not_after: UnixSeconds, now: UnixSeconds) -> bool {
    now > not_after.plus(EXPIRED_STAYS_SECONDS)
}

/// Has a message waited for so long that it says nothing new?
#[must_use]
pub fn is_old_news(written: UnixSeconds, now: UnixSeconds) -> bool {
    now > written.plus(EXPIRED_STAYS_SECONDS)
}

/// Has its certificate expired?
#[must_use]
pub fn is_expired(held: &Enrolment, now: UnixSeconds) -> bool {
    now > held.not_after
}

/// The seconds in which a certificate expires that has not expired yet, and will have in so many days.
#[must_use]
pub fn coming_days(days: u16, now: UnixSeconds) -> RangeInclusive<UnixSeconds> {
    now..=now.plus(i64::from(days) * SECONDS_PER_DAY)
}

/// Will its certificate, which has not expired yet, have expired in so many days?
#[must_use]
pub fn expires_within(held: &Enrolment, days: u16, now: UnixSeconds) -> bool {
    !is_expired(held, now) && is_expired(held, now.plus(i64::from(days) * SECONDS_PER_DAY))
}

pub(super) const SECONDS_PER_DAY: i64 = 86_400;
/// How long an expired record stays in the list, marked.
pub const EXPIRED_STAYS_SECONDS: i64 = 30 * SECONDS_PER_DAY;
