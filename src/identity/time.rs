//! A moment, in seconds since the epoch.
//!
//! Must not know: the clock.

use serde::{Deserialize, Serialize};

/// Seconds since the epoch, UTC.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UnixSeconds(pub i64);

impl UnixSeconds {
    /// This moment and `seconds` more.
    #[must_use]
    pub fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// The seconds in a time as people type it: `90s`, `30m`, `24h`, `7d`.
///
/// Errors: it is no whole number with one of these letters behind it, or far too much.
pub fn typed_seconds(text: &str) -> Result<u64, NoTime> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 24 * 3600)];
    let found = units
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, seconds) = found.ok_or(NoTime)?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = number.parse().map_err(|_| NoTime)?;
    let total = number.checked_mul(seconds).filter(|_| is_number);
    total.ok_or(NoTime)
}

/// Not a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a time is a number with s, m, h or d behind it, as 24h")]
pub struct NoTime;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_its_unit() {
        for (text, seconds) in [
            ("90s", Ok(90)),
            ("30m", Ok(1800)),
            ("24h", Ok(86_400)),
            ("7d", Ok(604_800)),
            ("", Err(NoTime)),
            ("h", Err(NoTime)),
            ("24", Err(NoTime)),
            ("+2h", Err(NoTime)),
            ("-2h", Err(NoTime)),
            ("1.5h", Err(NoTime)),
            ("2w", Err(NoTime)),
            ("99999999999999999999d", Err(NoTime)),
            ("18446744073709551615d", Err(NoTime)),
        ] {
            assert_eq!(typed_seconds(text), seconds, "{text}");
        }
    }
}
