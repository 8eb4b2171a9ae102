//! The account's certificates on its server (XEP-0257): upload, list, disable, revoke.
//!
//! Must not know: how anybody logged in, files.

use xmpp_parsers::cert_management::{
    Append, Cert, Disable, ListCertsQuery, ListCertsResponse, Name, Revoke,
};
use xmpp_parsers::ns;

use super::session::{RequestError, Session};

pub use xmpp_parsers::cert_management::Item;

/// The feature by which a server shows that it can do all this.
pub const FEATURE: &str = ns::SASL_CERT;

/// Stores a certificate under a name of the user's choice.
///
/// With `may_manage` false, sessions that log in with it can't add or remove certificates.
pub async fn append(
    session: &mut Session,
    name: &str,
    der: &[u8],
    may_manage: bool,
) -> Result<(), RequestError> {
    let cert = Cert { data: der.to_vec() };
    let append = Append {
        name: Name(name.to_owned()),
        cert,
        no_cert_management: !may_manage,
    };
    session.set(append).await.map(|_| ())
}

/// Lists the account's certificates and who is logged in with them.
pub async fn list(session: &mut Session) -> Result<Vec<Item>, RequestError> {
    let answer = session.get(ListCertsQuery).await?;
    let empty = || RequestError::Unusable {
        problem: "a list without <items/>".to_owned(),
    };
    let list = ListCertsResponse::try_from(answer.ok_or_else(empty)?);
    list.map(|list| list.items)
        .map_err(|error| RequestError::Unusable {
            problem: error.to_string(),
        })
}

/// Takes a certificate off the list: no more logins with it; sessions that live go on.
pub async fn disable(session: &mut Session, name: &str) -> Result<(), RequestError> {
    session
        .set(Disable {
            name: Name(name.to_owned()),
        })
        .await
        .map(|_| ())
}

/// Takes a certificate off the list and closes its sessions.
pub async fn revoke(session: &mut Session, name: &str) -> Result<(), RequestError> {
    session
        .set(Revoke {
            name: Name(name.to_owned()),
        })
        .await
        .map(|_| ())
}
