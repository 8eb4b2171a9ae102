//! The keys and the byte form of each record: a version byte, then postcard.
//!
//! A form, once released, never changes: a new one gets the next version, and the old one keeps being read.
//!
//! Must not know: sled, who reads a record.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::identity::account::Looks;
use crate::identity::certificate::READING;
use crate::identity::key::Key;
use crate::identity::password::Look;
#[cfg(feature = "postgres")]
use crate::identity::password::is_uuid;
use crate::identity::{
    Account, AddedBy, BareJid, CertificateName, ClientCert, Disabled, Enrolment, Fingerprint,
    Holder, Host, Incarnation, Jid, KeyId, LastUse, Link, LinkHash, LinkKind, LinkMaker, ScramHash,
    ScramVerifier, UnixSeconds,
};

use super::edit::{Edit, Row, Table};

/// Why bytes are not a record.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it is empty")]
    Empty,
    #[error("it has version {found}; this saslcertd knows {known}")]
    Version { found: u8, known: u8 },
    #[error("its bytes are damaged: {0}")]
    Bytes(postcard::Error),
    #[error("its key is damaged")]
    Key,
    #[error("its verifiers are damaged")]
    Verifier,
}

/// A record with a versioned byte form.
pub(super) trait Versioned: Serialize + DeserializeOwned {
    const VERSION: u8;
}

/// How a host was declared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRecord {
    /// `"prosody"` or `"daemon"`: where its accounts live.
    pub accounts: String,
    /// Its options, a JSON object.
    pub options: String,
}

impl Versioned for HostRecord {
    const VERSION: u8 = 1;
}

impl Versioned for UnixSeconds {
    const VERSION: u8 = 1;
}

/// Something happened to an account of this incarnation at this time.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) incarnation: Incarnation,
    pub(super) at: UnixSeconds,
}

impl Versioned for Mark {
    const VERSION: u8 = 1;
}

/// A message that waits, without what its key says.
#[derive(Serialize, Deserialize)]
pub(super) struct MessageRow {
    pub(super) to: Vec<Incarnation>,
    pub(super) text: String,
    pub(super) written: UnixSeconds,
}

impl Versioned for MessageRow {
    const VERSION: u8 = 1;
}

/// A [`Disabled`] without what its key says.
#[derive(Serialize, Deserialize)]
struct DisabledRow {
    incarnation: Incarnation,
    name: CertificateName,
    key_id: [u8; 32],
    not_after: UnixSeconds,
}

impl Versioned for DisabledRow {
    const VERSION: u8 = 1;
}

/// An [`Enrolment`] without what its key says.
#[derive(Serialize, Deserialize)]
struct CertificateRow {
    incarnation: Incarnation,
    der: Vec<u8>,
    fingerprint: [u8; 32],
    key_id: [u8; 32],
    addresses: Vec<Jid>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    may_manage: bool,
    order: u64,
    added_at: UnixSeconds,
    added_with: Option<[u8; 32]>,
    added_by: Option<Jid>,
    last_use: Option<LastUse>,
}

impl Versioned for CertificateRow {
    const VERSION: u8 = 1;
}

/// The facts that a login needs of a certificate in somebody's list, without those that its key says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct KnownRow {
    pub(super) name: CertificateName,
    pub(super) incarnation: Incarnation,
    pub(super) may_manage: bool,
    /// Has the same account revoked its key?
    pub(super) is_revoked: bool,
    pub(super) last_use: Option<LastUse>,
    /// `None`: the strict parser takes it for no certificate, or for another one than the record says.
    pub(super) reading: Option<ReadingRow>,
}

impl Versioned for KnownRow {
    const VERSION: u8 = 1;
}

/// A [`ClientCert`] without its bytes and their hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ReadingRow {
    /// Which version of the strict parser has read it.
    pub(super) version: u8,
    key_id: [u8; 32],
    /// `None`: it is no RSA key.
    rsa_bits: Option<u32>,
    serial: Vec<u8>,
    addresses: Vec<Jid>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
    names_address_for_clients: bool,
    claims_authority: bool,
}

impl KnownRow {
    /// The row that follows from a record.
    ///
    /// `cert`: its certificate, if that is parsed already. `is_revoked`: the same account has revoked its key.
    pub(super) fn of(held: &Enrolment, cert: Option<&ClientCert>, is_revoked: bool) -> Self {
        let parsed = match cert.filter(|cert| held.holds(cert)) {
            Some(cert) => Ok(Cow::Borrowed(cert)),
            None => ClientCert::from_der(&held.der).map(Cow::Owned),
        };
        let is_as_recorded = |cert: &Cow<'_, ClientCert>| {
            cert.fingerprint == held.fingerprint
                && cert.key_id == held.key_id
                && cert.addresses == held.addresses
                && cert.not_before == held.not_before
                && cert.not_after == held.not_after
        };
        Self {
            name: held.name.clone(),
            incarnation: held.incarnation.clone(),
            may_manage: held.may_manage,
            is_revoked,
            last_use: held.last_use.clone(),
            reading: parsed
                .ok()
                .filter(is_as_recorded)
                .map(|cert| ReadingRow::of(&cert)),
        }
    }

    /// The holder of the certificate.
    pub(super) fn holder(self, account: BareJid) -> Holder {
        Holder {
            account,
            incarnation: self.incarnation,
            name: self.name,
            may_manage: self.may_manage,
        }
    }
}

impl ReadingRow {
    fn of(cert: &ClientCert) -> Self {
        Self {
            version: READING,
            key_id: *cert.key_id.as_bytes(),
            rsa_bits: match cert.key {
                // A certificate of 16 KiB has no more than these.
                Key::Rsa { bits } => Some(u32::try_from(bits).unwrap_or(u32::MAX)),
                Key::Curve => None,
            },
            serial: cert.serial.clone(),
            addresses: cert.addresses.clone(),
            not_before: cert.not_before,
            not_after: cert.not_after,
            names_address_for_clients: cert.names_address_for_clients,
            claims_authority: cert.claims_authority,
        }
    }

    /// The certificate of these bytes, from which it was read.
    pub(super) fn cert(self, der: &[u8], fingerprint: Fingerprint) -> ClientCert {
        ClientCert {
            der: der.to_vec(),
            fingerprint,
            key_id: KeyId::from_bytes(self.key_id),
            key: match self.rsa_bits {
                Some(bits) => Key::Rsa {
                    bits: bits as usize,
                },
                None => Key::Curve,
            },
            serial: self.serial,
            addresses: self.addresses,
            not_before: self.not_before,
            not_after: self.not_after,
            names_address_for_clients: self.names_address_for_clients,
            claims_authority: self.claims_authority,
        }
    }
}

/// An [`Account`] without what its key says.
#[derive(Serialize, Deserialize)]
struct AccountRow {
    incarnation: Incarnation,
    enabled: bool,
    created: UnixSeconds,
    password_changed: UnixSeconds,
    verifiers: Vec<VerifierRow>,
}

impl Versioned for AccountRow {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
struct VerifierRow {
    is_sha256: bool,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
}

/// A [`Link`] without what its key says.
#[derive(Serialize, Deserialize)]
struct LinkRow {
    incarnation: Incarnation,
    kind: LinkKind,
    name: Option<CertificateName>,
    created: UnixSeconds,
    maker: MakerRow,
    by: String,
    expires: UnixSeconds,
    uses: u16,
}

impl Versioned for LinkRow {
    const VERSION: u8 = 1;
}

#[derive(Serialize, Deserialize)]
enum MakerRow {
    Admin,
    Password(Option<Jid>),
    Certificate([u8; 32], Option<Jid>),
}

/// How many accounts of a host look how: for each the looks of its verifiers.
#[derive(Serialize, Deserialize)]
struct LooksRow(Vec<([Option<LookRow>; 2], u64)>);

#[derive(Serialize, Deserialize)]
struct LookRow {
    iterations: u32,
    salt_bytes: u32,
    is_uuid: bool,
}

impl Versioned for LooksRow {
    const VERSION: u8 = 1;
}

pub(super) fn encode_looks(looks: &BTreeMap<Looks, u64>) -> Vec<u8> {
    let row = |look: Option<Look>| {
        look.map(|look| LookRow {
            iterations: look.iterations,
            // At most 64.
            salt_bytes: u32::try_from(look.salt_bytes).unwrap_or(u32::MAX),
            is_uuid: look.is_uuid,
        })
    };
    // The most frequent ones: nobody's decoy needs more kinds, and a row has a limit.
    let mut looks: Vec<_> = looks.iter().collect();
    looks.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let rows = looks
        .into_iter()
        .take(MAX_LOOKS)
        .map(|(Looks(looks), count)| (looks.map(row), *count));
    encode(&LooksRow(rows.collect()))
}

/// Of at most 28 bytes each.
const MAX_LOOKS: usize = 1000;

pub(super) fn looks(value: &[u8]) -> Result<BTreeMap<Looks, u64>, RecordError> {
    let LooksRow(rows) = decode(value)?;
    let look = |row: Option<LookRow>| {
        let look = row.map(|row| Look {
            iterations: row.iterations,
            salt_bytes: row.salt_bytes as usize,
            is_uuid: row.is_uuid,
        });
        // A look that no verifier has would make no decoy either.
        look.filter(Look::is_possible)
    };
    let looks = rows
        .into_iter()
        .map(|(looks, count)| (Looks(looks.map(look)), count));
    Ok(looks.collect())
}

pub(super) fn encode<T: Versioned>(record: &T) -> Vec<u8> {
    // Proof: postcard into a Vec fails only for sequences of unknown length and for maps; no record has any.
    #[allow(clippy::expect_used)]
    let bytes = postcard::to_allocvec(record).expect("records have no part that postcard refuses");
    let mut out = Vec::with_capacity(bytes.len() + 1);
    out.push(T::VERSION);
    out.extend_from_slice(&bytes);
    out
}

pub(super) fn decode<T: Versioned>(bytes: &[u8]) -> Result<T, RecordError> {
    let (version, rest) = bytes.split_first().ok_or(RecordError::Empty)?;
    if *version != T::VERSION {
        return Err(RecordError::Version {
            found: *version,
            known: T::VERSION,
        });
    }
    let (record, rest) = postcard::take_from_bytes(rest).map_err(RecordError::Bytes)?;
    if rest.is_empty() {
        Ok(record)
    } else {
        Err(RecordError::Bytes(postcard::Error::DeserializeBadEncoding))
    }
}

pub(super) fn enrolment(key: &[u8], value: &[u8]) -> Result<Enrolment, RecordError> {
    let text = std::str::from_utf8(key).map_err(|_| RecordError::Key)?;
    let mut parts = text.splitn(3, '\0');
    let mut part = || parts.next().ok_or(RecordError::Key);
    let host = Host::parse(part()?).map_err(|_| RecordError::Key)?;
    let account = BareJid::of(part()?, &host).map_err(|_| RecordError::Key)?;
    let name = CertificateName::parse(part()?).map_err(|_| RecordError::Key)?;
    let row: CertificateRow = decode(value)?;
    Ok(Enrolment {
        account,
        incarnation: row.incarnation,
        name,
        der: row.der,
        fingerprint: Fingerprint::from_bytes(row.fingerprint),
        key_id: KeyId::from_bytes(row.key_id),
        addresses: row.addresses,
        not_before: row.not_before,
        not_after: row.not_after,
        may_manage: row.may_manage,
        order: row.order,
        added_at: row.added_at,
        added_by: AddedBy {
            certificate: row.added_with.map(Fingerprint::from_bytes),
            jid: row.added_by,
        },
        last_use: row.last_use,
    })
}

/// The account in a row of `passwords`.
pub(super) fn account(jid: BareJid, value: &[u8]) -> Result<Account, RecordError> {
    let row: AccountRow = decode(value)?;
    let verifiers = row.verifiers.into_iter().map(|row| {
        let hash = if row.is_sha256 {
            ScramHash::Sha256
        } else {
            ScramHash::Sha1
        };
        ScramVerifier::from_parts(
            hash,
            row.salt,
            row.iterations,
            row.stored_key,
            row.server_key,
        )
    });
    Ok(Account {
        jid,
        incarnation: row.incarnation,
        enabled: row.enabled,
        created: row.created,
        password_changed: row.password_changed,
        verifiers: verifiers
            .collect::<Result<_, _>>()
            .map_err(|_| RecordError::Verifier)?,
    })
}

/// The row of an account without what a password can be tried by: it looks as before, and nobody logs in with it. A damaged row comes
/// to nothing.
#[cfg(feature = "postgres")]
pub(super) fn without_passwords(value: &[u8]) -> Vec<u8> {
    let Ok(mut row) = decode::<AccountRow>(value) else {
        return Vec::new();
    };
    for verifier in &mut row.verifiers {
        if is_uuid(&verifier.salt) {
            verifier.salt = b"00000000-0000-0000-0000-000000000000".to_vec();
        } else {
            verifier.salt.fill(0);
        }
        verifier.stored_key.fill(0);
        verifier.server_key.fill(0);
    }
    encode(&row)
}

/// The link in a row of `links` whose key goes on with `rest` behind the account.
pub(super) fn link(account: BareJid, rest: &[u8], value: &[u8]) -> Result<Link, RecordError> {
    let hash = rest.try_into().map_err(|_| RecordError::Key)?;
    let row: LinkRow = decode(value)?;
    Ok(Link {
        hash: LinkHash::from_bytes(hash),
        account,
        incarnation: row.incarnation,
        kind: row.kind,
        name: row.name,
        created: row.created,
        maker: match row.maker {
            MakerRow::Admin => LinkMaker::Admin,
            MakerRow::Password(jid) => LinkMaker::Password { jid },
            MakerRow::Certificate(fingerprint, jid) => LinkMaker::Certificate {
                fingerprint: Fingerprint::from_bytes(fingerprint),
                jid,
            },
        },
        by: row.by,
        expires: row.expires,
        uses: row.uses,
    })
}

fn link_row(link: Link) -> LinkRow {
    LinkRow {
        incarnation: link.incarnation,
        kind: link.kind,
        name: link.name,
        created: link.created,
        maker: match link.maker {
            LinkMaker::Admin => MakerRow::Admin,
            LinkMaker::Password { jid } => MakerRow::Password(jid),
            LinkMaker::Certificate { fingerprint, jid } => {
                MakerRow::Certificate(*fingerprint.as_bytes(), jid)
            }
        },
        by: link.by,
        expires: link.expires,
        uses: link.uses,
    }
}

fn account_row(account: &Account) -> AccountRow {
    let verifiers = account.verifiers.iter().map(|verifier| VerifierRow {
        is_sha256: verifier.hash() == ScramHash::Sha256,
        salt: verifier.salt().to_vec(),
        iterations: verifier.iterations(),
        stored_key: verifier.stored_key().to_vec(),
        server_key: verifier.server_key().to_vec(),
    });
    AccountRow {
        incarnation: account.incarnation.clone(),
        enabled: account.enabled,
        created: account.created,
        password_changed: account.password_changed,
        verifiers: verifiers.collect(),
    }
}

/// The rows that an edit of `account` writes, without those that follow from them (`known`).
pub(super) fn rows(account: &BareJid, edit: Edit) -> Vec<Row> {
    let row = |table, key, value| Row { table, key, value };
    let mark = |incarnation, at| Some(encode(&Mark { incarnation, at }));
    match edit {
        Edit::Put { held, .. } => {
            let key = account_key(account, held.name.as_str().as_bytes());
            let value = encode(&certificate_row(*held));
            vec![row(Table::Certificates, key, Some(value))]
        }
        Edit::Remove(enrolment) => {
            let key = account_key(account, enrolment.name.as_str().as_bytes());
            vec![row(Table::Certificates, key, None)]
        }
        Edit::RevokeKey {
            key_id,
            incarnation,
            at,
        } => {
            let key = mark_key(account, key_id.as_bytes(), &incarnation);
            vec![row(Table::RevokedKeys, key, mark(incarnation, at))]
        }
        Edit::UnrevokeKey {
            key_id,
            incarnation,
        } => {
            let key = mark_key(account, key_id.as_bytes(), &incarnation);
            vec![row(Table::RevokedKeys, key, None)]
        }
        Edit::MarkDisabled(one) => {
            let key = disabled_key(account, &one);
            vec![row(Table::Disabled, key, Some(encode(&disabled_row(*one))))]
        }
        Edit::ClearDisabled(one) => vec![row(Table::Disabled, disabled_key(account, &one), None)],
        Edit::SetIncarnation { incarnation, since } => vec![row(
            Table::Accounts,
            account_key(account, &[]),
            mark(incarnation, since),
        )],
        Edit::ForgetIncarnation => vec![row(Table::Accounts, account_key(account, &[]), None)],
        Edit::PutAccount(record) => vec![row(
            Table::Passwords,
            account_key(account, &[]),
            Some(encode(&account_row(&record))),
        )],
        Edit::RemoveAccount => vec![row(Table::Passwords, account_key(account, &[]), None)],
        Edit::PutLink(link) => {
            let key = account_key(account, link.hash.as_bytes());
            vec![row(Table::Links, key, Some(encode(&link_row(*link))))]
        }
        Edit::RemoveLink(hash) => {
            vec![row(
                Table::Links,
                account_key(account, hash.as_bytes()),
                None,
            )]
        }
    }
}

fn certificate_row(enrolment: Enrolment) -> CertificateRow {
    CertificateRow {
        incarnation: enrolment.incarnation,
        der: enrolment.der,
        fingerprint: *enrolment.fingerprint.as_bytes(),
        key_id: *enrolment.key_id.as_bytes(),
        addresses: enrolment.addresses,
        not_before: enrolment.not_before,
        not_after: enrolment.not_after,
        may_manage: enrolment.may_manage,
        order: enrolment.order,
        added_at: enrolment.added_at,
        added_with: enrolment.added_by.certificate.map(|f| *f.as_bytes()),
        added_by: enrolment.added_by.jid,
        last_use: enrolment.last_use,
    }
}

fn disabled_row(disabled: Disabled) -> DisabledRow {
    DisabledRow {
        incarnation: disabled.incarnation,
        name: disabled.name,
        key_id: *disabled.key_id.as_bytes(),
        not_after: disabled.not_after,
    }
}

/// `host NUL user NUL rest`: neither host nor user can hold a NUL.
pub(super) fn account_key(account: &BareJid, rest: &[u8]) -> Vec<u8> {
    certificate_key_of(account.host(), account.username().as_bytes(), rest)
}

pub(super) fn certificate_key_of(host: &Host, user: &[u8], rest: &[u8]) -> Vec<u8> {
    [host.as_str().as_bytes(), b"\0", user, b"\0", rest].concat()
}

/// `host NUL`: what all keys of the host's accounts begin with.
pub(super) fn host_prefix(host: &Host) -> Vec<u8> {
    [host.as_str().as_bytes(), b"\0"].concat()
}

/// `host NUL user NUL hash incarnation`: a mark of one account of the name never replaces that of another.
pub(super) fn mark_key(account: &BareJid, hash: &[u8; 32], incarnation: &Incarnation) -> Vec<u8> {
    let mut key = account_key(account, hash);
    key.extend_from_slice(incarnation.as_str().as_bytes());
    key
}

/// With the name behind it: a certificate that was disabled under two names is found by both.
fn disabled_key(account: &BareJid, disabled: &Disabled) -> Vec<u8> {
    let mut key = mark_key(
        account,
        disabled.fingerprint.as_bytes(),
        &disabled.incarnation,
    );
    key.push(0);
    key.extend_from_slice(disabled.name.as_str().as_bytes());
    key
}

/// Does the key of a mark, which goes on with `rest` behind the account, belong to this account of the name?
pub(super) fn is_mark_of(rest: &[u8], incarnation: &Incarnation) -> bool {
    let rest = rest.get(32..).unwrap_or_default();
    let end = rest
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(rest.len());
    rest.get(..end) == Some(incarnation.as_str().as_bytes())
}

/// The record in a row of `disabled` whose key goes on with `rest` behind the account.
pub(super) fn disabled(rest: &[u8], value: &[u8]) -> Result<Disabled, RecordError> {
    let fingerprint = rest.first_chunk::<32>().ok_or(RecordError::Key)?;
    let row: DisabledRow = decode(value)?;
    Ok(Disabled {
        incarnation: row.incarnation,
        name: row.name,
        fingerprint: Fingerprint::from_bytes(*fingerprint),
        key_id: KeyId::from_bytes(row.key_id),
        not_after: row.not_after,
    })
}

/// `fingerprint host NUL`, to be followed by the user.
pub(super) fn fingerprint_prefix(fingerprint: &Fingerprint, host: &Host) -> Vec<u8> {
    [&fingerprint.as_bytes()[..], host.as_str().as_bytes(), b"\0"].concat()
}

/// The part of a certificate's key that is the account: `host NUL user`.
pub(super) fn account_part(key: &[u8]) -> &[u8] {
    let mut nuls = key.iter().enumerate().filter(|(_, byte)| **byte == 0);
    let second = nuls.nth(1).map_or(key.len(), |(at, _)| at);
    key.get(..second).unwrap_or(key)
}

/// The account of `host NUL user`.
pub(super) fn account_of(part: &[u8]) -> Option<BareJid> {
    let (host, user) = std::str::from_utf8(part).ok()?.split_once('\0')?;
    BareJid::of(user, &Host::parse(host).ok()?).ok()
}

/// `fingerprint host NUL user`.
pub(super) fn known_key(account: &BareJid, fingerprint: &Fingerprint) -> Vec<u8> {
    let mut key = fingerprint_prefix(fingerprint, account.host());
    key.extend_from_slice(account.username().as_bytes());
    key
}

/// What the keys in `meta` of messages to `account` begin with; a number follows.
pub(super) fn message_prefix(account: &BareJid) -> Vec<u8> {
    [MESSAGE_ROW, &account_key(account, &[])].concat()
}

/// Is it such a key?
pub(super) fn is_message(key: &[u8]) -> bool {
    key.starts_with(MESSAGE_ROW)
}

/// The account of such a key.
pub(super) fn message_account(key: &[u8]) -> Option<BareJid> {
    account_of(account_part(key.strip_prefix(MESSAGE_ROW)?))
}

/// What the keys of messages begin with.
pub(super) const MESSAGE_ROW: &[u8] = b"message ";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

    use super::*;
    use proptest::prelude::*;

    fn sample() -> Enrolment {
        Enrolment {
            account: BareJid::parse("hamlet@shakespeare.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            name: CertificateName::parse("phone").unwrap(),
            der: vec![0x30, 0],
            fingerprint: Fingerprint::from_bytes([1; 32]),
            key_id: KeyId::from_bytes([2; 32]),
            addresses: vec![Jid::parse("hamlet@shakespeare.lit/x").unwrap()],
            not_before: UnixSeconds(-1),
            not_after: UnixSeconds(253_402_300_799),
            may_manage: false,
            order: 7,
            added_at: UnixSeconds(3),
            added_by: AddedBy {
                certificate: Some(Fingerprint::from_bytes([4; 32])),
                jid: None,
            },
            last_use: Some(LastUse {
                at: UnixSeconds(5),
                address: Some("192.0.2.7".to_owned()),
            }),
        }
    }

    fn written(enrolment: &Enrolment) -> (Vec<u8>, Vec<u8>) {
        let rows = rows(&enrolment.account, Edit::put(enrolment.clone()));
        (rows[0].key.clone(), rows[0].value.clone().unwrap())
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let (key, value) = written(&sample());
        assert_eq!(enrolment(&key, &value).unwrap(), sample());
    }

    #[test]
    fn the_byte_form_of_version_1_stays() {
        let (_, value) = written(&sample());
        let hex = value
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let ones = "01".repeat(32);
        let twos = "02".repeat(32);
        let fours = "04".repeat(32);
        let address = "1868616d6c6574407368616b657370656172652e6c69742f78";
        assert_eq!(
            hex,
            format!(
                "01036f6e65023000{ones}{twos}01{address}01fe85a2ffdf0e\
                 0007\
                 0601{fours}00010a01093139322e302e322e37"
            )
        );
    }

    #[test]
    fn another_version_is_named_and_refused() {
        let (key, mut value) = written(&sample());
        value[0] = 2;
        let error = enrolment(&key, &value).unwrap_err().to_string();
        assert_eq!(error, "it has version 2; this saslcertd knows 1");
    }

    #[test]
    fn keys_tell_accounts_apart() {
        let key = account_key(&BareJid::parse("a@b.c").unwrap(), b"phone");
        assert_eq!(key, b"b.c\0a\0phone");
        assert_eq!(account_part(&key), b"b.c\0a");
    }

    fn account_sample() -> Account {
        let key = |byte, length| vec![byte; length];
        let sha1 =
            ScramVerifier::from_parts(ScramHash::Sha1, b"s".to_vec(), 4096, key(1, 20), key(2, 20));
        let sha256 = ScramVerifier::from_parts(
            ScramHash::Sha256,
            b"t".to_vec(),
            10_000,
            key(3, 32),
            key(4, 32),
        );
        Account {
            jid: BareJid::parse("hamlet@shakespeare.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            enabled: true,
            created: UnixSeconds(3),
            password_changed: UnixSeconds(4),
            verifiers: vec![sha1.unwrap(), sha256.unwrap()],
        }
    }

    #[test]
    fn an_account_is_read_as_it_was_written_and_its_form_stays() {
        let sample = account_sample();
        let rows = rows(&sample.jid, Edit::PutAccount(Box::new(sample.clone())));
        let value = rows[0].value.clone().unwrap();
        assert_eq!(account(sample.jid.clone(), &value).unwrap(), sample);
        let hex = value
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let key = |byte: &str, count| byte.repeat(count);
        assert_eq!(
            hex,
            format!(
                "01036f6e65010608020001738020\
                 14{}14{}010174904e20{}20{}",
                key("01", 20),
                key("02", 20),
                key("03", 32),
                key("04", 32)
            )
        );
    }

    fn link_sample() -> Link {
        Link {
            hash: LinkHash::from_bytes([9; 32]),
            account: BareJid::parse("hamlet@shakespeare.lit").unwrap(),
            incarnation: Incarnation::parse("one").unwrap(),
            kind: LinkKind::Replace,
            name: Some(CertificateName::parse("phone").unwrap()),
            created: UnixSeconds(3),
            maker: LinkMaker::Certificate {
                fingerprint: Fingerprint::from_bytes([4; 32]),
                jid: None,
            },
            by: "x".to_owned(),
            expires: UnixSeconds(5),
            uses: 1,
        }
    }

    #[test]
    fn a_link_is_read_as_it_was_written_and_its_form_stays() {
        let sample = link_sample();
        for maker in [
            LinkMaker::Admin,
            LinkMaker::Password {
                jid: Some(Jid::parse("hamlet@shakespeare.lit/x").unwrap()),
            },
            sample.maker.clone(),
        ] {
            let sample = Link {
                maker,
                ..sample.clone()
            };
            let rows = rows(&sample.account, Edit::PutLink(Box::new(sample.clone())));
            assert_eq!(rows[0].key, account_key(&sample.account, &[9; 32]));
            let value = rows[0].value.clone().unwrap();
            let read = link(sample.account.clone(), &[9; 32], &value);
            assert_eq!(read.unwrap(), sample);
            assert!(link(sample.account, &[9; 31], &value).is_err());
        }
        let rows = rows(&sample.account, Edit::PutLink(Box::new(sample.clone())));
        let value = rows[0].value.clone().unwrap();
        let hex = value
            .iter()
            .fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        let fours = "04".repeat(32);
        assert_eq!(
            hex,
            format!("01036f6e6502010570686f6e650602{fours}0001780a01")
        );
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(key in prop::collection::vec(any::<u8>(), 0..40),
                                       value in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = enrolment(&key, &value);
            let _ = decode::<HostRecord>(&value);
            let _ = account(BareJid::parse("a@b").unwrap(), &value);
            let _ = link(BareJid::parse("a@b").unwrap(), &key, &value);
        }
    }
}
