//! A host as a server declared it last: where its accounts live, its options, and their meaning.
//!
//! Must not know: whether a server is connected, what an option means.

use serde_json::{Map, Value};

use crate::policy::HostPolicy;
use crate::policy::host::{Meaning, Remark};
use crate::protocol::{Accounts, HostRemark};
use crate::store::HostRecord;
use crate::wording::setup;

/// A host as it was declared last.
#[derive(Clone, Debug)]
pub(super) struct DeclaredHost {
    pub(super) accounts: Accounts,
    pub(super) options: Map<String, Value>,
    pub(super) meaning: Meaning,
}

impl DeclaredHost {
    pub(super) fn new(accounts: Accounts, options: Map<String, Value>) -> Self {
        Self {
            accounts,
            meaning: HostPolicy::from_options(&options),
            options,
        }
    }

    /// As the store remembers it.
    pub(super) fn from_record(record: &HostRecord) -> Result<Self, serde_json::Error> {
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

/// The remarks about the options of a host, wrong or strange ones, for the answer; of very many only some.
pub(super) fn remarks(remarks: &[Remark]) -> Vec<HostRemark> {
    let row = |remark: &Remark| HostRemark {
        option: Some(remark.option.clone()),
        message: remark.message.clone(),
    };
    let mut rows: Vec<HostRemark> = remarks.iter().take(MAX_REMARKS).map(row).collect();
    if let Some(more) = remarks.len().checked_sub(MAX_REMARKS + 1) {
        let message = setup::and_more(more + 1);
        let option = None;
        rows.push(HostRemark { option, message });
    }
    rows
}

/// Most errors, or warnings, of one host that are listed.
const MAX_REMARKS: usize = 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn of_many_remarks_some_are_listed_and_the_others_counted() {
        let remark = |number: usize| Remark {
            option: "saslcertd_x".to_owned(),
            message: number.to_string(),
        };
        for (count, listed, last) in [(1, 1, "0"), (20, 20, "19"), (25, 21, "and 5 more")] {
            let many: Vec<Remark> = (0..count).map(remark).collect();
            let rows = remarks(&many);
            assert_eq!(rows.len(), listed);
            assert_eq!(rows.last().unwrap().message, last);
        }
    }
}
