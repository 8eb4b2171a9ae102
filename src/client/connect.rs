//! A connection that TLS protects: TCP to one of the candidates, STARTTLS or direct TLS.
//!
//! Also for `doctor`, which only looks at how a server does TLS.
//!
//! Must not know: passwords, how anybody logs in.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use xmpp_parsers::ns;
use xmpp_parsers::starttls;

use super::deadline::{Deadlines, Overdue};
use super::resolve::Candidate;
use super::stream::{Header, Stream, StreamError};

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens, or nobody lets us through.
    #[error("no connection: {}", list(.tried))]
    Nobody {
        /// Each address and what it said.
        tried: Vec<(SocketAddr, io::Error)>,
    },
    /// No address answered in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
}

/// Why the server didn't start TLS.
#[derive(Debug, thiserror::Error)]
pub enum StartTlsError {
    /// The server doesn't offer it; we never go on without TLS.
    #[error("the server offers no STARTTLS")]
    NotOffered,
    /// The server offered it and then refused.
    #[error("the server offered STARTTLS and then refused it")]
    Refused,
    /// The stream failed before.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Connects to the first candidate that answers.
pub async fn tcp<'a>(
    candidates: &'a [Candidate],
    deadlines: &Deadlines,
) -> Result<(TcpStream, &'a Candidate), ConnectError> {
    // One dead address must not use up the time of the others.
    let each = deadlines.with_step(TRY_ONE_ADDRESS);
    let try_all = async {
        let mut tried = Vec::new();
        for candidate in candidates {
            let answer = match each.limit(TcpStream::connect(candidate.address)).await {
                Ok(answer) => answer,
                Err(overdue) => Err(io::Error::new(io::ErrorKind::TimedOut, overdue)),
            };
            match answer {
                Ok(stream) => return Ok((stream, candidate)),
                Err(error) => tried.push((candidate.address, error)),
            }
        }
        Err(ConnectError::Nobody { tried })
    };
    deadlines.limit(try_all).await?
}

/// Asks the server on `io` to start TLS, and returns the connection ready for the handshake.
pub async fn start_tls<Io: AsyncRead + AsyncWrite + Unpin>(
    io: Io,
    domain: &str,
    deadlines: &Deadlines,
) -> Result<Io, StartTlsError> {
    let header = Header {
        to: domain.to_owned(),
        from: None,
    };
    let (mut stream, features) = Stream::open(io, header, *deadlines).await?;
    if !features.starttls {
        stream.close().await;
        return Err(StartTlsError::NotOffered);
    }
    stream
        .send(&starttls::Nonza::Request(starttls::Request))
        .await?;
    let answer = stream.receive().await?;
    if answer.is("proceed", ns::TLS) {
        Ok(stream.into_io()?)
    } else if answer.is("failure", ns::TLS) {
        Err(StartTlsError::Refused)
    } else {
        Err(StreamError::unexpected(&answer).into())
    }
}

fn list(tried: &[(SocketAddr, io::Error)]) -> String {
    tried
        .iter()
        .map(|(address, error)| format!("{address}: {error}"))
        .collect::<Vec<_>>()
        .join("; ")
}

const TRY_ONE_ADDRESS: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::resolve::Security;
    use super::super::stream::tests::{greeting, server_that_says, soon};
    use super::*;

    const OFFER: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

    async fn answer(features: &str, more: &str) -> Result<(), StartTlsError> {
        let (ours, _theirs) = server_that_says(&(greeting(features) + more)).await;
        start_tls(ours, "shakespeare.lit", &soon())
            .await
            .map(|_| ())
    }

    #[tokio::test]
    async fn without_starttls_we_go_no_further() {
        assert!(matches!(
            answer("", "").await,
            Err(StartTlsError::NotOffered)
        ));
        let refused = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        assert!(matches!(
            answer(OFFER, refused).await,
            Err(StartTlsError::Refused)
        ));
    }

    #[tokio::test]
    async fn tls_starts_when_the_server_says_so() {
        let proceed = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        assert!(answer(OFFER, proceed).await.is_ok());
        let injected = answer(OFFER, &format!("{proceed}<stream:features/>")).await;
        assert!(matches!(
            injected,
            Err(StartTlsError::Stream(StreamError::DataBeforeTls))
        ));
    }

    #[tokio::test]
    async fn the_next_address_is_tried_when_one_refuses() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let candidate = |address| Candidate {
            host: "localhost".to_owned(),
            address,
            security: Security::StartTls,
        };
        let candidates =
            [closed.local_addr().unwrap(), listener.local_addr().unwrap()].map(candidate);
        drop(closed);
        let (_, reached) = tcp(&candidates, &soon()).await.unwrap();
        assert_eq!(*reached, candidates[1]);
        let nobody = tcp(&candidates[..1], &soon()).await.unwrap_err();
        assert!(
            nobody
                .to_string()
                .contains(&candidates[0].address.to_string()),
            "{nobody}"
        );
    }
}
