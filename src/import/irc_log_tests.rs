//! Tests of the log parser: every shape of line, every fall of the clock, and six real files of
//! #ubuntu whose figures were counted by other means (grep).

use super::*;

const MINUTE: i64 = 60_000_000;
const HOUR: i64 = 60 * MINUTE;
/// 2008-04-27T00:00:00Z
const DAY: i64 = 1_209_254_400_000_000;

fn read(log: &str) -> Parsed<'_> {
    parse("2008-04-27.log", log.as_bytes(), DateOf::First).expect("the name is good")
}

/// The one entry of a one-line log.
fn said(line: &str) -> (EntryKind, Option<&str>, &str) {
    let parsed = read(line);
    assert!(parsed.skipped.is_empty(), "{line:?} was skipped: {:?}", parsed.skipped);
    let [entry] = parsed.entries.as_slice() else { panic!("{line:?} gave {:?}", parsed.entries) };
    (entry.kind, entry.nick, entry.body)
}

fn skipped(line: &[u8]) -> &'static str {
    let parsed = parse("2008-04-27.log", line, DateOf::First).expect("the name is good");
    assert_eq!(parsed.entries, [], "{:?}", String::from_utf8_lossy(line));
    let reasons: Vec<_> = parsed.skipped.into_iter().collect();
    let [(reason, 1)] = reasons.as_slice() else { panic!("{reasons:?}") };
    reason
}

/// Times of the entries, in minutes since 2008-04-27T00:00Z.
fn minutes(clocks: &[&str], date_of: DateOf) -> (Vec<i64>, [u64; 3]) {
    let log: String = clocks.iter().map(|clock| format!("[{clock}] <nick> text\n")).collect();
    let parsed = parse("2008-04-27.log", log.as_bytes(), date_of).expect("the name is good");
    let minutes = parsed.entries.iter().map(|entry| (entry.time_us - DAY) / MINUTE).collect();
    (minutes, [parsed.midnights, parsed.twelve_hour, parsed.clamped])
}

#[test]
fn messages() {
    use EntryKind::Text;
    assert_eq!(said("[09:14] <will> best player"), (Text, Some("will"), "best player"));
    assert_eq!(said("[09:14] <opteron>"), (Text, Some("opteron"), ""));
    assert_eq!(said("[09:14] <pirate> "), (Text, Some("pirate"), ""));
    assert_eq!(said("[09:14] <bur[n] er> hi"), (Text, Some("bur[n] er"), "hi"));
    assert_eq!(said("[09:14] <[optik] > hola"), (Text, Some("[optik] "), "hola"));
    assert_eq!(said("[09:14] <a>  two  spaces "), (Text, Some("a"), " two  spaces "));
    assert_eq!(said("[09:14] <a> see <http://x> ok"), (Text, Some("a"), "see <http://x> ok"));
    assert_eq!(
        said("[09:14] <a> \u{3}4red\u{8} caf\u{e9}"),
        (Text, Some("a"), "\u{3}4red\u{8} café")
    );
}

#[test]
fn actions() {
    use EntryKind::Action;
    assert_eq!(said("[11:25]  * genii sips coffee"), (Action, Some("genii"), "sips coffee"));
    assert_eq!(said("[11:25] * genii sips coffee"), (Action, Some("genii"), "sips coffee"));
    assert_eq!(said("[11:25]  * TheHawk"), (Action, Some("TheHawk"), ""));
    assert_eq!(said("[11:25]  * TheHawk "), (Action, Some("TheHawk"), ""));
}

#[test]
fn events() {
    use EntryKind::Event;
    assert_eq!(said("=== a is now known as b"), (Event, None, "a is now known as b"));
    assert_eq!(said("===  indented"), (Event, None, " indented"));
    assert_eq!(said("==="), (Event, None, ""));
}

#[test]
fn other_lines_are_skipped_with_a_reason() {
    assert_eq!(skipped(b"[05:12] -someone:#ubuntu- happy holidays"), "notice");
    assert_eq!(skipped(b"[05:12] -someone:#ubuntu-"), "notice");
    assert_eq!(skipped(b"[05:12] <nick> caf\xe9"), "not-utf8");
    assert_eq!(skipped(b"\n"), "empty-line");
    assert_eq!(skipped(b"\r\n"), "empty-line");
    assert_eq!(skipped(b"[24:00] <nick> text"), "bad-time");
    assert_eq!(skipped(b"[23:60] <nick> text"), "bad-time");
    for line in [
        "[01:09] (soundray/#ubuntu) thomas: have you seen",
        "[01:09] -dash",
        "[01:09] - nobody:#ubuntu- text",
        "[01:09] -:#ubuntu- text",
        "[01:09] <> nobody",
        "[01:09] <nick>text",
        "[01:09] <nick text",
        "[01:09]<nick> text",
        "[01:09]   * nick three spaces",
        "[01:09]  *",
        "[01:09]  *  two spaces behind the star",
        "[01:09]",
        "[1:09] <nick> text",
        "[01:09:30] <nick> text",
        "[0é:09] <nick> text",
        "====== a rule",
        "==",
        "   ",
        "text",
    ] {
        assert_eq!(skipped(line.as_bytes()), "unrecognised", "{line:?}");
    }
}

#[test]
fn a_body_or_a_nick_beyond_its_limit_is_skipped() {
    let body = "x".repeat(BODY_BYTES_MAX);
    let nick = "n".repeat(NICK_BYTES_MAX);
    assert_eq!(said(&format!("[01:09] <{nick}> {body}")).2.len(), BODY_BYTES_MAX);
    assert_eq!(said(&format!("=== {body}")).2.len(), BODY_BYTES_MAX);
    assert_eq!(skipped(format!("[01:09] <nick> {body}x").as_bytes()), "too-long");
    assert_eq!(skipped(format!("[01:09]  * nick {body}x").as_bytes()), "too-long");
    assert_eq!(skipped(format!("=== {body}x").as_bytes()), "too-long");
    assert_eq!(skipped(format!("[01:09] <{nick}n> text").as_bytes()), "too-long");
}

#[test]
fn lines_and_ends_are_those_of_the_file() {
    let parsed = read("[01:00] <a> x\r\n\n=== y\nnoise\n[01:01] <b> z");
    let places: Vec<_> =
        parsed.entries.iter().map(|entry| (entry.line, entry.end, entry.body)).collect();
    assert_eq!(places, [(1, 15, "x"), (3, 22, "y"), (5, 41, "z")]);
    assert_eq!(parsed.lines, 5);
    assert_eq!(parsed.skipped, BTreeMap::from([("empty-line", 1), ("unrecognised", 1)]));
}

#[test]
fn an_empty_file_has_no_lines() {
    assert_eq!(read(""), Parsed::default());
}

#[test]
fn an_event_takes_the_time_of_the_line_before() {
    let parsed = read("=== a\n=== b\n[05:00] <n> x\n=== c\n[05:09] -n:#u- y\n=== d\n");
    let times: Vec<_> = parsed.entries.iter().map(|entry| entry.time_us - DAY).collect();
    let five = 5 * HOUR;
    // A notice is skipped, and yet it is the line before: its time is as good as any.
    assert_eq!(times, [five, five, five, five, five + 9 * MINUTE]);
}

#[test]
fn a_file_without_a_time_is_the_start_of_its_day() {
    assert_eq!(read("=== only this\n").entries.first().map(|entry| entry.time_us), Some(DAY));
}

#[test]
fn a_bad_time_does_not_move_the_clock() {
    let parsed = read("[05:00] <n> x\n[99:99] <n> y\n=== z\n");
    assert_eq!(parsed.entries.last().map(|entry| entry.time_us), Some(DAY + 5 * HOUR));
}

#[test]
fn a_fall_of_13_hours_or_more_is_midnight() {
    let after = 24 * 60;
    assert_eq!(minutes(&["23:59", "00:00"], DateOf::First), (vec![1439, after], [1, 0, 0]));
    assert_eq!(minutes(&["13:00", "00:00"], DateOf::First), (vec![780, after], [1, 0, 0]));
    assert_eq!(minutes(&["23:59", "00:00"], DateOf::Last), (vec![-1, 0], [1, 0, 0]));
    let (twice, counted) = minutes(&["23:00", "00:10", "23:20", "00:30"], DateOf::Last);
    assert_eq!(twice, [-1500, -1430, -40, 30]);
    assert_eq!(counted, [2, 0, 0]);
}

#[test]
fn a_fall_of_11_to_13_hours_is_a_twelve_hour_clock() {
    assert_eq!(minutes(&["12:59", "01:00"], DateOf::First), (vec![779, 780], [0, 1, 0]));
    assert_eq!(minutes(&["11:59", "00:00"], DateOf::First), (vec![719, 720], [0, 1, 0]));
    assert_eq!(minutes(&["11:00", "00:00"], DateOf::First), (vec![660, 720], [0, 1, 0]));
    // Half a day does not make a day: the date is the same by both readings.
    assert_eq!(minutes(&["11:59", "00:00", "03:00"], DateOf::Last).0, [719, 720, 900]);
    // It holds to the end of the file, and a second fall is the midnight of such a clock.
    let (times, counted) = minutes(&["11:59", "12:00", "12:59", "01:00", "12:59"], DateOf::First);
    assert_eq!((times, counted), (vec![719, 720, 779, 780, 1499], [0, 1, 0]));
    let (times, counted) = minutes(&["12:59", "01:00", "12:59", "01:00"], DateOf::Last);
    assert_eq!((times, counted), (vec![-661, -660, 59, 60], [0, 2, 0]));
}

#[test]
fn half_a_day_that_does_not_catch_up_is_also_clamped() {
    assert_eq!(minutes(&["12:59", "00:01"], DateOf::First), (vec![779, 779], [0, 1, 1]));
}

#[test]
fn a_smaller_fall_is_clamped_until_the_clock_catches_up() {
    let (times, counted) = minutes(&["10:00", "09:00", "09:30", "10:01"], DateOf::First);
    assert_eq!((times, counted), (vec![600, 600, 600, 601], [0, 0, 2]));
    assert_eq!(minutes(&["10:59", "00:00"], DateOf::First), (vec![659, 659], [0, 0, 1]));
}

#[test]
fn names_give_the_day() {
    for name in ["2008-04-27.log", "2008-04-27_00.log", "2008-04-27_23.log"] {
        assert_eq!(day_of(name), Ok(13_996), "{name}");
    }
    for name in [
        "",
        ".log",
        "2008-04-27",
        "2008-04-27.txt",
        "2008-04-27.LOG",
        "2008-4-27.log",
        "2008-04-31.log",
        "2008-13-01.log",
        "2009-02-29.log",
        "+008-04-27.log",
        "2008-04-+7.log",
        "2008-04-27_24.log",
        "2008-04-27_1.log",
        "2008-04-27_.log",
        "2008-04-27-1.log",
        "folder/2008-04-27.log",
        "２008-04-27.log",
    ] {
        let error = parse(name, b"", DateOf::First).expect_err(name);
        assert_eq!(error, Error::Name { file: name.to_owned() });
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn a_file_beyond_the_limit_is_refused() {
    let bytes = vec![b'\0'; SOURCE_BYTES_MAX + 1];
    let error = parse("2008-04-27.log", &bytes, DateOf::First).expect_err("it is too large");
    assert_eq!(
        error.to_string(),
        "log file too large file=\"2008-04-27.log\" bytes=1073741825 max=1073741824"
    );
}

#[test]
fn any_bytes_are_entries_or_counted() {
    let pieces: [&[u8]; 14] = [
        b"[23:59]",
        b"[00:00]",
        b"[12:30]",
        b"[99:00]",
        b" <nick> ",
        b" * nick ",
        b"=== ",
        b"\n",
        b"\n",
        b"\r",
        b"\xff",
        b"-n:#c- ",
        b">",
        "é".as_bytes(),
    ];
    let mut state = 0x2008_0427_u64;
    for _ in 0..2_000 {
        let mut log = Vec::new();
        for _ in 0..40 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            log.extend_from_slice(pieces[usize::try_from(state % 14).unwrap()]);
        }
        let parsed = parse("2008-04-27.log", &log, DateOf::Last).unwrap();
        let entries = u64::try_from(parsed.entries.len()).unwrap();
        assert_eq!(parsed.lines, entries + parsed.skipped.values().sum::<u64>());
        assert!(parsed.entries.is_sorted_by_key(|entry| entry.time_us));
        assert!(parsed.entries.is_sorted_by(|a, b| a.end < b.end && a.line < b.line));
    }
}

/// What grep, and a look at the place where the clock falls, say of a file.
struct Expected {
    name: &'static str,
    log: &'static [u8],
    /// Texts, actions, events.
    counts: [usize; 3],
    skipped: u64,
    /// Midnights, twelve-hour clocks.
    falls: [u64; 2],
    span: [&'static str; 2],
}

macro_rules! expected {
    ($name:literal, $counts:expr, $skipped:expr, $falls:expr, $span:expr) => {
        Expected {
            name: $name,
            log: include_bytes!(concat!("../../server/tests/data/", $name)),
            counts: $counts,
            skipped: $skipped,
            falls: $falls,
            span: $span,
        }
    };
}

#[rustfmt::skip]
const REAL_FILES: [Expected; 6] = [
    expected!("2004-11-15_03.log", [1077, 0, 173], 0, [0, 1],
        ["2004-11-15T12:18:00Z", "2004-11-15T16:51:00Z"]),
    expected!("2006-12-06.log", [1029, 0, 470], 1, [0, 1],
        ["2006-12-06T10:37:00Z", "2006-12-06T14:53:00Z"]),
    expected!("2008-04-27.log", [1939, 19, 21], 0, [0, 0],
        ["2008-04-27T04:46:00Z", "2008-04-27T06:59:00Z"]),
    expected!("2010-08-17_18.log", [1445, 3, 52], 0, [0, 0],
        ["2010-08-17T15:01:00Z", "2010-08-17T19:52:00Z"]),
    expected!("2011-11-13_02.log", [1216, 4, 30], 0, [1, 0],
        ["2011-11-12T21:29:00Z", "2011-11-13T03:26:00Z"]),
    expected!("2012-12-15.log", [1122, 1, 52], 0, [1, 0],
        ["2012-12-14T19:41:00Z", "2012-12-15T02:59:00Z"]),
];

#[test]
fn real_files_read_as_counted_by_hand() {
    for file in REAL_FILES {
        let parsed = parse(file.name, file.log, DateOf::Last).unwrap();
        let counts = [EntryKind::Text, EntryKind::Action, EntryKind::Event]
            .map(|kind| parsed.entries.iter().filter(|entry| entry.kind == kind).count());
        assert_eq!(counts, file.counts, "{}", file.name);
        assert_eq!(parsed.skipped.values().sum::<u64>(), file.skipped, "{}", file.name);
        assert_eq!([parsed.midnights, parsed.twelve_hour], file.falls, "{}", file.name);
        assert_eq!(parsed.clamped, 0, "{}", file.name);
        assert!(parsed.entries.is_sorted_by_key(|entry| entry.time_us), "{}", file.name);
        let span = [parsed.entries.first(), parsed.entries.last()].map(|entry| {
            jiff::Timestamp::from_microsecond(entry.unwrap().time_us).unwrap().to_string()
        });
        assert_eq!(span, file.span, "{}", file.name);
    }
}

#[test]
fn entries_of_real_files_are_their_lines() {
    for file in REAL_FILES {
        let parsed = parse(file.name, file.log, DateOf::Last).unwrap();
        let lines: Vec<_> = str::from_utf8(file.log).unwrap().lines().collect();
        assert_eq!(parsed.lines, u64::try_from(lines.len()).unwrap());
        for entry in parsed.entries {
            let line = lines[usize::try_from(entry.line - 1).unwrap()];
            let written = match (entry.kind, entry.nick) {
                (EntryKind::Text, Some(nick)) => format!("<{nick}> {}", entry.body),
                (EntryKind::Action, Some(nick)) => format!(" * {nick} {}", entry.body),
                (EntryKind::Event, None) => format!("=== {}", entry.body),
                other => panic!("{other:?}"),
            };
            let stripped = if entry.nick.is_some() { &line["[HH:MM] ".len()..] } else { line };
            assert_eq!(written.trim_end(), stripped.trim_end(), "{}:{}", file.name, entry.line);
            assert_eq!(file.log[usize::try_from(entry.end).unwrap() - 1], b'\n');
        }
    }
}

#[test]
fn a_twelve_hour_clock_moves_the_rest_of_the_file() {
    let [file, ..] = REAL_FILES;
    let parsed = parse(file.name, file.log, DateOf::Last).unwrap();
    let at = |line| parsed.entries.iter().find(|entry| entry.line == line).unwrap().time_us;
    assert_eq!(at(389) - at(388), MINUTE, "12:59 and 01:00 are a minute apart");
}
