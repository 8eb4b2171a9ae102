//! Is an answered revocation safe when the machine with the database is lost?
//!
//! Must not know: where the facts come from, what should be done about it.

/// What is known of whoever has the rows as well.
#[derive(Clone, Copy, Debug)]
pub struct StandbyFacts {
    /// How many daemons have a lease.
    pub daemons: usize,
    /// Does the database name standbys that a commit waits for?
    pub are_named: bool,
    /// How many of them are there; `None`: that can't be seen.
    pub there: Option<u64>,
}

/// Does a standby have what was answered?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StandbyWord {
    /// One has it.
    Kept,
    /// None has to: one daemon alone keeps what it has applied in mind, and refuses a database that has lost it.
    NotNeeded,
    /// None does: no commit waits for one.
    Unnamed,
    /// None is there that a commit would wait for. So nothing is committed, or somebody has had the server give up the wait.
    Gone,
    /// Commits wait for one, and nobody here may see which.
    Unseen,
}

/// Does a standby have what was answered?
#[must_use]
pub fn standby(facts: StandbyFacts) -> StandbyWord {
    match facts {
        StandbyFacts {
            are_named: false,
            daemons: 0..=1,
            ..
        } => StandbyWord::NotNeeded,
        StandbyFacts {
            are_named: false, ..
        } => StandbyWord::Unnamed,
        StandbyFacts { there: None, .. } => StandbyWord::Unseen,
        StandbyFacts { there: Some(0), .. } => StandbyWord::Gone,
        StandbyFacts { there: Some(_), .. } => StandbyWord::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_daemons_need_a_standby_that_commits_wait_for() {
        for (daemons, are_named, there, word) in [
            (1, false, Some(0), StandbyWord::NotNeeded),
            (1, false, None, StandbyWord::NotNeeded),
            (2, false, Some(0), StandbyWord::Unnamed),
            (2, false, None, StandbyWord::Unnamed),
            (2, true, None, StandbyWord::Unseen),
            (2, true, Some(0), StandbyWord::Gone),
            (1, true, Some(0), StandbyWord::Gone),
            (2, true, Some(1), StandbyWord::Kept),
        ] {
            let facts = StandbyFacts {
                daemons,
                are_named,
                there,
            };
            assert_eq!(standby(facts), word, "{facts:?}");
        }
    }
}
