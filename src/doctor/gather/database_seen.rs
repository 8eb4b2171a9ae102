//! Which database the store is in, if it is in one, and how that looks for the daemon's user.
//!
//! Must not know: what is well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use nix::unistd::Uid as User;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::super::database::{Database, Looked};
use super::super::process::Process;
use super::processes::{flags, of_user};
use crate::store::Store;

/// The words of the daemon that runs; or those that doctor was given; or those that the daemon's unit would give it. None: the store is
/// in a folder, or nobody says where it is.
pub(super) fn words(process: Option<&Process>, given: Option<&str>) -> Option<Words> {
    let environment = match process {
        Some(process) => environment_of(process.pid),
        None => environment_of_unit(&UNIT_FOLDERS.map(Path::new)),
    };
    let flag = process.and_then(|process| flags(&process.flags, "--database").pop());
    let given = given.filter(|_| process.is_none()).map(str::to_owned);
    let text = flag
        .or(given)
        .or_else(|| environment.get(VARIABLE).cloned())?;
    Some(Words { text, environment })
}

/// The words that name a database, and what its driver finds beside them.
pub(super) struct Words {
    text: String,
    environment: BTreeMap<String, String>,
}

/// As `uid`: by it the database's server knows who asks over a socket, and it reads the file of passwords.
pub(super) fn look(words: Words, uid: u32) -> Database {
    let Words { text, environment } = words;
    let named = text.clone();
    // Only this thread, and those that it starts, become that user.
    let looking = std::thread::spawn(move || {
        if let Err(error) = become_user(uid) {
            return Looked::Hidden(format!("acting as user {uid} is not possible: {error}"));
        }
        match Store::look_at_database(&named, |name| environment.get(name).cloned()) {
            Ok(seen) => Looked::Seen(Box::new(seen)),
            Err(error) => Looked::Refused(error.to_string()),
        }
    });
    let looked = looking.join();
    let looked = looked.unwrap_or_else(|_| Looked::Hidden("looking at it has failed".to_owned()));
    Database {
        words: text,
        looked,
    }
}

/// Root can; others are who they are.
fn become_user(uid: u32) -> std::io::Result<()> {
    if !User::effective().is_root() || uid == 0 {
        return Ok(());
    }
    let who = of_user(&uid.to_string());
    let gids = who.map_or_else(|| vec![uid], |who| who.gids);
    let groups: Vec<Gid> = gids.iter().copied().map(Gid::from_raw).collect();
    set_thread_groups(&groups)?;
    if let Some(first) = groups.first() {
        set_thread_res_gid(*first, *first, *first)?;
    }
    let uid = Uid::from_raw(uid);
    Ok(set_thread_res_uid(uid, uid, uid)?)
}

/// What only a database's driver reads, and which database it is.
fn is_of_database(name: &str) -> bool {
    name == VARIABLE || name == "HOME" || name.starts_with("PG")
}

fn environment_of(pid: i32) -> BTreeMap<String, String> {
    let bytes = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let all = bytes.split(|byte| *byte == 0).filter_map(|set| {
        let (name, value) = std::str::from_utf8(set).ok()?.split_once('=')?;
        is_of_database(name).then(|| (name.to_owned(), value.to_owned()))
    });
    all.collect()
}

/// What the drop-ins of the daemon's unit set: of two files of one name the first folder's counts, and a later name counts more.
///
/// Source: systemd.unit(5), systemd.exec(5) "Environment=".
fn environment_of_unit(folders: &[&Path]) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for folder in folders.iter().rev() {
        let entries = fs::read_dir(folder.join("saslcertd.service.d"));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.path().extension().is_some_and(|end| end == "conf") {
                files.insert(entry.file_name(), entry.path());
            }
        }
    }
    let mut set = BTreeMap::new();
    for path in files.values() {
        let text = fs::read_to_string(path).unwrap_or_default();
        for line in text.lines() {
            let Some(words) = line.trim().strip_prefix("Environment=") else {
                continue;
            };
            if words.trim().is_empty() {
                set.clear();
            }
            let pairs = unquoted(words).into_iter();
            set.extend(pairs.filter_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                is_of_database(name).then(|| (name.to_owned(), value.to_owned()))
            }));
        }
    }
    set
}

/// The words of a line, of which quotation marks hold some together.
fn unquoted(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.get_or_insert_default().extend(letters.next()),
            (letter, Some(mark)) if letter == mark => quote = None,
            ('"' | '\'', None) => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (letter, None) if letter.is_whitespace() => words.extend(word.take()),
            (letter, _) => word.get_or_insert_default().push(letter),
        }
    }
    words.extend(word);
    words
}

const VARIABLE: &str = "SASLCERTD_DATABASE";
const UNIT_FOLDERS: [&str; 4] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_units_drop_ins_say_which_database_it_is() {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("etc"), root.path().join("usr"));
        for (folder, name, text) in [
            (
                &first,
                "a.conf",
                "[Service]\nEnvironment=\"SASLCERTD_DATABASE=host=/run dbname=a\" PGPASSFILE=/p LANG=C\n",
            ),
            (
                &second,
                "a.conf",
                "[Service]\nEnvironment=\"SASLCERTD_DATABASE=dbname=hidden\"\n",
            ),
            (
                &second,
                "b.conf",
                "#Environment=PGSERVICE=no\nEnvironment='PGSERVICE=one two'\n",
            ),
            (&second, "c.txt", "Environment=PGSERVICE=other\n"),
        ] {
            let folder = folder.join("saslcertd.service.d");
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(name), text).unwrap();
        }
        let set = environment_of_unit(&[&first, &second, &root.path().join("none")]);
        let expected = [
            ("PGPASSFILE", "/p"),
            ("PGSERVICE", "one two"),
            (VARIABLE, "host=/run dbname=a"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(set, BTreeMap::from(expected));
    }

    #[test]
    fn words_of_a_unit_are_held_together_by_quotation_marks() {
        assert_eq!(
            unquoted(r#"a "b c" 'd "e' f\ g """#),
            ["a", "b c", "d \"e", "f g", ""]
        );
    }
}
