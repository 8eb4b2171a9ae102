//! The files that `saslcertd_ca_file` and `saslcertd_crl_file` name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::policy::chain::{Authorities, RevocationLists};

fuzz_target!(|pem: &[u8]| {
    let begins = |section: &[u8]| {
        pem.windows(section.len())
            .filter(|part| *part == section)
            .count()
    };
    // Nothing of a file is passed over: all of it is taken, or none.
    if let Ok(authorities) = Authorities::from_pem(pem) {
        let sections = begins(b"-----BEGIN CERTIFICATE-----");
        assert_eq!(authorities.about().len(), sections);
    }
    if let Ok(lists) = RevocationLists::from_pem(pem) {
        // Each is told, as long as nobody says whose they are.
        assert_eq!(lists.about(None).len(), begins(b"-----BEGIN X509 CRL-----"));
    }
});
