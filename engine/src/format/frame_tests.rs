//! Frames: round trip, and no flipped bit goes unseen.
//!
//! A frame of another use of the file, or of another place in it, is refused as well.

use super::*;

fn sample() -> Vec<u8> {
    let records = [b"first record".to_vec(), b"".to_vec(), vec![7; 300]];
    let entries: Vec<DirEntry> = (1..)
        .zip(&records)
        .map(|(n, r)| DirEntry {
            bytes: u32::try_from(r.len()).unwrap(),
            kind: Kind::Post,
            room: RoomId(70 + n),
            seq: Seq(n),
            rev: Rev(n + 1),
        })
        .collect();
    let (bytes, crc) = encode_frame(&FrameParts {
        prev_crc: 5,
        incarnation: 9,
        offset: 8192,
        flags: 0,
        epoch: Epoch(1),
        first_lsn: Lsn(100),
        synced: Lsn(99),
        committed: Lsn(98),
        recorded: TimeUs(-3),
        entries: &entries,
        records: &records.concat(),
    });
    assert_eq!(FrameHeader::parse(&bytes, 9, 8192).unwrap().crc, crc);
    bytes
}

/// True if everything in the frame is what was written.
fn sound(bytes: &[u8]) -> bool {
    let Ok(header) = FrameHeader::parse(bytes, 9, 8192) else { return false };
    let Ok(entries) = read_directory(&header, bytes) else { return false };
    read_records(&header, &entries, bytes).iter().all(|s| s.fault.is_none())
        && bad_padding(&header, bytes).is_none()
}

#[test]
fn a_frame_gives_back_its_records() {
    let bytes = sample();
    assert_eq!(bytes.len(), SECTOR_BYTES);
    let header = FrameHeader::parse(&bytes, 9, 8192).unwrap();
    assert_eq!((header.first_lsn, header.last_lsn()), (Lsn(100), Lsn(102)));
    let entries = read_directory(&header, &bytes).unwrap();
    let slots = read_records(&header, &entries, &bytes);
    let first = &slots[0];
    let end = first.start + first.entry.bytes as usize;
    assert_eq!(&bytes[first.start..end], b"first record");
    assert_eq!(slots[2].entry.room, RoomId(73));
}

#[test]
fn every_flipped_bit_of_a_frame_is_seen() {
    let bytes = sample();
    assert!(sound(&bytes));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            assert!(!sound(&flipped), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn a_frame_of_another_use_or_place_is_refused() {
    let bytes = sample();
    assert!(FrameHeader::parse(&bytes, 8, 8192).is_err());
    assert!(FrameHeader::parse(&bytes, 9, 4096).is_err());
}

#[test]
fn a_file_header_round_trips_and_every_flip_is_seen() {
    let header = FileHeader {
        incarnation: 4,
        epoch: Epoch(2),
        first_lsn: Lsn(77),
        prev_frame_crc: 0xabcd,
        file_bytes: 1 << 20,
        prev_incarnation: 3,
        prev_end: 8192,
    };
    let sector = header.to_sector();
    assert_eq!(FileHeader::parse(&sector).unwrap(), Some(header));
    assert_eq!(FileHeader::parse(&[0; SECTOR_BYTES]).unwrap(), None);
    for at in 0..sector.len() {
        let mut flipped = sector.clone();
        flipped[at] ^= 16;
        assert!(FileHeader::parse(&flipped).is_err(), "byte {at}");
    }
}

/// The bytes of a header of these sizes, with a checksum that holds.
fn header(count: usize, records: usize, total: usize, first: u64) -> Vec<u8> {
    let to_u32 = |n: usize| u32::try_from(n).unwrap();
    let header = FrameHeader {
        crc: 0,
        prev_crc: 0,
        incarnation: 9,
        offset: 8192,
        flags: 0,
        epoch: Epoch(1),
        first_lsn: Lsn(first),
        count: to_u32(count),
        synced: Lsn(0),
        committed: Lsn(0),
        recorded: TimeUs(0),
        dir_crc: 0,
        records_bytes: to_u32(records),
        total_bytes: to_u32(total),
    };
    let mut bytes = Vec::new();
    header.put(&mut bytes);
    bytes
}

#[test]
fn each_size_of_a_header_has_its_bound() {
    let bad = |bytes: &[u8]| FrameHeader::parse_any(bytes).err().map(|wrong| wrong.what);
    let (most, longest) = (limits::FRAME_RECORDS_MAX, limits::FRAME_BYTES_MAX);
    let fits = |count, records| frame_bytes(count, records - count * RECORD_CRC_BYTES);
    let sizes = Some("frame.sizes");
    // As many records as a frame may have, and one more.
    let records = most * (RECORD_CRC_BYTES + 1);
    assert_eq!(bad(&header(most, records, fits(most, records), 1)), None);
    assert_eq!(bad(&header(most + 1, records + 9, fits(most + 1, records + 9), 1)), sizes);
    // As long as a frame may be, and a byte more.
    let records = longest - HEADER_BYTES - ENTRY_BYTES;
    assert_eq!(bad(&header(1, records, longest, 1)), None);
    assert_eq!(bad(&header(1, records + 1, longest + SECTOR_BYTES, 1)), sizes);
    // A length that is not that of its parts, to both sides.
    let records = SECTOR_BYTES;
    assert_eq!(bad(&header(1, records, 2 * SECTOR_BYTES, 1)), None);
    for total in [0, SECTOR_BYTES, 2 * SECTOR_BYTES - 1, 3 * SECTOR_BYTES] {
        assert_eq!(bad(&header(1, records, total, 1)), sizes, "{total}");
    }
    // No record is number 0.
    assert_eq!(bad(&header(1, records, 2 * SECTOR_BYTES, 0)), sizes);
}

#[test]
fn a_header_knows_whether_it_has_records() {
    let of = |count, records| {
        let bytes = header(count, records, SECTOR_BYTES, 7);
        FrameHeader::parse_any(&bytes).unwrap()
    };
    let (none, one) = (of(0, 0), of(1, 20));
    assert!(none.is_empty() && !one.is_empty());
    assert_eq!((none.last_lsn(), one.last_lsn()), (Lsn(6), Lsn(7)));
    assert_eq!((none.dir_bytes(), one.dir_bytes(), one.len()), (0, 32, SECTOR_BYTES as u64));
}
