//! XMPP clients that cost little: STARTTLS or direct TLS, SASL, a resource, and nothing else. prosody.py starts them, as processes of their own.
//!
//! Must not know which server they log in to, nor what is measured there.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sasl::client::Mechanism as _;
use sasl::client::mechanisms::Scram;
use sasl::common::ChannelBinding;
use sasl::common::scram::Sha1;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::accounts::params_for;

/// Prints, for each of `count` accounts of `domain`, a line of JSON: username, a P-256 certificate and its key, as base64 of DER.
pub(crate) fn print_identities(count: usize, domain: &str) -> Result<()> {
    for number in 0..count {
        let username = format!("u{number}");
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let params = params_for(&format!("{username}@{domain}"), number)?;
        let certificate = BASE64.encode(params.self_signed(&key)?.der());
        let key = BASE64.encode(key.serialize_der());
        println!(
            "{}",
            json!({"username": username, "certificate": certificate, "key": key})
        );
    }
    Ok(())
}

/// what the words behind `log-in` and `come-back` say: `starttls` or `direct`, PORT, DOMAIN, the server's authority, the file of `print_identities`, the mechanism, the
/// password of all, and how many logins, or clients.
struct Wanted {
    is_direct: bool,
    port: u16,
    domain: String,
    authority: CertificateDer<'static>,
    identities: Vec<Value>,
    mechanism: String,
    password: String,
    count: usize,
}

impl Wanted {
    fn parse(words: &[&str]) -> Result<Wanted> {
        let [
            tls,
            port,
            domain,
            authority,
            file,
            mechanism,
            password,
            count,
        ] = words
        else {
            bail!("TLS PORT DOMAIN CA-FILE IDENTITIES MECHANISM PASSWORD COUNT, not {words:?}");
        };
        let identities = BufReader::new(File::open(Path::new(file))?).lines();
        let identities = identities.map(|line| Ok(serde_json::from_str(&line?)?));
        Ok(Wanted {
            is_direct: *tls == "direct",
            port: port.parse()?,
            domain: (*domain).to_owned(),
            authority: CertificateDer::from_pem_file(authority)?,
            identities: identities.collect::<Result<_>>()?,
            mechanism: (*mechanism).to_owned(),
            password: (*password).to_owned(),
            count: count.parse()?,
        })
    }

    fn client(&self, number: usize) -> Result<Client> {
        let identity = self.identities.get(number).context("too few identities")?;
        let text = |field: &str| identity.get(field).and_then(Value::as_str).context("field");
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let mut config = if self.mechanism == "EXTERNAL" {
            let certificate = CertificateDer::from(BASE64.decode(text("certificate")?)?);
            let key = PrivatePkcs8KeyDer::from(BASE64.decode(text("key")?)?);
            config.with_client_auth_cert(vec![certificate], key.into())?
        } else {
            config.with_no_client_auth()
        };
        // A client that comes back after a restart has no session with the new process.
        config.resumption = Resumption::disabled();
        Ok(Client {
            is_direct: self.is_direct,
            port: self.port,
            domain: self.domain.clone(),
            tls: TlsConnector::from(Arc::new(config)),
            mechanism: self.mechanism.clone(),
            username: text("username")?.to_owned(),
            password: self.password.clone(),
        })
    }
}

/// Logs in COUNT times with the first identity, one after the other, each over a connection of its own. Prints nothing.
pub(crate) fn one_after_the_other(words: &[&str]) -> Result<()> {
    let wanted = Wanted::parse(words)?;
    let client = wanted.client(0)?;
    run(async {
        for _ in 0..wanted.count {
            client.log_in().await?.leave().await?;
        }
        Ok(())
    })
}

/// COUNT clients log in at once, and stay until the last is in; those that are sent away come back soon. Prints a line of JSON: the
/// seconds that took, and how often one was sent away, by reason.
pub(crate) fn all_at_once(words: &[&str]) -> Result<()> {
    let wanted = Wanted::parse(words)?;
    let clients = (0..wanted.count).map(|number| wanted.client(number));
    let clients = clients.collect::<Result<Vec<_>>>()?;
    run(async {
        let start = Instant::now();
        let tasks: Vec<_> = clients
            .into_iter()
            .map(|client| tokio::task::spawn_local(async move { client.come_back().await }))
            .collect();
        let (mut sessions, mut refusals) = (Vec::new(), BTreeMap::<String, usize>::new());
        for task in tasks {
            let (session, refused) = task.await??;
            sessions.push(session);
            for reason in refused {
                *refusals.entry(reason).or_default() += 1;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        println!("{}", json!({"seconds": seconds, "refusals": refusals}));
        Ok(())
    })
}

fn run(work: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    LocalSet::new().block_on(&runtime, work)
}

struct Client {
    is_direct: bool,
    port: u16,
    domain: String,
    tls: TlsConnector,
    mechanism: String,
    username: String,
    password: String,
}

impl Client {
    /// The session, and why the server has sent this client away before.
    async fn come_back(&self) -> Result<(Encrypted, Vec<String>)> {
        let mut refused = Vec::new();
        loop {
            match tokio::time::timeout(PATIENCE, self.log_in()).await? {
                Ok(session) => return Ok((session, refused)),
                Err(error) if refused.len() == REFUSALS_AT_MOST => return Err(error),
                Err(error) => refused.push(error.to_string()),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn log_in(&self) -> Result<Encrypted> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await?;
        socket.set_nodelay(true)?;
        if !self.is_direct {
            let mut session = Session {
                stream: socket,
                inbox: String::new(),
            };
            session.begin(&self.domain).await?;
            session
                .send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
                .await?;
            session.read_to("<proceed").await?;
            session.read_to("/>").await?;
            socket = session.stream;
        }
        let name = ServerName::try_from(self.domain.clone())?;
        let stream = self.tls.connect(name, socket).await?;
        let mut session = Session {
            stream,
            inbox: String::new(),
        };
        let features = session.begin(&self.domain).await?;
        let offer = format!("<mechanism>{}</mechanism>", self.mechanism);
        ensure!(
            features.contains(&offer),
            "{} is not offered",
            self.mechanism
        );
        match self.mechanism.as_str() {
            "EXTERNAL" => session.authenticate("EXTERNAL", "=").await?,
            "PLAIN" => {
                let message = format!("\0{}\0{}", self.username, self.password);
                session
                    .authenticate("PLAIN", &BASE64.encode(message))
                    .await?;
            }
            "SCRAM-SHA-1" => self.scram(&mut session).await?,
            other => bail!("no client for {other}"),
        }
        session.begin(&self.domain).await?;
        session
            .send("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
            .await?;
        let bound = session.read_to("</iq>").await?;
        ensure!(bound.contains("<jid>"), "no resource: {bound}");
        Ok(session)
    }

    async fn scram(&self, session: &mut Encrypted) -> Result<()> {
        let password = self.password.as_str();
        let mut scram = Scram::<Sha1>::new(&*self.username, password, ChannelBinding::None)
            .map_err(|error| anyhow::anyhow!("{error:?}"))?;
        let first = BASE64.encode(scram.initial());
        session
            .send(&format!(
                "<auth xmlns='{SASL}' mechanism='SCRAM-SHA-1'>{first}</auth>"
            ))
            .await?;
        let challenge = session.read_to("</challenge>").await?;
        let challenge = challenge.trim_end_matches("</challenge>");
        let (_, challenge) = challenge.rsplit_once('>').context("a challenge")?;
        let response = scram
            .response(&BASE64.decode(challenge)?)
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let response = BASE64.encode(response);
        session
            .send(&format!("<response xmlns='{SASL}'>{response}</response>"))
            .await?;
        session.expect_success().await
    }
}

type Encrypted = Session<TlsStream<TcpStream>>;

struct Session<S> {
    stream: S,
    inbox: String,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    /// Begins a stream, and returns its features.
    async fn begin(&mut self, domain: &str) -> Result<String> {
        self.inbox.clear();
        self.send(&format!(
            "<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        ))
        .await?;
        self.read_to("</stream:features>").await
    }

    async fn authenticate(&mut self, mechanism: &str, initial: &str) -> Result<()> {
        self.send(&format!(
            "<auth xmlns='{SASL}' mechanism='{mechanism}'>{initial}</auth>"
        ))
        .await?;
        self.expect_success().await
    }

    async fn expect_success(&mut self) -> Result<()> {
        let answer = self.read_to(">").await?;
        ensure!(
            answer.starts_with("<success"),
            "refused: {answer}{}",
            self.inbox
        );
        if !answer.ends_with("/>") {
            self.read_to("</success>").await?;
        }
        Ok(())
    }

    async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(text.as_bytes()).await?)
    }

    /// Reads until `end`, and returns all up to there.
    async fn read_to(&mut self, end: &str) -> Result<String> {
        loop {
            if let Some(at) = self.inbox.find(end) {
                let rest = self.inbox.split_off(at + end.len());
                return Ok(std::mem::replace(&mut self.inbox, rest));
            }
            ensure!(
                self.read().await?,
                "the server closed the stream: {}",
                self.inbox
            );
        }
    }

    /// Whether there was more to read.
    async fn read(&mut self) -> Result<bool> {
        let mut bytes = [0; 8192];
        let count = self.stream.read(&mut bytes).await?;
        self.inbox
            .push_str(std::str::from_utf8(bytes.get(..count).unwrap_or_default())?);
        Ok(count > 0)
    }

    /// Ends the stream, and waits until the server has done so, too: then all that the session has cost is spent.
    async fn leave(mut self) -> Result<()> {
        self.send("</stream:stream>").await?;
        self.read_to("</stream:stream>").await?;
        self.stream.shutdown().await?;
        // It may end TCP without TLS' good-bye.
        while self.read().await.unwrap_or(false) {}
        Ok(())
    }
}

const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";

/// How soon a client that was sent away comes back.
const PAUSE: Duration = Duration::from_millis(10);

/// How long one login may take, and how often a client is sent away before the bench gives up.
const PATIENCE: Duration = Duration::from_mins(2);
const REFUSALS_AT_MOST: usize = 500;
