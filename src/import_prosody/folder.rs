//! Prosody's data folder (`mod_storage_internal)`: which hosts and users it has, and what their files hold.
//! Nothing in it is trusted: symbolic links are not followed, files have a limit, names that Prosody would not have
//! written are reported, not guessed.
//!
//! Must not know: what an account or a certificate is.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File, FileType, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

use super::lua_table::{self, Table, Value};
use super::source::{
    NO_HOSTS_NAME, NOBODYS_NAME, Problem, ProsodyStore, Source, SourceError, account_named,
    host_named,
};
use crate::identity::{BareJid, ByteOrderMark, Host};

/// Prosody's data folder.
#[derive(Debug)]
pub(super) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// The data folder `root`; it may be reached over a symbolic link, nothing below it is.
    pub(super) fn open(root: &Path) -> Result<Self, SourceError> {
        let metadata = fs::metadata(root).map_err(SourceError::reading(root))?;
        if !metadata.is_dir() {
            return Err(SourceError::NotFolder(root.display().to_string()));
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    fn path_of(&self, user: &BareJid, store: ProsodyStore) -> PathBuf {
        let name = format!("{}.dat", encoded(user.username()));
        self.folder_of(user.host(), store).join(name)
    }

    fn folder_of(&self, host: &Host, store: ProsodyStore) -> PathBuf {
        self.root.join(encoded(host.as_str())).join(store.name())
    }
}

impl Source for DataFolder {
    fn hosts(
        &self,
        stores: &[ProsodyStore],
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<Host>, SourceError> {
        let mut hosts = BTreeSet::new();
        for entry in entries(&self.root)? {
            let path = entry.path();
            let has_store =
                |store: &ProsodyStore| path.join(store.name()).symlink_metadata().is_ok();
            if !stores.iter().any(has_store) {
                continue;
            }
            let name = entry.file_name();
            let host = name.to_str().and_then(decoded);
            let host = host.and_then(|name| host_named(&name));
            match host {
                _ if !kind_of(&entry)?.is_dir() => {
                    problems.push(problem(&path, false, NOT_FOLLOWED));
                }
                None => problems.push(problem(&path, false, NO_HOSTS_NAME)),
                Some(host) => {
                    hosts.insert(host);
                }
            }
        }
        Ok(hosts)
    }

    fn users(
        &self,
        host: &Host,
        store: ProsodyStore,
        problems: &mut Vec<Problem>,
    ) -> Result<BTreeSet<BareJid>, SourceError> {
        let folder = self.folder_of(host, store);
        let mut users = BTreeSet::new();
        match folder.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(users),
            Ok(metadata) if !metadata.is_dir() => {
                problems.push(problem(&folder, false, NOT_FOLLOWED));
                return Ok(users);
            }
            _ => {}
        }
        for entry in entries(&folder)? {
            let name = entry.file_name();
            // Beside them stand what an interrupted write left behind, and nothing else.
            let Some(stem) = name.as_encoded_bytes().strip_suffix(b".dat") else {
                continue;
            };
            let user = std::str::from_utf8(stem).ok().and_then(decoded);
            let user = user.and_then(|name| account_named(&name, host));
            let mut report = |text: &str| {
                problems.push(problem(
                    &entry.path(),
                    store == ProsodyStore::Accounts,
                    text,
                ));
            };
            let kind = kind_of(&entry)?;
            match user {
                _ if kind.is_symlink() => report(NOT_FOLLOWED),
                _ if !kind.is_file() => report("it is not a regular file"),
                None => report(NOBODYS_NAME),
                Some(user) => {
                    users.insert(user);
                }
            }
        }
        Ok(users)
    }

    fn place(&self, user: &BareJid, store: ProsodyStore) -> String {
        self.path_of(user, store).display().to_string()
    }

    fn read(
        &self,
        user: &BareJid,
        store: ProsodyStore,
    ) -> Result<Result<Option<Table>, Problem>, SourceError> {
        let path = self.path_of(user, store);
        let read = match content(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("it cannot be read: {error}")),
            Ok(bytes) if bytes.len() > MAX_FILE_BYTES => Err("it is larger than 16 MiB".to_owned()),
            Ok(bytes) => match (ByteOrderMark::of(&bytes), lua_table::parse(&bytes)) {
                // Prosody doesn't read it either.
                (Some(mark), _) => Err(format!("it {mark}")),
                (None, Ok(Value::Table(table))) => Ok(Some(table)),
                (None, Ok(_)) => Err("it does not hold a table".to_owned()),
                (None, Err(error)) => Err(error.to_string()),
            },
        };
        Ok(read.map_err(|text| problem(&path, store == ProsodyStore::Accounts, &text)))
    }
}

fn problem(path: &Path, is_account: bool, text: &str) -> Problem {
    Problem {
        place: path.display().to_string(),
        is_account,
        text: text.to_owned(),
    }
}

/// The content of a regular file, or one byte more than [`MAX_FILE_BYTES`]. The last part of its path is no symbolic link.
fn content(path: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    // NONBLOCK: opening a pipe would wait for its other end.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file: File = options.read(true).custom_flags(flags.bits()).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(std::io::Error::other("it is not a regular file"));
    }
    let limit = MAX_FILE_BYTES as u64 + 1;
    // At once, so that no piece of it stays in memory when the buffer grows.
    let size = usize::try_from(metadata.len().min(limit)).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn entries(folder: &Path) -> Result<Vec<DirEntry>, SourceError> {
    let read = || -> std::io::Result<Vec<DirEntry>> {
        let mut entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(DirEntry::file_name);
        Ok(entries)
    };
    read().map_err(SourceError::reading(folder))
}

fn kind_of(entry: &DirEntry) -> Result<FileType, SourceError> {
    entry
        .file_type()
        .map_err(SourceError::reading(&entry.path()))
}

/// A name as Prosody writes it in a path: each byte but ASCII letters and digits as `%` and two lower-case hex digits.
fn encoded(name: &str) -> String {
    let hex = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or_default();
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() {
            path.push(char::from(byte));
        } else {
            path.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    path
}

/// The name that is written `path`; `None` if Prosody writes no name like this, so that it never reads the file.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = rest.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    let name = String::from_utf8(bytes).ok()?;
    (encoded(&name) == path).then_some(name)
}

const NOT_FOLLOWED: &str = "it is not a folder or file of its own; symbolic links are not followed";
const MAX_FILE_BYTES: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::symlink;

    use proptest::prelude::*;

    use super::*;

    fn host() -> Host {
        Host::parse("shakespeare.lit").unwrap()
    }

    fn jid(username: &str) -> BareJid {
        BareJid::of(username, &host()).unwrap()
    }

    /// A data folder with a file for each path.
    fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, DataFolder) {
        let place = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let folder = DataFolder::open(place.path()).unwrap();
        (place, folder)
    }

    #[test]
    fn names_are_decoded_as_prosody_encodes_them_and_only_those() {
        let cases = [
            ("hamlet", Some("hamlet")),
            ("a%2eb%5fc%2dd", Some("a.b_c-d")),
            ("j%c3%bcrg", Some("jürg")),
            ("example%2ecom", Some("example.com")),
            ("", Some("")),
            ("a.b", None),
            ("a%2Eb", None),
            ("h%61mlet", None),
            ("a%", None),
            ("a%2", None),
            ("a%zz", None),
            ("a%+1", None),
            ("%ff", None),
            ("_global", None),
            ("jürg", None),
        ];
        for (path, name) in cases {
            assert_eq!(decoded(path).as_deref(), name, "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back_from_its_path(name in any::<String>()) {
            prop_assert_eq!(decoded(&encoded(&name)), Some(name));
        }
    }

    #[test]
    fn hosts_and_users_are_those_of_the_stores_and_the_rest_is_a_problem() {
        let (place, folder) = folder(&[
            ("shakespeare%2elit/accounts/hamlet.dat", ""),
            ("shakespeare%2elit/accounts/j%c3%bcrg.dat", ""),
            ("shakespeare%2elit/accounts/yorick.dat~", ""),
            ("shakespeare%2elit/accounts/Yorick.dat", ""),
            ("shakespeare%2elit/accounts/a.b.dat", ""),
            ("shakespeare%2elit/accounts/folder.dat/x", ""),
            ("shakespeare%2elit/roster/ophelia.dat", ""),
            ("denmark%2elit/client_certs/gertrude.dat", ""),
            ("denmark%2elit/pubsub.list", ""),
            ("conference%2eshakespeare%2elit/config/room.dat", ""),
            ("_global/accounts/x.dat", ""),
            ("file", ""),
        ]);
        let link = place.path().join("shakespeare%2elit/accounts/linked.dat");
        symlink("hamlet.dat", &link).unwrap();
        symlink("shakespeare%2elit", place.path().join("linked%2elit")).unwrap();
        symlink(
            "../shakespeare%2elit/accounts",
            place.path().join("denmark%2elit/accounts"),
        )
        .unwrap();

        let mut problems = Vec::new();
        let hosts = folder
            .hosts(
                &[ProsodyStore::Accounts, ProsodyStore::ClientCerts],
                &mut problems,
            )
            .unwrap();
        let denmark = Host::parse("denmark.lit").unwrap();
        assert_eq!(hosts, BTreeSet::from([denmark.clone(), host()]));
        let names = |problems: &[Problem]| {
            let name = |problem: &Problem| {
                let (_, name) = problem.place.rsplit_once('/').unwrap();
                (name.to_owned(), problem.is_account)
            };
            problems.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(
            names(&problems),
            [
                ("_global".to_owned(), false),
                ("linked%2elit".to_owned(), false)
            ]
        );

        problems.clear();
        let users = folder
            .users(&host(), ProsodyStore::Accounts, &mut problems)
            .unwrap();
        assert_eq!(users, BTreeSet::from([jid("hamlet"), jid("jürg")]));
        let files = ["Yorick.dat", "a.b.dat", "folder.dat", "linked.dat"];
        assert_eq!(names(&problems), files.map(|name| (name.to_owned(), true)));
        assert!(
            folder
                .read(&jid("linked"), ProsodyStore::Accounts)
                .unwrap()
                .is_err()
        );

        problems.clear();
        assert!(
            folder
                .users(&denmark, ProsodyStore::Accounts, &mut problems)
                .unwrap()
                .is_empty()
        );
        assert_eq!(names(&problems), [("accounts".to_owned(), false)]);
        assert!(
            folder
                .users(&denmark, ProsodyStore::Saslcertd, &mut problems)
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn a_file_that_is_not_a_table_is_a_problem_that_names_it() {
        let (place, folder) = folder(&[
            (
                "shakespeare%2elit/accounts/hamlet.dat",
                "return { password = \"x\" };\n",
            ),
            (
                "shakespeare%2elit/accounts/ophelia.dat",
                "return {\n os.exit()\n};\n",
            ),
            ("shakespeare%2elit/accounts/yorick.dat", "return nil;\n"),
            (
                "shakespeare%2elit/accounts/laertes.dat",
                "\u{feff}return {};\n",
            ),
        ]);
        let read = |name| folder.read(&jid(name), ProsodyStore::Accounts).unwrap();
        assert!(read("hamlet").unwrap().unwrap().field("password").is_some());
        assert_eq!(read("nobody"), Ok(None));
        let file = |name: &str| place.path().join("shakespeare%2elit/accounts").join(name);
        let problem = read("ophelia").unwrap_err();
        assert_eq!(Path::new(&problem.place), file("ophelia.dat"));
        assert!(
            problem.text.starts_with("line 2: expected"),
            "{}",
            problem.text
        );
        assert_eq!(read("yorick").unwrap_err().text, "it does not hold a table");

        let marked = read("laertes").unwrap_err().text;
        assert!(
            marked.starts_with("it begins with a byte order mark"),
            "{marked}"
        );

        let large = fs::File::create(file("claudius.dat")).unwrap();
        large.set_len(16 * 1024 * 1024 + 1).unwrap();
        assert_eq!(
            read("claudius").unwrap_err().text,
            "it is larger than 16 MiB"
        );

        nix::unistd::mkfifo(&file("horatio.dat"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(read("horatio").is_err());
    }
}
