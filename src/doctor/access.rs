//! May a user open this socket, or read this file? By the modes, owners and groups on the way to it.
//!
//! Pure. Access control lists are not seen.
//!
//! Must not know: whose socket it is, how the modes were read.

use std::path::PathBuf;

/// A file or folder on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The user that wants to open it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Who {
    pub(super) uid: u32,
    /// The primary group first.
    pub(super) gids: Vec<u32>,
}

/// Why the user can't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obstacle {
    pub(super) node: Node,
    /// Which bits of the mode decide, and the first of them that is missing.
    pub(super) class: Class,
}

/// Which bits of a mode decide about a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Owner,
    Group,
    Other,
}

/// The obstacle between `who` and the file or socket at the end of the way, if there is one.
///
/// Shape: `folders` from the root down; the file's own folder is the last. `want`: one bit of a mode.
pub(super) fn obstacle(folders: &[Node], file: &Node, who: &Who, want: u32) -> Option<Obstacle> {
    // Root passes everywhere.
    if who.uid == 0 {
        return None;
    }
    let closed = |node: &Node, bit: u32| {
        let (class, shift) = class_of(node, who);
        (node.mode >> shift & bit == 0).then(|| Obstacle {
            node: node.clone(),
            class,
        })
    };
    let on_the_way = folders.iter().find_map(|folder| closed(folder, TRAVERSE));
    on_the_way.or_else(|| closed(file, want))
}

fn class_of(node: &Node, who: &Who) -> (Class, u32) {
    if node.uid == who.uid {
        (Class::Owner, 6)
    } else if who.gids.contains(&node.gid) {
        (Class::Group, 3)
    } else {
        (Class::Other, 0)
    }
}

const TRAVERSE: u32 = 1;
/// To connect to a socket is to write.
pub(super) const CONNECT: u32 = 2;
pub(super) const READ: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PROSODY: u32 = 110;
    const DAEMON: u32 = 111;

    fn node(mode: u32, uid: u32, gid: u32) -> Node {
        Node {
            path: PathBuf::new(),
            mode,
            uid,
            gid,
        }
    }

    #[test]
    fn each_folder_must_be_passable_and_the_socket_writable() {
        let who = Who {
            uid: PROSODY,
            gids: vec![PROSODY],
        };
        let (other, group) = (Some(Class::Other), Some(Class::Group));
        // Mode, user and group of the folder and of the socket in it.
        for (folder, socket, expected) in [
            // As installed.
            ((0o750, DAEMON, PROSODY), (0o660, DAEMON, PROSODY), None),
            // Its group is the daemon's.
            ((0o750, DAEMON, DAEMON), (0o660, DAEMON, PROSODY), other),
            ((0o750, DAEMON, PROSODY), (0o660, DAEMON, DAEMON), other),
            // Its mode keeps the group out.
            ((0o700, DAEMON, PROSODY), (0o660, DAEMON, PROSODY), group),
            ((0o750, DAEMON, PROSODY), (0o600, DAEMON, PROSODY), group),
            ((0o750, DAEMON, PROSODY), (0o640, DAEMON, PROSODY), group),
            // The owner's bits count for the owner, whatever the group's are.
            (
                (0o070, PROSODY, PROSODY),
                (0o660, DAEMON, PROSODY),
                Some(Class::Owner),
            ),
            ((0o755, 0, 0), (0o666, DAEMON, DAEMON), None),
        ] {
            let of = |(mode, uid, gid)| node(mode, uid, gid);
            let way = [node(0o755, 0, 0), of(folder)];
            let found = obstacle(&way, &of(socket), &who, CONNECT);
            let class = found.map(|obstacle| obstacle.class);
            assert_eq!(class, expected, "{folder:?} {socket:?}");
        }
    }

    #[test]
    fn a_supplementary_group_is_enough() {
        let (folder, socket) = (node(0o750, DAEMON, DAEMON), node(0o660, DAEMON, DAEMON));
        let who = Who {
            uid: PROSODY,
            gids: vec![PROSODY, DAEMON],
        };
        assert_eq!(obstacle(&[folder], &socket, &who, CONNECT), None);
    }

    #[test]
    fn the_first_closed_folder_is_named() {
        let (home, folder) = (node(0o700, 0, 0), node(0o700, DAEMON, DAEMON));
        let who = Who {
            uid: PROSODY,
            gids: vec![PROSODY],
        };
        let found = obstacle(
            &[home.clone(), folder],
            &node(0o660, DAEMON, DAEMON),
            &who,
            CONNECT,
        );
        assert_eq!(found.map(|obstacle| obstacle.node), Some(home));
    }

    #[test]
    fn root_passes() {
        let who = Who {
            uid: 0,
            gids: vec![0],
        };
        assert_eq!(
            obstacle(
                &[node(0o700, DAEMON, DAEMON)],
                &node(0o600, DAEMON, DAEMON),
                &who,
                CONNECT
            ),
            None
        );
    }
}
