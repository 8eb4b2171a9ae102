//! A logged-in session: a bound resource and questions to the server (`<iq/>`).
//!
//! Must not know: how it was logged in, what a question means.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use xmpp_parsers::bind::{BindQuery, BindResponse};
use xmpp_parsers::disco::DiscoInfoQuery;
use xmpp_parsers::iq::{Iq, IqGetPayload, IqSetPayload};
use xmpp_parsers::jid::{BareJid, FullJid, Jid};
use xmpp_parsers::minidom::Element;
use xmpp_parsers::ns;

use super::stream::{Features, Refusal, Stream, StreamError};

/// A session of one account with its server.
pub struct Session<Io = TlsStream<TcpStream>> {
    stream: Stream<Io>,
    bound: FullJid,
    questions: u32,
}

/// Why a question has no good answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server said no.
    #[error("{refusal}")]
    Refused {
        /// The condition and the server's words.
        refusal: Refusal,
        /// The same question may be answered later: the outcome may be unknown (`type='wait'`).
        later: bool,
    },
    /// The stream failed; whether the server did what was asked is unknown.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The server's answer isn't one to this question: its fault.
    #[error("the server's answer can't be understood: {problem}")]
    Unusable {
        /// The problem with it.
        problem: String,
    },
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Session<Io> {
    /// Binds a resource of the server's choice on a stream that has just been authenticated and started anew.
    pub async fn bind(
        stream: Stream<Io>,
        features: &Features,
        account: &BareJid,
    ) -> Result<Self, RequestError> {
        if !features.bind {
            return Err(RequestError::Unusable {
                problem: "it offers no resource binding".to_owned(),
            });
        }
        let Ok(placeholder) = account.with_resource_str("unbound") else {
            return Err(RequestError::Unusable {
                problem: "no resource can be bound to this address".to_owned(),
            });
        };
        let mut session = Self {
            stream,
            bound: placeholder,
            questions: 0,
        };
        let query = Iq::from_set(session.next_id(), BindQuery::new(None));
        let answer = session.ask(query, None).await?;
        let payload = answer.ok_or_else(|| RequestError::Unusable {
            problem: "it names no address".to_owned(),
        })?;
        let response = BindResponse::try_from(payload).map_err(unusable)?;
        session.bound = response.into();
        session.stream.allow_large_elements();
        Ok(session)
    }

    /// The address that the server gave us.
    #[must_use]
    pub fn bound(&self) -> &FullJid {
        &self.bound
    }

    /// Asks the account's server.
    pub async fn get(
        &mut self,
        payload: impl IqGetPayload,
    ) -> Result<Option<Element>, RequestError> {
        let query = Iq::from_get(self.next_id(), payload);
        self.ask(query, None).await
    }

    /// Tells the account's server to do something.
    pub async fn set(
        &mut self,
        payload: impl IqSetPayload,
    ) -> Result<Option<Element>, RequestError> {
        let query = Iq::from_set(self.next_id(), payload);
        self.ask(query, None).await
    }

    /// Asks whether the server itself has a feature (XEP-0030).
    pub async fn server_has(&mut self, feature: &str) -> Result<bool, RequestError> {
        let Ok(server) = Jid::new(self.bound.domain().as_str()) else {
            return Err(RequestError::Unusable {
                problem: "its domain isn't an address".to_owned(),
            });
        };
        let query = Iq::from_get(self.next_id(), DiscoInfoQuery { node: None });
        let answer = self.ask(query, Some(server)).await?;
        Ok(answer.is_some_and(|info| {
            info.children().any(|child| {
                child.is("feature", ns::DISCO_INFO) && child.attr("var") == Some(feature)
            })
        }))
    }

    /// Ends the session politely.
    pub async fn close(self) {
        self.stream.close().await;
    }

    async fn ask(&mut self, query: Iq, to: Option<Jid>) -> Result<Option<Element>, RequestError> {
        let id = query.id().to_owned();
        let query = match &to {
            Some(to) => query.with_to(to.clone()),
            None => query,
        };
        self.stream.send(&query).await?;
        loop {
            let stanza = self.stream.receive().await?;
            if !stanza.is("iq", ns::JABBER_CLIENT)
                || stanza.attr("id") != Some(&id)
                || !self.answers(&stanza, to.as_ref())
            {
                continue;
            }
            match stanza.attr("type") {
                Some("result") => return Ok(stanza.children().next().cloned()),
                Some("error") => return Err(refused(&stanza)),
                _ => {}
            }
        }
    }

    /// Other people can send us stanzas too; only the one we asked may answer (RFC 6120, 8.1.2.1).
    fn answers(&self, stanza: &Element, to: Option<&Jid>) -> bool {
        let Some(from) = stanza.attr("from") else {
            return true;
        };
        let Ok(from) = Jid::new(from) else {
            return false;
        };
        match to {
            Some(to) => from == *to,
            None => {
                from.to_bare() == self.bound.to_bare()
                    || from.as_str() == self.bound.domain().as_str()
            }
        }
    }

    fn next_id(&mut self) -> String {
        self.questions += 1;
        format!("q{}", self.questions)
    }
}

fn refused(stanza: &Element) -> RequestError {
    let Some(error) = stanza.get_child("error", ns::JABBER_CLIENT) else {
        return RequestError::Unusable {
            problem: "an error without a reason".to_owned(),
        };
    };
    let refusal = Refusal::read(error, ns::XMPP_STANZAS);
    RequestError::Refused {
        refusal,
        later: error.attr("type") == Some("wait"),
    }
}

fn unusable(error: impl std::fmt::Display) -> RequestError {
    RequestError::Unusable {
        problem: error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::stream::tests::opened;
    use super::*;

    const BIND: &str = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>";
    const BOUND: &str = "<iq type='result' id='q1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>\
                         <jid>hamlet@shakespeare.lit/elsinore</jid></bind></iq>";

    async fn bound(
        more: &str,
    ) -> Result<(Session<tokio::io::DuplexStream>, tokio::io::DuplexStream), RequestError> {
        let (stream, features, theirs) = opened(BIND, more).await;
        let account = BareJid::new("hamlet@shakespeare.lit").unwrap();
        Session::bind(stream, &features, &account)
            .await
            .map(|session| (session, theirs))
    }

    #[tokio::test]
    async fn the_server_chooses_the_resource() {
        let (session, _theirs) = bound(BOUND).await.unwrap();
        assert_eq!(
            session.bound().to_string(),
            "hamlet@shakespeare.lit/elsinore"
        );
    }

    #[tokio::test]
    async fn only_who_was_asked_may_answer() {
        let info = |from: &str, feature: &str| {
            format!(
                "<iq type='result' id='q2' from='{from}'><query xmlns='http://jabber.org/protocol/disco#info'>\
                 <feature var='{feature}'/></query></iq>"
            )
        };
        let answers = [
            BOUND.to_owned(),
            info("claudius@shakespeare.lit", "urn:xmpp:saslcert:1"),
            "<message from='claudius@shakespeare.lit'><body>psst</body></message>".to_owned(),
            "<iq type='get' id='q2' from='shakespeare.lit'><ping xmlns='urn:xmpp:ping'/></iq>"
                .to_owned(),
            info("shakespeare.lit", "urn:example"),
        ];
        let (mut session, _theirs) = bound(&answers.concat()).await.unwrap();
        assert!(!session.server_has("urn:xmpp:saslcert:1").await.unwrap());
    }

    #[tokio::test]
    async fn a_stanza_error_tells_its_condition_and_whether_to_try_later() {
        for (kind, expected) in [("cancel", false), ("wait", true)] {
            let error = format!(
                "{BOUND}<iq type='error' id='q2'><query xmlns='http://jabber.org/protocol/disco#info'/>\
                 <error type='{kind}'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
            );
            let (mut session, _theirs) = bound(&error).await.unwrap();
            let Err(RequestError::Refused { refusal, later }) =
                session.server_has("urn:example").await
            else {
                unreachable!("the server said no");
            };
            assert_eq!((refusal.condition.as_str(), later), ("conflict", expected));
        }
    }

    #[tokio::test]
    async fn no_answer_is_not_a_no() {
        let (mut session, _theirs) = bound(BOUND).await.unwrap();
        assert!(matches!(
            session.server_has("urn:example").await,
            Err(RequestError::Stream(StreamError::Overdue(_)))
        ));
    }
}
