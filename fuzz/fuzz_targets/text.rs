//! Text that people and other programs send: log files and exports to import, page cursors,
//! identifiers, times, base64url and hexadecimal. No text panics a parser, every line is counted,
//! and what is read is given out again in the same spelling.
//!
//! The parsers of the binary and the server are private to them: their sources are compiled here.
#![no_main]
#![allow(dead_code, reason = "a target uses a part of each module")]

#[path = "../../src/import/civil.rs"]
mod civil;
#[path = "../../server/src/codec.rs"]
mod codec;
#[path = "../../server/src/cursor.rs"]
mod cursor;
#[path = "../../src/import/entry.rs"]
mod entry;
#[path = "../../src/import/irc_log.rs"]
mod irc_log;
#[path = "../../src/import/jsonl.rs"]
mod jsonl;
#[path = "../../server/src/secrets.rs"]
mod secrets;
#[path = "../../server/src/time.rs"]
mod time;

use cursor::Cursor;
use hansard_engine::types::{CategoryId, MessageId, PrincipalId, RoomId, TokenId};
use irc_log::DateOf;
use libfuzzer_sys::fuzz_target;

fn import(data: &[u8], date_of: DateOf) {
    let name = data.get(..14).and_then(|name| str::from_utf8(name).ok()).unwrap_or_default();
    let _ = irc_log::parse(name, data, date_of);
    let parsed = irc_log::parse("2008-04-27.log", data, date_of).expect("a name with a day");
    let skipped: u64 = parsed.skipped.values().sum();
    assert_eq!(parsed.lines, parsed.entries.len() as u64 + skipped);
    let mut before = (i64::MIN, 0, 0);
    for entry in &parsed.entries {
        let place = (entry.time_us, entry.line, entry.end);
        assert!(place.0 >= before.0 && place.1 > before.1 && place.2 > before.2, "{entry:?}");
        assert!(entry.end <= data.len() as u64);
        before = place;
    }
    if let Ok(parsed) = jsonl::parse("export", data) {
        let skipped: u64 = parsed.skipped.values().sum();
        assert_eq!(parsed.lines, parsed.entries.len() as u64 + skipped);
    }
}

fn identifiers(text: &str) {
    macro_rules! one_spelling {
        ($($name:ident),*) => {$(
            if let Ok(id) = text.parse::<$name>() {
                assert_eq!(id.to_string(), text);
            }
        )*};
    }
    one_spelling!(RoomId, CategoryId, PrincipalId, TokenId, MessageId);
    if let Some(at) = time::parse(text) {
        assert_eq!(time::parse(&time::show(at)), Some(at), "{text}");
    }
    let _ = secrets::digest_of(text);
}

fn codecs(data: &[u8], text: &str) {
    if let Some(bytes) = codec::from_base64url(text) {
        assert_eq!(codec::base64url(&bytes), text);
    }
    if let Some(bytes) = codec::from_hex::<8>(text) {
        assert_eq!(codec::hex(&bytes), text);
    }
    assert_eq!(codec::from_base64url(&codec::base64url(data)).as_deref(), Some(data));
    if let Some(cursor) = Cursor::decode(text) {
        assert_eq!(cursor.encode(), text);
    }
    // Behind its check: a version, a kind and numbers of the input.
    let mut body = [&[1], data].concat();
    body.extend_from_slice(&secrets::sha256(&body)[..4]);
    let text = codec::base64url(&body);
    if let Some(cursor) = Cursor::decode(&text) {
        assert_eq!(cursor.encode(), text);
    }
}

fuzz_target!(|data: &[u8]| {
    import(data, DateOf::First);
    import(data, DateOf::Last);
    let text = str::from_utf8(data).unwrap_or_default();
    identifiers(text);
    codecs(data, text);
});
