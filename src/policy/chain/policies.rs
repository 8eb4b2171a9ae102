//! The policies under which a path is valid: the tree of RFC 5280 6.1.
//!
//! A tree grows exponentially with what a certificate maps. Nodes of one depth that stand for the same policy behave alike, so
//! they are one node here, with all of its parents.
//!
//! Must not know: signatures, names, time.

use std::collections::{BTreeMap, BTreeSet};

use crate::identity::issued::PolicyId;

/// The policies of a path, down to one of its certificates.
#[derive(Clone, Debug)]
pub(super) struct Policies {
    /// By depth; empty: no policy is left.
    depths: Vec<Depth>,
}

type Depth = BTreeMap<PolicyId, Node>;

#[derive(Clone, Debug)]
struct Node {
    /// The policies that stand for it in the next certificate.
    expected: BTreeSet<PolicyId>,
    /// Of the depth before.
    parents: BTreeSet<PolicyId>,
}

impl Policies {
    /// Before the first certificate: any.
    pub(super) fn any() -> Self {
        let any = Node {
            expected: BTreeSet::from([PolicyId::any()]),
            parents: BTreeSet::new(),
        };
        Self {
            depths: vec![BTreeMap::from([(PolicyId::any(), any)])],
        }
    }

    /// Is none left?
    pub(super) fn is_empty(&self) -> bool {
        self.depths.is_empty()
    }

    /// Takes what a certificate says; `any_counts`: the policy that stands for all does.
    ///
    /// Source: RFC 5280 6.1.3 (d) and (e).
    pub(super) fn take(&mut self, policies: Option<&[PolicyId]>, any_counts: bool) {
        let (Some(policies), Some(before)) = (policies, self.depths.last()) else {
            self.depths.clear();
            return;
        };
        let any = PolicyId::any();
        let mut depth = Depth::new();
        let mut add = |policy: &PolicyId, parents: BTreeSet<PolicyId>| {
            let node = depth.entry(policy.clone()).or_insert_with(|| Node {
                expected: BTreeSet::from([policy.clone()]),
                parents: BTreeSet::new(),
            });
            node.parents.extend(parents);
        };
        for policy in policies.iter().filter(|policy| **policy != any) {
            let expecting = before
                .iter()
                .filter(|(_, node)| node.expected.contains(policy));
            let mut parents: BTreeSet<PolicyId> = expecting.map(|(id, _)| id.clone()).collect();
            if parents.is_empty() && before.contains_key(&any) {
                parents.insert(any.clone());
            }
            if !parents.is_empty() {
                add(policy, parents);
            }
        }
        if any_counts && policies.contains(&any) {
            for (id, node) in before {
                for expected in node
                    .expected
                    .iter()
                    .filter(|one| !policies.contains(one) || **one == any)
                {
                    add(expected, BTreeSet::from([id.clone()]));
                }
            }
        }
        self.depths.push(depth);
        self.prune();
    }

    /// Takes the mappings of an authority's certificate; `counts`: they are not inhibited.
    ///
    /// Source: RFC 5280 6.1.4 (b).
    pub(super) fn map(&mut self, mappings: &[(PolicyId, PolicyId)], counts: bool) {
        let any = PolicyId::any();
        let mut by_issuer: BTreeMap<&PolicyId, BTreeSet<PolicyId>> = BTreeMap::new();
        for (issuers, subjects) in mappings {
            by_issuer
                .entry(issuers)
                .or_default()
                .insert(subjects.clone());
        }
        let has_any_above = self
            .depths
            .len()
            .checked_sub(2)
            .and_then(|above| self.depths.get(above))
            .is_some_and(|above| above.contains_key(&any));
        let Some(depth) = self.depths.last_mut() else {
            return;
        };
        for (issuers, subjects) in by_issuer {
            if !counts {
                depth.remove(issuers);
            } else if let Some(node) = depth.get_mut(issuers) {
                node.expected = subjects;
            } else if depth.contains_key(&any) && has_any_above {
                let node = Node {
                    expected: subjects,
                    parents: BTreeSet::from([any.clone()]),
                };
                depth.insert(issuers.clone(), node);
            }
        }
        self.prune();
    }

    /// Is the path valid under one of `wanted`?
    ///
    /// Source: RFC 5280 6.1.5 (g).
    pub(super) fn meet(&self, wanted: Option<&[PolicyId]>) -> bool {
        let Some(last) = self.depths.last() else {
            return false;
        };
        let Some(wanted) = wanted else {
            return true;
        };
        let any = PolicyId::any();
        if last.contains_key(&any) {
            return !wanted.is_empty();
        }
        // Upwards: what was a policy of the user's where it came from "any".
        let mut alive: BTreeSet<&PolicyId> = last.keys().collect();
        for depth in self.depths.iter().rev() {
            let mut above = BTreeSet::new();
            for policy in alive {
                let Some(node) = depth.get(policy) else {
                    continue;
                };
                if node.parents.contains(&any) && wanted.contains(policy) {
                    return true;
                }
                above.extend(node.parents.iter().filter(|parent| **parent != any));
            }
            alive = above;
        }
        false
    }

    /// Takes away what has nothing below it, from the bottom up.
    fn prune(&mut self) {
        if self.depths.last().is_none_or(BTreeMap::is_empty) {
            self.depths.clear();
            return;
        }
        let mut needed: Option<BTreeSet<PolicyId>> = None;
        for depth in self.depths.iter_mut().rev() {
            if let Some(needed) = &needed {
                depth.retain(|policy, _| needed.contains(policy));
            }
            needed = Some(
                depth
                    .values()
                    .flat_map(|node| node.parents.iter().cloned())
                    .collect(),
            );
        }
        if self.depths.iter().any(BTreeMap::is_empty) {
            self.depths.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(number: u8) -> PolicyId {
        PolicyId::from_bytes(&[0x2a, number])
    }

    fn policies(numbers: &[u8]) -> Vec<PolicyId> {
        let one = |number: &u8| match number {
            0 => PolicyId::any(),
            number => policy(*number),
        };
        numbers.iter().map(one).collect()
    }

    fn mapped(pairs: &[(u8, u8)]) -> Vec<(PolicyId, PolicyId)> {
        let pair = |(from, to): &(u8, u8)| (policy(*from), policy(*to));
        pairs.iter().map(pair).collect()
    }

    /// For each certificate its policies (0 is any) and its mappings.
    #[allow(clippy::type_complexity)]
    fn of(path: &[(&[u8], &[(u8, u8)])]) -> Policies {
        let mut found = Policies::any();
        for (ids, mappings) in path {
            found.take(Some(&policies(ids)), true);
            found.map(&mapped(mappings), true);
        }
        found
    }

    #[test]
    fn a_policy_is_one_of_every_certificate_or_none() {
        for (path, expected) in [
            (&[(&[1][..], &[][..]), (&[1], &[])][..], &[1][..]),
            (&[(&[1, 2], &[]), (&[2, 3], &[])], &[2]),
            (&[(&[1], &[]), (&[2], &[])], &[]),
            (&[(&[0], &[]), (&[2], &[])], &[2]),
            (&[(&[1], &[]), (&[0], &[])], &[1]),
            (&[(&[0], &[]), (&[0], &[])], &[1, 2, 3]),
            // The issuer's policy 1 is the subject's 2.
            (&[(&[1], &[(1, 2)]), (&[2], &[])], &[1]),
            (&[(&[1], &[(1, 2)]), (&[1], &[])], &[]),
            (&[(&[1, 2], &[(1, 3), (2, 3)]), (&[3], &[])], &[1, 2]),
            (&[(&[0], &[(1, 2)]), (&[2], &[])], &[1]),
            (&[(&[1], &[(1, 2)]), (&[2], &[(2, 3)]), (&[3], &[])], &[1]),
        ] {
            let found = of(path);
            let met: Vec<u8> = (1..=3)
                .filter(|one| found.meet(Some(&[policy(*one)])))
                .collect();
            assert_eq!(met, expected, "{path:?}");
            assert_eq!(found.is_empty(), expected.is_empty(), "{path:?}");
        }
    }

    #[test]
    fn what_is_inhibited_does_not_count() {
        let mut found = Policies::any();
        found.take(Some(&policies(&[1])), true);
        found.map(&mapped(&[(1, 2)]), false);
        assert!(found.is_empty());
        let mut found = Policies::any();
        found.take(Some(&policies(&[0])), false);
        assert!(found.is_empty());
        let mut found = Policies::any();
        found.take(None, true);
        assert!(found.is_empty() && !found.meet(None));
    }

    #[test]
    fn mappings_that_multiply_cost_little() {
        let ids: Vec<u8> = (1..=100).collect();
        let all: Vec<(PolicyId, PolicyId)> = (0..128)
            .map(|at| (policy(1 + at % 12), policy(1 + at / 12)))
            .collect();
        let mut found = Policies::any();
        for _ in 0..16 {
            found.take(Some(&policies(&ids)), true);
            found.map(&all, true);
        }
        assert!(found.depths.iter().all(|depth| depth.len() <= ids.len()));
    }
}
