//! The content that an issuer has signed, as far as path validation needs it: a certificate's extensions, and the bytes that its
//! signature covers.
//!
//! Must not know: whom anybody trusts, what time it is.

use sha2::{Digest, Sha256};
use time::{Date, Month, PrimitiveDateTime, Time};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::name::{GeneralName, Name, emails_in};
use super::strict_der;
use super::time::UnixSeconds;
use super::tlv::{
    self, BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING,
    SEQUENCE, UTC_TIME, Value, Values,
};
use super::visible::visible;

/// The signed bytes, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The bytes that the signature covers.
    pub content: Vec<u8>,
    /// The content of the `AlgorithmIdentifier`.
    pub algorithm: Vec<u8>,
    /// The signature itself.
    pub signature: Vec<u8>,
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PublicKey {
    /// The SubjectPublicKeyInfo, DER.
    pub info: Vec<u8>,
    /// The content of its `AlgorithmIdentifier`.
    pub algorithm: Vec<u8>,
    /// The key itself.
    pub bits: Vec<u8>,
    /// SHA-256 of `info`.
    pub id: [u8; 32],
}

impl PublicKey {
    /// The key in a SubjectPublicKeyInfo; `None` if it is none.
    #[must_use]
    pub fn from_der(info: &[u8]) -> Option<Self> {
        let mut parts = tlv::only(info)?.values(SEQUENCE)?;
        let (algorithm, bits) = (parts.take()?, parts.take()?);
        let bits = bits.of(BIT_STRING)?.strip_prefix(&[0])?;
        parts.is_finished().then_some(())?;
        Some(Self {
            info: info.to_vec(),
            algorithm: algorithm.of(SEQUENCE)?.to_vec(),
            bits: bits.to_vec(),
            id: Sha256::digest(info).into(),
        })
    }
}

/// Which policy: an object identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyId(Vec<u8>);

impl PolicyId {
    /// The policy with these bytes as the content of its identifier.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }

    /// The one that stands for all, 2.5.29.32.0.
    #[must_use]
    pub fn any() -> Self {
        Self(vec![0x55, 0x1d, 0x20, 0x00])
    }
}

/// Where the list of a certificate is to be found, and of which reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionPoint {
    /// Its names; none: whatever list its issuer has.
    pub names: Option<Vec<GeneralName>>,
    /// Which reasons its list is about.
    pub reasons: Reasons,
    /// Another than the issuer makes the list.
    pub is_indirect: bool,
}

/// A set of reasons for a revocation, as the bits of `ReasonFlags`, most significant first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reasons(pub u16);

impl Reasons {
    /// All of them: keyCompromise to aACompromise.
    pub const ALL: Self = Self(0x7f80);

    pub(super) fn from_bits(content: &[u8]) -> Option<Self> {
        Some(Self(tlv::bits(content)? & Self::ALL.0))
    }
}

/// The parts of a certificate that the validation of a path needs.
#[allow(clippy::struct_excessive_bools)] // Each is an answer of its own in the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The part that its issuer has signed.
    pub signed: Signed,
    /// The issuer's name.
    pub issuer: Name,
    /// Its number there, as it is encoded.
    pub serial: Vec<u8>,
    /// The subject's name.
    pub subject: Name,
    /// The same, for people.
    pub subject_shown: String,
    /// Its key.
    pub key: PublicKey,
    /// First second of its validity.
    pub not_before: UnixSeconds,
    /// Last second of its validity.
    pub not_after: UnixSeconds,
    /// The first critical extension that nobody here understands.
    pub not_understood: Option<String>,
    /// basicConstraints CA:TRUE.
    pub is_authority: bool,
    /// How many authorities that others issued may stand below it; `None`: any number.
    pub max_below: Option<u32>,
    /// keyCertSign, or no key usage at all.
    pub may_sign_certificates: bool,
    /// cRLSign, or no key usage at all.
    pub may_sign_lists: bool,
    /// Does its keyUsage say so? Without one it may, which says nothing of who is no authority.
    pub is_list_signer: bool,
    /// Its extended key usage does not leave clients out.
    pub is_for_clients: bool,
    /// Under which policies it was issued; `None`: nothing is said.
    pub policies: Option<Vec<PolicyId>>,
    /// Which of its issuer's policies are which of its own.
    pub mappings: Vec<(PolicyId, PolicyId)>,
    /// After how many certificates a policy is demanded.
    pub require_policy: Option<u32>,
    /// After how many certificates mappings no longer count.
    pub inhibit_mapping: Option<u32>,
    /// After how many certificates the policy that stands for all no longer counts.
    pub inhibit_any: Option<u32>,
    /// Trees outside of which it may name nobody; none for a form of names: anybody.
    pub permitted: Vec<GeneralName>,
    /// Trees in which it may name nobody.
    pub excluded: Vec<GeneralName>,
    /// Its alternative names.
    pub names: Vec<GeneralName>,
    /// Addresses of e-mail in its subject.
    pub emails: Vec<String>,
    /// Where lists of its issuer are.
    pub points: Vec<DistributionPoint>,
}

impl Issued {
    /// The certificate in `der`; `None` if it is none that can be read.
    ///
    /// Source: RFC 5280 4.
    #[must_use]
    pub fn from_der(der: &[u8]) -> Option<Self> {
        strict_der::check_certificate(der).ok()?;
        // Two readers must take it, so that neither sees what the other does not.
        let Ok(([], _)) = X509Certificate::from_der(der) else {
            return None;
        };
        let (content, signed) = signed_in(der)?;
        let mut parts = content.values(SEQUENCE)?;
        let version = match parts.take_if(0xa0) {
            None => 0,
            Some(version) => tlv::only(version.content)?.small(INTEGER)?,
        };
        let serial = parts.take()?.of(INTEGER)?.to_vec();
        let inner = parts.take()?;
        if inner.of(SEQUENCE)? != signed.algorithm {
            return None;
        }
        let issuer = Name::from_der(parts.take()?.whole)?;
        let mut validity = parts.take()?.values(SEQUENCE)?;
        let (not_before, not_after) = (seconds(&validity.take()?)?, seconds(&validity.take()?)?);
        let subject = parts.take()?;
        let key = PublicKey::from_der(parts.take()?.whole)?;
        // Unique identifiers of version 2.
        parts.take_if(0x81);
        parts.take_if(0x82);
        let extensions = parts.take_if(0xa3);
        if !parts.is_finished() || (version != 2 && extensions.is_some()) {
            return None;
        }
        let mut cert = Self {
            signed,
            issuer,
            serial,
            subject: Name::from_der(subject.whole)?,
            subject_shown: shown(subject.whole),
            key,
            not_before,
            not_after,
            not_understood: None,
            is_authority: false,
            max_below: None,
            may_sign_certificates: true,
            may_sign_lists: true,
            is_list_signer: false,
            is_for_clients: true,
            policies: None,
            mappings: Vec::new(),
            require_policy: None,
            inhibit_mapping: None,
            inhibit_any: None,
            permitted: Vec::new(),
            excluded: Vec::new(),
            names: Vec::new(),
            emails: emails_in(subject.whole),
            points: Vec::new(),
        };
        if let Some(extensions) = extensions {
            for extension in extensions_in(extensions.content).ok()? {
                cert.take(&extension)?;
            }
        }
        Some(cert)
    }

    /// Does it say that its subject has issued it?
    #[must_use]
    pub fn is_self_issued(&self) -> bool {
        self.issuer == self.subject
    }

    fn take(&mut self, extension: &Extension<'_>) -> Option<()> {
        let value = extension.value;
        let is_read = ![KEY_ID, AUTHORITY_KEY_ID, ISSUER_NAMES].contains(&extension.id);
        if is_read && extension.id.starts_with(ID_CE) {
            strict_der::check(value).ok()?;
        }
        match extension.id {
            BASIC_CONSTRAINTS => self.take_basic_constraints(value)?,
            KEY_USAGE => self.take_key_usage(value)?,
            EXTENDED_KEY_USAGE => self.take_extended_key_usage(value)?,
            POLICIES => self.take_policies(value)?,
            POLICY_MAPPINGS => self.take_policy_mappings(value)?,
            POLICY_CONSTRAINTS => self.take_policy_constraints(value)?,
            INHIBIT_ANY => self.inhibit_any = Some(tlv::only(value)?.small(INTEGER)?),
            NAME_CONSTRAINTS => self.take_name_constraints(value)?,
            ALTERNATIVE_NAMES => self.take_alternative_names(value)?,
            DISTRIBUTION_POINTS => self.take_distribution_points(value)?,
            // Says nothing about who may log in.
            KEY_ID | AUTHORITY_KEY_ID | ISSUER_NAMES => {}
            other if extension.is_critical => {
                self.not_understood.get_or_insert_with(|| dotted(other));
            }
            _ => {}
        }
        Some(())
    }

    fn take_basic_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut parts = tlv::only(value)?.values(SEQUENCE)?;
        self.is_authority = match parts.take_if(BOOLEAN) {
            None => false,
            Some(flag) => flag.content == [0xff],
        };
        self.max_below = match parts.take_if(INTEGER) {
            None => None,
            Some(number) => Some(number.small(INTEGER)?),
        };
        parts.is_finished().then_some(())
    }

    fn take_key_usage(&mut self, value: &[u8]) -> Option<()> {
        let bits = tlv::bits(tlv::only(value)?.of(BIT_STRING)?)?;
        self.may_sign_certificates = bits & 0x0400 != 0;
        self.may_sign_lists = bits & 0x0200 != 0;
        self.is_list_signer = self.may_sign_lists;
        Some(())
    }

    fn take_extended_key_usage(&mut self, value: &[u8]) -> Option<()> {
        let purposes = tlv::only(value)?.values(SEQUENCE)?.all()?;
        let is_client = |purpose: &Value<'_>| {
            purpose.tag == OBJECT_IDENTIFIER
                && [CLIENT_AUTH, ANY_PURPOSE].contains(&purpose.content)
        };
        self.is_for_clients = purposes.iter().any(is_client);
        Some(())
    }

    fn take_policies(&mut self, value: &[u8]) -> Option<()> {
        let mut policies = Vec::new();
        for policy in tlv::only(value)?.values(SEQUENCE)?.all()? {
            let id = policy.values(SEQUENCE)?.take()?.of(OBJECT_IDENTIFIER)?;
            policies.push(PolicyId::from_bytes(id));
        }
        within(policies.len())?;
        self.policies = Some(policies);
        Some(())
    }

    fn take_policy_mappings(&mut self, value: &[u8]) -> Option<()> {
        for pair in tlv::only(value)?.values(SEQUENCE)?.all()? {
            let mut pair = pair.values(SEQUENCE)?;
            let issuers = pair.take()?.of(OBJECT_IDENTIFIER)?;
            let subjects = pair.take()?.of(OBJECT_IDENTIFIER)?;
            let ids = (
                PolicyId::from_bytes(issuers),
                PolicyId::from_bytes(subjects),
            );
            self.mappings.push(ids);
        }
        within(self.mappings.len())
    }

    fn take_policy_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut parts = tlv::only(value)?.values(SEQUENCE)?;
        (self.require_policy, self.inhibit_mapping) =
            (number(&mut parts, 0x80)?, number(&mut parts, 0x81)?);
        parts.is_finished().then_some(())
    }

    fn take_name_constraints(&mut self, value: &[u8]) -> Option<()> {
        let mut parts = tlv::only(value)?.values(SEQUENCE)?;
        self.permitted = trees(parts.take_if(0xa0))?;
        self.excluded = trees(parts.take_if(0xa1))?;
        parts.is_finished().then_some(())
    }

    fn take_alternative_names(&mut self, value: &[u8]) -> Option<()> {
        let names = tlv::only(value)?.values(SEQUENCE)?.all()?;
        self.names = names
            .iter()
            .map(GeneralName::from_value)
            .collect::<Option<_>>()?;
        within(self.names.len())
    }

    fn take_distribution_points(&mut self, value: &[u8]) -> Option<()> {
        for point in tlv::only(value)?.values(SEQUENCE)?.all()? {
            self.points.push(point_in(&point, &self.issuer)?);
        }
        within(self.points.len())
    }
}

/// `names`, `reasons` and whether it is indirect.
fn point_in(point: &Value<'_>, issuer: &Name) -> Option<DistributionPoint> {
    let mut parts = point.values(SEQUENCE)?;
    let names = match parts.take_if(0xa0) {
        None => None,
        Some(name) => Some(point_names(&name, issuer)?),
    };
    let reasons = match parts.take_if(0x81) {
        None => Reasons::ALL,
        Some(bits) => Reasons::from_bits(bits.content)?,
    };
    let is_indirect = parts.take_if(0xa2).is_some();
    parts.is_finished().then_some(DistributionPoint {
        names,
        reasons,
        is_indirect,
    })
}

/// The names of a `DistributionPointName` in its tag `[0]`.
pub(super) fn point_names(tagged: &Value<'_>, issuer: &Name) -> Option<Vec<GeneralName>> {
    let name = tlv::only(tagged.content)?;
    match name.tag {
        0xa0 => {
            let names = tlv::values(name.content).all()?;
            names.iter().map(GeneralName::from_value).collect()
        }
        0xa1 => Some(vec![GeneralName::Directory(issuer.below(name.content)?)]),
        _ => None,
    }
}

fn trees(tagged: Option<Value<'_>>) -> Option<Vec<GeneralName>> {
    let Some(tagged) = tagged else {
        return Some(Vec::new());
    };
    let trees = tlv::values(tagged.content).all()?;
    within(trees.len())?;
    let tree = |tree: &Value<'_>| {
        let mut parts = tree.values(SEQUENCE)?;
        let base = GeneralName::from_value(&parts.take()?)?;
        // A minimum or a maximum: RFC 5280 has none.
        parts.is_finished().then_some(base)
    };
    trees.iter().map(tree).collect()
}

#[allow(clippy::option_option)] // Absent, or malformed.
fn number(parts: &mut Values<'_>, tag: u8) -> Option<Option<u32>> {
    match parts.take_if(tag) {
        None => Some(None),
        Some(value) => value.small(tag).map(Some),
    }
}

/// Bounds the parts of an extension: the work with it grows with their number.
fn within(count: usize) -> Option<()> {
    (count <= MAX_OF_A_KIND).then_some(())
}

/// An extension of a certificate or a list.
pub(super) struct Extension<'a> {
    pub(super) id: &'a [u8],
    pub(super) is_critical: bool,
    pub(super) value: &'a [u8],
}

/// Why extensions are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ExtensionsFault {
    /// They cannot be read, or one stands there twice.
    Malformed,
    /// More than `MAX_EXTENSIONS`.
    TooMany,
}

/// The extensions in their explicit tag. Their author is not known yet, and each is compared with all others.
pub(super) fn extensions_in(tagged: &[u8]) -> Result<Vec<Extension<'_>>, ExtensionsFault> {
    let malformed = ExtensionsFault::Malformed;
    let all = tlv::only(tagged).and_then(|all| all.values(SEQUENCE));
    let mut all = all.ok_or(malformed)?;
    let mut extensions: Vec<Extension<'_>> = Vec::new();
    while !all.is_finished() {
        if extensions.len() == MAX_EXTENSIONS {
            return Err(ExtensionsFault::TooMany);
        }
        let one = all.take().and_then(|one| extension_in(&one));
        let one = one.ok_or(malformed)?;
        if extensions.iter().any(|before| before.id == one.id) {
            return Err(malformed);
        }
        extensions.push(one);
    }
    Ok(extensions)
}

fn extension_in<'a>(value: &Value<'a>) -> Option<Extension<'a>> {
    let mut parts = value.values(SEQUENCE)?;
    let id = parts.take()?.of(OBJECT_IDENTIFIER)?;
    let is_critical = match parts.take_if(BOOLEAN) {
        None => false,
        Some(flag) => flag.content != [0],
    };
    let value = parts.take()?.of(OCTET_STRING)?;
    parts.is_finished().then_some(Extension {
        id,
        is_critical,
        value,
    })
}

/// The two parts of a certificate or a list: its content, and the content with its signature.
pub(super) fn signed_in(der: &[u8]) -> Option<(Value<'_>, Signed)> {
    let mut parts = tlv::only(der)?.values(SEQUENCE)?;
    let (content, algorithm, signature) = (parts.take()?, parts.take()?, parts.take()?);
    let signed = Signed {
        content: content.whole.to_vec(),
        algorithm: algorithm.of(SEQUENCE)?.to_vec(),
        signature: signature.of(BIT_STRING)?.strip_prefix(&[0])?.to_vec(),
    };
    parts.is_finished().then_some((content, signed))
}

/// A moment: with seconds, in UTC, as RFC 5280 4.1.2.5 wants it.
pub(super) fn seconds(value: &Value<'_>) -> Option<UnixSeconds> {
    let digits = value.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let two = |at: usize| {
        let tens = digits.get(at)? - b'0';
        Some(tens * 10 + (digits.get(at + 1)? - b'0'))
    };
    let (year, from) = match (value.tag, digits.len()) {
        (UTC_TIME, 12) => {
            let year = i32::from(two(0)?);
            (if year < 50 { 2000 + year } else { 1900 + year }, 2)
        }
        (GENERALIZED_TIME, 14) => (i32::from(two(0)?) * 100 + i32::from(two(2)?), 4),
        _ => return None,
    };
    let month = Month::try_from(two(from)?).ok()?;
    let day = Date::from_calendar_date(year, month, two(from + 2)?).ok()?;
    let time = Time::from_hms(two(from + 4)?, two(from + 6)?, two(from + 8)?).ok()?;
    let moment = PrimitiveDateTime::new(day, time).assume_utc();
    Some(UnixSeconds(moment.unix_timestamp()))
}

/// An object identifier for people.
#[must_use]
pub fn dotted(id: &[u8]) -> String {
    let mut numbers: Vec<u64> = Vec::new();
    let mut number = 0_u64;
    for byte in id.iter().take(64) {
        number = number
            .saturating_mul(128)
            .saturating_add(u64::from(byte & 0x7f));
        if byte & 0x80 == 0 {
            if numbers.is_empty() {
                let first = (number / 40).min(2);
                numbers.extend([first, number - first * 40]);
            } else {
                numbers.push(number);
            }
            number = 0;
        }
    }
    let texts: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    texts.join(".")
}

/// A name for people: not long.
pub(super) fn shown(name: &[u8]) -> String {
    let Ok((_, name)) = X509Name::from_der(name) else {
        return String::new();
    };
    let text: String = name.to_string().chars().take(MAX_SHOWN_CHARS).collect();
    visible(&text).into_owned()
}

const MAX_SHOWN_CHARS: usize = 200;
/// Most policies, mappings, trees, names and distribution points in one certificate.
const MAX_OF_A_KIND: usize = 128;
/// Most extensions of a certificate, of a list, and of what a list says of one certificate; RFC 5280 knows fewer than twenty.
pub(crate) const MAX_EXTENSIONS: usize = 64;

/// 2.5.29
const ID_CE: &[u8] = &[0x55, 0x1d];
const KEY_ID: &[u8] = &[0x55, 0x1d, 14];
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 15];
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 17];
const ISSUER_NAMES: &[u8] = &[0x55, 0x1d, 18];
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 19];
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 30];
const DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 31];
const POLICIES: &[u8] = &[0x55, 0x1d, 32];
const POLICY_MAPPINGS: &[u8] = &[0x55, 0x1d, 33];
pub(super) const AUTHORITY_KEY_ID: &[u8] = &[0x55, 0x1d, 35];
const POLICY_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 36];
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 37];
const INHIBIT_ANY: &[u8] = &[0x55, 0x1d, 54];
/// 1.3.6.1.5.5.7.3.2
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// 2.5.29.37.0
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 37, 0];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn moments_have_seconds_and_no_offset() {
        for (tag, text, expected) in [
            (UTC_TIME, "260101000000Z", Some(1_767_225_600)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20260101000000Z", Some(1_767_225_600)),
            (UTC_TIME, "2601010000Z", None),
            (UTC_TIME, "260101000000+0100", None),
            (UTC_TIME, "260101000000", None),
            (UTC_TIME, "261301000000Z", None),
            (GENERALIZED_TIME, "20260101000000.5Z", None),
            (GENERALIZED_TIME, "260101000000Z", None),
        ] {
            let der = [&[tag, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
            let got = seconds(&tlv::only(&der).unwrap());
            assert_eq!(got, expected.map(UnixSeconds), "{text}");
        }
    }

    #[test]
    fn object_identifiers_are_shown_as_people_write_them() {
        for (id, expected) in [
            (&[0x55, 0x1d, 0x20][..], "2.5.29.32"),
            (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d], "1.2.840.113549"),
            (&[0x88, 0x37], "2.999"),
        ] {
            assert_eq!(dotted(id), expected);
        }
    }
}
