//! Every maximum of the engine, in one place: nothing is unbounded.
//!
//! These bound memory and files whatever the configuration says; configuration may only lower them.

/// A message's body, in bytes of UTF-8.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// A name or a description, in characters.
pub const NAME_CHARS_MAX: usize = 256;
/// A name, in bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = NAME_CHARS_MAX * 4;
/// A description or a topic, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 4096;
/// An argon2id string.
pub const PASSWORD_HASH_BYTES_MAX: usize = 512;
/// A client's address as text.
pub const ADDRESS_BYTES_MAX: usize = 64;
/// An idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// How long an idempotency key is remembered, in microseconds of `recorded` time.
pub const IDEMPOTENCY_WINDOW_US: i64 = 24 * 3_600 * 1_000_000;
/// Idempotency keys that are gathered before they are written to the catalog as a run.
pub const KEY_RUN_KEYS: usize = 32 * 1024;
/// Bytes of memory of the filters of runs of idempotency keys: two for each key, and one and a half
/// in a sieve over many runs.
pub const KEY_FILTERS_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Drafts of one append: all of them are recorded, or none.
pub const APPEND_DRAFTS_MAX: usize = 1024;
/// Bytes of the bodies of one append.
pub const APPEND_BYTES_MAX: usize = 1024 * 1024;
/// One encoded record.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;
/// One frame of the journal, padding included.
pub const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Records of one frame.
pub const FRAME_RECORDS_MAX: usize = 16 * 1024;
/// Principals in one list of a category's settings.
pub const SCOPE_PRINCIPALS_MAX: usize = 4096;
/// The greatest place in the log, use of a journal file, or number of a pack that is read from a
/// file: counting on from it does not overflow.
pub const POSITION_MAX: u64 = u64::MAX >> 1;
/// The greatest number of a journal file: what six digits of a name can say.
pub const JOURNAL_NUMBER_MAX: u32 = 999_999;
/// Appends waiting for the commit; one more is `Unavailable`.
pub const QUEUE_APPENDS_MAX: usize = 16 * 1024;
/// Bytes of drafts waiting for the commit.
pub const QUEUE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Records the catalog end of apply may be behind the tail end.
pub const APPLY_LAG_RECORDS_MAX: usize = 16 * 1024;
/// A block's bytes before compression, as columns; one record larger than this has a block alone.
pub const BLOCK_BYTES_TARGET: usize = 8 * 1024;
/// The bytes of a block's records at which it ends: what they share is repeated there.
pub const BLOCK_ROWS_TARGET: usize = 64 * 1024;
/// A block's records at which it ends.
pub const BLOCK_RECORDS_TARGET: usize = 1024;
/// A block's records at most.
pub const BLOCK_RECORDS_MAX: usize = 16 * 1024;
/// A section of a block at most, and the bytes of its records: a full target plus one largest
/// record.
pub const BLOCK_BYTES_MAX: usize = BLOCK_ROWS_TARGET + RECORD_BYTES_MAX;
/// What a block weighs at most that goes into a bundle with others.
pub const BUNDLED_BYTES_MAX: usize = 1024;
/// The bytes of a bundle's blocks before compression: whoever reads one inflates all.
pub const BUNDLE_BYTES_TARGET: usize = BLOCK_BYTES_TARGET;
/// So many blocks behind its first a bundle ends, whatever it holds: runs wait for their blocks.
pub const BUNDLE_SPAN: usize = 256;
/// Blocks of a bundle at most.
pub const BUNDLE_BLOCKS_MAX: usize = 1024;
/// A dictionary at most.
pub const DICTIONARY_BYTES_MAX: usize = 64 * 1024;
/// A dictionary that is made, at most.
pub const DICTIONARY_BYTES_TARGET: usize = 32 * 1024;
/// A dictionary of fewer bytes is not worth its place.
pub const DICTIONARY_BYTES_MIN: usize = 4 * 1024;
/// One run of a dictionary.
pub const DICTIONARY_RUN_BYTES_MAX: usize = 15;
/// Bytes of texts from which a dictionary is made.
pub const DICTIONARY_SAMPLE_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of packs from which on what is merged gets a dictionary of its own.
pub const DICTIONARY_PACK_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Blocks of one run.
pub const RUN_BLOCKS_MAX: usize = 64;
/// Nodes of its room's tree that a run without blocks has, from which on the next begins another:
/// records of 4096 times 64 leaves.
pub const RUN_NODES_MAX: usize = 4096;
/// Blocks of a run from which on it ends with the day.
pub const RUN_DAY_BLOCKS: usize = 8;
/// A pack's bytes at which a seal starts the next pack.
pub const PACK_BYTES_TARGET: u64 = 128 * 1024 * 1024;
/// A pack of fewer bytes is worth merging with others.
pub const PACK_BYTES_SMALL: u64 = PACK_BYTES_TARGET / 2;
/// Bytes of packs that one merge reads at most.
pub const MERGE_BYTES_MAX: u64 = 8 * PACK_BYTES_TARGET;
/// Runs that a merge has in memory at once, about: those of one share of its rooms.
pub const MERGE_SHARE_RUNS: u64 = 250_000;
/// Runs of the packs that one merge reads at most: each share of the rooms reads their indexes.
pub const MERGE_RUNS_MAX: u64 = 16 * MERGE_SHARE_RUNS;
/// Packs of one day, as they were sealed, that are merged before the day is over.
pub const MERGE_FAN: usize = 8;
/// Bytes of rows that the directory keeps in memory.
pub const DIRECTORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Rooms that grew since the last signature and are remembered as such; of more, packs and tails
/// are asked.
pub const GROWN_ROOMS_MAX: usize = 256 * 1024;
/// Runs of one pack.
pub const PACK_RUNS_MAX: usize = 16 * 1024 * 1024;
/// Records that one pack says were dropped.
pub const PACK_DROPPED_MAX: u64 = 1 << 28;
/// Packs of one manifest.
pub const PACKS_MAX: usize = 1_000_000;
/// Journal files: with the file size this bounds what a start replays.
pub const JOURNAL_FILES_MAX: usize = 64;
/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 500;
/// Edits of one entry.
pub const EDITS_MAX: u64 = 1000;
/// Legal holds at once.
pub const HOLDS_MAX: usize = 4096;
/// Runs of one room that a cached run list holds at most before it is read in pieces.
pub const RUN_LIST_MAX: usize = 1_000_000;
/// Wall time may run ahead of the boot clock by this before posts are refused, in microseconds.
pub const CLOCK_AHEAD_US_MAX: i64 = 10 * 1_000_000;
/// A start this far beyond the last record refuses posts until an operator agrees.
pub const CLOCK_START_AHEAD_US_MAX: i64 = 400 * 24 * 3_600 * 1_000_000;
/// Import sources: name of a format, name of a source.
pub const SOURCE_BYTES_MAX: usize = 256;
/// A setting's value.
pub const SETTING_BYTES_MAX: usize = 4096;
/// Findings that a scrub keeps.
pub const FINDINGS_MAX: usize = 1000;
/// Holes one acceptance of a loss lists.
pub const HOLES_MAX: usize = 4096;

const _: () = assert!(APPEND_BYTES_MAX + APPEND_DRAFTS_MAX * 2048 < FRAME_BYTES_MAX);
const _: () = assert!(BODY_BYTES_MAX < RECORD_BYTES_MAX);
