//! How fast questions are answered, as a ratio to a bare echo over the same kind of socket in the same run: that
//! is the physical limit of one thread at each end. `cargo bench`; absolute numbers mean little on a shared machine.

#![allow(
    clippy::cast_precision_loss,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used
)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use saslcertd::identity::{ScramHash, ScramVerifier, Secret};
use serde_json::{Value, json};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let (data, socket) = (folder.path().join("data"), folder.path().join("socket"));
    let saslcertd = |command: &str| {
        let mut run = Command::new(env!("CARGO_BIN_EXE_saslcertd"));
        run.arg(command)
            .arg("--data-dir")
            .arg(&data)
            .arg("--socket")
            .arg(&socket);
        run.stdout(Stdio::null()).stderr(Stdio::null());
        run
    };
    assert!(saslcertd("init").status().unwrap().success());
    let mut daemon = saslcertd("serve")
        .args(["--server-user", "0", "--log", "error"])
        .spawn()
        .unwrap();
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the daemon does not start"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
    let certificate = certificate();
    ask(
        &socket,
        "session.hello",
        &json!({
            "protocol": 2, "software": "bench",
            "hosts": [{"host": "shakespeare.lit", "options": {"saslcertd_max_certs": 1_000_000}}],
        }),
    );
    ask(
        &socket,
        "certificate.append",
        &append("phone", &certificate),
    );
    let offer = json!({"host": "shakespeare.lit", "chain": [certificate]});
    let login = json!({
        "host": "shakespeare.lit", "chain": [certificate], "authzid": null, "address": "192.0.2.7",
        "accounts": [{"username": "hamlet", "exists": true, "enabled": true, "incarnation": "one"}],
    });
    let echo = folder.path().join("echo");
    serve_echo(&echo);
    println!("question          depth   a second   of an echo");
    for depth in [1, 16, 64] {
        let limit = rate(&echo, "external.login", &login, depth, 20_000);
        for (method, params) in [("external.offer", &offer), ("external.login", &login)] {
            let rate = rate(&socket, method, params, depth, 20_000);
            println!(
                "{method:<16} {depth:>6} {rate:>10.0} {:>11.0} %",
                100.0 * rate / limit
            );
        }
        println!("{:<16} {depth:>6} {limit:>10.0}         100 %", "echo");
    }
    authorities(&socket, folder.path(), &login);
    passwords(&socket, &login);
    let appends = appends(&socket, 64, 2_000);
    println!(
        "certificate.append, 64 at a time, each on the disk when answered: {appends:.0} a second"
    );
    daemon.kill().unwrap();
    daemon.wait().unwrap();
}

/// What it costs to find the way to an authority, over one between, with revocation lists of both: three signatures of
/// certificates and two of lists.
fn authorities(socket: &Path, folder: &Path, enrolled: &Value) {
    let authority = |name: &str| {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = dated();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params, key)
    };
    let (root_params, root_key) = authority("Denmark Root");
    let root = root_params.self_signed(&root_key).unwrap();
    let issuer = Issuer::new(root_params, root_key);
    let (params, key) = authority("Elsinore");
    let between = params.signed_by(&key, &issuer).unwrap();
    let department = Issuer::new(params, key);
    let mut params = dated();
    let address = (vec![1, 3, 6, 1, 5, 5, 7, 8, 5], "hamlet@denmark.lit".into());
    params.subject_alt_names = vec![SanType::OtherName(address)];
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let leaf = params.signed_by(&key, &department).unwrap();
    let list = |issuer: &Issuer<'_, KeyPair>| {
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 1, 1),
            next_update: rcgen::date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    };
    let (ca_file, crl_file) = (folder.join("ca.pem"), folder.join("crl.pem"));
    std::fs::write(&ca_file, root.pem()).unwrap();
    std::fs::write(&crl_file, list(&issuer) + &list(&department)).unwrap();
    let mut login = enrolled.clone();
    login["host"] = json!("denmark.lit");
    login["chain"] = json!([BASE64.encode(leaf.der()), BASE64.encode(between.der())]);
    for (what, lists) in [("one between", false), ("with revocation lists", true)] {
        let mut options = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": ca_file});
        if lists {
            options["saslcertd_crl_file"] = json!(crl_file);
        }
        let hosts = json!([{"host": "denmark.lit", "options": options}]);
        let hello = json!({"protocol": 2, "software": "bench", "hosts": hosts});
        ask(socket, "session.hello", &hello);
        for depth in [1, 16] {
            let plain = rate(socket, "external.login", enrolled, depth, 5_000);
            let vouched = rate(socket, "external.login", &login, depth, 5_000);
            println!(
                "external.login by an authority, {what}, depth {depth}: {vouched:.0} a second, {:.0} % of an enrolled one",
                100.0 * vouched / plain
            );
        }
    }
}

/// PLAIN against the bare derivation on one core, and what a flood of it does to logins with a certificate.
fn passwords(socket: &Path, login: &Value) {
    let hello = json!({
        "protocol": 2, "software": "bench",
        "hosts": [{"host": "rome.lit", "accounts": "daemon", "options": {}}],
    });
    ask(socket, "session.hello", &hello);
    let account = json!({"account": "brutus@rome.lit", "password": "et tu?", "caller": "server"});
    ask(socket, "account.create", &account);
    let secret = Secret::prepare("et tu?").unwrap();
    let start = Instant::now();
    for number in 0..200_u8 {
        std::hint::black_box(ScramVerifier::derive(
            ScramHash::Sha256,
            &secret,
            &[number; 16],
            10_000,
        ));
    }
    let bare = 200.0 / start.elapsed().as_secs_f64();
    let verify = json!({"account": "brutus@rome.lit", "password": "et tu?", "address": null});
    let cores = std::thread::available_parallelism().unwrap().get();
    for depth in [1, 2 * cores] {
        let rate = rate(socket, "account.verify", &verify, depth, 400);
        println!(
            "account.verify   {depth:>6} {rate:>10.0} {:>11.0} % of a bare derivation on one core",
            100.0 * rate / bare
        );
    }
    let scram = json!({"account": "nobody@rome.lit", "hash": "SHA-256"});
    let scram = rate(socket, "account.scram", &scram, 16, 20_000);
    println!("account.scram        16 {scram:>10.0}");
    let quiet = rate(socket, "external.login", login, 1, 5_000);
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let flooded = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                // Most of them are sent away at once.
                flood(socket, &verify, 200);
            }
        });
        let flooded = rate(socket, "external.login", login, 1, 5_000);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        flooded
    });
    println!(
        "external.login during a flood of passwords: {flooded:.0} a second, {:.0} % of those without",
        100.0 * flooded / quiet
    );
}

fn flood(socket: &Path, verify: &Value, count: usize) {
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": "account.verify", "params": verify});
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    stream
        .write_all(format!("{line}\n").repeat(count).as_bytes())
        .unwrap();
    let mut answer = String::new();
    for _ in 0..count {
        lines.read_line(&mut answer).unwrap();
    }
}

/// Answers a second, with `depth` questions in flight.
fn rate(socket: &Path, method: &str, params: &Value, depth: usize, count: usize) -> f64 {
    let line =
        json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string() + "\n";
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    // Nobody logs in without it.
    let hello = json!({"protocol": 2, "software": "bench", "hosts": []});
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "session.hello", "params": hello});
    stream.write_all(format!("{hello}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    lines.read_line(&mut answer).unwrap();
    let batch = line.repeat(depth);
    let start = Instant::now();
    for _ in 0..count / depth {
        stream.write_all(batch.as_bytes()).unwrap();
        for _ in 0..depth {
            answer.clear();
            lines.read_line(&mut answer).unwrap();
        }
    }
    let rate = (count / depth * depth) as f64 / start.elapsed().as_secs_f64();
    assert!(!answer.contains("\"error\""), "{answer}");
    rate
}

fn appends(socket: &Path, depth: usize, count: usize) -> f64 {
    let names: Vec<String> = (0..count).map(|number| format!("n{number}")).collect();
    // Changes of one account are written one after the other; of many, in groups.
    let batches: Vec<String> = names.chunks(depth).map(|names| {
        names.iter().enumerate().map(|(number, name)| {
            let mut params = append(name, &certificate());
            params["account"] = format!("hamlet{number}@shakespeare.lit").into();
            params["certificate"] = certificate_of(&format!("hamlet{number}@shakespeare.lit")).into();
            json!({"jsonrpc": "2.0", "id": 1, "method": "certificate.append", "params": params}).to_string() + "\n"
        }).collect()
    }).collect();
    let mut stream = UnixStream::connect(socket).unwrap();
    let mut lines = BufReader::new(stream.try_clone().unwrap());
    let start = Instant::now();
    for batch in &batches {
        stream.write_all(batch.as_bytes()).unwrap();
        for _ in 0..batch.lines().count() {
            let mut answer = String::new();
            lines.read_line(&mut answer).unwrap();
            assert!(answer.contains("\"result\""), "{answer}");
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn serve_echo(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 64 * 1024];
                while let Ok(count @ 1..) = std::io::Read::read(&mut stream, &mut buffer) {
                    stream.write_all(buffer.get(..count).unwrap()).unwrap();
                }
            });
        }
    });
}

fn ask(socket: &Path, method: &str, params: &Value) {
    let mut stream = UnixStream::connect(socket).unwrap();
    let line = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    writeln!(stream, "{line}").unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    assert!(answer.contains("\"result\""), "{answer}");
}

fn append(name: &str, certificate: &str) -> Value {
    json!({
        "account": "hamlet@shakespeare.lit", "incarnation": "one", "name": name, "certificate": certificate,
        "may_manage": true, "session": {"secure": true, "by": "password", "jid": null, "address": null},
    })
}

fn certificate() -> String {
    certificate_of("hamlet@shakespeare.lit")
}

fn dated() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2096, 1, 1);
    params
}

fn certificate_of(jid: &str) -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let mut params = dated();
    let address = (vec![1, 3, 6, 1, 5, 5, 7, 8, 5], jid.into());
    params.subject_alt_names = vec![SanType::OtherName(address)];
    BASE64.encode(params.self_signed(&key).unwrap().der())
}
