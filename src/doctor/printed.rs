//! The output of `prosodyctl mod_saslcertd facts` (facts.lib.lua), and the facts about Prosody's configuration that follow from it.
//!
//! Must not know: what is wrong with any of it; sockets.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::facts::{Facts, HostFacts, ModuleCopy, PageAddress, Port, SettingProblem, StartTls};
use crate::policy::options::{self, OfHost, Options, Settings};

/// One line of JSON: raw settings, and what only Prosody's own code can say.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Printed {
    version: String,
    module: ModuleCopy,
    config_file: PathBuf,
    /// Relative paths in the configuration start here.
    config_folder: String,
    /// The files of the configuration.
    pub(super) files: Vec<PathBuf>,
    plugin_paths: Vec<PathBuf>,
    pid: Option<i32>,
    /// This machine's Lua has IPv6.
    ipv6: bool,
    /// The settings that doctor reads, by section; `*` is the global one.
    sections: BTreeMap<String, Options>,
    /// By section; the global one is missing.
    hosts: BTreeMap<String, PrintedHost>,
    /// Modules that the global section enables.
    modules: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PrintedHost {
    /// Those that Prosody would load.
    modules: Vec<String>,
    authentication_found: bool,
    /// Of the TLS context that Prosody makes without our help.
    starttls: PrintedContext,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PrintedContext {
    verify: Value,
    certificate: Option<PathBuf>,
    error: Option<String>,
}

impl Printed {
    /// The facts. `files_of_hosts`: in which file a host's section begins, of those that are known.
    pub(super) fn facts(self, files_of_hosts: &BTreeMap<String, PathBuf>) -> Facts {
        let nothing = Options::new();
        let global = self.sections.get("*").unwrap_or(&nothing);
        let settings = Settings::of(global);
        let hosts: Vec<HostFacts> = self
            .sections
            .keys()
            .filter(|name| *name != "*" && self.is_in_use(name))
            .map(|name| self.host(name, files_of_hosts.get(name)))
            .collect();
        let is_anywhere = |module: &str| {
            let of_hosts = self.hosts.iter().filter(|(name, _)| self.is_in_use(name));
            let mut all = of_hosts.flat_map(|(_, host)| &host.modules);
            self.modules.iter().any(|one| one == module) || all.any(|one| one == module)
        };
        let network = global.get("network_settings");
        let runs_as_root = is(global.get("run_as_root"), true);
        Facts {
            version: self.version.clone(),
            module: self.module.clone(),
            config_file: self.config_file.clone(),
            pidfile: text(global.get("pidfile")).map(PathBuf::from),
            pid: self.pid,
            user: (!runs_as_root).then(|| {
                text(global.get("prosody_user"))
                    .unwrap_or("prosody")
                    .to_owned()
            }),
            socket: PathBuf::from(settings.socket),
            manage_tls: settings.manage_tls,
            setting_problems: settings
                .problems
                .into_iter()
                .map(|problem| SettingProblem {
                    option: problem.option,
                    message: problem.message,
                })
                .collect(),
            modules_disabled: texts(global.get("modules_disabled")),
            global_options: own_options(global),
            backend: if is_true(global.get("use_libevent")) {
                "event".to_owned()
            } else {
                text(global.get("network_backend"))
                    .unwrap_or("epoll")
                    .to_owned()
            },
            nagle: !is(network.and_then(|of| of.get("nagle")), false),
            network_settings: network.is_some(),
            net_proxy: is_anywhere("net_proxy"),
            plugin_paths: self.plugin_paths.clone(),
            ports: self.ports(global, is_anywhere("net_multiplex")),
            hosts,
        }
    }

    /// Is this a `VirtualHost` that Prosody serves?
    fn is_in_use(&self, name: &str) -> bool {
        let own = |option| self.sections.get(name).and_then(|own| own.get(option));
        own("component_module").is_none() && !is(self.option(name, "enabled"), false)
    }

    /// The host's own, or the global one.
    fn option(&self, host: &str, option: &str) -> Option<&Value> {
        let of = |section| self.sections.get(section).and_then(|own| own.get(option));
        of(host).or_else(|| of("*"))
    }

    fn host(&self, name: &str, file: Option<&PathBuf>) -> HostFacts {
        let nothing = Options::new();
        let own = self.sections.get(name).unwrap_or(&nothing);
        let global = self.sections.get("*").unwrap_or(&nothing);
        let unknown = PrintedHost::default();
        let of_prosody = self.hosts.get(name).unwrap_or(&unknown);
        let has = |module: &str| of_prosody.modules.iter().any(|one| one == module);
        let lists =
            |value: Option<&Value>, wanted: &str| texts(value).iter().any(|one| one == wanted);
        let authentication = text(self.option(name, "authentication")).unwrap_or("internal_hashed");
        let OfHost { merged, misplaced } = OfHost::of(global, own, Some(&self.config_folder));
        HostFacts {
            name: name.to_owned(),
            file: file.cloned(),
            authentication: authentication.to_owned(),
            authentication_here: own.contains_key("authentication"),
            // The provider of passwords brings the other module along.
            saslcertd: has("saslcertd") || authentication == "saslcertd",
            client_certs: has("client_certs"),
            client_certs_here: lists(own.get("modules_enabled"), "client_certs"),
            modules_here: own.contains_key("modules_enabled"),
            modules_disabled_here: texts(own.get("modules_disabled")),
            mod_tls: Some(has("tls")),
            mod_c2s: Some(has("c2s")),
            // Either asks for a login.
            mod_saslauth: Some(has("saslauth") || has("sasl2")),
            authentication_found: Some(of_prosody.authentication_found),
            options: merged,
            misplaced,
            own_options: own_options(own),
            external_disabled: lists(self.option(name, "disable_sasl_mechanisms"), "EXTERNAL"),
            external_disabled_here: lists(own.get("disable_sasl_mechanisms"), "EXTERNAL"),
            starttls: self.starttls(name, &of_prosody.starttls),
            page: (has("saslcertd_devices") && authentication != "anonymous")
                .then(|| self.page(name)),
        }
    }

    /// Where a host's page for devices is, as `mod_http` says it.
    fn page(&self, name: &str) -> PageAddress {
        // COMPAT 0.12: it does not know the option.
        let no_proxy_is_believed = !self.version.starts_with("0.")
            && is(self.option("*", "http_legacy_x_forwarded"), false);
        if let Some(external) = text(self.option(name, "http_external_url")) {
            return PageAddress {
                url: format!("{}/devices", external.trim_end_matches('/')),
                is_external: true,
                no_proxy_is_believed,
            };
        }
        let host = text(self.option(name, "http_host")).unwrap_or(name);
        let ports = self.option("*", "https_ports");
        let own = ports.map(|ports| each(ports).iter().find_map(port));
        let url = match own.unwrap_or(Some(HTTPS_PORT)) {
            Some(443) => format!("https://{host}/devices"),
            Some(port) => format!("https://{host}:{port}/devices"),
            None => format!("http://{host}:5280/devices"),
        };
        PageAddress {
            url,
            is_external: false,
            no_proxy_is_believed,
        }
    }

    /// The behaviour of a host's STARTTLS without our help, by the order of settings of `mod_tls`, and the place for a line about it.
    fn starttls(&self, name: &str, context: &PrintedContext) -> StartTls {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let of = |section: &str, option| self.sections.get(section).and_then(|own| own.get(option));
        let option = |option| {
            let own = of(name, option).map(|value| (value, name.to_owned()));
            own.or_else(|| {
                let parent = parent?;
                of(parent, option).map(|value| (value, parent.to_owned()))
            })
        };
        let (c2s, ssl, global_c2s) = (option("c2s_ssl"), option("ssl"), of("*", "c2s_ssl"));
        let sets =
            |found: &Option<(&Value, String)>| sets_verify(found.as_ref().map(|(value, _)| *value));
        let (section, within) = match (&c2s, &ssl) {
            (Some((_, section)), _) => (Some(section.clone()), Some("c2s_ssl")),
            (None, Some((_, section))) if sets(&ssl) => (Some(section.clone()), Some("ssl")),
            _ => (None, global_c2s.map(|_| "c2s_ssl")),
        };
        StartTls {
            asks: texts(Some(&context.verify))
                .iter()
                .any(|flag| flag == "peer"),
            error: context.error.clone(),
            certificate: context.certificate.clone(),
            section,
            within: within.map(str::to_owned),
            sets_verify: sets(&c2s)
                || sets(&ssl)
                || sets_verify(global_c2s)
                || sets_verify(of("*", "ssl")),
        }
    }

    /// The ports for clients, as Prosody's portmanager would open them.
    fn ports(&self, global: &Options, has_multiplex: bool) -> Vec<Port> {
        let mut default_interfaces = Vec::new();
        if !is(global.get("use_ipv4"), false) {
            default_interfaces.push("*".to_owned());
        }
        if self.ipv6 && !is(global.get("use_ipv6"), false) {
            default_interfaces.push("::".to_owned());
        }
        let mut all = Vec::new();
        for service in &SERVICES {
            if service.of_multiplex && !has_multiplex {
                continue;
            }
            let of = |name: &str| global.get(&format!("{}{name}", service.prefix));
            let interfaces = of("interfaces")
                .or_else(|| of("interface"))
                .or_else(|| global.get("interfaces"))
                .or_else(|| global.get("interface"));
            let interfaces =
                interfaces.map_or_else(|| default_interfaces.clone(), |set| texts(Some(set)));
            let numbers = match of("ports") {
                Some(numbers) => each(numbers).iter().filter_map(port).collect(),
                None => service.default_ports.to_vec(),
            };
            let ssl_option = format!("{}ssl", service.prefix);
            let ssl = global.get(&ssl_option);
            for number in numbers {
                all.push(Port {
                    service: service.name.to_owned(),
                    tls: if service.is_direct {
                        "direct"
                    } else {
                        "starttls"
                    }
                    .to_owned(),
                    number,
                    interfaces: interfaces.clone(),
                    // Those of STARTTLS are the host's.
                    ssl_option: service.is_direct.then(|| ssl_option.clone()),
                    ssl_set: service.is_direct && ssl.is_some(),
                    sets_verify: service.is_direct
                        && (sets_verify(ssl) || sets_verify(global.get("ssl"))),
                });
            }
        }
        all
    }
}

/// Prosody's default.
const HTTPS_PORT: u16 = 5281;

/// A service that opens ports for clients.
struct Service {
    name: &'static str,
    prefix: &'static str,
    is_direct: bool,
    default_ports: &'static [u16],
    /// Of `mod_net_multiplex`: with it clients connect here, too.
    of_multiplex: bool,
}

const SERVICES: [Service; 5] = {
    const fn service(name: &'static str, prefix: &'static str, is_direct: bool) -> Service {
        Service {
            name,
            prefix,
            is_direct,
            default_ports: &[],
            of_multiplex: false,
        }
    }
    [
        Service {
            default_ports: &[5222],
            ..service("c2s", "c2s_", false)
        },
        service("c2s_direct_tls", "c2s_direct_tls_", true),
        service("legacy_ssl", "legacy_ssl_", true),
        Service {
            of_multiplex: true,
            ..service("multiplex", "", false)
        },
        Service {
            of_multiplex: true,
            ..service("multiplex_ssl", "ssl_", true)
        },
    ]
};

/// In which of these files the sections of hosts begin. A host is not found if its section begins in an unusual way.
///
/// Shape: `files` are the texts of those that can be read, in Prosody's order.
pub(super) fn files_of_hosts(files: &[(PathBuf, String)]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for (file, text) in files {
        for name in text.lines().filter_map(virtual_host) {
            if let Ok(host) = crate::identity::Host::parse(name) {
                found
                    .entry(host.to_string())
                    .or_insert_with(|| file.clone());
            }
        }
    }
    found
}

/// The name in a line `VirtualHost "a.lit"`, or `VirtualHost('a.lit')`.
fn virtual_host(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("VirtualHost")?.trim_start();
    let rest = rest.strip_prefix('(').unwrap_or(rest).trim_start();
    let rest = rest.strip_prefix(QUOTES)?;
    let (name, _) = rest.split_once(QUOTES)?;
    (!name.is_empty()).then_some(name)
}

const QUOTES: [char; 2] = ['"', '\''];

/// The names of our options that a section sets.
fn own_options(section: &Map<String, Value>) -> Vec<String> {
    let names = section.keys().filter(|name| options::is_ours(name));
    names.cloned().collect()
}

/// The values of a list, or a single value.
fn each(value: &Value) -> &[Value] {
    match value {
        Value::Array(all) => all,
        one => std::slice::from_ref(one),
    }
}

fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str)
}

fn texts(value: Option<&Value>) -> Vec<String> {
    let all = value.into_iter().flat_map(each);
    all.filter_map(|one| one.as_str().map(str::to_owned))
        .collect()
}

/// A number, or one in quotes: Lua makes no difference.
fn port(value: &Value) -> Option<u16> {
    let whole = || u16::try_from(value.as_u64()?).ok();
    match value {
        Value::String(digits) => digits.trim().parse().ok(),
        _ => whole(),
    }
}

fn is(value: Option<&Value>, wanted: bool) -> bool {
    value.and_then(Value::as_bool) == Some(wanted)
}

/// As Lua takes it.
fn is_true(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false)))
}

/// Does a table of TLS options say anything about `verify`?
fn sets_verify(ssl: Option<&Value>) -> bool {
    ssl.and_then(|ssl| ssl.get("verify")).is_some()
}

#[cfg(test)]
mod tests;
