//! What the machine is asked, and told, by every part: words of its shell, its service manager, the usual places.
//!
//! Must not know: anything of certificates, accounts or the protocol.

pub(crate) mod places;
pub(crate) mod services;
pub(crate) mod shell;
