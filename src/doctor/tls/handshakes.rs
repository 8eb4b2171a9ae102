//! Handshakes that log nobody in: one without a certificate, and on Prosody's own ports one with a certificate that is made up
//! for it. The server that answers isn't verified: the question is whether it asks, not whether to trust it.
//!
//! Must not know: what is well.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_parsers::jid::BareJid;

use super::super::facts::{Facts, Port};
use crate::client::causes::chain;
use crate::client::certificate::{Identity, make};
use crate::client::connect;
use crate::client::deadline::Deadlines;
use crate::client::resolve::{Candidate, Route, Security, resolve};
use crate::client::tls::{Terms, TlsError, Trust, cause, handshake};

/// The facts of a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::doctor) enum Handshake {
    /// It came about.
    Done {
        /// A certificate was asked for.
        asks: bool,
        /// And a self-signed one is refused, before anybody can ask the daemon.
        refuses: bool,
        /// The server's own certificate.
        server: Vec<u8>,
    },
    /// Nobody listens there, or nobody lets us through.
    Unreachable(String),
    /// Somebody listens, and there is no TLS.
    Failed(String),
}

/// A host's handshakes.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Seen {
    pub(super) host: String,
    /// On this machine, by port; the port is an index into [`Facts::ports`].
    pub(super) local: Vec<(usize, SocketAddr, Handshake)>,
    /// Where clients connect to: the place, and what it does; or why there is none to be found.
    pub(super) public: Result<(String, Handshake), String>,
    /// The certificate in the file that Prosody's configuration leads to.
    pub(super) on_disk: Option<Vec<u8>>,
    /// Where a new one for the host may lie.
    pub(super) renewed: Option<PathBuf>,
}

/// Does the handshakes of each host with each port of this machine, and with what its clients reach.
pub(in crate::doctor) async fn look(facts: &Facts, route: &Route) -> Vec<Seen> {
    let mut all = Vec::new();
    let identity = throwaway_identity();
    for host in facts.enabled().take(MAX_HOSTS) {
        let mut local = Vec::new();
        for (index, port) in facts.ports.iter().enumerate().take(MAX_PORTS) {
            let address = port.address();
            let security = port.security();
            let mut found = try_handshake(&host.name, address, security).await;
            if let (
                Handshake::Done {
                    asks: true,
                    refuses,
                    ..
                },
                Some(identity),
            ) = (&mut found, &identity)
            {
                *refuses = is_refused(&host.name, address, security, identity).await;
            }
            local.push((index, address, found));
        }
        let public = look_from_outside(&host.name, route).await;
        all.push(Seen {
            host: host.name.clone(),
            local,
            public,
            on_disk: host.starttls.certificate.as_deref().and_then(first_in),
            renewed: Some(Path::new(LETS_ENCRYPT))
                .filter(|folder| folder.join(&host.name).join("fullchain.pem").exists())
                .map(Path::to_owned),
        });
    }
    all
}

/// The first certificate of a PEM file.
fn first_in(file: &Path) -> Option<Vec<u8>> {
    let file = std::fs::File::open(file).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    let first = CertificateDer::pem_slice_iter(&bytes).next()?;
    first.ok().map(|der| der.to_vec())
}

async fn look_from_outside(host: &str, route: &Route) -> Result<(String, Handshake), String> {
    let deadlines = Deadlines::starting_now(SHORT, SHORT);
    let candidates = resolve(host, route, &deadlines)
        .await
        .map_err(|error| chain(&error))?;
    let mut last = "no address".to_owned();
    for Candidate {
        address, security, ..
    } in candidates.iter().take(MAX_ADDRESSES)
    {
        match try_handshake(host, *address, *security).await {
            Handshake::Unreachable(why) => last = format!("{address}: {why}"),
            reached => return Ok((format!("{address} ({security})"), reached)),
        }
    }
    Err(last)
}

async fn try_handshake(host: &str, address: SocketAddr, security: Security) -> Handshake {
    let deadlines = Deadlines::starting_now(SHORT, SHORT);
    let io = match ready(host, address, security, &deadlines).await {
        Ok(io) => io,
        Err(failed) => return failed,
    };
    let terms = Terms {
        security,
        trust: &Trust::Anybody,
        identity: None,
    };
    match handshake(io, host, &terms, &deadlines).await {
        Ok((tls, facts)) => {
            let server = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
            Handshake::Done {
                asks: facts.certificate_request.is_some(),
                refuses: false,
                server: server.map(|der| der.to_vec()).unwrap_or_default(),
            }
        }
        Err(error) => Handshake::Failed(chain(&error)),
    }
}

/// A connection on which the handshake may begin.
async fn ready(
    host: &str,
    address: SocketAddr,
    security: Security,
    deadlines: &Deadlines,
) -> Result<TcpStream, Handshake> {
    let tcp = match deadlines.limit(TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(error)) => return Err(Handshake::Unreachable(error.to_string())),
        Err(overdue) => return Err(Handshake::Unreachable(overdue.to_string())),
    };
    match security {
        Security::DirectTls => Ok(tcp),
        Security::StartTls => {
            let started = connect::start_tls(tcp, host, deadlines).await;
            started.map_err(|error| Handshake::Failed(chain(&error)))
        }
    }
}

/// A certificate as users make them for themselves.
fn throwaway_identity() -> Option<Identity> {
    let nobody = BareJid::new("doctor@saslcertd.invalid").ok()?;
    let fresh = make(&nobody, 1, OffsetDateTime::now_utc()).ok()?;
    Some(fresh.identity)
}

/// Does TLS end at this certificate? False for whatever else may happen.
async fn is_refused(
    host: &str,
    address: SocketAddr,
    security: Security,
    identity: &Identity,
) -> bool {
    let deadlines = Deadlines::starting_now(SHORT, SHORT);
    let Ok(io) = ready(host, address, security, &deadlines).await else {
        return false;
    };
    let is_alert =
        |error: &std::io::Error| matches!(cause(error), Some(rustls::Error::AlertReceived(_)));
    let shown = Some(identity);
    let terms = Terms {
        security,
        trust: &Trust::Anybody,
        identity: shown,
    };
    match handshake(io, host, &terms, &deadlines).await {
        Err(TlsError::Handshake { source }) => is_alert(&source),
        Err(_) => false,
        // In TLS 1.3 the client is done before the server has looked. Nothing is said, so that nobody asks the daemon.
        Ok((mut tls, _)) => {
            let bye = async {
                tls.shutdown().await?;
                tls.read(&mut [0]).await
            };
            matches!(deadlines.limit(bye).await, Ok(Err(error)) if is_alert(&error))
        }
    }
}

impl Port {
    pub(super) fn security(&self) -> Security {
        if self.tls == "direct" {
            Security::DirectTls
        } else {
            Security::StartTls
        }
    }
}

const LETS_ENCRYPT: &str = "/etc/letsencrypt/live";
const MAX_FILE_BYTES: u64 = 64 * 1024;
const SHORT: Duration = Duration::from_secs(3);
pub(super) const MAX_HOSTS: usize = 16;
pub(super) const MAX_PORTS: usize = 8;
const MAX_ADDRESSES: usize = 2;
