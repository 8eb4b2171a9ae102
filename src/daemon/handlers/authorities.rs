//! The hosts' authorities: their files are read again, and sessions that none vouches for any more are closed.
//!
//! Must not know: how a path is validated, when it is time to look.

use super::super::authorities::AuthorityFiles;
use super::super::gate::Gate;
use super::super::hosts::Hosts;
use super::super::sessions::Sessions;
use crate::identity::{BareJid, CertificationPath};
use crate::policy::host::CaFiles;

/// The consequences of the files of authorities.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Vouching<'a> {
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) authorities: &'a AuthorityFiles,
    pub(in crate::daemon) sessions: &'a Sessions,
    pub(in crate::daemon) gate: &'a Gate,
}

impl Vouching<'_> {
    /// Reads the files of authorities and revocation lists that have changed; `anew`: all of them. Closes the sessions
    /// whose path no longer holds. Blocks.
    ///
    /// As with a revocation, no yes by what they said before comes behind it.
    pub(in crate::daemon) fn read(&self, anew: bool) {
        let turn = self.authorities.turn_to_read();
        let wanted: Vec<CaFiles> = {
            let known = self.hosts.behind(None).into_iter();
            known
                .filter_map(|(_, known)| known.meaning.policy.trust.ca().cloned())
                .collect()
        };
        let Some(looked) = self.authorities.look(&wanted, anew) else {
            return;
        };
        let closing = self.gate.close();
        self.authorities.swap(&closing, looked);
        let doomed = self.sessions.no_longer(|account, path| {
            still_vouched(self.hosts, self.authorities, account, Some(path))
        });
        for (account, key_id) in doomed {
            tracing::info!(%account, %key_id, "no authority vouches for it any more: its sessions are closed");
            closing.end_sessions(&account, &key_id);
        }
        drop((closing, turn));
    }
}

/// Is a session that an authority vouched for still one that it would vouch for? True for those that needed none.
pub(super) fn still_vouched(
    hosts: &Hosts,
    authorities: &AuthorityFiles,
    account: &BareJid,
    path: Option<&CertificationPath>,
) -> bool {
    let Some(path) = path else {
        return true;
    };
    let known = hosts.declaration(account.host());
    let policy = known.as_ref().map(|known| &known.meaning.policy);
    policy
        .and_then(|policy| policy.trust.ca())
        .is_none_or(|files| authorities.still_vouch(files, path))
}
