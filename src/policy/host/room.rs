//! How many hosts are remembered, and how much of each.
//!
//! Must not know: who declares a host, what its options say.

/// Why a host is not remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// The admin's: its options are too long.
    #[error("its options have more than 16 KiB")]
    OptionsTooLong,
    /// The admin's: there are too many others.
    #[error(
        "10000 hosts are remembered already; take one away that nobody declares any more: saslcertd host forget"
    )]
    TooManyHosts,
}

/// Is there room for a host with so many bytes of options? One that is remembered already takes no other's place.
///
/// Shape: `others` counts every host that is remembered.
pub fn require(options_bytes: usize, is_remembered: bool, others: usize) -> Result<(), NoRoom> {
    if options_bytes > MAX_OPTIONS_BYTES {
        return Err(NoRoom::OptionsTooLong);
    }
    if !is_remembered && others >= MAX_HOSTS {
        return Err(NoRoom::TooManyHosts);
    }
    Ok(())
}

/// Most bytes of a host's options, as JSON.
const MAX_OPTIONS_BYTES: usize = 16 * 1024;
/// Most hosts that are remembered, and that one connection serves.
pub const MAX_HOSTS: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_hosts_with_so_many_options_are_remembered() {
        for (options_bytes, is_remembered, others, expected) in [
            (MAX_OPTIONS_BYTES, false, MAX_HOSTS - 1, Ok(())),
            (MAX_OPTIONS_BYTES, true, MAX_HOSTS, Ok(())),
            (MAX_OPTIONS_BYTES + 1, true, 0, Err(NoRoom::OptionsTooLong)),
            (2, false, MAX_HOSTS, Err(NoRoom::TooManyHosts)),
        ] {
            let found = require(options_bytes, is_remembered, others);
            assert_eq!(found, expected, "{options_bytes} {is_remembered} {others}");
        }
    }

    #[test]
    fn the_limits_are_those_that_the_words_name() {
        let words = NoRoom::TooManyHosts.to_string();
        assert!(words.starts_with(&MAX_HOSTS.to_string()), "{words}");
        assert_eq!(MAX_OPTIONS_BYTES, 16 << 10);
    }
}
