//! How a reading becomes numbers, with stores made up for it.
//!
//! The verdict on the numbers is tested beside `verdict`.

use super::*;

/// A store whose rooms read as `edit` makes them.
struct Made {
    rooms: Vec<Vec<&'static str>>,
    edit: fn(u64, &mut RoomRead) -> Outcome<()>,
    one: fn(u64) -> Outcome<bool>,
}

impl Made {
    fn bodies(&self, room: u64) -> &[&'static str] {
        &self.rooms[usize::try_from(room).unwrap() - 1]
    }
}

impl Reader for Made {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let bodies = (1..).zip(self.bodies(room)).map(|(seq, b)| (seq, b.as_bytes().to_vec()));
        read.messages = bodies.collect();
        (self.edit)(room, read)
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let body = self.bodies(room)[usize::try_from(seq).unwrap() - 1];
        Ok((self.one)(seq)?.then(|| body.as_bytes().to_vec()))
    }
}

fn read(
    edit: fn(u64, &mut RoomRead) -> Outcome<()>,
    one: fn(u64) -> Outcome<bool>,
) -> (Readout, u64) {
    let load = Load::new(3, 400);
    let made = Made { rooms: load.rooms().to_vec(), edit, one };
    let mut readout = Readout::default();
    read_rooms(&made, &[1, 2, 3, 4, 5, 6, 7, 8], &load, &mut readout);
    (readout, 400)
}

#[test]
fn a_whole_store_is_all_equal() {
    let (readout, all) = read(|_, _| Ok(()), |_| Ok(false));
    assert_eq!(readout, Readout { equal: all, ..Readout::default() });
}

#[test]
fn missing_changed_and_alien_messages_are_counted_apart() {
    let edit = |room, read: &mut RoomRead| {
        match room {
            1 => drop(read.messages.pop()),
            2 => read.messages[0].1.push(b'!'),
            3 => read.messages.push((1, b"again".to_vec())),
            4 => read.messages.push((9_999, b"from nowhere".to_vec())),
            _ => {}
        }
        Ok(())
    };
    let (readout, all) = read(edit, |_| Ok(false));
    let expected = Readout { equal: all - 2, missing: 1, changed: 1, alien: 2, ..readout.clone() };
    assert_eq!(readout, expected);
}

#[test]
fn a_gap_names_only_what_it_covers() {
    let edit = |room, read: &mut RoomRead| {
        if room == 5 {
            read.messages.drain(2..6);
            read.gaps.push((3, 5));
        }
        Ok(())
    };
    let (readout, all) = read(edit, |_| Ok(false));
    let expected = Readout { equal: all - 4, named: 3, missing: 1, ..Readout::default() };
    assert_eq!(readout, expected);
}

#[test]
fn behind_an_error_messages_are_asked_for_one_by_one_and_none_is_silent() {
    let edit = |room, read: &mut RoomRead| {
        if room == 6 {
            read.messages.truncate(10);
            return Err("checksum".into());
        }
        Ok(())
    };
    let (readout, all) = read(edit, |seq| if seq == 20 { Ok(false) } else { Ok(true) });
    let error = Some("checksum".to_owned());
    assert_eq!(readout, Readout { equal: all - 1, read_error: error, ..Readout::default() });
}
