//! The users of this machine that may ask, and the role of each, by the flags of `serve`.
//!
//! Must not know: which questions there are, which of them a role may ask ([`access`](crate::policy::access) says that).

use nix::unistd::{Gid, Uid, User};

use crate::protocol::Role;

/// The admin's: a flag names a user that this machine does not have.
#[derive(Debug, thiserror::Error)]
#[error("{flag} {user}: there is no such user on this machine")]
pub struct UnknownUser {
    /// Which flag.
    pub flag: &'static str,
    /// Which user.
    pub user: String,
}

/// The users that may ask, by role.
pub(super) struct Roles {
    pub(super) server: Vec<u32>,
    pub(super) admin: Vec<u32>,
    /// The group that the socket is given, so that the server may open it.
    pub(super) socket_group: Option<Gid>,
}

impl Roles {
    /// The roles by the flags of `serve`: users by name or number.
    ///
    /// Errors: a name that this machine does not know.
    pub(super) fn resolve(
        server_users: &[String],
        admin_users: &[String],
    ) -> Result<Self, UnknownUser> {
        let user = |flag: &'static str, name: &String| {
            let unknown = || UnknownUser {
                flag,
                user: name.clone(),
            };
            match name.parse::<u32>() {
                // A number needs no entry: the kernel compares numbers.
                Ok(uid) => Ok((uid, User::from_uid(Uid::from_raw(uid)).ok().flatten())),
                Err(_) => match User::from_name(name) {
                    Ok(Some(user)) => Ok((user.uid.as_raw(), Some(user))),
                    Ok(None) | Err(_) => Err(unknown()),
                },
            }
        };
        let mut server = Vec::new();
        let mut socket_group = None;
        for name in server_users {
            let (uid, entry) = user("--server-user", name)?;
            server.push(uid);
            socket_group = socket_group.or(entry.map(|entry| entry.gid));
        }
        let mut admin = vec![0, Uid::effective().as_raw()];
        for name in admin_users {
            admin.push(user("--admin-user", name)?.0);
        }
        admin.sort_unstable();
        admin.dedup();
        Ok(Self {
            server,
            admin,
            socket_group,
        })
    }

    /// The role of a peer of this user; `None`: it may ask nothing.
    pub(super) fn role(&self, uid: u32) -> Option<Role> {
        if self.admin.contains(&uid) {
            Some(Role::Admin)
        } else if self.server.contains(&uid) {
            Some(Role::Server)
        } else {
            None
        }
    }
}
