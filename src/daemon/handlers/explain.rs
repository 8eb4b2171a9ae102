//! `explain`: why an account can log in with a certificate, or why not.
//!
//! Must not know: rules (`policy::explain` judges); it changes nothing, in Prosody neither.

use super::super::facts::{Facts, Presentation, by_authority};
use super::super::hosts::Hosts;
use super::super::reply::Answered;
use super::super::servers::Servers;
use super::fresh::new_incarnation;
use super::incarnations::{Unmarked, incarnation_in_prosody};
use crate::identity::{BareJid, UnixSeconds};
use crate::policy::Denial;
use crate::policy::explain::{
    AccountKnowledge, Explanation, LoginQuestion, Rule, Verdict, explain,
};
use crate::policy::login::AccountFact;
use crate::protocol::{Accounts, Explain, Refusal};

/// Judges as a login would, and says each rule.
#[derive(Clone, Copy)]
pub(in crate::daemon) struct Explaining<'a> {
    pub(in crate::daemon) hosts: &'a Hosts,
    pub(in crate::daemon) servers: &'a Servers,
    pub(in crate::daemon) facts: Facts<'a>,
}

impl Explaining<'_> {
    /// Blocks.
    pub(in crate::daemon) fn explain(
        &self,
        question: Explain,
        now: UnixSeconds,
    ) -> Answered<Explanation> {
        let Explain {
            account,
            chain,
            authzid,
        } = question;
        let shown = Presentation::new(self.hosts, account.host(), &chain)?;
        let gathered = match self.facts.gather(&shown)? {
            Ok(gathered) => gathered,
            Err(finding) => {
                let denial = Denial::CertificateUnacceptable { finding };
                return Ok(Explanation {
                    verdict: Verdict::No,
                    rules: vec![Rule::unacceptable(denial)],
                });
            }
        };
        let back = self.facts.taken_back(&shown, &gathered, Some(&account))?;
        let asked = self.facts.ask_authorities(&shown, now);
        let about_authority = match &asked {
            None | Some(Ok(Ok(_))) => None,
            Some(Ok(Err(untrusted))) => Some(untrusted.cause.clone()),
            Some(Err(problem)) => Some(problem.to_string()),
        };
        let meant = gathered.concerned(Some(&account));
        let mut accounts = self.facts.account_facts(shown.lives, meant)?;
        let known = match shown.lives {
            Accounts::Daemon => AccountKnowledge::All,
            Accounts::Prosody => self.ask_existence(&account, &mut accounts)?,
        };
        let explanation = explain(
            &gathered.facts(&back, by_authority(&asked)),
            &LoginQuestion {
                account: &account,
                accounts: &accounts,
                known,
                authzid: authzid.as_deref().map(str::as_bytes),
                about_authority: about_authority.as_deref(),
            },
            &shown.policy,
            now,
        );
        Ok(explanation)
    }

    /// Puts what Prosody says of the account among `accounts`, if it can be asked.
    fn ask_existence(
        &self,
        account: &BareJid,
        accounts: &mut [AccountFact],
    ) -> Result<AccountKnowledge, Refusal> {
        let fresh = new_incarnation()?;
        let Ok(present) = incarnation_in_prosody(self.servers, account, Unmarked::Pretend(&fresh))
        else {
            return Ok(AccountKnowledge::Nothing);
        };
        for fact in accounts.iter_mut().filter(|fact| fact.account == *account) {
            fact.exists = present.is_some();
            fact.incarnation.clone_from(&present);
        }
        Ok(AccountKnowledge::Existence)
    }
}
