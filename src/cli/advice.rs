//! The usual causes of a failed login, and the remedies.
//!
//! Must not know: how anything is done or printed; here are only words.

use crate::client::connect::StartTlsError;
use crate::client::login::LoginError;
use crate::client::resolve::{ResolveError, Security};
use crate::client::sasl::SaslError;
use crate::client::tls::TlsError;

/// The kind of proof that a login uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Certificate,
    Password,
}

/// The server's behaviour towards client certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CertificateQuestion {
    Never,
    NotAnswered,
    Answered,
}

/// The usual cause of `error`, and the remedy.
pub(super) fn advice(
    error: &LoginError,
    credential: Kind,
    asked: CertificateQuestion,
    security: Security,
    domain: &str,
) -> Option<String> {
    let advice = match error {
        LoginError::Resolve(
            ResolveError::NoAddress { .. }
            | ResolveError::Lookup { .. }
            | ResolveError::NoService { .. }
            | ResolveError::Overdue(_),
        ) => "If the server listens elsewhere, say where with --server HOST:PORT.".to_owned(),
        LoginError::Connect(_) => "Nothing answers there. See that the server runs and listens on that address and port, and \
             that no firewall is in between."
            .to_owned(),
        LoginError::Sasl(SaslError::NotOffered { .. }) => {
            let advice = not_offered(credential, asked);
            match asked {
                CertificateQuestion::Answered => {
                    format!("{advice} `saslcertd login --force` shows whether it is the daemon: temporary-auth-failure.")
                }
                CertificateQuestion::Never | CertificateQuestion::NotAnswered => advice.to_owned(),
            }
        }
        LoginError::StartTls(StartTlsError::NotOffered) => {
            "Without TLS nobody logs in. Prosody offers STARTTLS once mod_tls is loaded and the host has a \
             certificate; a port for direct TLS needs --direct-tls."
                .to_owned()
        }
        LoginError::StartTls(_) if error.refusal().is_none() => {
            "Something else than an XMPP server with STARTTLS may listen there. If the port is for direct TLS, add \
             --direct-tls."
                .to_owned()
        }
        LoginError::Tls(TlsError::Handshake { .. }) if !error.is_refusal() => {
            handshake(error.tls(), security, domain)?
        }
        _ if error.is_refusal() && error.tls().is_some() => {
            "The server refused the client certificate within TLS, before XMPP began: it checks certificates against \
             authorities itself. With \"saslcertd\" in modules_enabled Prosody leaves that to the daemon."
                .to_owned()
        }
        _ => refused(&error.refusal()?.condition, credential, asked, domain)?,
    };
    Some(advice)
}

fn not_offered(credential: Kind, asked: CertificateQuestion) -> &'static str {
    match (credential, asked) {
        (Kind::Password, _) => {
            "The server offers no kind of password login that this client can do: SCRAM-SHA-256, SCRAM-SHA-1, or PLAIN \
             where the server's certificate was verified."
        }
        (Kind::Certificate, CertificateQuestion::Never) => {
            "The server didn't ask for a client certificate, so it can't offer EXTERNAL. Usually \"saslcertd\" is missing \
             from modules_enabled of this host, or something in front of Prosody ends TLS itself."
        }
        (Kind::Certificate, CertificateQuestion::NotAnswered) => {
            "The server asked for a client certificate, but takes none of the signatures that this key can make. Make a \
             new pair with `saslcertd enroll`."
        }
        (Kind::Certificate, CertificateQuestion::Answered) => {
            "The server saw the certificate and offers no EXTERNAL for it. Usually it isn't enrolled for this account, \
             is expired, disabled or revoked, or names another address; or Prosody runs without \"saslcertd\", or can't \
             reach its daemon. The server doesn't tell strangers which: its admin sees the reason in the daemon's log."
        }
    }
}

fn handshake(cause: Option<&rustls::Error>, security: Security, domain: &str) -> Option<String> {
    use rustls::{AlertDescription as Alert, CertificateError};

    let advice = match (cause, security) {
        (Some(rustls::Error::InvalidCertificate(certificate)), _) => match certificate {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                format!("The server's certificate must be for {domain}, also when --server names another host.")
            }
            CertificateError::UnknownIssuer => {
                "No authority that we trust signed the server's certificate. If it is your own authority, name its \
                 file with --ca-file; to look only, --insecure."
                    .to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "The server's certificate has expired; its admin must renew it.".to_owned()
            }
            _ => return None,
        },
        (Some(rustls::Error::InvalidMessage(_)), Security::DirectTls) => {
            "Something else than TLS answered. If the port is for STARTTLS, leave --direct-tls out.".to_owned()
        }
        (Some(rustls::Error::AlertReceived(Alert::NoApplicationProtocol)), _) => {
            "TLS works there, but not for XMPP (ALPN xmpp-client).".to_owned()
        }
        (None, _) => {
            "The server ended the connection within the TLS handshake. Usually it has no certificate for this host; its \
             log says why."
                .to_owned()
        }
        _ => return None,
    };
    Some(advice)
}

fn refused(
    condition: &str,
    credential: Kind,
    asked: CertificateQuestion,
    domain: &str,
) -> Option<String> {
    let advice = match (condition, credential) {
        ("not-authorized", Kind::Password) => "The password is wrong, or there is no such account.",
        ("not-authorized", Kind::Certificate) => {
            "Usually the certificate isn't enrolled for this account, or was disabled or revoked. The server doesn't \
             tell strangers which: its admin sees the reason in the daemon's log."
        }
        ("credentials-expired", Kind::Password) => "The server wants the password changed first.",
        ("credentials-expired", Kind::Certificate) => {
            "The certificate is expired or not valid yet: make a new one with `saslcertd enroll`, or look at the clock."
        }
        ("invalid-authzid", _) => {
            "The certificate doesn't name the address asked for; or it names several of this host and --authzid must say \
             which."
        }
        ("account-disabled", _) => {
            "The account is disabled; only the server's admin can enable it."
        }
        ("temporary-auth-failure", _) => {
            "The server couldn't find out. Usually the daemon saslcertd isn't running, or Prosody can't reach its \
             socket: `saslcertd status` on the server shows it. Try again later."
        }
        ("invalid-mechanism", _) => not_offered(credential, asked),
        ("encryption-required" | "mechanism-too-weak", _) => {
            "The server wants a better protected login than this one."
        }
        ("host-unknown", _) => {
            return Some(format!(
                "The server at that address doesn't serve {domain}."
            ));
        }
        _ => return None,
    };
    Some(advice.to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::client::stream::Refusal;

    fn not_offered() -> LoginError {
        LoginError::Sasl(SaslError::NotOffered {
            offered: vec!["SCRAM-SHA-1".to_owned()],
        })
    }

    fn refusal(condition: &str) -> LoginError {
        LoginError::Sasl(SaslError::Refused(Refusal {
            condition: condition.to_owned(),
            text: None,
        }))
    }

    fn certificate_advice(error: &LoginError, asked: CertificateQuestion) -> String {
        advice(
            error,
            Kind::Certificate,
            asked,
            Security::StartTls,
            "shakespeare.lit",
        )
        .unwrap()
    }

    #[test]
    fn a_missing_external_is_explained_by_what_tls_saw() {
        let cases = [
            (CertificateQuestion::Never, "modules_enabled"),
            (CertificateQuestion::NotAnswered, "signatures"),
            (CertificateQuestion::Answered, "isn't enrolled"),
        ];
        for (asked, expected) in cases {
            assert!(
                certificate_advice(&not_offered(), asked).contains(expected),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn each_condition_that_the_daemon_can_cause_has_advice() {
        let cases = [
            ("not-authorized", "enrolled"),
            ("credentials-expired", "expired"),
            ("invalid-authzid", "--authzid"),
            ("account-disabled", "disabled"),
            ("temporary-auth-failure", "daemon"),
            ("invalid-mechanism", "offers no EXTERNAL"),
        ];
        for (condition, expected) in cases {
            assert!(
                certificate_advice(&refusal(condition), CertificateQuestion::Answered)
                    .contains(expected),
                "{condition}"
            );
        }
    }
}
