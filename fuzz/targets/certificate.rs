//! A client's certificate: what is accepted names only prepared addresses, and is the same when it is read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::identity::{ClientCert, Jid};

fuzz_target!(|der: &[u8]| {
    let Ok(cert) = ClientCert::from_der(der) else {
        return;
    };
    for address in &cert.addresses {
        assert_eq!(Jid::parse(&address.to_string()).as_ref(), Ok(address));
    }
    let again = ClientCert::from_der(der).expect("it was accepted before");
    assert_eq!(again.fingerprint, cert.fingerprint);
    assert_eq!(again.key_id, cert.key_id);
});
