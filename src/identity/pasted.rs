//! The certificate in what somebody pasted into a form: PEM with any text around it, or bare base64.
//!
//! Must not know: whether the certificate is any good.

use super::byte_order_mark::ByteOrderMark;

/// The base64, without white space, of the only certificate in `text`.
///
/// Units: `max_bytes` of base64.
/// Errors: there is none, more than one, or something that nobody should have pasted. Takes time in proportion to the text's
/// length.
pub fn certificate_in(text: &str, max_bytes: usize) -> Result<String, NotOne> {
    let mut body = None;
    let mut rest = text;
    while let Some((label, after)) = next_label(rest) {
        if label.contains("PRIVATE KEY") {
            return Err(NotOne::PrivateKey);
        }
        rest = after;
        if !matches!(label, "CERTIFICATE" | "X509 CERTIFICATE") {
            continue;
        }
        if body.is_some() {
            return Err(NotOne::Several);
        }
        let end = format!("{END}{label}{DASHES}");
        let (inside, after) = rest.split_once(&end).ok_or(NotOne::WithoutEnd)?;
        body = Some(inside);
        rest = after;
    }
    let base64: String = body.unwrap_or(text).split_whitespace().collect();
    if let Some(mark) = ByteOrderMark::of(base64.as_bytes()) {
        return Err(NotOne::Marked { mark });
    }
    let letters = base64.trim_end_matches('=');
    if let Some((before, _)) = letters.split_once('=') {
        let mut parts = letters.split('=');
        let is_another = is_base64(before) && parts.all(|part| part.is_empty() || is_base64(part));
        return Err(if is_another {
            NotOne::Several
        } else {
            NotOne::Nothing
        });
    }
    if letters.is_empty() || !is_base64(letters) {
        return Err(NotOne::Nothing);
    }
    if base64.len() > max_bytes {
        return Err(NotOne::TooLong {
            max_kib: max_bytes / 1024,
        });
    }
    Ok(base64)
}

/// Why there is not one certificate in a text, in words for whoever pasted it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOne {
    /// Two or more.
    #[error(
        "There is more than one certificate in it: paste only your own, and only one at a time"
    )]
    Several,
    /// Cut off.
    #[error("The end of the certificate is missing")]
    WithoutEnd,
    /// Something else.
    #[error("This is no certificate: neither PEM (BEGIN CERTIFICATE) nor its base64")]
    Nothing,
    /// More than any has.
    #[error("The certificate is longer than {max_kib} KiB of base64")]
    TooLong {
        /// The most that is taken.
        max_kib: usize,
    },
    /// A byte order mark in front of it.
    #[error("it {mark}")]
    Marked {
        /// The mark.
        mark: ByteOrderMark,
    },
    /// A private key, alone or beside it: others have seen it now.
    #[error("There is a private key in it")]
    PrivateKey,
}

/// The next `-----BEGIN LABEL-----`: its label, and what stands behind it.
fn next_label(text: &str) -> Option<(&str, &str)> {
    let mut rest = text;
    loop {
        let (_, after) = rest.split_once(BEGIN)?;
        let is_of_label =
            |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == ' ';
        let end = after.find(|letter| !is_of_label(letter));
        let (label, behind) = after.split_at(end.unwrap_or(after.len()));
        match behind.strip_prefix(DASHES) {
            Some(behind) if !label.is_empty() => return Some((label, behind)),
            _ => rest = behind,
        }
    }
}

fn is_base64(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

const DASHES: &str = "-----";
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 24 * 1024;

    fn base64() -> String {
        "MIIB".repeat(40) + "AA=="
    }

    fn wrapped() -> String {
        let whole = base64();
        let (mut out, mut rest) = (String::new(), whole.as_str());
        while let Some((line, more)) = rest.split_at_checked(64) {
            out = out + line + "\n";
            rest = more;
        }
        out + rest
    }

    fn armoured(body: &str, label: &str) -> String {
        format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
    }

    fn pem() -> String {
        armoured(&wrapped(), "CERTIFICATE")
    }

    #[test]
    fn one_certificate_is_found_in_whatever_it_was_pasted() {
        for text in [
            base64(),
            format!(" \t{}\n\n", wrapped().replace('\n', "\r\n")),
            pem(),
            pem().replace('\n', "\r\n"),
            pem().replace('\n', " "),
            armoured(&wrapped(), "X509 CERTIFICATE"),
            format!(
                "Certificate:\n    Data: = = +\n{}subject=CN=-----hamlet-----\n",
                pem()
            ),
            armoured("AAAA", "EC PARAMETERS") + &pem() + &armoured("AAAA", "PUBLIC KEY"),
            format!("-----BEGIN -----BEGIN nonsense\n{}", pem()),
        ] {
            assert_eq!(certificate_in(&text, MAX), Ok(base64()), "{text}");
        }
    }

    #[test]
    fn what_is_not_one_certificate_is_refused_with_a_reason() {
        for (text, reason) in [
            (String::new(), NotOne::Nothing),
            (" \n\t".to_owned(), NotOne::Nothing),
            ("to be, or not to be".to_owned(), NotOne::Nothing),
            ("to = be, or not = to be".to_owned(), NotOne::Nothing),
            ("==".to_owned(), NotOne::Nothing),
            (pem() + &pem(), NotOne::Several),
            (
                "-----BEGIN CERTIFICATE-----\nMIIB\n".to_owned() + &pem(),
                NotOne::Nothing,
            ),
            (wrapped() + "\n" + &wrapped(), NotOne::Several),
            (
                "-----BEGIN CERTIFICATE-----\n".to_owned() + &wrapped(),
                NotOne::WithoutEnd,
            ),
            (armoured(&wrapped(), "CERTIFICATE REQUEST"), NotOne::Nothing),
            (armoured("", "CERTIFICATE"), NotOne::Nothing),
            (
                " \u{feff}".to_owned() + &wrapped(),
                NotOne::Marked {
                    mark: ByteOrderMark::Utf8,
                },
            ),
            ("A".repeat(MAX + 1), NotOne::TooLong { max_kib: 24 }),
            (
                armoured(&"A".repeat(MAX + 4), "CERTIFICATE"),
                NotOne::TooLong { max_kib: 24 },
            ),
            ("MII\0B\u{ff}".to_owned(), NotOne::Nothing),
            (armoured(&wrapped(), "PRIVATE KEY"), NotOne::PrivateKey),
            (
                pem() + &armoured(&wrapped(), "ENCRYPTED PRIVATE KEY"),
                NotOne::PrivateKey,
            ),
            (
                armoured(&wrapped(), "EC PRIVATE KEY") + &pem(),
                NotOne::PrivateKey,
            ),
        ] {
            assert_eq!(certificate_in(&text, MAX), Err(reason), "{text}");
        }
    }
}
