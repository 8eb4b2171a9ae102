//! `init`, `serve`, their refusals, and the end.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::{Daemon, HAMLET, Made, append, list};

fn refusal(daemon: &Daemon) -> String {
    let output = daemon.command("serve").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn init_makes_a_store_once_and_says_so_again() {
    let daemon = Daemon::prepared();
    let mode = fs::metadata(daemon.data_dir()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o700);
    let again = daemon.command("init").output().unwrap();
    assert!(again.status.success());
    assert!(String::from_utf8(again.stdout).unwrap().contains("already"));
}

#[test]
fn root_makes_a_store_as_the_owner_of_its_folder() {
    // Nobody else can become somebody else.
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let daemon = Daemon::prepared();
    fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    fs::create_dir(daemon.data_dir()).unwrap();
    let (somebody, group) = (65_534, 65_533);
    std::os::unix::fs::chown(daemon.data_dir(), Some(somebody), Some(group)).unwrap();
    let made = daemon.command("init").output().unwrap();
    assert!(made.status.success(), "{made:?}");
    for name in ["FORMAT", "LOCK", "sled", "sled/db"] {
        let found = fs::metadata(daemon.data_dir().join(name)).unwrap();
        assert_eq!((found.uid(), found.gid()), (somebody, group), "{name}");
    }
}

#[test]
fn nobody_else_reads_a_store_in_a_folder_that_everybody_may_read() {
    let mut daemon = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    fs::create_dir(daemon.data_dir()).unwrap();
    fs::set_permissions(daemon.data_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(daemon.command("init").status().unwrap().success());
    daemon.serve();
    let mut server = daemon.server(json!({}));
    server.append("phone", &Made::of(HAMLET));
    for folder in ["", "sled"] {
        for entry in fs::read_dir(daemon.data_dir().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "{}: {mode:o}", entry.path().display());
        }
    }
}

#[test]
fn only_init_makes_a_store() {
    let daemon = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir()).unwrap();
    let said = refusal(&daemon);
    assert!(said.contains("saslcertd init --data-dir"), "{said}");
    assert!(!daemon.data_dir().exists());
}

#[test]
fn a_store_whose_database_is_gone_is_not_replaced_by_an_empty_one() {
    let daemon = Daemon::prepared();
    fs::remove_file(daemon.data_dir().join("sled/db")).unwrap();
    assert!(refusal(&daemon).contains("sled/db is missing"));
    let elsewhere = Daemon::prepared();
    fs::remove_dir_all(daemon.data_dir().join("sled")).unwrap();
    // Another store's FORMAT does not make another database ours.
    fs::create_dir(daemon.data_dir().join("sled")).unwrap();
    fs::write(daemon.data_dir().join("sled/db"), b"").unwrap();
    assert!(refusal(&daemon).contains("damaged"));
    drop(elsewhere);
}

#[test]
fn a_file_that_the_store_can_do_without_is_set_aside_when_it_is_damaged() {
    let mut daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    daemon.server(json!({})).append("phone", &cert);
    daemon.restart();
    assert!(daemon.stop().success());
    let sled = daemon.data_dir().join("sled");
    for (name, bytes) in [
        ("snap.", &b""[..]),
        ("snap.", b"garbage, and longer than a trailer"),
        ("conf", b"garbage, and longer than a trailer"),
    ] {
        let files = fs::read_dir(&sled).unwrap();
        let mut names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let found = names.find(|found| found.starts_with(name)).unwrap();
        fs::write(sled.join(&found), bytes).unwrap();
        daemon.serve();
        daemon.server(json!({})).login(&cert);
        let told = format!("sled/{found} set_aside_as=");
        daemon.wait_for("word of it in the log", |daemon| {
            daemon.log().contains(&told)
        });
        assert!(sled.join(format!("damaged.{found}")).exists());
        assert!(daemon.stop().success());
    }
}

#[test]
fn a_snapshot_of_roots_is_set_aside() {
    // Nobody else can become somebody else.
    if !nix::unistd::Uid::effective().is_root() {
        return;
    }
    let mut daemon = Daemon::start();
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
    daemon.restart();
    assert!(daemon.stop().success());
    fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut chown = std::process::Command::new("chown");
    chown.args(["-R", "65534:65534"]);
    chown.args([daemon.data_dir(), daemon.folder.path().join("run")]);
    assert!(chown.status().unwrap().success());
    let sled = daemon.data_dir().join("sled");
    let mut files = fs::read_dir(&sled)
        .unwrap()
        .map(|file| file.unwrap().path());
    let snapshot = files.find(|path| path.to_string_lossy().contains("/snap."));
    std::os::unix::fs::chown(snapshot.unwrap(), Some(0), Some(0)).unwrap();
    daemon.serve();
    daemon.wait_for("word of it in the log", |daemon| {
        let log = daemon.log();
        log.contains("Permission denied") && log.contains("was set aside")
    });
}

#[test]
fn every_refusal_of_the_engine_names_the_file_and_says_what_is_wrong() {
    let mut daemon = Daemon::start();
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
    daemon.restart();
    daemon.server(json!({})).append("tablet", &Made::of(HAMLET));
    daemon.restart();
    assert!(daemon.stop().success());
    let db = daemon.data_dir().join("sled/db");
    let whole = fs::read(&db).unwrap();
    for length in [0, 1, 100] {
        fs::write(&db, &whole[..length]).unwrap();
        let said = daemon.refusal();
        assert!(
            said.contains("sled's files are not those of this store"),
            "{length}: {said}"
        );
        assert!(said.contains(daemon.data_dir().to_str().unwrap()), "{said}");
    }
    fs::remove_file(&db).unwrap();
    fs::create_dir(&db).unwrap();
    let said = daemon.refusal();
    assert!(
        said.contains("cannot open") && said.contains("sled/db"),
        "{said}"
    );
}

#[test]
fn an_interrupted_init_is_repeated() {
    let daemon = Daemon::prepared();
    fs::remove_file(daemon.data_dir().join("FORMAT")).unwrap();
    fs::write(daemon.data_dir().join("FORMAT.new"), b"").unwrap();
    let left = daemon
        .data_dir()
        .join("sled/snap.0000000000000FFF.generating");
    fs::write(&left, b"half").unwrap();
    assert!(refusal(&daemon).contains("saslcertd init"));
    let again = daemon.command("init").output().unwrap();
    assert!(again.status.success(), "{again:?}");
    assert!(!left.exists());
    let mut daemon = daemon;
    daemon.serve();
}

#[test]
fn a_damaged_record_is_a_fault_for_its_account_and_turns_status_red() {
    let mut daemon = Daemon::start();
    daemon.server(json!({})).append("phone", &Made::of(HAMLET));
    assert!(daemon.stop().success());
    {
        let engine = daemon.engine();
        let records = engine.open_tree("certs").unwrap();
        let key = b"shakespeare.lit\0hamlet\0tablet";
        records.insert(key, b"\x09damaged").unwrap();
        let revoked = engine.open_tree("revoked_keys").unwrap();
        let key = [&b"shakespeare.lit\0hamlet\0"[..], &[7; 32], b"one"].concat();
        revoked.insert(key, b"\x09damaged").unwrap();
        engine.flush().unwrap();
    }
    // Such a store is not served before somebody says so.
    assert!(refusal(&daemon).contains("the store in"));
    daemon.serve_with(&["--accept-rollback"]);
    daemon.restart();
    let mut server = daemon.server(json!({}));
    // Not an empty list, and not a shorter one.
    let error = server.refused("certificate.list", list());
    assert_eq!(error["code"], -32001);
    // Of two live sessions the one whose revocation cannot be read is closed, and the other goes on.
    let session = |key: &str| {
        json!({"account": HAMLET, "fingerprint": key.repeat(32), "key_id": key.repeat(32),
            "incarnation": "one", "resource": key, "address": null})
    };
    let live = json!({"sessions": [session("07"), session("08")]});
    let close = json!([{
        "account": HAMLET, "key_id": "07".repeat(32),
        "condition": "not-authorized", "text": "This client certificate has been revoked",
    }]);
    assert_eq!(server.ask("session.report", live)["close"], close);
    let ophelia = "ophelia@shakespeare.lit";
    let theirs = crate::support::with(
        append("phone", &Made::of(ophelia)),
        "account",
        json!(ophelia),
    );
    server.ask("certificate.append", theirs);
    let output = daemon.command("status").arg("--json").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["healthy"], false, "{status}");
    assert!(status["store"]["corrupt_reads"].as_u64().unwrap() > 0);
    let output = daemon.command("status").output().unwrap();
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains("PROBLEM")
    );
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up() {
    let daemon = Daemon::prepared();
    let mut child = daemon
        .command("serve")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let start = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(daemon.socket()).is_err() {
        assert!(start.elapsed() < crate::support::PATIENCE);
    }
    let mut server = daemon.server(json!({}));
    let cert = Made::of(HAMLET);
    // More lines than a pipe holds.
    for _ in 0..3000 {
        server.ask("external.offer", crate::support::offer(&cert));
    }
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(child.id().try_into().unwrap()),
        nix::sys::signal::Signal::SIGTERM,
    )
    .unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_newer_store_is_refused_with_a_clear_line() {
    let daemon = Daemon::prepared();
    fs::write(daemon.data_dir().join("FORMAT"), "saslcertd 4\n").unwrap();
    let said = refusal(&daemon);
    assert!(
        said.contains("newer saslcertd (format 4; this one knows 3)"),
        "{said}"
    );
    let again = daemon.command("init").output().unwrap();
    assert_eq!(again.status.code(), Some(1));
}

#[test]
fn a_store_has_one_owner_who_is_named() {
    let daemon = Daemon::start();
    let output = daemon
        .command_at("serve", &daemon.folder.path().join("run/other"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("is in use by saslcertd, process"), "{said}");
}

#[test]
fn a_live_socket_is_left_alone_and_a_stale_one_is_replaced() {
    let mut daemon = Daemon::start();
    let other = Daemon::prepared();
    let output = other
        .command_at("serve", &daemon.socket())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("another saslcertd answers at"), "{said}");
    daemon.kill();
    assert!(daemon.socket().exists());
    daemon.serve();
    daemon.peer().ask("status", json!({}));
    let mode = fs::metadata(daemon.socket()).unwrap().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn what_is_not_a_socket_is_not_removed() {
    let daemon = Daemon::prepared();
    fs::write(daemon.socket(), b"precious").unwrap();
    assert!(refusal(&daemon).contains("is not a socket"));
    assert_eq!(fs::read(daemon.socket()).unwrap(), b"precious");
}

#[test]
fn a_full_queue_is_a_live_socket() {
    let daemon = Daemon::prepared();
    let listener = UnixListener::bind(daemon.socket()).unwrap();
    assert!(refusal(&daemon).contains("another saslcertd answers at"));
    drop(listener);
}

#[test]
fn a_folder_that_others_may_write_to_is_refused_with_the_line_that_mends_it() {
    let daemon = Daemon::prepared();
    let run = daemon.folder.path().join("run");
    let set_mode = |folder: &Path, mode| {
        fs::set_permissions(folder, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(&run, 0o777);
    assert!(refusal(&daemon).contains("chmod go-w"));
    set_mode(&run, 0o700);
    // A user who may write above it may put another folder there.
    set_mode(daemon.folder.path(), 0o777);
    let mend = format!("chmod go-w {}", daemon.folder.path().display());
    assert!(refusal(&daemon).contains(&mend));
    set_mode(daemon.folder.path(), 0o1777);
    let mut daemon = daemon;
    daemon.serve();
}

/// A prepared daemon, its store and the socket's folder given to somebody; none where we can't give.
fn prepared_for(somebody: u32, group: u32) -> Option<Daemon> {
    if !nix::unistd::Uid::effective().is_root() {
        return None;
    }
    let daemon = Daemon::prepared();
    fs::set_permissions(daemon.folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let run = daemon.folder.path().join("run");
    let data = daemon.data_dir();
    let all = [
        "",
        "FORMAT",
        "LOCK",
        "SEQUENCE",
        "sled",
        "sled/db",
        "sled/conf",
    ]
    .map(|name| data.join(name));
    for path in all.iter().chain([&run]) {
        std::os::unix::fs::chown(path, Some(somebody), Some(group)).unwrap();
    }
    for entry in fs::read_dir(data.join("sled")).unwrap() {
        std::os::unix::fs::chown(entry.unwrap().path(), Some(somebody), Some(group)).unwrap();
    }
    Some(daemon)
}

#[test]
fn root_serves_as_the_owner_of_the_store() {
    let (somebody, group) = (65_534, 65_533);
    let Some(mut daemon) = prepared_for(somebody, group) else {
        return;
    };
    daemon.serve();
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let numbers = |label: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(label));
        let words = line.unwrap().split_whitespace();
        words
            .map(|word| word.parse().unwrap())
            .collect::<Vec<u32>>()
    };
    assert_eq!(numbers("Uid:"), [somebody; 4]);
    assert_eq!(numbers("Gid:"), [group; 4]);
    // Root's are gone.
    assert_eq!(numbers("Groups:"), [group]);
    assert!(status.contains("CapEff:\t0000000000000000"), "{status}");
    let mut server = daemon.server(json!({}));
    server.append("phone", &Made::of(HAMLET));
    assert_eq!(fs::metadata(daemon.socket()).unwrap().uid(), somebody);
    for folder in ["", "sled"] {
        for entry in fs::read_dir(daemon.data_dir().join(folder)).unwrap() {
            let entry = entry.unwrap();
            let owner = entry.metadata().unwrap().uid();
            assert_eq!(owner, somebody, "{}", entry.path().display());
        }
    }
}

#[test]
fn files_of_roots_in_somebody_elses_store_are_named_with_the_line_that_mends_it() {
    // The last two are what a migration leaves that was cut off.
    for name in ["FORMAT", "LOCK", "sled", "sled/db", "sled.new", "sled.old"] {
        let Some(mut daemon) = prepared_for(65_534, 65_534) else {
            return;
        };
        let path = daemon.data_dir().join(name);
        match name {
            "sled.new" => fs::rename(daemon.data_dir().join("sled"), &path).unwrap(),
            "sled.old" => fs::create_dir(&path).unwrap(),
            _ => {}
        }
        std::os::unix::fs::chown(&path, Some(0), Some(0)).unwrap();
        let said = refusal(&daemon);
        let expected = format!(
            "{} belongs to root, and saslcertd runs as nobody",
            path.display()
        );
        assert!(said.contains(&expected), "{name}: {said}");
        let (_, line) = said.trim().rsplit_once("mend it with: ").unwrap();
        let mended = Command::new("sh").args(["-ec", line]).status().unwrap();
        assert!(mended.success(), "{line}");
        daemon.serve();
        daemon.peer().ask("status", json!({}));
    }
}

#[test]
fn a_folder_that_others_rely_on_is_left_as_it_is() {
    let daemon = Daemon::prepared();
    let open = tempfile::Builder::new().prefix("others").tempdir().unwrap();
    let mut cases = vec![(0o1777, 0), (0o775, 0)];
    if nix::unistd::Uid::effective().is_root() {
        cases.push((0o755, 5));
    }
    for (mode, owner) in cases {
        fs::set_permissions(open.path(), fs::Permissions::from_mode(mode)).unwrap();
        if owner != 0 {
            std::os::unix::fs::chown(open.path(), Some(owner), Some(owner)).unwrap();
        }
        let place = open.path().join("s.sock");
        let said = daemon.command_at("serve", &place).output().unwrap();
        let said = String::from_utf8(said.stderr).unwrap();
        assert!(
            said.contains("--socket /run/saslcertd/saslcertd.sock"),
            "{said}"
        );
        assert!(said.contains("saslcertd_socket"), "{said}");
        assert!(!said.contains("chmod") && !said.contains("chown"), "{said}");
    }
}

#[test]
fn an_unknown_user_stops_the_start_and_names_the_flag() {
    let daemon = Daemon::prepared();
    for flag in ["--server-user", "--admin-user"] {
        let output = daemon
            .command("serve")
            .args([flag, "nobody-of-that-name"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            said.contains(flag) && said.contains("nobody-of-that-name"),
            "{said}"
        );
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn sigterm_finishes_what_is_in_flight_and_keeps_it() {
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 1000}));
    let ids: Vec<u64> = (0..100)
        .map(|number| {
            let wish = append(&number.to_string(), &Made::of(HAMLET));
            server.send("certificate.append", wish)
        })
        .collect();
    let first = server.answer(ids[0]);
    assert!(first.get("error").is_none(), "{first}");
    assert!(daemon.stop().success());
    let acknowledged = 1 + server.rest().matches("\"fingerprint\"").count();
    assert!(!daemon.socket().exists());
    daemon.serve();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 1000}));
    let mut kept = 0;
    let mut after = json!(null);
    loop {
        let page = server.ask(
            "certificate.list",
            crate::support::with(list(), "after", after),
        );
        kept += page["certificates"].as_array().unwrap().len();
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert!(kept >= acknowledged, "{kept} of {acknowledged}");
    assert!(daemon.log().contains("stopped"));
}

#[test]
fn status_is_for_people_and_for_programs() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({"saslcertd_max_certs": 7}));
    server.append("phone", &Made::of(HAMLET));
    let output = daemon.command("status").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(
        said.contains("1 certificate of 1 account, 0 revoked keys"),
        "{said}"
    );
    assert!(said.contains("host shakespeare.lit: ready"), "{said}");
    let output = daemon.command("status").arg("--json").output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(status["healthy"], true);
    assert_eq!(status["store"]["certificates"], 1);
    let connections = status["connections"].as_array().unwrap();
    assert!(
        connections.iter().any(|one| one["software"] == "test"),
        "{status}"
    );
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let daemon = Daemon::prepared();
    let output = daemon.command("status").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("saslcertd is not running"), "{said}");
}

#[test]
fn what_expired_long_ago_is_swept_and_what_did_not_stays() {
    use saslcertd::identity::UnixSeconds;

    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let made = |year| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        Made::with(key, |params| {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let address = (vec![1, 3, 6, 1, 5, 5, 7, 8, 5], HAMLET.into());
            params.subject_alt_names = vec![rcgen::SanType::OtherName(address)];
        })
    };
    server.append("short", &made(2050));
    server.append("long", &made(2060));
    server.append("gone", &made(2050));
    server.ask("certificate.disable", crate::support::named("gone"));
    let swept_at = |daemon: &mut Daemon, seconds| {
        assert!(daemon.stop().success());
        let state = daemon.state();
        state.sweep(UnixSeconds(seconds));
        state.close();
        drop(state);
        daemon.serve();
        let listed = daemon.server(json!({})).ask("certificate.list", list());
        let count = |field: &str| listed[field].as_array().unwrap().len();
        (count("certificates"), count("disabled"))
    };
    let end_of_2049 = 2_524_608_000;
    assert_eq!(swept_at(&mut daemon, end_of_2049 + 30 * 86_400), (2, 1));
    assert_eq!(swept_at(&mut daemon, end_of_2049 + 30 * 86_400 + 1), (1, 0));
}

#[test]
fn a_command_may_be_read_by_who_has_read_enough() {
    let daemon = Daemon::start();
    let _server = daemon.server(json!({}));
    let doctor = ["doctor", "--prosodyctl", "/nowhere/prosodyctl"];
    for (words, status) in [
        (&doctor[..], 2),
        (&["status"], 0),
        (&["cert", "list", HAMLET], 0),
        (
            &["login", HAMLET, "--cert", "/nowhere", "--key", "/nowhere"],
            2,
        ),
    ] {
        for json in [&[][..], &["--json"]] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let mut command = daemon.command(words[0]);
            command.args(&words[1..]).args(json);
            let done = command.stdout(writer).output().unwrap();
            let said = String::from_utf8(done.stderr).unwrap();
            assert_eq!((done.status.code(), said.as_str()), (Some(status), ""));
        }
    }
    // A disk that is full is another thing.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut status = daemon.command("status");
    let done = status.stdout(full.unwrap()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(
        done.status.code() == Some(1) && said.contains("can't print"),
        "{said}"
    );
}
