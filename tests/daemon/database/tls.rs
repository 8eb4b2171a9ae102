//! The database over TCP: with TLS, by a certificate that names its server, and a password from a file.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use super::server;
use crate::support::{Daemon, HAMLET, Made, PATIENCE, PostgreSql, named};

/// TLS of the server's, on while this is there.
struct Tls(File);

/// TLS of the server's, off while this is there: nobody else is in these tests.
struct WithoutTls(File);

impl Tls {
    fn there() -> Self {
        let turn = turn();
        turn.lock_shared().unwrap();
        Self(turn)
    }
}

impl WithoutTls {
    fn there() -> Self {
        let turn = turn();
        turn.lock().unwrap();
        switch("off");
        Self(turn)
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        self.0.unlock().unwrap();
    }
}

impl Drop for WithoutTls {
    fn drop(&mut self) {
        switch("on");
        self.0.unlock().unwrap();
    }
}

/// The server is one for all tests, and so is its TLS.
fn turn() -> File {
    File::create(server().folder().join("turn")).unwrap()
}

fn switch(to: &str) {
    let server = server();
    server.run(&format!("ALTER SYSTEM SET ssl = {to}"));
    server.run("SELECT pg_reload_conf()");
    let start = Instant::now();
    while setting("ssl") != to {
        assert!(start.elapsed() < PATIENCE, "TLS is not {to}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn setting(name: &str) -> String {
    let database = format!("host={} user=postgres", server().folder().display());
    let said = PostgreSql::asked(&database, &format!("SHOW {name}"));
    String::from_utf8(said).unwrap().trim().to_owned()
}

/// The authority of the server's certificate.
fn authority() -> String {
    let file = server().folder().join("tls/ca.pem");
    file.display().to_string()
}

/// A file in the daemon's folder that the words can name.
fn passwords(daemon: &Daemon, password: &str, mode: u32) -> PathBuf {
    let file = daemon.folder.path().join("passwords");
    std::fs::write(&file, format!("*:*:*:saslcertd:{password}\n")).unwrap();
    std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    file
}

/// The database over TCP, with more words.
fn over_tcp(daemon: &Daemon, host: &str, more: &str) -> String {
    let name = daemon.database_name().replace('"', "");
    let passwords = daemon.folder.path().join("passwords");
    format!(
        "{host} port={} dbname={name} user=saslcertd passfile={} {more}",
        setting("port"),
        passwords.display()
    )
}

/// As the server's administrator has written it: a colon ends a field there.
const PASSWORD: &str = "a\\: secret";

#[test]
fn daemons_serve_over_tls_and_a_revocation_counts_at_each() {
    let _tls = Tls::there();
    let mut here = Daemon::prepared();
    passwords(&here, PASSWORD, 0o600);
    let verified = format!("sslmode=verify-full sslrootcert={}", authority());
    here.words = Some(over_tcp(&here, "host=localhost", &verified));
    here.serve();
    let there = here.beside();
    let (mut one, mut other) = (here.server(json!({})), there.server(json!({})));
    let cert = Made::of(HAMLET);
    one.append("phone", &cert);
    assert_eq!(other.login(&cert)["username"], "hamlet");
    one.ask("certificate.revoke", named("phone"));
    assert_eq!(other.any_question()["method"], "sessions.close");
    other.login_refused(&cert);
    // All connections of both, and none goes another way.
    let ways = format!(
        "SELECT DISTINCT client_addr, ssl, version FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
         WHERE application_name = 'saslcertd' AND datname = {}",
        here.database_name().replace('"', "'")
    );
    let ways = PostgreSql::asked(&here.database(&server(), "postgres"), &ways);
    assert_eq!(String::from_utf8(ways).unwrap(), "127.0.0.1|t|TLSv1.3\n");
}

#[test]
fn a_server_that_does_not_prove_its_name_and_a_password_that_is_not_right_are_refused_in_words() {
    let _tls = Tls::there();
    let mut daemon = Daemon::prepared();
    let folder = daemon.folder.path().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let other = Made::with(key, |params| {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    let pem = pem_of(&other);
    let others = folder.join("others.pem");
    std::fs::write(&others, pem).unwrap();
    let none = folder.join("none.pem");
    std::fs::write(&none, "").unwrap();
    let (own, others, none) = (authority(), others.display(), none.display());
    let own = format!("sslrootcert={own}");
    for (host, more, password, mode, expected) in [
        (
            "host=localhost",
            format!("sslrootcert={others}"),
            PASSWORD,
            0o600,
            &[
                "its certificate is refused",
                "UnknownIssuer",
                "sslrootcert=FILE",
            ][..],
        ),
        // Those of the machine do not vouch for it, either.
        (
            "host=localhost",
            String::new(),
            PASSWORD,
            0o600,
            &["sslrootcert=FILE"],
        ),
        (
            "host=localhost",
            format!("sslrootcert={none}"),
            PASSWORD,
            0o600,
            &["there is no authority"],
        ),
        (
            "host=db.example hostaddr=127.0.0.1",
            own.clone(),
            PASSWORD,
            0o600,
            &["its certificate is refused", "db.example", "host=NAME"],
        ),
        (
            "host=localhost",
            own.clone(),
            "wrong",
            0o600,
            &["password authentication failed", "passfile=FILE"],
        ),
        (
            "host=localhost",
            own.clone(),
            PASSWORD,
            0o644,
            &["others may read it", "chmod 0600"],
        ),
    ] {
        passwords(&daemon, password, mode);
        let words = over_tcp(&daemon, host, &more);
        daemon.words = Some(words.clone());
        let refused = daemon.refusal();
        for said in expected {
            assert!(refused.contains(said), "{words}: {said}: {refused}");
        }
        assert!(!refused.contains("secret"), "{refused}");
    }
    // The same, as it has to be.
    passwords(&daemon, PASSWORD, 0o600);
    daemon.words = Some(over_tcp(&daemon, "host=localhost", &own));
    daemon.serve();
}

#[test]
fn a_server_without_tls_is_refused_unless_told_otherwise() {
    let _turn = WithoutTls::there();
    let mut daemon = Daemon::prepared();
    passwords(&daemon, PASSWORD, 0o600);
    let verified = format!("sslrootcert={}", authority());
    daemon.words = Some(over_tcp(&daemon, "host=localhost", &verified));
    let refused = daemon.refusal();
    assert!(refused.contains("TLS is off at the server"), "{refused}");
    assert!(refused.contains("ssl = on"), "{refused}");
    daemon.words = Some(over_tcp(&daemon, "host=localhost", "sslmode=disable"));
    daemon.serve();
}

fn pem_of(cert: &Made) -> String {
    let text = cert.base64();
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
