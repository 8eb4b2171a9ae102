//! `saslcertd export` and `saslcertd import`.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::passwords::{self, BRUTUS};
use crate::support::{Daemon, HAMLET, HOST, Made, append, list, login, named};

pub fn run(daemon: &Daemon, command: &str, arguments: &[&str]) -> Output {
    daemon.command(command).args(arguments).output().unwrap()
}

pub fn fine(output: &Output) {
    assert!(output.status.success(), "{output:?}");
}

pub fn refused(output: &Output, words: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains(words),
        "{output:?}"
    );
}

/// A daemon with something of everything, and the phone's certificate.
fn full() -> (Daemon, Made) {
    let daemon = Daemon::start();
    let phone = fill(&daemon);
    (daemon, phone)
}

/// Something of everything, and the phone's certificate.
pub fn fill(daemon: &Daemon) -> Made {
    let mut rome = passwords::server(daemon, json!({}));
    rome.ask("account.create", passwords::create(BRUTUS, "et tu?"));
    rome.ask(
        "account.create",
        passwords::create("cassius@rome.lit", "lean"),
    );
    rome.ask("account.disable", json!({"account": "cassius@rome.lit"}));
    let mut server = daemon.server(json!({"saslcertd_max_certs": 7}));
    let phone = Made::of(HAMLET);
    server.append("phone", &phone);
    for name in ["lost", "old"] {
        server.append(name, &Made::of(HAMLET));
    }
    server.ask("certificate.revoke", named("lost"));
    server.ask("certificate.disable", named("old"));
    phone
}

pub fn exported(daemon: &Daemon) -> (PathBuf, String) {
    let path = daemon.folder.path().join("backup");
    fine(&run(daemon, "export", &[path.to_str().unwrap()]));
    let text = std::fs::read_to_string(&path).unwrap();
    (path, text)
}

/// The records that the export of a copy must have as well: all but the last uses, which are written later.
pub fn records(text: &str) -> Vec<Value> {
    let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    let mut records: Vec<Value> = lines.collect();
    for record in &mut records {
        if let Some(record) = record.as_object_mut() {
            record.remove("last_use");
        }
    }
    records.sort_by_key(ToString::to_string);
    records
}

pub fn salt(daemon: &Daemon) -> Value {
    let mut rome = passwords::server(daemon, json!({}));
    let nobody = json!({"account": "nobody@rome.lit", "hash": "SHA-256"});
    rome.ask("account.scram", nobody)["salt"].clone()
}

#[test]
fn a_copy_has_everything_and_a_second_import_changes_nothing() {
    let (daemon, phone) = full();
    let (path, text) = exported(&daemon);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let copy = Daemon::start();
    let path = path.to_str().unwrap();
    fine(&run(&copy, "import", &[path]));
    let (_, again) = exported(&copy);
    assert_eq!(records(&again), records(&text));
    let types = |kind: &str| text.matches(&format!("\"type\":\"{kind}\"")).count();
    let kinds = [
        "secret",
        "host",
        "account",
        "certificate",
        "revoked_key",
        "disabled",
        "incarnation",
    ];
    assert_eq!(kinds.map(types), [1, 2, 2, 1, 1, 1, 1], "{text}");
    // What keeps certificates out comes before them.
    let place = |kind: &str| text.find(&format!("\"type\":\"{kind}\""));
    let certificates = place("certificate");
    assert!(place("revoked_key") < certificates && place("disabled") < certificates);
    let second = run(&copy, "import", &[path, "--json"]);
    fine(&second);
    let second: Value = serde_json::from_slice(&second.stdout).unwrap();
    assert_eq!(second["written"], 0, "{second}");
    assert_eq!(second["unchanged"], second["records"]);
    // And it works.
    let mut server = copy.peer();
    let attach =
        json!({"protocol": 2, "software": "test", "hosts": [{"host": HOST}, {"host": "rome.lit"}]});
    assert_eq!(
        server.ask("session.hello", attach)["hosts"][0]["ready"],
        true
    );
    server.login(&phone);
    let verify = json!({"account": BRUTUS, "password": "et tu?", "address": null});
    server.ask("account.verify", verify);
    let listed = server.ask("certificate.list", list());
    assert_eq!(listed["certificates"].as_array().unwrap().len(), 1);
    // An account that does not exist has the salt that it had.
    assert_eq!(salt(&copy), salt(&daemon));
}

#[test]
fn what_differs_stays_and_what_was_revoked_since_does_not_come_back() {
    let (daemon, phone) = full();
    let (path, _) = exported(&daemon);
    let path = path.to_str().unwrap();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 7}));
    server.ask("certificate.revoke", named("phone"));
    let password = json!({"account": BRUTUS, "password": "new"});
    server.ask("account.set_password", password);
    let output = run(&daemon, "import", &[path]);
    refused(&output, "2 of 9 records differ");
    refused(&output, "its key was revoked since");
    refused(&output, "the account is here already, and differs");
    let kept = run(&daemon, "import", &[path, "--keep-existing", "--json"]);
    fine(&kept);
    let kept: Value = serde_json::from_slice(&kept.stdout).unwrap();
    assert_eq!(
        (&kept["written"], &kept["unchanged"]),
        (&json!(0), &json!(7)),
        "{kept}"
    );
    server.refused("external.login", login(&phone));
    let verify = json!({"account": BRUTUS, "password": "new", "address": null});
    server.ask("account.verify", verify);
    // A certificate that its owner has taken out.
    server.ask(
        "certificate.unrevoke",
        json!({"account": HAMLET, "key_id": null}),
    );
    server.ask("certificate.append", append("phone", &phone));
    server.ask("certificate.disable", named("phone"));
    refused(&run(&daemon, "import", &[path]), "it was disabled since");
}

#[test]
fn of_an_account_that_cannot_be_taken_the_reason_is_said() {
    let (daemon, _) = full();
    let (_, text) = exported(&daemon);
    let copy = Daemon::start();
    let path = copy.folder.path().join("bad");
    let account = text.lines().find(|line| line.contains("\"stored_key\""));
    let account = account.unwrap();
    for (field, value, words) in [
        (
            "salt",
            json!("A".repeat(87) + "="),
            "its salt has 65 bytes; 1 to 64 are wanted",
        ),
        (
            "iterations",
            json!(10_000_001),
            "its iteration count is 10000001",
        ),
        ("stored_key", json!("AAAA"), "its keys are not as long as"),
    ] {
        let mut other: Value = serde_json::from_str(account).unwrap();
        other["scram"][0][field] = value;
        std::fs::write(&path, text.replace(account, &other.to_string())).unwrap();
        refused(&run(&copy, "import", &[path.to_str().unwrap()]), words);
    }
}

#[test]
fn a_file_that_is_cut_off_newer_or_something_else_changes_nothing() {
    let (daemon, _) = full();
    let (_, text) = exported(&daemon);
    let copy = Daemon::start();
    let before = records(&exported(&copy).1);
    let lines: Vec<&str> = text.lines().collect();
    let path = copy.folder.path().join("bad");
    let without = |left_out: usize| {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != left_out);
        let kept: Vec<&str> = kept.map(|(_, line)| *line).collect();
        kept.join("\n") + "\n"
    };
    for (content, words) in [
        (String::new(), "is no backup of saslcertd export"),
        ("{}\n".to_owned(), "is no backup of saslcertd export"),
        (
            "-----BEGIN CERTIFICATE-----\n".to_owned(),
            "is no backup of saslcertd export",
        ),
        (
            "0\u{82}\u{1}".to_owned(),
            "is no backup of saslcertd export",
        ),
        ("{hello\n".to_owned(), "line 1: not JSON"),
        (
            format!("\u{feff}{text}"),
            "begins with a byte order mark, three bytes that nobody sees",
        ),
        (without(0), "is no backup of saslcertd export"),
        (without(3), "says that there are others"),
        (without(lines.len() - 1), "is cut off behind line"),
        (text[..text.len() / 2].to_owned(), "cut off"),
        (text.trim_end().to_owned(), "cut off"),
        (text.clone() + "{}\n", "goes on behind its end"),
        (
            text.replace("\"version\":1", "\"version\":2"),
            "newer saslcertd",
        ),
        (
            text.replacen("\"type\":\"host\"", "\"type\":\"tree\"", 1),
            "unknown variant `tree`",
        ),
        (
            text.replacen(lines[2], &"x".repeat(100_000), 1),
            "line 3: it is too long",
        ),
    ] {
        std::fs::write(&path, &content).unwrap();
        refused(&run(&copy, "import", &[path.to_str().unwrap()]), words);
        assert_eq!(records(&exported(&copy).1), before, "{words}");
    }
    let link = copy.folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for no_file in [link.to_str().unwrap(), "/dev/null", "/tmp"] {
        refused(&run(&copy, "export", &[no_file]), "is not a file");
    }
    refused(&run(&copy, "import", &["/dev/null"]), "is not a file");
    let nowhere = Path::new("/nonexistent/backup").to_str().unwrap();
    refused(&run(&daemon, "export", &[nowhere]), "cannot create");
    refused(&run(&daemon, "import", &[nowhere]), "cannot open");
}

#[test]
fn a_record_that_is_not_known_here_costs_the_others_nothing() {
    let daemon = Daemon::start();
    let mut peer = daemon.peer();
    let host =
        json!({"type": "host", "host": "shakespeare.lit", "accounts": "prosody", "options": {}});
    let records = json!([
        {"type": "of a later version"},
        {"type": "account", "account": "\u{1d2c}@rome.lit"},
        null,
        host,
    ]);
    let answer = peer.ask("import", json!({"records": records, "apply": true}));
    assert_eq!(answer["written"], 1, "{answer}");
    let conflicts = answer["conflicts"].as_array().unwrap().iter();
    let conflicts: Vec<_> = conflicts.map(|one| one["record"].clone()).collect();
    assert_eq!(conflicts, [0, 1, 2]);
}

#[test]
fn many_accounts_are_exported_whole_while_they_change() {
    let daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    rome.ask("account.create", passwords::create(BRUTUS, "et tu?"));
    let one = exported(&daemon).1;
    let account = one
        .lines()
        .find(|line| line.contains("\"type\":\"account\""))
        .unwrap();
    let many: Vec<Value> = (0..3000)
        .map(|number| {
            let name = format!("legionary-{number}@rome.lit");
            serde_json::from_str(&account.replace(BRUTUS, &name)).unwrap()
        })
        .collect();
    for some in many.chunks(100) {
        let written = rome.ask("import", json!({"records": some, "apply": true}));
        assert_eq!(written["written"], 100, "{written}");
    }
    let folder = daemon.folder.path().join("while");
    std::thread::scope(|scope| {
        let exports = scope.spawn(|| {
            for _ in 0..3 {
                fine(&run(&daemon, "export", &[folder.to_str().unwrap()]));
                let text = std::fs::read_to_string(&folder).unwrap();
                assert_eq!(text.matches("\"type\":\"account\"").count(), 3001);
            }
        });
        let mut number = 0;
        while !exports.is_finished() {
            number = (number + 7) % 3000;
            let account = json!({"account": format!("legionary-{number}@rome.lit")});
            rome.ask("account.disable", account.clone());
            rome.ask("account.enable", account);
        }
        exports.join().unwrap();
    });
}

#[test]
fn an_account_that_is_larger_than_an_answer_and_many_hosts_are_exported_whole() {
    let daemon = Daemon::start();
    let mut peer = daemon.server(json!({}));
    // Each 15 KB: together more than the 4 MiB of an answer, as an older version let them pile up.
    let one = Made::with(
        rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
        |params| {
            let content = [&[4, 0x82, 0x3b, 0][..], &[7; 0x3b00]].concat();
            let oid = [1, 3, 6, 1, 4, 1, 99_999, 1];
            let filler = rcgen::CustomExtension::from_oid_content(&oid, content);
            params.custom_extensions.push(filler);
        },
    );
    let many = 205;
    let certificate = |number: usize| {
        // Not one byte of it is looked at by an import but as a certificate: they differ in their last ones, the signature's.
        let mut der = one.der.clone();
        let last = der.len() - 2;
        der[last..].copy_from_slice(&u16::try_from(number).unwrap().to_be_bytes());
        json!({
            "type": "certificate", "account": HAMLET, "incarnation": "one", "name": format!("{number}"),
            "certificate": BASE64.encode(der), "may_manage": true, "order": number, "added_at": 1,
            "added_with": null, "added_by": null, "last_use": null,
        })
    };
    let records: Vec<Value> = (0..many).map(certificate).collect();
    for some in records.chunks(5) {
        let done = peer.ask("import", json!({"records": some, "apply": true}));
        assert_eq!(done["written"], some.len(), "{done}");
    }
    // And more hosts than one page holds, some with as many options as may be.
    let host = |number: usize| {
        let options = json!({"saslcertd_unknown": "x".repeat(4000)});
        json!({"host": format!("host-{number}.lit"), "accounts": "prosody", "options": options})
    };
    let hosts: Vec<Value> = (0..400).map(host).collect();
    for some in hosts.chunks(20) {
        let hello = json!({"protocol": 2, "software": "test", "hosts": some});
        peer.ask("session.hello", hello);
    }
    let text = exported(&daemon).1;
    assert_eq!(text.matches("\"type\":\"certificate\"").count(), many);
    assert_eq!(text.matches("\"type\":\"host\"").count(), 401);
    let first = peer.ask("status", json!({}));
    assert!(first["next"].is_string());
    let all = run(&daemon, "status", &["--json"]);
    let all: Value = serde_json::from_slice(&all.stdout).unwrap();
    assert_eq!(all["hosts"].as_array().unwrap().len(), 401);
    let copy = Daemon::start();
    let file = daemon.folder.path().join("backup");
    fine(&run(&copy, "import", &[file.to_str().unwrap()]));
    assert_eq!(records_sorted(&exported(&copy).1), records_sorted(&text));
}

fn records_sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("\"secret\""))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_a_killed_export_has_left_is_removed_by_the_next() {
    let daemon = Daemon::start();
    let folder = daemon.folder.path().join("backups");
    std::fs::create_dir(&folder).unwrap();
    let mut ended = std::process::Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    let name = |process: u32, end: &str| format!("backup.{process}{end}");
    let left_over = name(ended.id(), ".unfinished");
    // Of a process that lives, of no process, and of something else.
    let others = [
        name(std::process::id(), ".unfinished"),
        name(ended.id(), ""),
        "backup.x.unfinished".to_owned(),
        format!("other.{}.unfinished", ended.id()),
    ];
    for file in others.iter().chain([&left_over]) {
        std::fs::write(folder.join(file), "").unwrap();
    }
    fine(&run(
        &daemon,
        "export",
        &[folder.join("backup").to_str().unwrap()],
    ));
    let found = std::fs::read_dir(&folder).unwrap();
    let mut found: Vec<String> = found
        .map(|one| one.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = others.to_vec();
    expected.push("backup".to_owned());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn what_a_damaged_store_still_has_and_an_older_backup_make_a_whole_one() {
    let (mut daemon, phone) = full();
    let (backup, _) = exported(&daemon);
    let password = json!({"account": BRUTUS, "password": "new"});
    passwords::server(&daemon, json!({})).ask("account.set_password", password);
    assert!(daemon.stop().success());
    {
        let engine = daemon.engine();
        let records = engine.open_tree("certs").unwrap();
        let key = b"shakespeare.lit\0hamlet\0tablet";
        records.insert(key, b"\x09damaged").unwrap();
        engine.flush().unwrap();
    }
    daemon.serve_with(&["--accept-rollback"]);
    let readable = daemon.folder.path().join("readable");
    let left_out = run(&daemon, "export", &[readable.to_str().unwrap()]);
    assert_eq!(left_out.status.code(), Some(1));
    refused(&left_out, "not in the backup: hamlet@shakespeare.lit");

    let whole = Daemon::start();
    for file in [&readable, &backup] {
        let words = [file.to_str().unwrap(), "--keep-existing"];
        fine(&run(&whole, "import", &words));
    }
    let mut rome = passwords::server(&whole, json!({}));
    let verify = json!({"account": BRUTUS, "password": "new", "address": null});
    rome.ask("account.verify", verify);
    let mut server = whole.server(json!({"saslcertd_max_certs": 7}));
    server.ask("external.login", login(&phone));
}

/// One record that is brought, of the key of `cert`.
fn revoked_key(cert: &Made) -> Value {
    let parsed = saslcertd::identity::ClientCert::from_der(&cert.der).unwrap();
    json!({"type": "revoked_key", "account": HAMLET, "incarnation": "one", "key_id": parsed.key_id, "at": 1_767_225_600})
}

#[test]
fn an_import_that_revokes_closes_the_sessions_even_if_it_ends_half_done() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let mut admin = daemon.peer();
    let cert = Made::of(HAMLET);
    let import = json!({"records": [revoked_key(&cert)], "apply": true});
    let closed = json!(
        saslcertd::identity::ClientCert::from_der(&cert.der)
            .unwrap()
            .key_id
    );
    for (written, unchanged) in [(1, 0), (0, 1)] {
        let answer = admin.ask("import", import.clone());
        assert_eq!(
            (&answer["written"], &answer["unchanged"]),
            (&json!(written), &json!(unchanged))
        );
        assert_eq!(server.question("sessions.close")["key_id"], closed);
    }
    // A record that can't be written ends the page; those that were written before it count.
    let too_long = json!({
        "type": "certificate", "account": "yorick@shakespeare.lit", "incarnation": "one", "name": "skull",
        "certificate": Made::of("yorick@shakespeare.lit").base64(), "may_manage": true, "order": 1, "added_at": 1,
        "added_with": null, "added_by": null, "last_use": {"at": 1, "address": "x".repeat(40_000)},
    });
    let other = Made::of(HAMLET);
    let page = json!({"records": [revoked_key(&other), too_long], "apply": true});
    assert_eq!(admin.refused("import", page)["code"], -32001);
    let closed = json!(
        saslcertd::identity::ClientCert::from_der(&other.der)
            .unwrap()
            .key_id
    );
    assert_eq!(server.question("sessions.close")["key_id"], closed);
}
