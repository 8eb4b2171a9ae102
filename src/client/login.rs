//! A whole login, from a name to a bound address; the caller hears how each step went.
//!
//! Must not know: how a step is shown, how a failure is explained.

use xmpp_parsers::jid::{BareJid, FullJid};

use super::certificate::Identity;
use super::connect::{self, ConnectError, StartTlsError};
use super::deadline::Deadlines;
use super::resolve::{self, Candidate, ResolveError, Route, Security};
use super::sasl::{self, Credential, SaslError};
use super::session::{RequestError, Session};
use super::stream::{Features, Header, Refusal, Stream, StreamError};
use super::tls::{self, Facts, TlsError, Trust};

/// A login: the account, the server, and the way.
pub struct Plan<'a> {
    /// The account; its domain is whom the server's certificate must name.
    pub account: &'a BareJid,
    /// The way to the server.
    pub route: &'a Route,
    /// Which server certificates are good.
    pub trust: &'a Trust,
    /// The certificate to show when the server asks for one.
    pub identity: Option<&'a Identity>,
    /// The proof to log in with.
    pub credential: &'a Credential,
    /// When to give up.
    pub deadlines: Deadlines,
}

/// The steps of a login, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Names to addresses.
    Resolve,
    /// A connection.
    Tcp,
    /// `<starttls/>`; not with direct TLS.
    StartTls,
    /// The TLS handshake.
    Tls,
    /// The server's offer of mechanisms.
    Mechanisms,
    /// SASL.
    Authenticate,
    /// The resource.
    Bind,
}

/// How the login goes on.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// A step begins.
    Begins(Step),
    /// These addresses will be tried.
    Resolved(&'a [Candidate]),
    /// This one answered.
    Connected(&'a Candidate),
    /// The server is ready for TLS.
    TlsMayStart,
    /// The connection is encrypted.
    Secured(&'a Facts),
    /// The server offers this.
    Offered(&'a Features),
    /// This mechanism did it.
    Authenticated(&'a str),
    /// We have this address.
    Bound(&'a FullJid),
}

/// Why a login failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// No address.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// No STARTTLS.
    #[error(transparent)]
    StartTls(#[from] StartTlsError),
    /// No TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No stream over TLS.
    #[error(transparent)]
    Open(StreamError),
    /// SASL failed.
    #[error(transparent)]
    Sasl(#[from] SaslError),
    /// Authenticated, and then the server went away.
    #[error(transparent)]
    Restart(StreamError),
    /// Authenticated, and then no resource.
    #[error(transparent)]
    Bind(#[from] RequestError),
}

/// Logs in and reports every step to `watch`. The failed step is that of the last [`Progress::Begins`].
pub async fn log_in(
    plan: &Plan<'_>,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Session, LoginError> {
    // The steps hold several TLS and XML states at once; callers shouldn't carry them on their stack.
    Box::pin(walk(plan, watch)).await
}

impl LoginError {
    /// Whether the server decided against us, as opposed to: we couldn't find out.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Open(error)
            | Self::Restart(error)
            | Self::Sasl(SaslError::Stream(error))
            | Self::Bind(RequestError::Stream(error)) => refuses(error),
            Self::Sasl(SaslError::NotOffered { .. }) => true,
            Self::Sasl(SaslError::Refused(refusal)) => {
                refusal.condition != "temporary-auth-failure"
            }
            Self::Bind(RequestError::Refused { later, .. }) => !later,
            Self::Tls(_) => self.tls().is_some_and(refuses_certificate),
            Self::Resolve(_)
            | Self::Connect(_)
            | Self::StartTls(_)
            | Self::Sasl(_)
            | Self::Bind(RequestError::Unusable { .. }) => false,
        }
    }

    /// The server's own condition and words, if it gave any.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Sasl(SaslError::Refused(refusal))
            | Self::Bind(RequestError::Refused { refusal, .. }) => Some(refusal),
            _ => match self.stream()? {
                StreamError::Ended(refusal) => Some(refusal),
                _ => None,
            },
        }
    }

    /// The TLS error at the bottom of it, if there is one.
    #[must_use]
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Tls(TlsError::Handshake { source }) => tls::cause(source),
            _ => self.stream()?.tls(),
        }
    }

    fn stream(&self) -> Option<&StreamError> {
        match self {
            Self::Open(error)
            | Self::Restart(error)
            | Self::StartTls(StartTlsError::Stream(error))
            | Self::Sasl(SaslError::Stream(error))
            | Self::Bind(RequestError::Stream(error)) => Some(error),
            _ => None,
        }
    }
}

async fn walk(plan: &Plan<'_>, watch: &mut dyn FnMut(Progress<'_>)) -> Result<Session, LoginError> {
    let Plan {
        account,
        route,
        trust,
        identity,
        credential,
        deadlines,
    } = plan;
    let domain = account.domain().as_str();

    watch(Progress::Begins(Step::Resolve));
    let candidates = resolve::resolve(domain, route, deadlines).await?;
    watch(Progress::Resolved(&candidates));

    watch(Progress::Begins(Step::Tcp));
    let (mut tcp, candidate) = connect::tcp(&candidates, deadlines).await?;
    watch(Progress::Connected(candidate));

    if candidate.security == Security::StartTls {
        watch(Progress::Begins(Step::StartTls));
        tcp = connect::start_tls(tcp, domain, deadlines).await?;
        watch(Progress::TlsMayStart);
    }

    watch(Progress::Begins(Step::Tls));
    let terms = tls::Terms {
        security: candidate.security,
        trust,
        identity: *identity,
    };
    let (tls, facts) = tls::handshake(tcp, domain, &terms, deadlines).await?;
    watch(Progress::Secured(&facts));

    watch(Progress::Begins(Step::Mechanisms));
    let header = Header {
        to: domain.to_owned(),
        from: Some(account.to_string()),
    };
    let (mut stream, features) = Stream::open(tls, header, *deadlines)
        .await
        .map_err(LoginError::Open)?;
    watch(Progress::Offered(&features));

    watch(Progress::Begins(Step::Authenticate));
    let username = account.node().map_or("", |node| node.as_str());
    let mechanism =
        match sasl::authenticate(&mut stream, &features, &facts, username, credential).await {
            Ok(mechanism) => mechanism,
            Err(error) => {
                stream.close().await;
                return Err(error.into());
            }
        };
    watch(Progress::Authenticated(&mechanism));

    watch(Progress::Begins(Step::Bind));
    let (stream, features) = stream.restart().await.map_err(LoginError::Restart)?;
    let session = Session::bind(stream, &features, account).await?;
    watch(Progress::Bound(session.bound()));
    Ok(session)
}

/// A stream that ends because of who we are.
fn refuses(error: &StreamError) -> bool {
    match error {
        StreamError::Ended(refusal) => {
            matches!(
                refusal.condition.as_str(),
                "not-authorized" | "policy-violation"
            )
        }
        _ => error.tls().is_some_and(refuses_certificate),
    }
}

/// TLS's own "no" to our certificate: in TLS 1.2 within the handshake, in TLS 1.3 only after it.
fn refuses_certificate(error: &rustls::Error) -> bool {
    use rustls::AlertDescription as Alert;

    let rustls::Error::AlertReceived(alert) = error else {
        return false;
    };
    matches!(
        alert,
        Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateRevoked
            | Alert::CertificateExpired
            | Alert::CertificateUnknown
            | Alert::CertificateRequired
            | Alert::UnknownCA
            | Alert::AccessDenied
    )
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn refusal(condition: &str) -> Refusal {
        Refusal {
            condition: condition.to_owned(),
            text: None,
        }
    }

    #[test]
    fn a_no_is_a_refusal_and_a_fault_is_not() {
        let alert = |alert| io::Error::other(rustls::Error::AlertReceived(alert));
        let unknown_authority = || alert(rustls::AlertDescription::UnknownCA);
        let handshake = |source| LoginError::Tls(TlsError::Handshake { source });
        let broken = |kind: io::ErrorKind| StreamError::Broken {
            source: io::Error::from(kind),
        };
        let cases = [
            (
                LoginError::Sasl(SaslError::Refused(refusal("not-authorized"))),
                true,
            ),
            (
                LoginError::Sasl(SaslError::Refused(refusal("credentials-expired"))),
                true,
            ),
            (
                LoginError::Sasl(SaslError::Refused(refusal("temporary-auth-failure"))),
                false,
            ),
            (
                LoginError::Sasl(SaslError::NotOffered {
                    offered: Vec::new(),
                }),
                true,
            ),
            (
                LoginError::Sasl(SaslError::Untrustworthy { problem: "" }),
                false,
            ),
            (
                LoginError::Sasl(SaslError::Stream(StreamError::Closed)),
                false,
            ),
            (
                LoginError::Open(StreamError::Ended(refusal("host-unknown"))),
                false,
            ),
            (
                LoginError::Restart(StreamError::Ended(refusal("not-authorized"))),
                true,
            ),
            (
                LoginError::Open(broken(io::ErrorKind::ConnectionReset)),
                false,
            ),
            (
                LoginError::Open(StreamError::broken(unknown_authority())),
                true,
            ),
            (
                LoginError::Bind(RequestError::Refused {
                    refusal: refusal("conflict"),
                    later: false,
                }),
                true,
            ),
            (
                LoginError::Bind(RequestError::Refused {
                    refusal: refusal("resource-constraint"),
                    later: true,
                }),
                false,
            ),
        ];
        let within_tls = [
            (handshake(unknown_authority()), true),
            (
                handshake(alert(rustls::AlertDescription::HandshakeFailure)),
                false,
            ),
            (
                handshake(io::Error::from(io::ErrorKind::ConnectionReset)),
                false,
            ),
        ];
        for (error, expected) in cases.into_iter().chain(within_tls) {
            assert_eq!(error.is_refusal(), expected, "{error:?}");
        }
    }
}
