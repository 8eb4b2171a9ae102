//! The version of the protocol, and how much a line may hold. Both sides keep to it: docs/protocol.md, "Limits".
//!
//! Must not know: what a line says.

/// The version that `session.hello` must ask for.
pub const PROTOCOL_VERSION: u32 = 2;
/// Longest question, newline included.
pub const MAX_QUESTION_BYTES: usize = 128 * 1024;
/// Longest answer, newline included.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// A page of a list is closed when it is larger than this.
pub const PAGE_BYTES: usize = 64 * 1024;
/// Most certificates in a chain.
pub const MAX_CHAIN: usize = 6;
/// Most base64 in a chain, all certificates together.
pub const MAX_CHAIN_BASE64_BYTES: usize = 64 * 1024;
/// Most base64 of one certificate.
pub const MAX_CERTIFICATE_BASE64_BYTES: usize = 24 * 1024;
/// The longest that an asker may wait for a yes, in milliseconds: behind a daemon that is silent a revocation is answered later by that.
pub const MAX_WAITS_MS: u32 = 5 * 60 * 1000;
/// Most lists and objects in each other.
pub(super) const MAX_NESTING: usize = 127;
/// Longest id of a question.
pub(super) const MAX_ID_BYTES: usize = 64;
