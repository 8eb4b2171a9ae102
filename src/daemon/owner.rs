//! Makes root's `init` and `serve` act as the store's owner: files of root's would keep the daemon out, and root's rights are not
//! needed where somebody else may write.
//!
//! Must not know: what is served, what the store holds.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::Path;

use nix::unistd::{Gid, Uid, User, getgrouplist, setgid, setgroups, setuid};

use crate::store::Store;
use crate::system::places::DEFAULT_DATA_DIR;

/// Another user than root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Owner {
    /// Root's group is not what a folder of somebody else's is in for.
    fn new(uid: u32, gid: u32) -> Option<Self> {
        let own_gid = || {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map(|user| user.gid.as_raw())
        };
        let gid = if gid == 0 { own_gid() } else { Some(gid) };
        (uid != 0).then_some(Self {
            uid,
            gid: gid.unwrap_or(uid),
        })
    }

    /// Gives root's rights up for good, and becomes this user, a member also of `more` groups.
    fn act(self, more: &[Gid]) -> nix::Result<()> {
        let gid = Gid::from_raw(self.gid);
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        let name = user.and_then(|user| CString::new(user.name).ok());
        let mut groups = match name {
            Some(name) => getgrouplist(&name, gid)?,
            None => vec![gid],
        };
        groups.extend(
            more.iter()
                .filter(|group| !groups.contains(group))
                .copied()
                .collect::<Vec<_>>(),
        );
        setgroups(&groups)?;
        setgid(gid)?;
        setuid(Uid::from_raw(self.uid))
    }
}

/// As whom a `serve` by root serves: the owner of the store; where that is root, whoever the socket's folder was made for. None:
/// root itself, to whom all of it belongs.
pub(crate) fn who_serves(data_dir: &Path, socket: &Path) -> Option<Owner> {
    let of_store = || {
        let (uid, gid) = Store::owner(data_dir)?;
        Owner::new(uid, gid)
    };
    let of_socket = || {
        let folder = socket.parent()?;
        // Others' folders say nothing about us.
        if folder.file_name()? != "saslcertd" {
            return None;
        }
        let found = fs::metadata(folder).ok()?;
        let user = User::from_uid(Uid::from_raw(found.uid())).ok().flatten()?;
        // Its group is the server's.
        Owner::new(found.uid(), user.gid.as_raw())
    };
    of_store().or_else(of_socket)
}

/// Root serves as that user, who is a member also of the group that the socket is given.
pub(crate) fn become_for_serve(
    data_dir: &Path,
    socket: &Path,
    server_users: &[String],
) -> nix::Result<Option<Owner>> {
    if !Uid::effective().is_root() {
        return Ok(None);
    }
    let Some(owner) = who_serves(data_dir, socket) else {
        return Ok(None);
    };
    let group = server_users.iter().find_map(|name| group_of(name));
    owner.act(&group.into_iter().collect::<Vec<_>>())?;
    Ok(Some(owner))
}

fn group_of(name: &str) -> Option<Gid> {
    let user = match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    // Root's group is the key to more than a socket.
    let group = user.ok().flatten()?.gid;
    (group.as_raw() != 0).then_some(group)
}

/// Root makes the store as the user whose folder it is. One that is missing is made by, and for, whoever runs this; but the
/// usual one for the usual user.
pub(crate) fn become_for_init(folder: &Path) -> io::Result<()> {
    if !Uid::effective().is_root() {
        return Ok(());
    }
    let usual = User::from_name("saslcertd").ok().flatten();
    if let Some(user) = usual
        && folder == Path::new(DEFAULT_DATA_DIR)
        && !folder.exists()
    {
        DirBuilder::new().mode(0o700).create(folder)?;
        chown(folder, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    }
    let found = fs::metadata(folder).ok();
    if let Some(owner) = found.and_then(|found| Owner::new(found.uid(), found.gid())) {
        owner.act(&[])?;
    }
    Ok(())
}
