//! The cases of findings and remedies, from facts as Prosody gives them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::super::commands::usual;
use super::super::facts::Port;
use super::*;

fn facts(hosts: &Value) -> Facts {
    serde_json::from_value(json!({
        "version": "13.0.1",
        "config_file": "/etc/prosody/prosody.cfg.lua",
        "module": {"version": env!("CARGO_PKG_VERSION"), "path": "/m/mod_saslcertd", "protocol": PROTOCOL_VERSION},
        "global_options": ["saslcertd_trust"],
        "hosts": hosts,
    }))
    .unwrap()
}

fn found(facts: Facts) -> Vec<Finding> {
    findings(&ProsodyctlAnswer::Facts(Box::new(facts)), None, &usual())
}

fn edit(finding: &Finding) -> &ConfigEdit {
    match finding.mend.as_ref().unwrap() {
        Mend::Edit(edit) => edit,
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn a_good_configuration_has_no_problem() {
    let found = found(facts(
        &json!([{"host": "a.lit", "saslcertd": true}, {"host": "b.lit"}]),
    ));
    assert!(
        found.iter().all(|finding| finding.level == Level::Ok),
        "{found:?}"
    );
    assert_eq!(
        found[2].message,
        "mod_saslcertd is enabled for a.lit; not for b.lit"
    );
}

#[test]
fn each_mistake_is_named_with_the_line_that_mends_it() {
    let good = json!({"host": "a.lit", "saslcertd": true});
    let with = |more: &Value| {
        let mut host = good.as_object().unwrap().clone();
        host.extend(more.as_object().unwrap().clone());
        json!([host])
    };
    let add = |line: &str| ConfigChange::Add(line.to_owned());
    let remove = |what: &str| ConfigChange::Remove(what.to_owned());
    let cases = [
        (
            json!([{"host": "a.lit"}]),
            "enabled",
            None,
            add("\"saslcertd\";"),
        ),
        (
            json!([{"host": "a.lit", "saslcertd": true, "authentication": "anonymous"}]),
            "enabled",
            None,
            add("\"saslcertd\";"),
        ),
        (
            with(&json!({"client_certs": true})),
            "rival",
            None,
            remove("\"client_certs\""),
        ),
        (
            with(&json!({"client_certs": true, "client_certs_here": true})),
            "rival",
            Some("a.lit"),
            remove("\"client_certs\""),
        ),
        (
            with(&json!({"options": {"saslcertd_trust": "all"}})),
            "options",
            None,
            add("saslcertd_trust = \"enrolled\""),
        ),
        (
            with(
                &json!({"options": {"saslcertd_max_certs": 0}, "own_options": ["saslcertd_max_certs"]}),
            ),
            "options",
            Some("a.lit"),
            remove("saslcertd_max_certs"),
        ),
        (
            with(&json!({"options": {"saslcertd_ca_file": "/nowhere"}})),
            "options",
            None,
            remove("saslcertd_ca_file"),
        ),
        (
            with(&json!({"misplaced": ["saslcertd_socket"]})),
            "options",
            Some("a.lit"),
            remove("saslcertd_socket"),
        ),
    ];
    for (hosts, check, section, change) in cases {
        let found = found(facts(&hosts));
        let bad: Vec<&Finding> = found
            .iter()
            .filter(|finding| finding.level == Level::Problem)
            .collect();
        assert_eq!(bad.len(), 1, "{found:?}");
        assert_eq!(bad[0].check, check);
        assert_eq!(
            (edit(bad[0]).host.as_deref(), &edit(bad[0]).change),
            (section, &change)
        );
    }
}

#[test]
fn a_module_that_is_forbidden_is_not_enabled_by_naming_it() {
    let remove = || ConfigChange::Remove("\"saslcertd\"".to_owned());
    let add = || ConfigChange::Add("\"saslcertd\";".to_owned());
    for (everywhere, here, expected) in [
        (json!([]), json!([]), (None, "modules_enabled", add())),
        (
            json!(["saslcertd"]),
            json!([]),
            (None, "modules_disabled", remove()),
        ),
        (
            json!([]),
            json!(["saslcertd"]),
            (Some("a.lit"), "modules_disabled", remove()),
        ),
    ] {
        let mut facts = facts(&json!([{"host": "a.lit", "modules_disabled_here": here}]));
        facts.modules_disabled = serde_json::from_value(everywhere).unwrap();
        let found = found(facts);
        let edit = edit(&found[2]);
        let got = (edit.host.as_deref(), edit.within.as_deref().unwrap());
        assert_eq!((got.0, got.1, edit.change.clone()), expected);
    }
}

#[test]
fn a_line_of_a_host_is_for_the_file_with_its_section() {
    let mut host = json!({"host": "a.lit", "saslcertd": true, "client_certs": true, "client_certs_here": true,
        "external_disabled": true, "external_disabled_here": true,
        "options": {"saslcertd_max_certs": 0}, "own_options": ["saslcertd_max_certs"]});
    for (file, expected) in [
        (None, "/etc/prosody/prosody.cfg.lua"),
        (
            Some("/etc/prosody/conf.d/a.cfg.lua"),
            "/etc/prosody/conf.d/a.cfg.lua",
        ),
    ] {
        host["file"] = json!(file);
        let found = found(facts(&json!([host])));
        let files: Vec<&Path> = found
            .iter()
            .filter(|finding| finding.level == Level::Problem)
            .map(|finding| edit(finding).file.as_path())
            .collect();
        assert_eq!(files, [Path::new(expected); 3]);
    }
}

#[test]
fn an_option_that_is_wrong_everywhere_is_named_once() {
    let host = |name: &str| json!({"host": name, "saslcertd": true, "options": {"saslcertd_ca_file": "/ca"}});
    let found = found(facts(&json!([host("a.lit"), host("b.lit")])));
    let bad: Vec<&Finding> = found
        .iter()
        .filter(|finding| finding.level == Level::Problem)
        .collect();
    assert_eq!(bad.len(), 1);
    assert!(
        bad[0].message.ends_with("no EXTERNAL for a.lit, b.lit"),
        "{}",
        bad[0].message
    );
}

#[test]
fn a_port_is_looked_at_where_it_listens() {
    let cases = [
        (vec!["*", "::"], "127.0.0.1"),
        (vec!["::"], "::1"),
        (vec!["::1", "10.0.0.1"], "10.0.0.1"),
        (vec!["eth0"], "127.0.0.1"),
    ];
    for (interfaces, expected) in cases {
        let names: Vec<String> = interfaces.iter().map(ToString::to_string).collect();
        let port = Port {
            interfaces: names,
            number: 5222,
            ..Port::default()
        };
        let expected = SocketAddr::new(expected.parse().unwrap(), 5222);
        assert_eq!(port.address(), expected);
    }
}

#[test]
fn an_unknown_option_is_a_warning() {
    let found = found(facts(
        &json!([{"host": "a.lit", "saslcertd": true, "options": {"saslcertd_max_cert": 3}}]),
    ));
    let last = found.last().unwrap();
    assert_eq!((last.level, last.check), (Level::Warning, "options"));
    assert_eq!(
        edit(last).change,
        ConfigChange::Remove("saslcertd_max_cert".to_owned())
    );
}

#[test]
fn a_module_that_is_not_found_is_named_with_its_path() {
    let text = "Prosody 0.12.3\n\n# Prosody directories\nData directory:     /var/lib/prosody\n\
                Config directory:   /etc/prosody\nSource directory:   /usr/lib/prosody\nPlugin directories:\n  \
                /var/lib/prosody/custom_plugins - not a directory!\n  /usr/local/lib/other/ \n  \
                /usr/lib/prosody/modules/\n  \n\n# Operating system\n";
    let about = About::read(text);
    let expected = About {
        version: "0.12.3".to_owned(),
        config_dir: PathBuf::from("/etc/prosody"),
        plugin_paths: vec![PathBuf::from("/usr/local/lib/other")],
    };
    assert_eq!(about, expected);
    let missing = |found| ProsodyctlAnswer::NoModule {
        about: about.clone(),
        found,
        closed: None,
    };
    let found = findings(&missing(Some(PathBuf::from("/glue"))), None, &usual());
    assert_eq!(
        edit(&found[1]).change,
        ConfigChange::Add("plugin_paths = { \"/usr/local/lib/other\", \"/glue\" }".to_owned())
    );
    assert_eq!(
        edit(&found[1]).file,
        Path::new("/etc/prosody/prosody.cfg.lua")
    );
    assert!(
        found[2..]
            .iter()
            .all(|finding| finding.level == Level::NotChecked)
    );
    let found = findings(
        &missing(Some(PathBuf::from("/usr/local/lib/other"))),
        None,
        &usual(),
    );
    assert!(matches!(&found[1].mend, Some(Mend::Run(command)) if command.starts_with("chmod")));
    let found = findings(&missing(None), None, &usual());
    assert!(matches!(&found[1].mend, Some(Mend::Run(command)) if command.contains("cp -r")));
}

#[test]
fn without_prosodyctl_nothing_of_prosody_is_judged() {
    for answer in [
        ProsodyctlAnswer::NoProgram,
        ProsodyctlAnswer::Failed {
            said: "bad\nconfig".to_owned(),
        },
    ] {
        let found = findings(&answer, None, &usual());
        assert_eq!(found[0].level, Level::Problem);
        assert!(
            found[1..]
                .iter()
                .all(|finding| finding.level == Level::NotChecked)
        );
    }
}

#[test]
fn a_module_in_a_folder_that_prosody_may_not_enter_is_copied() {
    let closed = ProsodyctlAnswer::NoModule {
        about: About::default(),
        found: Some(PathBuf::from("/root/saslcertd/prosody-glue")),
        closed: Some(PathBuf::from("/root")),
    };
    let found = findings(&closed, None, &usual());
    let Some(Mend::Run(line)) = &found[1].mend else {
        unreachable!()
    };
    assert!(
        !line.contains("/root ")
            && line.starts_with("mkdir -p /usr/local/lib/prosody/modules && cp -r ")
    );
}

#[test]
fn a_module_that_prosody_may_not_read_is_opened_and_not_sought_elsewhere() {
    let folder = Path::new("/usr/lib/prosody/modules");
    let closed = ProsodyctlAnswer::NoModule {
        about: About::default(),
        found: Some(folder.to_owned()),
        closed: Some(folder.join("mod_saslcertd/mod_saslcertd.lua")),
    };
    let found = findings(&closed, None, &usual());
    assert!(
        found[1].message.contains("may not read"),
        "{}",
        found[1].message
    );
    let line = "chmod -R go+rX /usr/lib/prosody/modules/mod_*saslcertd";
    assert_eq!(found[1].mend, Some(Mend::Run(line.to_owned())));
}

#[test]
fn what_nobody_can_log_in_without_is_named() {
    let cases = [
        (json!({"mod_c2s": false}), "no client can connect"),
        (json!({"mod_saslauth": false}), "nobody can log in"),
        (
            json!({"authentication": "internal_hased", "authentication_found": false}),
            "authentication = \"internal_hashed\"",
        ),
        (
            json!({"authentication": "sql", "authentication_found": false}),
            "prosodyctl install --server=https://modules.prosody.im/rocks/ mod_auth_sql; systemctl restart prosody",
        ),
    ];
    for (more, words) in cases {
        let mut host = json!({"host": "a.lit", "saslcertd": true});
        host.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let facts: Facts = serde_json::from_value(json!({"hosts": [host]})).unwrap();
        let found = logins(&facts, &usual());
        assert_eq!(found.len(), 1, "{more}");
        assert!(found[0].to_string().contains(words), "{}", found[0]);
    }
    let old: Facts =
        serde_json::from_value(json!({"hosts": [{"host": "a.lit", "saslcertd": true}]})).unwrap();
    assert!(logins(&old, &usual()).is_empty());
}

#[test]
fn one_slip_is_recognised_and_two_are_not() {
    let cases = [
        ("internal_hased", true),
        ("internal_hasheed", true),
        ("internal_hashde", true),
        ("internal-hashed", true),
        ("internal_hashed", true),
        ("internal_plian", false),
        ("ldap2", false),
        ("", false),
    ];
    for (typed, expected) in cases {
        assert_eq!(is_almost("internal_hashed", typed), expected, "{typed}");
    }
}

#[test]
fn a_copy_of_another_version_is_named_with_its_folder() {
    for (protocol, level) in [
        (PROTOCOL_VERSION, Level::Ok),
        (0, Level::Problem),
        (PROTOCOL_VERSION - 1, Level::Problem),
        (PROTOCOL_VERSION + 1, Level::Problem),
    ] {
        let facts: Facts = serde_json::from_value(json!({
            "module": {"version": "9.9", "path": "/m/mod_saslcertd", "protocol": protocol},
        }))
        .unwrap();
        let found = module(&facts, &usual());
        assert_eq!(found.level, level);
        assert!(
            found.message.contains("9.9 in /m/mod_saslcertd"),
            "{}",
            found.message
        );
    }
}
