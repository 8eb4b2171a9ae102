//! saslcertd answers for the XMPP server Prosody over a Unix socket. May this client certificate log in, and as which account? Which
//! certificates are in this account's list? Is this its password?
//!
//! ```text
//! identity        JIDs, certificates, passwords    no IO, no clock
//! policy          the rules, pure                  knows identity
//! store           everything remembered            knows identity, system
//! wording         the words for people             knows identity, policy
//! protocol        the contract of both sides       knows identity, policy, wording, system
//! daemon          reads questions, answers them    knows these five, and system
//! client          an XMPP client                   knows identity; feature `client`
//! extauth         two old line protocols           knows identity, protocol
//! doctor          finds problems, and remedies
//! import_prosody  reads accounts of Prosody's      knows identity, protocol
//! cli             the commands
//! system          the shell, the service manager, the usual places, locks
//! ```
//!
//! Must not know: how any of these works. Which of them may import which, `tests/layers.rs` says.

// The table of cases stands in the test, however long it is.
#![cfg_attr(test, allow(clippy::too_many_lines))]

pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod daemon;
mod doctor;
pub mod extauth;
pub mod identity;
mod import_prosody;
pub mod policy;
pub mod protocol;
pub mod store;
mod system;
pub mod wording;
