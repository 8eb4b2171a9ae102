//! docs/protocol.md says what is so: every example in it is tried.

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
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
    let mut examples = examples(&cert, &login).into_iter().peekable();
    let mut tried = 0;
    while let Some(question) = examples.next() {
        let (Some(method), Some(id)) = (question["method"].as_str(), question.get("id")) else {
            continue;
        };
        if matches!(
            method,
            "sessions.close" | "account.notify" | "account.changed" | "account.incarnation"
        ) {
            // The daemon's own: compared where it asks them.
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
        } else if method.starts_with("certificate.") || method.starts_with("external.") {
            let id = server.send("certificate.append", append("phone", &cert));
            server.answer(id);
        }
        let wanted: Vec<Value> = std::iter::from_fn(|| {
            examples.next_if(|next| next["id"] == *id && next.get("method").is_none())
        })
        .collect();
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
fn every_option_and_every_flag_stands_on_its_page() {
    let page = include_str!("../../docs/options.md");
    // Those of the global section are the module's own.
    let module = include_str!("../../prosody-glue/mod_saslcertd/options.lib.lua");
    let global = [
        "saslcertd_socket",
        "saslcertd_timeout",
        "saslcertd_manage_tls",
    ];
    for option in global {
        assert!(module.contains(option), "{option} is not the module's");
    }
    for option in global.iter().chain(&saslcertd::policy::host::OPTIONS) {
        assert!(page.contains(&format!("`{option}`")), "{option} is missing");
    }
    // And none stands there that is none.
    for word in page.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let is_known = |known: &[&str]| known.contains(&word);
        assert!(
            !word.starts_with("saslcertd_")
                || is_known(&global)
                || is_known(&saslcertd::policy::host::OPTIONS),
            "{word} is no option"
        );
    }
    let mut flags = 0;
    let mut commands = vec![saslcertd::cli::Cli::command()];
    while let Some(command) = commands.pop() {
        for argument in command.get_arguments() {
            let Some(flag) = argument.get_long() else {
                continue;
            };
            flags += 1;
            assert!(
                page.contains(&format!("`--{flag}")),
                "--{flag} of {} is missing",
                command.get_name()
            );
        }
        commands.extend(command.get_subcommands().cloned());
    }
    assert!(flags > 30, "{flags} flags");
}

#[test]
fn the_package_is_of_this_version() {
    let latest = include_str!("../../systemd/deb/changelog").lines().next();
    let version = concat!("saslcertd (", env!("CARGO_PKG_VERSION"), "-");
    assert!(latest.unwrap().starts_with(version), "{latest:?}");
}

/// What stands as code in a page: its indented lines, and what is between backticks.
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
        *at == 0
            || commands
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
                ErrorKind::DisplayHelp => {}
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
