//! The database that the store is in: is it reached, safe on its way, as it has to be, on time, and copied?
//!
//! Judges what was gathered; it must not look for anything itself.

use super::finding::{Finding, Level, Mend, one_line};
use crate::identity::visible::visible;
use crate::policy::standby::{StandbyFacts, StandbyWord, standby};
use crate::protocol::SharedState;
use crate::store::{DatabaseSeen, DatabaseTables as Tables, Encryption};

/// A look at it.
#[derive(Debug, Clone)]
pub(super) struct Database {
    /// The words that name it.
    pub(super) words: String,
    pub(super) looked: Looked,
}

/// What came of the look.
#[derive(Debug, Clone)]
pub(super) enum Looked {
    /// Its server has answered.
    Seen(Box<DatabaseSeen>),
    /// It can't be looked at as the daemon's user, in words with the line that mends it.
    Refused(String),
    /// It could not be looked at from here, and why.
    Hidden(String),
}

/// Judges it; `shared`: what the daemon says, if one answers.
pub(super) fn findings(database: Option<&Database>, shared: Option<&SharedState>) -> Vec<Finding> {
    let Some(Database { words, looked }) = database else {
        let is_in_one = shared.is_some();
        let why = "the words that name the database were not found (as root, or with --database)";
        let unknown = is_in_one.then(|| Finding::not_checked("database", why));
        return unknown.into_iter().collect();
    };
    match looked {
        Looked::Hidden(why) => vec![Finding::not_checked("database", one_line(why))],
        Looked::Refused(problem) => {
            vec![Finding::new(
                "database",
                Level::Problem,
                one_line(problem),
                None,
            )]
        }
        Looked::Seen(seen) => vec![
            reached(seen, words),
            role(seen),
            clock(seen),
            copied(seen, shared),
        ],
    }
}

/// Is there a store, and is the way to it safe?
fn reached(seen: &DatabaseSeen, words: &str) -> Finding {
    let place = visible(&seen.place);
    match seen.tables {
        Tables::Missing => {
            let message = format!("there is no store in {place}");
            return Finding::problem("database", message, Mend::Run(seen.init.clone()));
        }
        Tables::Other { version, known } => {
            let what = if version > known {
                "install the newer saslcertd that made it"
            } else {
                "export it with the older saslcertd that made it, and import it into a new one"
            };
            let message = format!(
                "the tables in {place} have version {version}, and this saslcertd knows {known}: {what}"
            );
            return Finding::new("database", Level::Problem, message, None);
        }
        Tables::Known { .. } => {}
    }
    let way = match seen.encryption {
        Encryption::Socket => "over a socket of this machine",
        Encryption::Tls => "over TLS, by a server that has proven its name",
        Encryption::None => {
            let message = format!(
                "{place} is asked over TCP without TLS: whoever is on the way reads all passwords' verifiers, and can say that everybody \
                 may log in. Have its server show a certificate (ssl = on), and leave sslmode=disable out of \"{}\"",
                visible(words)
            );
            return Finding::new("database", Level::Warning, one_line(&message), None);
        }
    };
    Finding::ok(
        "database",
        format!(
            "{place}: PostgreSQL {} answers {way}, in {} ms",
            visible(&seen.server),
            seen.connected_in.as_millis()
        ),
    )
}

/// Has the daemon's role the rights that it needs, and no others?
fn role(seen: &DatabaseSeen) -> Finding {
    let role = visible(&seen.role);
    match seen.tables {
        Tables::Missing | Tables::Other { .. } => {
            Finding::not_checked("db-role", "there are no tables of this version")
        }
        Tables::Known { may_serve: false } => Finding::problem(
            "db-role",
            format!(
                "the role {role} may not read and write the store's tables; whoever owns them gives it the rights"
            ),
            Mend::Run(format!("{} --role {}", seen.init, seen.role)),
        ),
        Tables::Known { may_serve: true } if seen.may_change_tables => Finding::warning(
            "db-role",
            format!(
                "the role {role} may change the tables, and a daemon has only to read and write rows: give another one these rights, and \
                 name it with user=saslcertd_daemon"
            ),
            Mend::Run(format!(
                "createuser saslcertd_daemon && {} --role saslcertd_daemon",
                seen.init
            )),
        ),
        Tables::Known { may_serve: true } => Finding::ok(
            "db-role",
            format!("the role {role} may read and write rows, and not change the tables"),
        ),
    }
}

/// Each machine judges by its own clock which certificates are valid.
fn clock(seen: &DatabaseSeen) -> Finding {
    let apart = seen.ahead_ms.unsigned_abs();
    let seconds = apart.div_ceil(1000);
    if apart < CLOCK_SLACK_MS {
        return Finding::ok("db-clock", "the database's clock and this one agree");
    }
    let which = if seen.ahead_ms > 0 {
        "ahead of"
    } else {
        "behind"
    };
    Finding::warning(
        "db-clock",
        format!(
            "the database's clock is {seconds} s {which} this machine's: of two machines at one database, each would judge otherwise which \
             certificates are valid. Have both set their clocks"
        ),
        Mend::Run("timedatectl set-ntp true".to_owned()),
    )
}

/// Has a standby what was answered?
fn copied(seen: &DatabaseSeen, shared: Option<&SharedState>) -> Finding {
    let daemons = match shared {
        Some(shared) => {
            let alive = shared.daemons.iter();
            alive.filter(|one| one.silent_seconds.is_none()).count()
        }
        // Nobody has watched whether they still renew their leases.
        None => usize::try_from(seen.machines).unwrap_or(usize::MAX),
    };
    let standbys = &seen.standbys;
    let names = visible(&standbys.names);
    let facts = StandbyFacts {
        daemons,
        are_named: !standbys.names.is_empty(),
        there: standbys.there,
    };
    match standby(facts) {
        StandbyWord::NotNeeded => Finding::ok(
            "standby",
            "one daemon uses the database, which has no synchronous standby",
        ),
        StandbyWord::Kept => Finding::ok(
            "standby",
            format!("a synchronous standby has each change before it is answered ({names})"),
        ),
        StandbyWord::Unnamed => Finding::warning(
            "standby",
            "several daemons share the database, and no change waits for a standby: what was revoked last can be lost with its machine. \
             When one follows (docs/several-machines.md), on the database's machine",
            Mend::Run(
                "sudo -u postgres psql -c \"ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'\" -c 'SELECT pg_reload_conf()'"
                    .to_owned(),
            ),
        ),
        StandbyWord::Gone => Finding::new(
            "standby",
            Level::Problem,
            one_line(&format!(
                "none of the database's synchronous standbys is there ({names}): each change waits for one, and nobody logs in meanwhile, \
                 unless somebody has ended that wait. Start one, or see docs/several-machines.md"
            )),
            None,
        ),
        StandbyWord::Unseen => Finding::better(
            "standby",
            format!(
                "each change waits for a standby ({names}); whether one is there the role {} may not see",
                visible(&standbys.role)
            ),
            Mend::Run(format!(
                "sudo -u postgres psql -c 'GRANT pg_monitor TO {}'",
                standbys.role
            )),
        ),
    }
}

/// As much as machines may differ that have their clocks set.
const CLOCK_SLACK_MS: u64 = 5000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::store::Standbys;

    fn well() -> DatabaseSeen {
        DatabaseSeen {
            place: "postgresql: host=/run/postgresql dbname=saslcertd".to_owned(),
            init: "saslcertd init --database 'w'".to_owned(),
            server: "15.9".to_owned(),
            encryption: Encryption::Socket,
            connected_in: Duration::from_millis(3),
            tables: Tables::Known { may_serve: true },
            role: "saslcertd".to_owned(),
            may_change_tables: false,
            ahead_ms: -4000,
            machines: 1,
            standbys: Standbys {
                names: String::new(),
                there: None,
                role: "saslcertd".to_owned(),
            },
        }
    }

    fn judged(seen: DatabaseSeen, shared: Option<&SharedState>) -> Vec<Finding> {
        let database = Database {
            words: "w".to_owned(),
            looked: Looked::Seen(Box::new(seen)),
        };
        findings(Some(&database), shared)
    }

    /// The one finding that is not well.
    fn found(change: impl FnOnce(&mut DatabaseSeen)) -> Finding {
        let mut seen = well();
        change(&mut seen);
        let all = judged(seen, None);
        let mut bad = all.into_iter().filter(|one| {
            one.level > Level::NotChecked || (one.level == Level::Ok && one.mend.is_some())
        });
        let one = bad.next().unwrap();
        assert_eq!(bad.next(), None);
        one
    }

    #[test]
    fn a_database_that_is_as_it_has_to_be_is_well() {
        let all = judged(well(), None);
        assert!(all.iter().all(|one| one.level == Level::Ok), "{all:?}");
        assert_eq!(all.len(), 4);
    }

    #[test]
    fn each_problem_is_named_with_the_line_that_mends_it() {
        let run = |line: &str| Some(Mend::Run(line.to_owned()));
        let missing = found(|seen| seen.tables = Tables::Missing);
        assert_eq!((missing.check, missing.level), ("database", Level::Problem));
        assert_eq!(missing.mend, run("saslcertd init --database 'w'"));
        let other = found(|seen| {
            seen.tables = Tables::Other {
                version: 2,
                known: 1,
            };
        });
        assert!(other.message.contains("version 2"), "{other}");
        let open = found(|seen| seen.encryption = Encryption::None);
        assert_eq!((open.check, open.level), ("database", Level::Warning));
        let powerless = found(|seen| seen.tables = Tables::Known { may_serve: false });
        assert_eq!(
            (powerless.check, powerless.level),
            ("db-role", Level::Problem)
        );
        assert_eq!(
            powerless.mend,
            run("saslcertd init --database 'w' --role saslcertd")
        );
        let mighty = found(|seen| seen.may_change_tables = true);
        assert_eq!((mighty.check, mighty.level), ("db-role", Level::Warning));
        for (ahead_ms, words) in [(5000, "5 s ahead"), (-61_500, "62 s behind")] {
            let late = found(|seen| seen.ahead_ms = ahead_ms);
            assert_eq!((late.check, late.level), ("db-clock", Level::Warning));
            assert!(late.message.contains(words), "{late}");
        }
    }

    #[test]
    fn several_daemons_need_a_standby() {
        let alone = found(|seen| seen.machines = 2);
        assert_eq!((alone.check, alone.level), ("standby", Level::Warning));
        let named = |there| {
            found(move |seen| {
                seen.standbys.names = "ANY 1 (*)".to_owned();
                seen.standbys.there = there;
            })
        };
        assert_eq!(named(Some(0)).level, Level::Problem);
        let unseen = named(None);
        let grant = "sudo -u postgres psql -c 'GRANT pg_monitor TO saslcertd'";
        assert_eq!(unseen.mend, Some(Mend::Run(grant.to_owned())));
        // The daemon that answers knows who is alive.
        let shared = json!({"daemons": [{"pid": 1}, {"pid": 2, "silent_seconds": 9}]});
        let shared: SharedState = serde_json::from_value(shared).unwrap();
        let mut seen = well();
        seen.machines = 2;
        let all = judged(seen, Some(&shared));
        assert!(all.iter().all(|one| one.level == Level::Ok), "{all:?}");
    }

    #[test]
    fn what_could_not_be_looked_at_is_said() {
        let look = |looked| {
            let words = "w".to_owned();
            findings(Some(&Database { words, looked }), None)
        };
        let hidden = look(Looked::Hidden("no".to_owned()));
        assert_eq!(hidden[0].level, Level::NotChecked);
        let refused = look(Looked::Refused("it cannot be reached".to_owned()));
        assert_eq!(refused[0].level, Level::Problem);
        assert_eq!(findings(None, None), []);
        assert_eq!(findings(None, Some(&SharedState::default())).len(), 1);
    }
}
