//! Judges Prosody's configuration, as prosodyctl reports it.
//!
//! Must not know: the daemon, sockets.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::commands::Commands;
use super::facts::{Facts, HostFacts};
use super::finding::{ConfigChange, ConfigEdit, Finding, Level, Mend, one_line, word};
use super::prosodyctl::{About, INSTALLED, ProsodyctlAnswer, find_module};
use crate::identity::counted;
use crate::policy::host::{HostPolicy, Remark};
use crate::protocol::PROTOCOL_VERSION;

/// Judges the configuration: is Prosody there, is our module found, enabled, alone, and are its options good.
pub(super) fn findings(
    answer: &ProsodyctlAnswer,
    config: Option<&Path>,
    commands: &Commands,
) -> Vec<Finding> {
    let skip = |why: &str| {
        let rest = ["enabled", "rival", "options"];
        rest.map(|check| Finding::not_checked(check, why))
    };
    match answer {
        ProsodyctlAnswer::Facts(facts) => {
            let (version, file) = (one_line(&facts.version), facts.config_file.display());
            let mut all = vec![
                Finding::ok(
                    "prosody",
                    format!("Prosody {version}, configured in {file}"),
                ),
                module(facts, commands),
                enabled(facts, commands),
                rival(facts, commands),
            ];
            all.extend(logins(facts, commands));
            all.extend(external_off(facts, commands));
            all.extend(options(facts, commands));
            all
        }
        ProsodyctlAnswer::NoProgram => {
            let mut all = vec![
                Finding::problem(
                    "prosody",
                    format!(
                        "there is no {}: Prosody isn't installed, or elsewhere",
                        commands.prosodyctl
                    ),
                    Mend::Run(format!("{} doctor --prosodyctl PATH", commands.saslcertd)),
                ),
                Finding::not_checked("module", "only prosodyctl knows"),
            ];
            all.extend(skip("only prosodyctl knows"));
            all
        }
        ProsodyctlAnswer::NoModule {
            about,
            found,
            closed,
        } => {
            let file =
                config.map_or_else(|| about.config_dir.join("prosody.cfg.lua"), Path::to_owned);
            let shown = format!(
                "Prosody {}, configured in {}",
                one_line(&about.version),
                file.display()
            );
            let mut all = vec![
                Finding::ok("prosody", shown),
                module_missing(about, found.as_deref(), closed.as_deref(), file, commands),
            ];
            all.extend(skip("Prosody doesn't find mod_saslcertd"));
            all
        }
        ProsodyctlAnswer::Failed { said } => {
            let mut all = vec![
                Finding::problem(
                    "prosody",
                    format!(
                        "prosodyctl can't tell about its configuration: {}",
                        one_line(said)
                    ),
                    Mend::Run(format!("{} check config", commands.prosodyctl)),
                ),
                Finding::not_checked("module", "prosodyctl failed"),
            ];
            all.extend(skip("prosodyctl failed"));
            all
        }
    }
}

/// Does the copy that Prosody finds understand this saslcertd?
fn module(facts: &Facts, commands: &Commands) -> Finding {
    let copy = &facts.module;
    if copy.protocol == PROTOCOL_VERSION {
        return Finding::ok("module", format!("Prosody finds {}", copy.shown()));
    }
    let speaks = match copy.protocol {
        0 => "an older version".to_owned(),
        version => format!("version {version}"),
    };
    let message = format!(
        "Prosody finds {}, which speaks {speaks} of the protocol, and this saslcertd {} speaks {PROTOCOL_VERSION}",
        copy.shown(),
        env!("CARGO_PKG_VERSION"),
    );
    Finding::new(
        "module",
        Level::Problem,
        message,
        replacing(facts, commands),
    )
}

/// The remedy that makes Prosody find the copy that came with this program: it may lie elsewhere, behind the wrong one.
pub(super) fn replacing(facts: &Facts, commands: &Commands) -> Option<Mend> {
    let Some(good) =
        find_module().filter(|folder| facts.module.path.parent() != Some(folder.as_path()))
    else {
        // The one that was found is where this program's belongs.
        let folder = word(facts.module.path.parent()?);
        return Some(Mend::Run(format!(
            "cp -r prosody-glue/mod_* {folder}/   # in the source folder of this saslcertd; then: {}",
            commands.restart_prosody()
        )));
    };
    let mut paths = vec![good.clone()];
    let named = facts
        .plugin_paths
        .iter()
        .map(|path| Path::new(path.to_string_lossy().trim_end_matches('/')).to_owned());
    paths.extend(named.filter(|path| *path != good && !path.ends_with("custom_plugins")));
    let quoted = paths.iter().map(|path| format!("\"{}\"", path.display()));
    let paths = quoted.collect::<Vec<_>>().join(", ");
    Some(Mend::Edit(ConfigEdit {
        file: facts.config_file.clone(),
        host: None,
        within: None,
        change: ConfigChange::Add(format!("plugin_paths = {{ {paths} }}")),
        then: commands.restart_prosody(),
    }))
}

/// The settings that every login needs, by whatever mechanism.
fn logins(facts: &Facts, commands: &Commands) -> Vec<Finding> {
    let mut all = Vec::new();
    for (module, what, of) in [
        (
            "c2s",
            "no client can connect",
            (|host| host.mod_c2s) as fn(&HostFacts) -> Option<bool>,
        ),
        ("saslauth", "nobody can log in", |host| host.mod_saslauth),
    ] {
        let lacking: Vec<&HostFacts> = facts
            .enabled()
            .filter(|host| of(host) == Some(false))
            .collect();
        let Some(first) = lacking.first() else {
            continue;
        };
        let names: Vec<&str> = lacking.iter().map(|host| host.name.as_str()).collect();
        all.push(Finding::problem(
            "logins",
            format!("mod_{module} isn't enabled for {}: {what}", listed(&names)),
            Mend::Edit(commands.enabling(facts, module, Some(first))),
        ));
    }
    for host in facts.enabled() {
        if host.authentication_found == Some(false) {
            all.push(authentication(facts, host, commands));
        }
    }
    all
}

fn authentication(facts: &Facts, host: &HostFacts, commands: &Commands) -> Finding {
    let (name, set) = (one_line(&host.name), one_line(&host.authentication));
    let message = format!(
        "authentication = \"{set}\" of {name}: Prosody finds no mod_auth_{set}, so nobody can log in"
    );
    let meant = PROVIDERS
        .iter()
        .find(|known| is_almost(known, &host.authentication));
    let mend = match meant {
        Some(meant) => {
            let section = host.authentication_here.then_some(host.name.as_str());
            Some(Mend::Edit(ConfigEdit {
                file: facts.file_of(section),
                host: section.map(str::to_owned),
                within: None,
                change: ConfigChange::Add(format!("authentication = \"{meant}\"")),
                then: commands.restart_prosody(),
            }))
        }
        None if host.authentication == "saslcertd" => replacing(facts, commands),
        // Another provider knows other accounts: which one is meant, nobody but the admin can say.
        None if set.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') => {
            Some(Mend::Run(format!(
                "{} install --server=https://modules.prosody.im/rocks/ mod_auth_{set}; {}",
                commands.prosodyctl,
                commands.restart_prosody()
            )))
        }
        None => None,
    };
    Finding::new("logins", Level::Problem, message, mend)
}

/// One letter is missing, too many, another, or changed places.
fn is_almost(known: &str, typed: &str) -> bool {
    let (known, typed): (Vec<char>, Vec<char>) =
        (known.chars().collect(), typed.trim().chars().collect());
    let same = known.iter().zip(&typed).take_while(|(a, b)| a == b).count();
    let (known, typed) = (
        known.get(same..).unwrap_or_default(),
        typed.get(same..).unwrap_or_default(),
    );
    let rest = |chars: &[char], from: usize| chars.get(from..).unwrap_or_default().to_vec();
    let swapped = typed.get(1) == known.first() && typed.first() == known.get(1);
    rest(known, 1) == typed
        || known == rest(typed, 1)
        || rest(known, 1) == rest(typed, 1)
        || (swapped && rest(known, 2) == rest(typed, 2))
}

fn module_missing(
    about: &About,
    found: Option<&Path>,
    closed: Option<&Path>,
    file: PathBuf,
    commands: &Commands,
) -> Finding {
    let Some(folder) = found else {
        let usual = Path::new("/usr/local/lib/prosody/modules");
        let folder = word(about.plugin_paths.first().map_or(usual, PathBuf::as_path));
        return Finding::problem(
            "module",
            "Prosody doesn't find mod_saslcertd: it isn't installed (the command is for saslcertd's source folder)",
            Mend::Run(format!(
                "mkdir -p {folder} && cp -r prosody-glue/mod_* {folder}/"
            )),
        );
    };
    // Closed for a reason, as a home is: a copy is what is proposed.
    if let Some(closed) = closed.filter(|closed| folder.starts_with(closed)) {
        let [usual, ..] = INSTALLED;
        let from = folder.join("mod_");
        return Finding::problem(
            "module",
            format!(
                "Prosody doesn't find mod_saslcertd in {}: its user may not enter {}",
                folder.display(),
                closed.display()
            ),
            Mend::Run(format!(
                "mkdir -p {usual} && cp -r {}* {usual}/ && chmod -R a+rX {usual}/mod_saslcertd {usual}/mod_auth_saslcertd",
                word(&from)
            )),
        );
    }
    // As a strict umask leaves it. It is ours, and nothing in it is secret.
    if closed.is_some() || about.plugin_paths.iter().any(|path| path == folder) {
        return Finding::problem(
            "module",
            format!(
                "Prosody's user may not read {}/mod_saslcertd",
                folder.display()
            ),
            Mend::Run(format!("chmod -R go+rX {}/mod_*saslcertd", word(folder))),
        );
    }
    let mut paths = about.plugin_paths.clone();
    paths.push(folder.to_owned());
    let quoted = paths.iter().map(|path| format!("\"{}\"", path.display()));
    let paths = quoted.collect::<Vec<_>>().join(", ");
    Finding::problem(
        "module",
        "Prosody doesn't find mod_saslcertd: its folder isn't in plugin_paths",
        Mend::Edit(ConfigEdit {
            file,
            host: None,
            within: None,
            change: ConfigChange::Add(format!("plugin_paths = {{ {paths} }}")),
            then: commands.restart_prosody(),
        }),
    )
}

fn enabled(facts: &Facts, commands: &Commands) -> Finding {
    let names: Vec<&str> = facts.enabled().map(|host| host.name.as_str()).collect();
    if names.is_empty() {
        return Finding::problem(
            "enabled",
            "mod_saslcertd is enabled for no host",
            Mend::Edit(commands.enabling(facts, "saslcertd", facts.hosts.first())),
        );
    }
    let without: Vec<&str> = facts
        .hosts
        .iter()
        .filter(|host| !host.is_enabled())
        .map(|host| host.name.as_str())
        .collect();
    let mut message = format!("mod_saslcertd is enabled for {}", listed(&names));
    if !without.is_empty() {
        message.push_str("; not for ");
        message.push_str(&listed(&without));
    }
    Finding::ok("enabled", message)
}

fn rival(facts: &Facts, commands: &Commands) -> Finding {
    let both: Vec<&HostFacts> = facts.enabled().filter(|host| host.client_certs).collect();
    let Some(host) = both.first() else {
        return Finding::ok("rival", "mod_client_certs isn't enabled beside it");
    };
    let names: Vec<&str> = both.iter().map(|host| host.name.as_str()).collect();
    let section = host.client_certs_here.then_some(host.name.as_str());
    Finding::problem(
        "rival",
        format!(
            "mod_client_certs is enabled for {}, too: mod_saslcertd withdraws there",
            listed(&names)
        ),
        Mend::Edit(ConfigEdit {
            file: facts.file_of(section),
            host: section.map(str::to_owned),
            within: Some("modules_enabled".to_owned()),
            change: ConfigChange::Remove("\"client_certs\"".to_owned()),
            then: commands.restart_prosody(),
        }),
    )
}

fn external_off(facts: &Facts, commands: &Commands) -> Option<Finding> {
    let host = facts.enabled().find(|host| host.external_disabled)?;
    let section = host.external_disabled_here.then_some(host.name.as_str());
    Some(Finding::problem(
        "rival",
        format!(
            "disable_sasl_mechanisms forbids EXTERNAL for {}",
            one_line(&host.name)
        ),
        Mend::Edit(ConfigEdit {
            file: facts.file_of(section),
            host: section.map(str::to_owned),
            within: Some("disable_sasl_mechanisms".to_owned()),
            change: ConfigChange::Remove("\"EXTERNAL\"".to_owned()),
            then: commands.restart_prosody(),
        }),
    ))
}

/// An option that is wrong in the same way for some hosts.
struct Wrong<'a> {
    level: Level,
    remark: Remark,
    hosts: Vec<&'a str>,
}

/// One finding for each option that is wrong, whatever the number of hosts it is wrong for.
fn options(facts: &Facts, commands: &Commands) -> Vec<Finding> {
    let edit = |host: Option<&str>, change: ConfigChange| {
        Mend::Edit(ConfigEdit {
            file: facts.file_of(host),
            host: host.map(str::to_owned),
            within: None,
            change,
            then: commands.reload_prosody(),
        })
    };
    let mut all = Vec::new();
    for problem in &facts.setting_problems {
        let mend = edit(None, ConfigChange::Remove(problem.option.clone()));
        all.push(Finding::problem(
            "options",
            one_line(&problem.message),
            mend,
        ));
    }
    for host in facts.enabled() {
        for option in &host.misplaced {
            let message = format!(
                "{option} in VirtualHost \"{}\" has no effect: it belongs into the global section",
                host.name
            );
            let mend = edit(Some(&host.name), ConfigChange::Remove(option.clone()));
            all.push(Finding::problem("options", message, mend));
        }
    }
    for ((section, _), wrong) in wrong_options(facts) {
        let mend = edit(section, wrong.change());
        all.push(Finding::new(
            "options",
            wrong.level,
            wrong.message(),
            Some(mend),
        ));
    }
    if all.is_empty() {
        all.push(allowed_options(facts));
    }
    all
}

/// By the section that the option stands in, and the remark's text.
fn wrong_options(facts: &Facts) -> BTreeMap<(Option<&str>, String), Wrong<'_>> {
    let mut wrong = BTreeMap::new();
    for host in facts.enabled() {
        let declared = HostPolicy::from_options(&host.options);
        let errors = declared
            .errors
            .into_iter()
            .map(|remark| (Level::Problem, remark));
        let warnings = declared
            .warnings
            .into_iter()
            .map(|remark| (Level::Warning, remark));
        for (level, remark) in errors.chain(warnings) {
            let section = host
                .own_options
                .contains(&remark.option)
                .then_some(host.name.as_str());
            let same = wrong
                .entry((section, remark.message.clone()))
                .or_insert(Wrong {
                    level,
                    remark,
                    hosts: Vec::new(),
                });
            same.hosts.push(host.name.as_str());
        }
    }
    wrong
}

impl Wrong<'_> {
    fn message(&self) -> String {
        let consequence = match self.level {
            Level::Problem => format!("; no EXTERNAL for {}", listed(&self.hosts)),
            _ => String::new(),
        };
        format!("{}{consequence}", one_line(&self.remark.message))
    }

    fn change(&self) -> ConfigChange {
        match mended(&self.remark.option) {
            Some(line) if self.level == Level::Problem => ConfigChange::Add(line.to_owned()),
            _ => ConfigChange::Remove(self.remark.option.clone()),
        }
    }
}

fn allowed_options(facts: &Facts) -> Finding {
    let of_hosts = facts.enabled().map(|host| host.own_options.len());
    let count = facts.global_options.len() + of_hosts.sum::<usize>();
    let message = format!(
        "{} set, and every value is allowed",
        counted(count, "saslcertd_* option is", "saslcertd_* options are")
    );
    Finding::ok("options", message)
}

/// The line in the place of a wrong one, where the default would let in more than its author may have meant.
fn mended(option: &str) -> Option<&'static str> {
    match option {
        "saslcertd_manage_with" => Some("saslcertd_manage_with = \"password\""),
        "saslcertd_trust" => Some("saslcertd_trust = \"enrolled\""),
        _ => None,
    }
}

/// Some names, and how many more.
pub(super) fn listed(names: &[&str]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_NAMES)
        .map(|name| one_line(name))
        .collect();
    match names.len().saturating_sub(MAX_NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// Those that come with Prosody or with us and keep accounts.
const PROVIDERS: [&str; 4] = ["internal_hashed", "internal_plain", "saslcertd", "ldap"];
const MAX_NAMES: usize = 8;

#[cfg(test)]
mod tests;
