//! Tests of the export parser: what an export looks like, what is ignored, and the error that each
//! wrong field gives.

use super::*;

const GOOD: &str = concat!(
    r#"{"id":"m1","room":"r1","seq":7,"time":"2008-04-27T06:00:00.000000Z","#,
    r#""recorded":"2024-01-02T03:04:05.678901Z","author":{"id":"p1","name":"will","extra":1},"#,
    r#""kind":"text","body":"a \"b\"\n","later":{}}"#
);

fn fault(line: &str) -> (&'static str, Fault) {
    match parse("export.jsonl", format!("{GOOD}\n{line}\n").as_bytes()) {
        Err(Error::Line { file, line: 2, field, fault }) if file == "export.jsonl" => {
            (field, fault)
        }
        other => panic!("{line:?} gave {other:?}"),
    }
}

/// The good line with one piece of text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from:?}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_message() {
    let parsed = parse("export.jsonl", GOOD.as_bytes()).unwrap();
    let expected = Entry {
        line: 1,
        end: u64::try_from(GOOD.len()).unwrap(),
        seq: 7,
        kind: EntryKind::Text,
        time_us: 1_209_276_000_000_000,
        recorded_us: 1_704_164_645_678_901,
        author: Some(Author { id: "p1".to_owned(), name: "will".to_owned() }),
        body: "a \"b\"\n".to_owned(),
    };
    assert_eq!(parsed.entries, [expected]);
    assert_eq!((parsed.lines, parsed.skipped.len()), (1, 0));
}

#[test]
fn the_other_kinds() {
    let action = with("\"text\"", "\"action\"");
    let event =
        with("\"text\"", "\"event\"").replace(r#"{"id":"p1","name":"will","extra":1}"#, "null");
    let file = with("\"text\"", "\"file\"");
    let parsed = parse("x", format!("{action}\r\n{event}\n\n{file}\n").as_bytes()).unwrap();
    let kinds: Vec<_> = parsed.entries.iter().map(|entry| (entry.line, entry.kind)).collect();
    assert_eq!(kinds, [(1, EntryKind::Action), (2, EntryKind::Event)]);
    assert_eq!(parsed.entries[1].author, None);
    assert_eq!(parsed.skipped, BTreeMap::from([("empty-line", 1), ("file", 1)]));
    assert_eq!(parsed.lines, 4);
}

#[test]
fn a_gap_is_skipped_and_counted() {
    let gap = r#"{"gap":{"room":"r1","from_seq":8,"to_seq":9,"reason":"damaged"}}"#;
    let parsed = parse("x", format!("{GOOD}\n{gap}\n").as_bytes()).unwrap();
    assert_eq!((parsed.entries.len(), parsed.lines), (1, 2));
    assert_eq!(parsed.skipped, BTreeMap::from([("gap", 1)]));
    assert_eq!(fault(r#"{"gap":3}"#), ("kind", Fault::Missing));
}

#[test]
fn a_redacted_message_is_skipped_and_an_edited_one_says_what_it_says_now() {
    let more = |field: &str| GOOD.replacen('{', &format!("{{{field},"), 1);
    let redacted = more(r#""redacted":{"rev":9,"reason":"a slip"}"#);
    let edited = more(r#""edited":{"rev":9,"edits":1}"#);
    let parsed = parse("x", format!("{redacted}\n{edited}\n").as_bytes()).unwrap();
    assert_eq!((parsed.entries.len(), parsed.lines), (1, 2));
    assert_eq!(parsed.skipped, BTreeMap::from([("redacted", 1)]));
    assert_eq!(fault(&more(r#""redacted":3"#)), ("redacted", Fault::WrongType));
}

#[test]
fn a_wrong_line_names_its_field() {
    assert_eq!(fault("{"), ("line", Fault::NotAnObject));
    assert_eq!(fault("[]"), ("line", Fault::NotAnObject));
    assert_eq!(fault(&format!("{GOOD}{GOOD}")), ("line", Fault::NotAnObject));
    assert_eq!(fault(&with("\"seq\":7", "\"seq\":7,\"seq\":8")), ("line", Fault::NotAnObject));
    assert_eq!(fault(&with("\"seq\":7,", "")), ("seq", Fault::Missing));
    assert_eq!(fault(&with("\"seq\":7", "\"seq\":-7")), ("seq", Fault::WrongType));
    assert_eq!(fault(&with("\"seq\":7", "\"seq\":\"7\"")), ("seq", Fault::WrongType));
    assert_eq!(fault(&with("\"kind\":\"text\",", "")), ("kind", Fault::Missing));
    assert_eq!(fault(&with("\"text\"", "\"poem\"")), ("kind", Fault::UnknownKind));
    assert_eq!(fault(&with("\"body\"", "\"boby\"")), ("body", Fault::Missing));
    assert_eq!(fault(&with(r#""a \"b\"\n""#, "null")), ("body", Fault::Missing));
    assert_eq!(fault(&with(r#""a \"b\"\n""#, "3")), ("body", Fault::WrongType));
    assert_eq!(fault(&with("\"author\"", "\"auteur\"")), ("author", Fault::Missing));
    assert_eq!(fault(&with("\"name\":\"will\",", "")), ("author.name", Fault::Missing));
    assert_eq!(fault(&with("\"p1\"", "1")), ("author.id", Fault::WrongType));
    assert_eq!(fault(&with("\"recorded\"", "\"taken\"")), ("recorded", Fault::Missing));
}

#[test]
fn a_wrong_time_is_never_bent() {
    for time in ["2008-04-27", "2008-04-27T06:00:00", "2008-02-30T06:00:00Z", "06:00", ""] {
        let line = with("2008-04-27T06:00:00.000000Z", time);
        assert_eq!(fault(&line), ("time", Fault::NotATime), "{time}");
    }
    let nanoseconds = with("05.678901Z", "05.678901234Z");
    assert_eq!(fault(&nanoseconds), ("recorded", Fault::NotATime));
}

#[test]
fn what_is_too_long_is_refused() {
    let body = |bytes| with(r#"a \"b\"\n"#, &"x".repeat(bytes));
    assert!(parse("x", body(BODY_BYTES_MAX).as_bytes()).is_ok());
    assert_eq!(fault(&body(BODY_BYTES_MAX + 1)), ("body", Fault::TooLong));
    let name = with("will", &"n".repeat(NICK_BYTES_MAX + 1));
    assert_eq!(fault(&name), ("author.name", Fault::TooLong));
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let bytes = vec![b'\0'; SOURCE_BYTES_MAX + 1];
    let error = parse("export.jsonl", &bytes).expect_err("it is too large");
    assert!(matches!(error, Error::TooLarge { bytes, .. } if bytes == SOURCE_BYTES_MAX + 1));
}

#[test]
fn the_message_of_an_error_says_where() {
    let error = parse("export.jsonl", b"\xff\n").unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"export line is wrong file="export.jsonl" line=1 field=line fault=not-utf8"#
    );
}
