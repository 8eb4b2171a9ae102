//! A store of an older format is written anew when it is served, once, whatever comes between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::passwords;
use crate::support::{Daemon, HAMLET, HOST, Made, append, login, named, offer, with};

/// `data/` of a daemon that still wrote format 1 (commit e71139b), with twenty certificates of 15 KB, some of them in
/// files under `blobs/`, and `export`, what that daemon exported. It was made by `the_store_of_format_1_is_made`.
pub const FORMAT_1: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/daemon/stores/format-1.tar.gz"
);

/// The same of a daemon that still wrote format 2 (commit c5bc246), and `answers`: what it answered to offers and logins with
/// certificates of every kind. It was made by `the_store_of_format_2_is_made`.
pub const FORMAT_2: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/daemon/stores/format-2.tar.gz"
);

/// A daemon that is not started, with the store of such an archive; and the export.
pub fn former(archive: &str) -> (Daemon, String) {
    let daemon = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    unpack(archive, daemon.folder.path());
    let export = fs::read_to_string(daemon.folder.path().join("export")).unwrap();
    (daemon, export)
}

/// Unpacks it into `folder`.
pub fn unpack(archive: &str, folder: &Path) {
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "-xzf", archive, "-C"]);
    assert!(tar.arg(folder).status().unwrap().success());
}

pub fn exported(daemon: &Daemon) -> String {
    let path = daemon.folder.path().join("exported");
    let done = daemon.command("export").arg(&path).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    fs::read_to_string(path).unwrap()
}

/// Does an export have every record of an older one, and no other? A newer one may say more of each, in another order.
pub fn is_all_there(before: &str, after: &str) -> bool {
    let records = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let (before, mut after) = (records(before), records(after));
    let is_of = |old: &Value, new: &Value| {
        let mut fields = old.as_object().unwrap().iter();
        fields.all(|(field, value)| new[field] == *value)
    };
    before.iter().all(|old| {
        let found = after.iter().position(|new| is_of(old, new));
        found.map(|at| after.remove(at)).is_some()
    }) && after.is_empty()
}

/// The names of the files in the data folder, and in sled's.
fn names(daemon: &Daemon) -> Vec<String> {
    let list = |folder: PathBuf| {
        let mut names: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with("snap."))
            .collect();
        names.sort();
        names
    };
    let sled = daemon.data_dir().join("sled");
    [
        list(daemon.data_dir()),
        list(sled.clone()),
        list(sled.join("blobs")),
    ]
    .concat()
}

const WHOLE: [&str; 7] = ["FORMAT", "LOCK", "SEQUENCE", "sled", "blobs", "conf", "db"];

#[test]
#[ignore = "with SASLCERTD_TRIED: a binary that writes format 1"]
fn the_store_of_format_1_is_made() {
    let mut daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    for name in ["brutus", "cassius", "portia"] {
        let account = format!("{name}@rome.lit");
        rome.ask("account.create", passwords::create(&account, "et tu?"));
    }
    rome.ask("account.disable", json!({"account": "cassius@rome.lit"}));
    let mut server = daemon.server(json!({"saslcertd_max_certs": 30}));
    for number in 0..20 {
        server.append(&format!("n{number}"), &Made::long(HAMLET, 15_000));
    }
    for name in ["phone", "lost", "old"] {
        server.append(name, &Made::of(HAMLET));
    }
    server.ask("certificate.revoke", named("lost"));
    server.ask("certificate.disable", named("old"));
    server.ask("certificate.disable", named("n3"));
    let export = exported(&daemon);
    let blobs = fs::read_dir(daemon.data_dir().join("sled/blobs")).unwrap();
    assert!(blobs.count() > 0);
    assert!(daemon.stop().success());
    fs::write(daemon.folder.path().join("export"), export).unwrap();
    pack(&daemon, FORMAT_1, &["data", "export"]);
}

fn pack(daemon: &Daemon, archive: &str, names: &[&str]) {
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "--numeric-owner", "-czf"]);
    tar.args([archive, "-C"]).arg(daemon.folder.path());
    assert!(tar.args(names).status().unwrap().success());
}

/// Everything that a login depends on: who holds a certificate, as whom, what was taken back, and when it is valid.
const OPTIONS: &str = r#"{"saslcertd_max_certs": 100, "saslcertd_require_address": false, "saslcertd_min_rsa_bits": 2048}"#;

#[test]
#[ignore = "with SASLCERTD_TRIED: a binary that writes format 2"]
fn the_store_of_format_2_is_made() {
    let mut daemon = Daemon::start();
    let mut rome = passwords::server(&daemon, json!({}));
    let brutus = "brutus@rome.lit";
    for name in ["brutus", "cassius", "portia"] {
        let account = format!("{name}@rome.lit");
        rome.ask("account.create", passwords::create(&account, "et tu?"));
    }
    let session =
        json!({"secure": true, "by": "password", "jid": "brutus@rome.lit/x", "address": null});
    let of_brutus = Made::of(brutus);
    let wish = with(append("dagger", &of_brutus), "account", json!(brutus));
    let wish = with(wish, "incarnation", Value::Null);
    rome.ask("certificate.append", with(wish, "session", session));
    rome.ask("account.disable", json!({"account": "cassius@rome.lit"}));
    let mut server = daemon.server(serde_json::from_str(OPTIONS).unwrap());
    let rsa = |bits: &str| {
        let mut made = Command::new("openssl");
        made.args(["genpkey", "-algorithm", "RSA", "-pkeyopt"]);
        let made = made
            .arg(format!("rsa_keygen_bits:{bits}"))
            .output()
            .unwrap();
        KeyPair::from_pem(&String::from_utf8(made.stdout).unwrap()).unwrap()
    };
    let two = "ophelia@shakespeare.lit";
    let shared = Made::of(HAMLET);
    let same_key = |made: &Made| {
        Made::with_key(
            HAMLET,
            KeyPair::from_pem(&made.key.serialize_pem()).unwrap(),
        )
    };
    let soon = rcgen::date_time_ymd(2095, 1, 1);
    let made = [
        ("phone", Made::of(HAMLET)),
        ("lost", Made::of(HAMLET)),
        ("old", Made::of(HAMLET)),
        ("rsa", Made::with_key(HAMLET, rsa("2048"))),
        ("nobody", Made::with(KeyPair::generate().unwrap(), |_| {})),
        ("bound", Made::of("hamlet@shakespeare.lit/castle")),
        ("soon", Made::valid_until(HAMLET, soon)),
        ("long", Made::long(HAMLET, 15_000)),
        ("shared", same_key(&shared)),
    ];
    for (name, cert) in &made {
        server.append(name, cert);
    }
    let other = with(append("hers", &Made::of(two)), "account", json!(two));
    server.ask("certificate.append", other);
    // Used, and used again.
    for name in ["phone", "rsa", "phone"] {
        let (_, cert) = made.iter().find(|(made, _)| *made == name).unwrap();
        server.login(cert);
    }
    for name in ["lost", "shared"] {
        server.ask("certificate.revoke", named(name));
    }
    server.ask("certificate.disable", named("old"));
    // A later account of the name: with the same key, which the former one has revoked, and with a certificate of its own.
    for (name, cert) in [("again", &shared), ("new", &Made::of(HAMLET))] {
        let wish = with(append(name, cert), "incarnation", json!("two"));
        server.ask("certificate.append", wish);
    }
    let stranger = Made::of(HAMLET);
    let mut answers = Vec::new();
    let mut ask = |name: &str, method: &str, params: Value| {
        let id = server.send(method, params.clone());
        let answer = with(server.answer(id), "id", Value::Null);
        let asked = json!({"name": name, "method": method, "params": params, "answer": answer});
        answers.push(format!("{asked}\n"));
    };
    ask("all", "certificate.expiring", json!({"days": 365 * 100}));
    let of_brutus = ("dagger", of_brutus);
    let shared = ("again", shared);
    let stranger = ("stranger", stranger);
    for (name, cert) in made.iter().chain([&of_brutus, &shared, &stranger]) {
        let host = if *name == "dagger" { "rome.lit" } else { HOST };
        for incarnation in ["one", "two", "three"] {
            let mut login = with(login(cert), "host", json!(host));
            login["accounts"][0]["incarnation"] = json!(incarnation);
            let offer = with(offer(cert), "host", json!(host));
            let offer = with(offer, "accounts", login["accounts"].clone());
            ask(name, "external.offer", offer);
            ask(name, "external.login", login);
        }
    }
    // With the last uses, which are written at the end.
    daemon.restart();
    let export = exported(&daemon);
    assert!(daemon.stop().success());
    let folder = daemon.folder.path();
    fs::write(folder.join("export"), export).unwrap();
    fs::write(folder.join("answers"), answers.concat()).unwrap();
    pack(&daemon, FORMAT_2, &["data", "export", "answers"]);
}

#[test]
fn a_store_of_format_1_is_written_anew_and_nothing_of_it_is_lost() {
    let (mut daemon, before) = former(FORMAT_1);
    // It is a store, and `init` has nothing to do.
    let made = daemon.command("init").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(
        fs::read_dir(daemon.data_dir().join("sled/blobs"))
            .unwrap()
            .count()
            > 0
    );
    daemon.serve();
    assert!(is_all_there(&before, &exported(&daemon)));
    assert_eq!(names(&daemon), WHOLE);
    let format = fs::read_to_string(daemon.data_dir().join("FORMAT")).unwrap();
    assert_eq!(format, "saslcertd 3\n");
    daemon.wait_for("word of it in the log", |daemon| {
        let log = daemon.log();
        log.contains("the store has format 3 now") && log.contains("rows written: ")
    });
    // It goes on, and once is enough.
    let tablet = Made::of(HAMLET);
    let options = json!({"saslcertd_max_certs": 30});
    daemon.server(options.clone()).append("tablet", &tablet);
    daemon.restart();
    assert_eq!(daemon.log().matches("written anew").count(), 1);
    daemon.server(options).login(&tablet);
}

/// The answers of the daemon that wrote format 2: name of the certificate, method, params, answer.
fn answers(daemon: &Daemon) -> Vec<[Value; 4]> {
    let text = fs::read_to_string(daemon.folder.path().join("answers")).unwrap();
    let line = |line: &str| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        ["name", "method", "params", "answer"].map(|part| line[part].take())
    };
    text.lines().map(line).collect()
}

/// The part of an answer that says who is let in, as whom, and why not; the rest may be put in other words one day.
fn essence(answer: &Value) -> Value {
    if let Some(error) = answer.get("error") {
        return error["data"]["denial"].clone();
    }
    let result = &answer["result"];
    let fields = [
        "counts",
        "offer",
        "denial",
        "username",
        "resource",
        "name",
        "fingerprint",
        "key_id",
        "not_after",
        "incarnation",
        "may_manage",
        "path",
    ];
    fields.iter().map(|field| result[*field].clone()).collect()
}

/// Does the daemon answer each question as the one before did?
pub fn assert_answers_as_before(daemon: &Daemon) {
    let mut rome = passwords::server(daemon, json!({}));
    let mut server = daemon.server(serde_json::from_str(OPTIONS).unwrap());
    let (mut yes, mut no) = (0, 0);
    for [name, method, params, before] in answers(daemon) {
        let peer = if params["host"] == "rome.lit" {
            &mut rome
        } else {
            &mut server
        };
        let id = peer.send(method.as_str().unwrap(), params);
        let answer = peer.answer(id);
        let (now, then) = (essence(&answer), essence(&before));
        assert_eq!(now, then, "{name} {method} {answer}");
        *(if before.get("error").is_none() {
            &mut yes
        } else {
            &mut no
        }) += 1;
    }
    assert!(yes > 20 && no > 20, "{yes} {no}");
}

#[test]
fn a_store_of_format_2_is_written_anew_and_answers_as_before() {
    let (mut daemon, before) = former(FORMAT_2);
    daemon.serve();
    assert!(is_all_there(&before, &exported(&daemon)));
    assert_eq!(names(&daemon), WHOLE);
    assert_answers_as_before(&daemon);
    // It is whole, and so are its counts.
    let checked = daemon.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let status = daemon.peer().ask("status", json!({}));
    assert_eq!(status["store"]["certificates"], 10);
    assert_eq!(status["store"]["accounts"], 3);
    assert_eq!(status["store"]["revoked_keys"], 2);
    // From what was read at enrolment a host with other options draws other conclusions.
    let name = |name: &str| {
        let mut found = answers(&daemon).into_iter();
        let login = |one: &[Value; 4]| one[0] == name && one[1] == "external.login";
        found.find(login).unwrap()[2].clone()
    };
    for (option, value, of, denial) in [
        (
            "saslcertd_min_rsa_bits",
            json!(3072),
            "rsa",
            "key-too-short",
        ),
        (
            "saslcertd_require_address",
            json!(true),
            "nobody",
            "address-missing",
        ),
    ] {
        let mut server = daemon.server(json!({option: value}));
        let refused = server.refused("external.login", name(of));
        assert_eq!(refused["data"]["denial"], denial);
    }
    daemon.restart();
    assert_answers_as_before(&daemon);
}

#[test]
fn a_store_of_format_2_that_lost_something_is_not_written_anew_without_a_word() {
    let (mut daemon, _) = former(FORMAT_2);
    {
        let engine = daemon.engine();
        let revoked = engine.open_tree("revoked_keys").unwrap();
        revoked.pop_min().unwrap().unwrap();
        engine.flush().unwrap();
    }
    let said = daemon.refusal();
    assert!(
        said.contains("revoked_keys: 1 row is there, and 2 were written"),
        "{said}"
    );
    let format = fs::read_to_string(daemon.data_dir().join("FORMAT")).unwrap();
    assert_eq!(format, "saslcertd 2\n");
    // Nor is one that has gone back.
    let (gone_back, _) = former(FORMAT_2);
    fs::write(
        gone_back.data_dir().join("SEQUENCE"),
        "saslcertd 00000000000000001234 681beff7354effe241469b47da516a37\n",
    )
    .unwrap();
    let said = gone_back.refusal();
    assert!(said.contains("has gone back to an older state"), "{said}");
    daemon.serve_with(&["--accept-rollback"]);
    let status = daemon.peer().ask("status", json!({}));
    let loss = &status["store"]["accepted_loss"];
    assert_eq!(loss["tables"], json!(["revoked_keys"]), "{status}");
    daemon.restart();
    let checked = daemon.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn a_migration_that_was_cut_off_anywhere_is_finished() {
    let (mut daemon, before) = former(FORMAT_1);
    let data = daemon.data_dir();
    let kept = daemon.folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    unpack(FORMAT_1, &kept);
    daemon.serve();
    daemon.kill();
    let copy = |from: &Path, to: &Path| {
        let mut copy = Command::new("cp");
        assert!(copy.arg("-a").args([from, to]).status().unwrap().success());
    };
    copy(&data.join("sled"), &kept.join("new"));
    let (old, new) = (kept.join("data/sled"), kept.join("new"));
    for (format, folders) in [
        // Half written.
        (1, [("sled", &old), ("sled.new", &kept.join("half"))]),
        // Whole.
        (1, [("sled", &old), ("sled.new", &new)]),
        (3, [("sled", &old), ("sled.new", &new)]),
        // Half exchanged.
        (3, [("sled.old", &old), ("sled.new", &new)]),
        (3, [("sled.old", &old), ("sled", &new)]),
    ] {
        fs::remove_dir_all(&data).unwrap();
        fs::create_dir_all(kept.join("half/blobs")).unwrap();
        fs::write(kept.join("half/db"), b"half").unwrap();
        fs::create_dir(&data).unwrap();
        fs::write(data.join("FORMAT"), format!("saslcertd {format}\n")).unwrap();
        for (name, from) in folders {
            copy(from, &data.join(name));
        }
        daemon.serve();
        let is_whole = is_all_there(&before, &exported(&daemon));
        assert!(is_whole, "{format} {folders:?}");
        assert_eq!(names(&daemon), WHOLE, "{format} {folders:?}");
        daemon.kill();
    }
}

#[test]
fn a_store_that_cannot_be_written_anew_stays_as_it_is() {
    let (daemon, _) = former(FORMAT_1);
    let blobs = daemon.data_dir().join("sled/blobs");
    let numbers = fs::read_dir(&blobs).unwrap().map(|entry| {
        let name = entry.unwrap().file_name().into_string().unwrap();
        name.parse::<u64>().unwrap()
    });
    let blob = blobs.join(numbers.min().unwrap().to_string());
    fs::write(&blob, b"short").unwrap();
    let said = daemon.refusal();
    let named = format!("{} is damaged", blob.display());
    assert!(
        said.contains(&named) && !said.contains("backtrace"),
        "{said}"
    );
    let format = fs::read_to_string(daemon.data_dir().join("FORMAT")).unwrap();
    assert_eq!(format, "saslcertd 1\n");
    assert!(!daemon.data_dir().join("sled.new").exists());
}

#[test]
fn a_disk_without_room_is_told_before_anything_is_written() {
    for (archive, size) in [(FORMAT_1, "8m"), (FORMAT_2, "20m")] {
        let (daemon, _) = former(archive);
        let kept = daemon.folder.path().join("kept");
        fs::rename(daemon.data_dir(), &kept).unwrap();
        fs::create_dir(daemon.data_dir()).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]);
        let mounted = mount.arg(daemon.data_dir()).output().unwrap();
        assert!(
            mounted.status.success(),
            "this needs root and a tmpfs: {mounted:?}"
        );
        let mut copy = Command::new("cp");
        copy.arg("-a").arg(kept.join(".")).arg(daemon.data_dir());
        assert!(copy.status().unwrap().success());
        let said = daemon.refusal();
        let rest = names(&daemon);
        let mut unmount = Command::new("umount");
        assert!(unmount.arg(daemon.data_dir()).status().unwrap().success());
        assert!(
            said.contains(" bytes are needed, ") && said.contains(" are free; make room"),
            "{said}"
        );
        let files: Vec<&String> = rest.iter().filter(|name| *name != "SEQUENCE").collect();
        assert_eq!(files[..4], ["FORMAT", "LOCK", "REFUSED", "sled"]);
    }
}
