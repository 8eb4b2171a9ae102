//! The facts about Prosody's configuration that the judges use.
//!
//! Must not know: how prosodyctl prints them, what is well.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::finding::one_line;

/// All that is known of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
// Each is a question of its own.
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Facts {
    pub(super) version: String,
    /// The copy of our module that Prosody finds; without a path, one that is too old to tell.
    pub(super) module: ModuleCopy,
    pub(super) config_file: PathBuf,
    /// Without one nobody can say that it doesn't run.
    pub(super) pidfile: Option<PathBuf>,
    /// The running Prosody.
    pub(super) pid: Option<i32>,
    /// As whom Prosody runs; none: whoever starts it.
    pub(super) user: Option<String>,
    pub(super) socket: PathBuf,
    pub(super) manage_tls: bool,
    pub(super) setting_problems: Vec<SettingProblem>,
    /// Modules that the global section forbids.
    pub(super) modules_disabled: Vec<String>,
    pub(super) global_options: Vec<String>,
    pub(super) backend: String,
    pub(super) nagle: bool,
    /// There is such an option.
    pub(super) network_settings: bool,
    pub(super) net_proxy: bool,
    pub(super) plugin_paths: Vec<PathBuf>,
    pub(super) ports: Vec<Port>,
    pub(super) hosts: Vec<HostFacts>,
}

/// A copy of our module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct ModuleCopy {
    pub(super) version: String,
    /// Its folder.
    pub(super) path: PathBuf,
    /// Which version of the protocol it speaks; 0 if it is too old to tell.
    pub(super) protocol: u32,
}

impl ModuleCopy {
    /// With `protocol`, if that is known.
    pub(super) fn shown(&self) -> String {
        let version = match self.version.as_str() {
            "" => "of an unknown version".to_owned(),
            version => one_line(version),
        };
        match self.path.to_str() {
            Some("") => format!("mod_saslcertd {version}"),
            _ => format!("mod_saslcertd {version} in {}", self.path.display()),
        }
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SettingProblem {
    pub(super) option: String,
    pub(super) message: String,
}

/// A port for clients.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Port {
    pub(super) service: String,
    /// `starttls` or `direct`.
    pub(super) tls: String,
    #[serde(rename = "port")]
    pub(super) number: u16,
    pub(super) interfaces: Vec<String>,
    /// The option with the port's TLS settings; none for STARTTLS.
    pub(super) ssl_option: Option<String>,
    /// That option is set.
    pub(super) ssl_set: bool,
    /// That option, or `ssl`, says what `verify` is.
    pub(super) sets_verify: bool,
}

/// A `VirtualHost`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
// Each is a question of its own.
#[allow(clippy::struct_excessive_bools)]
pub(super) struct HostFacts {
    #[serde(rename = "host")]
    pub(super) name: String,
    /// Where its section begins, if that is known.
    pub(super) file: Option<PathBuf>,
    pub(super) authentication: String,
    /// This section says so.
    pub(super) authentication_here: bool,
    /// Our module is enabled, globally or here.
    pub(super) saslcertd: bool,
    /// `mod_client_certs` is enabled, globally or here.
    pub(super) client_certs: bool,
    /// It is enabled here.
    pub(super) client_certs_here: bool,
    /// This host has a `modules_enabled` of its own.
    pub(super) modules_here: bool,
    /// Modules that this section forbids.
    pub(super) modules_disabled_here: Vec<String>,
    /// `mod_tls` is enabled; none if an older module of ours doesn't tell.
    pub(super) mod_tls: Option<bool>,
    /// The same of `mod_c2s`, without which no client connects.
    pub(super) mod_c2s: Option<bool>,
    /// The same of `mod_saslauth` or `mod_sasl2`, without which nobody logs in.
    pub(super) mod_saslauth: Option<bool>,
    /// Prosody finds the module that `authentication` names.
    pub(super) authentication_found: Option<bool>,
    /// Our options, as they are declared to the daemon.
    pub(super) options: Map<String, Value>,
    /// Those that have no effect here.
    pub(super) misplaced: Vec<String>,
    /// Those that are set here and not globally.
    pub(super) own_options: Vec<String>,
    /// EXTERNAL is among the mechanisms that Prosody shall not offer.
    pub(super) external_disabled: bool,
    /// This section says so.
    pub(super) external_disabled_here: bool,
    pub(super) starttls: StartTls,
    /// Where `mod_saslcertd_devices` serves its page, if it does.
    pub(super) page: Option<PageAddress>,
}

/// Where the page for devices is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct PageAddress {
    /// `https://shakespeare.lit:5281/devices`.
    pub(super) url: String,
    /// The configuration names it: something else may stand before Prosody.
    pub(super) is_external: bool,
    /// Over plain http Prosody believes no proxy that connections are secure, whichever is trusted.
    pub(super) no_proxy_is_believed: bool,
}

/// The behaviour of a host's STARTTLS without our help.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct StartTls {
    pub(super) asks: bool,
    /// TLS is impossible, and why.
    pub(super) error: Option<String>,
    /// The file with the server's certificate.
    pub(super) certificate: Option<PathBuf>,
    /// The section whose option counts; none for the global one.
    pub(super) section: Option<String>,
    /// The option to complete, if there is one.
    pub(super) within: Option<String>,
    /// The configuration says what `verify` is.
    pub(super) sets_verify: bool,
}

impl Facts {
    /// The file with the section of a host, or with the global one.
    pub(super) fn file_of(&self, host: Option<&str>) -> PathBuf {
        let own = self
            .hosts
            .iter()
            .find(|own| Some(own.name.as_str()) == host);
        let file = own.and_then(|own| own.file.clone());
        file.unwrap_or_else(|| self.config_file.clone())
    }

    /// The hosts that are meant to have EXTERNAL.
    pub(super) fn enabled(&self) -> impl Iterator<Item = &HostFacts> {
        self.hosts.iter().filter(|host| host.is_enabled())
    }
}

impl Port {
    /// Where it answers on this machine.
    pub(super) fn address(&self) -> SocketAddr {
        let address = |name: &String| match name.as_str() {
            "*" | "0.0.0.0" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            "::" => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            name => name.parse().ok(),
        };
        let mut all: Vec<IpAddr> = self.interfaces.iter().filter_map(address).collect();
        all.sort_by_key(IpAddr::is_ipv6);
        let first = all.first().copied();
        SocketAddr::new(
            first.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            self.number,
        )
    }
}

impl HostFacts {
    /// Is it meant to have EXTERNAL?
    pub(super) fn is_enabled(&self) -> bool {
        // Its accounts come and go with each session.
        self.saslcertd && self.authentication != "anonymous"
    }
}
