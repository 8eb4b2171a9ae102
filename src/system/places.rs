//! The usual places of the socket and of the store.
//!
//! Must not know: the flags that name other places.

/// The daemon's socket.
pub(crate) const DEFAULT_SOCKET: &str = "/run/saslcertd/saslcertd.sock";
/// The store's folder.
pub(crate) const DEFAULT_DATA_DIR: &str = "/var/lib/saslcertd";
