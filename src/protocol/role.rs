//! What a peer may ask.

/// What a peer may ask; a higher one may ask what a lower one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Everything but administration.
    Server,
    /// Everything.
    Admin,
}

impl Role {
    /// Its name in `status`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Admin => "admin",
        }
    }
}
