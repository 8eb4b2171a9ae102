//! Quotes paths as words of the shell, for the lines that are printed to be run.
//!
//! Must not know: which commands are printed.

use std::path::Path;

/// A path as one word.
pub(crate) fn word(path: &Path) -> String {
    let path = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@=%".contains(c);
    if !path.is_empty() && path.chars().all(is_plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_of_the_shell() {
        for (path, expected) in [
            ("/run/a.sock", "/run/a.sock"),
            ("/a b", "'/a b'"),
            ("/a'b", r"'/a'\''b'"),
        ] {
            assert_eq!(word(Path::new(path)), expected);
        }
    }
}
