//! `certificate.request`: a client that speaks XEP-0257 changes its account's list.
//!
//! Must not know: rules, words, XML.

use serde_json::json;

use super::super::connection::Peer;
use super::certificates::{Gone, Wanted, Whose, refused};
use super::{Answer, Service, closed_for};
use crate::identity::UnixSeconds;
use crate::policy::Denial;
use crate::policy::manage::request::{self, BadChild};
use crate::protocol::{ClientRequest, ClientRequested, Refusal, RequestElement};

impl Service {
    pub(in crate::daemon) fn requested(
        &self,
        answer: &Answer,
        question: ClientRequest,
        peer: Peer,
        now: UnixSeconds,
    ) {
        match self.carried_out(answer, question, peer, now) {
            Ok(None) => (),
            Ok(Some(requested)) => answer.send(Ok(json!(requested))),
            Err(refusal) => answer.send(Err(refusal)),
        }
    }

    /// The answer, or `None` if it was sent already.
    fn carried_out(
        &self,
        answer: &Answer,
        question: ClientRequest,
        peer: Peer,
        now: UnixSeconds,
    ) -> Result<Option<ClientRequested>, Refusal> {
        let whose = Whose {
            account: question.account,
            incarnation: question.incarnation,
            session: Some(question.session),
            peer,
        };
        let malformed = |bad: BadChild| {
            let denial = Denial::RequestMalformed { bad };
            refused("certificate.request", &whose.account, &whose.by(), denial)
        };
        match question.element {
            RequestElement::Append => {
                let wish = request::addition(question.children).map_err(malformed)?;
                let wish = Wanted {
                    name: wish.name,
                    certificate: wish.certificate,
                    may_manage: wish.may_manage,
                };
                self.appended(&whose, wish, now)?;
            }
            RequestElement::Disable => {
                let name = request::named(question.children).map_err(malformed)?;
                self.disabled(&whose, name)?;
            }
            RequestElement::Revoke => {
                let name = request::named(question.children).map_err(malformed)?;
                self.revoked(answer, &whose, Gone::Named(name), now, |_, keys| {
                    json!(ClientRequested {
                        close: closed_for(&whose.account, keys),
                    })
                })?;
                return Ok(None);
            }
        }
        Ok(Some(ClientRequested::default()))
    }
}
