//! Text that somebody else chose never ends a line, steers a terminal, or stands in it unseen.

use std::path::{Path, PathBuf};
use std::process::Output;

use saslcertd::identity::visible::is_hidden;
use serde_json::{Value, json};

use crate::support::{Daemon, HAMLET, Made, append, hello, list};

/// Every control character, one of each other kind of what can't be seen, and a line that could pass for one of the log.
fn poison() -> String {
    let controls = (0..=0x9f)
        .filter_map(char::from_u32)
        .filter(|c| c.is_control());
    let others = "\u{ad}\u{200b}\u{200f}\u{2028}\u{2029}\u{202e}\u{2066}\u{3164}\u{fe0f}\u{feff}\u{fffe}\u{e0001}";
    controls.chain(others.chars()).collect::<String>()
        + "\n2026-01-01T00:00:00.000000Z  INFO external.login: yes"
}

/// The question, once for each string and each field's name in it, with `to` behind that.
fn each_with(question: &Value, to: &str) -> Vec<Value> {
    match question {
        Value::String(text) => vec![json!(format!("{text}{to}")), json!(to)],
        Value::Array(items) => {
            let changed = items
                .iter()
                .enumerate()
                .flat_map(|(at, item)| each_with(item, to).into_iter().map(move |item| (at, item)));
            changed
                .map(|(at, item)| {
                    let mut items = items.clone();
                    items[at] = item;
                    Value::Array(items)
                })
                .collect()
        }
        Value::Object(fields) => {
            let mut all = Vec::new();
            for (name, field) in fields {
                for field in each_with(field, to) {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), field);
                    all.push(Value::Object(fields));
                }
                let mut fields = fields.clone();
                fields.insert(format!("{name}{to}"), field.clone());
                all.push(Value::Object(fields));
            }
            all
        }
        // A type that is not the wanted one is echoed, too.
        _ => vec![json!(to)],
    }
}

#[test]
fn no_field_of_any_question_forges_a_line() {
    let reference = include_str!("../../docs/protocol.md");
    let questions: Vec<Value> = reference
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &Value| line.get("method").is_some() && line["id"].is_u64())
        .collect();
    assert!(questions.len() > 25, "{}", questions.len());
    let poison = poison();
    let mut daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    server.ask("session.hello", hello("rome.lit", json!({})));
    let mut asked = 0;
    for question in &questions {
        let method = question["method"].as_str().unwrap();
        let mut params = each_with(&question["params"], &poison);
        if method == "account.verify" {
            // Of them the failures count, and the rest says nothing more.
            params.truncate(8);
        }
        let methods = [format!("{method}{poison}"), poison.clone()];
        let of_method = methods.into_iter().map(|method| (method, json!({})));
        let of_params = params.into_iter().map(|params| (method.to_owned(), params));
        for (method, params) in of_method.chain(of_params) {
            asked += 1;
            let id = server.send(&method, params);
            let answer = server.answer(id);
            let said = answer.pointer("/error/message").and_then(Value::as_str);
            let said = said.unwrap_or_default();
            assert!(!said.contains(is_hidden), "{answer}");
        }
    }
    assert!(asked > 200, "{asked}");
    // It writes down the rest of its log as it stops.
    assert!(daemon.stop().success());
    let log = daemon.log();
    for line in log.lines() {
        assert!(!line.contains(is_hidden), "{line:?}");
        let (time, rest) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line:?}");
        let level = rest.trim_start().split(' ').next().unwrap();
        assert!(["INFO", "WARN", "ERROR"].contains(&level), "{line:?}");
    }
    // They were named there, and not left out.
    for shown in [r"\u{1b}", r"\u{a}", r"\u{202e}"] {
        assert!(log.contains(shown), "{shown}");
    }
}

#[test]
fn what_cannot_be_seen_of_a_name_is_shown_and_can_be_typed() {
    let daemon = Daemon::start();
    let mut server = daemon.server(json!({}));
    let hidden = "pho\u{200b}ne\u{feff}\u{ad}\u{e0001}\u{202e}x";
    let shown = r"pho\u{200b}ne\u{feff}\u{ad}\u{e0001}\u{202e}x";
    let (one, other) = (Made::of(HAMLET), Made::of(HAMLET));
    let id = server.send("certificate.append", append(hidden, &one));
    assert_eq!(server.answer(id)["result"]["name"], hidden);
    let text = server.question("account.notify")["text"].to_string();
    assert!(!text.contains(is_hidden), "{text}");
    assert!(text.replace(r"\\", r"\").contains(shown), "{text}");
    server.append("phonex", &other);
    let run = |args: &[&str]| {
        let mut command = daemon.command(args[0]);
        command.args(&args[1..]).output().unwrap()
    };
    let out = |output: &Output| String::from_utf8(output.stdout.clone()).unwrap();
    let is_plain = |text: &str| !text.contains(|letter| letter != '\n' && is_hidden(letter));
    let listed = out(&run(&["cert", "list", HAMLET]));
    assert!(listed.contains(&format!("{shown}\n")), "{listed}");
    assert!(is_plain(&listed), "{listed:?}");
    let as_json = out(&run(&["cert", "list", HAMLET, "--json"]));
    assert!(is_plain(&as_json), "{as_json:?}");
    let as_json: Value = serde_json::from_str(&as_json).unwrap();
    let row = &as_json["certificates"][0];
    assert_eq!(
        (&row["name"], &row["shown"]["name"]),
        (&json!(hidden), &json!(shown))
    );
    let revoked = run(&["cert", "revoke", HAMLET, shown]);
    assert!(revoked.status.success(), "{revoked:?}");
    assert!(out(&revoked).contains(shown), "{revoked:?}");
    let left = server.ask("certificate.list", list());
    assert_eq!(left["certificates"][0]["name"], "phonex");
    // An error, too.
    let refused = run(&["cert", "list", "a\u{1b}]0;b\u{7}\u{9b}@x"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(is_plain(&said) && said.contains(r"\u{1b}"), "{said:?}");
}

/// The texts of a line that put a number right before a word that means several.
fn bare_plurals(line: &str) -> Vec<String> {
    const MANY: [&str; 20] = [
        "accounts",
        "addresses",
        "authorities",
        "bytes",
        "certificates",
        "changes",
        "connections",
        "days",
        "files",
        "hosts",
        "keys",
        "lists",
        "options",
        "passwords",
        "reads",
        "records",
        "rows",
        "sessions",
        "tokens",
        "users",
    ];
    const BETWEEN: [&str; 5] = ["certificate", "more", "other", "revoked", "saslcertd_*"];
    let mut found = Vec::new();
    for (at, end) in line.match_indices("} ").chain(line.match_indices("%d ")) {
        let before = line[..at].rsplit('{').next().unwrap_or_default();
        // A limit is not one.
        if end == "} " && before.contains(|letter: char| letter.is_ascii_uppercase())
            || end == "%d " && line.contains("max_")
        {
            continue;
        }
        let mut words = line[at + end.len()..]
            .split(|letter: char| !letter.is_ascii_lowercase() && !"_*".contains(letter))
            .skip_while(|word| BETWEEN.contains(word));
        if words.next().is_some_and(|word| MANY.contains(&word)) {
            found.push(line.trim().to_owned());
        }
    }
    found
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path
            .extension()
            .is_some_and(|end| end == "rs" || end == "lua")
            && path.file_name() != Some("tests.rs".as_ref())
        {
            all.push(path);
        }
    }
}

#[test]
fn nobody_reads_of_1_certificates() {
    assert_eq!(bare_plurals(r#""{} certificates of""#).len(), 1);
    assert_eq!(bare_plurals(r#""{} more hosts", "%d sessions""#).len(), 2);
    assert!(bare_plurals(r#""{MAX} bytes" "{shown}: keys""#).is_empty());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = Vec::new();
    for folder in ["src", "prosody-glue"] {
        sources(&root.join(folder), &mut all);
    }
    assert!(all.len() > 100);
    for path in all {
        let text = std::fs::read_to_string(&path).unwrap();
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for line in text.lines() {
            let found = bare_plurals(line);
            assert!(found.is_empty(), "{}: {found:?}", path.display());
        }
    }
}
