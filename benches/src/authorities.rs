//! The cost of a decision when an authority must vouch for the certificate: over one between, without and
//! with revocation lists of both.

use std::path::Path;

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    BasicConstraints, Certificate, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber,
};
use serde_json::{Value, json};

use crate::accounts::{Accounts, Dice, HELLO, params_for};
use crate::effort::Effort;
use crate::figures::{Figures, Measure, Unit};
use crate::load;
use crate::socket::{ALONE, Filled, LOGIN};

/// Against decisions about enrolled certificates of `accounts`, by the same daemon.
pub(crate) fn measure(
    filled: Filled<'_>,
    accounts: &Accounts,
    folder: &Path,
    effort: Effort,
    figures: &mut Figures,
) -> Result<()> {
    let (ca_file, crl_file) = (folder.join("ca.pem"), folder.join("crl.pem"));
    let chain = issue(&ca_file, &crl_file)?;
    let login = json!({
        "host": HOST, "chain": chain, "authzid": null, "stream_from": null, "address": "192.0.2.7",
        "accounts": [{"username": "hamlet", "exists": true, "enabled": true, "incarnation": "one"}],
    });
    let login = question("external.login", &login);
    let socket = &filled.daemon.socket;
    let mut dice = Dice(4);
    for _ in 0..effort.rounds() {
        let alone = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": ca_file});
        let listed = json!({"saslcertd_trust": "ca", "saslcertd_ca_file": ca_file, "saslcertd_crl_file": crl_file});
        for (what, options) in [("", alone), (", with revocation lists", listed)] {
            let hosts = json!([{"host": HOST, "accounts": "prosody", "options": options}]);
            let hello = json!({"protocol": 2, "software": "bench", "hosts": hosts});
            load::ask(socket, HELLO, &question("session.hello", &hello))?;
            let count = effort.questions();
            let enrolled = accounts.logins(&mut dice, filled.accounts, count)?;
            let enrolled = load::run(socket, LOGIN, ALONE, enrolled, effort.run())?;
            let vouched = vec![login.clone().into_bytes()];
            let vouched = load::run(socket, LOGIN, ALONE, vouched, effort.run())?;
            let what =
                format!("a decision's p50 by an authority over one's by enrolment{what}, 1×1");
            let (vouched, enrolled) = (vouched.quantile(0.5), enrolled.quantile(0.5));
            let ratio = vouched.as_secs_f64() / enrolled.as_secs_f64();
            figures.add(Measure::new(PART, Unit::Ratio, what), ratio);
        }
    }
    Ok(())
}

/// The text behind a question's id.
fn question(method: &str, params: &Value) -> String {
    format!(",\"method\":\"{method}\",\"params\":{params}}}\n")
}

/// Writes a root and the revocation lists, and returns the chain of a client's certificate, in base64.
fn issue(ca_file: &Path, crl_file: &Path) -> Result<[String; 2]> {
    let (root, root_issuer) = authority("Denmark Root", None)?;
    let (between, issuer) = authority("Elsinore", Some(&root_issuer))?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let leaf = params_for("hamlet@denmark.lit", 0)?.signed_by(&key, &issuer)?;
    std::fs::write(ca_file, root.pem())?;
    std::fs::write(crl_file, list_of(&root_issuer)? + &list_of(&issuer)?)?;
    Ok([leaf.der(), between.der()].map(|der| BASE64.encode(der)))
}

/// By the one above, or by itself.
fn authority(
    name: &str,
    above: Option<&Issuer<'_, KeyPair>>,
) -> Result<(Certificate, Issuer<'static, KeyPair>)> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = params_for(name, 0)?;
    params.subject_alt_names.clear();
    params.extended_key_usages.clear();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = match above {
        Some(above) => params.signed_by(&key, above)?,
        None => params.self_signed(&key)?,
    };
    Ok((certificate, Issuer::new(params, key)))
}

/// A list in PEM that revokes nothing.
fn list_of(issuer: &Issuer<'_, KeyPair>) -> Result<String> {
    let params = CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2026, 1, 1),
        next_update: rcgen::date_time_ymd(2096, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(params.signed_by(issuer)?.pem()?)
}

const HOST: &str = "denmark.lit";

const PART: &str = "By an authority";
