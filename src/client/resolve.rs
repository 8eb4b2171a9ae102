//! Where a domain's XMPP server listens: SRV records and addresses (RFC 6120, 3.2; XEP-0368).
//!
//! The result is addresses to try, in order. It connects to nothing but name servers.
//!
//! Must not know: TLS, XML, accounts.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData};

use super::deadline::{Deadlines, Overdue};

/// The caller's knowledge of the way to the server.
#[derive(Debug, Clone, Default)]
pub struct Route {
    /// Go there instead of asking the domain's SRV records.
    pub server: Option<Server>,
    /// Use only direct TLS: TLS from the first byte, no STARTTLS.
    pub direct_tls: bool,
}

/// A host and a port, as `xmpp.example.org:5222` or `[::1]:5222`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name or an address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// How TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Security {
    /// With the first byte (XEP-0368).
    DirectTls,
    /// After `<starttls/>` (RFC 6120, 5).
    StartTls,
}

/// One address where the server may listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The name it was found under.
    pub host: String,
    /// Where to connect to.
    pub address: SocketAddr,
    /// How TLS begins there.
    pub security: Security,
}

/// Why no address was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// `--server` can't be understood: the user's fault.
    #[error("{given:?} isn't a HOST:PORT")]
    NotAServer {
        /// The name as it was given.
        given: String,
    },
    /// The domain can't be a name in the DNS: the user's fault.
    #[error("{name:?} can't be looked up")]
    NotAName {
        /// The name that was looked up.
        name: String,
        /// The resolver's message about it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The domain says that it has no XMPP server for clients, or none with direct TLS.
    #[error("{domain} announces that it has no XMPP server for clients")]
    NoService {
        /// The domain that was asked.
        domain: String,
    },
    /// The name has no address: the user's fault, or the DNS isn't set up.
    #[error("{host} has no address in the DNS")]
    NoAddress {
        /// The name.
        host: String,
    },
    /// The name servers can't say, or there are none: the network's fault.
    #[error("{host} can't be looked up now")]
    Lookup {
        /// The name that was asked last.
        host: String,
        /// The message of the resolver.
        #[source]
        source: NetError,
    },
    /// The name servers didn't answer in time.
    #[error(transparent)]
    Overdue(#[from] Overdue),
}

/// Finds the addresses to try for `domain`, best first; never none.
///
/// Source: RFC 6120, 3.2; XEP-0368. Among records of one priority the heaviest comes first, without the dice of
/// RFC 2782: whoever asks twice shall see the same.
pub async fn resolve(
    domain: &str,
    route: &Route,
    deadlines: &Deadlines,
) -> Result<Vec<Candidate>, ResolveError> {
    deadlines
        .limit(candidates(domain, route, &of_this_machine))
        .await?
}

/// Returns `domain` as it stands in the DNS and in server certificates: ASCII, IDNA where needed.
pub fn wire_name(domain: &str) -> Result<String, ResolveError> {
    let name = Name::from_utf8(domain).map_err(|source| ResolveError::NotAName {
        name: domain.to_owned(),
        source: source.into(),
    })?;
    Ok(name.to_ascii().trim_end_matches('.').to_owned())
}

impl FromStr for Server {
    type Err = ResolveError;

    fn from_str(given: &str) -> Result<Self, ResolveError> {
        let parsed = || {
            let (host, port) = given.rsplit_once(':')?;
            let bracketed = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            let host = bracketed.unwrap_or(host);
            let plain = bracketed.is_some() || !host.contains(':');
            let port = port.parse().ok().filter(|port| *port != 0)?;
            (plain && !host.is_empty()).then(|| Self {
                host: host.to_owned(),
                port,
            })
        };
        parsed().ok_or_else(|| ResolveError::NotAServer {
            given: given.to_owned(),
        })
    }
}

impl std::fmt::Display for Security {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::DirectTls => "direct TLS",
            Self::StartTls => "STARTTLS",
        })
    }
}

/// Makes a resolver; only when there is something to ask, for a machine without name servers may have none.
type NameServers<'a> = &'a (dyn Fn() -> Result<TokioResolver, NetError> + Sync);

async fn candidates(
    domain: &str,
    route: &Route,
    servers: NameServers<'_>,
) -> Result<Vec<Candidate>, ResolveError> {
    let endpoints = match &route.server {
        Some(server) => vec![Endpoint {
            host: server.host.clone(),
            port: server.port,
            security: if route.direct_tls {
                Security::DirectTls
            } else {
                Security::StartTls
            },
        }],
        None => endpoints_of(domain, route.direct_tls, servers).await?,
    };
    let mut found = Vec::new();
    let mut failed = None;
    for Endpoint {
        host,
        port,
        security,
    } in endpoints.into_iter().take(MAX_ENDPOINTS)
    {
        match addresses(&host, servers).await {
            Ok(addresses) => {
                let candidate = |ip| Candidate {
                    host: host.clone(),
                    address: SocketAddr::new(ip, port),
                    security,
                };
                found.extend(addresses.into_iter().take(MAX_ADDRESSES).map(candidate));
            }
            Err(error) => failed = Some(error),
        }
    }
    match failed {
        Some(error) if found.is_empty() => Err(error),
        _ if found.is_empty() => Err(ResolveError::NoService {
            domain: domain.to_owned(),
        }),
        _ => Ok(found),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Endpoint {
    host: String,
    port: u16,
    security: Security,
}

async fn endpoints_of(
    domain: &str,
    direct_tls: bool,
    servers: NameServers<'_>,
) -> Result<Vec<Endpoint>, ResolveError> {
    let (own_service, port) = if direct_tls {
        (Security::DirectTls, 5223)
    } else {
        (Security::StartTls, 5222)
    };
    let fallback = |host: &str| {
        vec![Endpoint {
            host: host.to_owned(),
            port,
            security: own_service,
        }]
    };
    if literal(domain).is_some() {
        return Ok(fallback(domain));
    }
    let ascii = wire_name(domain)?;
    let resolver = servers().map_err(|source| ResolveError::Lookup {
        host: ascii.clone(),
        source,
    })?;
    let mut records = Vec::new();
    for (service, security) in SERVICES {
        if direct_tls && security != Security::DirectTls {
            continue;
        }
        // An unanswered SRV question is not the end: RFC 6120, 3.2.2 falls back to the domain itself.
        let Ok(lookup) = resolver.srv_lookup(format!("{service}.{ascii}.")).await else {
            continue;
        };
        records.extend(
            lookup
                .answers()
                .iter()
                .filter_map(|record| match &record.data {
                    RData::SRV(srv) => Some((srv.clone(), security)),
                    _ => None,
                }),
        );
    }
    let no_service = records
        .iter()
        .any(|(srv, security)| srv.target.is_root() && *security == own_service);
    records.retain(|(srv, _)| !srv.target.is_root());
    match records.is_empty() {
        true if no_service => Err(ResolveError::NoService {
            domain: domain.to_owned(),
        }),
        true => Ok(fallback(&ascii)),
        false => Ok(ordered(records)),
    }
}

fn ordered(mut records: Vec<(SRV, Security)>) -> Vec<Endpoint> {
    records.sort_by_key(|(srv, security)| (srv.priority, std::cmp::Reverse(srv.weight), *security));
    let endpoint = |(srv, security): (SRV, Security)| Endpoint {
        host: srv.target.to_ascii().trim_end_matches('.').to_owned(),
        port: srv.port,
        security,
    };
    records.into_iter().map(endpoint).collect()
}

async fn addresses(host: &str, servers: NameServers<'_>) -> Result<Vec<IpAddr>, ResolveError> {
    if let Some(ip) = literal(host) {
        return Ok(vec![ip]);
    }
    let ascii = wire_name(host)?;
    let fail = |source: NetError| match source {
        _ if source.is_no_records_found() => ResolveError::NoAddress {
            host: host.to_owned(),
        },
        source => ResolveError::Lookup {
            host: host.to_owned(),
            source,
        },
    };
    let answer = servers()
        .map_err(fail)?
        .lookup_ip(format!("{ascii}."))
        .await
        .map_err(fail)?;
    Ok(answer.iter().collect())
}

fn literal(host: &str) -> Option<IpAddr> {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse().ok()
}

fn of_this_machine() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    builder.options_mut().ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    builder.build()
}

const SERVICES: [(&str, Security); 2] = [
    ("_xmpps-client._tcp", Security::DirectTls),
    ("_xmpp-client._tcp", Security::StartTls),
];
const MAX_ENDPOINTS: usize = 8;
const MAX_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::net::Ipv4Addr;
    use std::time::Duration;

    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::Message;
    use hickory_resolver::proto::rr::Record;
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server on loopback that knows `records`, as (name, what it says).
    async fn name_server(records: Vec<(&'static str, RData)>) -> ResolverConfig {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut connection = ConnectionConfig::udp();
        connection.port = socket.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let (length, asker) = socket.recv_from(&mut buffer).await.unwrap();
                let mut answer = Message::from_vec(&buffer[..length])
                    .unwrap()
                    .into_response();
                let query = answer.queries[0].clone();
                for (name, data) in &records {
                    let name = Name::from_ascii(name).unwrap();
                    if name == *query.name() && data.record_type() == query.query_type() {
                        answer.add_answer(Record::from_rdata(name, 60, data.clone()));
                    }
                }
                socket
                    .send_to(&answer.to_vec().unwrap(), asker)
                    .await
                    .unwrap();
            }
        });
        let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![connection]);
        ResolverConfig::from_name_servers(vec![server])
    }

    fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
        RData::SRV(SRV::new(
            priority,
            weight,
            port,
            Name::from_ascii(target).unwrap(),
        ))
    }

    fn a(address: [u8; 4]) -> RData {
        RData::A(Ipv4Addr::from(address).into())
    }

    async fn found(
        records: Vec<(&'static str, RData)>,
        direct_tls: bool,
    ) -> Result<Vec<(String, Security)>, ResolveError> {
        let config = name_server(records).await;
        let servers = || {
            TokioResolver::builder_with_config(config.clone(), TokioRuntimeProvider::default())
                .build()
        };
        let route = Route {
            server: None,
            direct_tls,
        };
        let found = candidates("shakespeare.example", &route, &servers).await?;
        Ok(found
            .into_iter()
            .map(|found| (found.address.to_string(), found.security))
            .collect())
    }

    #[tokio::test]
    async fn lower_priority_numbers_come_first_and_heavier_ones_among_equals() {
        let records = vec![
            (
                "_xmpp-client._tcp.shakespeare.example.",
                srv(20, 0, 5222, "c.example."),
            ),
            (
                "_xmpp-client._tcp.shakespeare.example.",
                srv(10, 1, 5222, "b.example."),
            ),
            (
                "_xmpps-client._tcp.shakespeare.example.",
                srv(10, 5, 443, "a.example."),
            ),
            ("a.example.", a([127, 0, 0, 1])),
            ("b.example.", a([127, 0, 0, 2])),
            ("c.example.", a([127, 0, 0, 3])),
            ("shakespeare.example.", a([127, 0, 0, 4])),
        ];
        let expected = [
            ("127.0.0.1:443".to_owned(), Security::DirectTls),
            ("127.0.0.2:5222".to_owned(), Security::StartTls),
            ("127.0.0.3:5222".to_owned(), Security::StartTls),
        ];
        assert_eq!(found(records.clone(), false).await.unwrap(), expected);
        assert_eq!(found(records, true).await.unwrap(), expected[..1]);
    }

    #[tokio::test]
    async fn without_srv_records_the_domain_itself_is_tried() {
        let records = vec![("shakespeare.example.", a([127, 0, 0, 4]))];
        let expected = |address: &str, security| [(address.to_owned(), security)];
        assert_eq!(
            found(records.clone(), false).await.unwrap(),
            expected("127.0.0.4:5222", Security::StartTls)
        );
        assert_eq!(
            found(records, true).await.unwrap(),
            expected("127.0.0.4:5223", Security::DirectTls)
        );
    }

    #[tokio::test]
    async fn a_root_target_says_that_there_is_no_service() {
        let nowhere = || srv(0, 0, 0, ".");
        let records = vec![
            ("_xmpp-client._tcp.shakespeare.example.", nowhere()),
            ("shakespeare.example.", a([127, 0, 0, 4])),
        ];
        assert!(matches!(
            found(records, false).await,
            Err(ResolveError::NoService { .. })
        ));
        let only_starttls = vec![
            ("_xmpps-client._tcp.shakespeare.example.", nowhere()),
            ("shakespeare.example.", a([127, 0, 0, 4])),
        ];
        assert!(found(only_starttls.clone(), false).await.is_ok());
        assert!(matches!(
            found(only_starttls, true).await,
            Err(ResolveError::NoService { .. })
        ));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_named() {
        let error = found(Vec::new(), false).await.unwrap_err();
        assert!(matches!(error, ResolveError::NoAddress { host } if host == "shakespeare.example"));
    }

    #[test]
    fn servers_are_host_and_port() {
        let good = [
            ("a.example:5222", "a.example", 5222),
            ("[::1]:15222", "::1", 15222),
            ("127.0.0.1:1", "127.0.0.1", 1),
        ];
        for (given, host, port) in good {
            assert_eq!(
                given.parse::<Server>().unwrap(),
                Server {
                    host: host.to_owned(),
                    port
                },
                "{given}"
            );
        }
        for bad in [
            "",
            "a.example",
            ":5222",
            "::1:5222",
            "a:0",
            "a:65536",
            "a:x",
        ] {
            assert!(bad.parse::<Server>().is_err(), "{bad}");
        }
    }

    #[test]
    fn international_domains_go_to_the_wire_in_ascii() {
        assert_eq!(
            wire_name("bücher.example").unwrap(),
            "xn--bcher-kva.example"
        );
        assert_eq!(wire_name("shakespeare.lit").unwrap(), "shakespeare.lit");
    }

    #[tokio::test]
    async fn a_given_address_needs_no_name_server() {
        let deadlines = Deadlines::starting_now(Duration::from_secs(5), Duration::from_secs(5));
        let route = Route {
            server: Some("[::1]:15222".parse().unwrap()),
            direct_tls: true,
        };
        let found = resolve("shakespeare.lit", &route, &deadlines)
            .await
            .unwrap();
        let expected = Candidate {
            host: "::1".to_owned(),
            address: "[::1]:15222".parse().unwrap(),
            security: Security::DirectTls,
        };
        assert_eq!(found, [expected]);
    }
}
