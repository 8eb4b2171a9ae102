//! TLS to the server (rustls): the authorities that we trust, our own certificate, and the facts of the handshake.
//!
//! The server's certificate must be for the JID's domain, wherever the connection goes (RFC 6120, 13.7.2).
//!
//! Must not know: accounts, XML, what a failed handshake means for a login.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::ResolvesClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{
    ClientConfig, DigitallySignedStruct, ProtocolVersion, RootCertStore, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificate::{self, CertificateError, Identity};
use super::deadline::{Deadlines, Overdue};
use super::resolve::{self, ResolveError, Security};

/// Which server certificates are good.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Those that lead to one of these authorities.
    Authorities(Arc<RootCertStore>),
    /// Any: whoever answers is believed. For tests and diagnosis.
    Anybody,
}

/// How we come to a server, and what we show it.
#[derive(Debug, Clone, Copy)]
pub struct Terms<'a> {
    /// How TLS begins.
    pub security: Security,
    /// Which certificates of the server are good.
    pub trust: &'a Trust,
    /// Our own certificate, if we have one.
    pub identity: Option<&'a Identity>,
}

/// The settings of a TLS handshake, and the facts that it has shown.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite, in rustls' words.
    pub cipher: String,
    /// The server's certificate was verified for the domain.
    pub verified: bool,
    /// The server asked for a client certificate, and what came of it.
    pub certificate_request: Option<CertificateRequest>,
    /// The value of `tls-exporter` (RFC 9266), in TLS 1.3.
    pub exporter: Option<Vec<u8>>,
}

/// A server's question for a client certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateRequest {
    /// We showed ours.
    pub answered: bool,
    /// How many authorities the server named as acceptable.
    pub authorities: usize,
}

/// Why TLS didn't come about.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file with authorities can't be used: the user's fault.
    #[error("{}", .path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why it can't be used.
        #[source]
        source: CertificateError,
    },
    /// This machine has no list of authorities.
    #[error(
        "this machine has no certificate authorities installed (package ca-certificates); use --ca-file"
    )]
    NoAuthorities,
    /// No certificate can be for such a domain.
    #[error(transparent)]
    Domain(#[from] ResolveError),
    /// No certificate can be for such a domain.
    #[error("no certificate can be for {domain:?}")]
    NotAServerName {
        /// The domain.
        domain: String,
    },
    /// The crypto library can't do what we ask of it: our fault.
    #[error("TLS can't be set up")]
    Setup {
        /// The message of rustls.
        #[source]
        source: rustls::Error,
    },
    /// The handshake failed: see [`cause`].
    #[error("the TLS handshake failed")]
    Handshake {
        /// The message of rustls or the operating system.
        #[source]
        source: io::Error,
    },
    /// The handshake didn't end in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
}

/// The TLS error within an IO error, if there is one.
#[must_use]
pub fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

impl Trust {
    /// Trusts the authorities that this machine trusts.
    pub fn this_machine() -> Result<Self, TlsError> {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            Err(TlsError::NoAuthorities)
        } else {
            Ok(Self::Authorities(Arc::new(store)))
        }
    }

    /// Trusts the authorities in a PEM file, and no others.
    pub fn file(path: &Path) -> Result<Self, TlsError> {
        let fail = |source| TlsError::Authorities {
            path: path.to_owned(),
            source,
        };
        let pem = certificate::read(path).map_err(fail)?;
        let mut store = RootCertStore::empty();
        for found in CertificateDer::pem_slice_iter(&pem) {
            let authority = found.map_err(|source| fail(CertificateError::Pem { source }))?;
            store
                .add(authority)
                .map_err(|source| fail(CertificateError::Unusable { source }))?;
        }
        if store.is_empty() {
            return Err(fail(CertificateError::NoCertificate));
        }
        Ok(Self::Authorities(Arc::new(store)))
    }
}

/// Does the handshake as a client of `domain` and reports what it told.
///
/// If the server asks for a certificate it gets that of `terms`, whatever authorities it names, or none.
pub async fn handshake<Io: AsyncRead + AsyncWrite + Unpin>(
    io: Io,
    domain: &str,
    terms: &Terms<'_>,
    deadlines: &Deadlines,
) -> Result<(TlsStream<Io>, Facts), TlsError> {
    let Terms {
        security,
        trust,
        identity,
    } = *terms;
    let asked = Arc::new(CertificateResolver {
        identity: identity.map(Identity::certified_key),
        request: OnceLock::new(),
    });
    let config = configure(trust, security, Arc::clone(&asked))?;
    let connecting = TlsConnector::from(Arc::new(config)).connect(server_name(domain)?, io);
    let tls = deadlines
        .limit(connecting)
        .await?
        .map_err(|source| TlsError::Handshake { source })?;
    let (_, connection) = tls.get_ref();
    let version = connection.protocol_version();
    let exporter = match version {
        Some(ProtocolVersion::TLSv1_3) => Some(connection.export_keying_material(
            vec![0; 32],
            b"EXPORTER-Channel-Binding",
            Some(&[]),
        )),
        _ => None,
    };
    let facts = Facts {
        version: match version {
            Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "unknown",
        },
        cipher: connection
            .negotiated_cipher_suite()
            .map_or_else(String::new, |suite| format!("{:?}", suite.suite())),
        verified: matches!(trust, Trust::Authorities(_)),
        certificate_request: asked.request.get().copied(),
        exporter: exporter
            .transpose()
            .map_err(|source| TlsError::Setup { source })?,
    };
    Ok((tls, facts))
}

fn configure(
    trust: &Trust,
    security: Security,
    asked: Arc<CertificateResolver>,
) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Setup { source })?;
    let builder = match trust {
        Trust::Authorities(store) => builder.with_root_certificates(Arc::clone(store)),
        Trust::Anybody => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(BelieveAnybody { provider })),
    };
    let mut config = builder.with_client_cert_resolver(asked);
    if security == Security::DirectTls {
        config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    }
    Ok(config)
}

/// Is this certificate one for `domain`? Whoever signed it, and whenever.
#[must_use]
pub fn is_for(der: &[u8], domain: &str) -> bool {
    let der = CertificateDer::from(der);
    let cert = rustls::server::ParsedCertificate::try_from(&der);
    match (cert, server_name(domain)) {
        (Ok(cert), Ok(name)) => rustls::client::verify_server_name(&cert, &name).is_ok(),
        _ => false,
    }
}

fn server_name(domain: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = domain
        .strip_prefix('[')
        .and_then(|domain| domain.strip_suffix(']'))
        .unwrap_or(domain);
    if let Ok(ip) = bare.parse::<std::net::IpAddr>() {
        return Ok(ServerName::from(ip));
    }
    let name = resolve::wire_name(domain)?;
    ServerName::try_from(name).map_err(|_| TlsError::NotAServerName {
        domain: domain.to_owned(),
    })
}

/// Answers the server's question for a certificate, and remembers that it came: rustls asks only then.
#[derive(Debug)]
struct CertificateResolver {
    identity: Option<Arc<CertifiedKey>>,
    request: OnceLock<CertificateRequest>,
}

impl ResolvesClientCert for CertificateResolver {
    fn resolve(
        &self,
        authorities: &[&[u8]],
        schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        let usable = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(schemes).is_some();
        let answer = self.identity.as_ref().filter(usable).map(Arc::clone);
        // A handshake asks once; a second question would change nothing that we report.
        let _ = self.request.set(CertificateRequest {
            answered: answer.is_some(),
            authorities: authorities.len(),
        });
        answer
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// Takes any certificate, and still checks that the server holds its key.
#[derive(Debug)]
struct BelieveAnybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for BelieveAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair};
    use rustls::ServerConfig;
    use rustls::pki_types::PrivateKeyDer;
    use rustls::server::WebPkiClientVerifier;
    use time::OffsetDateTime;
    use tokio_rustls::TlsAcceptor;
    use xmpp_parsers::jid::BareJid;

    use super::super::certificate::make;
    use super::*;

    /// A server with a self-signed certificate for `name`, and who trusts it.
    fn server(name: &str, clients: Option<&CertificateDer<'static>>) -> (ServerConfig, Trust) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .self_signed(&key)
            .unwrap();
        let mut store = RootCertStore::empty();
        store.add(certificate.der().clone()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let mut clients = RootCertStore::empty();
                clients.add(client.clone()).unwrap();
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(clients), provider);
                builder.with_client_cert_verifier(verifier.allow_unauthenticated().build().unwrap())
            }
        };
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        (
            builder
                .with_single_cert(vec![certificate.der().clone()], key)
                .unwrap(),
            Trust::Authorities(Arc::new(store)),
        )
    }

    async fn connect(
        config: ServerConfig,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<Facts, TlsError> {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let deadlines = Deadlines::starting_now(Duration::from_secs(5), Duration::from_secs(5));
        let accepting = TlsAcceptor::from(Arc::new(config)).accept(theirs);
        let terms = Terms {
            security: Security::DirectTls,
            trust,
            identity,
        };
        let connecting = handshake(ours, "shakespeare.lit", &terms, &deadlines);
        let (connected, _accepted) = tokio::join!(connecting, accepting);
        connected.map(|(_, facts)| facts)
    }

    fn hamlet() -> (Identity, CertificateDer<'static>) {
        let fresh = make(
            &BareJid::new("hamlet@shakespeare.lit").unwrap(),
            365,
            OffsetDateTime::now_utc(),
        )
        .unwrap();
        (fresh.identity, fresh.der)
    }

    #[tokio::test]
    async fn the_servers_certificate_must_be_for_the_domain() {
        let (config, trust) = server("shakespeare.lit", None);
        assert!(connect(config, &trust, None).await.unwrap().verified);
        let (config, trust) = server("other.example", None);
        let error = connect(config, &trust, None).await.unwrap_err();
        let TlsError::Handshake { source } = &error else {
            unreachable!("{error}")
        };
        assert!(
            matches!(cause(source), Some(rustls::Error::InvalidCertificate(_))),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn an_unknown_authority_is_believed_only_when_told_so() {
        let ((config, _), (_, trust)) = (
            server("shakespeare.lit", None),
            server("shakespeare.lit", None),
        );
        assert!(connect(config.clone(), &trust, None).await.is_err());
        assert!(
            !connect(config, &Trust::Anybody, None)
                .await
                .unwrap()
                .verified
        );
    }

    #[tokio::test]
    async fn whether_a_certificate_was_asked_for_is_known() {
        let (identity, der) = hamlet();
        let answered = |answered| {
            Some(CertificateRequest {
                answered,
                authorities: 1,
            })
        };
        let (config, trust) = server("shakespeare.lit", None);
        assert_eq!(
            connect(config, &trust, Some(&identity))
                .await
                .unwrap()
                .certificate_request,
            None
        );
        let (config, trust) = server("shakespeare.lit", Some(&der));
        let asked = connect(config.clone(), &trust, Some(&identity))
            .await
            .unwrap();
        assert_eq!(asked.certificate_request, answered(true));
        assert_eq!(
            connect(config, &trust, None)
                .await
                .unwrap()
                .certificate_request,
            answered(false)
        );
    }

    #[tokio::test]
    async fn a_server_that_never_shakes_hands_is_not_waited_for() {
        let (ours, _theirs) = tokio::io::duplex(64 * 1024);
        let soon = Deadlines::starting_now(Duration::from_millis(50), Duration::from_secs(5));
        let terms = Terms {
            security: Security::DirectTls,
            trust: &Trust::Anybody,
            identity: None,
        };
        let waiting = handshake(ours, "shakespeare.lit", &terms, &soon);
        assert!(matches!(waiting.await, Err(TlsError::Overdue(_))));
    }
}
