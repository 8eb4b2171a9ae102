//! Names the files of a key and its certificate, and writes them; it never overwrites one.
//!
//! Must not know: what stands in them, who made it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context;

/// `hamlet@shakespeare.lit.phone`: safe as a file's name whatever the address and the name are.
pub(super) fn file_stem(account: &str, name: &str) -> String {
    let safe = |text: &str, max_bytes: usize| {
        let letter = |letter: char| {
            if letter.is_alphanumeric() || "@._+-".contains(letter) {
                letter
            } else {
                '-'
            }
        };
        let mut safe: String = text.chars().map(letter).collect();
        while safe.len() > max_bytes {
            safe.pop();
        }
        safe.trim_start_matches(['.', '-']).to_owned()
    };
    let (account, name) = (safe(account, 120), safe(name, 120));
    match (account.as_str(), name.as_str()) {
        ("", name) => format!("account.{name}"),
        (account, "") => format!("{account}.certificate"),
        (account, name) => format!("{account}.{name}"),
    }
}

/// A file to write: where, what, and its mode.
pub(super) type NewFile<'a> = (&'a Path, &'a [u8], u32);

/// Writes files that mustn't exist before, in this order: all of them, or none.
pub(super) fn write_new(files: &[NewFile<'_>]) -> anyhow::Result<()> {
    for (i, &(path, content, mode)) in files.iter().enumerate() {
        if let Err(error) = write_one(path, content, mode) {
            for (path, ..) in files.iter().take(i) {
                let _ = fs::remove_file(path);
            }
            return Err(error);
        }
    }
    Ok(())
}

fn write_one(path: &Path, content: &[u8], mode: u32) -> anyhow::Result<()> {
    let problem = || format!("can't write {}", path.display());
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(problem)?;
    let written = file.write_all(content).and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = fs::remove_file(path);
    }
    written.with_context(problem)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_names_are_safe_whatever_the_names_are() {
        let cases = [
            (
                "hamlet@shakespeare.lit",
                "phone",
                "hamlet@shakespeare.lit.phone",
            ),
            (
                "hamlet@shakespeare.lit",
                "My phone/../x",
                "hamlet@shakespeare.lit.My-phone-..-x",
            ),
            (
                "hamlet@shakespeare.lit",
                "../../etc/passwd",
                "hamlet@shakespeare.lit.etc-passwd",
            ),
            (
                "hamlet@shakespeare.lit",
                "Büro ☎",
                "hamlet@shakespeare.lit.Büro--",
            ),
            (
                "hamlet@shakespeare.lit",
                "☎",
                "hamlet@shakespeare.lit.certificate",
            ),
            ("-rf@shakespeare.lit", "x", "rf@shakespeare.lit.x"),
        ];
        for (account, name, expected) in cases {
            assert_eq!(file_stem(account, name), expected);
        }
        assert!(file_stem(&"a".repeat(2000), &"ü".repeat(128)).len() < 250);
    }

    #[test]
    fn a_file_that_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hamlet.key");
        write_new(&[(&path, b"one", 0o600)]).unwrap();
        assert!(write_new(&[(&path, b"two", 0o600)]).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn where_one_can_not_be_written_none_is_left() {
        for taken in ["key", "certificate", "p12"] {
            let folder = tempfile::tempdir().unwrap();
            let names = ["key", "certificate", "p12"].map(|name| folder.path().join(name));
            fs::write(folder.path().join(taken), "older").unwrap();
            let files = names
                .each_ref()
                .map(|path| (path.as_path(), b"new".as_slice(), 0o600));
            let error = write_new(&files).unwrap_err();
            assert!(
                format!("{error:#}").contains(&format!("/{taken}: ")),
                "{error:#}"
            );
            let left: Vec<_> = fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            assert_eq!(left, [taken]);
            assert_eq!(fs::read(folder.path().join(taken)).unwrap(), b"older");
        }
    }
}
