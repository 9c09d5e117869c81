//! Operations: the engine beside the model of its tests, every choice drawn from the input.
//! Appends, reads, seals, faults, kills, power cuts and damage, with the asserts of
//! `engine/tests/simulation.rs`; an input says what a seed says there.
//! INVARIANT under attack: what was acknowledged is read back exactly, or named as lost.
#![no_main]

use hansard_fuzz::model::{Choices, run, run_to_equal_rows};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((end, data)) = data.split_first() else { return };
    let choices = Choices::of_bytes(data);
    // The scenario ends as chosen, or with rows that a second engine must rebuild.
    let _ = if end % 4 == 0 { run_to_equal_rows(choices) } else { run(choices) };
});
