//! Messages to accounts that wait for whoever of those that share these rows can deliver them: who takes one out delivers it.
//!
//! Must not know: what they say, who can deliver them.

use crate::identity::{BareJid, Incarnation, UnixSeconds};

use super::Store;
use super::edit::{Row, Table};
use super::error::StoreError;
use super::job::{About, Claim, Planned};
use super::record::{self, MessageRow};
use super::tables::readable;

/// A message to an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// By its name.
    pub account: BareJid,
    /// Which accounts of that name may read it.
    pub to: Vec<Incarnation>,
    /// Its words.
    pub text: String,
    /// When it was written.
    pub written: UnixSeconds,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    /// What it says, and to whom.
    pub message: Message,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Store {
    /// Leaves a message for whoever shares these rows. Blocks until it is on the disk. False: nobody can share them.
    pub fn leave_message(&self, message: Message) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(false);
        }
        let Message {
            account,
            to,
            text,
            written,
        } = message;
        let prefix = record::message_prefix(&account);
        let about = of_account(account);
        self.writer()?.commit(about, move |tables| {
            // Behind those that wait for the same account.
            let mut number = 0;
            for row in tables.scan(Table::Meta, &prefix) {
                let (key, _) = row?;
                let last = key.get(prefix.len()..).and_then(<[u8]>::first_chunk::<8>);
                number = last.map_or(number, |last| u64::from_be_bytes(*last).saturating_add(1));
            }
            Ok(Planned {
                rows: vec![Row {
                    table: Table::Meta,
                    key: [&prefix[..], &number.to_be_bytes()].concat(),
                    value: Some(record::encode(&MessageRow { to, text, written })),
                }],
                outcome: true,
            })
        })
    }

    /// Those that wait, read as they are asked for. A damaged one is passed over, and counted.
    ///
    /// Errors: the last one; more may wait behind it.
    pub fn waiting_messages(&self) -> impl Iterator<Item = Result<WaitingMessage, StoreError>> {
        let rows = self
            .is_shared()
            .then(|| readable(self.tables.scan(Table::Meta, record::MESSAGE_ROW)));
        rows.into_iter().flatten().filter_map(|row| {
            let read = row.and_then(|(key, value)| self.waiting_message(&key, &value));
            match read {
                Err(StoreError::Corrupt { .. }) => None,
                read => Some(read),
            }
        })
    }

    fn waiting_message(&self, key: &[u8], value: &[u8]) -> Result<WaitingMessage, StoreError> {
        let account = record::message_account(key);
        let account = account.ok_or_else(|| {
            self.tables
                .corrupt(Table::Meta, &"the key of a message is damaged")
        })?;
        let MessageRow { to, text, written } = self.tables.decoded(Table::Meta, value)?;
        Ok(WaitingMessage {
            message: Message {
                account,
                to,
                text,
                written,
            },
            key: key.to_vec(),
            value: value.to_vec(),
        })
    }

    /// Takes one out. False: somebody else has. Blocks until it is on the disk.
    pub fn take_message(&self, waiting: WaitingMessage) -> Result<bool, StoreError> {
        let WaitingMessage {
            message,
            key,
            value,
        } = waiting;
        self.writer()?
            .commit(of_account(message.account), move |tables| {
                // A later one may have its number by now.
                let found = tables.read(Table::Meta, &key)?;
                if found.is_none_or(|found| *found != value[..]) {
                    return Ok(Planned::nothing(false));
                }
                Ok(Planned {
                    rows: vec![Row {
                        table: Table::Meta,
                        key,
                        value: None,
                    }],
                    outcome: true,
                })
            })
    }
}

fn of_account(account: BareJid) -> About {
    About::These([Claim::Account(account)].into())
}
