//! `certificate.request`: a client that speaks XEP-0257 changes its account's list.
//!
//! Must not know: rules, words, XML.

use super::super::reply::Reply;
use super::certificates::{Wanted, refused};
use super::revocation::{KeyRevocation, Managing, Target};
use super::whose::Whose;
use crate::identity::{KeyId, UnixSeconds};
use crate::policy::Denial;
use crate::policy::live::Ending;
use crate::policy::manage::request::{self, BadChild};
use crate::protocol::{ClientRequest, ClientRequested, Close, Refusal, RequestElement};

impl Managing<'_> {
    pub(in crate::daemon) fn request(
        &self,
        reply: &Reply<ClientRequest>,
        question: ClientRequest,
        now: UnixSeconds,
    ) {
        match self.carry_out(reply, question, now) {
            Ok(None) => (),
            Ok(Some(requested)) => reply.send(Ok(requested)),
            Err(refusal) => reply.refuse(refusal),
        }
    }

    /// The answer, or `None` if it was sent already.
    fn carry_out(
        &self,
        reply: &Reply<ClientRequest>,
        question: ClientRequest,
        now: UnixSeconds,
    ) -> Result<Option<ClientRequested>, Refusal> {
        let whose = Whose::new(
            question.account,
            question.incarnation,
            Some(question.session),
            reply.peer(),
        );
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
                self.lists.add(&whose, wish, now)?;
            }
            RequestElement::Disable => {
                let name = request::named(question.children).map_err(malformed)?;
                self.lists.take_out(&whose, name, now)?;
            }
            RequestElement::Revoke => {
                let name = request::named(question.children).map_err(malformed)?;
                let revocation = KeyRevocation {
                    whose: &whose,
                    target: Target::Named(name),
                };
                let close = |key: &KeyId| Close::of(&whose.account, key, Ending::Revoked);
                self.revoking
                    .revoke_keys(reply, revocation, now, |_, keys, _| ClientRequested {
                        close: keys.iter().map(close).collect(),
                    })?;
                return Ok(None);
            }
        }
        Ok(Some(ClientRequested::default()))
    }
}
