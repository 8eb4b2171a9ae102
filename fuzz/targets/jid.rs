//! An address: what is prepared stays as it is when it is prepared again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use saslcertd::identity::Jid;

fuzz_target!(|text: &str| {
    if let Ok(jid) = Jid::parse(text) {
        assert_eq!(Jid::parse(&jid.to_string()), Ok(jid));
    }
});
