//! The requests of a browser that opens the page for devices: its settings, and its WebSocket. Nobody logs in.
//!
//! Must not know: what is well.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};

use super::super::facts::Facts;
use crate::client::causes::chain;
use crate::client::deadline::Deadlines;
use crate::client::resolve::{Route, Security};
use crate::client::tls::{Terms, Trust, handshake};

/// A host's page, as it was found.
#[derive(Debug, Clone)]
pub(in crate::doctor) struct Seen {
    pub(super) host: String,
    /// Where it should be.
    pub(super) url: String,
    /// The host in that.
    pub(super) name: String,
    pub(super) answer: Answer,
}

#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Its address is none of https.
    NotHttps,
    /// Nobody listens, or there is no TLS.
    Unreachable(String),
    /// Something else answers: its first line.
    Other(String),
    Page {
        /// Of whoever ends https.
        certificate: Vec<u8>,
        /// Prosody takes the connection for a secure one.
        is_secure: bool,
        /// Its WebSocket was opened; or the first line of what was said instead.
        websocket: Result<(), String>,
    },
}

/// Opens the page of each host.
pub(in crate::doctor) async fn look(facts: &Facts, route: &Route) -> Vec<Seen> {
    let mut all = Vec::new();
    let pages = facts
        .hosts
        .iter()
        .filter_map(|host| Some((host, host.page.as_ref()?)));
    for (host, page) in pages.take(MAX_HOSTS) {
        let (name, answer) = match Address::of(&page.url) {
            None => (String::new(), Answer::NotHttps),
            Some(address) => {
                // Prosody's own ports are here, and so is what `--server` names.
                let here = (!page.is_external).then_some(IpAddr::V4(Ipv4Addr::LOCALHOST));
                let server = route
                    .server
                    .as_ref()
                    .and_then(|server| server.host.parse().ok());
                let at = here.or(server);
                (address.name.clone(), open(&address, at).await)
            }
        };
        all.push(Seen {
            host: host.name.clone(),
            url: page.url.clone(),
            name,
            answer,
        });
    }
    all
}

async fn open(address: &Address, at: Option<IpAddr>) -> Answer {
    let settings = format!("{}/settings.json", address.path);
    let (answer, certificate) = match request(address, at, &settings, "Connection: close\r\n").await
    {
        Ok(done) => done,
        Err(why) => return Answer::Unreachable(why),
    };
    let Some(settings) = answer.json() else {
        return Answer::Other(answer.first_line());
    };
    let socket = match settings
        .websocket
        .strip_prefix("wss")
        .map(|rest| format!("https{rest}"))
    {
        Some(url) => Address::of(&url),
        None => None,
    };
    let websocket = match socket {
        None => Err(format!("its address is {}", settings.websocket)),
        Some(socket) => match request(&socket, at, &socket.path, UPGRADE).await {
            Ok((answer, _)) if answer.first_line().contains(" 101 ") => Ok(()),
            Ok((answer, _)) => Err(answer.first_line()),
            Err(why) => Err(why),
        },
    };
    Answer::Page {
        certificate,
        is_secure: settings.secure,
        websocket,
    }
}

/// Asks for `path`. The answer, and the certificate of whoever gave it; or why there is none.
///
/// `at`: where to go instead of asking the DNS.
async fn request(
    address: &Address,
    at: Option<IpAddr>,
    path: &str,
    headers: &str,
) -> Result<(Text, Vec<u8>), String> {
    let deadlines = Deadlines::starting_now(SHORT, SHORT);
    let place = if let Some(ip) = at {
        SocketAddr::new(ip, address.port)
    } else {
        let looking = lookup_host((address.name.as_str(), address.port));
        let looked = deadlines.limit(looking).await;
        let found = looked.map_err(|error| chain(&error))?;
        let mut found = found.map_err(|error| chain(&error))?;
        found.next().ok_or("no address")?
    };
    let tcp = deadlines.limit(TcpStream::connect(place)).await;
    let tcp = tcp
        .map_err(|error| chain(&error))?
        .map_err(|error| chain(&error))?;
    // It is looked at, and believed by nobody. With this way to begin, the handshake does not say that XMPP follows.
    let terms = Terms {
        security: Security::StartTls,
        trust: &Trust::Anybody,
        identity: None,
    };
    let shaken = handshake(tcp, &address.name, &terms, &deadlines).await;
    let (mut tls, _) = shaken.map_err(|error| chain(&error))?;
    let shown = tls.get_ref().1.peer_certificates().and_then(<[_]>::first);
    let certificate = shown.map(|der| der.to_vec()).unwrap_or_default();
    let question = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\n{headers}\r\n",
        address.authority
    );
    let asked = deadlines.limit(ask(&mut tls, &question)).await;
    let answer = asked
        .map_err(|error| chain(&error))?
        .map_err(|error| chain(&error))?;
    Ok((answer, certificate))
}

/// Reads until the answer ends, or is one without an end.
async fn ask<Io: AsyncRead + AsyncWrite + Unpin>(
    io: &mut Io,
    question: &str,
) -> std::io::Result<Text> {
    io.write_all(question.as_bytes()).await?;
    io.flush().await?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while answer.len() < MAX_ANSWER_BYTES {
        let count = match io.read(&mut piece).await {
            Ok(count) => count,
            // Many close without TLS's own goodbye.
            Err(_) if !answer.is_empty() => break,
            Err(error) => return Err(error),
        };
        if count == 0 || answer.starts_with(b"HTTP/1.1 101") {
            break;
        }
        answer.extend_from_slice(piece.get(..count).unwrap_or_default());
        if answer.starts_with(b"HTTP/1.1 101") {
            break;
        }
    }
    Ok(Text(String::from_utf8_lossy(&answer).into_owned()))
}

/// An answer in HTTP.
struct Text(String);

/// What the page reads of its host.
#[derive(Deserialize)]
struct Settings {
    secure: bool,
    websocket: String,
}

impl Text {
    fn first_line(&self) -> String {
        self.0.lines().next().unwrap_or_default().to_owned()
    }

    /// The settings, however they are cut into pieces: they are short.
    fn json(&self) -> Option<Settings> {
        let (head, body) = self.0.split_once("\r\n\r\n")?;
        head.lines().next()?.contains(" 200 ").then_some(())?;
        let (from, to) = (body.find('{')?, body.rfind('}')?);
        serde_json::from_str(body.get(from..=to)?).ok()
    }
}

/// The parts of an address of https.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Address {
    /// As it stands in the address, with the port.
    authority: String,
    name: String,
    port: u16,
    /// Without a slash at its end.
    path: String,
}

impl Address {
    fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if !port.contains(']') => (name, port.parse().ok()?),
            _ => (authority, 443),
        };
        (!name.is_empty()).then(|| Self {
            authority: authority.to_owned(),
            name: name.to_owned(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }
}

/// RFC 6455, 4.1; the key is any 16 bytes.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
     Sec-WebSocket-Key: c2FzbGNlcnRkIGRvY3Rvcg==\r\nSec-WebSocket-Protocol: xmpp\r\n";
const SHORT: Duration = Duration::from_secs(3);
const MAX_HOSTS: usize = 16;
const MAX_ANSWER_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_address_is_taken_apart() {
        let parts = |url| Address::of(url).map(|of| (of.name, of.port, of.path));
        let wanted = |name: &str, port, path: &str| Some((name.to_owned(), port, path.to_owned()));
        for (url, parts_of) in [
            ("https://a.lit/devices", wanted("a.lit", 443, "/devices")),
            (
                "https://a.lit:5281/x/devices/",
                wanted("a.lit", 5281, "/x/devices"),
            ),
            ("https://[::1]:1/", wanted("[::1]", 1, "")),
            ("https://[::1]", wanted("[::1]", 443, "")),
            ("http://a.lit/devices", None),
            ("https://:5281/", None),
            ("https://a.lit:x/", None),
        ] {
            assert_eq!(parts(url), parts_of, "{url}");
        }
    }

    #[test]
    fn settings_are_found_in_pieces_too_and_only_behind_a_200() {
        let whole = "HTTP/1.1 200 OK\r\n\r\n{\"secure\":true,\"websocket\":\"wss://a.lit/\"}";
        let pieces = "HTTP/1.1 200 OK\r\n\r\n2a\r\n{\"secure\":true,\"websocket\":\"wss://a.lit/\"}\r\n0\r\n\r\n";
        for text in [whole, pieces] {
            assert!(Text(text.to_owned()).json().unwrap().secure);
        }
        for text in [
            "",
            "HTTP/1.1 404 x\r\n\r\n{\"secure\":true,\"websocket\":\"\"}",
            "HTTP/1.1 200 OK\r\n\r\n}{",
        ] {
            assert!(Text(text.to_owned()).json().is_none());
        }
    }
}
