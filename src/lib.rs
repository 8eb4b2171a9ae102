//! saslcertd answers for the XMPP server Prosody over a Unix socket: may this client certificate log in, and as
//! whom; what is in this account's list of certificates; is this its password.
//!
//! ```text
//! identity   who: JIDs, certificates, passwords   no IO, no clock
//! policy     may they: pure rules           knows identity
//! store      what is remembered: sled       knows identity
//! daemon     answering                      knows all three
//! client     an XMPP client                 feature `client`
//! extauth    two old line protocols          knows identity
//! cli        the commands
//! ```

pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod daemon;
pub mod extauth;
pub mod identity;
pub mod policy;
mod shell;
pub mod store;
