//! Which database, as an admin writes it: `host=/run/postgresql dbname=saslcertd`, in libpq's words.
//!
//! A password comes from a file, never from these words: others see the arguments and the environment of a process.
//!
//! Must not know: how it is connected to, what is in it.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};

/// A database, and how its server is met.
#[derive(Clone)]
pub(in crate::store) struct Place {
    pub(super) config: Config,
    /// `None`: without TLS.
    pub(super) tls: Option<Roots>,
    words: String,
    text: String,
}

/// The authorities that a server's certificate has to come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those that the machine trusts.
    Machine,
    /// Those in this file.
    File(PathBuf),
}

/// Why words name no database.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(in crate::store) enum PlaceError {
    #[error("a database is written as key=value, say \"host=/run/postgresql dbname=saslcertd\"")]
    Form,
    #[error(
        "a password has no place there: others can read it. Put it into a file of mode 0600, a line host:port:database:user:password, \
         and name that with passfile=FILE or PGPASSFILE"
    )]
    Password,
    #[error("{key}={value}: {problem}")]
    Value {
        key: String,
        value: String,
        problem: String,
    },
    #[error("it does not say which database: add dbname=NAME")]
    NoName,
    #[error("it does not say where: add host=FOLDER for the folder of its socket, or host=NAME")]
    NoHost,
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.words)
    }
}

impl Place {
    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place that these words name, with what `environment` and the files that it names add.
    ///
    /// Errors: see [`PlaceError`].
    /// Source: PostgreSQL's manual, "Connection Strings", "The Password File", "The Connection Service File".
    pub(in crate::store) fn of(
        text: &str,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, PlaceError> {
        let mut said = pairs(text)?;
        if said.contains_key("password") {
            return Err(PlaceError::Password);
        }
        let service = said.remove("service").or_else(|| environment("PGSERVICE"));
        if let Some(service) = service {
            for (key, value) in service_named(&service, &environment)? {
                said.entry(key).or_insert(value);
            }
        }
        let passfile = said.remove("passfile");
        let passfile = passfile.or_else(|| environment("PGPASSFILE"));
        let mut config = Config::new();
        let (mut mode, mut roots) = (None, Roots::Machine);
        for (key, value) in &said {
            match key.as_str() {
                "sslmode" => mode = Some(value.as_str()),
                "sslrootcert" => roots = Roots::File(value.into()),
                _ => set(&mut config, key, value)?,
            }
        }
        if config.get_dbname().is_none() {
            return Err(PlaceError::NoName);
        }
        if config.get_hosts().is_empty() {
            return Err(PlaceError::NoHost);
        }
        let is_remote = config
            .get_hosts()
            .iter()
            .any(|host| matches!(host, Host::Tcp(_)));
        let tls = match (mode, is_remote) {
            (None | Some("verify-full"), true) => Some(roots),
            (None | Some("disable"), false) | (Some("disable"), true) => None,
            (Some(other), _) => {
                return Err(PlaceError::Value {
                    key: "sslmode".to_owned(),
                    value: other.to_owned(),
                    problem: "over TCP there is verify-full, which it is unless told otherwise, and disable".to_owned(),
                });
            }
        };
        config.ssl_mode(if tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
        // Whoever writes has to reach the server that takes it.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("saslcertd");
        }
        if config.get_password().is_none()
            && let Some(file) = passfile
            && let Some(password) = password_in(Path::new(&file), &config)?
        {
            config.password(password);
        }
        let words = described(&config);
        Ok(Self {
            config,
            tls,
            words,
            text: text.to_owned(),
        })
    }
}

/// The place in words, without what is secret.
fn described(config: &Config) -> String {
    let hosts: Vec<_> = config.get_hosts().iter().map(host_name).collect();
    let user = config.get_user().map(|user| format!(" user={user}"));
    format!(
        "postgresql: host={} dbname={}{}",
        hosts.join(","),
        config.get_dbname().unwrap_or_default(),
        user.unwrap_or_default()
    )
}

fn host_name(host: &Host) -> String {
    match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(folder) => folder.display().to_string(),
    }
}

/// What the crate itself takes, one key at a time.
fn set(config: &mut Config, key: &str, value: &str) -> Result<(), PlaceError> {
    let quoted = value.replace('\\', "\\\\").replace('\'', "\\'");
    let parsed: Result<Config, _> = format!("{key}='{quoted}'").parse();
    let parsed = parsed.map_err(|error| PlaceError::Value {
        key: key.to_owned(),
        value: value.to_owned(),
        problem: std::error::Error::source(&error)
            .map_or_else(|| error.to_string(), ToString::to_string),
    })?;
    match key {
        "user" => drop(config.user(value)),
        "dbname" => drop(config.dbname(value)),
        "password" => drop(config.password(value)),
        "options" => drop(config.options(value)),
        "application_name" => drop(config.application_name(value)),
        "host" => {
            for host in value.split(',') {
                config.host(host);
            }
        }
        "hostaddr" => {
            for address in parsed.get_hostaddrs() {
                config.hostaddr(*address);
            }
        }
        "port" => {
            for port in parsed.get_ports() {
                config.port(*port);
            }
        }
        "channel_binding" => drop(config.channel_binding(parsed.get_channel_binding())),
        "load_balance_hosts" => drop(config.load_balance_hosts(parsed.get_load_balance_hosts())),
        // Any other server could not be written to.
        "target_session_attrs"
            if parsed.get_target_session_attrs() == TargetSessionAttrs::ReadWrite => {}
        _ => {
            return Err(PlaceError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                problem: "saslcertd sets this itself".to_owned(),
            });
        }
    }
    Ok(())
}

/// `key=value key='a value'`; in it, a backslash stands before what is meant as it is.
fn pairs(text: &str) -> Result<BTreeMap<String, String>, PlaceError> {
    let mut pairs = BTreeMap::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, behind) = rest.split_once('=').ok_or(PlaceError::Form)?;
        let key = key.trim_end();
        let is_key = |letter: char| letter.is_ascii_lowercase() || letter == '_';
        if key.is_empty() || !key.chars().all(is_key) {
            return Err(PlaceError::Form);
        }
        let behind = behind.trim_start();
        let (is_quoted, behind) = match behind.strip_prefix('\'') {
            Some(inside) => (true, inside),
            None => (false, behind),
        };
        let (mut value, mut is_closed) = (String::new(), !is_quoted);
        let mut letters = behind.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => value.extend(letters.next()),
                '\'' if is_quoted => {
                    is_closed = true;
                    break;
                }
                letter if !is_quoted && letter.is_whitespace() => break,
                letter => value.push(letter),
            }
        }
        if !is_closed {
            return Err(PlaceError::Form);
        }
        pairs.insert(key.to_owned(), value);
        rest = letters.as_str().trim_start();
    }
    Ok(pairs)
}

/// The words of a service in the first of libpq's files that has it.
fn service_named(
    service: &str,
    environment: &impl Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, PlaceError> {
    let own = environment("PGSERVICEFILE")
        .or_else(|| environment("HOME").map(|home| format!("{home}/.pg_service.conf")));
    let of_machine =
        environment("PGSYSCONFDIR").unwrap_or_else(|| "/etc/postgresql-common".to_owned());
    let files = own
        .into_iter()
        .chain([format!("{of_machine}/pg_service.conf")]);
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let mut lines = text.lines().map(str::trim);
        if !lines.any(|line| {
            line.strip_prefix('[')
                .and_then(|line| line.strip_suffix(']'))
                == Some(service)
        }) {
            continue;
        }
        let own = lines.take_while(|line| !line.starts_with('['));
        let own = own.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let pair = |line: &str| {
            let (key, value) = line.split_once('=')?;
            Some((key.trim().to_owned(), value.trim().to_owned()))
        };
        let found: BTreeMap<_, _> = own.filter_map(pair).collect();
        if found.contains_key("password") {
            require_private(Path::new(&file))?;
        }
        return Ok(found);
    }
    Err(PlaceError::Value {
        key: "service".to_owned(),
        value: service.to_owned(),
        problem: "no service file has it".to_owned(),
    })
}

/// The password of the first line that fits.
fn password_in(file: &Path, config: &Config) -> Result<Option<String>, PlaceError> {
    require_private(file)?;
    let text = fs::read_to_string(file).map_err(|error| PlaceError::File {
        path: file.display().to_string(),
        problem: error.to_string(),
    })?;
    let hosts: Vec<String> = config
        .get_hosts()
        .iter()
        .map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(_) => "localhost".to_owned(),
        })
        .collect();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or_default();
    let name = config.get_dbname().unwrap_or_default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some([host, of_port, database, of_user, password]) = fields(line) else {
            continue;
        };
        let fits = |field: &str, value: &str| field == "*" || field == value;
        if hosts.iter().any(|own| fits(&host, own))
            && fits(&of_port, &port.to_string())
            && fits(&database, name)
            && fits(&of_user, user)
        {
            return Ok(Some(password));
        }
    }
    Ok(None)
}

/// The five fields of a line; a backslash stands before a colon that ends none.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = vec![String::new()];
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => fields.last_mut()?.extend(letters.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            letter => fields.last_mut()?.push(letter),
        }
    }
    fields.try_into().ok()
}

/// Errors: others than its owner may read the file.
fn require_private(file: &Path) -> Result<(), PlaceError> {
    let path = file.display().to_string();
    let found = fs::metadata(file).map_err(|error| PlaceError::File {
        path: path.clone(),
        problem: error.to_string(),
    })?;
    let others = 0o077;
    if found.permissions().mode() & others == 0 {
        return Ok(());
    }
    Err(PlaceError::File {
        problem: format!("others may read it, and a password stands in it: chmod 0600 {path}"),
        path,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn refused(text: &str) -> String {
        Place::of(text, nothing).err().unwrap().to_string()
    }

    #[test]
    fn words_are_read_as_libpq_reads_them() {
        let place = Place::of(
            r"host = /run/postgresql dbname='a b\'c' user=o\ x port=5433",
            nothing,
        )
        .unwrap();
        assert_eq!(place.config.get_dbname(), Some("a b'c"));
        assert_eq!(place.config.get_user(), Some("o x"));
        assert_eq!(place.config.get_ports(), [5433]);
        assert_eq!(place.tls, None);
        assert_eq!(
            place.to_string(),
            "postgresql: host=/run/postgresql dbname=a b'c user=o x"
        );
    }

    #[test]
    fn over_tcp_the_server_has_to_prove_its_name_unless_told_otherwise() {
        for (text, tls) in [
            ("host=db.example dbname=s", Some(Roots::Machine)),
            (
                "host=db.example dbname=s sslmode=verify-full sslrootcert=/ca",
                Some(Roots::File("/ca".into())),
            ),
            ("host=db.example dbname=s sslmode=disable", None),
            ("host=/run dbname=s", None),
        ] {
            assert_eq!(Place::of(text, nothing).unwrap().tls, tls, "{text}");
        }
        for mode in ["require", "prefer", "verify-ca", "allow"] {
            let refused = refused(&format!("host=db.example dbname=s sslmode={mode}"));
            assert!(refused.contains("verify-full"), "{refused}");
        }
    }

    #[test]
    fn a_password_is_taken_from_a_private_file_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        fs::write(&file, "# none\nother:*:*:*:no\ndb.example:*:s:u:a\\:b\n").unwrap();
        let path = file.display().to_string();
        let text = format!("host=db.example dbname=s user=u passfile={path}");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(refused(&text).contains("chmod 0600"), "{}", refused(&text));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        let place = Place::of(&text, nothing).unwrap();
        assert_eq!(place.config.get_password(), Some(&b"a:b"[..]));
        assert!(!place.to_string().contains("a:b"), "{place}");
        let by_environment = |name: &str| (name == "PGPASSFILE").then(|| path.clone());
        let place = Place::of("host=db.example dbname=s user=u", by_environment).unwrap();
        assert_eq!(place.config.get_password(), Some(&b"a:b"[..]));
        let said = refused("host=/run dbname=s password=x");
        assert!(said.contains("no place"), "{said}");
    }

    #[test]
    fn a_service_says_what_the_words_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("services");
        fs::write(
            &file,
            "[other]\nhost=no\n[one]\n# here\nhost=/run/a\ndbname = b\n[third]\nport=1\n",
        )
        .unwrap();
        let environment =
            |name: &str| (name == "PGSERVICEFILE").then(|| file.display().to_string());
        let place = Place::of("service=one dbname=c", environment).unwrap();
        assert_eq!(place.to_string(), "postgresql: host=/run/a dbname=c");
        let missing = Place::of("service=two", environment).err().unwrap();
        assert!(missing.to_string().contains("no service file has it"));
    }

    #[test]
    fn what_is_missing_or_unknown_is_said() {
        for (text, expected) in [
            ("saslcertd", "key=value"),
            ("postgresql://host/db", "key=value"),
            ("host=/run", "dbname=NAME"),
            ("dbname=s", "host=FOLDER"),
            ("host=/run dbname=s keepalives=0", "sets this itself"),
            (
                "host=/run dbname=s target_session_attrs=any",
                "sets this itself",
            ),
            ("host=/run dbname=s colour=red", "unknown option"),
            ("host=/run dbname='s", "key=value"),
        ] {
            let said = refused(text);
            assert!(said.contains(expected), "{text}: {said}");
        }
    }
}
