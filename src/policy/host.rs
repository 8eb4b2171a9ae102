//! A host's settings: the parameters of all rules, read from the options that Prosody declares.
//!
//! Must not know: accounts, certificates.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::identity::password::{MAX_ITERATIONS, MIN_ITERATIONS};
use crate::identity::visible;

pub mod room;

/// The parameters of the rules for one host.
#[derive(Clone, Debug, PartialEq)]
pub struct HostPolicy {
    /// `saslcertd_trust`, with the files that belong to it.
    pub trust: Trust,
    /// `saslcertd_require_address`: refuse certificates without any xmppAddr.
    pub require_address: bool,
    /// `saslcertd_manage_with`: which sessions may add and remove certificates.
    pub manage_with: ManageWith,
    /// `saslcertd_max_certs`: certificates in one account's list, expired ones not counted.
    pub max_certs: usize,
    /// `saslcertd_min_rsa_bits`.
    pub min_rsa_bits: usize,
    /// `saslcertd_max_validity_days`: refuse longer-lived certificates at enrolment.
    pub max_validity_days: Option<i64>,
    /// `saslcertd_expiry_notice_days`: so many days before a certificate expires its user is told.
    pub expiry_notice_days: Vec<u16>,
    /// `saslcertd_close_expired`: close the sessions of a certificate when it expires.
    pub close_expired: bool,
    /// `saslcertd_links`: who may make links by which devices get keys.
    pub links: Links,
    /// `saslcertd_scram_iterations`: of the verifiers that are made from now on.
    pub scram_iterations: u32,
    /// `saslcertd_guess_delay_max`, in seconds: 0 for no delays.
    pub guess_delay_max_seconds: f64,
}

/// `saslcertd_trust`: what makes a certificate count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The account's own user has enrolled it.
    Enrolled,
    /// An authority has issued it. There are no lists.
    Ca(CaFiles),
    /// Both.
    EnrolledAndCa(CaFiles),
    /// Either.
    EnrolledOrCa(CaFiles),
}

/// Where a host's authorities are written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaFiles {
    /// `saslcertd_ca_file`: an absolute path.
    pub authorities: PathBuf,
    /// `saslcertd_crl_file`: an absolute path.
    pub lists: Option<PathBuf>,
    /// `saslcertd_crl_expired = "accept"`.
    pub accept_expired_lists: bool,
}

impl Trust {
    /// The files of the authorities, if they have a say.
    #[must_use]
    pub fn ca(&self) -> Option<&CaFiles> {
        match self {
            Self::Enrolled => None,
            Self::Ca(files) | Self::EnrolledAndCa(files) | Self::EnrolledOrCa(files) => Some(files),
        }
    }

    /// Do users have lists of certificates?
    #[must_use]
    pub fn has_lists(&self) -> bool {
        !matches!(self, Self::Ca(_))
    }

    /// Does it matter who issued a certificate? If not, what a client presents behind it is not looked at.
    #[must_use]
    pub fn wants_chain(&self) -> bool {
        self.ca().is_some()
    }

    /// Does either a user's list or an authority let somebody in, without the other?
    #[must_use]
    pub fn either_suffices(&self) -> bool {
        matches!(self, Self::EnrolledOrCa(_))
    }

    /// Must a certificate be in its user's list?
    #[must_use]
    pub fn wants_record(&self) -> bool {
        matches!(self, Self::Enrolled | Self::EnrolledAndCa(_))
    }

    /// As the option is written.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Enrolled => "enrolled",
            Self::Ca(_) => "ca",
            Self::EnrolledAndCa(_) => "enrolled_and_ca",
            Self::EnrolledOrCa(_) => "enrolled_or_ca",
        }
    }
}

/// Which sessions may add and remove certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManageWith {
    /// All, but those of certificates that were added without that right.
    Any,
    /// Only those that logged in with a password.
    Password,
}

/// Who may make links, and which links are redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Nobody, and none.
    Off,
    /// Administrators, and theirs.
    Admin,
    /// Users, too, each for the own account.
    Own,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self {
            trust: Trust::Enrolled,
            require_address: true,
            manage_with: ManageWith::Any,
            max_certs: 20,
            min_rsa_bits: 2048,
            max_validity_days: None,
            expiry_notice_days: vec![30, 7, 1],
            close_expired: false,
            links: Links::Admin,
            scram_iterations: 10_000,
            guess_delay_max_seconds: 15.0,
        }
    }
}

/// A remark about one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The option's name.
    pub option: String,
    /// A sentence that names the option, its value, and what it may be.
    pub message: String,
}

/// Options as read: the policy, and what was found on the way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Meaning {
    /// The parameters; those in error have their defaults. Whoever is asked about the host gets the same ones.
    pub policy: Arc<HostPolicy>,
    /// Any of these, and the host gets no EXTERNAL.
    pub errors: Vec<Remark>,
    /// The host works all the same.
    pub warnings: Vec<Remark>,
}

impl HostPolicy {
    /// Reads the `saslcertd_*` options of one host.
    ///
    /// Shape: names with the prefix, values as Prosody's configuration has them.
    /// Errors: all of them, in [`Meaning::errors`]; never only the first.
    #[must_use]
    pub fn from_options(options: &Map<String, Value>) -> Meaning {
        let mut reader = Reader::default();
        for (name, value) in options {
            reader.read(name, value);
        }
        reader.read_trust(options);
        reader.meaning
    }
}

#[derive(Default)]
struct Reader {
    meaning: Meaning,
}

impl Reader {
    fn read(&mut self, name: &str, value: &Value) {
        let policy = Arc::make_mut(&mut self.meaning.policy);
        match name {
            "saslcertd_require_address" => match value.as_bool() {
                Some(required) => policy.require_address = required,
                None => self.error(name, value, "must be true or false"),
            },
            "saslcertd_manage_with" => match value.as_str() {
                Some("any") => policy.manage_with = ManageWith::Any,
                Some("password") => policy.manage_with = ManageWith::Password,
                _ => self.error(name, value, "must be \"any\" or \"password\""),
            },
            "saslcertd_max_certs" => match whole(value).filter(|n| *n >= 1) {
                Some(max) => policy.max_certs = usize::try_from(max).unwrap_or(usize::MAX),
                None => self.error(name, value, "must be a whole number from 1"),
            },
            "saslcertd_min_rsa_bits" => match whole(value).filter(|n| (2048..=16384).contains(n)) {
                Some(bits) => policy.min_rsa_bits = usize::try_from(bits).unwrap_or(usize::MAX),
                None => self.error(name, value, "must be a whole number from 2048 to 16384"),
            },
            "saslcertd_max_validity_days" => {
                match whole(value).filter(|n| (1..=3_652_500).contains(n)) {
                    Some(days) => policy.max_validity_days = Some(days),
                    None => self.error(name, value, "must be a whole number of days from 1"),
                }
            }
            // They make sense only together.
            TRUST | CA_FILE | CRL_FILE | CRL_EXPIRED => {}
            "saslcertd_expiry_notice_days" => match days(value) {
                Some(days) => policy.expiry_notice_days = days,
                None => self.error(
                    name,
                    value,
                    "must be a list of at most 10 numbers of days from 1 to 3650, such as { 30, 7, 1 }",
                ),
            },
            "saslcertd_close_expired" => match value.as_bool() {
                Some(close) => policy.close_expired = close,
                None => self.error(name, value, "must be true or false"),
            },
            "saslcertd_links" => match value.as_str() {
                Some("off") => policy.links = Links::Off,
                Some("admin") => policy.links = Links::Admin,
                Some("self") => policy.links = Links::Own,
                _ => self.error(name, value, "must be \"off\", \"admin\" or \"self\""),
            },
            "saslcertd_scram_iterations" => {
                let count = whole(value).and_then(|n| u32::try_from(n).ok());
                match count.filter(|n| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(n)) {
                    Some(iterations) => policy.scram_iterations = iterations,
                    None => {
                        self.error(name, value, "must be a whole number from 4096 to 10000000");
                    }
                }
            }
            "saslcertd_guess_delay_max" => {
                match seconds(value).filter(|n| (0.0..=60.0).contains(n)) {
                    Some(seconds) => policy.guess_delay_max_seconds = seconds,
                    None => self.error(name, value, "must be a number of seconds from 0 to 60"),
                }
            }
            // Prosody's module of the page reads them.
            "saslcertd_devices_name" | "saslcertd_devices_logo" if value.is_string() => {}
            "saslcertd_devices_name" | "saslcertd_devices_logo" => {
                self.error(name, value, "must be a text");
            }
            "saslcertd_socket" | "saslcertd_timeout" | "saslcertd_manage_tls" => {
                self.warn(
                    name,
                    "is read from the global section only; it has no effect in a host",
                );
            }
            _ => self.warn(name, &unknown(name)),
        }
    }

    fn read_trust(&mut self, options: &Map<String, Value>) {
        let text = |name| options.get(name).map(|value| (value, value.as_str()));
        let kind = match text(TRUST) {
            None => return self.require_no_files(options),
            // It may be the exception among hosts that trust authorities.
            Some((_, Some("enrolled"))) => return,
            Some((_, Some(kind @ ("ca" | "enrolled_and_ca" | "enrolled_or_ca")))) => kind,
            Some((value, _)) => {
                let choices =
                    "must be \"enrolled\", \"ca\", \"enrolled_and_ca\" or \"enrolled_or_ca\"";
                return self.error(TRUST, value, choices);
            }
        };
        let mut paths = [None, None];
        for (path, name) in paths.iter_mut().zip([CA_FILE, CRL_FILE]) {
            match text(name) {
                None => {}
                Some((_, Some(text))) if is_path(text) => *path = Some(PathBuf::from(text)),
                Some((value, _)) => self.error(name, value, "must be the path of a file"),
            }
        }
        let accept_expired_lists = match text(CRL_EXPIRED) {
            None | Some((_, Some("accept"))) => true,
            Some((_, Some("refuse"))) => false,
            Some((value, _)) => {
                return self.error(CRL_EXPIRED, value, "must be \"accept\" or \"refuse\"");
            }
        };
        let [authorities, lists] = paths;
        let Some(authorities) = authorities else {
            if !options.contains_key(CA_FILE) {
                let problem = "needs saslcertd_ca_file beside it, the file of the authorities";
                self.error(TRUST, &Value::from(kind), problem);
            }
            return;
        };
        if lists.is_none() && options.contains_key(CRL_EXPIRED) {
            self.warn(CRL_EXPIRED, "has no effect without saslcertd_crl_file");
        }
        let files = CaFiles {
            authorities,
            lists,
            accept_expired_lists,
        };
        Arc::make_mut(&mut self.meaning.policy).trust = match kind {
            "ca" => Trust::Ca(files),
            "enrolled_and_ca" => Trust::EnrolledAndCa(files),
            _ => Trust::EnrolledOrCa(files),
        };
    }

    /// An admin who sets these wants to keep somebody out who would come in without them.
    fn require_no_files(&mut self, options: &Map<String, Value>) {
        for name in [CA_FILE, CRL_FILE, CRL_EXPIRED] {
            if let Some(value) = options.get(name) {
                let problem = "needs saslcertd_trust = \"ca\", \"enrolled_and_ca\" or \"enrolled_or_ca\" \
                               beside it; else remove it";
                self.error(name, value, problem);
            }
        }
    }

    fn error(&mut self, name: &str, value: &Value, problem: &str) {
        let shown: String = value.to_string().chars().take(80).collect();
        let message = format!("{name} = {}: {problem}", visible::line(&shown));
        self.meaning.errors.push(Remark {
            option: name.to_owned(),
            message,
        });
    }

    fn warn(&mut self, name: &str, problem: &str) {
        self.meaning.warnings.push(Remark {
            option: name.to_owned(),
            message: format!("{} {problem}", visible::line(name)),
        });
    }
}

/// Absolute, and short enough for the kernel. Prosody's module resolves relative ones.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() < 4096 && !text.contains('\0')
}

/// Lua has one number type on some versions, so 20 may arrive as 20.0.
fn whole(value: &Value) -> Option<i64> {
    #[allow(clippy::cast_possible_truncation)]
    // Truncation is excluded: the fraction is zero and the range that of exact integers.
    let from_float = |n: f64| (n.fract() == 0.0 && n.abs() < 9e15).then_some(n as i64);
    value
        .as_i64()
        .or_else(|| value.as_f64().and_then(from_float))
}

/// The numbers of days in a list.
fn days(value: &Value) -> Option<Vec<u16>> {
    let list = value.as_array().filter(|list| list.len() <= 10)?;
    let days = list.iter().map(|value| u16::try_from(whole(value)?).ok());
    let days = days.map(|days| days.filter(|days| (1..=3650).contains(days)));
    days.collect()
}

/// A number, or what Prosody 13 takes for a period: `"15s"`, `"15 seconds"`.
pub(super) fn seconds(value: &Value) -> Option<f64> {
    let text = match value {
        Value::String(text) => text.trim(),
        other => return other.as_f64(),
    };
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = text.split_at(unit_at);
    let is_seconds = matches!(unit, "s" | "sec" | "secs" | "second" | "seconds");
    number.trim().parse().ok().filter(|_| is_seconds)
}

fn unknown(name: &str) -> String {
    let similar = OPTIONS
        .iter()
        .filter(|option| shared_prefix(option, name) > "saslcertd_".len())
        .max_by_key(|option| shared_prefix(option, name));
    match similar {
        Some(option) => format!("is not an option; is {option} meant?"),
        None => format!("is not an option; the options are {}", OPTIONS.join(", ")),
    }
}

fn shared_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

const TRUST: &str = "saslcertd_trust";
const CA_FILE: &str = "saslcertd_ca_file";
const CRL_FILE: &str = "saslcertd_crl_file";
const CRL_EXPIRED: &str = "saslcertd_crl_expired";

/// Every option that a host may set.
pub const OPTIONS: [&str; 16] = [
    "saslcertd_trust",
    "saslcertd_ca_file",
    "saslcertd_crl_file",
    "saslcertd_crl_expired",
    "saslcertd_require_address",
    "saslcertd_manage_with",
    "saslcertd_max_certs",
    "saslcertd_min_rsa_bits",
    "saslcertd_max_validity_days",
    "saslcertd_expiry_notice_days",
    "saslcertd_close_expired",
    "saslcertd_links",
    "saslcertd_devices_name",
    "saslcertd_devices_logo",
    "saslcertd_scram_iterations",
    "saslcertd_guess_delay_max",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use serde_json::json;

    fn meaning_of(options: &Value) -> Meaning {
        HostPolicy::from_options(options.as_object().unwrap())
    }

    #[test]
    fn options_are_read() {
        let meaning = meaning_of(&json!({
            "saslcertd_trust": "enrolled",
            "saslcertd_require_address": false,
            "saslcertd_manage_with": "password",
            "saslcertd_max_certs": 5.0,
            "saslcertd_min_rsa_bits": 3072,
            "saslcertd_max_validity_days": 400,
            "saslcertd_expiry_notice_days": [14, 2.0],
            "saslcertd_close_expired": true,
            "saslcertd_links": "self",
            "saslcertd_devices_name": "Shakespeare & Co.",
            "saslcertd_devices_logo": "logo.png",
            "saslcertd_scram_iterations": 20000,
            "saslcertd_guess_delay_max": "5 seconds",
        }));
        assert_eq!(meaning.errors, []);
        assert_eq!(meaning.warnings, []);
        assert_eq!(
            *meaning.policy,
            HostPolicy {
                trust: Trust::Enrolled,
                require_address: false,
                manage_with: ManageWith::Password,
                max_certs: 5,
                min_rsa_bits: 3072,
                max_validity_days: Some(400),
                expiry_notice_days: vec![14, 2],
                close_expired: true,
                links: Links::Own,
                scram_iterations: 20_000,
                guess_delay_max_seconds: 5.0,
            }
        );
    }

    #[test]
    fn every_wrong_option_is_named_with_what_it_may_be() {
        for (name, value) in [
            ("saslcertd_trust", json!("everyone")),
            ("saslcertd_trust", json!("ca")),
            ("saslcertd_trust", json!(true)),
            ("saslcertd_crl_file", json!("/crl.pem")),
            ("saslcertd_crl_expired", json!("accept")),
            ("saslcertd_require_address", json!("yes")),
            ("saslcertd_manage_with", json!(["any"])),
            ("saslcertd_max_certs", json!(0)),
            ("saslcertd_max_certs", json!(2.5)),
            ("saslcertd_min_rsa_bits", json!(1024)),
            ("saslcertd_max_validity_days", json!(-1)),
            ("saslcertd_expiry_notice_days", json!(30)),
            ("saslcertd_expiry_notice_days", json!([30, 0])),
            ("saslcertd_expiry_notice_days", json!([3651])),
            ("saslcertd_expiry_notice_days", json!([7, "1"])),
            ("saslcertd_expiry_notice_days", json!(vec![1; 11])),
            ("saslcertd_ca_file", json!("ca.pem")),
            ("saslcertd_close_expired", json!("yes")),
            ("saslcertd_links", json!("everybody")),
            ("saslcertd_links", json!(false)),
            ("saslcertd_devices_name", json!(5)),
            ("saslcertd_devices_logo", json!(true)),
            ("saslcertd_scram_iterations", json!(4095)),
            ("saslcertd_scram_iterations", json!(4096.5)),
            ("saslcertd_scram_iterations", json!(10_000_001)),
            ("saslcertd_guess_delay_max", json!(-1)),
            ("saslcertd_guess_delay_max", json!(61)),
            ("saslcertd_guess_delay_max", json!("5 minutes")),
            ("saslcertd_guess_delay_max", json!("5")),
        ] {
            let meaning = meaning_of(&json!({ name: value }));
            assert_eq!(meaning.errors.len(), 1, "{name}");
            assert_eq!(meaning.errors[0].option, name);
            assert!(meaning.errors[0].message.contains(name));
        }
        let both = meaning_of(&json!({"saslcertd_trust": 1, "saslcertd_max_certs": "x"}));
        assert_eq!(both.errors.len(), 2);
    }

    #[test]
    fn trust_comes_with_its_files() {
        let files = |lists: Option<&str>, accept_expired_lists| CaFiles {
            authorities: PathBuf::from("/ca.pem"),
            lists: lists.map(PathBuf::from),
            accept_expired_lists,
        };
        for (options, expected) in [
            (json!({}), Trust::Enrolled),
            (
                json!({"saslcertd_trust": "enrolled", "saslcertd_ca_file": "/ca.pem"}),
                Trust::Enrolled,
            ),
            (
                json!({"saslcertd_trust": "ca", "saslcertd_ca_file": "/ca.pem"}),
                Trust::Ca(files(None, true)),
            ),
            (
                json!({
                    "saslcertd_trust": "enrolled_and_ca", "saslcertd_ca_file": "/ca.pem",
                    "saslcertd_crl_file": "/crl.pem", "saslcertd_crl_expired": "refuse"
                }),
                Trust::EnrolledAndCa(files(Some("/crl.pem"), false)),
            ),
            (
                json!({
                    "saslcertd_trust": "enrolled_or_ca", "saslcertd_ca_file": "/ca.pem",
                    "saslcertd_crl_file": "/crl.pem", "saslcertd_crl_expired": "accept"
                }),
                Trust::EnrolledOrCa(files(Some("/crl.pem"), true)),
            ),
        ] {
            let meaning = meaning_of(&options);
            assert_eq!(meaning.errors, [], "{options}");
            assert_eq!(meaning.policy.trust, expected);
        }
    }

    #[test]
    fn files_without_trust_and_trust_without_files_are_refused() {
        for (options, named) in [
            (json!({"saslcertd_ca_file": "/ca.pem"}), "saslcertd_ca_file"),
            (json!({"saslcertd_trust": "ca"}), "saslcertd_trust"),
            (
                json!({"saslcertd_trust": "ca", "saslcertd_ca_file": "ca.pem"}),
                "saslcertd_ca_file",
            ),
            (
                json!({"saslcertd_trust": "ca", "saslcertd_ca_file": ["/ca.pem"]}),
                "saslcertd_ca_file",
            ),
            (
                json!({"saslcertd_trust": "ca", "saslcertd_ca_file": "/a", "saslcertd_crl_file": 1}),
                "saslcertd_crl_file",
            ),
            (
                json!({"saslcertd_trust": "ca", "saslcertd_ca_file": "/a", "saslcertd_crl_expired": "never"}),
                "saslcertd_crl_expired",
            ),
        ] {
            let meaning = meaning_of(&options);
            let names: Vec<&str> = meaning.errors.iter().map(|e| e.option.as_str()).collect();
            assert_eq!(names, [named], "{options}");
        }
    }

    #[test]
    fn an_unknown_option_is_a_warning_that_suggests_the_right_one() {
        let meaning = meaning_of(&json!({"saslcertd_max_cert": 3}));
        assert_eq!(meaning.errors, []);
        assert!(meaning.warnings[0].message.contains("saslcertd_max_certs"));
    }
}
