//! A store that has lost something is not served without a word: the refusal, the flag that accepts it, and the check.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use saslcertd::identity::{
    AddedBy, BareJid, CertificateName, Enrolment, Fingerprint, Incarnation, KeyId, UnixSeconds,
};
use saslcertd::store::{Edit, Store};
use serde_json::{Value, json};

use crate::support::{Daemon, HAMLET, HOST, Made, named, with};

fn revoke(name: &str) -> Value {
    with(named(name), "name", json!(name))
}

fn refusal(daemon: &Daemon) -> String {
    let output = daemon.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn status(daemon: &Daemon) -> (Option<i32>, Value, String) {
    let json = daemon.command("status").arg("--json").output().unwrap();
    let words = daemon.command("status").output().unwrap();
    (
        json.status.code(),
        serde_json::from_slice(&json.stdout).unwrap(),
        String::from_utf8(words.stdout).unwrap(),
    )
}

#[test]
fn a_store_that_has_gone_back_is_served_only_when_that_is_accepted() {
    let mut daemon = Daemon::start();
    let phone = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &phone);
    assert!(daemon.stop().success());
    let (sled, old) = (
        daemon.data_dir().join("sled"),
        daemon.folder.path().join("old"),
    );
    fs::create_dir(&old).unwrap();
    for entry in fs::read_dir(&sled).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), old.join(entry.file_name())).unwrap();
        }
    }
    daemon.serve();
    let mut server = daemon.server(json!({}));
    server.ask("certificate.revoke", revoke("phone"));
    assert_eq!(
        server.login_refused(&phone)["data"]["denial"],
        "key-revoked"
    );
    assert!(daemon.stop().success());
    fs::remove_dir_all(&sled).unwrap();
    fs::rename(&old, &sled).unwrap();

    for _ in 0..2 {
        let said = refusal(&daemon);
        for part in [
            "has gone back to an older state: its last ",
            " missing",
            daemon.data_dir().to_str().unwrap(),
            "Restore a backup",
            "--accept-rollback",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // An admin who can't ask a daemon finds the same words.
        let last = saslcertd::store::refusal::last(&daemon.data_dir()).unwrap();
        assert!(said.contains(&last), "{last}");
    }
    daemon.serve_with(&["--accept-rollback"]);
    daemon.wait_for("word of it in the log", |daemon| {
        daemon.log().contains("--accept-rollback")
    });
    // That is what was accepted.
    daemon.server(json!({})).login(&phone);
    let (code, json, words) = status(&daemon);
    assert_eq!((code, &json["healthy"]), (Some(1), &json!(false)), "{json}");
    assert_eq!(json["store"]["accepted_loss"]["new"], true, "{json}");
    assert!(json["store"]["accepted_loss"]["changes"].as_u64() > Some(0));
    assert!(
        words.contains("PROBLEM: the store is served without its last "),
        "{words}"
    );
    assert_eq!(saslcertd::store::refusal::last(&daemon.data_dir()), None);

    daemon.restart();
    let (code, json, words) = status(&daemon);
    assert_eq!(code, Some(0), "{json}");
    assert_eq!(json["store"]["accepted_loss"]["new"], false, "{json}");
    assert!(words.contains("as was accepted then"), "{words}");
}

#[test]
fn no_new_store_is_made_in_the_place_of_one_that_has_lost_its_format() {
    let mut daemon = Daemon::start();
    let phone = Made::of(HAMLET);
    let mut server = daemon.server(json!({}));
    server.append("phone", &phone);
    server.ask("certificate.revoke", revoke("phone"));
    assert!(daemon.stop().success());
    let data = daemon.data_dir();
    let format = fs::read(data.join("FORMAT")).unwrap();
    let refused = |what: &str| {
        let made = daemon.command("init").output().unwrap();
        let said = String::from_utf8_lossy(&made.stderr);
        assert_eq!(made.status.code(), Some(1), "{what}: {made:?}");
        for said in [said.into_owned(), refusal(&daemon)] {
            assert!(said.contains("FORMAT file is missing"), "{what}: {said}");
            assert!(said.contains("restore it from a backup"), "{what}: {said}");
            assert!(!said.contains("saslcertd init"), "{what}: {said}");
        }
    };
    fs::remove_file(data.join("FORMAT")).unwrap();
    refused("FORMAT");
    fs::rename(data.join("SEQUENCE"), data.join("SEQUENCE.away")).unwrap();
    let made = daemon.command("init").output().unwrap();
    assert_eq!(made.status.code(), Some(1), "{made:?}");
    fs::rename(data.join("SEQUENCE.away"), data.join("SEQUENCE")).unwrap();
    fs::rename(data.join("sled"), data.join("sled.away")).unwrap();
    refused("FORMAT and sled");
    let _ = fs::remove_dir_all(data.join("sled"));
    fs::rename(data.join("sled.away"), data.join("sled")).unwrap();
    fs::write(data.join("FORMAT"), format).unwrap();
    daemon.serve();
    let denial = daemon.server(json!({})).login_refused(&phone);
    assert_eq!(denial["data"]["denial"], "key-revoked");
}

#[test]
fn check_says_of_each_table_whether_it_is_whole() {
    let mut daemon = Daemon::start();
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
    let (_, before, _) = status(&daemon);
    // Everything was read before the first answer.
    assert_eq!(before["store"]["check"]["whole"], true, "{before}");
    let checked = daemon.command("check").output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    assert!(said.contains("certs: 1 row, ok\n"), "{said}");
    assert!(said.ends_with("the store is whole\n"), "{said}");
    let json = daemon.command("check").arg("--json").output().unwrap();
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["number"], 3, "{json}");
    assert_eq!(json["tables"].as_array().unwrap().len(), 11, "{json}");
    let (_, after, words) = status(&daemon);
    assert_eq!(after["store"]["check"], json);
    assert!(words.contains("and whole\n"), "{words}");
    assert!(daemon.stop().success());
    let nobody = daemon.command("check").output().unwrap();
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

/// The certificate that will be damaged: the 25th of user 120. It consists of a byte that no other one has.
const DAMAGED: u64 = 6025;
const ITS_BYTE: u8 = 0xa5;

/// Makes a store of 24 MB in some thousand of sled's pages, three times as much as the daemon will keep in memory.
fn fill(folder: &Path) {
    let store = Store::open(folder, 8 << 20, Box::new(|_| {})).unwrap();
    let incarnation = Incarnation::parse("one").unwrap();
    let mut number: u64 = 0;
    for user in 0..240 {
        let jid = BareJid::parse(&format!("user{user:03}@{HOST}")).unwrap();
        let edits = (0..50).map(|_| {
            number += 1;
            let mut identity = [0; 32];
            identity[..8].copy_from_slice(&number.to_be_bytes());
            Edit::put(Enrolment {
                account: jid.clone(),
                incarnation: incarnation.clone(),
                name: CertificateName::parse(&format!("n{number}")).unwrap(),
                der: vec![if number == DAMAGED { ITS_BYTE } else { 0 }; 2000],
                fingerprint: Fingerprint::from_bytes(identity),
                key_id: KeyId::from_bytes(identity),
                addresses: Vec::new(),
                not_before: UnixSeconds(0),
                not_after: UnixSeconds(4_000_000_000),
                may_manage: true,
                order: number,
                added_at: UnixSeconds(1),
                added_by: AddedBy {
                    certificate: None,
                    jid: None,
                },
                last_use: None,
            })
        });
        let edits = edits.collect();
        let changed = store.take_back(None, &jid, move |_| Ok(Ok::<_, ()>((edits, ()))));
        changed.unwrap().unwrap();
    }
    store.close();
}

/// Damages each whole copy of that certificate in the file: was there one?
fn damage(db: &Path) -> bool {
    let bytes = fs::read(db).unwrap();
    let file = fs::OpenOptions::new().write(true).open(db).unwrap();
    let is_inside = |at: &usize| bytes[*at..].iter().take(64).all(|byte| *byte == ITS_BYTE);
    let places: Vec<usize> = (0..bytes.len()).step_by(1000).filter(is_inside).collect();
    for at in &places {
        file.write_all_at(&[ITS_BYTE ^ 1], *at as u64).unwrap();
    }
    !places.is_empty()
}

#[test]
fn a_check_that_finds_damage_says_where_and_status_is_red_from_then_on() {
    let mut daemon = Daemon::prepared();
    fill(&daemon.data_dir());
    daemon.serve_with(&["--cache-mib", "8"]);
    let (code, before, _) = status(&daemon);
    assert_eq!((code, &before["healthy"]), (Some(0), &json!(true)));

    // The disk flips some bits of each copy that it has of that certificate.
    let db = daemon.data_dir().join("sled/db");
    assert!(damage(&db));

    // The copy in sled's memory is right. sled reads the page from the disk again when the page has been asked for often enough; and it may
    // have written the page anew before.
    let mut checked = None;
    daemon.wait_for("check that reads the disk", |daemon| {
        damage(&db);
        let output = daemon.command("check").output().unwrap();
        let code = output.status.code();
        checked = Some(output);
        code != Some(0)
    });
    let checked = checked.unwrap();
    assert_eq!(checked.status.code(), Some(1), "{checked:?}");
    let said = String::from_utf8(checked.stdout).unwrap();
    let where_it_is = "what stands behind the rows of user120@shakespeare.lit cannot be read";
    let line = said.lines().find(|line| line.starts_with("certs: "));
    assert!(
        line.unwrap()
            .ends_with(&format!(" rows, DAMAGED: {where_it_is}")),
        "{said}"
    );
    assert!(said.contains("revoked_keys: 0 rows, ok\n"), "{said}");
    assert!(
        said.ends_with("the store is DAMAGED; restore it from a backup\n"),
        "{said}"
    );
    let json = daemon.command("check").arg("--json").output().unwrap();
    assert_eq!(json.status.code(), Some(1), "{json:?}");
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["whole"], false, "{json}");

    let (code, after, words) = status(&daemon);
    assert_eq!(
        (code, &after["healthy"]),
        (Some(1), &json!(false)),
        "{after}"
    );
    assert_eq!(after["store"]["check"], json);
    let problem = format!("PROBLEM: the store is damaged (certs: {where_it_is}; checked on ");
    assert!(words.contains(&problem), "{words}");
    daemon.wait_for("word of it in the log", |daemon| {
        daemon
            .log()
            .contains("the store is damaged; restore it from a backup")
    });
}

#[test]
fn a_store_is_checked_when_it_was_not_for_a_day() {
    const NOON: i64 = 1_800_000_000;
    const DAY: i64 = 24 * 3600;
    let daemon = Daemon::prepared();
    let state = daemon.state();
    state.note_opening(UnixSeconds(NOON));
    for (now, is_due) in [
        (NOON, false),
        (NOON + DAY - 1, false),
        (NOON + DAY, true),
        (NOON + DAY + 1, false),
        // The clock was wrong.
        (NOON, true),
        (NOON + 1, false),
    ] {
        let was_checked = state.check_store_if_due(UnixSeconds(now));
        assert_eq!(was_checked, is_due, "{now}");
    }
    state.close();
    // Where not everything was read when it was opened, that is due at once.
    drop(state);
    let state = daemon.state();
    assert!(state.check_store_if_due(UnixSeconds(NOON)));
    state.close();
}

#[test]
fn the_file_that_says_how_far_the_store_had_come_may_be_lost() {
    let mut daemon = Daemon::start();
    let phone = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &phone);
    let path = daemon.data_dir().join("SEQUENCE");
    let written = fs::read(&path).unwrap();
    assert!(daemon.stop().success());
    for damage in [None, Some(&b"saslcertd 7\n"[..]), Some(b"")] {
        match damage {
            None => fs::remove_file(&path).unwrap(),
            Some(bytes) => fs::write(&path, bytes).unwrap(),
        }
        daemon.serve();
        daemon.server(json!({})).login(&phone);
        daemon.wait_for("word of it in the log", |daemon| {
            daemon.log().contains("SEQUENCE")
        });
        assert!(daemon.stop().success());
        assert_eq!(fs::read(&path).unwrap().len(), written.len());
    }
}

/// The file lies on a small disk of its own, which is filled.
#[test]
fn a_change_stands_although_the_file_that_says_how_far_the_store_has_come_cannot_be_written() {
    let mut daemon = Daemon::prepared();
    let disk = SmallDisk::of_one_page(&daemon.folder.path().join("small"));
    let (path, elsewhere) = (daemon.data_dir().join("SEQUENCE"), disk.0.join("SEQUENCE"));
    fs::copy(&path, &elsewhere).unwrap();
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    daemon.serve();
    let (code, before, _) = status(&daemon);
    assert_eq!(
        (code, &before["store"]["sequence_problem"]),
        (Some(0), &Value::Null)
    );
    let file = fs::OpenOptions::new().write(true).open(&elsewhere).unwrap();
    file.set_len(0).unwrap();
    let filler = disk.0.join("filler");
    fs::write(&filler, [7; 4096]).unwrap();

    let (phone, tablet) = (Made::of(HAMLET), Made::of(HAMLET));
    let mut server = daemon.server(json!({}));
    server.append("phone", &phone);
    server.append("tablet", &tablet);
    server.ask("certificate.revoke", revoke("phone"));
    server.login(&tablet);
    let (code, json, words) = status(&daemon);
    let problem = json["store"]["sequence_problem"].as_str().unwrap();
    assert!(problem.contains("No space left"), "{problem}");
    assert_eq!((code, &json["healthy"]), (Some(1), &json!(false)), "{json}");
    assert!(
        words.contains("SEQUENCE cannot be written (No space left"),
        "{words}"
    );
    assert_eq!(fs::read(&elsewhere).unwrap(), b"");

    // The next change writes it again.
    fs::remove_file(&filler).unwrap();
    server.ask("certificate.disable", named("tablet"));
    let (code, json, _) = status(&daemon);
    assert_eq!(
        (code, &json["store"]["sequence_problem"]),
        (Some(0), &Value::Null)
    );
    let changes = json["store"]["changes"].as_u64().unwrap();
    let said = fs::read_to_string(&elsewhere).unwrap();
    assert!(said.contains(&format!(" {changes:020} ")), "{said}");
    daemon.wait_for("word of it in the log", |daemon| {
        let log = daemon.log();
        // Of each trouble once, however many changes it met.
        log.matches("the file cannot be written").count() == 1
            && log.contains("the file is written again")
    });
    daemon.kill();
    daemon.serve();
    let denial = daemon.server(json!({})).login_refused(&phone);
    assert_eq!(denial["data"]["denial"], "key-revoked");
    assert!(daemon.stop().success());
}

/// Room for one file of one page.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn of_one_page(folder: &Path) -> Self {
        fs::create_dir(folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=4k", "none"]);
        let mounted = mount.arg(folder).output().unwrap();
        assert!(
            mounted.status.success(),
            "this needs root and a tmpfs: {mounted:?}"
        );
        Self(folder.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The daemon may still have the file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
