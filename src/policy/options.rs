//! The `saslcertd_…` options of prosody.cfg.lua, section by section: which of them hold for a host, and what is wrong with those of the
//! whole server.
//!
//! Must not know: what a host's options mean ([`HostPolicy`](super::HostPolicy) does).

use serde_json::{Map, Value};

use super::host::{Remark, seconds};
use crate::identity::visible;

/// Options by their names.
pub type Options = Map<String, Value>;

/// The options that hold for one host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OfHost {
    /// Those of the global section, and over them its own; paths are absolute.
    pub merged: Options,
    /// Its own that belong into the global section, by name.
    pub misplaced: Vec<String>,
}

impl OfHost {
    /// Of a host with the options `own`, where `global` holds for all. `folder`: where relative paths start, if that is known.
    #[must_use]
    pub fn of(global: &Options, own: &Options, folder: Option<&str>) -> Self {
        let of_hosts = |options: &Options| -> Options {
            let options = options.iter();
            let options = options.filter(|(name, _)| is_ours(name) && !is_global(name));
            let absolute = |name: &String, value: &Value| match value.as_str() {
                Some(path) if PATHS.contains(&name.as_str()) => match folder {
                    Some(folder) => resolved(folder, path).into(),
                    None => value.clone(),
                },
                _ => value.clone(),
            };
            options
                .map(|(name, value)| (name.clone(), absolute(name, value)))
                .collect()
        };
        let mut merged = of_hosts(global);
        merged.extend(of_hosts(own));
        let misplaced = own.keys().filter(|name| is_global(name));
        Self {
            merged,
            misplaced: misplaced.cloned().collect(),
        }
    }

    /// A complaint about the options that have no effect; `None` if there are none.
    #[must_use]
    pub fn complaint(&self) -> Option<String> {
        let sentence = |name: &String| {
            format!(
                "{name} belongs into the global section, above the first VirtualHost; it has no effect here"
            )
        };
        let all: Vec<String> = self.misplaced.iter().map(sentence).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// The options of the whole server, as Prosody's module takes them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where the daemon listens.
    pub socket: String,
    /// How long an answer may take.
    pub timeout_seconds: f64,
    /// Clients are asked for certificates without the admin's settings.
    pub manage_tls: bool,
    /// The problems with those options that a default stands in for.
    pub problems: Vec<Remark>,
}

impl Settings {
    /// Of a server whose global section has these options.
    #[must_use]
    pub fn of(global: &Options) -> Self {
        let mut settings = Self {
            socket: "/run/saslcertd/saslcertd.sock".to_owned(),
            timeout_seconds: 2.0,
            manage_tls: true,
            problems: Vec::new(),
        };
        let mut problem =
            |name: &str, value: &Value, wanted: &str, default: &dyn std::fmt::Display| {
                let shown: String = value.to_string().chars().take(80).collect();
                let shown = visible::line(&shown);
                settings.problems.push(Remark {
                    option: name.to_owned(),
                    message: format!("{name} = {shown}: must be {wanted} (using {default})"),
                });
            };
        match global.get(SOCKET) {
            None => {}
            Some(Value::String(path)) if is_socket(path) => settings.socket.clone_from(path),
            Some(value) => {
                let wanted = "an absolute path of less than 108 bytes";
                problem(SOCKET, value, wanted, &settings.socket);
            }
        }
        match global.get(TIMEOUT) {
            None => {}
            Some(value) => match seconds_of(value).filter(|n| (0.1..=60.0).contains(n)) {
                Some(seconds) => settings.timeout_seconds = seconds,
                None => problem(TIMEOUT, value, "a number of seconds from 0.1 to 60", &2),
            },
        }
        match global.get(MANAGE_TLS) {
            None => {}
            Some(Value::Bool(wanted)) => settings.manage_tls = *wanted,
            Some(value) => problem(MANAGE_TLS, value, "true or false", &true),
        }
        settings
    }
}

/// Is this one of our options?
#[must_use]
pub fn is_ours(name: &str) -> bool {
    name.starts_with("saslcertd_")
}

fn is_global(name: &str) -> bool {
    GLOBAL_OPTIONS.contains(&name)
}

/// The kernel's limit for the path of a Unix socket.
fn is_socket(path: &str) -> bool {
    path.starts_with('/') && path.len() < 108
}

/// As Lua reads a number: digits in quotes count, too.
fn seconds_of(value: &Value) -> Option<f64> {
    let digits = value.as_str().and_then(|text| text.trim().parse().ok());
    digits.or_else(|| seconds(value))
}

/// As Prosody resolves a path of its configuration.
fn resolved(folder: &str, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let path = match path.strip_prefix('.') {
        Some(rest) if rest.starts_with('/') => rest.trim_start_matches('/'),
        _ => path,
    };
    format!("{}/{path}", folder.trim_end_matches('/'))
}

const SOCKET: &str = "saslcertd_socket";
const TIMEOUT: &str = "saslcertd_timeout";
const MANAGE_TLS: &str = "saslcertd_manage_tls";

/// The options of the whole server.
pub const GLOBAL_OPTIONS: [&str; 3] = [SOCKET, TIMEOUT, MANAGE_TLS];

/// Files that the daemon opens.
const PATHS: [&str; 2] = ["saslcertd_ca_file", "saslcertd_crl_file"];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use serde_json::json;

    fn options(value: &Value) -> Options {
        value.as_object().unwrap().clone()
    }

    fn of(global: &Value, own: &Value) -> OfHost {
        OfHost::of(&options(global), &options(own), Some("/etc/prosody/"))
    }

    #[test]
    fn the_hosts_own_options_count_over_the_global_ones() {
        let found = of(
            &json!({"saslcertd_max_certs": 5, "saslcertd_trust": "enrolled", "saslcertd_socket": "/x", "modules_enabled": ["tls"]}),
            &json!({"saslcertd_max_certs": 7}),
        );
        let merged = json!({"saslcertd_max_certs": 7, "saslcertd_trust": "enrolled"});
        assert_eq!(found.merged, options(&merged));
        assert_eq!(found.complaint(), None);
        // Unknown ones, too: what they are is said later.
        let found = of(&json!({}), &json!({"saslcertd_colour": "red"}));
        assert_eq!(found.merged, options(&json!({"saslcertd_colour": "red"})));
    }

    #[test]
    fn the_servers_own_options_have_no_effect_in_a_host() {
        let found = of(
            &json!({"saslcertd_timeout": 2}),
            &json!({"saslcertd_timeout": 3, "saslcertd_socket": "/x"}),
        );
        assert!(found.merged.is_empty());
        assert_eq!(found.misplaced, ["saslcertd_socket", "saslcertd_timeout"]);
        assert_eq!(
            found.complaint().unwrap().matches("no effect here").count(),
            2
        );
    }

    #[test]
    fn paths_are_made_absolute_as_prosody_does() {
        for (path, wanted) in [
            ("ca.pem", "/etc/prosody/ca.pem"),
            ("./certs/ca.pem", "/etc/prosody/certs/ca.pem"),
            (".hidden", "/etc/prosody/.hidden"),
            ("../ca.pem", "/etc/prosody/../ca.pem"),
            ("/a/ca.pem", "/a/ca.pem"),
        ] {
            let found = of(&json!({"saslcertd_ca_file": path}), &json!({}));
            assert_eq!(found.merged, options(&json!({"saslcertd_ca_file": wanted})));
        }
        // An option that is no path is reported by the host's own reading of it.
        let odd = json!({"saslcertd_crl_file": ["a"], "saslcertd_trust": "ca.pem"});
        assert_eq!(of(&odd, &json!({})).merged, options(&odd));
    }

    #[test]
    fn settings_have_defaults_and_are_taken() {
        let found = Settings::of(&Options::new());
        assert_eq!(found.problems, []);
        assert_eq!(found.socket, "/run/saslcertd/saslcertd.sock");
        assert!(found.manage_tls);
        for (timeout, wanted) in [
            (json!(3), 3.0),
            (json!("3 seconds"), 3.0),
            (json!("1.5"), 1.5),
            (json!(0.1), 0.1),
        ] {
            let global = json!({"saslcertd_timeout": timeout, "saslcertd_socket": "/t", "saslcertd_manage_tls": false});
            let found = Settings::of(&options(&global));
            assert_eq!(found.problems, []);
            assert!((found.timeout_seconds - wanted).abs() < 1e-9);
            assert_eq!((&*found.socket, found.manage_tls), ("/t", false));
        }
    }

    #[test]
    fn a_setting_that_cannot_be_is_named_with_what_counts_in_its_place() {
        for (name, value) in [
            ("saslcertd_timeout", json!(0)),
            ("saslcertd_timeout", json!("soon")),
            ("saslcertd_timeout", json!([])),
            ("saslcertd_timeout", json!(1e9)),
            ("saslcertd_timeout", json!("nan")),
            ("saslcertd_timeout", json!(true)),
            ("saslcertd_socket", json!("s")),
            ("saslcertd_socket", json!(5)),
            ("saslcertd_socket", json!(format!("/{}", "x".repeat(107)))),
            ("saslcertd_manage_tls", json!("yes")),
            ("saslcertd_manage_tls", json!(1)),
        ] {
            let found = Settings::of(&options(&json!({ name: value })));
            assert_eq!(found.problems.len(), 1, "{name}");
            let problem = found.problems.first().unwrap();
            assert_eq!(problem.option, name);
            assert!(problem.message.starts_with(name) && problem.message.contains("(using "));
            assert_eq!(
                Settings {
                    problems: Vec::new(),
                    ..found
                },
                Settings::of(&Options::new())
            );
        }
    }
}
