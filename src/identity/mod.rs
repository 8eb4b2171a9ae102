//! Addresses, certificates, passwords: types that exist only if they are valid.
//!
//! Must not know: IO, the clock, rules.

pub mod account;
pub mod account_name;
mod as_text;
pub mod authority;
mod byte_order_mark;
pub mod certificate;
mod counted;
pub mod enrolment;
pub mod fingerprint;
mod hash;
pub mod issued;
pub mod jid;
pub mod key;
pub mod link;
pub mod name;
pub mod password;
pub mod pasted;
pub mod private_key;
pub mod strict_der;
pub mod time;
mod tlv;
pub mod visible;

pub use account::{Account, Outline};
pub use account_name::AccountName;
pub use authority::{Authority, AuthorityId, CertificationPath, IssuedId, RevocationList};
pub use byte_order_mark::ByteOrderMark;
pub use certificate::ClientCert;
pub use counted::{counted, days};
pub use enrolment::{
    AccountList, AddedBy, CertificateName, Disabled, Enrolment, Holder, Incarnation, LastUse,
};
pub use fingerprint::{Fingerprint, KeyId};
pub use hash::HashError;
pub use issued::{Issued, PublicKey};
pub use jid::{BareJid, Host, Jid, JidError};
pub use link::{Link, LinkHash, LinkId, LinkKind, LinkMaker, LinkToken};
pub use name::{GeneralName, Name};
pub use password::{ScramHash, ScramVerifier, Secret};
pub use time::UnixSeconds;
