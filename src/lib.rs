//! saslcertd answers for the XMPP server Prosody over a Unix socket: may this client certificate log in, and as
//! whom; what is in this account's list of certificates; is this its password.
//!
//! ```text
//! identity        who: JIDs, certificates, passwords   no IO, no clock
//! policy          may they: pure rules             knows identity
//! store           what is remembered: sled         knows identity, system
//! wording         what people read                 knows identity
//! protocol        the contract of both sides       knows identity, policy, wording, system
//! daemon          answering                        knows these five, and system
//! client          an XMPP client                   knows identity; feature `client`
//! extauth         two old line protocols           knows identity, protocol
//! doctor          what is wrong here, and its mend
//! import_prosody  what Prosody has stored          knows identity, protocol
//! cli             the commands
//! system          the shell, the service manager, the usual places, locks
//! ```

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
