//! Records, the rows of the catalog and its keys: no bytes panic a decoder, and what decodes
//! encodes to the same bytes.
//! INVARIANT under attack: one value has one byte form, and both readers of a record agree.
#![no_main]

use hansard_engine::catalog::keys::{KeyName, after_prefix, number_at};
use hansard_engine::catalog::rows::*;
use hansard_engine::format::filter::Filter;
use hansard_engine::format::pack::PackMeta;
use hansard_engine::format::payload::{ImportProgress, LsnSpan};
use hansard_engine::format::record::{Outline, Record};
use hansard_engine::format::run::Run;
use hansard_engine::format::run_before;
use hansard_engine::format::wire::{Wire, from_bytes, to_bytes};
use libfuzzer_sys::fuzz_target;

fn one_form<T: Wire>(data: &[u8]) {
    if let Ok(value) = from_bytes::<T>(data, "value") {
        assert_eq!(to_bytes(&value), data, "{}", T::SHAPE);
    }
}

fuzz_target!(|data: &[u8]| {
    match (Record::from_bytes(data), Outline::from_bytes(data)) {
        (Ok(record), Ok(outline)) => {
            assert_eq!(record.to_bytes(), data);
            let Outline { kind, epoch, lsn, room, seq, rev, time, recorded } = outline;
            assert_eq!((kind, epoch, lsn), (record.payload.kind(), record.epoch, record.lsn));
            assert_eq!((room, seq, rev), (record.room, record.seq, record.rev));
            assert_eq!((time, recorded), (record.time, record.recorded));
        }
        (record, outline) => assert_eq!(record.err(), outline.err()),
    }
    one_form::<RoomRow>(data);
    one_form::<HeadRow>(data);
    one_form::<TipRow>(data);
    one_form::<MemberRow>(data);
    one_form::<CategoryRow>(data);
    one_form::<PrincipalRow>(data);
    one_form::<TokenRow>(data);
    one_form::<KeyRow>(data);
    one_form::<KeyPage>(data);
    if let Ok(filter) = Filter::from_bytes(data) {
        assert_eq!(filter.to_bytes(), data);
        let name: Option<[u8; 12]> = data.first_chunk().copied();
        assert!(!filter.may_hold(&KeyName(name.expect("a block"))) || data.iter().any(|b| *b > 0));
    }
    one_form::<AppliedRow>(data);
    one_form::<LsnSpan>(data);
    one_form::<ImportProgress>(data);
    one_form::<PackMeta>(data);
    if data.first() == Some(&0) {
        one_form::<Run>(data);
    } else if let Ok(run) = from_bytes::<Run>(data, "fuzz") {
        let mut bytes = Vec::new();
        run_before::put(&run, &mut bytes);
        assert_eq!(bytes, data, "of format 1");
    }
    let _ = number_at(data, data.len() / 2);
    if data.len() < 64 {
        assert!(after_prefix(data).as_slice() > data);
    }
});
