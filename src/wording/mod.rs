//! The words that people read: sentences, forms and rows, finished and safe to show.
//!
//! Must not know: who asks, how anything is stored or sent.

pub mod certificates;
pub mod console;
pub mod endings;
pub mod forms;
pub mod links;
pub mod notices;
pub mod setup;
pub mod sharing;
