//! Certificates of authorities: `saslcertd_trust` other than "enrolled", and the files that belong to it.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::signal::Signal;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, RevokedCertParams, SanType, SerialNumber,
    SignatureAlgorithm,
};
use serde_json::{Value, json};

use crate::support::{Daemon, HAMLET, HOST, Made, ONE, Peer, append, hello, login, named, with};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        Self::with_key(name, &PKCS_ECDSA_P256_SHA256)
    }

    fn with_key(name: &str, algorithm: &'static SignatureAlgorithm) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        let key = KeyPair::generate_for(algorithm).unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            pem: cert.pem(),
            der: cert.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate of `jid`.
    fn issued(&self, jid: &str, serial: u64) -> Made {
        self.issued_for(jid, serial, &[])
    }

    /// One for these purposes.
    fn issued_for(&self, jid: &str, serial: u64, purposes: &[ExtendedKeyUsagePurpose]) -> Made {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::default();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        params.subject_alt_names = vec![SanType::OtherName((
            vec![1, 3, 6, 1, 5, 5, 7, 8, 5],
            jid.into(),
        ))];
        params.extended_key_usages = purposes.to_vec();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().to_vec();
        Made { der, key }
    }

    fn list(&self, serials: &[u64]) -> String {
        self.list_of(1, serials)
    }

    /// One of that day of February.
    fn list_of(&self, day: u8, serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: rcgen::date_time_ymd(2026, 2, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: rcgen::date_time_ymd(2026, 2, day),
            next_update: rcgen::date_time_ymd(2096, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

/// The files of one host.
struct Files {
    authorities: PathBuf,
    lists: PathBuf,
}

impl Files {
    fn of(daemon: &Daemon) -> Self {
        Self {
            authorities: daemon.folder.path().join("ca.pem"),
            lists: daemon.folder.path().join("crl.pem"),
        }
    }

    fn options(&self, trust: &str) -> Value {
        json!({"saslcertd_trust": trust, "saslcertd_ca_file": self.authorities})
    }

    fn options_with_list(&self, trust: &str) -> Value {
        with(self.options(trust), "saslcertd_crl_file", json!(self.lists))
    }

    /// As a careful admin does it.
    fn replace(path: &PathBuf, text: &str) {
        let new = path.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, path).unwrap();
    }
}

fn denial(server: &mut Peer, cert: &Made) -> String {
    server.login_refused(cert)["data"]["denial"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn an_authoritys_certificate_logs_in_without_being_enrolled() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, other) = (Authority::new("Denmark"), Authority::new("Norway"));
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let (cert, foreign) = (ours.issued(HAMLET, 7), other.issued(HAMLET, 7));
    let mut server = daemon.server(files.options("ca"));
    let offered = server.ask(
        "external.offer",
        json!({"host": HOST, "chain": [cert.base64()]}),
    );
    let candidate = json!({"username": "hamlet", "incarnation": null});
    assert_eq!(offered["offer"], true);
    assert_eq!(offered["candidates"], json!([candidate]));
    let answer = server.login(&cert);
    assert_eq!(
        (&answer["username"], &answer["name"]),
        (&json!("hamlet"), &Value::Null)
    );
    assert_eq!(
        (&answer["incarnation"], &answer["may_manage"]),
        (&json!(ONE), &json!(false))
    );
    assert!(answer["path"]["authority"].is_string());
    // Shown or not, what a stranger brings along makes no authority.
    let with_root = json!([foreign.base64(), BASE64.encode(&other.der)]);
    let refused = server.refused("external.login", with(login(&foreign), "chain", with_root));
    assert_eq!(refused["data"]["denial"], "chain-untrusted");
    assert_eq!(refused["data"]["sasl"], "not-authorized");
    let refused = server.refused("certificate.append", append("phone", &cert));
    assert_eq!(refused["data"]["stanza"]["condition"], "not-allowed");
    for question in [
        "certificate.list",
        "certificate.disable",
        "certificate.revoke",
    ] {
        let refused = server.refused(question, named("phone"));
        assert_eq!(refused["data"]["denial"], "no-list", "{question}");
    }
    let mut daemon = daemon;
    daemon.wait_for("reason in the log", |daemon| {
        daemon
            .log()
            .contains("no authority of the file has issued it")
    });
}

#[test]
fn the_hello_says_whether_there_are_lists_and_whether_the_chain_counts() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    std::fs::write(&files.authorities, Authority::new("Denmark").pem).unwrap();
    for (trust, lists, chain) in [
        ("enrolled", true, false),
        ("ca", false, true),
        ("enrolled_and_ca", true, true),
        ("enrolled_or_ca", true, true),
    ] {
        let answer = daemon
            .peer()
            .ask("session.hello", hello(HOST, files.options(trust)));
        assert_eq!(answer["hosts"][0]["lists"], lists, "{trust}");
        assert_eq!(answer["hosts"][0]["chain"], chain, "{trust}");
        assert_eq!(answer["hosts"][0]["warnings"], json!([]), "{trust}");
    }
}

#[test]
fn both_or_either_may_be_asked_for() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let (cert, own) = (ours.issued(HAMLET, 7), Made::of(HAMLET));
    let mut server = daemon.server(files.options("enrolled_and_ca"));
    assert_eq!(denial(&mut server, &cert), "cert-unknown");
    let refused = server.refused("certificate.append", append("phone", &own));
    assert_eq!(refused["data"]["denial"], "chain-untrusted");
    server.append("card", &cert);
    let answer = server.login(&cert);
    assert_eq!(answer["name"], "card");
    assert!(answer["path"].is_object(), "{answer}");

    let mut server = daemon.server(files.options("enrolled_or_ca"));
    let (listed, unlisted) = (server.login(&cert), ours.issued(HAMLET, 8));
    assert_eq!(
        (&listed["name"], &listed["path"]),
        (&json!("card"), &Value::Null)
    );
    server.append("phone", &own);
    assert_eq!(server.login(&own)["name"], "phone");
    assert_eq!(server.login(&unlisted)["name"], Value::Null);
    // A certificate that the user has taken out stays out, even if an authority vouches for it.
    server.ask("certificate.disable", named("card"));
    assert_eq!(denial(&mut server, &cert), "cert-disabled");
    server.append("card", &unlisted);
    server.ask("certificate.revoke", named("card"));
    assert_eq!(denial(&mut server, &unlisted), "key-revoked");
}

/// The same certificate, its ECDSA signature (r, s) written as (r, n - s).
fn with_other_signature(der: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    // The signature is the last of it: BIT STRING { SEQUENCE { INTEGER, INTEGER } }, of 68 to 72 bytes.
    let length = |header: &usize| usize::from(der[der.len() - header + 1]) + 2 == *header;
    let start = (66..=76).find(|left| der[der.len() - left] == 3 && length(left));
    let start = der.len() - start.unwrap();
    let (content, written) = (&der[4..start], &der[start + 3..]);
    let r = &written[2..4 + usize::from(written[3])];
    let s = &written[4 + r.len()..];
    let order = (0..32).map(|at| u8::from_str_radix(&ORDER[2 * at..2 * at + 2], 16).unwrap());
    let order: Vec<u8> = order.collect();
    let mut other = vec![0; 32];
    let mut borrowed = 0;
    for at in 0..32 {
        let digit = s.len().checked_sub(at + 1).map_or(0, |from| s[from]);
        let left = i32::from(order[31 - at]) - i32::from(digit) - borrowed;
        borrowed = i32::from(left < 0);
        other[31 - at] = u8::try_from(left.rem_euclid(256)).unwrap();
    }
    while other[0] == 0 {
        other.remove(0);
    }
    if other[0] >= 0x80 {
        other.insert(0, 0);
    }
    let value = |tag: u8, parts: &[&[u8]]| {
        let content = parts.concat();
        let length = u8::try_from(content.len()).unwrap();
        [&[tag, length], content.as_slice()].concat()
    };
    let signature = value(0x30, &[r, &value(2, &[&other])]);
    let all = [content, &value(3, &[&[0], &signature])].concat();
    let length = u16::try_from(all.len()).unwrap().to_be_bytes();
    [&[0x30, 0x82, length[0], length[1]], all.as_slice()].concat()
}

#[test]
fn a_disabled_certificate_does_not_come_back_by_its_other_signature() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let cert = ours.issued(HAMLET, 7);
    let twin = Made {
        der: with_other_signature(&cert.der),
        key: KeyPair::try_from(cert.key.serialize_der()).unwrap(),
    };
    assert_ne!(cert.der, twin.der);
    let mut server = daemon.server(files.options("enrolled_or_ca"));
    // The authority has signed it, too.
    assert_eq!(server.login(&twin)["name"], Value::Null);
    server.append("card", &cert);
    server.ask("certificate.disable", named("card"));
    for trust in ["enrolled_or_ca", "ca"] {
        let mut server = daemon.server(files.options(trust));
        for cert in [&cert, &twin] {
            assert_eq!(denial(&mut server, cert), "cert-disabled", "{trust}");
        }
        // Another key is another matter.
        server.login(&ours.issued(HAMLET, 8));
    }
}

#[test]
fn a_session_that_only_an_authority_admits_manages_nothing() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let mut server = daemon.server(files.options("enrolled_or_ca"));
    let cert = ours.issued(HAMLET, 7);
    let session = crate::support::by_certificate(&server.login(&cert));
    let wish = with(append("phone", &Made::of(HAMLET)), "session", session);
    let refused = server.refused("certificate.append", wish);
    assert_eq!(refused["data"]["denial"], "management-forbidden");
}

#[test]
fn who_is_put_on_a_list_is_out_at_once() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    std::fs::write(&files.lists, ours.list(&[])).unwrap();
    let (stolen, kept) = (ours.issued(HAMLET, 7), ours.issued(HAMLET, 8));
    let mut server = daemon.server(files.options_with_list("ca"));
    for (cert, resource) in [(&stolen, "phone"), (&kept, "desk")] {
        let mut session = server.login(cert);
        session["account"] = json!(HAMLET);
        session["resource"] = json!(resource);
        let answer = server.ask("session.report", json!({"sessions": [session]}));
        assert_eq!(answer["close"], json!([]));
    }
    let before = server.login(&stolen);
    Files::replace(&files.lists, &ours.list(&[7]));
    // Without being told to.
    let closing = server.question("sessions.close");
    assert_eq!(
        (&closing["account"], &closing["key_id"]),
        (&json!(HAMLET), &before["key_id"])
    );
    assert_eq!(denial(&mut server, &stolen), "chain-revoked");
    server.login(&kept);
    assert!(server.asked.is_empty(), "{:?}", server.asked);
    // Neither does it come back over a connection that has missed it.
    let mut again = daemon.server(files.options_with_list("ca"));
    let session = json!({
        "account": HAMLET, "resource": "phone", "fingerprint": before["fingerprint"], "key_id": before["key_id"],
        "incarnation": ONE, "path": before["path"],
    });
    let answer = again.ask("session.report", json!({"sessions": [session]}));
    let closed = answer["close"].as_array().unwrap();
    assert_eq!(closed.len(), 1, "{answer}");
    assert_eq!(
        (&closed[0]["account"], &closed[0]["key_id"]),
        (&json!(HAMLET), &before["key_id"])
    );
}

#[test]
fn a_list_that_somebody_else_has_signed_closes_nothing_and_hides_nothing() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, impostor) = (Authority::new("Denmark"), Authority::new("Denmark"));
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    std::fs::write(&files.lists, ours.list(&[])).unwrap();
    let (stolen, kept) = (ours.issued(HAMLET, 7), ours.issued(HAMLET, 8));
    let mut server = daemon.server(files.options_with_list("ca"));
    let (out, stays) = (server.login(&stolen), server.login(&kept));
    let both = json!({"sessions": [session(&out, Some("phone")), session(&stays, Some("desk"))]});
    assert_eq!(server.ask("session.report", both)["close"], json!([]));
    // The newer one is of the same name; it names the one, and the genuine one the other.
    let lists = ours.list_of(2, &[7]) + &impostor.list_of(3, &[8]);
    Files::replace(&files.lists, &lists);
    daemon.signal(Signal::SIGHUP);
    assert_eq!(server.question("sessions.close")["key_id"], out["key_id"]);
    assert_eq!(denial(&mut server, &stolen), "chain-revoked");
    server.login(&kept);
    assert!(server.asked.is_empty(), "{:?}", server.asked);
    // It is named everywhere.
    let problem = "its signature fits none of the authorities of that name";
    let status = daemon.peer().ask("status", json!({}));
    let shown = &status["hosts"][0]["authorities"]["crl_file"]["lists"];
    assert_eq!(shown[0]["problem"], problem, "{status}");
    assert_eq!(shown[1]["problem"], Value::Null, "{status}");
    let said = daemon.command("status").output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(
        text.contains("WARNING: ") && text.contains(problem),
        "{text}"
    );
    // Other logins are none the worse for it.
    assert!(said.status.success());
    daemon.wait_for("the log", |daemon| daemon.log().contains(problem));
}

#[test]
fn a_private_key_beside_the_authorities_is_warned_of_and_they_count_all_the_same() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    let warned = |daemon: &Daemon| {
        let status = daemon.peer().ask("status", json!({}));
        let said = &status["hosts"][0]["authorities"];
        let text = String::from_utf8(daemon.command("status").output().unwrap().stdout).unwrap();
        let of_file = |file: &str| said[file]["private_key"] == json!(true);
        (
            of_file("ca_file"),
            of_file("crl_file"),
            text.matches("WARNING: ").count(),
        )
    };
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    std::fs::write(&files.lists, ours.list(&[])).unwrap();
    let mut server = daemon.server(files.options_with_list("ca"));
    assert_eq!(warned(&daemon), (false, false, 0));
    let key = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n";
    Files::replace(&files.authorities, &format!("{key}{}", ours.pem));
    Files::replace(&files.lists, &(ours.list(&[]) + key));
    server.ask("session.hello", hello(HOST, files.options_with_list("ca")));
    assert_eq!(warned(&daemon), (true, true, 2));
    server.login(&ours.issued(HAMLET, 7));
    daemon.wait_for("the log", |daemon| {
        let log = daemon.log();
        log.matches("a private key stands in this file").count() == 2
    });
}

#[test]
fn a_flood_of_forged_chains_holds_up_neither_the_enrolled_nor_other_places() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    // The dearest signatures.
    let made = || Authority::with_key("Denmark", &PKCS_ECDSA_P384_SHA384);
    let ours = made();
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let (own, issued) = (Made::of(HAMLET), ours.issued(HAMLET, 7));
    let mut server = daemon.server(files.options("enrolled_or_ca"));
    server.append("phone", &own);
    // Forged to make the most of it: each bears the authority's name.
    let forged: Vec<Authority> = (0..5).map(|_| made()).collect();
    let chains: Vec<Value> = (0..100)
        .map(|serial| {
            let leaf = forged[0].issued(HAMLET, serial).base64();
            let between = forged.iter().map(|one| BASE64.encode(&one.der));
            std::iter::once(leaf).chain(between).collect()
        })
        .collect();
    let offer = |chain: &Value, address| json!({"host": HOST, "chain": chain, "address": address});
    let mut flood = daemon.server(files.options("enrolled_or_ca"));
    for chain in &chains {
        flood.send("external.offer", offer(chain, "192.0.2.7"));
    }
    assert_eq!(server.login(&own)["name"], "phone");
    let elsewhere = offer(&json!([issued.base64()]), "198.51.100.7");
    assert_eq!(server.ask("external.offer", elsewhere)["offer"], true);
    let answers: Vec<Value> = chains.iter().map(|_| flood.line().unwrap()).collect();
    let judged = |answer: &&Value| answer["result"]["denial"] == "chain-untrusted";
    let sent_away = |answer: &&Value| answer["error"]["code"] == -32001;
    let counts = (
        answers.iter().filter(judged).count(),
        answers.iter().filter(sent_away).count(),
    );
    assert!(counts.0 > 0 && counts.1 > 0, "{counts:?}");
    assert_eq!(counts.0 + counts.1, chains.len());
}

#[test]
fn a_record_that_cannot_let_it_in_does_not_skip_the_strangers_queue() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::with_key("Denmark", &PKCS_ECDSA_P384_SHA384);
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let cert = ours.issued(HAMLET, 7);
    let mut server = daemon.server(files.options("enrolled_and_ca"));
    server.append("card", &cert);
    // The account was made anew since.
    let later =
        json!([{"username": "hamlet", "exists": true, "enabled": true, "incarnation": "two"}]);
    let mut ask_often = |question: Value| {
        let ids: Vec<u64> = (0..200)
            .map(|_| server.send("external.login", question.clone()))
            .collect();
        let answers: Vec<Value> = ids.iter().map(|_| server.line().unwrap()).collect();
        let yes = answers.iter().filter(|one| one.get("result").is_some());
        let sent_away = answers.iter().filter(|one| one["error"]["code"] == -32001);
        (yes.count(), sent_away.count())
    };
    assert_eq!(ask_often(login(&cert)), (200, 0));
    let (yes, sent_away) = ask_often(with(login(&cert), "accounts", later));
    assert!(yes == 0 && sent_away > 0, "{yes} {sent_away}");
}

#[test]
fn what_a_certificate_is_for_is_the_same_with_and_without_an_authority_and_in_explain() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let file = daemon.folder.path().join("cert.der");
    let any = ExtendedKeyUsagePurpose::Any;
    for (serial, purposes, is_fine) in [
        (7, vec![any.clone()], true),
        (8, vec![ExtendedKeyUsagePurpose::ServerAuth, any], true),
        (9, vec![ExtendedKeyUsagePurpose::ServerAuth], false),
    ] {
        let cert = ours.issued_for(HAMLET, serial, &purposes);
        std::fs::write(&file, &cert.der).unwrap();
        for trust in ["enrolled", "ca", "enrolled_and_ca", "enrolled_or_ca"] {
            let options = match trust {
                "enrolled" => json!({}),
                _ => files.options(trust),
            };
            let mut server = daemon.server(options);
            if is_fine && trust == "enrolled" {
                server.append(&format!("card {serial}"), &cert);
            }
            let id = server.send("external.login", login(&cert));
            let answer = server.answer(id);
            let denial = answer.pointer("/error/data/denial").and_then(Value::as_str);
            let expected = (!is_fine).then_some("cert-unacceptable");
            assert_eq!(denial, expected, "{trust} {purposes:?} {answer}");
            // So that nobody waits for what it knows of the account.
            drop(server);
            let explained = daemon.command("explain").arg(HAMLET).arg(&file).output();
            let text = String::from_utf8(explained.unwrap().stdout).unwrap();
            let says_no = text.contains("extended key usage");
            assert_eq!(says_no, !is_fine, "{trust} {purposes:?} {text}");
        }
    }
}

#[test]
fn an_authority_that_can_vouch_for_nobody_is_named_when_its_file_is_read() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, folder) = (Authority::new("Denmark"), daemon.folder.path().join("odd"));
    std::fs::create_dir(&folder).unwrap();
    let key = |curve: &str| format!("-newkey ec -pkeyopt ec_paramgen_curve:{curve}");
    let mut authorities = ours.pem.clone();
    let odd = [
        ("P-521", key("P-521")),
        ("secp256k1", key("secp256k1")),
        ("brainpool", key("brainpoolP256r1")),
        ("Ed448", "-newkey ed448".to_owned()),
        ("1024 bits", "-newkey rsa:1024".to_owned()),
    ];
    for (name, options) in &odd {
        let out = folder.join("ca.pem");
        let made = std::process::Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-nodes",
                "-days",
                "3650",
                "-keyout",
                "/dev/null",
            ])
            .args(options.split(' '))
            .arg("-subj")
            .arg(format!("/CN={name}"))
            .arg("-out")
            .arg(&out)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        authorities += &std::fs::read_to_string(out).unwrap();
    }
    std::fs::write(&files.authorities, authorities).unwrap();
    let mut server = daemon.server(files.options("ca"));
    server.login(&ours.issued(HAMLET, 7));
    let status = daemon.peer().ask("status", json!({}));
    let shown = &status["hosts"][0]["authorities"]["ca_file"]["authorities"];
    assert_eq!(shown[0]["problem"], Value::Null);
    let text = String::from_utf8(daemon.command("status").output().unwrap().stdout).unwrap();
    for (at, (name, _)) in odd.iter().enumerate() {
        let problem = shown[at + 1]["problem"].as_str().unwrap();
        assert!(problem.contains(name) && problem.len() < 120, "{problem}");
        assert!(text.contains(problem), "{text}");
        daemon.wait_for("the log", |daemon| daemon.log().contains(problem));
    }
}

#[test]
fn a_signature_that_cannot_be_checked_is_explained_in_plain_words() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let folder = daemon.folder.path().join("sha1");
    std::fs::create_dir(&folder).unwrap();
    let openssl = |arguments: &str| {
        let made = std::process::Command::new("openssl")
            .args(arguments.split(' '))
            .current_dir(&folder)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    let names = format!("subjectAltName=otherName:1.3.6.1.5.5.7.8.5;UTF8:{HAMLET}\n");
    std::fs::write(folder.join("names"), names).unwrap();
    openssl(
        "req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Denmark -keyout ca.key -out ca.pem",
    );
    openssl("req -new -newkey rsa:2048 -nodes -subj /CN=hamlet -keyout hamlet.key -out hamlet.csr");
    openssl(
        "x509 -req -sha1 -in hamlet.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out hamlet.pem",
    );
    std::fs::copy(folder.join("ca.pem"), &files.authorities).unwrap();
    let _server = daemon.server(files.options("ca"));
    let said = daemon
        .command("explain")
        .arg(HAMLET)
        .arg(folder.join("hamlet.pem"))
        .output()
        .unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    let line = text.lines().find(|line| line.contains("SHA-1"));
    let line = line.unwrap_or_else(|| panic!("{text}"));
    assert!(
        line.contains("is signed with SHA-1, which is not accepted"),
        "{line}"
    );
    assert!(line.len() < 200 && !line.contains(['{', '[']), "{line}");
}

#[test]
fn an_authority_that_is_removed_takes_its_sessions_along() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, other) = (Authority::new("Denmark"), Authority::new("Norway"));
    std::fs::write(&files.authorities, ours.pem.clone() + &other.pem).unwrap();
    let mut server = daemon.server(files.options("ca"));
    let cert = other.issued(HAMLET, 7);
    let mut session = server.login(&cert);
    session["account"] = json!(HAMLET);
    session["resource"] = json!("phone");
    server.ask("session.report", json!({"sessions": [session]}));
    Files::replace(&files.authorities, &ours.pem);
    daemon.signal(Signal::SIGHUP);
    assert_eq!(server.question("sessions.close")["account"], HAMLET);
    assert_eq!(denial(&mut server, &cert), "chain-untrusted");
}

#[test]
fn a_file_that_cannot_be_read_is_no_answer_and_no_yes() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    let (cert, own) = (ours.issued(HAMLET, 7), Made::of(HAMLET));
    let hello_of = |daemon: &Daemon, trust| {
        let mut peer = daemon.peer();
        let answer = peer.ask("session.hello", hello(HOST, files.options_with_list(trust)));
        (peer, answer["hosts"][0].clone())
    };
    let unasked = |server: &mut Peer, cert: &Made| {
        let refused = server.login_refused(cert);
        assert_eq!(
            (&refused["code"], &refused["data"]["sasl"]),
            (&json!(-32001), &json!("temporary-auth-failure"))
        );
        // A stranger may read it.
        assert!(!refused.to_string().contains("pem"), "{refused}");
    };
    let (mut server, host) = hello_of(&daemon, "ca");
    assert_eq!(host["ready"], true);
    let warnings = host["warnings"].as_array().unwrap();
    let options: Vec<&Value> = warnings.iter().map(|warning| &warning["option"]).collect();
    assert_eq!(options, ["saslcertd_ca_file", "saslcertd_crl_file"]);
    assert!(
        warnings[0]["message"]
            .as_str()
            .unwrap()
            .contains("no such file"),
        "{warnings:?}"
    );
    unasked(&mut server, &cert);
    let offer = json!({"host": HOST, "chain": [cert.base64()]});
    assert_eq!(server.refused("external.offer", offer)["code"], -32001);
    // A certificate that a user has enrolled needs no authority, where either suffices.
    let (mut server, _) = hello_of(&daemon, "enrolled_or_ca");
    server.append("phone", &own);
    server.login(&own);
    unasked(&mut server, &cert);
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    unasked(&mut server, &cert);
    std::fs::write(&files.lists, ours.list(&[])).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("a login", |_| server.answer_to_login(&cert));
    for (file, content, problem) in [
        (
            &files.authorities,
            "-----BEGIN CERTIFICATE-----\nsecret",
            "not readable as PEM",
        ),
        (&files.authorities, "secret", "holds no PEM section"),
        (
            &files.lists,
            &ours.pem,
            "holds no PEM section \\\"BEGIN X509 CRL\\\"",
        ),
    ] {
        let before = std::fs::read_to_string(file).unwrap();
        Files::replace(file, content);
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("a refusal", |_| !server.answer_to_login(&cert));
        unasked(&mut server, &cert);
        let status = daemon.peer().ask("status", json!({})).to_string();
        assert!(status.contains(problem), "{status}");
        assert!(!daemon.log().contains("secret"));
        Files::replace(file, &before);
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("a login", |_| server.answer_to_login(&cert));
    }
    // A restart reads them before it answers.
    assert!(daemon.stop().success());
    daemon.serve();
    daemon.server(files.options_with_list("ca")).login(&cert);
}

#[test]
fn neither_pipes_nor_folders_nor_endless_files_are_read() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let path = files.authorities.clone();
    let made: [(&str, &dyn Fn()); 3] = [
        ("not a regular file", &|| {
            nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }),
        ("not a regular file", &|| {
            std::fs::create_dir(&path).unwrap();
        }),
        ("larger than 16 MiB", &|| {
            std::fs::File::create(&path)
                .unwrap()
                .set_len(16 * 1024 * 1024 + 1)
                .unwrap();
        }),
    ];
    for (problem, make) in made {
        make();
        let answer = daemon
            .peer()
            .ask("session.hello", hello(HOST, files.options("ca")));
        let warnings = answer["hosts"][0]["warnings"].to_string();
        assert!(warnings.contains(problem), "{warnings}");
        if path.is_dir() {
            std::fs::remove_dir(&path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn status_shows_what_the_files_hold() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, other) = (Authority::new("Denmark"), Authority::new("Norway"));
    std::fs::write(&files.authorities, ours.pem.clone() + &other.pem).unwrap();
    std::fs::write(&files.lists, ours.list(&[3, 4])).unwrap();
    let _server = daemon.server(files.options_with_list("enrolled_or_ca"));
    let status = daemon.peer().ask("status", json!({}));
    let host = &status["hosts"][0];
    assert_eq!(host["trust"], "enrolled_or_ca");
    let held = &host["authorities"];
    assert_eq!(held["ca_file"]["problem"], Value::Null);
    assert_eq!(held["ca_file"]["authorities"][1]["subject"], "CN=Norway");
    assert_eq!(held["crl_file"]["lists"][0]["revoked"], 2);
    assert_eq!(held["crl_file"]["without_list"], json!(["CN=Norway"]));
    assert_eq!(status["healthy"], true);
    let said = daemon.command("status").output().unwrap();
    let text = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.status.success() && text.contains("ca.pem: authorities: 2\n"),
        "{text}"
    );
    assert!(text.contains("crl.pem: revocation lists: 1\n"), "{text}");
    std::fs::remove_file(&files.lists).unwrap();
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("a problem", |daemon| {
        !daemon.command("status").output().unwrap().status.success()
    });
    let text = String::from_utf8(daemon.command("status").output().unwrap().stdout).unwrap();
    assert!(
        text.contains("PROBLEM") && text.contains("crl.pem: there is no such file"),
        "{text}"
    );
}

#[test]
fn a_login_that_is_not_bound_yet_is_closed_too() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    std::fs::write(&files.lists, ours.list(&[])).unwrap();
    let stolen = ours.issued(HAMLET, 7);
    let mut server = daemon.server(files.options_with_list("ca"));
    let (bound, unbound) = (server.login(&stolen), server.login(&stolen));
    assert_eq!(bound["key_id"], unbound["key_id"]);
    // One of the two goes on, and ends.
    server.notify(
        "session.opened",
        json!({"sessions": [session(&bound, Some("phone"))]}),
    );
    server.notify(
        "session.closed",
        json!({"sessions": [{"account": HAMLET, "resource": "phone"}]}),
    );
    Files::replace(&files.lists, &ours.list(&[7]));
    daemon.signal(Signal::SIGHUP);
    assert_eq!(server.question("sessions.close")["key_id"], bound["key_id"]);
    // Nor is one overlooked that a new connection reports.
    Files::replace(&files.lists, &ours.list(&[]));
    daemon.signal(Signal::SIGHUP);
    let mut again = daemon.server(files.options_with_list("ca"));
    let mut daemon = daemon;
    daemon.wait_for("a login", |_| {
        again.answer_to_login(&ours.issued(HAMLET, 8))
    });
    let answer = again.ask(
        "session.report",
        json!({"sessions": [session(&unbound, None)]}),
    );
    assert_eq!(answer["close"], json!([]));
    Files::replace(&files.lists, &ours.list(&[7]));
    daemon.signal(Signal::SIGHUP);
    assert_eq!(again.question("sessions.close")["key_id"], bound["key_id"]);
}

#[test]
fn a_file_that_cannot_be_read_hides_nothing_that_the_other_says() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let (ours, other) = (Authority::new("Denmark"), Authority::new("Norway"));
    for (authorities, lists) in [
        // The list names it; the authorities can't be read.
        ("broken".to_owned(), ours.list(&[7])),
        // Its authority is gone; the lists can't be read.
        (other.pem, "broken".to_owned()),
    ] {
        Files::replace(&files.authorities, &ours.pem);
        Files::replace(&files.lists, &ours.list(&[]));
        daemon.signal(Signal::SIGHUP);
        let mut server = daemon.server(files.options_with_list("ca"));
        let login = server.login(&ours.issued(HAMLET, 7));
        let one = json!({"sessions": [session(&login, Some("phone"))]});
        assert_eq!(server.ask("session.report", one)["close"], json!([]));
        Files::replace(&files.authorities, &authorities);
        Files::replace(&files.lists, &lists);
        daemon.signal(Signal::SIGHUP);
        assert_eq!(server.question("sessions.close")["key_id"], login["key_id"]);
    }
}

#[test]
fn what_cannot_be_asked_closes_no_session() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    Files::replace(&files.authorities, &ours.pem);
    Files::replace(&files.lists, &ours.list(&[]));
    let cert = ours.issued(HAMLET, 7);
    let mut server = daemon.server(files.options_with_list("ca"));
    let login = server.login(&cert);
    let one = json!({"sessions": [session(&login, Some("phone"))]});
    for file in [&files.authorities, &files.lists] {
        Files::replace(file, "broken");
        daemon.signal(Signal::SIGHUP);
        daemon.wait_for("a refusal", |_| !server.answer_to_login(&cert));
        // Were it to be closed, that would stand before this answer.
        let id = server.send("session.report", one.clone());
        let next: Value = server.line().unwrap();
        assert_eq!(
            (&next["id"], &next["result"]["close"]),
            (&json!(id), &json!([]))
        );
    }
}

#[test]
fn where_authorities_have_no_say_any_more_their_sessions_end() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let (vouched, listed) = (ours.issued(HAMLET, 7), ours.issued(HAMLET, 8));
    let mut server = daemon.server(files.options("enrolled_and_ca"));
    server.append("card", &listed);
    let both = server.login(&listed);
    let alone = daemon.server(files.options("ca")).login(&vouched);
    let sessions =
        json!({"sessions": [session(&both, Some("card")), session(&alone, Some("other"))]});
    let out = json!([{"account": HAMLET, "key_id": alone["key_id"]}]);
    for (options, expected) in [
        (files.options("enrolled_or_ca"), json!([])),
        (json!({"saslcertd_trust": "enrolled"}), out.clone()),
        (json!({}), out.clone()),
        (files.options("enrolled_and_ca"), out),
        // An authority that can't be asked closes nothing.
        (json!({"saslcertd_trust": "ca"}), json!([])),
    ] {
        let mut server = daemon.peer();
        server.ask("session.hello", hello(HOST, options.clone()));
        let mut answer = server.ask("session.report", sessions.clone());
        for session in answer["close"].as_array_mut().unwrap() {
            let fields = session.as_object_mut().unwrap();
            fields.retain(|field, _| field == "account" || field == "key_id");
        }
        assert_eq!(answer["close"], expected, "{options}");
    }
    // A user who takes a certificate out of the list keeps its sessions.
    let mut server = daemon.server(files.options("enrolled_and_ca"));
    server.ask("certificate.disable", named("card"));
    let answer = server.ask(
        "session.report",
        json!({"sessions": [session(&both, Some("card"))]}),
    );
    assert_eq!(answer["close"], json!([]));
}

#[test]
fn what_could_not_be_read_for_a_moment_is_read_again() {
    let mut daemon = Daemon::start();
    let files = Files::of(&daemon);
    let ours = Authority::new("Denmark");
    std::fs::write(&files.authorities, &ours.pem).unwrap();
    let cert = ours.issued(HAMLET, 7);
    let mut server = daemon.server(files.options("ca"));
    server.login(&cert);
    // Not one file more.
    let usual = daemon.limit_files("3");
    daemon.signal(Signal::SIGHUP);
    daemon.wait_for("a refusal", |_| !server.answer_to_login(&cert));
    daemon.limit_files(&usual);
    daemon.wait_for("a login", |_| server.answer_to_login(&cert));
    // It writes down the rest of its log as it stops.
    daemon.stop();
    let said = daemon.log().matches("cannot be used").count();
    assert_eq!(said, 1, "{}", daemon.log());
}

#[test]
fn the_files_of_a_host_that_nobody_serves_are_nobodys_problem() {
    let daemon = Daemon::start();
    let files = Files::of(&daemon);
    let server = daemon.server(files.options("ca"));
    let mut admin = daemon.peer();
    assert_eq!(admin.ask("status", json!({}))["healthy"], false);
    drop(server);
    let mut daemon = daemon;
    daemon.wait_for("health", |_| {
        admin.ask("status", json!({}))["healthy"] == true
    });
}

/// A server's report of a session that this login opened.
fn session(login: &Value, resource: Option<&str>) -> Value {
    json!({
        "account": HAMLET, "resource": resource, "fingerprint": login["fingerprint"], "key_id": login["key_id"],
        "incarnation": ONE, "path": login["path"],
    })
}

impl Daemon {
    /// Lets the daemon open files up to this number; returns what the limit was.
    fn limit_files(&self, limit: &str) -> String {
        let prlimit = |flags: &[&str]| {
            let pid = self.pid().to_string();
            let said = std::process::Command::new("prlimit")
                .args(["--pid", &pid])
                .args(flags)
                .output();
            let said = said.unwrap();
            assert!(said.status.success(), "{said:?}");
            String::from_utf8(said.stdout).unwrap().trim().to_owned()
        };
        let before = prlimit(&["--nofile", "--raw", "--noheadings", "--output=SOFT"]);
        prlimit(&[&format!("--nofile={limit}:")]);
        before
    }
}

impl Peer {
    /// Is this certificate let in?
    fn answer_to_login(&mut self, cert: &Made) -> bool {
        let id = self.send("external.login", login(cert));
        self.answer(id).get("result").is_some()
    }
}
