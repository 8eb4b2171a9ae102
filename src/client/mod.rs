//! A small XMPP client: enough to log in, with a password or a certificate, and to manage an account's
//! certificates (XEP-0257). `saslcertd enroll` and `saslcertd login` are made of it.
//!
//! From the outside in: [`login`] walks every step and says how each went; [`resolve`], [`connect`] and [`tls`]
//! bring a secured connection about; [`stream`] carries XML over it; [`sasl`] proves who we are; [`session`] is what
//! one holds after the login; [`certificates`] asks the server about certificates, [`certificate`] makes and reads
//! them, [`pkcs12`] packs them for phones. XML is written and read by the xmpp-rs crates alone.
//!
//! It trusts no server: each wait ends ([`deadline`]), each element has a largest size and depth (`bounded`).
//! It must not know the daemon, its store or its socket, and prints nothing: that is the command line's.

mod bounded;
pub(crate) mod causes;
pub mod certificate;
pub mod certificates;
pub mod connect;
pub mod deadline;
pub mod login;
pub mod pkcs12;
pub mod resolve;
pub mod runtime;
pub mod sasl;
pub mod session;
pub mod stream;
pub mod tls;
