//! The rules that a path must fulfil from certificate to certificate: RFC 5280 6.1, without the signatures.
//!
//! Must not know: where the certificates come from, which path is looked for.

use crate::identity::issued::PolicyId;
use crate::identity::{GeneralName, Issued, UnixSeconds};
use crate::policy::denial::Denial;

use super::authorities::Untrusted;
use super::policies::Policies;

/// The demands on every path, beside those that the authorities make themselves. None, unless an admin sets one.
///
/// Source: RFC 5280 6.1.1 (c), (e), (f), (g).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demands {
    /// The policies of which one must be met; `None`: any.
    pub policies: Option<Vec<PolicyId>>,
    /// A path must have a policy.
    pub require_policy: bool,
    /// No policy may stand for another.
    pub inhibit_mapping: bool,
    /// No policy may stand for all.
    pub inhibit_any: bool,
}

/// The leeway that the certificates so far leave to those that follow.
#[derive(Clone, Debug)]
pub(super) struct Leeway<'a> {
    /// One set for each certificate that names some: a name must be in each.
    permitted: Vec<&'a [GeneralName]>,
    excluded: Vec<&'a [GeneralName]>,
    policies: Policies,
    require_policy: u32,
    inhibit_mapping: u32,
    inhibit_any: u32,
    max_below: u32,
}

impl<'a> Leeway<'a> {
    /// Below an anchor. Its demands on those below it count, as if somebody had issued it (RFC 5937).
    pub(super) fn below(anchor: &'a Issued, demands: &Demands) -> Self {
        let at_once = |demanded: bool| if demanded { 0 } else { u32::MAX };
        let mut leeway = Self {
            permitted: Vec::new(),
            excluded: Vec::new(),
            policies: Policies::any(),
            require_policy: at_once(demands.require_policy),
            inhibit_mapping: at_once(demands.inhibit_mapping),
            inhibit_any: at_once(demands.inhibit_any),
            max_below: u32::MAX,
        };
        leeway.narrow(anchor);
        leeway
    }

    /// Takes an authority that stands between.
    ///
    /// Source: RFC 5280 6.1.3 and 6.1.4.
    pub(super) fn take(&self, cert: &'a Issued, now: UnixSeconds) -> Result<Self, Untrusted> {
        let mut leeway = self.clone();
        leeway.check(cert, now, false)?;
        if !cert.is_authority {
            return Err(untrusted(
                "what it was issued by is no authority (basicConstraints)",
            ));
        }
        if !cert.may_sign_certificates {
            return Err(untrusted(
                "what it was issued by may not sign certificates (keyUsage)",
            ));
        }
        let any = PolicyId::any();
        if cert
            .mappings
            .iter()
            .any(|(from, to)| *from == any || *to == any)
        {
            return Err(untrusted(
                "an authority maps the policy that stands for all",
            ));
        }
        leeway
            .policies
            .map(&cert.mappings, leeway.inhibit_mapping > 0);
        if !cert.is_self_issued() {
            for counter in [
                &mut leeway.require_policy,
                &mut leeway.inhibit_mapping,
                &mut leeway.inhibit_any,
            ] {
                *counter = counter.saturating_sub(u32::from(*counter != u32::MAX));
            }
            if leeway.max_below == 0 {
                return Err(untrusted(
                    "the path is longer than one of its authorities allows",
                ));
            }
            leeway.max_below -= u32::from(leeway.max_below != u32::MAX);
        }
        leeway.narrow(cert);
        Ok(leeway)
    }

    /// Takes the client's certificate.
    ///
    /// Source: RFC 5280 6.1.3 and 6.1.5.
    pub(super) fn finish(
        &self,
        cert: &'a Issued,
        demands: &Demands,
        now: UnixSeconds,
    ) -> Result<(), Untrusted> {
        let mut leeway = self.clone();
        leeway.check(cert, now, true)?;
        if cert.is_authority {
            return Err(untrusted(
                "it is an authority's own certificate, which no client uses",
            ));
        }
        // 6.1.5 (a), (b) and (g): the last certificate counts as one more.
        let left = leeway
            .require_policy
            .saturating_sub(u32::from(leeway.require_policy != u32::MAX));
        let is_demanded = left == 0 || cert.require_policy == Some(0);
        if is_demanded && !leeway.policies.meet(demands.policies.as_deref()) {
            return Err(untrusted(
                "it was not issued under a policy that is demanded",
            ));
        }
        Ok(())
    }

    /// May `cert` stand below, if only to sign lists?
    pub(super) fn require_signer(&self, cert: &Issued, now: UnixSeconds) -> Result<(), Untrusted> {
        self.clone().check(cert, now, true)
    }

    fn check(&mut self, cert: &Issued, now: UnixSeconds, is_last: bool) -> Result<(), Untrusted> {
        if now < cert.not_before || now > cert.not_after {
            let cause = format!("{} is outside of its validity", shown(cert));
            return Err(Untrusted {
                denial: Denial::ChainExpired,
                cause,
            });
        }
        if let Some(id) = &cert.not_understood {
            let cause = format!(
                "{}: its critical extension {id} is not understood",
                shown(cert)
            );
            return Err(Untrusted {
                denial: Denial::ChainUntrusted,
                cause,
            });
        }
        if !cert.is_for_clients {
            return Err(untrusted(&format!(
                "{} is not for clients (extendedKeyUsage)",
                shown(cert)
            )));
        }
        if is_last || !cert.is_self_issued() {
            self.check_names(cert)?;
        }
        let any_counts = self.inhibit_any > 0 || (!is_last && cert.is_self_issued());
        self.policies.take(cert.policies.as_deref(), any_counts);
        if self.require_policy == 0 && self.policies.is_empty() {
            return Err(untrusted(
                "an authority demands a policy, and the path has none",
            ));
        }
        Ok(())
    }

    fn check_names(&self, cert: &Issued) -> Result<(), Untrusted> {
        let mut names = cert.names.clone();
        if !cert.subject.is_empty() {
            names.push(GeneralName::Directory(cert.subject.clone()));
        }
        // RFC 5280 4.2.1.10 for certificates that have their address of old.
        if !cert
            .names
            .iter()
            .any(|name| matches!(name, GeneralName::Email(_)))
        {
            names.extend(cert.emails.iter().cloned().map(GeneralName::Email));
        }
        for name in &names {
            for trees in &self.permitted {
                let mut like = trees.iter().filter(|tree| name.is_like(tree)).peekable();
                if like.peek().is_some() && !like.any(|tree| name.is_within(tree) == Some(true)) {
                    return Err(untrusted(
                        "a name is not among those that an authority may name",
                    ));
                }
            }
            for trees in &self.excluded {
                let mut like = trees.iter().filter(|tree| name.is_like(tree));
                if like.any(|tree| name.is_within(tree) != Some(false)) {
                    return Err(untrusted(
                        "a name is among those that an authority may not name",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Takes over the limits that `cert` sets to those below it.
    fn narrow(&mut self, cert: &'a Issued) {
        if !cert.permitted.is_empty() {
            self.permitted.push(&cert.permitted);
        }
        if !cert.excluded.is_empty() {
            self.excluded.push(&cert.excluded);
        }
        let lower = |counter: &mut u32, to: Option<u32>| {
            *counter = to.map_or(*counter, |to| to.min(*counter));
        };
        lower(&mut self.require_policy, cert.require_policy);
        lower(&mut self.inhibit_mapping, cert.inhibit_mapping);
        lower(&mut self.inhibit_any, cert.inhibit_any);
        lower(&mut self.max_below, cert.max_below);
    }
}

fn shown(cert: &Issued) -> String {
    if cert.is_authority {
        format!("the authority {}", cert.subject_shown)
    } else {
        "it".to_owned()
    }
}

fn untrusted(cause: &str) -> Untrusted {
    Untrusted {
        denial: Denial::ChainUntrusted,
        cause: cause.to_owned(),
    }
}
