//! Numbers with a noun behind them, in the singular or the plural.
//!
//! Must not know: what is counted.

use std::fmt::Display;

/// `1 certificate`, `2 certificates`.
///
/// Shape: `count` is a whole number.
#[must_use]
pub fn counted(count: impl Display, one: &str, many: &str) -> String {
    let count = count.to_string();
    let what = if count == "1" { one } else { many };
    count + " " + what
}

/// `less than a day`, `1 day`, `2 days`.
#[must_use]
pub fn days(count: i64) -> String {
    match count {
        0 => "less than a day".to_owned(),
        count => counted(count, "day", "days"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_not_many() {
        for (count, wanted) in [(0, "0 keys"), (1, "1 key"), (2, "2 keys"), (11, "11 keys")] {
            assert_eq!(counted(count, "key", "keys"), wanted);
        }
        for (count, wanted) in [(0, "less than a day"), (1, "1 day"), (7, "7 days")] {
            assert_eq!(days(count), wanted);
        }
    }
}
