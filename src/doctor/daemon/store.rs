//! Is the store there, whole, and open to the daemon?
//!
//! Must not know: how the store was looked at.

use super::super::commands::Commands;
use super::super::finding::{Finding, Level, Mend, one_line};
use super::seen::{Daemon, StoreFolder};
use crate::identity::counted;

pub(super) fn store(daemon: &Daemon, commands: &Commands) -> Finding {
    let of_database = daemon
        .status()
        .filter(|status| status.store.shared.is_some());
    let place = of_database.map_or(&commands.data_dir, |status| &status.store.path);
    let shown = place.display();
    if let Some(status) = daemon.status() {
        let state = &status.store;
        if state.corrupt_reads > 0 {
            return Finding::problem(
                "store",
                format!(
                    "{} found damaged records in {shown}; this saves what can be read, and then see \"The store is damaged\" in \
                     docs/operations.md",
                    counted(state.corrupt_reads, "read", "reads")
                ),
                Mend::Run(format!(
                    "{} export /root/readable.ndjson",
                    commands.saslcertd
                )),
            );
        }
        if state.check.as_ref().is_some_and(|check| !check.whole) {
            let message = format!(
                "the last check of {shown} found rows missing or damaged: save what is there, restore a backup, and see \"The store is \
                 damaged\" in docs/operations.md"
            );
            let save = format!("{} export /root/readable.ndjson", commands.saslcertd);
            return Finding::problem("store", message, Mend::Run(save));
        }
        if state.accepted_loss.as_ref().is_some_and(|loss| loss.new) {
            let message = format!(
                "{shown} has lost something, and is served as --accept-rollback says: what was revoked, disabled or deleted in the missing \
                 part is let in again. Do it again, end the daemon, and start it without the flag; see \"A store that lost something\" in \
                 docs/operations.md"
            );
            return Finding::new("store", Level::Problem, message, None);
        }
        if let Some(problem) = &state.sequence_problem {
            let message = format!(
                "{shown}/SEQUENCE cannot be written: {problem}. No change is lost, but a store that went back to an older state might \
                 not be noticed; look after the disk (df, dmesg), and the next change writes the file again"
            );
            return Finding::new("store", Level::Problem, one_line(&message), None);
        }
        return Finding::ok(
            "store",
            format!(
                "{shown}: {} of {}",
                counted(state.certificates, "certificate", "certificates"),
                counted(state.accounts, "account", "accounts")
            ),
        );
    }
    match &daemon.store {
        StoreFolder::Initialised => Finding::ok("store", format!("there is one in {shown}")),
        StoreFolder::InDatabase => Finding::ok("store", "it is in a database"),
        StoreFolder::Closed(advice) => advice.finding("store", |_| None),
        StoreFolder::Empty => Finding::problem(
            "store",
            format!("there is no store in {shown} (if it is elsewhere: --data-dir)"),
            Mend::Run(commands.init()),
        ),
        StoreFolder::Hidden => {
            Finding::not_checked("store", format!("this user may not look into {shown}"))
        }
    }
}
