//! TLS as clients see it: do Prosody's ports ask for a certificate, and does what clients reach from outside do so, too?
//!
//! By handshakes that log nobody in: one without a certificate, and on Prosody's own ports one with a certificate that is made
//! up for it. What answers isn't verified: the question is whether it asks, not whether to trust it.

use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use xmpp_parsers::jid::BareJid;

use super::commands::Commands;
use super::facts::{Facts, HostFacts, Port};
use super::finding::{ConfigChange, ConfigEdit, Finding, Level, Mend, one_line, word};
use super::prosody::listed;
use crate::client::causes::chain;
use crate::client::certificate::{Identity, make};
use crate::client::connect;
use crate::client::deadline::Deadlines;
use crate::client::resolve::{Candidate, Route, Security, resolve};
use crate::client::tls::{Terms, TlsError, Trust, cause, handshake, is_for};
use crate::identity::certificate::validity;
use crate::identity::{UnixSeconds, counted, days};

/// What a handshake told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Handshake {
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
pub(super) struct Seen {
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
pub(super) async fn look(facts: &Facts, route: &Route) -> Vec<Seen> {
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
    fn security(&self) -> Security {
        if self.tls == "direct" {
            Security::DirectTls
        } else {
            Security::StartTls
        }
    }
}

/// Judges what was seen.
pub(super) fn findings(
    facts: &Facts,
    seen: &[Seen],
    is_running: bool,
    now: UnixSeconds,
    commands: &Commands,
) -> Vec<Finding> {
    if facts.enabled().next().is_none() {
        return not_checked("mod_saslcertd is enabled for no host");
    }
    if !is_running {
        return not_checked("Prosody isn't running");
    }
    let mut all = Vec::new();
    for (index, port) in facts.ports.iter().enumerate().take(MAX_PORTS) {
        all.extend(port_findings(facts, index, port, seen, commands));
    }
    let found = seen
        .iter()
        .filter_map(|seen| server_certificate(seen, now, commands));
    let (bad, good): (Vec<_>, Vec<_>) = found.partition(Result::is_err);
    all.extend(bad.into_iter().filter_map(Result::err));
    let good: Vec<&str> = good.into_iter().filter_map(Result::ok).collect();
    if !good.is_empty() {
        let message = format!("the server's certificate is valid for {}", listed(&good));
        all.push(Finding::ok("cert", message));
    }
    let beyond = facts.enabled().count().saturating_sub(MAX_HOSTS);
    if beyond > 0 {
        let more = counted(beyond, "more host", "more hosts");
        let why = format!("{more}; so many handshakes take too long");
        all.push(Finding::not_checked("tls", why));
    }
    if facts.ports.is_empty() {
        all.push(Finding::not_checked(
            "tls",
            "no port for clients is configured",
        ));
    }
    all.extend(seen.iter().map(proxy));
    if facts.net_proxy {
        let hint =
            "mod_net_proxy is enabled: the proxy before Prosody must hand TLS through unopened";
        all.push(Finding::ok("proxy", hint));
    }
    all
}

/// Would a client's TLS take the server's certificate, as far as its dates and names go? The host, or what is wrong; none if none
/// was shown.
fn server_certificate<'a>(
    seen: &'a Seen,
    now: UnixSeconds,
    commands: &Commands,
) -> Option<Result<&'a str, Finding>> {
    let shown = seen.local.iter().filter_map(|(_, _, found)| match found {
        Handshake::Done { server, .. } if !server.is_empty() => Some(server),
        _ => None,
    });
    let host = one_line(&seen.host);
    let judged: Vec<_> = shown
        .map(|der| judge(der, &seen.host, now))
        .collect::<Option<_>>()?;
    // Debian's package brings this host, which nobody connects to from elsewhere.
    if judged.is_empty() || seen.host == "localhost" {
        return None;
    }
    let Some((level, what)) = judged.into_iter().flatten().max_by_key(|(level, _)| *level) else {
        return Some(Ok(&seen.host));
    };
    let on_disk = seen.on_disk.as_deref();
    let is_renewed = on_disk.is_some_and(|der| judge(der, &seen.host, now) == Some(None));
    let name = word(Path::new(&seen.host));
    let import = format!("{} --root cert import {name}", commands.prosodyctl);
    let (how, mend) = match &seen.renewed {
        _ if is_renewed => (
            "; the one in its file is good, and Prosody has not read it yet",
            commands.restart_prosody(),
        ),
        Some(folder) => (
            "",
            format!(
                "certbot renew; {import} {}; {}",
                word(folder),
                commands.restart_prosody()
            ),
        ),
        None => (
            " (the command is for the folder with the host's new .crt and .key)",
            // prosodyctl goes to a folder of its own first.
            format!("{import} \"$PWD\" && {{ {}; }}", commands.restart_prosody()),
        ),
    };
    let message = format!("the server's certificate {what} ({host}): clients refuse it{how}");
    let message = if level == Level::Warning {
        format!("the server's certificate {what} ({host}){how}")
    } else {
        message
    };
    Some(Err(Finding::new(
        "cert",
        level,
        message,
        Some(Mend::Run(mend)),
    )))
}

/// What is wrong with a certificate as a server's of `host`, and how bad that is. The outer none: it can't be read.
#[allow(clippy::option_option)]
fn judge(der: &[u8], host: &str, now: UnixSeconds) -> Option<Option<(Level, String)>> {
    let (from, until) = validity(der)?;
    let days = |seconds: i64| days(seconds / SECONDS_PER_DAY);
    let bad = if now > until {
        let ago = days(now.0 - until.0);
        Some((Level::Problem, format!("has expired {ago} ago")))
    } else if now < from {
        Some((Level::Problem, "is not valid yet".to_owned()))
    } else if !is_for(der, host) {
        Some((Level::Problem, "is for another host".to_owned()))
    } else if until.0 - now.0 < SOON_DAYS * SECONDS_PER_DAY {
        let left = days(until.0 - now.0);
        Some((Level::Warning, format!("expires in {left}")))
    } else {
        None
    };
    Some(bad)
}

/// What is said when there is nothing to be seen.
pub(super) fn not_checked(why: &str) -> Vec<Finding> {
    vec![
        Finding::not_checked("tls", why),
        Finding::not_checked("proxy", why),
    ]
}

fn port_findings(
    facts: &Facts,
    index: usize,
    port: &Port,
    seen: &[Seen],
    commands: &Commands,
) -> Vec<Finding> {
    let mut asked = Vec::new();
    // What mends it is mostly the same for all hosts.
    let mut silent: Vec<(Mend, String, Vec<&str>)> = Vec::new();
    let mut failed: Vec<(&HostFacts, String)> = Vec::new();
    let mut all = Vec::new();
    let mut shown = String::new();
    for host in facts.enabled() {
        let Some(seen) = seen.iter().find(|seen| seen.host == host.name) else {
            continue;
        };
        let Some((_, address, found)) = seen.local.iter().find(|(of, _, _)| *of == index) else {
            continue;
        };
        shown = format!("{address} ({}, {})", port.security(), port.service);
        match found {
            Handshake::Done {
                asks: true,
                refuses,
                ..
            } if !refuses || !host.takes_self_signed() => asked.push(host.name.as_str()),
            Handshake::Done { asks, .. } => {
                let (mend, message) = if *asks {
                    (refused(facts, host, port, commands), REFUSES.to_owned())
                } else {
                    let (mend, why) = not_asked(facts, host, port, commands);
                    (mend, format!("{SILENT}: {why}"))
                };
                match silent.iter_mut().find(|(known, _, _)| *known == mend) {
                    Some((_, _, hosts)) => hosts.push(&host.name),
                    None => silent.push((mend, message, vec![&host.name])),
                }
            }
            Handshake::Unreachable(why) => {
                // For whatever host: nobody is there.
                let message = format!("nobody answers at {shown}: {}", one_line(why));
                let restart = Mend::Run(commands.restart_prosody());
                return vec![Finding::problem("tls", message, restart)];
            }
            Handshake::Failed(why) => {
                let cause = if host.lacks_mod_tls(port) {
                    "mod_tls isn't enabled".to_owned()
                } else {
                    one_line(host.starttls.error.as_deref().unwrap_or(why))
                };
                let message = format!("no TLS at {shown} for {}: {cause}", host.name);
                failed.push((host, message));
            }
        }
    }
    let has_tls = !asked.is_empty() || !silent.is_empty();
    all.extend(failed.into_iter().map(|(host, message)| {
        // Debian's package brings this host and no certificate for it: beside a domain, nobody means to use it.
        if has_tls && host.name == "localhost" {
            return Finding::not_checked("tls", format!("{message}; clients come for the others"));
        }
        let mend = if host.lacks_mod_tls(port) {
            Mend::Edit(commands.enabling(facts, "tls", Some(host)))
        } else {
            Mend::Run(format!("{} check certs", commands.prosodyctl))
        };
        Finding::problem("tls", message, mend)
    }));
    if !asked.is_empty() {
        let message = format!("{shown} asks for a certificate: {}", listed(&asked));
        all.insert(0, Finding::ok("tls", message));
    }
    all.extend(silent.into_iter().map(|(mend, what, hosts)| {
        let message = format!("{shown}, {}: {what}", listed(&hosts));
        Finding::problem("tls", message, mend)
    }));
    all
}

impl HostFacts {
    fn lacks_mod_tls(&self, port: &Port) -> bool {
        self.mod_tls == Some(false) && port.security() == Security::StartTls
    }

    /// May users make their own certificates, which TLS must let through then?
    fn takes_self_signed(&self) -> bool {
        let trust = self.options.get("saslcertd_trust").and_then(Value::as_str);
        !matches!(trust, Some("ca" | "enrolled_and_ca"))
    }
}

/// What makes the port ask, and why it doesn't.
fn not_asked(
    facts: &Facts,
    host: &HostFacts,
    port: &Port,
    commands: &Commands,
) -> (Mend, &'static str) {
    // On these mod_saslcertd asks by itself, unless the configuration says otherwise.
    let is_managed = facts.manage_tls && port.service != "multiplex_ssl";
    let sets_verify = match port.ssl_option {
        Some(_) => port.sets_verify,
        None => host.starttls.sets_verify,
    };
    if is_managed && !sets_verify {
        let why = "Prosody runs without mod_saslcertd, or with an older configuration";
        return (Mend::Run(commands.restart_prosody()), why);
    }
    let why = match (facts.manage_tls, sets_verify) {
        (_, true) => "the configuration's own \"verify\" says so, which has to go",
        (false, false) => "saslcertd_manage_tls is false, and nothing else asks",
        (true, false) => "mod_saslcertd leaves the TLS of mod_net_multiplex alone",
    };
    (asking(facts, host, port, ASK, commands), why)
}

/// What makes the port take any certificate.
fn refused(facts: &Facts, host: &HostFacts, port: &Port, commands: &Commands) -> Mend {
    asking(facts, host, port, TAKE, commands)
}

/// The change that makes the port ask: `missing`, where something is set already.
fn asking(
    facts: &Facts,
    host: &HostFacts,
    port: &Port,
    missing: &str,
    commands: &Commands,
) -> Mend {
    let (section, option, is_set) = match &port.ssl_option {
        Some(option) => (None, option.as_str(), port.ssl_set),
        None => (
            host.starttls.section.clone(),
            host.starttls.within.as_deref().unwrap_or("c2s_ssl"),
            host.starttls.within.is_some(),
        ),
    };
    let (within, line) = if is_set {
        (Some(option.to_owned()), format!("{missing};"))
    } else {
        (None, format!("{option} = {{ {ASK} }}"))
    };
    Mend::Edit(ConfigEdit {
        file: facts.file_of(section.as_deref()),
        host: section,
        within,
        change: ConfigChange::Add(line),
        // The contexts of open ports stay as they are in a reload.
        then: commands.restart_prosody(),
    })
}

/// Is it Prosody that ends the TLS of clients?
fn proxy(seen: &Seen) -> Finding {
    let host = one_line(&seen.host);
    let (place, public) = match &seen.public {
        Ok(public) => public,
        Err(why) => {
            let why = format!(
                "where the clients of {host} connect can't be reached from here ({})",
                one_line(why)
            );
            return Finding::not_checked("proxy", why);
        }
    };
    let ours: Vec<&Vec<u8>> = seen
        .local
        .iter()
        .filter_map(|(_, _, found)| match found {
            Handshake::Done {
                asks: true, server, ..
            } => Some(server),
            _ => None,
        })
        .collect();
    if ours.is_empty() {
        return Finding::not_checked(
            "proxy",
            format!("none of Prosody's own ports asks for a certificate for {host}"),
        );
    }
    let what = match public {
        Handshake::Done {
            asks: true, server, ..
        } if ours.contains(&server) => {
            return Finding::ok(
                "proxy",
                format!("{place}, where clients of {host} connect, is Prosody's own TLS"),
            );
        }
        Handshake::Done { asks: true, .. } => "shows another server certificate than Prosody",
        Handshake::Done { asks: false, .. } => {
            "asks for no client certificate, and Prosody's own port does"
        }
        Handshake::Unreachable(why) | Handshake::Failed(why) => {
            let why = format!(
                "no TLS at {place}, where clients of {host} connect: {}",
                one_line(why)
            );
            return Finding::not_checked("proxy", why);
        }
    };
    Finding::problem(
        "proxy",
        format!(
            "{place}, where clients of {host} connect, {what}: something before Prosody ends TLS, and EXTERNAL can't work \
             there (or the DNS leads to another server). Let it hand the connection through (HAProxy: the line below and no \"ssl\" in bind; nginx: a stream \
             server without \"ssl\")"
        ),
        Mend::Proxy("mode tcp".to_owned()),
    )
}

const ASK: &str = "verify = { \"peer\", \"client_once\" }, verifyext = { \"lsec_continue\", \"lsec_ignore_purpose\" }";
const TAKE: &str = "verifyext = { \"lsec_continue\", \"lsec_ignore_purpose\" }";
const SILENT: &str = "asks no client for a certificate, so there is no EXTERNAL";
const REFUSES: &str = "asks for a certificate and ends TLS at one that its user has made, before saslcertd is asked: \
                       \"verifyext\" is missing";
const LETS_ENCRYPT: &str = "/etc/letsencrypt/live";
const MAX_FILE_BYTES: u64 = 64 * 1024;
const SECONDS_PER_DAY: i64 = 86_400;
/// Whoever renews by itself does so long before.
const SOON_DAYS: i64 = 7;
const SHORT: Duration = Duration::from_secs(3);
const MAX_HOSTS: usize = 16;
const MAX_PORTS: usize = 8;
const MAX_ADDRESSES: usize = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use serde_json::json;

    use super::super::commands::usual;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    fn facts(more: &Value) -> Facts {
        let mut all = json!({
            "manage_tls": true,
            "hosts": [{"host": "a.lit", "saslcertd": true}],
            "ports": [{"service": "c2s", "tls": "starttls", "port": 5222, "interfaces": ["*"]}],
        });
        all.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    fn done(asks: bool, server: u8) -> Handshake {
        Handshake::Done {
            asks,
            refuses: false,
            server: vec![server],
        }
    }

    fn seen(local: Handshake, public: Result<Handshake, &str>) -> Vec<Seen> {
        vec![Seen {
            host: "a.lit".to_owned(),
            local: vec![(0, "127.0.0.1:5222".parse().unwrap(), local)],
            public: public
                .map(|found| ("192.0.2.1:5222".to_owned(), found))
                .map_err(str::to_owned),
            on_disk: None,
            renewed: None,
        }]
    }

    #[test]
    fn a_port_that_asks_is_well() {
        let found = findings(
            &facts(&json!({})),
            &seen(done(true, 1), Ok(done(true, 1))),
            true,
            NOW,
            &usual(),
        );
        let levels: Vec<Level> = found.iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Ok, Level::Ok]);
    }

    #[test]
    fn a_port_that_does_not_ask_is_named_with_the_line_that_makes_it() {
        let direct = |service: &str, option: &str, more: &Value| {
            let mut port =
                json!({"service": service, "tls": "direct", "port": 5223, "ssl_option": option});
            port.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            json!([port])
        };
        let host =
            |starttls: &Value| json!([{"host": "a.lit", "saslcertd": true, "starttls": starttls}]);
        let whole = |option: &str| (None, None, format!("{option} = {{ {ASK} }}"));
        let within = |host: Option<&'static str>, option| (host, Some(option), format!("{ASK};"));
        let none = json!({});
        let cases = [
            (json!({"manage_tls": false}), whole("c2s_ssl")),
            (
                json!({"manage_tls": false, "hosts": host(&json!({"within": "c2s_ssl"}))}),
                within(None, "c2s_ssl"),
            ),
            (
                json!({"hosts": host(&json!({"within": "ssl", "section": "a.lit", "sets_verify": true}))}),
                within(Some("a.lit"), "ssl"),
            ),
            (
                json!({"manage_tls": false, "ports": direct("c2s_direct_tls", "c2s_direct_tls_ssl", &none)}),
                whole("c2s_direct_tls_ssl"),
            ),
            (
                json!({"ports": direct("c2s_direct_tls", "c2s_direct_tls_ssl", &json!({"ssl_set": true, "sets_verify": true}))}),
                within(None, "c2s_direct_tls_ssl"),
            ),
            (
                json!({"ports": direct("multiplex_ssl", "ssl_ssl", &none)}),
                whole("ssl_ssl"),
            ),
        ];
        for (more, expected) in cases {
            let found = findings(
                &facts(&more),
                &seen(done(false, 1), Err("behind NAT")),
                true,
                NOW,
                &usual(),
            );
            assert_eq!(found[0].level, Level::Problem, "{more}");
            let Some(Mend::Edit(edit)) = &found[0].mend else {
                unreachable!("{more}")
            };
            let ConfigChange::Add(line) = &edit.change else {
                unreachable!()
            };
            assert_eq!(
                (edit.host.as_deref(), edit.within.as_deref(), line.clone()),
                expected,
                "{more}"
            );
        }
    }

    #[test]
    fn a_port_that_refuses_what_users_make_is_named_unless_an_authority_must_have_made_it() {
        let refusing = Handshake::Done {
            asks: true,
            refuses: true,
            server: vec![1],
        };
        let found = |trust: &str| {
            let host = json!([{"host": "a.lit", "saslcertd": true, "options": {"saslcertd_trust": trust},
                "starttls": {"within": "c2s_ssl", "sets_verify": true}}]);
            let facts = facts(&json!({"manage_tls": false, "hosts": host}));
            findings(
                &facts,
                &seen(refusing.clone(), Err("")),
                true,
                NOW,
                &usual(),
            )
            .remove(0)
        };
        for trust in ["ca", "enrolled_and_ca"] {
            assert_eq!(found(trust).level, Level::Ok, "{trust}");
        }
        for trust in ["enrolled", "enrolled_or_ca"] {
            let Some(Mend::Edit(edit)) = found(trust).mend else {
                unreachable!("{trust}")
            };
            assert_eq!(edit.within.as_deref(), Some("c2s_ssl"));
            assert_eq!(edit.change, ConfigChange::Add(format!("{TAKE};")));
        }
    }

    #[test]
    fn a_port_that_should_be_asking_by_itself_needs_a_restart() {
        let found = findings(
            &facts(&json!({})),
            &seen(done(false, 1), Err("")),
            true,
            NOW,
            &usual(),
        );
        assert_eq!(
            found[0].mend,
            Some(Mend::Run("systemctl restart prosody".to_owned()))
        );
    }

    #[test]
    fn what_ends_tls_before_prosody_is_named() {
        let cases = [
            (done(true, 1), Ok(done(true, 1)), Level::Ok),
            (done(true, 1), Ok(done(false, 1)), Level::Problem),
            (done(true, 1), Ok(done(true, 2)), Level::Problem),
            (
                done(true, 1),
                Ok(Handshake::Failed("odd".to_owned())),
                Level::NotChecked,
            ),
            (done(true, 1), Err("no address"), Level::NotChecked),
            (done(false, 1), Ok(done(false, 1)), Level::NotChecked),
        ];
        for (local, public, expected) in cases {
            assert_eq!(
                proxy(&seen(local.clone(), public.clone())[0]).level,
                expected,
                "{local:?} {public:?}"
            );
        }
    }

    #[test]
    fn hosts_that_were_not_looked_at_are_said_to_be_so() {
        for (count, expected) in [(MAX_HOSTS, false), (MAX_HOSTS + 1, true)] {
            let host = |n: usize| json!({"host": format!("{n}.lit"), "saslcertd": true});
            let hosts: Vec<Value> = (0..count).map(host).collect();
            let found = findings(&facts(&json!({"hosts": hosts})), &[], true, NOW, &usual());
            let said = found.iter().any(|one| one.message.contains("1 more host;"));
            assert_eq!(said, expected, "{found:?}");
        }
    }

    #[test]
    fn a_dead_port_is_named_once() {
        let dead = Handshake::Unreachable("Connection refused".to_owned());
        let mut all = seen(dead.clone(), Err(""));
        all.push(Seen {
            host: "b.lit".to_owned(),
            ..all[0].clone()
        });
        let hosts =
            json!([{"host": "a.lit", "saslcertd": true}, {"host": "b.lit", "saslcertd": true}]);
        let found = findings(&facts(&json!({"hosts": hosts})), &all, true, NOW, &usual());
        assert_eq!(
            found
                .iter()
                .filter(|finding| finding.level == Level::Problem)
                .count(),
            1
        );
    }

    #[test]
    fn a_host_without_tls_is_a_problem_unless_it_is_the_one_that_comes_with_prosody() {
        let cases = [
            ("b.lit", done(true, 1), Level::Problem),
            ("localhost", done(true, 1), Level::NotChecked),
            ("localhost", done(false, 1), Level::NotChecked),
            (
                "localhost",
                Handshake::Failed("odd".to_owned()),
                Level::Problem,
            ),
        ];
        for (name, other, expected) in cases {
            let mut all = seen(other.clone(), Err(""));
            all.extend(seen(
                Handshake::Failed("no certificate".to_owned()),
                Err(""),
            ));
            name.clone_into(&mut all[1].host);
            let hosts =
                json!([{"host": "a.lit", "saslcertd": true}, {"host": name, "saslcertd": true}]);
            let found = findings(&facts(&json!({"hosts": hosts})), &all, true, NOW, &usual());
            let of_host = found
                .iter()
                .find(|one| one.message.contains("no certificate"));
            assert_eq!(of_host.unwrap().level, expected, "{name} {other:?}");
        }
    }

    /// A server's certificate, valid for some days from `NOW` on.
    fn server_cert(host: &str, from_days: i64, until_days: i64) -> Vec<u8> {
        let at = |days: i64| OffsetDateTime::from_unix_timestamp(NOW.0 + days * 86_400).unwrap();
        let mut params = rcgen::CertificateParams::new([host.to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(from_days), at(until_days));
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().to_vec()
    }

    #[test]
    fn a_server_certificate_that_clients_refuse_is_named() {
        let good = || server_cert("a.lit", -1, 60);
        let restart = "systemctl restart prosody";
        let import =
            "prosodyctl --root cert import a.lit \"$PWD\" && { systemctl restart prosody; }";
        let cases = [
            (good(), None, None),
            (
                server_cert("a.lit", -9, -1),
                None,
                Some((Level::Problem, "expired", import)),
            ),
            (
                server_cert("a.lit", 1, 9),
                None,
                Some((Level::Problem, "not valid yet", import)),
            ),
            (
                server_cert("b.lit", -1, 60),
                None,
                Some((Level::Problem, "another host", import)),
            ),
            (
                server_cert("a.lit", -1, 6),
                None,
                Some((Level::Warning, "in 6 days", import)),
            ),
            // The file was renewed, and nobody told Prosody.
            (
                server_cert("a.lit", -9, -1),
                Some(good()),
                Some((Level::Problem, "has not read it yet", restart)),
            ),
        ];
        for (shown, on_disk, expected) in cases {
            let done = Handshake::Done {
                asks: true,
                refuses: false,
                server: shown,
            };
            let mut all = seen(done, Err(""));
            all[0].on_disk = on_disk;
            let found = findings(&facts(&json!({})), &all, true, NOW, &usual());
            let found: Vec<&Finding> = found.iter().filter(|one| one.check == "cert").collect();
            assert_eq!(found.len(), 1);
            match expected {
                None => assert_eq!(found[0].level, Level::Ok),
                Some((level, words, mend)) => {
                    assert_eq!(found[0].level, level);
                    assert!(found[0].message.contains(words), "{}", found[0].message);
                    assert_eq!(found[0].mend, Some(Mend::Run(mend.to_owned())));
                }
            }
        }
    }

    #[test]
    fn a_stopped_prosody_is_not_looked_at() {
        let found = findings(&facts(&json!({})), &[], false, NOW, &usual());
        assert!(
            found
                .iter()
                .all(|finding| finding.level == Level::NotChecked)
        );
    }
}
