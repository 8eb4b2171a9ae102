//! Finds the way from an authority down to a client's certificate, among the certificates that the client has shown.
//!
//! From above: a key is used only once an authority's signature, or one that follows from it, has vouched for it. So what a
//! stranger forges costs no more than finding out that no authority has signed it.
//!
//! Must not know: which files the authorities come from.

use std::collections::HashMap;

use crate::identity::{Issued, PublicKey, UnixSeconds};
use crate::policy::denial::Denial;

use super::authorities::{Authorities, Untrusted};
use super::lists::Revocation;
use super::lists::Tries;
use super::rules::{Demands, Leeway};
use super::signature;

/// The path that is looked for.
pub(super) struct Question<'a> {
    pub(super) leaf: &'a Issued,
    pub(super) between: &'a [Issued],
    pub(super) authorities: &'a Authorities,
    pub(super) revocation: Option<Revocation<'a>>,
    pub(super) demands: &'a Demands,
    pub(super) now: UnixSeconds,
}

/// A way that was found.
pub(super) struct Way<'a> {
    /// The anchor it begins at.
    pub(super) anchor: &'a Issued,
    /// Those between, from the anchor down.
    pub(super) between: Vec<&'a Issued>,
    /// For each certificate, from the anchor down, the keys that sign lists which it may stand on.
    pub(super) signers: Vec<Vec<&'a PublicKey>>,
}

/// One that is vouched for, and what it leaves to those below.
struct Vouched<'a> {
    cert: &'a Issued,
    leeway: Leeway<'a>,
}

/// One search.
struct Walk<'a> {
    question: &'a Question<'a>,
    /// By the certificate (the leaf is the last) and its issuer's key.
    tried: HashMap<(usize, &'a PublicKey), bool>,
    /// How many signatures of certificates were tried.
    signatures: usize,
    /// And of lists.
    tries: Tries,
    steps: usize,
    /// The refusal of the path that came furthest.
    refused: (Progress, Untrusted),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Nothing,
    Named,
    Signed,
    Whole,
}

/// Finds a way, and how many signatures that took.
pub(super) fn find<'a>(question: &'a Question<'a>) -> (Result<Way<'a>, Untrusted>, usize) {
    let nobody = Untrusted {
        denial: Denial::ChainUntrusted,
        cause: "no authority of the file has issued it, or what leads there was not shown"
            .to_owned(),
    };
    let mut walk = Walk {
        question,
        tried: HashMap::new(),
        signatures: 0,
        tries: Tries::of_a_question(),
        steps: 0,
        refused: (Progress::Nothing, nobody),
    };
    let found = walk.below_anchors();
    let tried = walk.signatures + walk.tries.made;
    (found.ok_or(walk.refused.1), tried)
}

impl<'a> Walk<'a> {
    fn below_anchors(&mut self) -> Option<Way<'a>> {
        let Question {
            leaf,
            between,
            authorities,
            demands,
            now,
            ..
        } = *self.question;
        let wanted: Vec<[u8; 32]> = std::iter::once(leaf)
            .chain(between)
            .map(|cert| cert.issuer.id())
            .collect();
        for authority in authorities.about() {
            if !wanted.contains(&authority.subject_id) {
                continue;
            }
            let anchor = &authority.issued;
            if let Some(cause) = authorities.never_vouches(authority) {
                self.refuse(Progress::Named, Denial::ChainUntrusted, cause);
                continue;
            }
            if now < anchor.not_before || now > anchor.not_after {
                let cause = format!(
                    "the authority {} is outside of its validity",
                    authority.subject
                );
                self.refuse(Progress::Named, Denial::ChainExpired, cause);
                continue;
            }
            let first = Vouched {
                cert: anchor,
                leeway: Leeway::below(anchor, demands),
            };
            if let Some(way) = self.below(&mut vec![first]) {
                return Some(way);
            }
        }
        None
    }

    /// On from the last of `path`; the first is the anchor.
    fn below(&mut self, path: &mut Vec<Vouched<'a>>) -> Option<Way<'a>> {
        let Question {
            leaf, between, now, ..
        } = *self.question;
        let Vouched {
            cert: issuer,
            leeway,
        } = path.last()?;
        let (issuer, leeway) = (*issuer, leeway.clone());
        self.steps += 1;
        if self.steps > MAX_STEPS {
            return None;
        }
        if leaf.issuer == issuer.subject && self.has_signed(between.len(), leaf, issuer) {
            match self.whole(path) {
                Ok(signers) => {
                    let mut certs = path.iter().map(|vouched| vouched.cert);
                    return Some(Way {
                        anchor: certs.next()?,
                        between: certs.collect(),
                        signers,
                    });
                }
                Err((progress, untrusted)) => self.note(progress, untrusted),
            }
        }
        for (at, next) in between.iter().enumerate() {
            let is_on_path = path
                .iter()
                .any(|one| one.cert.key == next.key && one.cert.subject == next.subject);
            if is_on_path || next.issuer != issuer.subject || !self.has_signed(at, next, issuer) {
                continue;
            }
            if let Some(cause) = signature::unusable_key(&next.key) {
                let cause = format!("the authority {}: {cause}", next.subject_shown);
                self.refuse(Progress::Signed, Denial::ChainUntrusted, cause);
                continue;
            }
            match leeway.take(next, now) {
                Ok(leeway) => {
                    path.push(Vouched { cert: next, leeway });
                    let found = self.below(path);
                    if found.is_some() {
                        return found;
                    }
                    path.pop();
                }
                Err(untrusted) => self.note(Progress::Signed, untrusted),
            }
        }
        None
    }

    /// All that is left to ask when the signatures fit. Returns whose lists count, for each certificate from the anchor down.
    fn whole(
        &mut self,
        path: &[Vouched<'a>],
    ) -> Result<Vec<Vec<&'a PublicKey>>, (Progress, Untrusted)> {
        let Question {
            leaf,
            revocation,
            demands,
            now,
            ..
        } = *self.question;
        if let Some(last) = path.last() {
            let finished = last.leeway.finish(leaf, demands, now);
            finished.map_err(|untrusted| (Progress::Signed, untrusted))?;
        }
        let certs = path
            .iter()
            .skip(1)
            .map(|vouched| vouched.cert)
            .chain([leaf]);
        let mut all = Vec::new();
        for (at, cert) in certs.enumerate() {
            let Some((issuer, above)) = path.get(..=at).and_then(<[_]>::split_last) else {
                break;
            };
            let mut signers = vec![issuer.cert];
            if let Some(revocation) = revocation {
                // Even where the list of the issuing key says enough: its successor may have revoked more.
                signers.extend(self.other_signers(path, issuer.cert, above.len()));
                revocation
                    .require_unrevoked(cert, &signers, &mut self.tries, now)
                    .map_err(|untrusted| (Progress::Whole, untrusted))?;
            }
            all.push(signers.into_iter().map(|signer| &signer.key).collect());
        }
        Ok(all)
    }

    /// Other certificates of `issuer`, of another key, that may sign its lists: an authority that has changed its key, or has one
    /// for lists only. The same anchor must vouch for them.
    ///
    /// Shape: `issuer` stands in `path` at `place`.
    /// Source: RFC 5280 6.3.3 (f).
    fn other_signers(
        &mut self,
        path: &[Vouched<'a>],
        issuer: &'a Issued,
        place: usize,
    ) -> Vec<&'a Issued> {
        let Question {
            between,
            revocation,
            now,
            ..
        } = *self.question;
        let is_other = |cert: &Issued| {
            cert.subject == issuer.subject
                && cert.key != issuer.key
                && cert.may_sign_lists
                && (cert.is_authority || cert.is_list_signer)
        };
        let on_path = path.iter().map(|vouched| vouched.cert);
        let mut signers: Vec<&Issued> = on_path.filter(|cert| is_other(cert)).collect();
        for (at, cert) in between.iter().enumerate() {
            if !is_other(cert) || signers.iter().any(|known| known.key == cert.key) {
                continue;
            }
            for above in path.iter().take(place + 1) {
                if cert.issuer != above.cert.subject
                    || above.leeway.require_signer(cert, now).is_err()
                    || !self.has_signed(at, cert, above.cert)
                {
                    continue;
                }
                // One of its own name stands on the lists that it signs itself.
                let by = if cert.is_self_issued() {
                    cert
                } else {
                    above.cert
                };
                let is_unrevoked = revocation.is_none_or(|revocation| {
                    revocation
                        .require_unrevoked(cert, &[by], &mut self.tries, now)
                        .is_ok()
                });
                if is_unrevoked {
                    signers.push(cert);
                    break;
                }
            }
        }
        signers
    }

    fn has_signed(&mut self, at: usize, cert: &'a Issued, issuer: &'a Issued) -> bool {
        if let Some(known) = self.tried.get(&(at, &issuer.key)) {
            return *known;
        }
        if !signature::is_known(&cert.signed, &issuer.key) {
            let whose = if cert.is_authority {
                cert.subject_shown.as_str()
            } else {
                "it"
            };
            let cause = format!("{whose} {}", signature::unusable_signature(&cert.signed));
            self.refuse(Progress::Named, Denial::ChainUntrusted, cause);
            return false;
        }
        if self.signatures >= MAX_SIGNATURES {
            let cause = format!("more than {MAX_SIGNATURES} signatures would have to be tried");
            self.refuse(Progress::Named, Denial::ChainUntrusted, cause);
            return false;
        }
        self.signatures += 1;
        let fits = signature::fits(&cert.signed, &issuer.key);
        self.tried.insert((at, &issuer.key), fits);
        if !fits {
            let cause = format!("its signature is none of {}", issuer.subject_shown);
            self.refuse(Progress::Named, Denial::ChainUntrusted, cause);
        }
        fits
    }

    fn refuse(&mut self, progress: Progress, denial: Denial, cause: String) {
        self.note(progress, Untrusted { denial, cause });
    }

    fn note(&mut self, progress: Progress, untrusted: Untrusted) {
        if progress > self.refused.0 {
            self.refused = (progress, untrusted);
        }
    }
}

/// Most signatures of certificates that are tried for one question. A chain of six has six, and a few more where two authorities share a name.
pub(super) const MAX_SIGNATURES: usize = 16;
const MAX_STEPS: usize = 256;
