//! Tests of the configuration: the printed default, the order of sources, every kind of error, the
//! ranges both ways, and OPERATIONS.md.

use super::*;

fn from_file(text: &str) -> Result<Config, Error> {
    let mut config = Config::default();
    config.read_file(Path::new("h.toml"), text)?;
    config.sanitize()?;
    Ok(config)
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Config, Error> {
    let mut config = Config::default();
    let variables = variables.iter().map(|(name, value)| (name.into(), value.into()));
    config.read_environment(variables)?;
    Ok(config)
}

fn at(line: usize) -> Place {
    Place::File("h.toml".into(), line)
}

#[test]
fn the_printed_default_is_the_default() {
    let text = default_text();
    assert_eq!(from_file(&text), Ok(Config::default()), "{text}");
    assert_eq!(from_file(""), Ok(Config::default()));
    for key in KEYS {
        let line = format!("\n{} = {}\n", key.name, (key.shown)(&Config::default()));
        assert!(text.contains(&line), "{line}");
    }
    // Nothing of it is taken for something else when each line is changed alone.
    assert_eq!(text.lines().filter(|line| line.contains(" = ")).count(), KEYS.len());
}

#[test]
fn every_key_arrives_where_it_belongs() {
    let default = Config::default();
    for key in KEYS {
        let value = match (key.shown)(&default).as_str() {
            "true" => "false".to_owned(),
            "false" => "true".to_owned(),
            "\"text\"" => "\"json\"".to_owned(),
            "\"info\"" => "\"debug\"".to_owned(),
            address if address.starts_with('"') => "\"[::1]:1\"".to_owned(),
            number => (number.parse::<u64>().unwrap() + 1).to_string(),
        };
        let mut by_file = Config::default();
        let text = format!("[{}]\n{} = {value}\n", key.section, key.name);
        by_file.read_file(Path::new("h.toml"), &text).unwrap();
        assert_eq!((key.shown)(&by_file), value);
        assert_ne!(by_file, default, "{}", key.dotted());

        let name = format!("HANSARD_{}__{}", key.section, key.name).to_uppercase();
        let by_variable = from_environment(&[(&name, value.trim_matches('"'))]).unwrap();
        assert_eq!(by_variable, by_file, "{name}");
    }
}

#[test]
fn unknown_keys_name_key_file_and_line() {
    for (text, key, line) in [
        ("[http]\n\nlistne = 1\n", "http.listne", 3),
        ("# c\n[htpp]\nlisten = 1", "htpp", 2),
        ("listen = \"x\"", "listen", 1),
        ("[engine]\ncache_bytes = 9000000\n[engine.deep]\nx = 1\n", "engine.deep", 3),
    ] {
        assert_eq!(from_file(text), Err(Error::Unknown { key: key.into(), place: at(line) }));
    }
    let wrong = from_environment(&[("HANSARD_HTTP__LISTNE", "x")]);
    let place = Place::Variable("HANSARD_HTTP__LISTNE".into());
    assert_eq!(wrong, Err(Error::Unknown { key: "http.listne".into(), place }));
    let words = from_file("\n[http]\nlistne = 1").unwrap_err().to_string();
    assert_eq!(words, "unknown configuration key=http.listne file=\"h.toml\" line=3");
}

#[test]
fn only_names_with_a_double_underscore_are_configuration() {
    let others = [("HANSARD_URL", "x"), ("HANSARD_TOKEN", "x"), ("HANSARD_X_Y", "x"), ("A__B", "")];
    assert_eq!(from_environment(&others), Ok(Config::default()));
}

#[test]
fn wrong_values_name_key_value_and_line() {
    for (text, key, value, wanted) in [
        ("[http]\nlisten = 8010", "http.listen", "8010", "an-address-like-127.0.0.1:8010"),
        ("[http]\nlisten = \"x\"", "http.listen", "x", "an-address-like-127.0.0.1:8010"),
        ("[http]\ninsecure_listen = 1", "http.insecure_listen", "1", "true-or-false"),
        ("[engine]\ncache_bytes = -1", "engine.cache_bytes", "-1", "a-number"),
        ("[engine]\ncache_bytes = 1.5", "engine.cache_bytes", "1.5", "a-number"),
        ("[auth]\nsession_days = 4294967296", "auth.session_days", "4294967296", "a-number"),
        ("[log]\nlevel = \"loud\"", "log.level", "loud", "error-warn-info-debug-or-trace"),
        ("[log]\nformat = []", "log.format", "an array", "text-or-json"),
    ] {
        let (key, value) = (key.to_owned(), value.to_owned());
        assert_eq!(from_file(text), Err(Error::Value { key, value, wanted, place: at(2) }));
    }
    assert_eq!(
        from_file("http = 3"),
        Err(Error::Value {
            key: "http".into(),
            value: "3".into(),
            wanted: "a section",
            place: at(1)
        })
    );
    assert!(matches!(from_file("[http\n"), Err(Error::Syntax { place, .. }) if place == at(1)));
    assert!(matches!(from_file("[log]\n[log]"), Err(Error::Syntax { .. })));
}

#[test]
fn every_number_has_a_range_and_both_ends_are_checked() {
    assert_eq!(Config::default().sanitize(), Ok(()));
    for key in KEYS {
        let Some((min, max)) = key.range else {
            assert_eq!((key.number)(&Config::default()), None, "{}", key.dotted());
            continue;
        };
        let with = |value: u64| {
            let mut config = Config::default();
            (key.set)(&mut config, Given::Text(&value.to_string())).map(|()| config)
        };
        for value in [min.checked_sub(1), Some(max + 1)].into_iter().flatten() {
            let expected = Error::Range { key: key.dotted(), value, min, max };
            assert_eq!(with(value).unwrap().sanitize(), Err(expected));
        }
        for value in [min, max] {
            let found = with(value).unwrap().sanitize();
            assert!(!matches!(found, Err(Error::Range { .. })), "{}: {found:?}", key.dotted());
        }
    }
}

#[test]
fn values_must_fit_each_other() {
    for (text, word) in [
        ("[engine]\ntail_bytes_soft = 9000000\ntail_bytes_hard = 8000000", "tail_bytes_soft"),
        ("[engine]\njournal_file_bytes = 16777216\njournal_bytes_max = 33554432", "3 to 64"),
        ("[engine]\njournal_file_bytes = 8388608\njournal_bytes_max = 1073741824", "3 to 64"),
        ("[http]\nlisten = \"0.0.0.0:8010\"", "insecure_listen"),
    ] {
        let error = from_file(text).unwrap_err();
        assert!(matches!(&error, Error::Contradiction { what } if what.contains(word)), "{error}");
    }
    assert!(from_file("[http]\nlisten = \"0.0.0.0:80\"\ninsecure_listen = true").is_ok());
    assert_eq!(
        usize::try_from(keys::JOURNAL_FILES_MAX),
        Ok(hansard_engine::limits::JOURNAL_FILES_MAX)
    );
}

#[test]
fn flags_go_before_variables_and_these_before_the_file() {
    let mut config = from_file("[http]\nlisten = \"127.0.0.1:1\"").unwrap();
    let variables = [("HANSARD_HTTP__LISTEN", "127.0.0.1:2"), ("HANSARD_IRC__LISTEN", "[::1]:3")];
    config.read_environment(variables.iter().map(|(n, v)| (n.into(), v.into()))).unwrap();
    assert_eq!(config.http.listen, "127.0.0.1:2".parse().unwrap());
    let http = ("http", "listen");
    config.read_flags(&[("--http", http, Some("127.0.0.1:4")), ("--irc", http, None)]).unwrap();
    assert_eq!(config.http.listen, "127.0.0.1:4".parse().unwrap());
    assert_eq!(config.irc.listen, "[::1]:3".parse().unwrap());
    let wrong = config.read_flags(&[("--http", http, Some("x"))]).unwrap_err();
    assert!(wrong.to_string().ends_with("flag=--http"), "{wrong}");
}

#[test]
fn the_server_and_the_engine_get_their_own_defaults() {
    let config = Config::default();
    assert_eq!(config.server(), ServerConfig::default());
    assert_eq!(format!("{:?}", config.engine()), format!("{:?}", Options::default()));
}

#[test]
fn operations_md_lists_every_key() {
    let mut table = String::from("| key | default | range | meaning |\n|---|---|---|---|\n");
    for key in KEYS {
        let default = (key.shown)(&Config::default());
        let range = key.range.map_or(String::new(), |(min, max)| format!("{min} to {max}"));
        let doc = key.doc.concat();
        table.push_str(&format!("| `{}` | `{default}` | {range} |{doc} |\n", key.dotted()));
    }
    let document = include_str!("../../server/OPERATIONS.md");
    assert!(document.contains(&table), "OPERATIONS.md must contain:\n{table}");
}

/// Numbers that look random and are the same in every run (G. Marsaglia's xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).unwrap()
    }
}

#[test]
fn no_text_panics_the_reader_and_every_refusal_names_its_line() {
    let words = "[engine] [http] [[engine]] listen = \" ''' \\u0000 18446744073709551616 -1 1e9 \
                 nan {} [ # \u{feff} \u{1F600} x.y.z=1 [a.b] 0x7fffffffffffffff 1979-05-27 \n \r";
    let words: Vec<&str> = words.split(' ').collect();
    let mut numbers = Numbers(7);
    let mut refused = 0;
    for _ in 0..4_000 {
        let mut text: Vec<char> = default_text().chars().collect();
        for _ in 0..=numbers.below(4) {
            let at = numbers.below(text.len() + 1);
            let end = (at + numbers.below(60)).min(text.len());
            match numbers.below(3) {
                0 => drop(text.drain(at..end)),
                1 => drop(text.splice(at..at, words[numbers.below(words.len())].chars())),
                _ => {
                    let (copy, to) = (text[at..end].to_vec(), numbers.below(text.len() + 1));
                    text.splice(to..to, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        let lines = text.split('\n').count();
        if let Err(error @ (Error::Syntax { .. } | Error::Unknown { .. } | Error::Value { .. })) =
            from_file(&text)
        {
            let (Error::Syntax { place, .. }
            | Error::Unknown { place, .. }
            | Error::Value { place, .. }) = &error
            else {
                unreachable!()
            };
            let Place::File(_, line) = place else { panic!("{error}") };
            assert!((1..=lines).contains(line), "{error}: {text}");
            refused += 1;
        }
    }
    assert!(refused > 1_000, "{refused}");
}
