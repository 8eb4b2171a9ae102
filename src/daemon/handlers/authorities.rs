//! What the hosts' authorities say: reading their files again, and closing the sessions that none vouches for any more.

use super::super::authorities::Problem;
use super::Service;
use crate::identity::{BareJid, CertificationPath};
use crate::policy::HostPolicy;
use crate::policy::host::CaFiles;

impl Service {
    /// Reads the files of authorities and revocation lists that have changed; `anew`: all of them. Closes the sessions
    /// whose path no longer holds. Blocks.
    ///
    /// As with a revocation, no yes by what they said before comes behind it.
    pub fn read_authorities(&self, anew: bool) {
        let turn = self.authorities.turn_to_read();
        let wanted: Vec<CaFiles> = {
            let known = self.hosts.behind(None).into_iter();
            known
                .filter_map(|(_, known)| known.declared.policy.trust.ca().cloned())
                .collect()
        };
        let Some(looked) = self.authorities.look(&wanted, anew) else {
            return;
        };
        let mut closing = self.gate.close(&self.servers);
        self.authorities.swap(&closing, looked);
        let doomed = self
            .sessions
            .no_longer(|account, path| self.still_vouched(account, Some(path)));
        for (account, key_id) in doomed {
            tracing::info!(%account, %key_id, "no authority vouches for it any more: its sessions are closed");
            closing.end_sessions(&account, &key_id);
        }
        drop((closing, turn));
    }

    /// Is a session that an authority vouched for still one that it would vouch for? True for those that needed none.
    pub(super) fn still_vouched(
        &self,
        account: &BareJid,
        path: Option<&CertificationPath>,
    ) -> bool {
        let Some(path) = path else {
            return true;
        };
        let known = self.hosts.known(account.host());
        let policy = known.as_ref().map(|known| &known.declared.policy);
        policy
            .and_then(|policy| policy.trust.ca())
            .is_none_or(|files| self.authorities.still_vouch(files, path))
    }

    /// What is wrong with the files of a host's authorities, for its admin.
    pub(super) fn problems_of(&self, policy: &HostPolicy) -> Vec<Problem> {
        let files = policy.trust.ca();
        files.map_or_else(Vec::new, |files| self.authorities.problems(files))
    }
}
