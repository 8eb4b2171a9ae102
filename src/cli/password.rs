//! Reads a command's password: from the terminal, a file, or standard input.
//!
//! Must not know: whose password it is, whether it is a good one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use zeroize::Zeroizing;

use crate::identity::ByteOrderMark;

/// Gets the password: from a file's or standard input's first line, or from the terminal, without echo.
pub(super) fn password(
    file: Option<&Path>,
    of: &impl std::fmt::Display,
) -> anyhow::Result<Zeroizing<String>> {
    let password = match file {
        Some(path) if path == Path::new("-") => {
            first_line(&mut io::stdin().lock()).context("standard input")
        }
        Some(path) => {
            let open = File::open(path).map_err(anyhow::Error::from);
            open.and_then(|file| first_line(&mut BufReader::new(file)))
                .with_context(|| path.display().to_string())
        }
        None => rpassword::prompt_password(format!("Password of {of}: "))
            .map(Zeroizing::new)
            .context("there is no terminal to ask for the password; use --password-file"),
    }?;
    ensure!(!password.is_empty(), "the password is empty");
    Ok(password)
}

/// Gets a new password: from a file's or standard input's first line, or twice from the terminal, without echo.
pub(super) fn new_password(
    file: Option<&Path>,
    of: &impl std::fmt::Display,
) -> anyhow::Result<Zeroizing<String>> {
    let first = password(file, &format_args!("{of} (new)"))?;
    if file.is_none() {
        let again = password(None, &format_args!("{of} (again)"))?;
        ensure!(first == again, "the two passwords are not the same");
    }
    Ok(first)
}

fn first_line(input: &mut impl BufRead) -> anyhow::Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_PASSWORD_BYTES + 2));
    input
        .take(MAX_PASSWORD_BYTES as u64 + 2)
        .read_until(b'\n', &mut line)?;
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    ensure!(
        line.len() <= MAX_PASSWORD_BYTES,
        "the password is longer than {MAX_PASSWORD_BYTES} bytes"
    );
    if let Some(mark) = ByteOrderMark::of(&line) {
        bail!("it {mark}");
    }
    let text = std::str::from_utf8(&line).context("the password isn't UTF-8")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// No server takes longer ones.
const MAX_PASSWORD_BYTES: usize = 1023;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_password_is_the_first_line() {
        for (input, expected) in [
            ("to be\nor not", "to be"),
            ("to be\r\n", "to be"),
            ("to be", "to be"),
            ("\n", ""),
        ] {
            assert_eq!(
                first_line(&mut input.as_bytes()).unwrap().as_str(),
                expected
            );
        }
        assert!(first_line(&mut "x".repeat(1024).as_bytes()).is_err());
        assert!(first_line(&mut b"\xfc\n".as_slice()).is_err());
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_password() {
        for (input, wanted) in [
            (&b"\xef\xbb\xbfto be\n"[..], "byte order mark"),
            (b"\xff\xfet\0o\0\n\0", "UTF-16"),
        ] {
            let refused = first_line(&mut &*input).unwrap_err().to_string();
            assert!(refused.contains(wanted), "{refused}");
        }
    }
}
