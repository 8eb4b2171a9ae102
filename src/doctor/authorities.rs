//! The files of authorities and revocation lists: what the daemon, as its own user, has read of them.
//!
//! Judges what was gathered; it must not look for anything itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::access::{Node, READ, Who, obstacle};
use super::commands::Commands;
use super::facts::Facts;
use super::finding::{ConfigChange, ConfigEdit, Finding, Mend, one_line, word};
use super::prosody::listed;
use crate::identity::{Host, UnixSeconds, days};
use crate::protocol::{
    AuthorityFilesState, AuthorityState, CaFileState, CrlFileState, DaemonState, FileState,
    ListState,
};

/// The files as they are seen from here, and the users that have to read them.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) looked: Vec<FileAccess>,
    /// The daemon.
    pub(super) reader: Option<Who>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(super) struct FileAccess {
    pub(super) path: PathBuf,
    /// None if there is no regular file.
    pub(super) node: Option<Node>,
    /// From the root down; up to the first that is missing.
    pub(super) folders: Vec<Node>,
}

/// The files that the daemon reads.
pub(super) fn paths(status: Option<&DaemonState>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (_, state) in states(status) {
        paths.push(state.ca_file.file.path.clone());
        paths.extend(state.crl_file.iter().map(|lists| lists.file.path.clone()));
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Hosts, and the state of their files.
fn states(status: Option<&DaemonState>) -> impl Iterator<Item = (&Host, &AuthorityFilesState)> {
    let hosts = status.map(|status| &status.hosts).into_iter().flatten();
    hosts.filter_map(|host| Some((&host.host, host.authorities.as_ref()?)))
}

/// Nothing where no host asks an authority.
pub(super) fn findings(
    status: Option<&DaemonState>,
    files: &Files,
    facts: Option<&Facts>,
    now: SystemTime,
    commands: &Commands,
) -> Vec<Finding> {
    let Some(facts) = facts else {
        return Vec::new();
    };
    let is_asked =
        |host: &super::facts::HostFacts| host.options.keys().any(|option| option == CA_FILE);
    if !facts.enabled().any(is_asked) {
        return Vec::new();
    }
    if status.is_none() {
        return vec![Finding::not_checked(CHECK, "the daemon doesn't answer")];
    }
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let judge = Judge {
        files,
        facts,
        now: UnixSeconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX)),
        commands,
    };
    let mut groups: BTreeMap<&AuthorityFilesState, Vec<String>> = BTreeMap::new();
    for (host, state) in states(status) {
        if facts.enabled().any(|enabled| enabled.name == host.as_str()) {
            let group = groups.entry(state).or_default();
            group.push(host.to_string());
        }
    }
    if groups.is_empty() {
        return vec![Finding::not_checked(
            CHECK,
            "no host that asks authorities was declared, see above",
        )];
    }
    let judged = groups.iter();
    judged
        .flat_map(|(state, hosts)| judge.findings(hosts, state))
        .collect()
}

struct Judge<'a> {
    files: &'a Files,
    facts: &'a Facts,
    now: UnixSeconds,
    commands: &'a Commands,
}

impl Judge<'_> {
    fn findings(&self, hosts: &[String], state: &AuthorityFilesState) -> Vec<Finding> {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let names = listed(&names);
        let AuthorityFilesState { ca_file, crl_file } = state;
        let mut all = self.of_authorities(hosts, ca_file);
        if let Some(crl_file) = crl_file {
            all.extend(self.of_lists(hosts, &names, crl_file));
        }
        if all.is_empty() {
            let count = ca_file.authorities.as_ref().map_or(0, Vec::len);
            let lists = crl_file.as_ref().map_or(String::new(), |lists| {
                let count = lists.lists.as_ref().map_or(0, Vec::len);
                format!("; {}: revocation lists: {count}", lists.file.path.display())
            });
            let path = ca_file.file.path.display();
            let message = format!("{names}: {path}: authorities: {count}{lists}");
            all.push(Finding::ok(CHECK, message));
        }
        all
    }

    fn of_authorities(&self, hosts: &[String], state: &CaFileState) -> Vec<Finding> {
        let mut all = self.of_file(hosts, CA_FILE, &state.file);
        let path = &state.file.path;
        let authorities = state.authorities.as_deref().unwrap_or_default();
        for authority in authorities {
            if let Some(problem) = &authority.problem {
                let message = format!(
                    "{} of {} can vouch for nobody: {}",
                    one_line(&authority.subject),
                    path.display(),
                    one_line(problem)
                );
                let mend = Mend::Run(install(NEW_AUTHORITIES, path));
                all.push(Finding::problem(CHECK, message, mend));
                continue;
            }
            let is_renewed = authorities.iter().any(|other| {
                other.subject == authority.subject && other.not_after > authority.not_after
            });
            if !is_renewed {
                all.extend(self.age_of(authority, path));
            }
        }
        all
    }

    fn of_lists(&self, hosts: &[String], names: &str, state: &CrlFileState) -> Vec<Finding> {
        let mut all = self.of_file(hosts, CRL_FILE, &state.file);
        let path = &state.file.path;
        for subject in &state.without_list {
            let message = format!(
                "{names}: {} holds no revocation list of {}: what it issued is refused",
                path.display(),
                one_line(subject)
            );
            let mend = format!("cat {NEW_LISTS} >> {}", word(path));
            all.push(Finding::problem(CHECK, message, Mend::Run(mend)));
        }
        for list in state.lists.iter().flatten() {
            all.extend(self.age_of_list(list, path, state.refuses_expired));
        }
        all
    }

    /// The problems with a file, whatever stands in it.
    fn of_file(&self, hosts: &[String], option: &str, file: &FileState) -> Vec<Finding> {
        let mut all = Vec::new();
        if let Some(problem) = &file.problem {
            all.push(self.unusable(hosts, option, file, problem));
        }
        if file.private_key {
            all.push(self.with_key(hosts, option, &file.path));
        }
        all
    }

    fn age_of(&self, authority: &AuthorityState, path: &Path) -> Option<Finding> {
        let subject = one_line(&authority.subject);
        let shown = path.display();
        let mend = Mend::Run(install(NEW_AUTHORITIES, path));
        if self.now > authority.not_after {
            let message = format!("{subject} of {shown} has expired: what it issued is refused");
            return Some(Finding::problem(CHECK, message, mend));
        }
        if self.now < authority.not_before {
            let message =
                format!("{subject} of {shown} is not valid yet: what it issued is refused");
            return Some(Finding::problem(CHECK, message, mend));
        }
        let left = (authority.not_after.0 - self.now.0) / SECONDS_PER_DAY;
        (left < SOON_DAYS).then(|| {
            let message = format!("{subject} of {shown} expires in {}", days(left));
            Finding::warning(CHECK, message, mend)
        })
    }

    fn age_of_list(&self, list: &ListState, path: &Path, refuses_expired: bool) -> Option<Finding> {
        if let Some(problem) = &list.problem {
            let message = format!(
                "a revocation list of {} in {} does not count: {}",
                one_line(&list.issuer),
                path.display(),
                one_line(problem)
            );
            let mend = Mend::Run(install(NEW_LISTS, path));
            return Some(Finding::problem(CHECK, message, mend));
        }
        (self.now > list.next_update).then_some(())?;
        let message = format!(
            "the revocation list of {} in {} is older than it promised",
            one_line(&list.issuer),
            path.display()
        );
        let mend = Mend::Run(install(NEW_LISTS, path));
        Some(if refuses_expired {
            Finding::problem(CHECK, message + ": what it issued is refused", mend)
        } else {
            Finding::warning(
                CHECK,
                message + ", and still counts (saslcertd_crl_expired)",
                mend,
            )
        })
    }

    fn unusable(&self, hosts: &[String], option: &str, file: &FileState, problem: &str) -> Finding {
        let path = file.path.as_path();
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let message = format!(
            "{}: {option} = \"{}\": {}; no authority's certificate is accepted",
            listed(&names),
            path.display(),
            one_line(problem)
        );
        let new = if option == CA_FILE {
            NEW_AUTHORITIES
        } else {
            NEW_LISTS
        };
        let looked = self.files.looked.iter().find(|looked| looked.path == path);
        let found = looked.and_then(|looked| Some((looked, looked.node.as_ref()?)));
        let (Some((looked, node)), true) = (found, file.unreadable) else {
            return Finding::problem(CHECK, message, Mend::Run(install(new, path)));
        };
        let reader = self.files.reader.as_ref();
        let closed = reader.and_then(|who| obstacle(&looked.folders, node, who, READ));
        // Both are public.
        if closed.is_some_and(|closed| closed.node.path == *path) {
            let open = Mend::Run(format!("chmod a+r {}", word(path)));
            return Finding::problem(CHECK, message, open);
        }
        // Folders that are closed to it, or that its unit hides from it, are so for a reason.
        let copy = Path::new(FOLDER).join(path.file_name().unwrap_or_default());
        let make = format!("install -D -m 644 {} {}", word(path), word(&copy));
        Finding::problem(CHECK, message, self.other_file(hosts, option, &copy, &make))
    }

    /// The key may be needed where it is, and stays: the daemon gets a copy of the file without it.
    fn with_key(&self, hosts: &[String], option: &str, path: &Path) -> Finding {
        let names: Vec<&str> = hosts.iter().map(String::as_str).collect();
        let message = format!(
            "{}: a private key stands in {}; an authority's key belongs on the machine that issues with it, and nowhere else",
            listed(&names),
            path.display()
        );
        let section = if option == CA_FILE {
            "CERTIFICATE"
        } else {
            "X509 CRL"
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let copy = Path::new(FOLDER).join(format!("public-{name}"));
        let make = format!(
            "sed -n '/^-----BEGIN {section}-/,/^-----END {section}-/p' {} | install -D -m 644 /dev/stdin {}",
            word(path),
            word(&copy)
        );
        Finding::warning(CHECK, message, self.other_file(hosts, option, &copy, &make))
    }

    /// `make` makes `file`, which `option` names from then on.
    fn other_file(&self, hosts: &[String], option: &str, file: &Path, make: &str) -> Mend {
        let host = hosts.iter().find(|name| self.sets_itself(name, option));
        Mend::Edit(ConfigEdit {
            file: self.facts.file_of(host.map(String::as_str)),
            host: host.cloned(),
            within: None,
            change: ConfigChange::Add(format!("{option} = \"{}\"", file.display())),
            then: format!("{make} && {}", self.commands.reload_prosody()),
        })
    }

    fn sets_itself(&self, host: &str, option: &str) -> bool {
        let known = self.facts.hosts.iter().find(|known| known.name == host);
        known.is_some_and(|known| known.own_options.iter().any(|own| own == option))
    }
}

fn install(new: &str, path: &Path) -> String {
    format!("install -D -m 644 {new} {}", word(path))
}

const CHECK: &str = "authorities";
const CA_FILE: &str = "saslcertd_ca_file";
const CRL_FILE: &str = "saslcertd_crl_file";
/// Files of the admin's, from wherever they come.
const NEW_AUTHORITIES: &str = "authorities.pem";
const NEW_LISTS: &str = "lists.pem";
/// Where the daemon may read.
const FOLDER: &str = "/etc/saslcertd";
const SOON_DAYS: i64 = 30;
const SECONDS_PER_DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::time::Duration;

    use serde_json::{Value, json};

    use super::super::commands::usual;
    use super::super::finding::Level;
    use super::*;

    const DAEMON: u32 = 111;
    const NOW: i64 = 1_795_219_200;

    fn authority(days: i64) -> Value {
        json!({"subject": "CN=Denmark", "not_before": NOW - 86_400, "not_after": NOW + days * 86_400})
    }

    fn ca_file(authorities: &Value) -> Value {
        json!({"path": "/etc/saslcertd/ca.pem", "problem": null, "unreadable": false, "authorities": authorities})
    }

    fn crl_file(days: i64, without: &Value) -> Value {
        json!({
            "path": "/etc/saslcertd/crl.pem", "problem": null, "unreadable": false, "without_list": without,
            "lists": [{"issuer": "CN=Denmark", "next_update": NOW + days * 86_400, "revoked": 1}],
        })
    }

    fn node(path: &str, mode: u32) -> Node {
        let (uid, gid) = (0, 0);
        Node {
            path: PathBuf::from(path),
            mode,
            uid,
            gid,
        }
    }

    fn found(ca_file: &Value, crl_file: &Value, looked: &[FileAccess]) -> Vec<(Level, Mend)> {
        let options = json!({"saslcertd_ca_file": ca_file["path"]});
        let status: DaemonState = serde_json::from_value(json!({"hosts": [{
            "host": "a.lit", "options": options, "authorities": {"ca_file": ca_file, "crl_file": crl_file},
        }]}))
        .unwrap();
        let facts: Facts = serde_json::from_value(json!({
            "config_file": "/etc/prosody/prosody.cfg.lua",
            "hosts": [{"host": "a.lit", "saslcertd": true, "options": options, "own_options": ["saslcertd_ca_file"]}],
        }))
        .unwrap();
        let files = Files {
            looked: looked.to_vec(),
            reader: Some(Who {
                uid: DAEMON,
                gids: vec![DAEMON],
            }),
        };
        let now = UNIX_EPOCH + Duration::from_secs(u64::try_from(NOW).unwrap());
        let found = findings(Some(&status), &files, Some(&facts), now, &usual());
        let bad = found
            .into_iter()
            .filter(|finding| finding.level != Level::Ok);
        bad.map(|finding| (finding.level, finding.mend.unwrap()))
            .collect()
    }

    #[test]
    fn what_runs_out_is_told_and_what_has_run_out_is_a_problem() {
        let none = Value::Null;
        let fine = ca_file(&json!([authority(400)]));
        let new = Mend::Run("install -D -m 644 authorities.pem /etc/saslcertd/ca.pem".to_owned());
        let newer = Mend::Run("install -D -m 644 lists.pem /etc/saslcertd/crl.pem".to_owned());
        let more = Mend::Run("cat lists.pem >> /etc/saslcertd/crl.pem".to_owned());
        let every = json!([]);
        let mut refusing = [crl_file(1, &every), crl_file(-1, &every)];
        for lists in &mut refusing {
            lists["refuses_expired"] = json!(true);
        }
        let [refusing_new, refusing_old] = refusing;
        for (ca, crl, expected) in [
            (fine.clone(), none.clone(), vec![]),
            (fine.clone(), refusing_new, vec![]),
            (
                ca_file(&json!([authority(29)])),
                none.clone(),
                vec![(Level::Warning, new.clone())],
            ),
            (
                ca_file(&json!([authority(-1)])),
                none.clone(),
                vec![(Level::Problem, new.clone())],
            ),
            (
                ca_file(&json!([authority(-1), authority(400)])),
                none.clone(),
                vec![],
            ),
            (
                fine.clone(),
                crl_file(-1, &every),
                vec![(Level::Warning, newer.clone())],
            ),
            (fine.clone(), refusing_old, vec![(Level::Problem, newer)]),
            (
                fine,
                crl_file(1, &json!(["CN=Norway"])),
                vec![(Level::Problem, more)],
            ),
        ] {
            assert_eq!(found(&ca, &crl, &[]), expected, "{ca} {crl}");
        }
    }

    #[test]
    fn what_can_not_count_is_named_with_its_reason() {
        let mut odd = authority(400);
        odd["problem"] = json!("its key is P-521");
        let new = Mend::Run("install -D -m 644 authorities.pem /etc/saslcertd/ca.pem".to_owned());
        let got = found(&ca_file(&json!([odd])), &Value::Null, &[]);
        assert_eq!(got, [(Level::Problem, new)]);
        let mut forged = crl_file(1, &json!([]));
        forged["lists"][0]["problem"] = json!("its signature fits none");
        let newer = Mend::Run("install -D -m 644 lists.pem /etc/saslcertd/crl.pem".to_owned());
        let got = found(&ca_file(&json!([authority(400)])), &forged, &[]);
        assert_eq!(got, [(Level::Problem, newer)]);
    }

    #[test]
    fn a_file_that_the_daemon_may_not_read_is_opened_or_copied() {
        let path = "/etc/prosody/certs/ca.pem";
        let hidden = json!({"path": path, "problem": "saslcertd's user may not read it", "unreadable": true, "authorities": null});
        let looked = |folder: u32, file: Option<u32>| FileAccess {
            path: PathBuf::from(path),
            folders: vec![node("/", 0o755), node("/etc/prosody", folder)],
            node: file.map(|mode| node(path, mode)),
        };
        let run = |command: &str| Mend::Run(command.to_owned());
        let copied = Mend::Edit(ConfigEdit {
            file: PathBuf::from("/etc/prosody/prosody.cfg.lua"),
            host: Some("a.lit".to_owned()),
            within: None,
            change: ConfigChange::Add("saslcertd_ca_file = \"/etc/saslcertd/ca.pem\"".to_owned()),
            then: "install -D -m 644 /etc/prosody/certs/ca.pem /etc/saslcertd/ca.pem && systemctl reload prosody".to_owned(),
        });
        let put = run("install -D -m 644 authorities.pem /etc/prosody/certs/ca.pem");
        for (looked, expected) in [
            (
                looked(0o755, Some(0o640)),
                run("chmod a+r /etc/prosody/certs/ca.pem"),
            ),
            (looked(0o750, Some(0o644)), copied.clone()),
            // Hidden by the unit, or by an access control list.
            (looked(0o755, Some(0o644)), copied),
            (looked(0o755, None), put),
        ] {
            let got = found(&hidden, &Value::Null, &[looked]);
            assert_eq!(got, [(Level::Problem, expected)]);
        }
        let with_key = json!({"path": path, "problem": null, "unreadable": false, "private_key": true, "authorities": [authority(365)]});
        let public = Mend::Edit(ConfigEdit {
            file: PathBuf::from("/etc/prosody/prosody.cfg.lua"),
            host: Some("a.lit".to_owned()),
            within: None,
            change: ConfigChange::Add("saslcertd_ca_file = \"/etc/saslcertd/public-ca.pem\"".to_owned()),
            then: "sed -n '/^-----BEGIN CERTIFICATE-/,/^-----END CERTIFICATE-/p' /etc/prosody/certs/ca.pem | \
                   install -D -m 644 /dev/stdin /etc/saslcertd/public-ca.pem && systemctl reload prosody"
                .to_owned(),
        });
        let got = found(&with_key, &Value::Null, &[looked(0o755, Some(0o644))]);
        assert_eq!(got, [(Level::Warning, public)]);
        let broken = json!({"path": path, "problem": "holds no PEM section", "unreadable": false, "authorities": null});
        let got = found(&broken, &Value::Null, &[looked(0o755, Some(0o644))]);
        assert_eq!(
            got,
            [(
                Level::Problem,
                run("install -D -m 644 authorities.pem /etc/prosody/certs/ca.pem")
            )]
        );
    }
}
