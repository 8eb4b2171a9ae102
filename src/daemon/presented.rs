//! The chains of the offers of late: the questions that follow name theirs, and need not send it again.
//!
//! Must not know: what was decided about them.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::identity::{Fingerprint, Host};
use crate::protocol::{Chain, Fault, Presented, Refusal};
use crate::store::Store;
use crate::system::lock::Lock;

/// Chains by their names, for a minute or two.
///
/// A name is the hash of its chain: it can't mean another one, whatever was forgotten meanwhile.
#[derive(Debug, Default)]
pub(super) struct Chains(Lock<Generations>);

#[derive(Debug)]
struct Generations {
    recent: HashMap<Fingerprint, Arc<Chain>>,
    /// The chains of the generation before.
    old: HashMap<Fingerprint, Arc<Chain>>,
    recent_bytes: usize,
    since: Instant,
}

impl Default for Generations {
    fn default() -> Self {
        Self {
            recent: HashMap::new(),
            old: HashMap::new(),
            recent_bytes: 0,
            since: Instant::now(),
        }
    }
}

/// A question with the chain that it is about. It reads as the question.
pub(super) struct About<Q> {
    question: Q,
    chain: Arc<Chain>,
    is_named: bool,
}

impl<Q> Deref for About<Q> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.question
    }
}

impl<Q> About<Q> {
    /// The chain, whether the question brought it or named it.
    pub(super) fn chain(&self) -> &Arc<Chain> {
        &self.chain
    }

    /// Has the question named its chain?
    pub(super) fn is_named(&self) -> bool {
        self.is_named
    }
}

impl Chains {
    /// Puts the chain that is meant beside its question, which `parts` takes apart: the host, and what was presented there. A
    /// certificate in a list of the host is known by its name, too.
    ///
    /// Errors: nobody knows the name, or the store can't be read.
    pub(super) fn find<Q>(
        &self,
        store: &Store,
        question: Q,
        parts: impl FnOnce(&Q) -> (&Host, &Presented),
    ) -> Result<About<Q>, Refusal> {
        let (host, presented) = parts(&question);
        let is_named = matches!(presented, Presented::Named(_));
        let chain = match (self.meant(presented), presented) {
            (Err(Fault::ChainForgotten), Presented::Named(name)) => enrolled(store, name, host)?,
            (meant, _) => meant?,
        };
        Ok(About {
            question,
            chain,
            is_named,
        })
    }

    /// The chain that is meant, if the question brings it or it is remembered.
    pub(super) fn known(&self, presented: &Presented) -> Option<Arc<Chain>> {
        self.meant(presented).ok()
    }

    /// Remembers a chain; returns its name.
    pub(super) fn remember(&self, chain: &Arc<Chain>) -> Fingerprint {
        let name = chain.name();
        self.0.lock().keep(name, chain);
        name
    }

    fn meant(&self, presented: &Presented) -> Result<Arc<Chain>, Fault> {
        match presented {
            Presented::Chain(chain) => Ok(Arc::clone(chain)),
            Presented::Named(name) => {
                let all = self.0.lock();
                let chain = all.recent.get(name).or_else(|| all.old.get(name));
                chain.cloned().ok_or(Fault::ChainForgotten)
            }
        }
    }
}

/// The chain that consists of a certificate in a list of `host`, by its fingerprint.
fn enrolled(store: &Store, name: &Fingerprint, host: &Host) -> Result<Arc<Chain>, Refusal> {
    let der = store.certificate(name, host)?;
    let chain = der.map(Chain::of_one).ok_or(Fault::ChainForgotten)?;
    Ok(Arc::new(chain))
}

impl Generations {
    fn keep(&mut self, name: Fingerprint, chain: &Arc<Chain>) {
        if self.recent_bytes > MAX_BYTES / 2 || self.since.elapsed() > GENERATION {
            self.old = std::mem::take(&mut self.recent);
            (self.recent_bytes, self.since) = (0, Instant::now());
        }
        if self.recent.insert(name, Arc::clone(chain)).is_none() {
            self.recent_bytes += ENTRY_BYTES + 2 * chain.size();
        }
    }
}

/// Most memory that they take.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// The memory that a chain takes beside its bytes, and beside those of its certificate as it was read.
const ENTRY_BYTES: usize = 1024;
const GENERATION: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn chain(texts: &[&str]) -> Arc<Chain> {
        Arc::new(Chain::from_base64(texts).unwrap())
    }

    #[test]
    fn a_name_means_the_whole_chain() {
        let chains = Chains::default();
        let (one, two) = (chain(&["AQID"]), chain(&["AQID", "AQIE"]));
        let names = [chains.remember(&one), chains.remember(&two)];
        assert_ne!(names[0], names[1]);
        for (name, chain) in names.iter().zip([one, two]) {
            assert_eq!(chains.meant(&Presented::Named(*name)).unwrap(), chain);
        }
        let other = chain(&["AQIE", "AQID"]);
        let unknown = Presented::Named(other.name());
        assert_eq!(chains.meant(&unknown), Err(Fault::ChainForgotten));
        assert_eq!(
            chains.meant(&Presented::Chain(Arc::clone(&other))),
            Ok(other)
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let chains = Chains::default();
        let first = chain(&["AAAA"]);
        let name = chains.remember(&first);
        let filler = "A".repeat(20 * 1024);
        for number in 0..4_000 {
            let last = format!("{number:04}");
            chains.remember(&chain(&[&last, &filler]));
            let all = chains.0.lock();
            let kept = all.recent.values().chain(all.old.values());
            let bytes: usize = kept.map(|chain| ENTRY_BYTES + 2 * chain.size()).sum();
            assert!(bytes <= MAX_BYTES + 2 * 64 * 1024);
        }
        let forgotten = chains.meant(&Presented::Named(name));
        assert_eq!(forgotten, Err(Fault::ChainForgotten));
    }
}
