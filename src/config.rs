//! The configuration: one TOML file, the environment over it, the command line over both.
//!
//! Only what may differ between servers stands here; policy is a record in the log. Every key is in
//! one table (`keys`), from which the printed default, the range checks and OPERATIONS.md follow.
//! INVARIANT: a key or variable that is not in the table is an error, never ignored.

mod keys;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hansard_engine::Options;
use hansard_server::{PasswordCost, ServerConfig};
use thiserror::Error;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

pub use keys::{Config, KEYS};
use value::Given;
pub use value::{Level, LogFormat};

use crate::exits::{Exit, Failure};
use crate::files;

/// Names in the environment that may be configuration begin so.
const ENVIRONMENT_PREFIX: &str = "HANSARD_";
/// What makes such a name configuration, and stands between section and key.
const ENVIRONMENT_SEPARATOR: &str = "__";

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// The file is no TOML.
    #[error("configuration is not TOML {place} error={message:?}")]
    Syntax {
        /// Where.
        place: Place,
        /// The parser's words.
        message: String,
    },
    /// No such section, key or variable.
    #[error("unknown configuration key={key} {place}")]
    Unknown {
        /// As given.
        key: String,
        /// Where.
        place: Place,
    },
    /// The value is of another sort.
    #[error("wrong configuration value key={key} value={value:?} wanted={wanted} {place}")]
    Value {
        /// The key.
        key: String,
        /// As given.
        value: String,
        /// What would be right.
        wanted: &'static str,
        /// Where.
        place: Place,
    },
    /// The number is too small or too large.
    #[error("configuration value out of range key={key} value={value} min={min} max={max}")]
    Range {
        /// The key.
        key: String,
        /// The value.
        value: u64,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Two values do not fit each other.
    #[error("configuration contradicts itself {what}")]
    Contradiction {
        /// Both keys, with their values.
        what: String,
    },
}

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the file.
    File(PathBuf, usize),
    /// In the environment.
    Variable(String),
    /// On the command line.
    Flag(&'static str),
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path, line) => write!(out, "file={path:?} line={line}"),
            Self::Variable(name) => write!(out, "variable={name}"),
            Self::Flag(name) => write!(out, "flag={name}"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(Exit::Config, error.to_string())
    }
}

/// What the command line says about keys: the flag, section and key, the value.
pub type Flag<'a> = (&'static str, (&'static str, &'static str), Option<&'a str>);

/// Puts the configuration together and checks it.
pub fn load(file: Option<&Path>, flags: &[Flag<'_>]) -> Result<Config, Failure> {
    let mut config = Config::default();
    if let Some(path) = file {
        config.read_file(path, &files::read_config(path)?)?;
    }
    config.read_environment(std::env::vars_os())?;
    config.read_flags(flags)?;
    config.sanitize()?;
    Ok(config)
}

/// `hansard check-config FILE`: the file alone, without this machine's environment.
pub fn check(path: &Path) -> Result<(), Failure> {
    let mut config = Config::default();
    config.read_file(path, &files::read_config(path)?)?;
    Ok(config.sanitize()?)
}

impl Config {
    /// Takes the values of a file's text.
    fn read_file(&mut self, path: &Path, text: &str) -> Result<(), Error> {
        let place = |offset: usize| {
            let before = text.as_bytes().get(..offset).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Place::File(path.to_owned(), line)
        };
        let document = DeTable::parse(text).map_err(|error| Error::Syntax {
            place: place(error.span().map_or(0, |span| span.start)),
            message: error.message().to_owned(),
        })?;
        for (section, keys) in document.get_ref() {
            let known = KEYS.iter().any(|key| key.section == section.get_ref().as_ref());
            let DeValue::Table(keys) = keys.get_ref() else {
                let (key, place) = (section.get_ref().to_string(), place(section.span().start));
                return Err(if known {
                    Error::Value { key, value: shown(keys), wanted: "a section", place }
                } else {
                    Error::Unknown { key, place }
                });
            };
            if !known {
                let (key, place) = (section.get_ref().to_string(), place(section.span().start));
                return Err(Error::Unknown { key, place });
            }
            for (key, value) in keys {
                let given = Given::Toml(value.get_ref());
                self.set(section.get_ref(), key.get_ref(), given, &place(key.span().start))?;
            }
        }
        Ok(())
    }

    /// Takes the values of variables: only names with `__` are configuration.
    fn read_environment(
        &mut self,
        variables: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(), Error> {
        for (name, value) in variables {
            let Some(name) = name.to_str() else { continue };
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let Some((section, key)) = rest.split_once(ENVIRONMENT_SEPARATOR) else { continue };
            let place = Place::Variable(name.to_owned());
            let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
            self.set(&section, &key, Given::Text(&value.to_string_lossy()), &place)?;
        }
        Ok(())
    }

    fn read_flags(&mut self, flags: &[Flag<'_>]) -> Result<(), Error> {
        for (flag, (section, key), value) in flags {
            if let Some(value) = value {
                self.set(section, key, Given::Text(value), &Place::Flag(flag))?;
            }
        }
        Ok(())
    }

    fn set(
        &mut self,
        section: &str,
        name: &str,
        given: Given<'_>,
        place: &Place,
    ) -> Result<(), Error> {
        let Some(key) = KEYS.iter().find(|key| key.section == section && key.name == name) else {
            return Err(Error::Unknown { key: format!("{section}.{name}"), place: place.clone() });
        };
        (key.set)(self, given).map_err(|wanted| Error::Value {
            key: key.dotted(),
            value: given.to_string(),
            wanted,
            place: place.clone(),
        })
    }

    /// Checks every number against its range, and the values that must fit each other.
    pub fn sanitize(&self) -> Result<(), Error> {
        for key in KEYS {
            let (Some((min, max)), Some(value)) = (key.range, (key.number)(self)) else { continue };
            if !(min..=max).contains(&value) {
                return Err(Error::Range { key: key.dotted(), value, min, max });
            }
        }
        let engine = &self.engine;
        let contradiction = |what: String| Err(Error::Contradiction { what });
        if engine.tail_bytes_soft > engine.tail_bytes_hard {
            return contradiction(format!(
                "engine.tail_bytes_soft={} above engine.tail_bytes_hard={}",
                engine.tail_bytes_soft, engine.tail_bytes_hard
            ));
        }
        let (file, cap) = (engine.journal_file_bytes, engine.journal_bytes_max);
        if !(keys::JOURNAL_FILES_MIN..=keys::JOURNAL_FILES_MAX).contains(&(cap / file)) {
            return contradiction(format!(
                "engine.journal_bytes_max={cap} must be {} to {} times \
                 engine.journal_file_bytes={file}",
                keys::JOURNAL_FILES_MIN,
                keys::JOURNAL_FILES_MAX
            ));
        }
        let http = &self.http;
        if !http.insecure_listen && !http.listen.ip().is_loopback() {
            return contradiction(format!(
                "http.listen={} is plaintext off loopback, which needs http.insecure_listen=true",
                http.listen
            ));
        }
        Ok(())
    }

    /// The server's part.
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            http: self.http.listen,
            irc: self.irc.listen,
            peer: self.peer.listen,
            insecure_listen: self.http.insecure_listen,
            read_concurrency: self.http.read_concurrency,
            password_cost: PasswordCost {
                memory_kib: self.auth.password_memory_kib,
                passes: self.auth.password_passes,
                lanes: self.auth.password_lanes,
            },
            session_days: self.auth.session_days,
            ..ServerConfig::default()
        }
    }

    /// The engine's part.
    pub fn engine(&self) -> Options {
        let engine = &self.engine;
        Options {
            journal_file_bytes: engine.journal_file_bytes,
            journal_bytes_max: engine.journal_bytes_max,
            tail_bytes_soft: engine.tail_bytes_soft,
            tail_bytes_hard: engine.tail_bytes_hard,
            cache_bytes: engine.cache_bytes,
            seal_interval_ms: engine.seal_interval_ms,
            disk_reserve_bytes: engine.disk_reserve_bytes,
            catalog_cache_bytes: engine.catalog_cache_bytes,
            scrub_interval_ms: engine.scrub_interval_seconds * 1000,
            scrub_bytes_per_second: engine.scrub_bytes_per_second,
            merge_interval_ms: engine.merge_interval_ms,
            merge_bytes_per_second: engine.merge_bytes_per_second,
            expire_interval_ms: engine.expire_interval_seconds * 1000,
            head_interval_ms: engine.head_interval_seconds * 1000,
            ..Options::default()
        }
    }
}

/// The default, with a comment on every key: what `--print-default-config` prints.
pub fn default_text() -> String {
    let config = Config::default();
    let mut text = String::from(
        "# Hansard's configuration. Every value below is the default; leave out what you do not \
         change.\n# Each key is also a variable, HANSARD_SECTION__KEY, which goes before this \
         file; flags go before both.\n",
    );
    let mut section = "";
    for key in KEYS {
        if key.section != section {
            section = key.section;
            text.push_str(&format!("\n[{section}]\n"));
        }
        for line in key.doc {
            text.push_str(&format!("#{line}\n"));
        }
        if let Some((min, max)) = key.range {
            text.push_str(&format!("# {min} to {max}.\n"));
        }
        text.push_str(&format!("{} = {}\n", key.name, (key.shown)(&config)));
    }
    text
}

fn shown(value: &Spanned<DeValue<'_>>) -> String {
    Given::Toml(value.get_ref()).to_string()
}
