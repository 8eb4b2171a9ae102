//! The threads on which keys are derived. They yield the processor to all others: whoever tries passwords must not keep those waiting
//! whose logins take microseconds.
//!
//! Must not know: what is derived.

use tokio::runtime::{Builder, Handle, Runtime};

/// By so much lower is the priority of these threads, as nice(1) counts it: where others want the processor they get a tenth of what one of those gets.
const NICENESS: i32 = 10;

/// Threads of a lower priority, made when there is work for them. A runtime of their own keeps them, of which nothing else is used;
/// without it (the system refused one) the threads of all other work do.
#[derive(Debug)]
pub(super) struct Yielding(Option<Runtime>);

impl Default for Yielding {
    fn default() -> Self {
        let runtime = Builder::new_current_thread()
            .thread_name("derivation")
            .on_thread_start(yield_to_all)
            .build();
        Self(runtime.ok())
    }
}

impl Yielding {
    /// Where to spawn what blocks, and is to yield.
    pub(super) fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            None => Handle::current(),
        }
    }
}

impl Drop for Yielding {
    fn drop(&mut self) {
        // Dropped by a task, a runtime must not wait for its threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

fn yield_to_all() {
    // Source: setpriority(2), NOTES: on Linux it is a property of the thread.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "derivations run at the priority of all others");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Of the thread that asks. Source: `proc_pid_stat(5)`, field 19; the name, in brackets, may have spaces.
    fn niceness() -> i32 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, behind_name) = stat.rsplit_once(')').unwrap();
        behind_name
            .split_whitespace()
            .nth(16)
            .unwrap()
            .parse()
            .unwrap()
    }

    #[tokio::test]
    async fn whoever_derives_goes_behind_all_others() {
        let own = niceness();
        let yielding = Yielding::default();
        let derives = yielding.handle().spawn_blocking(niceness).await.unwrap();
        assert_eq!(derives, (own + NICENESS).min(19));
        let other = tokio::task::spawn_blocking(niceness).await.unwrap();
        assert_eq!((other, niceness()), (own, own));
    }
}
