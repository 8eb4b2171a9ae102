//! Can anybody manage certificates with a page for devices, as its web server is set up?
//!
//! Must not know: how the page looks from outside. The doctor opens it; here is what must go wrong whoever opens it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// How a server serves a page, and the WebSocket that it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Web {
    /// Where the server speaks https itself.
    pub https_ports: Vec<u16>,
    /// Where it speaks plain http: addresses, or names for several.
    pub interfaces: Vec<String>,
    /// The proxies that may say that a connection is secure: addresses and networks.
    pub trusted_proxies: Vec<String>,
    /// May they say it at all? Prosody 13 has a switch for that (`http_legacy_x_forwarded`).
    pub x_forwarded: bool,
    /// Does it take every WebSocket for a secure one?
    pub websocket_secure: bool,
}

/// What keeps everybody from managing certificates with the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Browsers open it over plain http.
    NotHttps,
    /// Browsers ask for the name in its `xn--` form, under which the server does not know it.
    NotAscii,
    /// It is behind a proxy, and whichever that is, the server does not believe it.
    NoTrustedProxy {
        /// Only a proxy on the same machine can reach the server.
        is_local: bool,
        /// The proxy may come by https, which needs no belief.
        may_come_by_https: bool,
    },
    /// It is behind a proxy, and the server believes none.
    NoForwarding {
        /// The proxy may come by https, which needs no belief.
        may_come_by_https: bool,
    },
}

/// What must go wrong with the page at this address. `web`: `None` if the server has not said it.
///
/// Errors are on the side of silence: a proxy that may be trusted is.
#[must_use]
pub fn obstacle(address: &str, web: Option<&Web>) -> Option<Obstacle> {
    if !address.starts_with("https:") {
        return Some(Obstacle::NotHttps);
    }
    if !address.is_ascii() {
        return Some(Obstacle::NotAscii);
    }
    let web = web?;
    let is_its_own = web.https_ports.contains(&port_of(address));
    if is_its_own || web.websocket_secure || web.interfaces.is_empty() {
        return None;
    }
    let may_come_by_https = !web.https_ports.is_empty();
    if !web.x_forwarded {
        return Some(Obstacle::NoForwarding { may_come_by_https });
    }
    let is_reached = |interface: &String| is_reached_by_one_of(&web.trusted_proxies, interface);
    if web.interfaces.iter().any(is_reached) {
        return None;
    }
    let is_local = web.interfaces.iter().all(|one| loopback(one).is_some());
    Some(Obstacle::NoTrustedProxy {
        is_local,
        may_come_by_https,
    })
}

/// The port in an address of https.
fn port_of(address: &str) -> u16 {
    let authority = address.split('/').nth(2).unwrap_or_default();
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    port.and_then(|port| port.parse().ok())
        .unwrap_or(HTTPS_PORT)
}

const HTTPS_PORT: u16 = 443;

/// May one of these proxies reach what listens on this interface?
fn is_reached_by_one_of(proxies: &[String], interface: &str) -> bool {
    match loopback(interface) {
        Some(own) => proxies.iter().any(|proxy| may_be_local(proxy, own)),
        None => !proxies.is_empty(),
    }
}

/// The address of an interface that nobody reaches from another machine.
fn loopback(interface: &str) -> Option<IpAddr> {
    let address = interface.parse::<IpAddr>().ok()?;
    address.is_loopback().then_some(address)
}

/// May a connection to `own`, an address of the machine itself, come from this address or network? What is neither is no proxy's.
fn may_be_local(proxy: &str, own: IpAddr) -> bool {
    let (address, bits) = match proxy.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u32>().ok()),
        None => (proxy, Some(u128::BITS)),
    };
    let (Ok(address), Some(bits)) = (address.parse::<IpAddr>(), bits) else {
        return false;
    };
    if address.to_canonical().is_loopback() {
        return address.to_canonical().is_ipv4() == own.is_ipv4();
    }
    let bits = match address {
        // Prosody takes it for everything.
        _ if bits == 0 => 0,
        IpAddr::V4(_) => bits.saturating_add(u128::BITS - u32::BITS),
        IpAddr::V6(_) => bits,
    };
    let differing = (number(address) ^ number(own)).leading_zeros();
    differing >= bits.min(u128::BITS)
}

/// As one of IPv6, in which those of IPv4 have their place.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: [&str; 2] = ["127.0.0.1", "::1"];

    fn web(interfaces: &[&str], trusted_proxies: &[&str]) -> Web {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Web {
            interfaces: owned(interfaces),
            trusted_proxies: owned(trusted_proxies),
            x_forwarded: true,
            ..Web::default()
        }
    }

    fn found(web: &Web) -> Option<Obstacle> {
        obstacle("https://shakespeare.lit/devices", Some(web))
    }

    #[test]
    fn a_proxy_that_can_be_none_of_those_that_are_trusted_is_in_the_way() {
        let nobody = |is_local| {
            Some(Obstacle::NoTrustedProxy {
                is_local,
                may_come_by_https: false,
            })
        };
        for (interfaces, trusted, wanted) in [
            (&BOTH[..], &BOTH[..], None),
            (&BOTH, &["::1"], None),
            (&BOTH, &["127.0.0.0/8"], None),
            (&BOTH, &["127.0.0.2"], None),
            (&BOTH, &["0.0.0.0/0"], None),
            (&BOTH, &["126.0.0.0/7"], None),
            (&BOTH, &["::/0"], None),
            (&["::1"], &["0.0.0.0/0"], None),
            (&["127.0.0.1"], &["::ffff:127.0.0.1"], None),
            (&["127.0.0.1"], &["::ffff:0:0/96"], None),
            (&BOTH, &["192.0.2.7", "2001:db8::/32"], nobody(true)),
            (&BOTH, &["localhost", "127.0.0.0/x", ""], nobody(true)),
            (&BOTH, &["128.0.0.0/8", "126.0.0.0/8"], nobody(true)),
            (&BOTH, &["::2", "::/128"], nobody(true)),
            (&["::1"], &["127.0.0.1"], nobody(true)),
            (&["127.0.0.1"], &["::1"], nobody(true)),
            (&BOTH, &[], nobody(true)),
            (&["*"], &["192.0.2.7"], None),
            (&["127.0.0.1", "192.0.2.1"], &["192.0.2.7"], None),
            (&["127.0.0.1", "::"], &[], nobody(false)),
            (&[], &[], None),
        ] {
            let web = web(interfaces, trusted);
            assert_eq!(found(&web), wanted, "{web:?}");
        }
    }

    #[test]
    fn nothing_is_in_the_way_where_the_server_takes_the_connection_for_a_secure_one_by_itself() {
        let alone = web(&BOTH, &[]);
        for able in [
            Web {
                https_ports: vec![5281, 443],
                ..alone.clone()
            },
            Web {
                websocket_secure: true,
                ..alone.clone()
            },
            Web {
                websocket_secure: true,
                x_forwarded: false,
                ..alone.clone()
            },
        ] {
            assert_eq!(found(&able), None);
        }
        assert_eq!(obstacle("https://shakespeare.lit/devices", None), None);
        let plain = "http://shakespeare.lit:5280/devices";
        assert_eq!(obstacle(plain, Some(&alone)), Some(Obstacle::NotHttps));
        assert_eq!(obstacle(plain, None), Some(Obstacle::NotHttps));
    }

    #[test]
    fn an_open_port_for_https_is_in_nobodys_way_unless_the_page_is_elsewhere() {
        let alone = Web {
            https_ports: vec![5281],
            ..web(&BOTH, &["192.0.2.7"])
        };
        let unbelieved = Some(Obstacle::NoTrustedProxy {
            is_local: true,
            may_come_by_https: true,
        });
        for (address, expected) in [
            ("https://shakespeare.lit:5281/devices", None),
            ("https://shakespeare.lit/devices", unbelieved),
            ("https://shakespeare.lit:443/devices", unbelieved),
            ("https://[2001:db8::5281]/devices", unbelieved),
            ("https://[2001:db8::1]:5281/devices", None),
        ] {
            assert_eq!(obstacle(address, Some(&alone)), expected, "{address}");
        }
    }

    #[test]
    fn where_no_proxy_is_believed_that_is_in_the_way_whichever_are_trusted() {
        let page = "https://shakespeare.lit/devices";
        for (https_ports, may_come_by_https) in [(vec![], false), (vec![5281], true)] {
            let web = Web {
                https_ports,
                x_forwarded: false,
                ..web(&BOTH, &BOTH)
            };
            let expected = Some(Obstacle::NoForwarding { may_come_by_https });
            assert_eq!(obstacle(page, Some(&web)), expected);
        }
    }

    #[test]
    fn a_name_that_browsers_write_in_another_form_is_in_the_way() {
        let page = "https://b\u{fc}cher.lit:5281/devices";
        assert_eq!(obstacle(page, None), Some(Obstacle::NotAscii));
        let plain = "http://b\u{fc}cher.lit:5280/devices";
        assert_eq!(obstacle(plain, None), Some(Obstacle::NotHttps));
    }
}
