//! Is the daemon well?
//!
//! Must not know: where the facts come from, what should be done about them.

/// The facts about the daemon's store and its hosts' authorities.
#[derive(Clone, Copy, Debug)]
pub struct HealthFacts {
    /// Reads that failed because of a damaged record, since the start.
    pub corrupt_reads: u64,
    /// Was the store whole when it was last checked? `None`: it was not checked yet.
    pub was_whole: Option<bool>,
    /// The number of its changes can't be kept.
    pub lacks_sequence: bool,
    /// Nothing is added for lack of room.
    pub is_disk_nearly_full: bool,
    /// What an admin has accepted at this start.
    pub accepted: Accepted,
    /// What the hosts' authorities say.
    pub authorities: AuthorityWord,
}

/// The losses that an admin has accepted at this start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// None.
    Nothing,
    /// Something is missing in the store.
    Loss,
}

/// Can the authorities of the hosts that are served be asked?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorityWord {
    /// All of them.
    Heard,
    /// Not all: a file of one can't be read, say.
    Missing,
}

/// Is there nothing for an administrator to mend?
#[must_use]
pub fn is_healthy(facts: &HealthFacts) -> bool {
    facts.corrupt_reads == 0
        && facts.was_whole != Some(false)
        && !facts.lacks_sequence
        && !facts.is_disk_nearly_full
        && facts.accepted == Accepted::Nothing
        && facts.authorities == AuthorityWord::Heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_to_be_mended_is_no_health() {
        let well = HealthFacts {
            corrupt_reads: 0,
            was_whole: Some(true),
            lacks_sequence: false,
            is_disk_nearly_full: false,
            accepted: Accepted::Nothing,
            authorities: AuthorityWord::Heard,
        };
        let with = |change: fn(&mut HealthFacts)| {
            let mut facts = well;
            change(&mut facts);
            is_healthy(&facts)
        };
        assert!(is_healthy(&well));
        assert!(with(|facts| facts.was_whole = None));
        assert!(!with(|facts| facts.corrupt_reads = 1));
        assert!(!with(|facts| facts.was_whole = Some(false)));
        assert!(!with(|facts| facts.lacks_sequence = true));
        assert!(!with(|facts| facts.is_disk_nearly_full = true));
        assert!(!with(|facts| facts.accepted = Accepted::Loss));
        assert!(!with(|facts| facts.authorities = AuthorityWord::Missing));
    }
}
