//! Records: no bytes panic the decoder, and what decodes encodes to the same bytes.
//! INVARIANT under attack: one value has one byte form.
#![no_main]

use hansard_engine::format::record::Record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(record) = Record::from_bytes(data) {
        assert_eq!(record.to_bytes(), data);
    }
});
