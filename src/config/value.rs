//! Values of the configuration: read from TOML or from text, shown as TOML.
//!
//! Every sort of value is one implementation here. None of them reads the environment or a file.

use std::fmt;
use std::net::SocketAddr;

use toml::de::DeValue;

/// A value as it was given.
#[derive(Clone, Copy)]
pub enum Given<'a> {
    /// By a variable or a flag.
    Text(&'a str),
    /// By a file.
    Toml(&'a DeValue<'a>),
}

impl fmt::Display for Given<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => out.write_str(text),
            Self::Toml(DeValue::String(text)) => out.write_str(text),
            Self::Toml(DeValue::Integer(number)) => number.fmt(out),
            Self::Toml(DeValue::Float(number)) => number.fmt(out),
            Self::Toml(DeValue::Boolean(truth)) => truth.fmt(out),
            Self::Toml(DeValue::Datetime(time)) => time.fmt(out),
            Self::Toml(DeValue::Array(_)) => out.write_str("an array"),
            Self::Toml(DeValue::Table(_)) => out.write_str("a section"),
        }
    }
}

/// A sort of value.
pub trait Value: Sized {
    /// Reads one, or says what was wanted.
    fn read(given: Given<'_>) -> Result<Self, &'static str>;
    /// As TOML.
    fn shown(&self) -> String;
    /// As a number, if it is one.
    fn number(&self) -> Option<u64> {
        None
    }
}

impl Value for bool {
    fn read(given: Given<'_>) -> Result<Self, &'static str> {
        match given {
            Given::Toml(DeValue::Boolean(truth)) => Ok(*truth),
            Given::Text("true") => Ok(true),
            Given::Text("false") => Ok(false),
            _ => Err("true-or-false"),
        }
    }

    fn shown(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    fn read(given: Given<'_>) -> Result<Self, &'static str> {
        let wanted = "an-address-like-127.0.0.1:8010";
        match given {
            Given::Toml(DeValue::String(text)) => text.parse().map_err(|_| wanted),
            Given::Text(text) => text.parse().map_err(|_| wanted),
            Given::Toml(_) => Err(wanted),
        }
    }

    fn shown(&self) -> String {
        format!("\"{self}\"")
    }
}

fn number<T: TryFrom<u64>>(given: Given<'_>) -> Result<T, &'static str> {
    let number = match given {
        Given::Toml(DeValue::Integer(number)) => {
            u64::from_str_radix(number.as_str(), number.radix()).ok()
        }
        Given::Text(text) => text.parse().ok(),
        Given::Toml(_) => None,
    };
    number.and_then(|number| T::try_from(number).ok()).ok_or("a-number")
}

macro_rules! numbers {
    ($( $type:ty ),*) => { $(
        impl Value for $type {
            fn read(given: Given<'_>) -> Result<Self, &'static str> {
                number(given)
            }

            fn shown(&self) -> String {
                self.to_string()
            }

            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )* };
}

numbers!(u32, u64, usize);

macro_rules! words {
    ($( $(#[$doc:meta])* $name:ident, $wanted:literal {
        $( $(#[$variant_doc:meta])* $variant:ident = $word:literal ),+ $(,)?
    } )+) => { $(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $( $(#[$variant_doc])* $variant ),+ }

        impl $name {
            /// The word of the configuration.
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $word ),+ }
            }
        }

        impl Value for $name {
            fn read(given: Given<'_>) -> Result<Self, &'static str> {
                let text = match given {
                    Given::Toml(DeValue::String(text)) => text.as_ref(),
                    Given::Text(text) => text,
                    Given::Toml(_) => return Err($wanted),
                };
                match text {
                    $( $word => Ok(Self::$variant), )+
                    _ => Err($wanted),
                }
            }

            fn shown(&self) -> String {
                format!("\"{}\"", self.as_str())
            }
        }
    )+ };
}

words! {
    /// How log lines look.
    LogFormat, "text-or-json" {
        /// For people.
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
    /// How much is logged.
    Level, "error-warn-info-debug-or-trace" {
        /// What an operator must act on.
        Error = "error",
        /// Also what he should know of.
        Warn = "warn",
        /// Also starts and stops.
        Info = "info",
        /// Also what helps to find a fault.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}
