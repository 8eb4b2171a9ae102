//! Looks at files: one with the folders above it, a mount point, the size of a folder.
//!
//! Must not know: whose it shall be.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::super::access::Node;

/// The folders above a file, from the root down, as far as they are there.
pub(super) fn folders_above(path: &Path) -> Vec<Node> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().map_while(node).collect()
}

/// Of a link, the file that it leads to is looked at: the link's own mode decides nothing.
pub(super) fn node(path: &Path) -> Option<Node> {
    let found = fs::metadata(path).ok()?;
    Some(Node {
        path: path.to_owned(),
        mode: found.mode(),
        uid: found.uid(),
        gid: found.gid(),
    })
}

pub(super) fn is_socket(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.file_type().is_socket())
}

pub(super) fn mount_point(folder: &Path) -> PathBuf {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mount_point_among(&mounts, &folder)
}

/// By its name: a part of a file system that is mounted elsewhere, too, has the same device.
fn mount_point_among(mounts: &str, folder: &Path) -> PathBuf {
    // proc(5): the fifth field, with some characters in octal.
    let points = mounts.lines().filter_map(|line| {
        let mut point = line.split(' ').nth(4)?.to_owned();
        for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\134", "\\")] {
            point = point.replace(escape, plain);
        }
        Some(PathBuf::from(point))
    });
    let above = points.filter(|point| folder.starts_with(point));
    above
        .max_by_key(|point| point.components().count())
        .unwrap_or_else(|| folder.to_owned())
}

pub(super) fn bytes_below(folder: &Path, depth: usize) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() && depth > 0 => bytes_below(&entry.path(), depth - 1),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_point_counts() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/a rw\n23 22 8:1 /b /var/lib/a\\040b ro - ext4 /dev/a rw\n\
                      24 22 8:2 / /var rw - ext4 /dev/b rw\n";
        for (folder, expected) in [
            ("/var/lib/a b/c", "/var/lib/a b"),
            ("/var/lib/a", "/var"),
            ("/srv", "/"),
        ] {
            let found = mount_point_among(mounts, Path::new(folder));
            assert_eq!(found, Path::new(expected));
        }
    }
}
