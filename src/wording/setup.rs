//! The lines of Prosody's log about the options of a server and its hosts.
//!
//! Must not know: what options there are.

use std::fmt::Display;

use crate::policy::page::Obstacle;

/// The problems with the options of a host, and their consequence; none if there is no problem.
///
/// `lives_here`: its accounts live in the daemon. `errors`: without any the host is ready.
#[must_use]
pub fn errors_of_host(host: &str, lives_here: bool, errors: &[String]) -> Option<String> {
    if errors.is_empty() {
        return None;
    }
    let how = if lives_here {
        ""
    } else {
        " with a certificate"
    };
    let errors = errors.join("; ");
    Some(format!("Nobody can log in{how} on {host}: {errors}"))
}

/// A host whose name is none.
#[must_use]
pub fn no_such_name(why: &impl Display) -> String {
    format!("saslcertd takes no such name for a host: {why}")
}

/// A host that somebody attaches to, and nobody has declared.
pub const UNDECLARED: &str = "it is not declared; declare it with its options";

/// A host of whose declaration a field is wrong.
#[must_use]
pub fn unreadable(problem: &str) -> String {
    format!("its declaration cannot be read: {problem}")
}

/// A file of authorities that can't be used.
#[must_use]
pub fn unusable_authorities(problem: &impl Display) -> String {
    format!("{problem}. Until it is mended, no authority's certificate is accepted")
}

/// A page for devices with which nobody can manage certificates.
#[must_use]
pub fn useless_page(page: &str, obstacle: Obstacle) -> String {
    match obstacle {
        Obstacle::NotHttps => format!(
            "{page} is not https: browsers make no keys there, and certificates can't be managed. Let Prosody listen on https_ports, or set \
             http_external_url to the https address of a proxy"
        ),
        Obstacle::NotAscii => format!(
            "Nobody can open {page}: browsers ask for the name in its xn-- form, under which Prosody does not know the host. Say http_host = \
             \"xn--…\" below its VirtualHost, and write http_external_url, if there is one, in that form, too"
        ),
        Obstacle::NoTrustedProxy {
            is_local,
            may_come_by_https,
        } => {
            let missing = if is_local {
                "Prosody listens for plain http on this machine only, and trusted_proxies has no address of this machine (127.0.0.1, ::1)"
            } else {
                "trusted_proxies is empty"
            };
            let mend = "Add the address from which the proxy connects to trusted_proxies";
            unbelieved(page, may_come_by_https, missing, mend)
        }
        Obstacle::NoForwarding { may_come_by_https } => unbelieved(
            page,
            may_come_by_https,
            "http_legacy_x_forwarded is off",
            "Switch it on",
        ),
    }
}

fn unbelieved(page: &str, may_come_by_https: bool, missing: &str, mend: &str) -> String {
    let unless = if may_come_by_https {
        ", unless the proxy connects to one of https_ports"
    } else {
        ""
    };
    format!(
        "At {page} nobody can manage certificates{unless}: it is behind a proxy, as http_external_url says, and Prosody will not believe the \
         proxy that connections over plain http are secure, since {missing}. {mend}"
    )
}

/// Of many remarks about one host some are listed, and this says that there are others.
#[must_use]
pub fn and_more(count: usize) -> String {
    format!("and {count} more")
}

/// Several remarks as one line; none if there are none.
#[must_use]
pub fn together(remarks: &[String]) -> Option<String> {
    (!remarks.is_empty()).then(|| remarks.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_not_ready_has_no_logins() {
        let errors = ["a".to_owned(), "b".to_owned()];
        for (lives_here, wanted) in [
            (true, "Nobody can log in on a.lit: a; b"),
            (false, "Nobody can log in with a certificate on a.lit: a; b"),
        ] {
            let found = errors_of_host("a.lit", lives_here, &errors);
            assert_eq!(found.as_deref(), Some(wanted));
        }
        assert_eq!(errors_of_host("a.lit", true, &[]), None);
    }
}
