//! What each question is answered with: its facts are fetched, `policy` decides, the decision is written, answered and logged.
//!
//! Must not know: sockets, the clock.

mod accounts;
mod admission;
mod authorities;
mod backup;
mod certificates;
pub(super) mod checks;
mod command;
mod console;
mod declared;
mod explain;
mod external;
mod hosts;
mod incarnations;
mod live;
mod moving_in;
mod notices;
mod requested;
mod status;

use super::reply::{Answered, unreadable};
use super::service::Service;
