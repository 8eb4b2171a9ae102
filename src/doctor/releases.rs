//! The releases of Prosody that have the security fixes which its advisories name.
//!
//! A hint, no more: it is Prosody's matter, and a distribution puts fixes into an older version without changing its number.
//!
//! Must not know: where the version comes from.

use std::process::Command;

use super::finding::{Finding, Level, one_line};

/// Advisories of a day, by series of releases.
struct Fixed {
    series: (u32, u32),
    /// The first of the series that has the fixes.
    by: (u32, u32, u32),
    what: &'static str,
}

/// The fixed releases that were published until October 2026; of each series the newest.
const FIXED: [Fixed; 2] = [
    Fixed {
        series: (0, 12),
        by: (0, 12, 6),
        what: "CVE-2026-43504 to CVE-2026-43507: strangers can fill its memory",
    },
    Fixed {
        series: (13, 0),
        by: (13, 0, 5),
        what: "CVE-2026-43504 to CVE-2026-43507: strangers can fill its memory",
    },
];

/// Debian's version of the installed package, if there is one.
pub(super) fn package() -> Option<String> {
    let asked = Command::new("dpkg-query")
        .args(["--show", "--showformat=${db:Status-Status} ${Version}"])
        .arg("prosody")
        .output()
        .ok()?;
    let said = String::from_utf8(asked.stdout).ok()?;
    said.strip_prefix("installed ").map(str::to_owned)
}

/// Says what Prosody `version` lacks; `package`: the version of the package that it comes from, if that is known.
pub(super) fn findings(version: &str, package: Option<&str>) -> Vec<Finding> {
    let Some(found) = number(version) else {
        // Built from the sources of a day.
        return Vec::new();
    };
    let fixed = FIXED
        .iter()
        .find(|fixed| fixed.series == (found.0, found.1));
    let Some(fixed) = fixed.filter(|fixed| found < fixed.by) else {
        return Vec::new();
    };
    let by = format!("{}.{}.{}", fixed.by.0, fixed.by.1, fixed.by.2);
    let version = one_line(version);
    // The package of this Prosody, not of one beside it.
    let package = package.filter(|package| {
        let rest = package.strip_prefix(version.as_str());
        rest.is_some_and(|rest| rest.starts_with(['-', '+', '~']))
    });
    let message = match package {
        // A release of Debian takes nothing into a package but fixes, and those came with the first one.
        Some(package) if package.contains("+deb") => {
            format!("Prosody {version} has Debian's security fixes ({package})")
        }
        Some(package) => format!(
            "hint: Prosody {version} lacks the security fixes of {by} ({}), unless its package {} has them",
            fixed.what,
            one_line(package)
        ),
        None => format!(
            "hint: Prosody {version} lacks the security fixes of {by} ({}), unless whoever packaged it has added them",
            fixed.what
        ),
    };
    vec![Finding::new("releases", Level::Ok, message, None)]
}

/// The three numbers of a release.
fn number(version: &str) -> Option<(u32, u32, u32)> {
    let mut parts = version.split('.').map(|part| part.parse().ok());
    let found = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::findings;

    fn said(version: &str, package: Option<&str>) -> String {
        let found = findings(version, package);
        assert!(found.len() <= 1);
        found
            .first()
            .map(|finding| finding.message.clone())
            .unwrap_or_default()
    }

    #[test]
    fn who_has_the_fixes_hears_nothing() {
        for version in [
            "0.12.6",
            "0.12.10",
            "13.0.5",
            "13.0.6",
            "13.0.7",
            "13.1.0",
            "14.0.0",
            "trunk nightly build 1234",
            "13.0 nightly build 20",
            "",
        ] {
            assert_eq!(said(version, None), "", "{version}");
        }
    }

    #[test]
    fn who_lacks_the_fixes_hears_both_versions() {
        for (version, fixed) in [
            ("0.12.3", "0.12.6"),
            ("0.12.5", "0.12.6"),
            ("13.0.0", "13.0.5"),
            ("13.0.4", "13.0.5"),
        ] {
            let said = said(version, None);
            assert!(said.contains(version) && said.contains(fixed), "{said}");
            assert!(said.contains("whoever packaged it"), "{said}");
        }
        let backport = said("13.0.1", Some("13.0.1-1~bpo12+1"));
        assert!(
            backport.starts_with("hint:") && backport.contains("13.0.1-1~bpo12+1"),
            "{backport}"
        );
    }

    #[test]
    fn what_debian_has_fixed_in_an_older_version_is_no_hint() {
        for (version, package) in [
            ("0.12.3", "0.12.3-1+deb12u1"),
            ("13.0.1", "13.0.1-1+deb131u"),
        ] {
            let said = said(version, Some(package));
            assert!(
                !said.starts_with("hint:") && said.contains(package),
                "{said}"
            );
        }
        // Another Prosody is asked than the installed one.
        let other = said("13.0.1", Some("0.12.3-1+deb12u1"));
        assert!(other.contains("whoever packaged it"), "{other}");
    }
}
