//! docs/protocol.md says what is so: every example in it is tried.

use std::collections::BTreeSet;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use saslcertd::daemon::dispatch::QUESTIONS;
use saslcertd::protocol::{
    AccountChanged, AskIncarnation, Before, CloseSessions, Closed, Lane, NotifyAccount, Opened,
    RegisterAccount, ScramChanged, ServerNotice, ServerRequest,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::passwords;
use crate::support::{Daemon, HAMLET, Made, ONE, append, named};

/// The JSON blocks of the page, with the placeholders of certificates and hashes filled in.
fn examples(cert: &Made, login: &Value) -> Vec<Value> {
    let page = include_str!("../../docs/protocol.md");
    let blocks = page.split("```json\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks
        .map(|block| {
            let block = block
                .replace("MIIB…", &cert.base64())
                .replace("6f1d2c", ONE)
                .replace(
                    "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7",
                    login["fingerprint"].as_str().unwrap(),
                )
                .replace(
                    "9d3a0f2f9a6f3f8f0e1c2b3a495867768594a3b2c1d0e0f1029384756a6b7c8d",
                    login["key_id"].as_str().unwrap(),
                );
            serde_json::from_str(&block).unwrap_or_else(|error| panic!("{error}: {block}"))
        })
        .collect()
}

/// Each question of the page, with the answers that stand behind it.
fn exchanges(examples: Vec<Value>) -> Vec<(Value, Vec<Value>)> {
    let mut found: Vec<(Value, Vec<Value>)> = Vec::new();
    for example in examples {
        match found.last_mut() {
            _ if example.get("method").is_some() => found.push((example, Vec::new())),
            Some((question, answers)) if question.get("id") == example.get("id") => {
                answers.push(example);
            }
            // An answer by itself: the example of an error.
            _ => {}
        }
    }
    found
}

/// The same fields with values of the same kind; `null` stands for anything.
fn is_like(example: &Value, real: &Value) -> bool {
    match (example, real) {
        (Value::Object(example), Value::Object(real)) => {
            example.len() == real.len()
                && example.iter().all(|(name, value)| {
                    // Which options are set is the admin's.
                    let is_free = name == "options";
                    real.get(name)
                        .is_some_and(|real| is_free || is_like(value, real))
                })
        }
        (Value::Array(example), Value::Array(real)) => {
            let both = example.first().zip(real.first());
            both.is_none_or(|(example, real)| is_like(example, real))
        }
        (Value::Null, _)
        | (_, Value::Null)
        | (Value::String(_), Value::String(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Number(_), Value::Number(_)) => true,
        _ => false,
    }
}

/// Is all that `example` says in `read`? What it leaves out is read as its default.
fn holds(read: &Value, example: &Value) -> bool {
    match (read, example) {
        (Value::Object(read), Value::Object(example)) => example
            .iter()
            .all(|(name, value)| read.get(name).is_some_and(|read| holds(read, value))),
        (Value::Array(read), Value::Array(example)) => {
            read.len() == example.len()
                && read
                    .iter()
                    .zip(example)
                    .all(|(read, value)| holds(read, value))
        }
        _ => read == example,
    }
}

#[test]
fn a_field_that_nobody_reads_is_noticed() {
    let read = |params: &Value| {
        let row = QUESTIONS
            .iter()
            .find(|row| row.method == "external.login")
            .unwrap();
        (row.again)(params.clone())
    };
    let good = json!({
        "host": "shakespeare.lit",
        "chain": [Made::of(HAMLET).base64()],
        "authzid": "aGFtbGV0",
        "accounts": [{"username": "hamlet", "exists": true, "enabled": true}],
    });
    assert!(holds(&read(&good).unwrap(), &good));
    for (place, field) in [("", "stream_form"), ("/accounts/0", "incarnatoin")] {
        let mut wrong = good.clone();
        wrong.pointer_mut(place).unwrap()[field] = json!(ONE);
        assert!(!holds(&read(&wrong).unwrap(), &wrong), "{field}");
    }
    // An element that can't be read is not written again as it came.
    let mut wrong = good.clone();
    wrong["accounts"][0]["enabled"] = json!("yes");
    assert!(read(&wrong).is_err());
}

#[test]
fn every_question_of_the_page_is_answered_as_the_page_says() {
    let daemon = Daemon::start();
    let cert = Made::of(HAMLET);
    let mut server = daemon.server(json!({}));
    let first = server.append("phone", &cert);
    let login = server.login(&cert);
    assert_eq!(login["fingerprint"], first["fingerprint"]);
    let mut rome = passwords::server(&daemon, json!({"saslcertd_scram_iterations": 10_000}));
    rome.ask(
        "account.create",
        passwords::create("cinna@rome.lit", "poet"),
    );
    let mut tried = 0;
    for (question, wanted) in exchanges(examples(&cert, &login)) {
        let (Some(method), Some(id)) = (question["method"].as_str(), question.get("id")) else {
            continue;
        };
        if id.is_string() {
            // The daemon's own.
            continue;
        }
        // A question needs what it is about.
        if method.starts_with("account.") {
            let brutus = passwords::create(passwords::BRUTUS, "et tu?");
            let id = server.send("account.create", brutus);
            server.answer(id);
        }
        if method == "certificate.append" {
            let id = server.send("certificate.disable", named("phone"));
            server.answer(id);
        } else if ["certificate.", "external.", "command.", "console."]
            .iter()
            .any(|family| method.starts_with(family))
        {
            let is_revoked_before = method.starts_with("command.")
                || method.starts_with("console.")
                || ["certificate.request", "certificate.revoke"].contains(&method);
            if is_revoked_before {
                server.ask(
                    "certificate.unrevoke",
                    json!({"account": HAMLET, "key_id": null}),
                );
            }
            let id = server.send("certificate.append", append("phone", &cert));
            server.answer(id);
        }
        assert!(!wanted.is_empty(), "no answer to {method} on the page");
        server.write(format!("{question}\n").as_bytes());
        let answer = loop {
            let line = server.line().unwrap();
            if line["id"] == *id && line.get("method").is_none() {
                break line;
            }
        };
        assert!(
            wanted.iter().any(|wanted| is_like(wanted, &answer)),
            "{method}\npage:   {wanted:?}\ndaemon: {answer}"
        );
        tried += 1;
    }
    assert!(tried >= 10, "only {tried} examples were tried");
}

#[test]
fn the_table_of_questions_is_that_of_the_code() {
    let page = include_str!("../../docs/protocol.md");
    let (_, table) = page.split_once("| question | who may ask |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let on_page: Vec<Vec<&str>> = rows(table);
    let code = QUESTIONS.iter().map(|row| {
        let before = match row.before {
            Before::Nothing => "–",
            Before::Hello => "hello of a server",
            Before::AnyHello => "hello",
            Before::HelloWithSessions => "hello with sessions",
        };
        let lane = match row.lane {
            Lane::AtOnce => "at once",
            Lane::Read => "by a read",
            Lane::Task => "as a task",
            Lane::Try => "in turn, a try",
            Lane::Change => "in turn, a change",
        };
        [
            format!("`{}`", row.method),
            row.role.name().to_owned(),
            before.to_owned(),
            lane.to_owned(),
        ]
    });
    assert_eq!(on_page, code.collect::<Vec<_>>());
}

#[test]
fn every_question_has_an_example_that_the_daemon_reads_whole() {
    let cert = Made::of(HAMLET);
    let hash = "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7";
    let examples = examples(&cert, &json!({"fingerprint": hash, "key_id": hash}));
    for row in QUESTIONS {
        let of_it = examples
            .iter()
            .filter(|example| example["method"] == row.method);
        // A question that the daemon asks itself under the same name has no number as its id.
        let asked: Vec<&Value> = of_it.filter(|example| example["id"].is_number()).collect();
        assert!(!asked.is_empty(), "{} has no example", row.method);
        for example in asked {
            let params = &example["params"];
            let again =
                (row.again)(params.clone()).unwrap_or_else(|fault| panic!("{example}: {fault}"));
            assert!(
                holds(&again, params),
                "{}: {params} was read as {again}",
                row.method
            );
        }
    }
}

#[test]
fn every_field_of_a_question_stands_in_one_of_its_examples() {
    let cert = Made::of(HAMLET);
    let hash = "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7";
    let examples = examples(&cert, &json!({"fingerprint": hash, "key_id": hash}));
    let (mut shown, mut read) = (BTreeSet::new(), BTreeSet::new());
    for row in QUESTIONS {
        let of_it = examples
            .iter()
            .filter(|example| example["method"] == row.method && example["id"].is_number());
        for example in of_it {
            let params = &example["params"];
            let again = (row.again)(params.clone()).unwrap();
            fields_below(params, row.method, &mut shown);
            fields_below(&again, row.method, &mut read);
        }
    }
    let missing: Vec<&String> = read.difference(&shown).collect();
    assert_eq!(missing, Vec::<&String>::new());
}

/// Each field, behind the name of what it stands in; the elements of a list have one name.
fn fields_below(value: &Value, inside: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                found.insert(format!("{inside} {name}"));
                fields_below(value, name, found);
            }
        }
        Value::Array(elements) => {
            for element in elements {
                fields_below(element, inside, found);
            }
        }
        _ => {}
    }
}

#[test]
fn the_sessions_that_a_server_tells_of_have_no_field_that_nobody_reads() {
    let cert = Made::of(HAMLET);
    let hash = "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7";
    let examples = examples(&cert, &json!({"fingerprint": hash, "key_id": hash}));
    let params_of = |method: &str| {
        let example = examples.iter().find(|example| example["method"] == method);
        example.unwrap()["params"].clone()
    };
    for (told, again) in [
        (
            params_of("session.opened"),
            again::<Opened> as fn(Value) -> _,
        ),
        (params_of("session.closed"), again::<Closed>),
    ] {
        let read = again(told.clone()).unwrap();
        assert!(holds(&read, &told), "{told} was read as {read}");
    }
}

#[test]
fn every_answer_of_the_page_is_whole_for_whoever_asks() {
    let cert = Made::of(HAMLET);
    let hash = "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7";
    let exchanges = exchanges(examples(
        &cert,
        &json!({"fingerprint": hash, "key_id": hash}),
    ));
    let mut tried = 0;
    for row in QUESTIONS {
        let of_it = exchanges
            .iter()
            // A question that the daemon asks itself under the same name has no number as its id.
            .filter(|(asked, _)| asked["method"] == row.method && asked["id"].is_number());
        let answers = of_it.flat_map(|(_, answers)| answers);
        let results: Vec<&Value> = answers.filter_map(|answer| answer.get("result")).collect();
        assert!(!results.is_empty(), "{} has no answer", row.method);
        for result in results {
            // Nothing is lost on the way, and nothing is missing.
            let again = (row.answer_again)(result.clone())
                .unwrap_or_else(|error| panic!("{}: {error}", row.method));
            assert_eq!(again, *result, "{}", row.method);
            tried += 1;
        }
    }
    assert!(tried >= QUESTIONS.len(), "only {tried} answers");
}

/// A question of the daemon's own, or what it tells.
struct Own {
    method: &'static str,
    again: fn(Value) -> serde_json::Result<Value>,
    /// None of what is only told.
    answer_again: Option<fn(Value) -> serde_json::Result<Value>>,
}

fn again<T: Serialize + DeserializeOwned>(value: Value) -> serde_json::Result<Value> {
    Ok(json!(serde_json::from_value::<T>(value)?))
}

fn asked<Q: ServerRequest>() -> Own {
    Own {
        method: Q::METHOD,
        again: again::<Q>,
        answer_again: Some(again::<Q::Answer>),
    }
}

fn told<N: ServerNotice>() -> Own {
    Own {
        method: N::METHOD,
        again: again::<N>,
        answer_again: None,
    }
}

#[test]
fn what_the_daemon_asks_and_tells_stands_on_the_page_with_its_fields() {
    let cert = Made::of(HAMLET);
    let hash = "4c5ef8ea21aba9e29aba1b2b08c6dd2ea1cdc1db5c56e5f4f2e3d2a9a1d5c2b7";
    let examples = examples(&cert, &json!({"fingerprint": hash, "key_id": hash}));
    let exchanges = exchanges(examples);
    let own = [
        asked::<CloseSessions>(),
        asked::<NotifyAccount>(),
        asked::<AccountChanged>(),
        asked::<AskIncarnation>(),
        asked::<RegisterAccount>(),
        told::<ScramChanged>(),
    ];
    let mut tried = 0;
    for (question, answers) in &exchanges {
        let is_asked = question["id"].is_string();
        let of_it =
            |own: &&Own| question["method"] == own.method && own.answer_again.is_some() == is_asked;
        let Some(own) = own.iter().find(of_it) else {
            assert!(!is_asked, "{question}");
            continue;
        };
        if !is_asked && question.get("id").is_some() {
            continue;
        }
        let params = &question["params"];
        assert_eq!((own.again)(params.clone()).unwrap(), *params);
        if let Some(answer_again) = own.answer_again {
            let result = &answers.first().unwrap()["result"];
            assert_eq!(answer_again(result.clone()).unwrap(), *result);
        }
        tried += 1;
    }
    assert_eq!(tried, own.len());
}

const OPTIONS_PAGE: &str = include_str!("../../docs/options.md");

/// The cells of each row of a page's tables.
fn rows(page: &str) -> Vec<Vec<&str>> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    rows.map(|row| {
        row.trim_end_matches('|')
            .split(" | ")
            .map(str::trim)
            .collect()
    })
    .collect()
}

#[test]
fn the_module_says_the_version_that_it_comes_with() {
    let module = include_str!("../../prosody-glue/mod_saslcertd/hello.lib.lua");
    let line = format!("local module_version = \"{}\";", env!("CARGO_PKG_VERSION"));
    assert!(module.contains(&line), "{line}");
}

#[test]
fn every_option_stands_on_its_page_and_none_that_is_none() {
    let mut known = saslcertd::policy::options::GLOBAL_OPTIONS.to_vec();
    known.extend(saslcertd::policy::host::OPTIONS);
    assert!(known.len() > 12, "{known:?}");
    for option in &known {
        assert!(
            OPTIONS_PAGE.contains(&format!("`{option}`")),
            "{option} is missing"
        );
    }
    for word in OPTIONS_PAGE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        assert!(
            !word.starts_with("saslcertd_") || known.contains(&word),
            "{word} is no option"
        );
    }
}

#[test]
fn every_default_on_the_page_of_options_is_true() {
    use saslcertd::policy::host::{HostPolicy, OPTIONS};
    use saslcertd::policy::options::{GLOBAL_OPTIONS, Options, Settings};
    let module = include_str!("../../prosody-glue/mod_saslcertd/hello.lib.lua");
    let mut tried = 0;
    for row in rows(OPTIONS_PAGE) {
        let [name, default, ..] = row[..] else {
            continue;
        };
        let (name, default) = (name.trim_matches('`'), default.trim_matches('`'));
        if GLOBAL_OPTIONS.contains(&name) {
            // The module's, and the daemon's.
            let short = name.trim_start_matches("saslcertd_");
            let line = format!("local default_{short} = {default};");
            assert!(module.contains(&line), "{line}");
            let said = json!({ name: serde_json::from_str::<Value>(default).unwrap() });
            let said = Settings::of(said.as_object().unwrap());
            assert_eq!(said, Settings::of(&Options::new()), "{name} = {default}");
            tried += 1;
        } else if OPTIONS.contains(&name) && default != "–" {
            // It says something only about a file that has no default.
            let needs_file = name == "saslcertd_crl_expired";
            // A list in Lua.
            let default = default.replace('{', "[").replace('}', "]");
            let mut options = json!({ name: serde_json::from_str::<Value>(&default).unwrap() });
            if needs_file {
                options["saslcertd_trust"] = json!("ca");
                options["saslcertd_ca_file"] = json!("/authorities.pem");
            }
            let mut without = options.clone();
            without.as_object_mut().unwrap().remove(name);
            let [said, unsaid] = [options, without]
                .map(|options| HostPolicy::from_options(options.as_object().unwrap()));
            assert_eq!(said.errors, [], "{name}");
            assert_eq!(said.policy, unsaid.policy, "{name} = {default}");
            tried += 1;
        }
    }
    assert!(tried >= 10, "{tried} defaults");
}

/// Each command with the words that it is called by, and its own flags.
fn commands() -> Vec<(String, clap::Command)> {
    let mut found = vec![(String::new(), saslcertd::cli::Cli::command())];
    let mut at = 0;
    while let Some((name, command)) = found.get(at).cloned() {
        let below = command.get_subcommands();
        found.extend(below.map(|command| {
            let name = format!("{name} {}", command.get_name());
            (name.trim().to_owned(), command.clone())
        }));
        at += 1;
    }
    found
}

#[test]
fn every_flag_stands_in_the_rows_of_its_command_with_its_default() {
    let (_, page) = OPTIONS_PAGE.split_once("## Flags").unwrap();
    let (page, _) = page.split_once("## Exit statuses").unwrap();
    let mut flags = 0;
    for (name, command) in commands() {
        let mut on_page: Vec<String> = Vec::new();
        for row in rows(page) {
            // That of `serve` has a flag in each row.
            let is_of_it = match name.as_str() {
                "serve" => row[0].starts_with("`--"),
                _ => row[0].split(", ").any(|cell| cell == format!("`{name}`")),
            };
            let words = row.join(" ");
            let words = words.split(|c: char| c != '-' && !c.is_ascii_alphanumeric());
            on_page.extend(
                words
                    .filter(|word| is_of_it && word.starts_with("--"))
                    .map(str::to_owned),
            );
        }
        if name.is_empty() {
            let (above, _) = page.split_once("\n|").unwrap();
            on_page = ["--socket", "--json"].map(str::to_owned).to_vec();
            assert!(on_page.iter().all(|flag| above.contains(flag.as_str())));
        }
        let mut real = Vec::new();
        for argument in command.get_arguments() {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            real.push(format!("--{flag}"));
            let [default] = argument.get_default_values() else {
                continue;
            };
            let row = rows(page)
                .into_iter()
                .find(|row| row[0].starts_with(&format!("`--{flag} ")));
            if name == "serve" {
                assert_eq!(row.unwrap()[1].trim_matches('`'), default, "--{flag}");
            }
        }
        flags += real.len();
        on_page.sort_unstable();
        real.sort_unstable();
        assert_eq!(
            on_page, real,
            "flags of {name:?} on the page, and real ones"
        );
    }
    assert!(flags > 30, "{flags} flags");
}

#[test]
#[cfg(feature = "manual")]
fn manual_and_completions_have_every_flag() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_saslcertd-manual"));
    assert!(run.arg(folder.path()).status().unwrap().success());
    let text = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let completions = [
        text("bash/saslcertd.bash"),
        text("zsh/_saslcertd"),
        text("fish/saslcertd.fish"),
    ];
    for (name, command) in commands() {
        let page = format!("man1/saslcertd {name}").trim().replace(' ', "-");
        let page = text(&format!("{page}.1")).replace("\\-", "-");
        // Of all commands.
        for word in ["--socket", "--json", "SASLCERTD_SOCKET"] {
            assert!(
                page.contains(word),
                "{word} is not in the manual of {name:?}"
            );
        }
        for flag in command.get_arguments().filter_map(clap::Arg::get_long) {
            assert!(
                page.contains(&format!("--{flag}")),
                "--{flag} is not in the manual of {name:?}"
            );
            for text in &completions {
                let is_there =
                    text.contains(&format!("--{flag}")) || text.contains(&format!("-l {flag} "));
                assert!(is_there, "--{flag} of {name:?}");
            }
        }
    }
}

#[test]
fn the_package_is_of_this_version() {
    let latest = include_str!("../../systemd/deb/changelog").lines().next();
    let version = concat!("saslcertd (", env!("CARGO_PKG_VERSION"), "-");
    assert!(latest.unwrap().starts_with(version), "{latest:?}");
}

/// The code in a page: its indented lines, and what is between backticks.
fn code(page: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in page.lines() {
        if line.starts_with("    ") {
            found.push(line);
        } else {
            found.extend(line.split('`').skip(1).step_by(2));
        }
    }
    found
}

/// The words of the first call of `saslcertd` in a line of shell.
fn call(line: &str) -> Option<Vec<String>> {
    let line = line.trim().trim_start_matches("$ ");
    let commands = saslcertd::cli::Cli::command();
    // In the middle of a line it may be a user or a group, too.
    let (at, _) = line.match_indices("saslcertd ").find(|(at, name)| {
        let next = line[at + name.len()..].split(' ').next();
        // Prosody's module has commands of its own.
        *at == 0
            || !line[..*at].ends_with("mod_")
                && commands
                    .get_subcommands()
                    .any(|known| Some(known.get_name()) == next)
    })?;
    let mut words = vec![String::new()];
    let (mut is_quoted, mut depth) = (false, 0);
    for letter in line[at..].chars() {
        match letter {
            '(' => depth += 1,
            ')' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            '#' | '|' | '>' | '<' | ')' | ';' | '&' if !is_quoted => break,
            _ => words.last_mut().unwrap().push(letter),
        }
    }
    // The number of an output that is redirected is no word.
    words.retain(|word| !word.is_empty() && word != "2");
    for word in &mut words {
        *word = word
            .replace("KEY_ID", &"0".repeat(64))
            .replace("COMMAND", "serve");
    }
    Some(words)
}

#[test]
fn every_command_of_the_pages_can_be_typed() {
    let pages = [
        include_str!("../../README.md"),
        include_str!("../../docs/operations.md"),
        include_str!("../../docs/options.md"),
        include_str!("../../docs/security.md"),
        include_str!("../../docs/clients.md"),
        include_str!("../../docs/faq.md"),
        include_str!("../../docs/comparison.md"),
        include_str!("../../docs/versions.md"),
        include_str!("../../docs/architecture.md"),
        include_str!("../../docs/authorities.md"),
        include_str!("../../docs/contributing.md"),
        include_str!("../../docs/devices.md"),
        include_str!("../../docs/performance.md"),
        include_str!("../../docs/protocol.md"),
    ];
    let lines = pages.into_iter().flat_map(code);
    // Names of packages and units; and what was shortened.
    let lines = lines.filter(|line| !line.contains("apt ") && !line.contains("systemctl "));
    let lines = lines.filter(|line| !line.contains('…'));
    let mut tried = 0;
    for line in lines {
        let Some(words) = call(line) else { continue };
        let is_alone = !line.starts_with(' ');
        match saslcertd::cli::Cli::try_parse_from(&words) {
            Ok(_) => tried += 1,
            Err(error) => match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {}
                // In a sentence a command is named without its arguments.
                ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                    if is_alone => {}
                _ => panic!("{line}\n{words:?}\n{error}"),
            },
        }
    }
    assert!(tried > 50, "{tried} commands");
}

/// The anchors of a page: its headings as a forge makes links of them.
fn anchors(page: &str) -> Vec<String> {
    let mut is_code = false;
    let mut found = Vec::new();
    for line in page.lines() {
        is_code ^= line.starts_with("```");
        let Some(heading) = line.strip_prefix('#').filter(|_| !is_code) else {
            continue;
        };
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        found.push(
            heading
                .chars()
                .filter(is_kept)
                .collect::<String>()
                .replace(' ', "-"),
        );
    }
    found
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = [
        root.to_owned(),
        root.join("docs"),
        root.join("docs/decisions"),
    ];
    let files = folders.iter().flat_map(|folder| folder.read_dir().unwrap());
    let files = files.map(|entry| entry.unwrap().path());
    let pages: Vec<_> = files
        .filter(|file| file.extension().is_some_and(|suffix| suffix == "md"))
        .collect();
    let mut tried = 0;
    for page in &pages {
        let text = std::fs::read_to_string(page).unwrap();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", page.display());
            if !anchor.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let is_there = anchors(&text).iter().any(|known| known == anchor);
                assert!(is_there, "{}: {link}", page.display());
            }
            tried += 1;
        }
    }
    assert!(tried > 50, "{tried} links");
}
