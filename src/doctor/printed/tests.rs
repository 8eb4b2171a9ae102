//! The cases of facts that follow from raw settings.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use serde_json::json;

use super::*;

/// The facts of a configuration with these sections; hosts have the modules of their own section and of the global one.
fn facts(sections: &Value) -> Facts {
    let modules_of = |section: &str| texts(sections[section].get("modules_enabled"));
    let mut hosts = Map::new();
    for name in sections
        .as_object()
        .unwrap()
        .keys()
        .filter(|name| *name != "*")
    {
        let mut modules = modules_of("*");
        modules.extend(modules_of(name));
        let is_found = sections[name]["authentication"] != "nowhere";
        hosts.insert(
            name.clone(),
            json!({"modules": modules, "authentication_found": is_found}),
        );
    }
    printed(
        &json!({"ipv6": true, "sections": sections, "hosts": hosts, "modules": modules_of("*")}),
    )
}

fn printed(line: &Value) -> Facts {
    let printed: Printed = serde_json::from_value(line.clone()).unwrap();
    printed.facts(&BTreeMap::new())
}

#[test]
fn hosts_are_virtual_hosts_that_are_in_use_by_name() {
    let found = facts(&json!({
        "b.lit": {}, "a.lit": {}, "off.lit": {"enabled": false}, "muc.a.lit": {"component_module": "muc"},
    }));
    let names: Vec<&str> = found.hosts.iter().map(|host| host.name.as_str()).collect();
    assert_eq!(names, ["a.lit", "b.lit"]);
}

#[test]
fn our_module_and_the_older_one_are_found_where_they_are_enabled() {
    let found = facts(&json!({
        "*": {"modules_enabled": ["tls"]},
        "a.lit": {"modules_enabled": ["saslcertd", "client_certs"]},
        "b.lit": {"authentication": "saslcertd"},
        "c.lit": {},
    }));
    let seen: Vec<_> = found
        .hosts
        .iter()
        .map(|host| {
            (
                host.saslcertd,
                host.client_certs,
                host.client_certs_here,
                host.modules_here,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (true, true, true, true),
            (true, false, false, false),
            (false, false, false, false)
        ]
    );
    assert_eq!(found.hosts[2].authentication, "internal_hashed");
    assert_eq!(found.hosts[2].mod_tls, Some(true));
}

#[test]
fn whether_anybody_can_log_in_is_told() {
    let found = facts(&json!({
        "*": {"modules_enabled": ["c2s", "saslauth"]}, "a.lit": {}, "b.lit": {"authentication": "nowhere"},
    }));
    let seen = |host: &HostFacts| [host.mod_c2s, host.mod_saslauth, host.authentication_found];
    assert_eq!(seen(&found.hosts[0]), [Some(true); 3]);
    assert_eq!(seen(&found.hosts[1]), [Some(true), Some(true), Some(false)]);
    let found = facts(&json!({"*": {"modules_enabled": ["sasl2"]}, "a.lit": {}}));
    assert_eq!(seen(&found.hosts[0]), [Some(false), Some(true), Some(true)]);
}

#[test]
fn what_is_disabled_is_told() {
    let found = facts(&json!({
        "*": {"modules_disabled": ["saslcertd"], "disable_sasl_mechanisms": ["EXTERNAL"]},
        "a.lit": {"modules_disabled": "s2s"},
        "b.lit": {"disable_sasl_mechanisms": ["PLAIN"]},
    }));
    assert_eq!(found.modules_disabled, ["saslcertd"]);
    let [first, second] = &found.hosts[..] else {
        unreachable!()
    };
    assert_eq!(first.modules_disabled_here, ["s2s"]);
    assert!(first.external_disabled && !first.external_disabled_here);
    assert!(!second.external_disabled && !second.external_disabled_here);
}

#[test]
fn our_options_are_those_that_hold_and_where_they_are_set() {
    let found = printed(&json!({
        "config_folder": "/etc/prosody",
        "sections": {
            "*": {"saslcertd_trust": "enrolled", "saslcertd_socket": "s"},
            "a.lit": {"saslcertd_ca_file": "ca.pem", "saslcertd_timeout": 3, "c2s_ssl": {}},
        },
    }));
    assert_eq!(
        found.global_options,
        ["saslcertd_socket", "saslcertd_trust"]
    );
    assert_eq!(found.setting_problems[0].option, "saslcertd_socket");
    assert_eq!(found.socket, PathBuf::from("/run/saslcertd/saslcertd.sock"));
    let host = &found.hosts[0];
    assert_eq!(host.own_options, ["saslcertd_ca_file", "saslcertd_timeout"]);
    assert_eq!(host.misplaced, ["saslcertd_timeout"]);
    assert_eq!(host.options["saslcertd_ca_file"], "/etc/prosody/ca.pem");
    assert_eq!(host.options["saslcertd_trust"], "enrolled");
}

#[test]
fn as_whom_prosody_runs_and_over_which_network() {
    for (global, user) in [
        (json!({}), Some("prosody")),
        (json!({"prosody_user": "xmpp"}), Some("xmpp")),
        (json!({"prosody_user": "xmpp", "run_as_root": true}), None),
    ] {
        assert_eq!(facts(&json!({ "*": global })).user.as_deref(), user);
    }
    for (global, nagle, is_set) in [
        (json!({}), true, false),
        (json!({"network_settings": {"nagle": true}}), true, true),
        (json!({"network_settings": {"nagle": false}}), false, true),
    ] {
        let found = facts(&json!({ "*": global }));
        assert_eq!((found.nagle, found.network_settings), (nagle, is_set));
    }
    for (global, backend) in [
        (json!({}), "epoll"),
        (json!({"network_backend": "select"}), "select"),
        (json!({"use_libevent": true}), "event"),
    ] {
        assert_eq!(facts(&json!({ "*": global })).backend, backend);
    }
    assert!(!facts(&json!({"a.lit": {}})).net_proxy);
    assert!(facts(&json!({"*": {"modules_enabled": ["net_proxy"]}, "a.lit": {}})).net_proxy);
}

/// Service, TLS, number and TLS option of each port.
fn ports(global: &Value) -> Vec<(String, u16, Option<String>)> {
    let ports = facts(&json!({ "*": global })).ports;
    ports
        .into_iter()
        .map(|port| (port.tls, port.number, port.ssl_option))
        .collect()
}

#[test]
fn ports_are_those_that_prosody_would_open() {
    let starttls = |number| ("starttls".to_owned(), number, None);
    let direct = |number, option: &str| ("direct".to_owned(), number, Some(option.to_owned()));
    for (global, wanted) in [
        (json!({}), vec![starttls(5222)]),
        (json!({"c2s_ports": []}), vec![]),
        (
            json!({"c2s_ports": ["5222", 5322], "c2s_direct_tls_ports": 5223, "legacy_ssl_ports": [5224]}),
            vec![
                starttls(5222),
                starttls(5322),
                direct(5223, "c2s_direct_tls_ssl"),
                direct(5224, "legacy_ssl_ssl"),
            ],
        ),
        (
            json!({"ports": [443], "ssl_ports": [5443], "c2s_ports": []}),
            vec![],
        ),
        (
            json!({"ports": [443], "ssl_ports": [5443], "c2s_ports": [], "modules_enabled": ["net_multiplex"]}),
            vec![starttls(443), direct(5443, "ssl_ssl")],
        ),
    ] {
        assert_eq!(ports(&global), wanted, "{global}");
    }
    for (global, interfaces) in [
        (json!({}), vec!["*", "::"]),
        (json!({"use_ipv6": false}), vec!["*"]),
        (json!({"interfaces": "127.0.0.1"}), vec!["127.0.0.1"]),
        (
            json!({"interfaces": ["::1"], "c2s_interface": "10.0.0.1"}),
            vec!["10.0.0.1"],
        ),
    ] {
        assert_eq!(
            facts(&json!({ "*": global })).ports[0].interfaces,
            interfaces
        );
    }
}

#[test]
fn a_line_about_starttls_stands_where_it_counts() {
    let asking = json!({"verify": ["peer", "client_once"]});
    for (sections, section, within) in [
        (json!({}), None, None),
        (json!({"*": {"c2s_ssl": asking}}), None, Some("c2s_ssl")),
        (
            json!({"a.lit": {"c2s_ssl": asking}}),
            Some("a.lit"),
            Some("c2s_ssl"),
        ),
        (
            json!({"lit": {"c2s_ssl": asking}}),
            Some("lit"),
            Some("c2s_ssl"),
        ),
        (
            json!({"a.lit": {"ssl": {"verify": "none"}}, "*": {"c2s_ssl": asking}}),
            Some("a.lit"),
            Some("ssl"),
        ),
        (
            json!({"a.lit": {"ssl": {}}, "*": {"c2s_ssl": asking}}),
            None,
            Some("c2s_ssl"),
        ),
    ] {
        let printed: Printed = serde_json::from_value(json!({ "sections": sections })).unwrap();
        let found = printed.starttls("a.lit", &PrintedContext::default());
        assert_eq!(
            (found.section.as_deref(), found.within.as_deref()),
            (section, within),
            "{sections}"
        );
    }
}

#[test]
fn whether_starttls_asks_is_what_prosodys_context_says() {
    for (context, asks) in [
        (json!({"verify": ["peer", "client_once"]}), true),
        (json!({"verify": "peer"}), true),
        (json!({"verify": "none"}), false),
        (json!({"error": "no key"}), false),
    ] {
        let found =
            printed(&json!({"sections": {"a.lit": {}}, "hosts": {"a.lit": {"starttls": context}}}));
        let starttls = &found.hosts[0].starttls;
        assert_eq!(starttls.asks, asks, "{context}");
        assert_eq!(starttls.error.as_deref(), context["error"].as_str());
    }
}

#[test]
fn a_host_is_in_the_file_where_its_section_begins_first() {
    let main =
        "plugin_paths = {}\nVirtualHost \"a.lit\"\n-- VirtualHost \"c.lit\"\nInclude \"more\"\n";
    let more = "  VirtualHost('B.lit')\nVirtualHost \"a.lit\"\n";
    let files = [("/main", main), ("/more", more)];
    let files = files.map(|(file, text)| (PathBuf::from(file), text.to_owned()));
    let found = files_of_hosts(&files);
    let wanted = [("a.lit", "/main"), ("b.lit", "/more")];
    assert_eq!(
        found,
        wanted
            .map(|(host, file)| (host.to_owned(), PathBuf::from(file)))
            .into()
    );
}
