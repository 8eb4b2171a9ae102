//! Hosts: what `session.hello` declares, and whether a question about a host may be answered.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::connection::Introduction;
use super::super::protocol::{Accounts, Fault, Hello, HelloHost, PROTOCOL_VERSION};
use super::{Answer, Service, storage};
use crate::identity::Host;
use crate::identity::jid::JidError;
use crate::policy::HostPolicy;
use crate::policy::host::{Declared, Remark};
use crate::store::HostRecord;

/// A host as it was declared last.
#[derive(Clone, Debug)]
pub(super) struct DeclaredHost {
    pub(super) accounts: Accounts,
    pub(super) options: Map<String, Value>,
    pub(super) declared: Declared,
}
impl Service {
    pub(super) fn hello(self: &Arc<Self>, answer: Answer, hello: Hello) {
        if hello.protocol != PROTOCOL_VERSION {
            answer.send(Err(Fault::OtherVersion.into()));
            return;
        }
        let connection = Arc::clone(&answer.connection);
        let mut served = HashSet::new();
        match connection.introduction().filter(|_| hello.continued) {
            Some(before) => served = before.hosts,
            // Reported anew by what follows.
            None => self.sessions.forget(connection.id),
        }
        let mut changed = Vec::new();
        let mut results = Vec::new();
        for declared in hello.hosts {
            let result = self.declare(declared, &mut changed);
            served.extend(Host::parse(&result.host));
            results.push(result);
        }
        let software: String = hello
            .software
            .chars()
            .filter(|c| !c.is_control())
            .take(100)
            .collect();
        tracing::info!(
            connection = connection.id,
            software,
            hosts = served.len(),
            "hello"
        );
        connection.introduce(Introduction {
            software,
            hosts: served,
        });
        let result = json!({
            "protocol": PROTOCOL_VERSION,
            "software": concat!("saslcertd ", env!("CARGO_PKG_VERSION")),
            "hosts": results,
        });
        if changed.is_empty() {
            answer.send(Ok(result));
            return;
        }
        self.task(answer, move |service, answer| {
            let written = changed
                .into_iter()
                .try_for_each(|(host, record)| service.store.remember_host(&host, record));
            answer.send(written.map(|()| result).map_err(|error| storage(&error)));
        });
    }

    fn declare(&self, hello: HelloHost, changed: &mut Vec<(Host, HostRecord)>) -> HelloResult {
        let host = match Host::parse(&hello.host) {
            Ok(host) => host,
            Err(error) => return HelloResult::not_a_host(hello.host, error),
        };
        let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
        let known = hosts.get(&host);
        let Some(options) = hello.options else {
            return match known {
                Some(known) => HelloResult::of(&host, known),
                None => HelloResult::unknown(&host),
            };
        };
        let is_new =
            known.is_none_or(|known| known.options != options || known.accounts != hello.accounts);
        let declared = DeclaredHost::new(hello.accounts, options);
        if is_new {
            tracing::info!(
                %host,
                before = known.map(|known| json_of(&known.options)),
                options = json_of(&declared.options),
                errors = declared.declared.errors.len(),
                "host declared"
            );
            changed.push((host.clone(), declared.record()));
        }
        let result = HelloResult::of(&host, &declared);
        hosts.insert(host, declared);
        result
    }

    pub(super) fn policy(&self, host: &Host) -> Result<HostPolicy, Fault> {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        match hosts.get(host) {
            None => Err(Fault::HostUndeclared),
            Some(known) if !known.declared.errors.is_empty() => Err(Fault::HostNotReady),
            Some(known) => Ok(known.declared.policy.clone()),
        }
    }
}

impl DeclaredHost {
    fn new(accounts: Accounts, options: Map<String, Value>) -> Self {
        let mut declared = HostPolicy::from_options(&options);
        if accounts == Accounts::Daemon {
            declared.errors.push(Remark {
                option: "authentication".to_owned(),
                message: "authentication = \"saslcertd\": this version keeps no accounts; use another provider"
                    .to_owned(),
            });
        }
        Self {
            accounts,
            options,
            declared,
        }
    }

    /// As the store remembers it.
    pub(super) fn remembered(record: &HostRecord) -> Result<Self, serde_json::Error> {
        let accounts = serde_json::from_value(Value::from(record.accounts.clone()))?;
        Ok(Self::new(accounts, serde_json::from_str(&record.options)?))
    }

    fn record(&self) -> HostRecord {
        HostRecord {
            accounts: match self.accounts {
                Accounts::Prosody => "prosody",
                Accounts::Daemon => "daemon",
            }
            .to_owned(),
            options: json_of(&self.options),
        }
    }
}

/// A host in the answer to a hello.
#[derive(Serialize)]
struct HelloResult {
    /// As the asker calls it where it is not a domain; else prepared.
    host: String,
    ready: bool,
    errors: Vec<Value>,
    warnings: Vec<Value>,
}

impl HelloResult {
    fn of(host: &Host, known: &DeclaredHost) -> Self {
        Self {
            host: host.to_string(),
            ready: known.declared.errors.is_empty(),
            errors: remarks(&known.declared.errors),
            warnings: remarks(&known.declared.warnings),
        }
    }

    fn unknown(host: &Host) -> Self {
        let problem = "it was never declared; declare it with its options";
        Self::not_ready(host.to_string(), problem)
    }

    fn not_a_host(host: String, error: JidError) -> Self {
        Self::not_ready(
            host,
            &format!("saslcertd takes no such name for a host: {error}"),
        )
    }

    fn not_ready(host: String, problem: &str) -> Self {
        Self {
            host,
            ready: false,
            errors: vec![json!({"option": null, "message": problem})],
            warnings: Vec::new(),
        }
    }
}

fn json_of(options: &Map<String, Value>) -> String {
    Value::Object(options.clone()).to_string()
}

pub(super) fn remarks(remarks: &[Remark]) -> Vec<Value> {
    let row = |remark: &Remark| json!({"option": remark.option, "message": remark.message});
    remarks.iter().map(row).collect()
}
