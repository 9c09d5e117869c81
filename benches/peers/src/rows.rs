//! The rows of the stores that keep bytes by key.
//!
//! A message stands under (room, seq), with 28 bytes of header before its body; its entry of the
//! category index is all key; its idempotency key leads to its place and digest. Numbers of keys
//! are big-endian, so that a room and a category's time are one range each.

use crate::store::{Message, Outcome, Slice, Sum};

/// Time, author, category, the seq that is replied to.
pub const HEADER_BYTES: usize = 8 + 8 + 4 + 8;

/// The key of a message.
#[must_use]
pub fn message_key(room: u32, seq: u64) -> [u8; 12] {
    let mut key = [0; 12];
    let (front, back) = key.split_at_mut(4);
    front.copy_from_slice(&room.to_be_bytes());
    back.copy_from_slice(&seq.to_be_bytes());
    key
}

/// The seq in such a key, if it is one of that room.
#[must_use]
pub fn seq_of(key: &[u8], room: u32) -> Option<u64> {
    let (front, back) = key.split_first_chunk::<4>()?;
    (u32::from_be_bytes(*front) == room).then_some(())?;
    Some(u64::from_be_bytes(back.try_into().ok()?))
}

/// What stands under it, written to `row`.
pub fn message_row(message: &Message<'_>, row: &mut Vec<u8>) {
    row.clear();
    row.extend_from_slice(&message.time_us.to_le_bytes());
    row.extend_from_slice(&u64::from(message.author).to_le_bytes());
    row.extend_from_slice(&message.category.to_le_bytes());
    row.extend_from_slice(&0_u64.to_le_bytes());
    row.extend_from_slice(message.body.as_bytes());
}

/// The time of a row.
///
/// # Errors
/// If it is too short.
pub fn time_of(row: &[u8]) -> Outcome<i64> {
    let bytes = row.first_chunk::<8>().ok_or("a row without its header")?;
    Ok(i64::from_le_bytes(*bytes))
}

/// The body of a row.
///
/// # Errors
/// If it is too short.
pub fn body_of(row: &[u8]) -> Outcome<&[u8]> {
    Ok(row.get(HEADER_BYTES..).ok_or("a row without its header")?)
}

/// The key in the index of categories, which has no value.
#[must_use]
pub fn category_key(category: u32, time_us: i64, room: u32, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    let (front, back) = key.split_at_mut(12);
    let (number, time) = front.split_at_mut(4);
    number.copy_from_slice(&category.to_be_bytes());
    // Times are of this century, so positive.
    time.copy_from_slice(&time_us.to_be_bytes());
    back.copy_from_slice(&message_key(room, seq));
    key
}

/// The first key of a slice and the first behind it.
#[must_use]
pub fn slice_keys(slice: Slice) -> ([u8; 24], [u8; 24]) {
    let key = |time_us| category_key(slice.category, time_us, 0, 0);
    (key(slice.from_us), key(slice.to_us))
}

/// The message's key in an entry of that index.
///
/// # Errors
/// If it is too short.
pub fn place_of(key: &[u8]) -> Outcome<[u8; 12]> {
    Ok(*key.last_chunk::<12>().ok_or("an entry of the index without its place")?)
}

/// What stands under an idempotency key.
#[must_use]
pub fn key_row(message: &Message<'_>) -> [u8; 28] {
    let mut row = [0; 28];
    let (front, back) = row.split_at_mut(12);
    front.copy_from_slice(&message_key(message.room, message.seq));
    back.copy_from_slice(&message.digest);
    row
}

/// The first seq in `[low, high)` whose message was said at `time_us` or later; `high` if none was.
///
/// # Errors
/// What `time_at` says.
pub fn first_at(
    mut low: u64,
    mut high: u64,
    time_us: i64,
    mut time_at: impl FnMut(u64) -> Outcome<i64>,
) -> Outcome<u64> {
    while low < high {
        let middle = low + (high - low) / 2;
        if time_at(middle)? < time_us {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Adds the body of a row.
///
/// # Errors
/// If the row is too short.
pub fn add_row(sum: &mut Sum, row: &[u8]) -> Outcome<()> {
    sum.add(body_of(row)?);
    Ok(())
}
