//! saslcertd.
