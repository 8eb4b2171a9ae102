//! The words for an admin when the storage engine ends the process: sled panics on some damage of its files.
//!
//! Must not know: what is stored.

use std::panic::{self, PanicHookInfo};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::refusal;

/// Until it is told that the store is open, every panic ends the process with words.
#[derive(Debug)]
pub(super) struct Opening(Arc<AtomicBool>);

impl Opening {
    /// From now on a panic says in words which folder is damaged, and what to do.
    pub(super) fn of(folder: &Path) -> Self {
        let is_open = Arc::new(AtomicBool::new(false));
        let (folder, opened) = (folder.display().to_string(), Arc::clone(&is_open));
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_open = opened.load(Ordering::Relaxed);
            if is_open && !is_of_engine(info) {
                return usual(info);
            }
            // The log's own thread would not write it any more.
            let said = words(&folder, info);
            eprintln!("saslcertd: {said}");
            if !is_open {
                refusal::note(Path::new(&folder), &said);
                // Threads of the engine may wait for each other; nothing was answered yet.
                std::process::exit(1);
            }
        }));
        Self(is_open)
    }

    /// The store is open.
    pub(super) fn end(self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_of_engine(info: &PanicHookInfo<'_>) -> bool {
    let file = info.location().map(panic::Location::file);
    file.is_some_and(|file| file.contains("sled-"))
}

fn words(folder: &str, info: &PanicHookInfo<'_>) -> String {
    let said = info.payload().downcast_ref::<String>().cloned();
    let said = said.or_else(|| {
        let said = info.payload().downcast_ref::<&str>();
        said.map(ToString::to_string)
    });
    let said: String = said.unwrap_or_default().chars().take(MAX_SAID).collect();
    let place = info
        .location()
        .map(|place| format!("{}:{}", place.file(), place.line()));
    format!(
        "the store in {folder} is damaged: the files in {folder}/sled cannot be used any more. Restore a backup \
         (docs/operations.md, \"The store is damaged\"). The storage engine says: {} ({})",
        said.escape_debug(),
        place.unwrap_or_default()
    )
}

const MAX_SAID: usize = 200;
