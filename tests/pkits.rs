//! The cases of NIST's suite for the validation of paths, for whoever has it: `make test-pkits PKITS=DIR`.
//!
//! `docs/authorities.md` says how the folder is laid out, and which cases are refused although they are valid.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::struct_excessive_bools
)]

use std::collections::BTreeSet;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use saslcertd::identity::issued::PolicyId;
use saslcertd::identity::{ClientCert, UnixSeconds};
use saslcertd::policy::chain::{
    Authorities, Demands, Presented, Revocation, RevocationLists, path,
};
use serde::Deserialize;

/// One case; the names are those of files without their ending.
#[derive(Debug, Deserialize)]
struct Case {
    number: String,
    anchor: String,
    intermediates: Vec<String>,
    leaf: String,
    lists: Vec<String>,
    valid: bool,
    #[serde(default)]
    initial_policy_set: Option<Vec<String>>,
    #[serde(default)]
    initial_explicit_policy: bool,
    #[serde(default)]
    initial_policy_mapping_inhibit: bool,
    #[serde(default)]
    initial_inhibit_any_policy: bool,
}

impl Case {
    fn demands(&self) -> Demands {
        let policies = self.initial_policy_set.as_ref();
        Demands {
            policies: policies.map(|names| names.iter().map(|name| policy(name)).collect()),
            require_policy: self.initial_explicit_policy,
            inhibit_mapping: self.initial_policy_mapping_inhibit,
            inhibit_any: self.initial_inhibit_any_policy,
        }
    }

    /// Why the daemon would refuse it.
    fn refusal(&self, suite: &Path) -> Option<String> {
        let cert = |name: &String| std::fs::read(suite.join(format!("certs/{name}.crt"))).unwrap();
        let list = |name: &String| std::fs::read(suite.join(format!("crls/{name}.crl"))).unwrap();
        let anchor = pem("CERTIFICATE", &cert(&self.anchor));
        let authorities = match Authorities::from_pem(anchor.as_bytes()) {
            Ok(authorities) => authorities,
            Err(error) => return Some(format!("saslcertd_ca_file {error}")),
        };
        let lists: String = self
            .lists
            .iter()
            .map(|name| pem("X509 CRL", &list(name)))
            .collect();
        let lists = match RevocationLists::from_pem(lists.as_bytes()) {
            Ok(lists) => lists,
            Err(error) => return Some(format!("saslcertd_crl_file {error}")),
        };
        let leaf = cert(&self.leaf);
        if let Err(finding) = ClientCert::from_der(&leaf) {
            return Some(finding.to_string());
        }
        let between: Vec<Vec<u8>> = self.intermediates.iter().map(cert).collect();
        let between: Vec<&[u8]> = between.iter().map(Vec::as_slice).collect();
        let revocation = Revocation {
            lists: &lists,
            accept_expired: false,
        };
        let demands = self.demands();
        let presented = Presented {
            leaf: &leaf,
            intermediates: &between,
        };
        let (found, _) = path(presented, &authorities, Some(revocation), &demands, NOW);
        found
            .err()
            .map(|untrusted| format!("{:?}: {}", untrusted.denial, untrusted.cause))
    }
}

/// NIST's policies are 2.16.840.1.101.3.2.1.48.1 and so on.
fn policy(name: &str) -> PolicyId {
    let number: u8 = name
        .strip_prefix("NIST-test-policy-")
        .unwrap()
        .parse()
        .unwrap();
    PolicyId::from_bytes(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x02, 0x01, 0x30, number])
}

fn pem(kind: &str, der: &[u8]) -> String {
    let body = BASE64.encode(der);
    format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n")
}

/// The numbers in the first column of the table of what is refused although it is valid.
fn listed() -> BTreeSet<String> {
    let docs = include_str!("../docs/authorities.md");
    let cells = docs.lines().filter_map(|line| line.strip_prefix("| 4."));
    let numbers = cells.filter_map(|row| row.split('|').next());
    let all = numbers.flat_map(|cell| cell.split(',').map(|one| one.trim().to_owned()));
    all.map(|one| {
        if one.starts_with("4.") {
            one
        } else {
            format!("4.{one}")
        }
    })
    .collect()
}

#[test]
#[ignore = "needs the suite: make test-pkits PKITS=DIR"]
fn no_invalid_path_is_accepted_and_no_valid_one_refused_but_those_that_the_docs_list() {
    let suite = std::env::var("PKITS").unwrap();
    let suite = Path::new(&suite);
    let cases = std::fs::read_to_string(suite.join("cases.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    for case in &cases {
        match (case.valid, case.refusal(suite)) {
            (false, None) => accepted.push(format!("{} {}", case.number, case.leaf)),
            (true, Some(why)) => {
                refused.push((case.number.clone(), format!("{} {why}", case.leaf)));
            }
            (true, None) | (false, Some(_)) => {}
        }
    }
    let wrong = accepted.len() + refused.len();
    println!("{} cases: {} right", cases.len(), cases.len() - wrong);
    println!("accepted though invalid: {}", accepted.len());
    for case in &accepted {
        println!("  {case}");
    }
    println!("refused though valid: {}", refused.len());
    for (number, why) in &refused {
        println!("  {number} {why}");
    }
    assert!(!cases.is_empty() && accepted.is_empty());
    let refused: BTreeSet<String> = refused.into_iter().map(|(number, _)| number).collect();
    assert_eq!(refused, listed());
}

/// 2026: within the suite's validity.
const NOW: UnixSeconds = UnixSeconds(1_790_000_000);
