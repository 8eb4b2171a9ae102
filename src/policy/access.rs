//! The questions that a peer may ask, by its role and its hello; and the room on the disk that is kept for questions that free or protect.
//!
//! Must not know: which questions there are, who a peer is, how the disk is asked.

use serde::{Deserialize, Serialize};

/// The role of a peer: a higher one may ask all questions of a lower one, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything but administration.
    #[default]
    Server,
    /// Everything.
    Admin,
}

impl Role {
    /// Its name, as in `status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Admin => "admin",
        }
    }
}

/// The hello that must come before a question. A peer without one is never told to close a session, so it must open none by a
/// certificate. By a password it may: some that ask about passwords keep no sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Nothing.
    Nothing,
    /// `session.hello`, by a server; an administrator needs none.
    Hello,
    /// `session.hello`, by whoever asks, with or without sessions.
    AnyHello,
    /// `session.hello`, by somebody who keeps sessions.
    HelloWithSessions,
}

/// How far a peer has introduced itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing.
    Nothing,
    /// `session.hello`, and that it keeps no sessions.
    Hello,
    /// `session.hello`, and that it keeps sessions.
    HelloWithSessions,
}

/// Why a peer may not ask a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barred {
    /// It has to say who it is first.
    NoHello,
    /// It is for a higher role; to this peer it is a question that does not exist.
    OfAnotherRole,
}

/// May a peer of `role`, which has said so much, ask a question that is for `wanted` and every higher role?
pub fn may_ask(role: Role, standing: Standing, wanted: Role, before: Before) -> Result<(), Barred> {
    let is_early = match before {
        Before::Nothing => false,
        Before::Hello => role == Role::Server && standing < Standing::Hello,
        Before::AnyHello => standing < Standing::Hello,
        Before::HelloWithSessions => standing < Standing::HelloWithSessions,
    };
    if is_early {
        Err(Barred::NoHello)
    } else if role < wanted {
        Err(Barred::OfAnotherRole)
    } else {
        Ok(())
    }
}

/// May a peer of `role` ask about passwords of a host whose accounts live here, or else in Prosody? An administrator may prepare a
/// host before it is moved.
#[must_use]
pub fn may_ask_about_passwords(role: Role, are_accounts_here: bool) -> bool {
    are_accounts_here || role == Role::Admin
}

/// May a peer of `role` ask about certificates for itself, and of every account that ever had the name? Others say for whose
/// session they ask.
#[must_use]
pub fn may_ask_for_itself(role: Role) -> bool {
    role == Role::Admin
}

/// Is so little of the disk free that nothing is added to a store of this size any more?
///
/// Revoking, disabling and deleting may use the last.
#[must_use]
pub fn is_nearly_full(free_bytes: u64, store_bytes: u64) -> bool {
    free_bytes < reserve_bytes(store_bytes)
}

/// The bytes to keep free for a store of this size. It needs room to rewrite its files, and cannot go on after a full disk.
#[must_use]
pub fn reserve_bytes(store_bytes: u64) -> u64 {
    (store_bytes / 10).max(MIN_RESERVE_BYTES)
}

/// However small the store is.
const MIN_RESERVE_BYTES: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const STANDINGS: [Standing; 3] = [
        Standing::Nothing,
        Standing::Hello,
        Standing::HelloWithSessions,
    ];

    #[test]
    fn a_question_wants_a_role_and_a_hello() {
        use Barred::{NoHello, OfAnotherRole};
        use Role::{Admin, Server};
        let (fine, early, other) = (Ok(()), Err(NoHello), Err(OfAnotherRole));
        // The asker's role, the question's role, what must come before; the outcome with nothing said, a hello, a hello with sessions.
        for (role, wanted, before, expected) in [
            (Server, Server, Before::Nothing, [fine, fine, fine]),
            (Server, Server, Before::Hello, [early, fine, fine]),
            (Server, Server, Before::AnyHello, [early, fine, fine]),
            (
                Server,
                Server,
                Before::HelloWithSessions,
                [early, early, fine],
            ),
            (Server, Admin, Before::Nothing, [other, other, other]),
            (Server, Admin, Before::Hello, [early, other, other]),
            (Server, Admin, Before::AnyHello, [early, other, other]),
            (
                Server,
                Admin,
                Before::HelloWithSessions,
                [early, early, other],
            ),
            (Admin, Server, Before::Nothing, [fine, fine, fine]),
            (Admin, Server, Before::Hello, [fine, fine, fine]),
            (Admin, Server, Before::AnyHello, [early, fine, fine]),
            (
                Admin,
                Server,
                Before::HelloWithSessions,
                [early, early, fine],
            ),
            (Admin, Admin, Before::Nothing, [fine, fine, fine]),
            (Admin, Admin, Before::Hello, [fine, fine, fine]),
            (Admin, Admin, Before::AnyHello, [early, fine, fine]),
            (
                Admin,
                Admin,
                Before::HelloWithSessions,
                [early, early, fine],
            ),
        ] {
            let found = STANDINGS.map(|standing| may_ask(role, standing, wanted, before));
            assert_eq!(found, expected, "{role:?} {wanted:?} {before:?}");
        }
    }

    #[test]
    fn an_administrator_needs_no_session_and_may_prepare_a_host() {
        for (role, for_itself, here, in_prosody) in [
            (Role::Server, false, true, false),
            (Role::Admin, true, true, true),
        ] {
            assert_eq!(may_ask_for_itself(role), for_itself, "{role:?}");
            let passwords = [true, false].map(|is_here| may_ask_about_passwords(role, is_here));
            assert_eq!(passwords, [here, in_prosody], "{role:?}");
        }
    }

    #[test]
    fn a_tenth_of_the_store_is_kept_free_and_at_least_64_mib() {
        const MIB: u64 = 1024 * 1024;
        for (store, reserve) in [(0, 64), (640, 64), (650, 65), (10_000, 1000)] {
            assert_eq!(reserve_bytes(store * MIB), reserve * MIB);
            assert!(!is_nearly_full(reserve * MIB, store * MIB));
            assert!(is_nearly_full(reserve * MIB - 1, store * MIB));
        }
    }
}
