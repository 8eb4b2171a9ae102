//! What a peer may ask.

use serde::{Deserialize, Serialize};

/// What a peer may ask; a higher one may ask what a lower one may.
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
