//! The files that `saslcertd_ca_file` and `saslcertd_crl_file` name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::policy::chain::{Authorities, RevocationLists, hides_section};

fuzz_target!(|pem: &[u8]| {
    let taken = [
        Authorities::from_pem(pem).map(|_| ()),
        RevocationLists::from_pem(pem).map(|_| ()),
    ];
    // A section that readers pass over makes the whole file unusable.
    assert!(!hides_section(pem) || taken.iter().all(Result::is_err));
});
