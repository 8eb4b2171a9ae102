//! Accounts with one certificate each, and the questions about them. Each account has a key of its own, as devices have.
//!
//! ECDSA signatures are random, so a certificate is kept from when it is enrolled until it is presented: in a file, as 1,000,000 of
//! them need not be in memory.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use saslcertd::identity::Fingerprint;

/// The host that all of them are on.
pub(crate) const HOST: &str = "perf.lit";

/// A hello that declares that host, for questions that a server asks.
pub(crate) const HELLO: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"session.hello","params":{"protocol":2,"software":"bench","#,
    r#""waits_ms":2000,"hosts":[{"host":"perf.lit","accounts":"prosody","options":{}}]}}"#,
    "\n"
);

/// Accounts `u0` to `u{count - 1}`.
pub(crate) struct Accounts {
    certificates: File,
    /// Where in the file each begins, and where the last ends.
    starts: Vec<u64>,
}

impl Accounts {
    pub(crate) fn new(folder: &Path) -> Result<Accounts> {
        let certificates = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(folder.join("certificates"))?;
        Ok(Accounts {
            certificates,
            starts: vec![0],
        })
    }

    pub(crate) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// Makes certificates until there are `count`.
    pub(crate) fn extend_to(&mut self, count: usize) -> Result<()> {
        let mut end = self.starts.last().copied().unwrap_or_default();
        let threads = std::thread::available_parallelism()?.get();
        let mut out = BufWriter::new(&self.certificates);
        for first in (self.count()..count).step_by(BLOCK * threads) {
            let made = std::thread::scope(|scope| {
                let blocks: Vec<_> = (0..threads)
                    .map(|thread| first + thread * BLOCK)
                    .map(|from| from.min(count)..(from + BLOCK).min(count))
                    .map(|block| scope.spawn(|| block.map(certificate_of).collect()))
                    .collect();
                let joined = blocks.into_iter().map(std::thread::ScopedJoinHandle::join);
                joined.collect::<Vec<std::thread::Result<Result<Vec<String>>>>>()
            });
            for block in made {
                for certificate in block.map_err(|_| anyhow::anyhow!("rcgen panicked"))?? {
                    out.write_all(certificate.as_bytes())?;
                    end += certificate.len() as u64;
                    self.starts.push(end);
                }
            }
        }
        out.flush()?;
        Ok(())
    }

    /// The certificate of account `number`, in base64.
    pub(crate) fn certificate(&self, number: usize) -> Result<String> {
        let (Some(start), Some(end)) = (self.starts.get(number), self.starts.get(number + 1))
        else {
            anyhow::bail!("account {number} has no certificate yet");
        };
        let mut bytes = vec![0; usize::try_from(end - start)?];
        self.certificates.read_exact_at(&mut bytes, *start)?;
        Ok(String::from_utf8(bytes)?)
    }

    /// The enrolments of these accounts.
    pub(crate) fn appends(&self, accounts: Range<usize>) -> Result<Vec<Vec<u8>>> {
        let append = |number| {
            let certificate = self.certificate(number)?;
            Ok(format!(
                r#","method":"certificate.append","params":{{"account":"u{number}@{HOST}","incarnation":"one","session":{{"secure":true,"by":"password","jid":"u{number}@{HOST}/bench","address":null}},"name":"phone","certificate":"{certificate}","may_manage":true}}}}{}"#,
                '\n'
            ).into_bytes())
        };
        accounts.map(append).collect()
    }

    /// The revocations of what `appends` has enrolled.
    pub(crate) fn revocations(accounts: Range<usize>) -> Vec<Vec<u8>> {
        let revoke = |number| {
            format!(
                r#","method":"certificate.revoke","params":{{"account":"u{number}@{HOST}","incarnation":"one","session":{{"secure":true,"by":"password","jid":"u{number}@{HOST}/bench","address":null}},"name":"phone"}}}}{}"#,
                '\n'
            ).into_bytes()
        };
        accounts.map(revoke).collect()
    }

    /// Logins as Prosody asks for them, and the offers that must be made before: a login names the chain of its offer. The
    /// certificates are drawn at random from those of the first `among` accounts.
    pub(crate) fn offered(&self, dice: &mut Dice, among: usize, count: usize) -> Result<Offered> {
        let mut offered = Offered::default();
        for _ in 0..count {
            let number = dice.below(among);
            let certificate = self.certificate(number)?;
            let name = Fingerprint::of(&BASE64.decode(&certificate)?);
            offered.offers.push(offer(&certificate));
            offered.logins.push(login(&format!("\"{name}\""), number));
        }
        Ok(offered)
    }

    /// Logins that bring their chains, with certificates that are drawn in the same way.
    pub(crate) fn logins(
        &self,
        dice: &mut Dice,
        among: usize,
        count: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let of = |number| {
            let certificate = self.certificate(number)?;
            Ok(login(&format!("[\"{certificate}\"]"), number))
        };
        (0..count).map(|_| of(dice.below(among))).collect()
    }

    /// Offers, drawn in the same way.
    pub(crate) fn offers(
        &self,
        dice: &mut Dice,
        among: usize,
        count: usize,
    ) -> Result<Vec<Vec<u8>>> {
        let of = |number| Ok(offer(&self.certificate(number)?));
        (0..count).map(|_| of(dice.below(among))).collect()
    }
}

/// Questions that belong together, in the same order.
#[derive(Default)]
pub(crate) struct Offered {
    pub(crate) offers: Vec<Vec<u8>>,
    pub(crate) logins: Vec<Vec<u8>>,
}

fn offer(certificate: &str) -> Vec<u8> {
    let params = format!(r#"{{"host":"{HOST}","chain":["{certificate}"]}}"#);
    format!(",\"method\":\"external.offer\",\"params\":{params}}}\n").into_bytes()
}

/// `chain`: a chain, or the name of one, as JSON.
fn login(chain: &str, number: usize) -> Vec<u8> {
    let accounts =
        format!(r#"[{{"username":"u{number}","exists":true,"enabled":true,"incarnation":"one"}}]"#);
    let params = format!(
        r#"{{"host":"{HOST}","chain":{chain},"authzid":null,"stream_from":null,"address":"192.0.2.7","accounts":{accounts}}}"#
    );
    format!(",\"method\":\"external.login\",\"params\":{params}}}\n").into_bytes()
}

/// Redis' GETs of keys that are drawn at random from the first `among`.
pub(crate) fn redis_gets(dice: &mut Dice, among: usize, count: usize) -> Vec<Vec<u8>> {
    let get = |number| {
        let key = redis_key(number);
        format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()).into_bytes()
    };
    (0..count).map(|_| get(dice.below(among))).collect()
}

/// The requests that store a value of 300 bytes for each of `keys` in redis.
pub(crate) fn redis_sets(keys: Range<usize>) -> String {
    let value = "x".repeat(300);
    keys.fold(String::new(), |mut sets, number| {
        let key = redis_key(number);
        let length = key.len();
        // Writing to a string does not fail.
        let _ = write!(
            sets,
            "*3\r\n$3\r\nSET\r\n${length}\r\n{key}\r\n$300\r\n{value}\r\n"
        );
        sets
    })
}

fn redis_key(number: usize) -> String {
    format!("key:{number:012}")
}

fn certificate_of(number: usize) -> Result<String> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = params_for(&format!("u{number}@{HOST}"), number)?.self_signed(&key)?;
    Ok(BASE64.encode(certificate.der()))
}

/// A client certificate as `saslcertd enroll` makes one.
pub(crate) fn params_for(jid: &str, number: usize) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, jid);
    let serial = u64::try_from(number)?.checked_add(1).context("serial")?;
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2096, 1, 1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    // id-on-xmppAddr (RFC 6120 13.7.1.4).
    let address = (vec![1, 3, 6, 1, 5, 5, 7, 8, 5], jid.into());
    params.subject_alt_names = vec![SanType::OtherName(address)];
    Ok(params)
}

/// Random numbers, the same in each run of the bench (`SplitMix64`, Steele et al. 2014).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // The remainder is below `end`, which is a usize.
        #[allow(clippy::cast_possible_truncation)]
        let below = ((mixed ^ (mixed >> 31)) % end as u64) as usize;
        below
    }
}

/// How many certificates a thread makes at a time.
const BLOCK: usize = 500;
