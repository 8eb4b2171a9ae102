//! A store of format 1 is written anew when it is served, once, whatever comes between.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::passwords;
use crate::support::{Daemon, HAMLET, Made, named};

/// `data/` of a daemon that still wrote format 1 (commit e71139b), with twenty certificates of 15 KB, some of them in
/// files under `blobs/`, and `export`, what that daemon exported. It was made by `the_store_of_format_1_is_made`.
const FORMER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/daemon/stores/format-1.tar.gz"
);

/// A daemon that is not started, with that store; and the export.
pub fn former() -> (Daemon, String) {
    let daemon = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    unpack(daemon.folder.path());
    let export = fs::read_to_string(daemon.folder.path().join("export")).unwrap();
    (daemon, export)
}

/// Unpacks it into `folder`.
pub fn unpack(folder: &Path) {
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "-xzf", FORMER, "-C"]);
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

/// What lies in the data folder, and in sled's.
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
    let folder = daemon.folder.path();
    fs::write(folder.join("export"), export).unwrap();
    let mut tar = Command::new("tar");
    tar.args([
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "-czf",
        FORMER,
        "-C",
    ]);
    assert!(
        tar.arg(folder)
            .args(["data", "export"])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn a_store_of_format_1_is_written_anew_and_nothing_of_it_is_lost() {
    let (mut daemon, before) = former();
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
    assert_eq!(format, "saslcertd 2\n");
    daemon.wait_for("word of it in the log", |daemon| {
        let log = daemon.log();
        log.contains("the store has format 2 now") && log.contains("rows written: ")
    });
    // It goes on, and once is enough.
    let tablet = Made::of(HAMLET);
    let options = json!({"saslcertd_max_certs": 30});
    daemon.server(options.clone()).append("tablet", &tablet);
    daemon.restart();
    assert_eq!(daemon.log().matches("written anew").count(), 1);
    daemon.server(options).login(&tablet);
}

#[test]
fn a_migration_that_was_cut_off_anywhere_is_finished() {
    let (mut daemon, before) = former();
    let data = daemon.data_dir();
    let kept = daemon.folder.path().join("kept");
    fs::create_dir(&kept).unwrap();
    unpack(&kept);
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
        (2, [("sled", &old), ("sled.new", &new)]),
        // Half exchanged.
        (2, [("sled.old", &old), ("sled.new", &new)]),
        (2, [("sled.old", &old), ("sled", &new)]),
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
    let (daemon, _) = former();
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
    let (daemon, _) = former();
    let kept = daemon.folder.path().join("kept");
    fs::rename(daemon.data_dir(), &kept).unwrap();
    fs::create_dir(daemon.data_dir()).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=8m", "none"]);
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
    assert_eq!(rest[..4], ["FORMAT", "LOCK", "REFUSED", "sled"]);
}
