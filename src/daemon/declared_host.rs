//! A host as it was declared last.

use serde_json::{Map, Value};

use crate::policy::HostPolicy;
use crate::policy::host::Declared;
use crate::protocol::Accounts;
use crate::store::HostRecord;

/// A host as it was declared last.
#[derive(Clone, Debug)]
pub(super) struct DeclaredHost {
    pub(super) accounts: Accounts,
    pub(super) options: Map<String, Value>,
    pub(super) declared: Declared,
}

impl DeclaredHost {
    pub(super) fn new(accounts: Accounts, options: Map<String, Value>) -> Self {
        Self {
            accounts,
            declared: HostPolicy::from_options(&options),
            options,
        }
    }

    /// As the store remembers it.
    pub(super) fn remembered(record: &HostRecord) -> Result<Self, serde_json::Error> {
        let accounts = serde_json::from_value(Value::from(record.accounts.clone()))?;
        Ok(Self::new(accounts, serde_json::from_str(&record.options)?))
    }

    pub(super) fn record(&self) -> HostRecord {
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

/// As JSON.
pub(super) fn json_of(options: &Map<String, Value>) -> String {
    Value::Object(options.clone()).to_string()
}
