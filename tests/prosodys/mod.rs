//! The Prosodys that `make fetch-test` has unpacked: which they are depends on the Debian.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of each Prosody that `make test` runs against, which has its `usr/`. At least one.
pub(crate) fn unpacked() -> Vec<PathBuf> {
    let asked = Command::new("tests/prosody/fetch.sh")
        .arg("prosodys")
        .output()
        .expect("bash");
    assert!(asked.status.success(), "{asked:?}");
    let names = String::from_utf8(asked.stdout).expect("names");
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or("target".to_owned());
    let folder = |name: &str| {
        [Path::new("target"), Path::new(&target)]
            .map(|folder| folder.join("prosody").join(name))
            .into_iter()
            .find(|folder| folder.exists())
            .unwrap_or_else(|| panic!("no Prosody {name}; get it with: make fetch-test"))
    };
    let folders: Vec<PathBuf> = names.split_whitespace().map(folder).collect();
    assert!(!folders.is_empty(), "fetch.sh names no Prosody");
    folders
}
