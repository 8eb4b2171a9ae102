//! How much is measured: everything, or what some minutes suffice for.

use std::time::Duration;

use crate::load::Length;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    Quick,
    Full,
}

impl Effort {
    /// By `$BENCH`, `quick` or not set. Errors: another word.
    pub(crate) fn wanted() -> anyhow::Result<Effort> {
        match std::env::var("BENCH").as_deref() {
            Ok("quick") => Ok(Effort::Quick),
            Ok("" | "full") | Err(_) => Ok(Effort::Full),
            Ok(other) => anyhow::bail!("BENCH={other}: it is \"quick\" or \"full\""),
        }
    }

    fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }

    pub(crate) fn rounds(self) -> usize {
        self.pick(3, 5)
    }

    /// How long one run over the socket lasts.
    pub(crate) fn run(self) -> Length {
        Length::For(Duration::from_millis(self.pick(200, 600)))
    }

    /// How many questions are made for a run: one of saslcertd's hardly needs more, and a faster server is asked them again.
    pub(crate) fn questions(self) -> usize {
        self.pick(10_000, 40_000)
    }

    /// How many accounts the stores have.
    pub(crate) fn sizes(self) -> &'static [usize] {
        self.pick(&[10_000], &[10_000, 100_000, 1_000_000])
    }

    /// Durable writes of one run.
    pub(crate) fn writes(self) -> usize {
        self.pick(1_000, 4_000)
    }

    /// Revocations of one run, one after the other.
    pub(crate) fn revocations(self) -> usize {
        self.pick(100, 400)
    }

    /// Logins whose CPU time is taken together.
    pub(crate) fn logins(self) -> usize {
        self.pick(40, 200)
    }

    pub(crate) fn login_rounds(self) -> usize {
        self.pick(2, 5)
    }

    /// Clients that come back at once.
    pub(crate) fn clients(self) -> usize {
        self.pick(200, 1_000)
    }

    pub(crate) fn return_rounds(self) -> usize {
        self.pick(1, 3)
    }
}
