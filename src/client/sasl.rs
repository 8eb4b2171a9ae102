//! Authenticates to the server (RFC 6120, 6): with SCRAM or PLAIN by a password, with EXTERNAL by the TLS certificate.
//!
//! The mechanisms are the crate `sasl`'s; here they are chosen, and here are the checks on the server that SCRAM's
//! client owes (RFC 5802, 5.1) and the crate leaves out.
//!
//! Must not know: where the server was found, what the session is for.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use sasl::client::mechanisms::{Plain, Scram};
use sasl::client::{Mechanism, MechanismError};
use sasl::common::ChannelBinding;
use sasl::common::scram::{Sha1, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use xmpp_parsers::minidom::Element;
use xmpp_parsers::ns;
use xso::AsXml;
use zeroize::Zeroizing;

use super::stream::{Features, Refusal, Stream, StreamError};
use super::tls::Facts;

/// A proof of who we are.
#[derive(Clone)]
pub enum Credential {
    /// A password. The crate `sasl` copies it for the time of the login and doesn't wipe the copy.
    Password(Zeroizing<String>),
    /// The certificate that TLS showed.
    Certificate {
        /// As whom; none for whom the certificate names.
        authzid: Option<String>,
        /// Select EXTERNAL even though the server doesn't list it: for diagnosis.
        force: bool,
    },
}

/// Why the login failed.
#[derive(Debug, thiserror::Error)]
pub enum SaslError {
    /// The server offers nothing that we can use.
    #[error("the server doesn't offer what this login needs")]
    NotOffered {
        /// The mechanisms that it offers.
        offered: Vec<String>,
    },
    /// The server said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The server couldn't prove that it knows the password, or asked for a proof that would give it away.
    #[error("the server isn't to be trusted with the password: {problem}")]
    Untrustworthy {
        /// Its mistake.
        problem: &'static str,
    },
    /// The server's message can't be understood: its fault.
    #[error("the server's SASL message can't be used")]
    Mechanism {
        /// The message of the crate `sasl`.
        #[source]
        source: MechanismError,
    },
    /// The server's message isn't base64: its fault.
    #[error("the server's SASL message isn't base64")]
    Encoding,
    /// The server keeps asking.
    #[error("the server keeps asking and never decides")]
    Endless,
    /// The password has characters that no password may have (RFC 4013): the user's fault.
    #[error("the password has characters that no password can have")]
    UnusablePassword,
    /// The stream failed.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// Logs in as `username` and returns the mechanism that did it. The stream must then start anew.
pub async fn authenticate<Io: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut Stream<Io>,
    features: &Features,
    facts: &Facts,
    username: &str,
    credential: &Credential,
) -> Result<String, SaslError> {
    let Exchange {
        mut mechanism,
        mut scram,
    } = choose(features, facts, username, credential)?;
    let name = mechanism.name().to_owned();
    let first = mechanism.initial();
    if let Some(scram) = &mut scram {
        scram.remember_nonce(&first);
    }
    let data = if first.is_empty() {
        "=".to_owned()
    } else {
        BASE64.encode(first)
    };
    stream
        .send(&Auth {
            mechanism: name.clone(),
            data,
        })
        .await?;
    for _ in 0..MAX_ROUNDS {
        let element = stream.receive().await?;
        if element.is("failure", ns::SASL) {
            return Err(SaslError::Refused(Refusal::read(&element, ns::SASL)));
        }
        let data = decode(&element)?;
        if element.is("success", ns::SASL) {
            if scram.is_some_and(|scram| !scram.proven) {
                mechanism.success(&data).map_err(unproven)?;
            }
            return Ok(name);
        }
        if !element.is("challenge", ns::SASL) {
            return Err(StreamError::unexpected(&element).into());
        }
        let answer = match &mut scram {
            None => mechanism
                .response(&data)
                .map_err(|source| SaslError::Mechanism { source })?,
            Some(scram) if !scram.asked => {
                scram.check_server_first(&data)?;
                mechanism
                    .response(&data)
                    .map_err(|source| SaslError::Mechanism { source })?
            }
            Some(scram) => {
                mechanism.success(&data).map_err(unproven)?;
                scram.proven = true;
                Vec::new()
            }
        };
        stream
            .send(&Response {
                data: BASE64.encode(answer),
            })
            .await?;
    }
    Err(SaslError::Endless)
}

/// Chooses the strongest mechanism that both sides can.
fn choose(
    features: &Features,
    facts: &Facts,
    username: &str,
    credential: &Credential,
) -> Result<Exchange, SaslError> {
    let offers = |name: &str| features.mechanisms.iter().any(|offered| offered == name);
    let not_offered = || SaslError::NotOffered {
        offered: features.mechanisms.clone(),
    };
    let password = match credential {
        Credential::Certificate { authzid, force } if *force || offers("EXTERNAL") => {
            let authzid = authzid.clone().unwrap_or_default().into_bytes();
            return Ok(Exchange {
                mechanism: Box::new(External { authzid }),
                scram: None,
            });
        }
        Credential::Certificate { .. } => return Err(not_offered()),
        Credential::Password(password) => Zeroizing::new(
            stringprep::saslprep(password)
                .map_err(|_| SaslError::UnusablePassword)?
                .into_owned(),
        ),
    };
    let plus = features
        .mechanisms
        .iter()
        .any(|name| name.starts_with("SCRAM-") && name.ends_with("-PLUS"));
    let exporter = facts.exporter.as_ref().filter(|_| {
        features
            .channel_bindings
            .as_ref()
            .is_none_or(|kinds| kinds.iter().any(|kind| kind == "tls-exporter"))
    });
    // "We could, and you said you can't" lets the server see that somebody took -PLUS out of its list.
    let without = || {
        if plus || facts.exporter.is_none() {
            ChannelBinding::None
        } else {
            ChannelBinding::Unsupported
        }
    };
    let bound =
        || exporter.map_or_else(without, |value| ChannelBinding::TlsExporter(value.clone()));
    let binds = exporter.is_some();
    let scram_name = username.replace('=', "=3D").replace(',', "=2C");
    let nonce = |_| SaslError::Mechanism {
        source: MechanismError::CannotGenerateNonce,
    };
    let mechanism: Box<dyn Mechanism + Send> = if binds && offers("SCRAM-SHA-256-PLUS") {
        Box::new(Scram::<Sha256>::new(scram_name, password.as_str(), bound()).map_err(nonce)?)
    } else if binds && offers("SCRAM-SHA-1-PLUS") {
        Box::new(Scram::<Sha1>::new(scram_name, password.as_str(), bound()).map_err(nonce)?)
    } else if offers("SCRAM-SHA-256") {
        Box::new(Scram::<Sha256>::new(scram_name, password.as_str(), without()).map_err(nonce)?)
    } else if offers("SCRAM-SHA-1") {
        Box::new(Scram::<Sha1>::new(scram_name, password.as_str(), without()).map_err(nonce)?)
    } else if facts.verified && offers("PLAIN") {
        return Ok(Exchange {
            mechanism: Box::new(Plain::new(username, password.as_str())),
            scram: None,
        });
    } else {
        return Err(not_offered());
    };
    Ok(Exchange {
        mechanism,
        scram: Some(Scrutiny::default()),
    })
}

struct Exchange {
    mechanism: Box<dyn Mechanism + Send>,
    scram: Option<Scrutiny>,
}

/// EXTERNAL (RFC 4422, appendix A): the authzid, or nothing, whenever the server asks.
struct External {
    authzid: Vec<u8>,
}

impl Mechanism for External {
    fn name(&self) -> &'static str {
        "EXTERNAL"
    }

    fn from_credentials(_: sasl::common::Credentials) -> Result<Self, MechanismError> {
        Ok(Self {
            authzid: Vec::new(),
        })
    }

    fn initial(&mut self) -> Vec<u8> {
        self.authzid.clone()
    }

    fn response(&mut self, _challenge: &[u8]) -> Result<Vec<u8>, MechanismError> {
        Ok(self.authzid.clone())
    }
}

/// The demands on a SCRAM server, and how far it has proven itself.
#[derive(Debug, Default)]
struct Scrutiny {
    nonce: String,
    asked: bool,
    proven: bool,
}

impl Scrutiny {
    fn remember_nonce(&mut self, client_first: &[u8]) {
        let text = String::from_utf8_lossy(client_first);
        self.nonce = text
            .rsplit_once(",r=")
            .map_or_else(String::new, |(_, nonce)| nonce.to_owned());
    }

    /// Source: RFC 5802, 5.1: the nonce continues ours, no unknown extension; an iteration count that neither
    /// gives the password away nor keeps us busy.
    fn check_server_first(&mut self, message: &[u8]) -> Result<(), SaslError> {
        self.asked = true;
        let fail = |problem| Err(SaslError::Untrustworthy { problem });
        let text = String::from_utf8_lossy(message);
        let value = |key: &str| {
            text.split(',')
                .find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
        };
        if value("m").is_some() {
            return fail("it demands an extension of SCRAM that this client doesn't know");
        }
        let continues =
            |nonce: &str| nonce.len() > self.nonce.len() && nonce.starts_with(&self.nonce);
        if self.nonce.is_empty() || !value("r").is_some_and(continues) {
            return fail("its nonce doesn't continue ours");
        }
        match value("i").and_then(|count| count.parse::<u32>().ok()) {
            Some(count) if count < MIN_ITERATIONS => fail("it asks for too few iterations"),
            Some(count) if count > MAX_ITERATIONS => fail("it asks for too many iterations"),
            Some(_) => Ok(()),
            None => fail("it names no iteration count"),
        }
    }
}

fn unproven(_: MechanismError) -> SaslError {
    SaslError::Untrustworthy {
        problem: "it accepted the login without proving that it knows the password",
    }
}

fn decode(element: &Element) -> Result<Vec<u8>, SaslError> {
    let text: String = element.text().split_ascii_whitespace().collect();
    if text == "=" {
        Ok(Vec::new())
    } else {
        BASE64.decode(text).map_err(|_| SaslError::Encoding)
    }
}

/// `<auth/>`; the crate's own type knows no EXTERNAL.
#[derive(AsXml)]
#[xml(namespace = ns::SASL, name = "auth")]
struct Auth {
    #[xml(attribute)]
    mechanism: String,
    #[xml(text)]
    data: String,
}

#[derive(AsXml)]
#[xml(namespace = ns::SASL, name = "response")]
struct Response {
    #[xml(text)]
    data: String,
}

const MAX_ROUNDS: usize = 4;
/// RFC 5802, 5.1.
const MIN_ITERATIONS: u32 = 4096;
/// A few seconds of work on a slow machine.
const MAX_ITERATIONS: u32 = 10_000_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::stream::tests::{heard, opened};
    use super::*;

    const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    const EMPTY_CHALLENGE: &str = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";

    fn offering(mechanisms: &[&str]) -> String {
        let listed = mechanisms.join("</mechanism><mechanism>");
        format!(
            "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>{listed}</mechanism></mechanisms>"
        )
    }

    fn facts(verified: bool, exporter: Option<Vec<u8>>) -> Facts {
        Facts {
            version: "TLSv1.3",
            cipher: String::new(),
            verified,
            certificate_request: None,
            exporter,
        }
    }

    fn certificate(authzid: Option<&str>, force: bool) -> Credential {
        Credential::Certificate {
            authzid: authzid.map(str::to_owned),
            force,
        }
    }

    fn password() -> Credential {
        Credential::Password(Zeroizing::new("to be".to_owned()))
    }

    /// The result of a login and what the server heard of it.
    async fn login(
        mechanisms: &[&str],
        answers: &str,
        facts: &Facts,
        credential: &Credential,
    ) -> (Result<String, SaslError>, String) {
        let (mut stream, features, theirs) = opened(&offering(mechanisms), answers).await;
        let result = authenticate(&mut stream, &features, facts, "hamlet", credential).await;
        drop(stream);
        let text = heard(theirs).await;
        let sent = text
            .find("<auth")
            .and_then(|start| text.get(start..))
            .unwrap_or_default()
            .to_owned();
        (result, sent)
    }

    #[tokio::test]
    async fn external_without_an_authzid_sends_an_equals_sign() {
        let (result, sent) = login(
            &["EXTERNAL"],
            SUCCESS,
            &facts(true, None),
            &certificate(None, false),
        )
        .await;
        assert_eq!(result.unwrap(), "EXTERNAL");
        assert!(
            sent.contains("mechanism='EXTERNAL'") || sent.contains("mechanism=\"EXTERNAL\""),
            "{sent}"
        );
        assert!(sent.contains(">=<"), "{sent}");
    }

    #[tokio::test]
    async fn external_with_an_authzid_sends_it() {
        let credential = certificate(Some("hamlet@shakespeare.lit"), false);
        let (result, sent) = login(&["EXTERNAL"], SUCCESS, &facts(true, None), &credential).await;
        assert!(result.is_ok());
        assert!(
            sent.contains(&BASE64.encode("hamlet@shakespeare.lit")),
            "{sent}"
        );
    }

    #[tokio::test]
    async fn external_answers_when_the_server_asks_again() {
        let answers = format!("{EMPTY_CHALLENGE}{SUCCESS}");
        let (result, sent) = login(
            &["EXTERNAL"],
            &answers,
            &facts(true, None),
            &certificate(None, false),
        )
        .await;
        assert!(result.is_ok());
        assert!(sent.contains("<response"), "{sent}");
        let forever = EMPTY_CHALLENGE.repeat(20);
        let (result, _) = login(
            &["EXTERNAL"],
            &forever,
            &facts(true, None),
            &certificate(None, false),
        )
        .await;
        assert!(matches!(result, Err(SaslError::Endless)));
    }

    #[tokio::test]
    async fn external_that_is_not_offered_is_selected_only_by_force() {
        let offered = ["SCRAM-SHA-1"];
        let (result, sent) = login(
            &offered,
            SUCCESS,
            &facts(true, None),
            &certificate(None, false),
        )
        .await;
        assert!(matches!(result, Err(SaslError::NotOffered { .. })));
        assert_eq!(sent, "");
        let (result, _) = login(
            &offered,
            SUCCESS,
            &facts(true, None),
            &certificate(None, true),
        )
        .await;
        assert!(result.is_ok());
    }

    #[tokio::test]
    async fn the_servers_condition_and_words_are_kept() {
        for (body, condition, text) in [
            (
                "<credentials-expired/><text xml:lang='en'>too old</text>",
                "credentials-expired",
                Some("too old"),
            ),
            ("<a-new-condition/>", "a-new-condition", None),
            ("", "undefined-condition", None),
        ] {
            let failure =
                format!("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{body}</failure>");
            let (result, _) = login(
                &["EXTERNAL"],
                &failure,
                &facts(true, None),
                &certificate(None, false),
            )
            .await;
            let expected = Refusal {
                condition: condition.to_owned(),
                text: text.map(str::to_owned),
            };
            assert!(
                matches!(result, Err(SaslError::Refused(refusal)) if refusal == expected),
                "{body}"
            );
        }
    }

    #[tokio::test]
    async fn plain_is_for_verified_servers_that_offer_nothing_better() {
        let (result, sent) = login(&["PLAIN"], SUCCESS, &facts(true, None), &password()).await;
        assert_eq!(result.unwrap(), "PLAIN");
        assert!(sent.contains(&BASE64.encode("\0hamlet\0to be")), "{sent}");
        let (result, sent) = login(&["PLAIN"], SUCCESS, &facts(false, None), &password()).await;
        assert!(matches!(result, Err(SaslError::NotOffered { .. })));
        assert_eq!(sent, "");
    }

    #[tokio::test]
    async fn the_strongest_common_mechanism_is_taken() {
        let all = [
            "PLAIN",
            "SCRAM-SHA-1",
            "SCRAM-SHA-1-PLUS",
            "SCRAM-SHA-256",
            "SCRAM-SHA-256-PLUS",
        ];
        let exporter = || Some(vec![1; 32]);
        for (offered, exporter, expected, flag) in [
            (
                &all[..],
                exporter(),
                "SCRAM-SHA-256-PLUS",
                "p=tls-exporter,,",
            ),
            (
                &all[..3],
                exporter(),
                "SCRAM-SHA-1-PLUS",
                "p=tls-exporter,,",
            ),
            (&all[..], None, "SCRAM-SHA-256", "n,,"),
            (&all[..2], exporter(), "SCRAM-SHA-1", "y,,"),
            (&all[..2], None, "SCRAM-SHA-1", "n,,"),
        ] {
            let (mut stream, features, _theirs) = opened(&offering(offered), "").await;
            let mut exchange =
                choose(&features, &facts(true, exporter), "hamlet", &password()).unwrap();
            assert_eq!(exchange.mechanism.name(), expected);
            assert!(
                exchange.mechanism.initial().starts_with(flag.as_bytes()),
                "{expected}"
            );
            assert!(stream.receive().await.is_err());
        }
    }

    #[tokio::test]
    async fn a_server_that_accepts_without_proof_is_not_believed() {
        for success in [
            SUCCESS,
            "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>dj1BQUFB</success>",
        ] {
            let (result, _) =
                login(&["SCRAM-SHA-256"], success, &facts(true, None), &password()).await;
            assert!(
                matches!(result, Err(SaslError::Untrustworthy { .. })),
                "{success}"
            );
        }
    }

    #[test]
    fn the_servers_first_scram_message_is_checked() {
        let good = "r=ours+theirs,s=AAAA,i=4096";
        let bad = [
            "r=ours,s=AAAA,i=4096",
            "r=others+theirs,s=AAAA,i=4096",
            "s=AAAA,i=4096",
            "r=ours+theirs,s=AAAA",
            "r=ours+theirs,s=AAAA,i=4095",
            "r=ours+theirs,s=AAAA,i=10000001",
            "r=ours+theirs,s=AAAA,i=-1",
            "m=novelty,r=ours+theirs,s=AAAA,i=4096",
        ];
        let check = |message: &str| {
            let mut scram = Scrutiny::default();
            scram.remember_nonce(b"n,,n=hamlet,r=ours");
            scram.check_server_first(message.as_bytes())
        };
        assert!(check(good).is_ok());
        for message in bad {
            assert!(check(message).is_err(), "{message}");
        }
    }
}
