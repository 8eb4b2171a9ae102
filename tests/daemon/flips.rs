//! Bits that the disk has flipped: never a yes that the whole store would refuse, and nothing lost without a word.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use saslcertd::identity::{
    Account, AddedBy, BareJid, CertificateName, Disabled, Enrolment, Fingerprint, Incarnation,
    KeyId, ScramHash, ScramVerifier, UnixSeconds,
};
use saslcertd::store::{Edit, Store, StoreError};
use tempfile::TempDir;

/// A generator of numbers that anybody can run again: splitmix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}

/// Something that a login depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    Certificate { account: usize, certificate: usize },
    Password { account: usize, password: usize },
}

/// A certificate and a password that an account has, or had.
struct Past {
    jid: BareJid,
    certificates: Vec<Enrolment>,
    passwords: Vec<Vec<u8>>,
}

/// A store with a past, closed, and what it answers.
struct Whole {
    folder: TempDir,
    past: Vec<Past>,
    answers: BTreeMap<Question, bool>,
}

fn one() -> Incarnation {
    Incarnation::parse("one").unwrap()
}

/// Hundreds of stores are synced here, which no disk needs to know of.
fn in_memory() -> std::io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

fn open(folder: &Path) -> Result<Store, StoreError> {
    Store::open(folder, 8 << 20, Box::new(|_| {}))
}

impl Whole {
    /// Built in four sittings, the last of which writes several segments.
    fn built() -> Self {
        let folder = in_memory().unwrap();
        Store::create(&folder.path().join("data")).unwrap();
        let mut whole = Self {
            folder,
            past: Vec::new(),
            answers: BTreeMap::new(),
        };
        let mut numbers = Numbers(1);
        whole.sitting(|whole, store| {
            for number in 0..30 {
                let jid = BareJid::parse(&format!("user{number}@shakespeare.lit")).unwrap();
                whole.past.push(Past {
                    jid,
                    certificates: Vec::new(),
                    passwords: Vec::new(),
                });
                whole.set_password(store, number, true, &mut numbers);
                for _ in 0..3 {
                    whole.append(store, number, &mut numbers);
                }
            }
        });
        whole.sitting(|whole, store| {
            for number in 0..30 {
                match number % 4 {
                    0 => whole.revoke(store, number, 0),
                    1 => whole.disable(store, number, 1),
                    2 => whole.set_password(store, number, true, &mut numbers),
                    _ => whole.set_password(store, number, false, &mut numbers),
                }
            }
        });
        whole.sitting(|_, _| {});
        whole.sitting(|whole, store| {
            for round in 0..12 {
                for number in 0..30 {
                    whole.append(store, number, &mut numbers);
                    match (number + round) % 9 {
                        0 => whole.revoke(store, number, 2 + round),
                        1 => whole.disable(store, number, 2 + round),
                        2 => whole.set_password(store, number, true, &mut numbers),
                        3 => whole.set_password(store, number, number % 5 != 0, &mut numbers),
                        _ => {}
                    }
                }
            }
        });
        // Of a copy: whoever opens a store writes a new snapshot, and what is behind that is read by nobody's log.
        let copy = whole.folder.path().join("copy");
        copied(&whole.data_dir(), &copy);
        let store = open(&copy).unwrap();
        whole.answers = whole
            .answers_of(&store)
            .into_iter()
            .map(|(question, answer)| (question, answer.unwrap()))
            .collect();
        drop(store);
        let yes = whole.answers.values().filter(|yes| **yes).count();
        let no = whole.answers.len() - yes;
        assert!(yes > 100 && no > 50, "{yes} {no}");
        let sled = whole.data_dir().join("sled");
        let bytes = fs::metadata(sled.join("db")).unwrap().len();
        let conf = String::from_utf8_lossy(&fs::read(sled.join("conf")).unwrap()).into_owned();
        let segment = conf.lines().next().unwrap().rsplit(' ').next().unwrap();
        let segments = bytes / segment.parse::<u64>().unwrap();
        assert!(segments >= 4, "{bytes} bytes, {segments} segments");
        whole
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The file of the data folder whose name begins like this.
    fn file(&self, name: &str) -> String {
        let (folder, name) = name.rsplit_once('/').unwrap_or(("", name));
        let entries = fs::read_dir(self.data_dir().join(folder)).unwrap();
        let mut names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let found = names.find(|found| found.starts_with(name)).unwrap();
        format!("{folder}/{found}")
            .trim_start_matches('/')
            .to_owned()
    }

    fn sitting(&mut self, work: impl FnOnce(&mut Self, &Store)) {
        let store = open(&self.data_dir()).unwrap();
        work(self, &store);
        store.close();
    }

    fn change(store: &Store, jid: &BareJid, edits: Vec<Edit>) {
        let changed = store.take_back(None, jid, move |_| Ok(Ok::<_, ()>((edits, ()))));
        changed.unwrap().unwrap();
    }

    fn append(&mut self, store: &Store, account: usize, numbers: &mut Numbers) {
        let past = &mut self.past[account];
        let number = past.certificates.len();
        let enrolment = Enrolment {
            account: past.jid.clone(),
            incarnation: one(),
            name: CertificateName::parse(&format!("certificate {number}")).unwrap(),
            // Long enough for several segments.
            der: numbers.bytes(12_000),
            fingerprint: Fingerprint::from_bytes(numbers.bytes(32).try_into().unwrap()),
            key_id: KeyId::from_bytes(numbers.bytes(32).try_into().unwrap()),
            addresses: Vec::new(),
            not_before: UnixSeconds(0),
            not_after: UnixSeconds(4_000_000_000),
            may_manage: true,
            order: number as u64,
            added_at: UnixSeconds(1),
            added_by: AddedBy {
                certificate: None,
                jid: None,
            },
            last_use: None,
        };
        past.certificates.push(enrolment.clone());
        let incarnation = Edit::SetIncarnation {
            incarnation: one(),
            since: UnixSeconds(1),
        };
        let edits = vec![Edit::put(enrolment), incarnation];
        Self::change(store, &past.jid, edits);
    }

    fn revoke(&self, store: &Store, account: usize, certificate: usize) {
        let past = &self.past[account];
        let held = &past.certificates[certificate];
        let revoked = Edit::RevokeKey {
            key_id: held.key_id,
            incarnation: one(),
            at: UnixSeconds(2),
        };
        let edits = vec![Edit::Remove(Box::new(held.clone())), revoked];
        Self::change(store, &past.jid, edits);
    }

    fn disable(&self, store: &Store, account: usize, certificate: usize) {
        let past = &self.past[account];
        let held = &past.certificates[certificate];
        let disabled = Disabled {
            incarnation: one(),
            name: held.name.clone(),
            fingerprint: held.fingerprint,
            key_id: held.key_id,
            not_after: held.not_after,
        };
        let edits = vec![
            Edit::Remove(Box::new(held.clone())),
            Edit::MarkDisabled(Box::new(disabled)),
        ];
        Self::change(store, &past.jid, edits);
    }

    fn set_password(
        &mut self,
        store: &Store,
        account: usize,
        enabled: bool,
        numbers: &mut Numbers,
    ) {
        let past = &mut self.past[account];
        let key = numbers.bytes(32);
        past.passwords.push(key.clone());
        let verifier =
            ScramVerifier::from_parts(ScramHash::Sha256, b"salt".to_vec(), 4096, key.clone(), key);
        let account = Account {
            jid: past.jid.clone(),
            incarnation: one(),
            enabled,
            created: UnixSeconds(0),
            password_changed: UnixSeconds(0),
            verifiers: vec![verifier.unwrap()],
        };
        Self::change(store, &past.jid, vec![Edit::PutAccount(Box::new(account))]);
    }

    /// The store's answers about everything that was ever true.
    fn answers_of(&self, store: &Store) -> BTreeMap<Question, Result<bool, String>> {
        let mut answers = BTreeMap::new();
        for (account, past) in self.past.iter().enumerate() {
            let view = store.view(&past.jid);
            let list = view.list().map_err(|error| error.to_string());
            for (certificate, held) in past.certificates.iter().enumerate() {
                let answer = || {
                    let list = list.as_ref().map_err(|_| StoreError::Failed)?;
                    let found = store.enrolments_of(&held.fingerprint, held.account.host())?;
                    let is_listed = list.enrolments.contains(held);
                    Ok::<_, StoreError>(
                        is_listed
                            && found.contains(held)
                            && !view.is_disabled(&held.fingerprint)?
                            && view.revoked_for(&held.key_id)?.is_empty(),
                    )
                };
                let question = Question::Certificate {
                    account,
                    certificate,
                };
                answers.insert(question, answer().map_err(|error| error.to_string()));
            }
            for (password, key) in past.passwords.iter().enumerate() {
                let answer = view.account().map(|found| {
                    found.is_some_and(|found| {
                        let strongest = found.strongest();
                        found.enabled && strongest.is_some_and(|one| one.stored_key() == key)
                    })
                });
                let question = Question::Password { account, password };
                answers.insert(question, answer.map_err(|error| error.to_string()));
            }
        }
        answers
    }
}

/// The outcome of some damage, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    /// Every answer is as it was.
    NoEffect,
    /// Some questions could not be asked, and `status` is red.
    Fault,
    /// It was not opened, and words say so.
    Refused,
    /// sled panicked while it was opened: the daemon ends in words.
    PanicOpening,
    /// Some questions could not be asked, and nobody hears of it.
    SilentFault,
    /// Something is lost, and nobody hears of it.
    SilentLoss,
    /// The process ends while it serves.
    PanicServing,
    Hung,
    /// A login that the whole store refuses is let in.
    WrongYes,
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copied(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn end_of(whole: &Whole, folder: &Path) -> End {
    let store = match catch_unwind(AssertUnwindSafe(|| open(folder))) {
        Ok(Ok(store)) => store,
        Ok(Err(error)) => {
            let said = error.to_string();
            let names_it = said.contains(folder.to_str().unwrap()) || said.contains("sled/");
            assert!(names_it, "no file: {said}");
            return End::Refused;
        }
        Err(_) => return End::PanicOpening,
    };
    let asked = catch_unwind(AssertUnwindSafe(|| {
        let answers = whole.answers_of(&store);
        let is_red = store.figures().unwrap().corrupt_reads > 0;
        let ends = answers.into_iter().map(|(question, answer)| {
            match (answer, whole.answers[&question]) {
                (Ok(true), false) => End::WrongYes,
                (Ok(found), written) if found == written => End::NoEffect,
                (_, _) if is_red => End::Fault,
                (Err(_), _) => End::SilentFault,
                (Ok(_), _) => End::SilentLoss,
            }
        });
        ends.max().unwrap()
    }));
    asked.unwrap_or(End::PanicServing)
}

/// Damages a copy of the store in one way, and tells what came of it.
fn damaged(whole: &Arc<Whole>, damage: &dyn Fn(&Path)) -> End {
    let folder = in_memory().unwrap();
    let data = folder.path().join("data");
    copied(&whole.data_dir(), &data);
    damage(&data);
    let (say, said) = mpsc::channel();
    {
        let (whole, data) = (Arc::clone(whole), data.clone());
        // In a thread of its own: it may never come back.
        std::thread::spawn(move || say.send(end_of(&whole, &data)));
    }
    let end = said.recv_timeout(crate::support::PATIENCE);
    let end = end.unwrap_or(End::Hung);
    if end == End::PanicOpening {
        // The thread that panicked may still hold the lock.
        let fresh = folder.path().join("fresh");
        copied(&whole.data_dir(), &fresh);
        damage(&fresh);
        expect_words(&fresh);
    }
    end
}

/// Expects the words that the admin reads when sled panics.
fn expect_words(data: &Path) {
    let run = data.parent().unwrap().join("run");
    fs::DirBuilder::new().mode(0o700).create(&run).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_saslcertd"))
        .args(["serve", "--server-user", "0", "--data-dir"])
        .arg(data)
        .arg("--socket")
        .arg(run.join("socket"))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let words = format!("saslcertd: the store in {} is damaged", data.display());
    assert!(said.contains(&words), "{said}");
    assert!(said.contains("Restore a backup"), "{said}");
}

fn flip(path: &Path, bit: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path, length: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// Does some damage to each of the files, at as many places of it, and returns how it ended.
fn tried(
    whole: &Arc<Whole>,
    files: &[(&str, usize)],
    what: &str,
    damage: impl Fn(&Path, u64) + Sync,
    places: u64,
) -> BTreeMap<End, usize> {
    // The message of sled's panic is of no use here.
    std::panic::set_hook(Box::new(|info| {
        if info
            .location()
            .is_none_or(|at| !at.file().contains("sled-"))
        {
            eprintln!("{info}");
        }
    }));
    let seed = std::env::var("SASLCERTD_SEED").map_or(7, |seed| seed.parse().unwrap());
    eprintln!("SASLCERTD_SEED={seed}");
    let mut numbers = Numbers(seed);
    let mut all = BTreeMap::new();
    for (file, count) in files {
        let file = whole.file(file);
        let length = fs::metadata(whole.data_dir().join(&file)).unwrap().len();
        let places: Vec<u64> = (0..*count)
            .map(|_| numbers.below(length * places))
            .collect();
        let next = AtomicUsize::new(0);
        let ends: Vec<(u64, End)> = std::thread::scope(|scope| {
            let work = || {
                let mut ends = Vec::new();
                while let Some(place) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let end = damaged(whole, &|data| damage(&data.join(&file), *place));
                    ends.push((*place, end));
                }
                ends
            };
            // Most of the time is spent waiting for the disk.
            let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
            let ends = workers.into_iter().map(|worker| worker.join().unwrap());
            ends.flatten().collect()
        });
        let mut table = BTreeMap::new();
        for (_, end) in &ends {
            *table.entry(*end).or_insert(0) += 1;
            *all.entry(*end).or_insert(0) += 1;
        }
        eprintln!("{count} {what} {file}: {table:?}");
        let bad = ends.iter().filter(|(_, end)| *end > End::PanicOpening);
        let bad: Vec<_> = bad.collect();
        assert!(bad.is_empty(), "{what} {file}: {bad:?}");
    }
    all
}

/// So many at a time.
const WORKERS: usize = 6;

#[test]
fn no_flipped_bit_of_the_database_lets_in_what_was_shut_out() {
    let whole = Arc::new(Whole::built());
    let ends = tried(&whole, &[("sled/db", 280)], "flips of", flip, 8);
    // Were nearly all without effect, they would have hit what nobody reads, and shown nothing.
    assert!(ends[&End::Refused] > 50, "{ends:?}");
}

#[test]
fn no_flipped_bit_of_the_files_beside_it_does() {
    let whole = Arc::new(Whole::built());
    let files = [
        ("sled/snap.", 40),
        ("sled/conf", 30),
        ("SEQUENCE", 30),
        ("FORMAT", 20),
    ];
    tried(&whole, &files, "flips of", flip, 8);
}

#[test]
fn no_file_that_is_cut_off_or_gone_does() {
    let whole = Arc::new(Whole::built());
    let files = [
        ("sled/db", 30),
        ("sled/snap.", 10),
        ("sled/conf", 5),
        ("SEQUENCE", 5),
        ("FORMAT", 5),
    ];
    tried(&whole, &files, "cuts of", cut, 1);
    for file in ["sled/db", "sled/snap.", "sled/conf", "SEQUENCE", "FORMAT"] {
        let file = whole.file(file);
        let end = damaged(&whole, &|data| fs::remove_file(data.join(&file)).unwrap());
        eprintln!("without {file}: {end:?}");
        assert!(end <= End::Refused, "{file}: {end:?}");
        assert_eq!(
            end == End::NoEffect,
            !matches!(&*file, "sled/db" | "FORMAT")
        );
    }
}
