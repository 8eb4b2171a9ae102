//! The import against a daemon that answers what a test tells it to.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::bring::{ImportError, Selection, import};
use super::report::Report;
use crate::identity::Host;
use crate::protocol::PROTOCOL_VERSION;

const PLAIN: &str = "return { password = \"secret\" };\n";

/// A data folder, and what came of importing it.
struct Scene {
    place: TempDir,
    wanted: Selection,
}

struct Outcome {
    result: Result<bool, ImportError>,
    lines: Vec<Value>,
    questions: Vec<Value>,
}

impl Scene {
    fn new(files: &[(&str, &str)]) -> Self {
        let place = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = place.path().join("data").join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        let wanted = Selection {
            dir: place.path().join("data"),
            #[cfg(feature = "sql")]
            sql: None,
            hosts: Vec::new(),
            certs_only: false,
            apply: false,
            new_host: false,
        };
        Self { place, wanted }
    }

    /// Runs the import against a daemon that answers each question as `answer` says: with a result, or with an
    /// error; null hangs up.
    fn import(&self, answer: impl Fn(&str, &Value) -> Value + Send + 'static) -> Outcome {
        let socket = self.place.path().join("socket");
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let questions = Arc::new(Mutex::new(Vec::new()));
        let asked = Arc::clone(&questions);
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap();
                assert!(line.len() < 128 * 1024);
                let question: Value = serde_json::from_str(&line).unwrap();
                let mut reply = answer(question["method"].as_str().unwrap(), &question["params"]);
                asked.lock().unwrap().push(question.clone());
                if reply.is_null() {
                    return;
                }
                reply["id"] = question["id"].clone();
                writeln!(stream, "{reply}").unwrap();
            }
        });
        let mut out = Vec::new();
        let result = import(&self.wanted, &socket, Report::new(&mut out, true));
        daemon.join().unwrap();
        let out = String::from_utf8(out).unwrap();
        let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
        let questions = questions.lock().unwrap().clone();
        Outcome {
            result,
            lines: lines.collect(),
            questions,
        }
    }
}

impl Outcome {
    fn totals(&self) -> &Value {
        self.lines.last().unwrap()
    }
}

/// A yes to everything.
fn take_all(_: &str, params: &Value) -> Value {
    let taken = json!({"verdict": "taken", "reason": null, "text": null});
    let row = |certificate: &Value| json!({"name": certificate["name"], "verdict": "taken", "reason": null, "text": null});
    let certificates = params["certificates"].as_array().unwrap();
    let rows: Vec<Value> = certificates.iter().map(row).collect();
    json!({"result": {"account": taken, "certificates": rows}})
}

fn fault(code: i64) -> Value {
    json!({"error": {"code": code, "message": "words", "data": {}}})
}

/// A file of `mod_client_certs` with certificates of `bytes` bytes each.
fn certificates(names: impl Iterator<Item = String>, bytes: usize) -> String {
    let entry = |name| {
        format!(
            "[\"{name}\"] = {{ x509cert = \"MIIB{}\" }};",
            "A".repeat(bytes)
        )
    };
    format!("return {{ {} }};", names.map(entry).collect::<String>())
}

#[test]
fn the_question_says_what_the_folder_says() {
    let scene = Scene::new(&[
        (
            "rome%2elit/accounts/brutus.dat",
            "return { password = \"et tu?\"; created = 5; disabled = true };",
        ),
        (
            "rome%2elit/client_certs/brutus.dat",
            "return { phone = { pem = \"MIIB\"; no_cert_management = true } };",
        ),
        (
            "rome%2elit/saslcertd/brutus.dat",
            "return { incarnation = \"6f1d2c\" };",
        ),
    ]);
    let outcome = scene.import(take_all);
    assert!(outcome.result.unwrap());
    assert_eq!(outcome.questions.len(), 1);
    assert_eq!(outcome.questions[0]["method"], "account.import");
    assert_eq!(
        outcome.questions[0]["params"],
        json!({
            "account": "brutus@rome.lit", "incarnation": "6f1d2c", "apply": false,
            "login": {"enabled": false, "created": 5, "password_changed": null, "password": "et tu?", "scram": []},
            "certificates": [{"name": "phone", "certificate": "MIIB", "may_manage": false}],
        })
    );
}

#[test]
fn each_host_and_user_is_asked_about_in_order_and_only_those_that_were_named() {
    let files = [
        "b%2elit/accounts/y",
        "b%2elit/accounts/x",
        "a%2elit/accounts/z",
        "b%2elit/client_certs/w",
    ];
    let files = files.map(|path| {
        (
            format!("{path}.dat"),
            if path.contains("certs") {
                "return { p = { pem = \"MIIB\" } }"
            } else {
                PLAIN
            },
        )
    });
    let files: Vec<_> = files
        .iter()
        .map(|(path, content)| (path.as_str(), *content))
        .collect();
    let mut scene = Scene::new(&files);
    let accounts = |outcome: Outcome| {
        let questions = outcome.questions.into_iter();
        questions
            .map(|one| one["params"]["account"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        accounts(scene.import(take_all)),
        ["z@a.lit", "w@b.lit", "x@b.lit", "y@b.lit"]
    );
    scene.wanted.hosts = vec![Host::parse("a.lit").unwrap()];
    assert_eq!(accounts(scene.import(take_all)), ["z@a.lit"]);
    scene.wanted.hosts = Vec::new();
    scene.wanted.certs_only = true;
    let outcome = scene.import(take_all);
    assert_eq!(outcome.questions[0]["params"]["login"], Value::Null);
    assert_eq!(outcome.totals()["accounts"]["found"], 0);
    assert_eq!(accounts(outcome), ["w@b.lit"]);
}

#[test]
fn many_certificates_go_into_several_questions_and_the_login_once_when_it_is_applied() {
    let names = (0..30).map(|number| format!("{number:02}"));
    let file = certificates(names, 16_000);
    let mut scene = Scene::new(&[
        ("rome%2elit/accounts/brutus.dat", PLAIN),
        ("rome%2elit/client_certs/brutus.dat", &file),
    ]);
    for apply in [true, false] {
        scene.wanted.apply = apply;
        let outcome = scene.import(take_all);
        assert!(outcome.questions.len() > 4);
        for (number, question) in outcome.questions.iter().enumerate() {
            let has_login = !question["params"]["login"].is_null();
            // An account that was only looked at does not exist at the next question.
            assert_eq!(has_login, number == 0 || !apply);
        }
        let names = outcome.lines[0]["certificates"].as_array().unwrap();
        assert!(
            names.iter().map(|one| &one["name"]).eq((0..30)
                .map(|number| json!(format!("{number:02}")))
                .collect::<Vec<_>>()
                .iter())
        );
        assert_eq!(outcome.totals()["certificates"]["taken"], 30);
        assert_eq!(outcome.totals()["accounts"]["taken"], 1);
    }
}

#[test]
fn what_cannot_be_sent_is_refused_here_and_the_rest_is_asked_about() {
    let long_name = "n".repeat(1025);
    let file = certificates(["large".to_owned()].into_iter(), 24 * 1024);
    let file = file.replace(
        "return {",
        &format!(
            "return {{ good = {{ pem = \"MIIB\" }}; bad = {{}}; {long_name} = {{ pem = \"MIIB\" }};"
        ),
    );
    let scene = Scene::new(&[
        ("rome%2elit/client_certs/brutus.dat", &file),
        (
            "rome%2elit/accounts/portia.dat",
            "return { created = 5, disabled = true };",
        ),
        (
            "rome%2elit/client_certs/portia.dat",
            "return { p = { pem = \"MIIB\" } }",
        ),
        (
            "rome%2elit/accounts/cassius.dat",
            "return { salt = \"x\" };",
        ),
        ("rome%2elit/accounts/casca.dat", "nonsense"),
        ("rome%2elit/client_certs/cinna.dat", "nonsense"),
    ]);
    let outcome = scene.import(take_all);
    assert!(!outcome.result.unwrap());
    assert_eq!(outcome.questions.len(), 1);
    assert_eq!(outcome.questions[0]["params"]["login"], Value::Null);
    let totals = outcome.lines.last().unwrap();
    assert_eq!(
        totals["accounts"],
        json!({"found": 3, "taken": 0, "unchanged": 0, "kept": 0, "refused": 2, "unclear": 1,
            "refused_for": {"no-password": 1, "damaged": 1}})
    );
    assert_eq!(
        totals["certificates"],
        json!({"found": 5, "taken": 1, "unchanged": 0, "kept": 0, "refused": 4, "unclear": 0,
            "refused_for": {"account-not-taken": 1, "unreadable": 1, "cert-unacceptable": 1, "name-invalid": 1}})
    );
    assert_eq!(totals["other_problems"], 1);
    let cassius = outcome
        .lines
        .iter()
        .find(|line| line["account"] == "cassius@rome.lit")
        .unwrap();
    let text = cassius["login"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("damaged: ") && text.ends_with("/rome%2elit/accounts/cassius.dat)"),
        "{text}"
    );
}

#[test]
fn a_host_that_nobody_declared_is_said_once_and_declared_only_if_that_is_wanted() {
    let mut scene = Scene::new(&[
        ("rome%2elit/accounts/brutus.dat", PLAIN),
        ("rome%2elit/accounts/cassius.dat", PLAIN),
        (
            "rome%2elit/client_certs/cassius.dat",
            "return { p = { pem = \"MIIB\" } }",
        ),
        ("egypt%2elit/accounts/charmian.dat", PLAIN),
    ]);
    let answer = |method: &str, params: &Value| match method {
        "status" => json!({"result": {"hosts": [{"host": "egypt.lit"}]}}),
        _ if params["account"] == "charmian@egypt.lit" => take_all(method, params),
        _ => fault(-32_002),
    };
    let outcome = scene.import(answer);
    assert!(!outcome.result.unwrap());
    let problems: Vec<_> = outcome
        .lines
        .iter()
        .filter(|line| line["type"] == "problem")
        .collect();
    assert_eq!(problems.len(), 1);
    assert!(problems[0]["text"].as_str().unwrap().contains("--new-host"));
    let totals = outcome.lines.last().unwrap();
    assert_eq!(
        (&totals["accounts"]["taken"], &totals["accounts"]["unclear"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(totals["certificates"]["unclear"], 1);

    scene.wanted.apply = true;
    scene.wanted.new_host = true;
    let declared = Mutex::new(false);
    let outcome = scene.import(move |method, params| {
        let mut declared = declared.lock().unwrap();
        *declared |= method == "session.hello";
        match method {
            "session.hello" => json!({"result": {"protocol": PROTOCOL_VERSION, "software": "saslcertd", "hosts": [], "log": [], "registration": {"type": "auth", "condition": "not-authorized", "text": ""}}}),
            "account.import" if *declared => take_all(method, params),
            _ => answer(method, params),
        }
    });
    assert!(outcome.result.unwrap());
    let hello = outcome
        .questions
        .iter()
        .find(|one| one["method"] == "session.hello")
        .unwrap();
    assert_eq!(hello["params"]["sessions"], false);
    assert_eq!(
        hello["params"]["hosts"],
        json!([{"host": "rome.lit", "accounts": "daemon", "options": {}}])
    );
}

#[test]
fn a_host_whose_options_were_refused_is_not_declared_anew() {
    let mut scene = Scene::new(&[("rome%2elit/accounts/brutus.dat", PLAIN)]);
    scene.wanted.apply = true;
    scene.wanted.new_host = true;
    let outcome = scene.import(|method, _| match method {
        "status" => json!({"result": {"hosts": [{"host": "rome.lit"}]}}),
        _ => fault(-32_002),
    });
    assert!(!outcome.result.unwrap());
    assert!(
        outcome
            .questions
            .iter()
            .all(|one| one["method"] != "session.hello")
    );
    assert!(
        outcome.lines[0]["text"]
            .as_str()
            .unwrap()
            .contains("status")
    );
}

#[test]
fn a_fault_leaves_its_account_unclear_and_a_lost_daemon_ends_the_import() {
    let scene = Scene::new(&[
        ("rome%2elit/accounts/brutus.dat", PLAIN),
        ("rome%2elit/accounts/cassius.dat", PLAIN),
        (
            "rome%2elit/client_certs/brutus.dat",
            "return { p = { pem = \"MIIB\" } }",
        ),
    ]);
    let outcome = scene.import(|method, params| {
        if params["account"] == "brutus@rome.lit" {
            fault(-32_001)
        } else {
            take_all(method, params)
        }
    });
    assert!(!outcome.result.unwrap());
    let totals = outcome.lines.last().unwrap();
    assert_eq!(
        (&totals["accounts"]["unclear"], &totals["accounts"]["taken"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(totals["certificates"]["unclear"], 1);

    let outcome = scene.import(|method, params| {
        if params["account"] == "cassius@rome.lit" {
            Value::Null
        } else {
            take_all(method, params)
        }
    });
    let error = outcome.result.unwrap_err();
    let ImportError::BrokenOff(lost) = &error else {
        panic!("{error:?}");
    };
    assert!(lost.to_string().contains("closed the connection"), "{lost}");

    let unheard = scene.import(|_, _| fault(-32_601)).result;
    assert!(
        matches!(unheard, Err(ImportError::Unheard { .. })),
        "{unheard:?}"
    );
    let nonsense = |_: &str, _: &Value| json!({"result": {"account": {"verdict": "taken"}, "certificates": []}});
    let nonsense = scene.import(nonsense).result;
    assert!(
        matches!(
            nonsense,
            Err(ImportError::OtherCount {
                answered: 0,
                asked: 1
            })
        ),
        "{nonsense:?}"
    );
}

#[test]
fn a_folder_or_host_that_is_not_there_is_an_error() {
    let mut scene = Scene::new(&[("rome%2elit/accounts/brutus.dat", PLAIN)]);
    let socket = scene.place.path().join("no-socket");
    let mut fails = |change: &dyn Fn(&mut Selection)| {
        change(&mut scene.wanted);
        let error = import(&scene.wanted, &socket, Report::new(Vec::new(), false)).unwrap_err();
        error.to_string()
    };
    assert!(fails(&|_| ()).contains("not running"));
    assert!(
        fails(&|args| args.hosts = vec![Host::parse("egypt.lit").unwrap()]).contains("egypt.lit")
    );
    let here = std::env::current_exe().unwrap();
    assert!(fails(&|args| args.dir.clone_from(&here)).contains("not a folder"));
    assert!(fails(&|args| args.dir = here.join("missing")).contains("cannot read"));
}

#[cfg(feature = "sql")]
#[test]
fn an_account_in_both_places_is_taken_only_if_both_say_the_same() {
    let mut scene = Scene::new(&[
        ("rome%2elit/accounts/brutus.dat", PLAIN),
        ("rome%2elit/accounts/cassius.dat", PLAIN),
        ("rome%2elit/accounts/file.dat", PLAIN),
        (
            "rome%2elit/client_certs/database.dat",
            "return { p = { pem = \"MIIB\" } }",
        ),
    ]);
    let file = scene.place.path().join("prosody.sqlite");
    let database = rusqlite::Connection::open(&file).unwrap();
    database
        .execute_batch(
            "CREATE TABLE prosody (host TEXT, user TEXT, store TEXT, key TEXT, type TEXT, value TEXT);
             INSERT INTO prosody VALUES ('rome.lit', 'brutus', 'accounts', 'password', 'string', 'secret'),
             ('rome.lit', 'cassius', 'accounts', 'password', 'string', 'another'),
             ('rome.lit', 'database', 'accounts', 'password', 'string', 'secret'),
             ('rome.lit', 'database', 'saslcertd', 'incarnation', 'string', '6f1d2c'),
             ('egypt.lit', 'charmian', 'accounts', 'password', 'string', 'secret');",
        )
        .unwrap();
    scene.wanted.sql = Some(file);
    let outcome = scene.import(take_all);
    assert!(!outcome.result.unwrap());
    let of = |jid: &str| {
        let lines = outcome.lines.iter();
        lines.clone().find(|line| line["account"] == jid).unwrap()["login"]["verdict"].clone()
    };
    assert_eq!(of("brutus@rome.lit"), "taken");
    assert_eq!(of("cassius@rome.lit"), "unclear");
    assert_eq!(of("file@rome.lit"), "taken");
    assert_eq!(of("charmian@egypt.lit"), "taken");
    let mut asked = outcome.questions.iter().map(|one| &one["params"]);
    let database = asked
        .find(|params| params["account"] == "database@rome.lit")
        .unwrap();
    assert_eq!(database["incarnation"], "6f1d2c");
    assert_eq!(database["certificates"].as_array().unwrap().len(), 1);
    assert!(!asked.any(|params| params["account"] == "cassius@rome.lit"));
}
