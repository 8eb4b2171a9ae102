//! TLS as clients see it: do Prosody's ports ask for a certificate, and does what clients reach from outside do so, too?
//!
//! Judges the handshakes that were tried; it must not look for anything itself.

use std::path::Path;

use serde_json::Value;

use super::commands::Commands;
use super::facts::{Facts, HostFacts, Port};
use super::finding::{ConfigChange, ConfigEdit, Finding, Level, Mend, one_line, word};
use super::prosody::listed;
use crate::client::resolve::Security;
use crate::client::tls::is_for;
use crate::identity::certificate::validity;
use crate::identity::{UnixSeconds, counted, days};
pub(super) use handshakes::look;
use handshakes::{Handshake, MAX_HOSTS, MAX_PORTS, Seen};

mod handshakes;

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

/// The problem with a certificate as a server's of `host`, and how bad it is. The outer none: it can't be read.
#[allow(clippy::option_option)]
pub(super) fn judge(der: &[u8], host: &str, now: UnixSeconds) -> Option<Option<(Level, String)>> {
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

/// The findings when there is nothing to be seen.
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
    // The remedy is mostly the same for all hosts.
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
                    (take_any(facts, host, port, commands), REFUSES.to_owned())
                } else {
                    let (mend, why) = why_silent(facts, host, port, commands);
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

/// The remedy that makes the port ask, and why it doesn't.
fn why_silent(
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
    (set_tls(facts, host, port, ASK, commands), why)
}

/// The remedy that makes the port take any certificate.
fn take_any(facts: &Facts, host: &HostFacts, port: &Port, commands: &Commands) -> Mend {
    set_tls(facts, host, port, TAKE, commands)
}

/// The change that makes the port ask: `missing`, where something is set already.
fn set_tls(
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
const SECONDS_PER_DAY: i64 = 86_400;
/// A program that renews certificates does so long before.
const SOON_DAYS: i64 = 7;

#[cfg(test)]
mod tests;
