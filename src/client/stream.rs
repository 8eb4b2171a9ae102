//! XML streams (RFC 6120, 4): open one, read and write elements, start it anew, close it.
//!
//! Works over any byte stream, before TLS and after. An element is read whole before anybody looks at it, so that
//! a server's novelty is an element we skip, not a broken stream.
//!
//! Must not know: what an element means.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_xmpp::xmlstream::{
    InitiatingStream, PendingFeaturesRecv, ReadError, StreamHeader, Timeouts, XmlStream,
    initiate_stream,
};
use xmpp_parsers::minidom::Element;
use xmpp_parsers::ns;
use xso::AsXml;

use super::bounded::{Bounded, Limited};
use super::deadline::{Deadlines, Overdue};

/// An open XML stream to a server.
pub struct Stream<Io> {
    xml: XmlStream<Limited<Io>, Bounded>,
    header: Header,
    deadlines: Deadlines,
    max_element_bytes: usize,
    over: bool,
}

/// To whom a stream is opened, and from whom.
#[derive(Debug, Clone)]
pub struct Header {
    /// The domain we want to talk to.
    pub to: String,
    /// Our bare address; only once the stream is encrypted (RFC 6120, 4.7.1).
    pub from: Option<String>,
}

/// The server's offers when the stream opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// TLS can be started here.
    pub starttls: bool,
    /// A resource can be bound: we are logged in.
    pub bind: bool,
    /// The SASL mechanisms, in the server's order.
    pub mechanisms: Vec<String>,
    /// The kinds of channel binding (XEP-0440); none if the server doesn't say.
    pub channel_bindings: Option<Vec<String>>,
}

/// Why a stream can't go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The connection broke, or what came wasn't XML: the network's or the server's fault.
    #[error("the connection broke")]
    Broken {
        /// The message of the operating system, TLS or the XML parser.
        #[source]
        source: io::Error,
    },
    /// The server closed the stream without a reason.
    #[error("the server closed the stream")]
    Closed,
    /// The server ended the stream and said why.
    #[error("the server ended the stream: {0}")]
    Ended(Refusal),
    /// Nothing came in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
    /// The server sent something that has no place here.
    #[error("the server sent an unexpected <{name}/>")]
    Unexpected {
        /// The element's name.
        name: String,
    },
    /// An element was nested deeper than we accept.
    #[error("the server sent an element that can't be read")]
    Unreadable {
        /// The message of the XML reader.
        #[source]
        source: xmpp_parsers::Error,
    },
    /// Bytes were waiting behind the last element although the peer had to be silent: somebody put them there.
    #[error("somebody sent data ahead of the TLS handshake; the connection isn't safe")]
    DataBeforeTls,
}

/// A condition of the protocol and the server's words for it, from a SASL failure, a stanza or a stream error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The element's name, as `not-authorized`.
    pub condition: String,
    /// The server's text for people, in English if there is a choice.
    pub text: Option<String>,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> Stream<Io> {
    /// Opens a stream over `io` and waits for the server's features.
    pub async fn open(
        io: Io,
        header: Header,
        deadlines: Deadlines,
    ) -> Result<(Self, Features), StreamError> {
        let limited = Limited::new(io, MAX_BYTES_BEFORE_LOGIN);
        let opening = initiate_stream(limited, ns::JABBER_CLIENT, header.as_sent(), TIMEOUTS);
        let pending = deadlines
            .limit(opening)
            .await?
            .map_err(StreamError::broken)?;
        Self::opened(pending, header, deadlines).await
    }

    /// Starts the stream anew on the same connection, as after a login.
    pub async fn restart(self) -> Result<(Self, Features), StreamError> {
        self.require_live()?;
        self.xml.get_stream().allow(MAX_BYTES_BEFORE_LOGIN);
        let opening =
            InitiatingStream::send_header(self.xml.initiate_reset(), self.header.as_sent());
        let pending = self
            .deadlines
            .limit(opening)
            .await?
            .map_err(StreamError::broken)?;
        Self::opened(pending, self.header, self.deadlines).await
    }

    /// Sends one element.
    pub async fn send(&mut self, element: &(impl AsXml + Sync)) -> Result<(), StreamError> {
        self.require_live()?;
        let sent = self.deadlines.limit(self.xml.send(element)).await;
        self.over = !matches!(sent, Ok(Ok(())));
        sent?.map_err(StreamError::broken)
    }

    /// Waits for the next element.
    pub async fn receive(&mut self) -> Result<Element, StreamError> {
        self.require_live()?;
        self.over = true;
        self.xml.get_stream().allow(self.max_element_bytes);
        let element = match self.deadlines.limit(self.xml.next()).await? {
            Some(Ok(Bounded(element))) => element,
            Some(Err(ReadError::HardError(source))) => return Err(StreamError::broken(source)),
            Some(Err(ReadError::ParseError(source))) => {
                return Err(StreamError::Unreadable { source });
            }
            Some(Err(ReadError::SoftTimeout | ReadError::StreamFooterReceived)) | None => {
                return Err(StreamError::Closed);
            }
        };
        if element.is("error", ns::STREAM) {
            return Err(StreamError::Ended(Refusal::read(
                &element,
                ns::XMPP_STREAMS,
            )));
        }
        self.over = false;
        Ok(element)
    }

    /// Says goodbye, as far as the other side still listens.
    pub async fn close(mut self) {
        let short = self.deadlines.with_step(GOODBYE);
        // Nobody waits for the outcome: the connection is dropped in any case.
        let _ = short.limit(self.xml.shutdown()).await;
    }

    /// Accepts larger elements from now on: the server and we know each other.
    pub fn allow_large_elements(&mut self) {
        self.max_element_bytes = MAX_BYTES_AFTER_LOGIN;
    }

    /// Returns the byte stream, for TLS.
    pub fn into_io(self) -> Result<Io, StreamError> {
        self.require_live()?;
        let limited = self.xml.into_inner();
        if limited.unread().is_empty() {
            Ok(limited.into_inner())
        } else {
            Err(StreamError::DataBeforeTls)
        }
    }

    /// The byte stream below.
    pub fn io(&self) -> &Io {
        self.xml.get_stream().inner()
    }

    async fn opened(
        pending: PendingFeaturesRecv<Limited<Io>>,
        header: Header,
        deadlines: Deadlines,
    ) -> Result<(Self, Features), StreamError> {
        let xml = pending.skip_features();
        let max_element_bytes = MAX_BYTES_BEFORE_LOGIN;
        let mut stream = Self {
            xml,
            header,
            deadlines,
            max_element_bytes,
            over: false,
        };
        let element = stream.receive().await?;
        if !element.is("features", ns::STREAM) {
            return Err(StreamError::unexpected(&element));
        }
        Ok((stream, Features::read(&element)))
    }

    /// The crate below panics when a stream that is over is used again.
    fn require_live(&self) -> Result<(), StreamError> {
        if self.over {
            Err(StreamError::Closed)
        } else {
            Ok(())
        }
    }
}

impl Header {
    fn as_sent(&self) -> StreamHeader<'_> {
        StreamHeader {
            from: self.from.as_deref().map(Cow::Borrowed),
            to: Some(Cow::Borrowed(&self.to)),
            id: None,
        }
    }
}

impl Features {
    fn read(element: &Element) -> Self {
        let children = |name, namespace: &'static str| {
            let list = element.get_child(name, namespace)?;
            Some(list.children().filter(move |child| child.ns() == namespace))
        };
        let mechanisms = children("mechanisms", ns::SASL)
            .into_iter()
            .flatten()
            .map(|child| child.text().trim().to_owned());
        let channel_bindings = children("sasl-channel-binding", ns::SASL_CB).map(|kinds| {
            kinds
                .filter_map(|kind| kind.attr("type").map(str::to_owned))
                .collect()
        });
        Self {
            starttls: element.has_child("starttls", ns::TLS),
            bind: element.has_child("bind", ns::BIND),
            mechanisms: mechanisms.collect(),
            channel_bindings,
        }
    }
}

impl Refusal {
    /// Reads the condition and text of `element`, whose conditions live in `namespace`.
    pub(super) fn read(element: &Element, namespace: &'static str) -> Self {
        let ours = || element.children().filter(|child| child.ns() == namespace);
        let condition = ours()
            .find(|child| child.name() != "text")
            .map_or("undefined-condition", Element::name);
        let texts = || ours().filter(|child| child.name() == "text");
        let english = texts().find(|text| language(text).is_some_and(|tag| tag.starts_with("en")));
        let text = english
            .or_else(|| texts().next())
            .map(|text| text.text().trim().to_owned());
        Self {
            condition: condition.to_owned(),
            text: text.filter(|text| !text.is_empty()),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.text {
            Some(text) => write!(out, "{} ({text})", self.condition),
            None => out.write_str(&self.condition),
        }
    }
}

impl StreamError {
    pub(super) fn broken(source: io::Error) -> Self {
        Self::Broken { source }
    }

    pub(super) fn unexpected(element: &Element) -> Self {
        Self::Unexpected {
            name: element.name().to_owned(),
        }
    }

    /// The message of TLS, if TLS is what broke: a TLS 1.3 server refuses a certificate only after the handshake.
    #[must_use]
    pub fn tls(&self) -> Option<&rustls::Error> {
        match self {
            Self::Broken { source } => super::tls::cause(source),
            _ => None,
        }
    }
}

fn language(element: &Element) -> Option<&str> {
    element.attr_ns(xso::exports::rxml::Namespace::xml(), "lang")
}

/// Feature lists and SASL messages are a few kilobytes.
const MAX_BYTES_BEFORE_LOGIN: usize = 64 * 1024;
/// A list of some hundred certificates.
const MAX_BYTES_AFTER_LOGIN: usize = 4 * 1024 * 1024;
const GOODBYE: Duration = Duration::from_secs(1);
/// Longer than any of ours: [`Deadlines`] decides.
const TIMEOUTS: Timeouts = Timeouts {
    read_timeout: Duration::from_mins(10),
    response_timeout: Duration::from_mins(10),
};

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// A server's stream header with features.
    pub(in crate::client) fn greeting(features: &str) -> String {
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' id='1' from='shakespeare.lit' version='1.0'>\
             <stream:features>{features}</stream:features>"
        )
    }

    /// Our end and the server's of a connection on which the server has already said everything it will say.
    pub(in crate::client) async fn server_that_says(text: &str) -> (DuplexStream, DuplexStream) {
        let (ours, mut theirs) = duplex(text.len() + 64 * 1024);
        theirs.write_all(text.as_bytes()).await.unwrap();
        (ours, theirs)
    }

    /// Everything that arrived at the server, after our end was dropped.
    pub(in crate::client) async fn heard(mut theirs: DuplexStream) -> String {
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    }

    pub(in crate::client) fn header() -> Header {
        Header {
            to: "shakespeare.lit".to_owned(),
            from: None,
        }
    }

    pub(in crate::client) fn soon() -> Deadlines {
        Deadlines::starting_now(Duration::from_millis(200), Duration::from_secs(5))
    }

    /// Opens a stream to a server that sends `features` and then `more`.
    pub(in crate::client) async fn opened(
        features: &str,
        more: &str,
    ) -> (Stream<DuplexStream>, Features, DuplexStream) {
        let (ours, theirs) = server_that_says(&(greeting(features) + more)).await;
        let (stream, features) = Stream::open(ours, header(), soon()).await.unwrap();
        (stream, features, theirs)
    }

    #[tokio::test]
    async fn features_are_read_whatever_else_is_offered() {
        let (_, features, _) = opened(
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>\
             <mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>\
             <mechanism>EXTERNAL</mechanism></mechanisms>\
             <sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-quantum'/>\
             </sasl-channel-binding><novelty xmlns='urn:example'><bind/></novelty>",
            "",
        )
        .await;
        let expected = Features {
            starttls: true,
            bind: false,
            mechanisms: vec!["SCRAM-SHA-1".to_owned(), "EXTERNAL".to_owned()],
            channel_bindings: Some(vec!["tls-quantum".to_owned()]),
        };
        assert_eq!(features, expected);
    }

    #[tokio::test]
    async fn an_element_that_is_too_large_ends_the_stream() {
        let large = format!(
            "<message><body>{}</body></message>",
            "x".repeat(MAX_BYTES_BEFORE_LOGIN)
        );
        let (mut stream, _, _theirs) = opened("", &large).await;
        let error = stream.receive().await.unwrap_err();
        assert!(
            matches!(&error, StreamError::Broken { source } if source.to_string().contains("accepts")),
            "{error:?}"
        );
        assert!(matches!(stream.receive().await, Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn many_elements_of_a_fair_size_are_read() {
        let fair = format!(
            "<message><body>{}</body></message>",
            "x".repeat(MAX_BYTES_BEFORE_LOGIN / 2)
        )
        .repeat(8);
        let (mut stream, _, _theirs) = opened("", &fair).await;
        for _ in 0..8 {
            stream.receive().await.unwrap();
        }
    }

    #[tokio::test]
    async fn an_element_that_is_nested_too_deeply_is_not_read() {
        let deep = format!("{}{}", "<a>".repeat(5000), "</a>".repeat(5000));
        let (mut stream, _, _theirs) = opened("", &deep).await;
        assert!(matches!(
            stream.receive().await,
            Err(StreamError::Unreadable { .. })
        ));
    }

    #[tokio::test]
    async fn a_silent_server_is_not_waited_for() {
        let (mut stream, _, _theirs) = opened("", "<message>").await;
        assert!(matches!(
            stream.receive().await,
            Err(StreamError::Overdue(_))
        ));
        assert!(matches!(stream.restart().await, Err(StreamError::Closed)));
    }

    #[tokio::test]
    async fn the_servers_reason_to_end_the_stream_is_kept() {
        let reason = "<stream:error><not-authorized xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
                      <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='fr'>non</text>\
                      <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>no</text></stream:error>";
        let (mut stream, _, _theirs) = opened("", reason).await;
        let expected = Refusal {
            condition: "not-authorized".to_owned(),
            text: Some("no".to_owned()),
        };
        assert!(
            matches!(stream.receive().await, Err(StreamError::Ended(refusal)) if refusal == expected)
        );
    }

    #[tokio::test]
    async fn bytes_behind_the_last_element_are_not_carried_into_tls() {
        let (mut stream, _, _theirs) = opened(
            "",
            "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><message/>",
        )
        .await;
        stream.receive().await.unwrap();
        assert!(matches!(stream.into_io(), Err(StreamError::DataBeforeTls)));
    }

    #[tokio::test]
    async fn what_is_not_xml_breaks_the_stream() {
        let (ours, _theirs) = server_that_says("HTTP/1.1 400 Bad Request\r\n\r\n<html>").await;
        assert!(matches!(
            Stream::open(ours, header(), soon()).await,
            Err(StreamError::Broken { .. })
        ));
    }
}
