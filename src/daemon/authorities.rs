//! The files of authorities and revocation lists that hosts name: read when a host first names them, when they change, and
//! on SIGHUP. An unreadable file is remembered as unreadable: its last state never stands for it.
//!
//! Must not know: what follows for a login.

use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, MutexGuard};

use sha2::{Digest, Sha256};

use super::gate::Closing;
use crate::identity::private_key::holds_private_key;
use crate::identity::{CertificationPath, UnixSeconds};
use crate::policy::chain::{self, Authorities, PemError, Revocation, RevocationLists, Untrusted};
use crate::policy::host::CaFiles;
use crate::policy::{Denial, HostPolicy};
use crate::protocol::{
    AuthorityFilesState, AuthorityState, CaFileState, CrlFileState, FileState, ListState,
};
use crate::system::lock::{Lock, SharedLock};

/// The contents of the files of all hosts.
#[derive(Debug, Default)]
pub(super) struct AuthorityFiles {
    authorities: SharedLock<Files<Authorities>>,
    lists: SharedLock<Files<RevocationLists>>,
    /// One at a time reads the files.
    reading: Lock<()>,
    refused: Lock<Refusals>,
}

/// Chains that lead nowhere, by a hash of all that was shown: a client that shows the same again costs no signature.
#[derive(Debug, Default)]
struct Refusals {
    /// How often the files have changed.
    generation: u64,
    until: HashMap<[u8; 32], (UnixSeconds, Untrusted)>,
}

impl Refusals {
    fn remember(
        &mut self,
        generation: u64,
        shown: [u8; 32],
        untrusted: &Untrusted,
        now: UnixSeconds,
    ) {
        // A denial that depends on the time or on a list may not hold tomorrow.
        if generation != self.generation || untrusted.denial != Denial::ChainUntrusted {
            return;
        }
        if self.until.len() >= MAX_REFUSALS {
            self.until.retain(|_, (until, _)| now < *until);
        }
        if self.until.len() < MAX_REFUSALS {
            let until = now.plus(REFUSED_SECONDS);
            self.until.insert(shown, (until, untrusted.clone()));
        }
    }
}

type Files<T> = HashMap<PathBuf, FileCopy<T>>;

#[derive(Debug)]
struct FileCopy<T> {
    /// Which state of the file it is.
    stamp: Stamp,
    /// A private key stands in it, which does not belong there.
    holds_key: bool,
    content: Result<Arc<T>, FileError>,
}

/// `None`: there is no file, or it can't be looked at.
type Stamp = Option<FileIdentity>;
/// Device, inode, size, and when it was written and changed: another one means another content.
type FileIdentity = (u64, u64, u64, (i64, i64), (i64, i64));

/// Why a file could not be taken. Never quotes its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FileError {
    /// It can't be opened or read.
    #[error("{0}")]
    Unreadable(String),
    /// A folder, a device, a pipe.
    #[error("is not a regular file")]
    NotRegular,
    /// More than [`MAX_FILE_BYTES`].
    #[error("is larger than 16 MiB")]
    TooLarge,
    /// It holds something else.
    #[error(transparent)]
    Content(#[from] PemError),
}

/// Which file could not be taken, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// The option that names it.
    pub option: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub error: FileError,
}

impl AuthorityFiles {
    /// Held from the look at the files until all that follows is done: the last reading counts.
    pub(super) fn turn_to_read(&self) -> MutexGuard<'_, ()> {
        self.reading.lock()
    }

    /// Reads the files of `wanted` that are new or have changed; `anew`: all of them. Forgets files that `wanted` does not name. Blocks.
    ///
    /// Returns the files as they are now: `swap` makes them count. Nothing is changed before.
    #[must_use]
    pub(super) fn look(&self, wanted: &[CaFiles], anew: bool) -> Option<FreshFiles> {
        let mut changed = false;
        let authorities = look(
            &self.authorities,
            wanted.iter().map(|files| &files.authorities),
            anew,
            Authorities::from_pem,
            &mut changed,
        );
        let lists = look(
            &self.lists,
            wanted.iter().filter_map(|files| files.lists.as_ref()),
            anew,
            RevocationLists::from_pem,
            &mut changed,
        );
        let looked = FreshFiles { authorities, lists };
        changed.then(|| {
            looked.tell(wanted);
            looked
        })
    }

    /// Files that were read count from here on. No yes by their former contents comes behind it.
    pub(super) fn swap(&self, _: &Closing<'_>, looked: FreshFiles) {
        *self.authorities.write() = looked.authorities;
        *self.lists.write() = looked.lists;
        let mut refused = self.refused.lock();
        refused.generation += 1;
        refused.until.clear();
    }

    fn of(
        &self,
        files: &CaFiles,
    ) -> Result<(Arc<Authorities>, Option<Arc<RevocationLists>>), Problem> {
        let authorities = content(&self.authorities, CA_FILE, &files.authorities)?;
        let lists = files.lists.as_ref();
        let lists = lists.map(|path| content(&self.lists, CRL_FILE, path));
        Ok((authorities, lists.transpose()?))
    }

    /// Does an authority of `files` vouch for the chain?
    ///
    /// Errors: the outer one is that of a file, so that nobody could be asked.
    pub(super) fn path(
        &self,
        files: &CaFiles,
        leaf: &[u8],
        intermediates: &[&[u8]],
        now: UnixSeconds,
    ) -> Result<Result<CertificationPath, Untrusted>, Problem> {
        Ok(self.counted_path(files, leaf, intermediates, now)?.0)
    }

    /// And how many signatures were tried.
    fn counted_path(
        &self,
        files: &CaFiles,
        leaf: &[u8],
        intermediates: &[&[u8]],
        now: UnixSeconds,
    ) -> Result<(Result<CertificationPath, Untrusted>, usize), Problem> {
        let shown = hash_of(files, leaf, intermediates);
        let (generation, untrusted) = {
            let refused = self.refused.lock();
            let refusal = refused.until.get(&shown).filter(|(until, _)| now < *until);
            (
                refused.generation,
                refusal.map(|(_, untrusted)| untrusted.clone()),
            )
        };
        let (authorities, lists) = self.of(files)?;
        if let Some(untrusted) = untrusted {
            return Ok((Err(untrusted), 0));
        }
        let revocation = lists.as_deref().map(|lists| Revocation {
            lists,
            accept_expired: files.accept_expired_lists,
        });
        let presented = chain::Presented {
            leaf,
            intermediates,
        };
        let demands = chain::Demands::default();
        let (found, signatures) = chain::path(presented, &authorities, revocation, &demands, now);
        if let Err(untrusted) = &found {
            let mut refused = self.refused.lock();
            refused.remember(generation, shown, untrusted, now);
        }
        Ok((found, signatures))
    }

    /// Does the path still hold? True where it can't be looked up: "could not ask" closes no session.
    #[must_use]
    pub(super) fn still_vouch(&self, files: &CaFiles, path: &CertificationPath) -> bool {
        // Each for itself: a file that can't be read hides nothing that the other says.
        let authorities = content(&self.authorities, CA_FILE, &files.authorities);
        let lists = files.lists.as_ref();
        let lists = lists.and_then(|list| content(&self.lists, CRL_FILE, list).ok());
        authorities.map_or(true, |read| read.still_trust(path))
            && !lists.is_some_and(|read| read.revoke(path))
    }

    /// The problems of the files that `policy` names, for the host's admin.
    #[must_use]
    pub(super) fn problems_of(&self, policy: &HostPolicy) -> Vec<Problem> {
        let files = policy.trust.ca();
        files.map_or_else(Vec::new, |files| self.problems(files))
    }

    /// The problems of the files.
    #[must_use]
    pub(super) fn problems(&self, files: &CaFiles) -> Vec<Problem> {
        let lists = files.lists.as_ref();
        [
            content(&self.authorities, CA_FILE, &files.authorities).err(),
            lists.and_then(|path| content(&self.lists, CRL_FILE, path).err()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The state of the files, for `status`.
    #[must_use]
    pub(super) fn described(&self, files: &CaFiles) -> AuthorityFilesState {
        let problem = |error: &Problem| error.error.to_string();
        let is_unreadable = |error: &Problem| matches!(error.error, FileError::Unreadable(_));
        let authorities = content(&self.authorities, CA_FILE, &files.authorities);
        let lists = files
            .lists
            .as_ref()
            .map(|path| (path, content(&self.lists, CRL_FILE, path)));
        let without = match (&authorities, &lists) {
            (Ok(authorities), Some((_, Ok(lists)))) => authorities
                .without_list(lists)
                .map(|authority| authority.subject.clone())
                .collect(),
            _ => Vec::new(),
        };
        let known_authorities = authorities.as_ref().ok().cloned();
        let of_authority = |authority: &crate::identity::Authority| {
            let known = known_authorities.as_ref();
            AuthorityState {
                subject: authority.subject.clone(),
                not_before: authority.not_before,
                not_after: authority.not_after,
                problem: known.and_then(|known| known.never_vouches(authority)),
            }
        };
        let of_list = |list: chain::ListedBy| ListState {
            issuer: list.issuer,
            next_update: list.next_update,
            revoked: list.revoked,
            problem: list.problem.map(str::to_owned),
        };
        AuthorityFilesState {
            ca_file: CaFileState {
                file: FileState {
                    path: files.authorities.clone(),
                    problem: authorities.as_ref().err().map(problem),
                    unreadable: authorities.as_ref().is_err_and(is_unreadable),
                    private_key: holds_key(&self.authorities, &files.authorities),
                },
                authorities: authorities
                    .ok()
                    .map(|read| read.about().iter().map(of_authority).collect()),
            },
            crl_file: lists.map(|(path, lists)| CrlFileState {
                file: FileState {
                    path: path.clone(),
                    problem: lists.as_ref().err().map(problem),
                    unreadable: lists.as_ref().is_err_and(is_unreadable),
                    private_key: holds_key(&self.lists, path),
                },
                lists: lists.ok().map(|read| {
                    let about = read.about(known_authorities.as_deref());
                    about.into_iter().map(of_list).collect()
                }),
                without_list: without,
                refuses_expired: !files.accept_expired_lists,
            }),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} = \"{}\": {}",
            self.option,
            self.path.display(),
            self.error
        )
    }
}

/// The files as they are now; they do not count yet.
#[derive(Debug)]
pub(super) struct FreshFiles {
    authorities: Files<Authorities>,
    lists: Files<RevocationLists>,
}

impl FreshFiles {
    /// Names in the log what stands in the files and does not count. The signatures of the lists are checked here, so that no
    /// login waits for that.
    fn tell(&self, wanted: &[CaFiles]) {
        let mut seen = HashSet::new();
        for files in wanted {
            if !seen.insert((&files.authorities, &files.lists)) {
                continue;
            }
            let authorities = self.authorities.get(&files.authorities);
            let Some(Ok(authorities)) = authorities.map(|file| &file.content) else {
                continue;
            };
            let path = files.authorities.display();
            for authority in authorities.about() {
                if let Some(problem) = authorities.never_vouches(authority) {
                    let subject = authority.subject.as_str();
                    tracing::warn!(%path, subject, problem, "an authority that can vouch for nobody");
                }
            }
            let lists = files.lists.as_ref().and_then(|path| self.lists.get(path));
            let (Some(path), Some(Ok(lists))) = (&files.lists, lists.map(|file| &file.content))
            else {
                continue;
            };
            for list in lists.about(Some(authorities)) {
                if let Some(problem) = list.problem {
                    let (path, issuer) = (path.display(), list.issuer.as_str());
                    tracing::warn!(%path, issuer, problem, "a revocation list that does not count");
                }
            }
        }
    }
}

fn content<T>(
    files: &SharedLock<Files<T>>,
    option: &'static str,
    path: &Path,
) -> Result<Arc<T>, Problem> {
    let files = files.read();
    let content = files.get(path).map(|file| file.content.clone());
    let unread = || Err(FileError::Unreadable("was not read yet".to_owned()));
    content.unwrap_or_else(unread).map_err(|error| Problem {
        option,
        path: path.to_owned(),
        error,
    })
}

/// Does a private key stand in the file, beside what is wanted?
fn holds_key<T>(files: &SharedLock<Files<T>>, path: &Path) -> bool {
    let files = files.read();
    files.get(path).is_some_and(|file| file.holds_key)
}

fn look<'a, T>(
    files: &SharedLock<Files<T>>,
    wanted: impl Iterator<Item = &'a PathBuf>,
    anew: bool,
    parse: fn(&[u8]) -> Result<T, PemError>,
    changed: &mut bool,
) -> Files<T> {
    let files = files.read();
    let mut looked = HashMap::new();
    for path in wanted {
        if looked.contains_key(path) {
            continue;
        }
        let stamp = std::fs::metadata(path).ok().as_ref().map(stamp);
        let before = files.get(path).filter(|file| !anew && file.stamp == stamp);
        // The obstacle to the reading may have gone without a trace on the file.
        let read_before =
            before.filter(|file| !matches!(file.content, Err(FileError::Unreadable(_))));
        let entry = if let Some(file) = read_before {
            FileCopy {
                stamp: file.stamp,
                holds_key: file.holds_key,
                content: file.content.clone(),
            }
        } else {
            let read = read(path, parse);
            let (stamp, holds_key, content) = match read {
                Ok((stamp, holds_key, content)) => {
                    let content = content.map(Arc::new).map_err(FileError::from);
                    (Some(stamp), holds_key, content)
                }
                Err(error) => (stamp, false, Err(error)),
            };
            let error_before = before.and_then(|file| file.content.as_ref().err());
            match &content {
                // Said before, and it stays so.
                Err(error) if error_before == Some(error) => {}
                Err(error) => {
                    *changed = true;
                    tracing::error!(path = %path.display(), %error, "cannot be used");
                }
                Ok(_) => {
                    *changed = true;
                    tracing::info!(path = %path.display(), "read");
                    if holds_key {
                        tracing::warn!(path = %path.display(), "a private key stands in this file and does not belong there");
                    }
                }
            }
            FileCopy {
                stamp,
                holds_key,
                content,
            }
        };
        looked.insert(path.clone(), entry);
    }
    *changed |= looked.len() != files.len();
    looked
}

/// The file as it is when it is opened: neither a pipe nor a device makes anybody wait.
fn read<T>(
    path: &Path,
    parse: fn(&[u8]) -> Result<T, PemError>,
) -> Result<(FileIdentity, bool, Result<T, PemError>), FileError> {
    let unreadable = |error: io::Error| FileError::Unreadable(words(&error));
    let file: File = OpenOptions::new()
        .read(true)
        .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits())
        .open(path)
        .map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NotRegular);
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(FileError::TooLarge);
    }
    let holds_key = holds_private_key(&bytes);
    Ok((stamp(&metadata), holds_key, parse(&bytes)))
}

/// Without the number that Rust puts behind it.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::PermissionDenied => "saslcertd's user may not read it".to_owned(),
        _ => error.to_string(),
    }
}

fn stamp(of: &Metadata) -> FileIdentity {
    let changed = (of.ctime(), of.ctime_nsec());
    let written = (of.mtime(), of.mtime_nsec());
    (of.dev(), of.ino(), of.size(), written, changed)
}

/// A hash of all that an answer depends on, but the files' content and the time.
fn hash_of(files: &CaFiles, leaf: &[u8], intermediates: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    add(files.authorities.as_os_str().as_bytes());
    let lists = files.lists.as_ref();
    add(lists.map_or(&[][..], |path| path.as_os_str().as_bytes()));
    add(leaf);
    for der in intermediates {
        add(der);
    }
    hash.finalize().into()
}

/// How long a chain that leads nowhere is remembered.
const REFUSED_SECONDS: i64 = 300;
/// Most of them; beyond it some are judged anew.
const MAX_REFUSALS: usize = 4_096;
/// Largest file that is read.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;
const CA_FILE: &str = "saslcertd_ca_file";
const CRL_FILE: &str = "saslcertd_crl_file";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::super::gate::Gate;
    use super::super::servers::Servers;
    use super::*;

    const NOW: UnixSeconds = UnixSeconds(1_800_000_000);

    /// An authority's certificate as PEM, and what issues in its name.
    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "Denmark");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    }

    fn leaf_of(issuer: &Issuer<'static, KeyPair>) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2096, 1, 1);
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_chain_that_leads_nowhere_is_remembered_until_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let files = CaFiles {
            authorities: folder.path().join("ca.pem"),
            lists: None,
            accept_expired_lists: true,
        };
        let known = AuthorityFiles::default();
        let read = |pem: &str| {
            std::fs::write(&files.authorities, pem).unwrap();
            let looked = known.look(std::slice::from_ref(&files), true);
            let gate = Gate::new(Arc::new(Servers::default()));
            known.swap(&gate.close(), looked.unwrap());
        };
        let ((ours, own), (theirs, foreign)) = (authority(), authority());
        let (leaf, other) = (leaf_of(&foreign), leaf_of(&own));
        let tries = |leaf: &[u8], now| {
            let (found, tries) = known.counted_path(&files, leaf, &[], now).unwrap();
            (found.is_ok(), tries)
        };
        read(&ours);
        assert_eq!(tries(&leaf, NOW), (false, 1));
        assert_eq!(tries(&leaf, NOW), (false, 0));
        assert_eq!(tries(&other, NOW), (true, 1));
        assert_eq!(tries(&leaf, NOW.plus(REFUSED_SECONDS)), (false, 1));
        read(&theirs);
        assert_eq!(tries(&leaf, NOW), (true, 1));
        assert_eq!(tries(&other, NOW), (false, 1));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_of_its_time() {
        let mut refusals = Refusals::default();
        let no = |denial| Untrusted {
            denial,
            cause: String::new(),
        };
        let name = |number: usize| {
            let mut name = [0; 32];
            name.iter_mut()
                .zip(number.to_be_bytes())
                .for_each(|(to, from)| *to = from);
            name
        };
        // It may be valid tomorrow, or belongs to another state of the files.
        refusals.remember(0, name(0), &no(Denial::ChainExpired), NOW);
        refusals.remember(1, name(0), &no(Denial::ChainUntrusted), NOW);
        assert!(refusals.until.is_empty());
        for number in 0..2 * MAX_REFUSALS {
            refusals.remember(0, name(number), &no(Denial::ChainUntrusted), NOW);
        }
        assert_eq!(refusals.until.len(), MAX_REFUSALS);
        let later = NOW.plus(REFUSED_SECONDS);
        refusals.remember(0, name(0), &no(Denial::ChainUntrusted), later);
        assert_eq!(refusals.until.len(), 1);
    }
}
