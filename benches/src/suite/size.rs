//! How much is measured: for a look, for the record, and for the machine's night.
//!
//! The environment says which; a suite asks once and hands it down.

use std::time::Duration;

use crate::tournament::Outcome;

/// Which populations and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    pub name: &'static str,
    /// Of the filled stores.
    pub messages: u64,
    pub rooms: u32,
    pub categories: u32,
    /// One engine's turn in a round.
    pub turn: Duration,
    /// Turns of each; criterion wants ten samples at least.
    pub rounds: usize,
    /// Rooms of three messages.
    pub small_rooms: u32,
    /// How long a steady load lasts.
    pub steady: Duration,
}

/// Which size, by name.
pub const VARIABLE: &str = "HANSARD_BENCH";
/// Another population in its place: `zipf`, `lync`.
pub const POPULATION: &str = "HANSARD_POPULATION";
/// The rooms of the Lync population.
const LYNC_ROOMS: u32 = 33_077;

impl Size {
    pub const QUICK: Self = Self {
        name: "quick",
        messages: 100_000,
        rooms: 10_000,
        categories: 100,
        turn: Duration::from_millis(30),
        rounds: 10,
        small_rooms: 100_000,
        steady: Duration::from_secs(30),
    };
    pub const STANDARD: Self = Self {
        name: "standard",
        messages: 1_000_000,
        turn: Duration::from_millis(200),
        small_rooms: 1_000_000,
        steady: Duration::from_secs(120),
        ..Self::QUICK
    };
    pub const FULL: Self = Self {
        name: "full",
        messages: 10_000_000,
        turn: Duration::from_millis(500),
        steady: Duration::from_secs(1_800),
        ..Self::STANDARD
    };

    /// What the environment asks for; quick if it says nothing.
    ///
    /// # Errors
    /// If it asks for something unknown.
    pub fn asked() -> Outcome<Self> {
        let wanted = std::env::var(VARIABLE).unwrap_or_else(|_| Self::QUICK.name.to_owned());
        let mut all = [Self::QUICK, Self::STANDARD, Self::FULL].into_iter();
        let size = all.find(|size| size.name == wanted);
        let size = size.ok_or_else(|| format!("{VARIABLE}: no size is called {wanted}"))?;
        match std::env::var(POPULATION).as_deref() {
            Err(_) | Ok("zipf") => Ok(size),
            Ok("lync") => Ok(Self { rooms: LYNC_ROOMS, ..size }),
            Ok(other) => Err(format!("{POPULATION}: no population is called {other}").into()),
        }
    }
}
