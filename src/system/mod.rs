//! The machine, as every part needs it: words of its shell, its service manager, the usual places; and locks.
//!
//! Must not know: anything of certificates, accounts or the protocol.

#[cfg(feature = "postgres")]
pub(crate) mod clock;
pub(crate) mod lock;
pub(crate) mod places;
pub(crate) mod services;
pub(crate) mod shell;
