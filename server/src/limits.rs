//! Every maximum of the server, in one place: nothing is unbounded.
//!
//! Configuration may lower some of them, never raise them. Bounds of the log itself (bodies, names,
//! lists) are the engine's and stand in `hansard_engine::limits`.

use std::time::Duration;

/// A request's body, but for imports: a message of 64 KiB may grow sixfold by JSON escapes.
pub const REQUEST_BYTES_MAX: usize = 512 * 1024;
/// What is read on of a body that is too large, so that its sender hears so.
pub const DRAIN_BYTES_MAX: usize = 8 * 1024 * 1024;
/// An import's request body.
pub const IMPORT_REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries of one import request.
pub const IMPORT_ENTRIES_MAX: usize = 1000;
/// A request's line and headers together.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of one request.
pub const HEADERS_MAX: usize = 64;
/// Waiting for a request's head, also the next one of a kept connection.
pub const HEAD_WAIT: Duration = Duration::from_secs(60);
/// A request, but for those that write much and for streams.
pub const REQUEST_WAIT: Duration = Duration::from_secs(30);
/// An import, an erasure, a look at retention with a purge, a checkpoint.
pub const LONG_WAIT: Duration = Duration::from_secs(300);
/// Open connections; one more waits in the listener's queue.
pub const CONNECTIONS_MAX: usize = 24_000;
/// Requests in flight get this long after the stop signal; then connections are cut.
pub const STOP_WAIT: Duration = Duration::from_secs(15);

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 500;
/// Items of one page of a list.
pub const LIST_ITEMS: usize = 100;
/// Rows that one list request looks at while it filters; it answers what it found so far.
pub const LIST_SCAN_MAX: usize = 20_000;
/// Rooms whose missing history a category page names.
pub const CATEGORY_GAPS_MAX: usize = 1000;
/// Links of `continues` that the pager crosses.
pub const CONTINUES_MAX: usize = 16;
/// Checks of one request against a policy that keeps changing.
pub const POLICY_ATTEMPTS_MAX: usize = 16;

/// A password, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 1024;
/// Passwords being hashed or verified at once.
pub const PASSWORD_WORKERS: usize = 2;
/// Sign-ins waiting for a password worker; one more is told to come back.
pub const PASSWORD_QUEUE_MAX: usize = 256;
/// Failed sign-ins of one name from one address within the window.
pub const SIGN_IN_FAILURES_MAX: u32 = 10;
/// Failed sign-ins from one address within the window.
pub const SIGN_IN_ADDRESS_FAILURES_MAX: u32 = 100;
/// The window of failed sign-ins.
pub const SIGN_IN_WINDOW: Duration = Duration::from_secs(300);
/// Names and addresses whose failures are remembered; beyond it the oldest is forgotten.
pub const SIGN_IN_ENTRIES_MAX: usize = 16 * 1024;
/// A token lives at most so many days.
pub const TOKEN_DAYS_MAX: i64 = 3660;
/// A sign-in link works for so many minutes.
pub const LINK_MINUTES: i64 = 15;
/// Sessions ended by one change of password.
pub const SESSIONS_ENDED_MAX: usize = 1000;

/// Rooms of one stream connection.
pub const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Stream connections of the server.
pub const STREAMS_MAX: usize = 20_000;
/// One frame that a stream client sends.
pub const STREAM_FRAME_BYTES_MAX: usize = 64 * 1024;
/// Waiting for the first frame of a stream without a credential.
pub const HELLO_WAIT: Duration = Duration::from_secs(10);
/// Between two pings.
pub const PING_EVERY: Duration = Duration::from_secs(30);
/// Without a sign of life the connection is dead.
pub const PONG_WAIT: Duration = Duration::from_secs(90);
/// A write that makes no progress for so long ends the connection.
pub const WRITE_WAIT: Duration = Duration::from_secs(300);
/// Changes that a session takes from one room before it looks at the next.
pub const STREAM_BATCH: usize = 64;
/// Changes of one room kept ready in their text form.
pub const READY_CHANGES_MAX: usize = 64;
/// Bytes of one room's ready changes.
pub const READY_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all rooms' ready changes.
pub const READY_TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes that wait in one connection's write buffer: one largest frame, escaped.
pub const STREAM_WRITE_BYTES_MAX: usize = 1024 * 1024;
