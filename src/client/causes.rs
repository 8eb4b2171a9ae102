//! An error and its causes, in words.
//!
//! Must not know: what anybody should do about it.

use std::error::Error;

/// An error and its causes in one line; each is said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
