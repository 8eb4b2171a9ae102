//! The compact records say the same as the parser, the lists and the revocations.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SanType, SerialNumber,
};

use super::*;
use crate::identity::{AddedBy, Disabled, UnixSeconds};
use crate::store::{HostCounts, OnLoss, Store};

const NOW: UnixSeconds = UnixSeconds(1_795_219_200);

fn opened() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let folder = folder.unwrap();
    Store::create(folder.path()).unwrap();
    let store = open(folder.path());
    (folder, store)
}

fn open(folder: &std::path::Path) -> Store {
    Store::open(folder, 8 << 20, Box::new(|_| {})).unwrap()
}

fn change(store: &Store, account: &BareJid, edits: Vec<Edit>) {
    let changed = store.take_back(None, account, move |_| Ok(Ok::<_, ()>((edits, ()))));
    changed.unwrap().unwrap();
}

/// As a client shows it that nobody has seen yet.
fn shown(cert: &ClientCert) -> Shown<'_> {
    Shown {
        der: &cert.der,
        fingerprint: &cert.fingerprint,
        cert: None,
    }
}

/// A record of `cert`, as an account enrols it.
fn record(account: &BareJid, incarnation: &str, name: &str, cert: &ClientCert) -> Enrolment {
    Enrolment {
        account: account.clone(),
        incarnation: Incarnation::parse(incarnation).unwrap(),
        name: CertificateName::parse(name).unwrap(),
        der: cert.der.clone(),
        fingerprint: cert.fingerprint,
        key_id: cert.key_id,
        addresses: cert.addresses.clone(),
        not_before: cert.not_before,
        not_after: cert.not_after,
        may_manage: true,
        order: 1,
        added_at: NOW,
        added_by: AddedBy {
            certificate: None,
            jid: None,
        },
        last_use: None,
    }
}

/// The properties in which certificates may differ.
#[derive(Clone, Debug)]
struct Kind {
    algorithm: usize,
    addresses: Vec<String>,
    email: bool,
    common_name: Option<String>,
    serial: Vec<u8>,
    days: (u16, u16),
    is_authority: bool,
    for_signing: bool,
    padding: usize,
}

fn kinds() -> impl Strategy<Value = Kind> {
    let address = prop::sample::select(vec![
        "hamlet@shakespeare.lit",
        "Hamlet@Shakespeare.LIT",
        "hamlet@shakespeare.lit/castle",
        "hamlet@shakespeare.lit/\u{5bc6}\u{7801}",
        "m\u{fc}ller@b\u{fc}cher.lit",
        "shakespeare.lit",
        "ophelia@denmark.lit/x/y@z",
        // None of these is a JID.
        "@shakespeare.lit",
        "ham let@shakespeare.lit",
        "",
    ]);
    let name = prop::sample::select(vec!["hamlet@shakespeare.lit", "Hamlet", "x"]);
    (
        0..3_usize,
        prop::collection::vec(address.prop_map(str::to_owned), 0..5),
        any::<bool>(),
        prop::option::of(name.prop_map(str::to_owned)),
        prop::collection::vec(any::<u8>(), 1..30),
        (1..20_000_u16, 0..20_000_u16),
        any::<bool>(),
        prop::bool::weighted(0.9),
        prop::sample::select(vec![0, 0, 0, 500, 15_000, 17_000]),
    )
        .prop_map(
            |(
                algorithm,
                addresses,
                email,
                common_name,
                serial,
                days,
                is_authority,
                for_signing,
                padding,
            )| Kind {
                algorithm,
                addresses,
                email,
                common_name,
                serial,
                days,
                is_authority,
                for_signing,
                padding,
            },
        )
}

fn made(kind: &Kind) -> Vec<u8> {
    let algorithms = [
        &PKCS_ECDSA_P256_SHA256,
        &PKCS_ECDSA_P384_SHA384,
        &PKCS_ED25519,
    ];
    made_with(
        &KeyPair::generate_for(algorithms[kind.algorithm]).unwrap(),
        kind,
    )
}

fn made_with(key: &KeyPair, kind: &Kind) -> Vec<u8> {
    let mut params = CertificateParams::default();
    let day = |days: u16| rcgen::date_time_ymd(1960, 1, 1) + time::Duration::days(days.into());
    params.not_before = day(kind.days.0);
    params.not_after = day(kind.days.0.saturating_add(kind.days.1));
    params.serial_number = Some(SerialNumber::from_slice(&kind.serial));
    let xmpp = || vec![1, 3, 6, 1, 5, 5, 7, 8, 5];
    let addresses = kind.addresses.iter();
    params.subject_alt_names = addresses
        .map(|jid| SanType::OtherName((xmpp(), jid.as_str().into())))
        .collect();
    if kind.email {
        let address = "hamlet@shakespeare.lit".try_into().unwrap();
        params.subject_alt_names.push(SanType::Rfc822Name(address));
    }
    if let Some(name) = &kind.common_name {
        params.distinguished_name.push(DnType::CommonName, name);
    }
    if kind.is_authority {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    if !kind.for_signing {
        params.key_usages = vec![KeyUsagePurpose::KeyAgreement];
    }
    if kind.padding > 0 {
        let oid = [1, 3, 6, 1, 4, 1, 32473, 1];
        let padding = CustomExtension::from_oid_content(&oid, vec![0; kind.padding]);
        params.custom_extensions.push(padding);
    }
    params.self_signed(key).unwrap().der().to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_compact_record_says_what_parsing_says(kind in kinds(), is_revoked: bool) {
        let der = made(&kind);
        let parsed = ClientCert::from_der(&der);
        let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
        let held = match &parsed {
            Ok(cert) => record(&account, "one", "phone", cert),
            // As an older version with other rules may have written it.
            Err(_) => Enrolment {
                der: der.clone(),
                fingerprint: Fingerprint::of(&der),
                key_id: KeyId::from_bytes([1; 32]),
                addresses: Vec::new(),
                not_before: UnixSeconds(0),
                not_after: NOW,
                ..record(&account, "one", "phone", &some_cert())
            },
        };
        let row = KnownRow::of(&held, None, is_revoked);
        // Whoever has parsed it already spares the writer that, and changes nothing.
        if let Ok(cert) = &parsed {
            prop_assert_eq!(&KnownRow::of(&held, Some(cert), is_revoked), &row);
        }
        prop_assert_eq!(&KnownRow::of(&held, Some(&some_cert()), is_revoked), &row);
        let row: KnownRow = record::decode(&record::encode(&row)).unwrap();
        prop_assert_eq!(row.is_revoked, is_revoked);
        let read = row.reading.map(|reading| reading.cert(&der, Fingerprint::of(&der)));
        prop_assert_eq!(read, parsed.ok());
    }

    #[test]
    fn arbitrary_bytes_never_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = record::decode::<KnownRow>(&value);
        let _ = record_key(&value, &value);
        let _ = expiry::record_key(&value);
    }
}

fn some_cert() -> ClientCert {
    some_cert_with(&KeyPair::generate().unwrap(), 1)
}

fn some_cert_with(key: &KeyPair, serial: u8) -> ClientCert {
    let kind = Kind {
        algorithm: 0,
        addresses: vec!["hamlet@shakespeare.lit".to_owned()],
        email: false,
        common_name: None,
        serial: vec![serial],
        days: (20_000, 10_000),
        is_authority: false,
        for_signing: true,
        padding: 0,
    };
    ClientCert::from_der(&made_with(key, &kind)).unwrap()
}

#[test]
fn a_record_that_is_not_what_its_certificate_says_is_read_anew() {
    let cert = some_cert();
    let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
    let held = record(&account, "one", "phone", &cert);
    let other = || some_cert();
    for (what, held) in [
        (
            "fingerprint",
            Enrolment {
                fingerprint: other().fingerprint,
                ..held.clone()
            },
        ),
        (
            "key",
            Enrolment {
                key_id: other().key_id,
                ..held.clone()
            },
        ),
        (
            "addresses",
            Enrolment {
                addresses: Vec::new(),
                ..held.clone()
            },
        ),
        (
            "end",
            Enrolment {
                not_after: held.not_after.plus(1),
                ..held.clone()
            },
        ),
        (
            "beginning",
            Enrolment {
                not_before: held.not_before.plus(-1),
                ..held.clone()
            },
        ),
    ] {
        assert_eq!(KnownRow::of(&held, None, false).reading, None, "{what}");
    }
    // The record's words on the certificate let nobody in: only its bytes do.
    let (_folder, store) = opened();
    let wrong = Enrolment {
        addresses: Vec::new(),
        key_id: other().key_id,
        ..held.clone()
    };
    change(&store, &account, vec![Edit::put(wrong)]);
    let known = || store.known(shown(&cert), account.host());
    let found = known().unwrap();
    assert_eq!(found.cert.as_ref(), Some(&cert));
    assert_eq!(
        (found.holding.holders.len(), found.holding.revoked_for.len()),
        (1, 0)
    );
    let revoke = Edit::RevokeKey {
        key_id: cert.key_id,
        incarnation: held.incarnation.clone(),
        at: NOW,
    };
    change(&store, &account, vec![revoke]);
    assert_eq!(known().unwrap().holding.revoked_for.len(), 1);
    // Other bytes under the same fingerprint are no certificate that anybody holds.
    let forged = Enrolment {
        der: other().der,
        ..held
    };
    let (_folder, store) = opened();
    change(&store, &account, vec![Edit::put(forged)]);
    let found = store.known(shown(&cert), account.host());
    assert_eq!(found.unwrap().holding.holders, []);
}

#[test]
fn what_another_version_has_read_is_read_anew() {
    let (_folder, store) = opened();
    let cert = some_cert();
    let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
    let held = record(&account, "one", "phone", &cert);
    change(&store, &account, vec![Edit::put(held.clone())]);
    // Its reading may say anything: here, it says what stands in another certificate.
    let other = record(&account, "one", "phone", &some_cert());
    for version in [READING - 1, READING + 1] {
        let mut row = KnownRow::of(&other, None, false);
        row.reading.as_mut().unwrap().version = version;
        let Row { key, value, .. } = put(&account, &cert.fingerprint, &row);
        store.tables.scribble(Table::Known, &key, value.as_deref());
        let known = store.known(shown(&cert), account.host());
        let known = known.unwrap();
        assert_eq!(known.cert.as_ref(), Some(&cert), "{version}");
        assert_eq!(known.holding.holders.len(), 1, "{version}");
    }
}

#[test]
fn until_it_is_proven_a_record_is_not_believed_that_says_nothing_of_a_revocation() {
    let (_folder, store) = opened();
    let cert = some_cert();
    let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
    let held = record(&account, "one", "phone", &cert);
    let revoke = Edit::RevokeKey {
        key_id: cert.key_id,
        incarnation: held.incarnation.clone(),
        at: NOW,
    };
    change(&store, &account, vec![Edit::put(held.clone())]);
    change(&store, &account, vec![revoke]);
    // The row that the disk has brought back.
    let Row { key, value, .. } = put(
        &account,
        &cert.fingerprint,
        &KnownRow::of(&held, None, false),
    );
    store.tables.scribble(Table::Known, &key, value.as_deref());
    let revoked_for = || {
        let known = store.known(shown(&cert), account.host());
        known.unwrap().holding.revoked_for.clone()
    };
    store.tables.health.set_known_proven(false);
    assert_eq!(revoked_for(), [(account.clone(), held.incarnation)]);
    // A check finds it, and then nothing of the table is believed.
    store.tables.health.set_known_proven(true);
    let checks = store.check(|_| {}).unwrap();
    let known = checks.iter().find(|check| check.table == "known").unwrap();
    assert!(known.problem.is_some());
    assert_eq!(revoked_for().len(), 1);
}

#[test]
fn until_it_is_proven_a_record_is_not_believed_that_stands_in_no_list() {
    let (_folder, store) = opened();
    let cert = some_cert();
    let account = BareJid::parse("hamlet@shakespeare.lit").unwrap();
    let held = record(&account, "one", "phone", &cert);
    change(&store, &account, vec![Edit::put(held.clone())]);
    // As a certificate that is disabled.
    let remove = Edit::Remove(Box::new(held.clone()));
    change(&store, &account, vec![remove]);
    let Row { key, value, .. } = put(
        &account,
        &cert.fingerprint,
        &KnownRow::of(&held, None, false),
    );
    store.tables.scribble(Table::Known, &key, value.as_deref());
    store.tables.health.set_known_proven(false);
    let known = store.known(shown(&cert), account.host());
    assert!(known.unwrap().holding.holders.is_empty());
    // A record that is added now is found all the same.
    change(&store, &account, vec![Edit::put(held)]);
    let known = store.known(shown(&cert), account.host());
    assert_eq!(known.unwrap().holding.holders.len(), 1);
}

/// A store, and what must be true of it whatever was done.
struct Case {
    folder: tempfile::TempDir,
    store: Option<Store>,
    accounts: Vec<BareJid>,
    certs: Vec<ClientCert>,
}

/// One step: which account, which certificate, which name, which incarnation, and what is done.
type Step = (usize, usize, usize, usize, u8);

const NAMES: [&str; 3] = ["phone", "desk", "old"];
const INCARNATIONS: [&str; 2] = ["one", "two"];

impl Case {
    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Loses rows that follow from others, and what the store says of itself, and accepts that.
    fn lose_what_follows(&mut self) {
        for table in [Table::Known, Table::Expiry, Table::Counts, Table::Tally] {
            let tables = &self.store().tables;
            if let Some(Ok((key, _))) = tables.sound_rows(table).next() {
                tables.scribble(table, &key, None);
            }
        }
        self.store().close();
        self.store = None;
        let on_loss = OnLoss::Accept { now: NOW };
        let opened = Store::open_in_test(self.folder.path(), on_loss);
        self.store = Some(opened.unwrap());
        assert!(self.store().found().accepted.is_some());
    }

    fn edits(&self, (account, cert, name, incarnation, what): Step) -> Vec<Edit> {
        let account = &self.accounts[account];
        let cert = &self.certs[cert];
        let held = record(account, INCARNATIONS[incarnation], NAMES[name], cert);
        let (key_id, incarnation) = (cert.key_id, held.incarnation.clone());
        match what {
            // A certificate stands in a list by one name.
            0..=2 => {
                let list = self.store().view(account).list().unwrap().enrolments;
                let same = list
                    .into_iter()
                    .filter(|one| one.fingerprint == cert.fingerprint);
                let leaves = same.map(|one| Edit::Remove(Box::new(one)));
                let put = [Edit::put(held)];
                leaves.chain(put).collect()
            }
            3 => vec![Edit::Remove(Box::new(held))],
            4 => vec![Edit::RevokeKey {
                key_id,
                incarnation,
                at: NOW,
            }],
            5 => vec![Edit::UnrevokeKey {
                key_id,
                incarnation,
            }],
            _ => vec![Edit::MarkDisabled(Box::new(Disabled {
                incarnation,
                name: held.name,
                fingerprint: cert.fingerprint,
                key_id,
                not_after: cert.not_after,
            }))],
        }
    }

    /// Everything that is derived says what the lists and the revocations say.
    fn look(&self) {
        let store = self.store();
        let lists: Vec<Enrolment> = self
            .accounts
            .iter()
            .flat_map(|account| store.view(account).list().unwrap().enrolments)
            .collect();
        for host in self.accounts.iter().map(BareJid::host) {
            let own = || lists.iter().filter(|held| held.account.host() == host);
            let is_revoked = |held: &&Enrolment| {
                let revoked_for = store.view(&held.account).revoked_for(&held.key_id);
                revoked_for.unwrap().contains(&held.incarnation)
            };
            for cert in &self.certs {
                let these = || own().filter(|held| held.fingerprint == cert.fingerprint);
                let expected: BTreeSet<String> = these()
                    .map(|held| format!("{} {} {}", held.account, held.incarnation, held.name))
                    .collect();
                let revoked: BTreeSet<String> = these()
                    .filter(is_revoked)
                    .map(|held| format!("{} {}", held.account, held.incarnation))
                    .collect();
                let known = store.known(shown(cert), host).unwrap();
                let holders: BTreeSet<String> = known
                    .holding
                    .holders
                    .iter()
                    .map(|one| format!("{} {} {}", one.account, one.incarnation, one.name))
                    .collect();
                let told: BTreeSet<String> = known
                    .holding
                    .revoked_for
                    .iter()
                    .map(|(account, incarnation)| format!("{account} {incarnation}"))
                    .collect();
                assert_eq!((&holders, &told), (&expected, &revoked));
                assert_eq!(known.cert.is_some(), !expected.is_empty());
                assert!(known.cert.as_ref().is_none_or(|known| known == cert));
                let parsed = Shown {
                    cert: Some(cert),
                    ..shown(cert)
                };
                let again = store.known(parsed, host).unwrap();
                let same = Known {
                    cert: None,
                    ..known
                };
                assert_eq!(again, same);
            }
            let counted = HostCounts {
                certificates: own().count() as u64,
                accounts: own()
                    .map(|held| &held.account)
                    .collect::<BTreeSet<_>>()
                    .len() as u64,
                revoked_keys: (self.accounts.iter())
                    .filter(|account| account.host() == host)
                    .map(|account| store.view(account).revoked_keys().unwrap().len() as u64)
                    .sum(),
            };
            assert_eq!(store.counts_of(host).unwrap(), counted);
            let ends: BTreeSet<UnixSeconds> = own().map(|held| held.not_after).collect();
            for end in ends {
                let mut found = BTreeSet::new();
                let when = end.plus(-1)..=end;
                for held in store.expiring(host, &when) {
                    let held = held.unwrap();
                    found.insert(format!("{} {}", held.account, held.name));
                }
                let expected: BTreeSet<String> = own()
                    .filter(|held| when.contains(&held.not_after))
                    .map(|held| format!("{} {}", held.account, held.name))
                    .collect();
                assert_eq!(found, expected);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn what_follows_from_a_list_follows_it_whatever_is_changed(
        changes in prop::collection::vec(
            prop::collection::vec((0..3_usize, 0..4_usize, 0..3_usize, 0..2_usize, 0..7_u8), 1..4),
            1..25,
        )
    ) {
        let (folder, store) = opened();
        // Two of them have one key.
        let key = KeyPair::generate().unwrap();
        let mut case = Case {
            folder,
            store: Some(store),
            accounts: ["h@a.lit", "g@a.lit", "h@b.lit"].map(|jid| BareJid::parse(jid).unwrap()).to_vec(),
            certs: vec![some_cert_with(&key, 1), some_cert_with(&key, 2), some_cert(), some_cert()],
        };
        for mut steps in changes {
            // One change is one account's, and of each certificate.
            let account = steps[0].0;
            let mut seen = BTreeSet::new();
            steps.retain(|step| seen.insert(step.1));
            let edits = steps.iter().flat_map(|(_, cert, name, incarnation, what)| {
                case.edits((account, *cert, *name, *incarnation, *what))
            });
            let edits: Vec<Edit> = edits.collect();
            change(case.store(), &case.accounts[account], edits);
            case.look();
        }
        // While nobody has held it against what was written, it says the same.
        case.store().tables.health.set_known_proven(false);
        case.look();
        let checks = case.store().check(|_| {}).unwrap();
        prop_assert!(checks.iter().all(|check| check.problem.is_none()), "{checks:?}");
        prop_assert!(case.store().tables.health.is_known_proven());
        // Opened again, all of it is whole, and written anew it is the same.
        case.store().close();
        case.store = None;
        case.store = Some(open(case.folder.path()));
        case.look();
        case.lose_what_follows();
        case.look();
        let checks = case.store().check(|_| {}).unwrap();
        prop_assert!(checks.iter().all(|check| check.problem.is_none()), "{checks:?}");
    }
}

/// As a login shows it that names the chain of its offer.
fn parsed(cert: &ClientCert) -> Shown<'_> {
    Shown {
        cert: Some(cert),
        ..shown(cert)
    }
}

#[test]
fn what_was_read_is_read_again_only_after_a_change() {
    let (_folder, store) = opened();
    let account = BareJid::parse("juliet@a.lit").unwrap();
    let cert = some_cert();
    let held = record(&account, "one", "laptop", &cert);
    change(&store, &account, vec![Edit::put(held)]);
    let is_held = || {
        let known = store.known(parsed(&cert), account.host()).unwrap();
        !known.holding.holders.is_empty()
    };
    assert!(is_held());
    // Behind the store's back: what it still says, it remembers.
    let key = record::known_key(&account, &cert.fingerprint);
    store.tables.scribble(Table::Known, &key, None);
    assert!(is_held());
    // A certificate that nobody has parsed is read.
    let read = store.known(shown(&cert), account.host()).unwrap();
    assert!(read.holding.holders.is_empty());
    let other = BareJid::parse("romeo@a.lit").unwrap();
    let edit = Edit::RevokeKey {
        key_id: cert.key_id,
        incarnation: Incarnation::parse("one").unwrap(),
        at: NOW,
    };
    change(&store, &other, vec![edit]);
    // No row of this certificate has changed.
    assert!(is_held());
    let held = record(&other, "one", "phone", &cert);
    change(&store, &other, vec![Edit::put(held)]);
    let known = store.known(parsed(&cert), account.host()).unwrap();
    let holders = known.holding.holders.iter().map(|held| &held.account);
    assert_eq!(holders.collect::<Vec<_>>(), [&other]);
}

#[test]
fn nothing_that_was_read_before_a_change_is_told_after_its_answer() {
    let (_folder, store) = opened();
    let account = BareJid::parse("juliet@a.lit").unwrap();
    let cert = some_cert();
    let incarnation = Incarnation::parse("one").unwrap();
    let held = record(&account, "one", "laptop", &cert);
    change(&store, &account, vec![Edit::put(held)]);
    let is_revoked = || {
        let known = store.known(parsed(&cert), account.host()).unwrap();
        !known.holding.revoked_for.is_empty()
    };
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let stale = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    is_revoked();
                }
            });
        }
        let stale = (0..400).find(|turn| {
            let (key_id, incarnation, at) = (cert.key_id, incarnation.clone(), NOW);
            let revokes = turn % 2 == 0;
            let edit = if revokes {
                Edit::RevokeKey {
                    key_id,
                    incarnation,
                    at,
                }
            } else {
                Edit::UnrevokeKey {
                    key_id,
                    incarnation,
                }
            };
            change(&store, &account, vec![edit]);
            is_revoked() != revokes
        });
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        stale
    });
    assert_eq!(stale, None);
}
