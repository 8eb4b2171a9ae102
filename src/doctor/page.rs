//! The page for devices as browsers see it: is it reached by https, does Prosody know that, and does its WebSocket come through?
//!
//! Judges what was seen; it must not look for anything itself.

use super::commands::Commands;
use super::facts::{Facts, HostFacts};
use super::finding::{ConfigChange, ConfigEdit, Finding, Mend, one_line};
use super::tls::judge;
use crate::identity::UnixSeconds;
pub(super) use requests::look;
use requests::{Answer, Seen};

mod requests;

/// Judges the page of each host that was looked at.
pub(super) fn findings(
    facts: &Facts,
    seen: &[Seen],
    now: UnixSeconds,
    commands: &Commands,
) -> Vec<Finding> {
    seen.iter()
        .filter_map(|seen| {
            let host = facts.hosts.iter().find(|host| host.name == seen.host)?;
            Some(finding(facts, host, seen, now, commands))
        })
        .collect()
}

fn finding(
    facts: &Facts,
    host: &HostFacts,
    seen: &Seen,
    now: UnixSeconds,
    commands: &Commands,
) -> Finding {
    let url = one_line(&seen.url);
    let is_external = host.page.as_ref().is_some_and(|page| page.is_external);
    // What stands before Prosody, or Prosody.
    let mend = |line: &str| {
        if is_external {
            Mend::Proxy(line.to_owned())
        } else {
            Mend::Run(commands.restart_prosody())
        }
    };
    let problem = |what: String, mend| Finding::problem("page", format!("{url}: {what}"), mend);
    if !seen.url.is_ascii() && !matches!(seen.answer, Answer::NotHttps) {
        return problem(
            "browsers ask for the name in its xn-- form, under which Prosody does not know the host".to_owned(),
            Mend::Edit(ascii_name(facts, host, is_external, commands)),
        );
    }
    match &seen.answer {
        Answer::NotHttps => problem(
            "browsers make no keys without https".to_owned(),
            Mend::Edit(https(facts, host, is_external, commands)),
        ),
        Answer::Unreachable(why) => problem(
            format!("it can't be reached: {}", one_line(why)),
            mend(PASS_ON),
        ),
        Answer::Other(status) => problem(
            format!("the page is not there ({})", one_line(status)),
            mend(PASS_ON),
        ),
        Answer::Page {
            certificate,
            is_secure,
            websocket,
        } => {
            if let Some((level, what)) = judge(certificate, &seen.name, now).flatten() {
                let message = format!("{url}: its certificate {what}");
                return Finding::new("page", level, message, Some(renewal(is_external, commands)));
            }
            if !is_secure {
                let page = host.page.as_ref();
                let mend = if page.is_some_and(|page| page.no_proxy_is_believed) {
                    let line = "http_legacy_x_forwarded = true".to_owned();
                    Mend::Edit(edit(facts, None, line, commands))
                } else {
                    Mend::Proxy(FORWARD.to_owned())
                };
                return problem(
                    "Prosody takes its connections for ones that are not secure, and lets nobody manage certificates over them"
                        .to_owned(),
                    mend,
                );
            }
            if let Err(said) = websocket {
                let what = format!("the WebSocket does not come through ({})", one_line(said));
                return problem(what, mend(UPGRADE));
            }
            let way = if is_external {
                ", as http_external_url says"
            } else {
                ""
            };
            Finding::ok(
                "page",
                format!("users give their devices keys at {url}{way}"),
            )
        }
    }
}

/// The change that brings https.
fn https(facts: &Facts, host: &HostFacts, is_external: bool, commands: &Commands) -> ConfigEdit {
    let line = if is_external {
        format!("http_external_url = \"https://{}/\"", host.name)
    } else {
        "https_ports = { 5281 }".to_owned()
    };
    edit(facts, None, line, commands)
}

/// The change that brings the name that browsers ask for.
fn ascii_name(
    facts: &Facts,
    host: &HostFacts,
    is_external: bool,
    commands: &Commands,
) -> ConfigEdit {
    let line = if is_external {
        "http_external_url = \"https://xn--…/\"   # the same name; and http_host = \"xn--…\""
    } else {
        "http_host = \"xn--…\"   # the same name"
    };
    edit(facts, Some(host), line.to_owned(), commands)
}

/// This line, below the host or in the global section.
fn edit(facts: &Facts, host: Option<&HostFacts>, line: String, commands: &Commands) -> ConfigEdit {
    let name = host.map(|host| host.name.as_str());
    ConfigEdit {
        file: facts.file_of(name),
        host: name.map(str::to_owned),
        within: None,
        change: ConfigChange::Add(line),
        then: commands.restart_prosody(),
    }
}

fn renewal(is_external: bool, commands: &Commands) -> Mend {
    if is_external {
        Mend::Proxy("its certificate and key   # new ones for this name".to_owned())
    } else {
        Mend::Run(format!(
            "{} --root cert import /etc/letsencrypt/live && {{ {}; }}",
            commands.prosodyctl,
            commands.restart_prosody()
        ))
    }
}

const FORWARD: &str = "X-Forwarded-Proto: https   # to Prosody; and the proxy must be one of trusted_proxies in Prosody's configuration";
const PASS_ON: &str = "/devices and /xmpp-websocket to http://127.0.0.1:5280   # or the port in http_ports; see docs/devices.md";
const UPGRADE: &str = "Upgrade: websocket and Connection: upgrade for /xmpp-websocket   # HTTP/1.1 to Prosody; see docs/devices.md";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::super::commands::usual;
    use super::super::facts::PageAddress;
    use super::super::finding::Level;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_767_225_600);

    fn judged(is_external: bool, answer: Answer) -> (Level, String, Option<Mend>) {
        let page = PageAddress {
            url: "https://shakespeare.lit/devices".to_owned(),
            is_external,
            no_proxy_is_believed: false,
        };
        judged_at(page, answer)
    }

    fn judged_at(page: PageAddress, answer: Answer) -> (Level, String, Option<Mend>) {
        let url = page.url.clone();
        let host = HostFacts {
            name: "shakespeare.lit".to_owned(),
            page: Some(page),
            ..HostFacts::default()
        };
        let facts = Facts {
            hosts: vec![host],
            ..Facts::default()
        };
        let seen = Seen {
            host: "shakespeare.lit".to_owned(),
            url,
            name: "shakespeare.lit".to_owned(),
            answer,
        };
        let mut all = findings(&facts, &[seen], NOW, &usual());
        let one = all.pop().unwrap();
        assert_eq!((one.check, all.len()), ("page", 0));
        (one.level, one.message, one.mend)
    }

    fn page(is_secure: bool, websocket: Result<(), String>) -> Answer {
        let key = rcgen::generate_simple_self_signed(vec!["shakespeare.lit".to_owned()]).unwrap();
        Answer::Page {
            certificate: key.cert.der().to_vec(),
            is_secure,
            websocket,
        }
    }

    #[test]
    fn a_page_that_works_is_said_with_its_address() {
        let (level, message, mend) = judged(true, page(true, Ok(())));
        assert_eq!((level, mend), (Level::Ok, None));
        assert!(
            message.contains("https://shakespeare.lit/devices"),
            "{message}"
        );
    }

    #[test]
    fn each_way_to_fail_has_its_words_and_a_remedy() {
        let cases = [
            (Answer::NotHttps, "without https"),
            (
                Answer::Unreachable("refused\u{1b}".to_owned()),
                "can't be reached: refused",
            ),
            (Answer::Other("HTTP/1.1 502".to_owned()), "502"),
            (page(false, Ok(())), "not secure"),
            (page(true, Err("HTTP/1.1 400".to_owned())), "WebSocket"),
        ];
        for (answer, words) in cases {
            let (level, message, mend) = judged(true, answer);
            assert!(message.contains(words), "{message}");
            assert!(!message.contains('\u{1b}'));
            assert_eq!(level, Level::Problem);
            assert!(mend.is_some());
        }
    }

    fn line_of(mend: Option<Mend>) -> String {
        match mend {
            Some(Mend::Edit(ConfigEdit {
                change: ConfigChange::Add(line),
                ..
            })) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn where_no_proxy_is_believed_none_is_asked_to_say_more() {
        let at = PageAddress {
            url: "https://shakespeare.lit/devices".to_owned(),
            is_external: true,
            no_proxy_is_believed: true,
        };
        let (_, message, mend) = judged_at(at.clone(), page(false, Ok(())));
        assert!(message.contains("not secure"), "{message}");
        assert_eq!(line_of(mend), "http_legacy_x_forwarded = true");
        assert_eq!(judged_at(at, page(true, Ok(()))).0, Level::Ok);
    }

    #[test]
    fn a_name_that_browsers_write_in_another_form_is_a_problem_whatever_answers() {
        for (is_external, option) in [(false, "http_host"), (true, "http_external_url")] {
            for answer in [page(true, Ok(())), Answer::Unreachable("x".to_owned())] {
                let at = PageAddress {
                    url: "https://b\u{fc}cher.lit:5281/devices".to_owned(),
                    is_external,
                    no_proxy_is_believed: false,
                };
                let (level, message, mend) = judged_at(at, answer);
                assert_eq!(level, Level::Problem);
                assert!(message.contains("xn--"), "{message}");
                assert!(line_of(mend).starts_with(option));
            }
        }
    }

    #[test]
    fn a_certificate_of_somebody_else_is_a_problem() {
        let foreign = rcgen::generate_simple_self_signed(vec!["denmark.lit".to_owned()]).unwrap();
        let answer = Answer::Page {
            certificate: foreign.cert.der().to_vec(),
            is_secure: true,
            websocket: Ok(()),
        };
        let (level, message, _) = judged(false, answer);
        assert_eq!(level, Level::Problem);
        assert!(message.ends_with("is for another host"), "{message}");
    }
}
