//! Calendar dates as days since 1970-01-01, by hand.
//!
//! The proleptic Gregorian calendar and nothing else: no time zone, no clock, no leap second.
//! A date that the calendar does not have is `None`.

/// Days from 1970-01-01 to the given date; negative before it.
pub(super) fn days_from_civil(year: u16, month: u8, day: u8) -> Option<i64> {
    if day == 0 || day > days_in_month(year, month)? {
        return None;
    }
    // Years begin in March, so that the leap day is the last of its year and of its 400-year era.
    let (year, month, day) = (i64::from(year), i64::from(month), i64::from(day));
    let march_year = if month <= 2 { year - 1 } else { year };
    let march_month = (month + 9) % 12;
    let era = march_year.div_euclid(400);
    let year_of_era = march_year.rem_euclid(400);
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * DAYS_PER_ERA + day_of_era - DAYS_BEFORE_1970)
}

const DAYS_PER_ERA: i64 = 146_097;
/// From 0000-03-01, where the first era begins, to 1970-01-01.
const DAYS_BEFORE_1970: i64 = 719_468;

fn days_in_month(year: u16, month: u8) -> Option<u8> {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 if is_leap(year) => Some(29),
        2 => Some(28),
        _ => None,
    }
}

fn is_leap(year: u16) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_dates() {
        assert_eq!(days_from_civil(1970, 1, 1), Some(0));
        assert_eq!(days_from_civil(1969, 12, 31), Some(-1));
        assert_eq!(days_from_civil(2000, 2, 29), Some(11_016));
        assert_eq!(days_from_civil(2008, 4, 27), Some(13_996));
        assert_eq!(days_from_civil(0, 3, 1), Some(-719_468));
        assert_eq!(days_from_civil(0, 1, 1), Some(-719_528));
        assert_eq!(days_from_civil(9999, 12, 31), Some(2_932_896));
    }

    #[test]
    fn days_outside_the_calendar_are_refused() {
        for (year, month, day) in
            [(2023, 2, 29), (1900, 2, 29), (2024, 2, 30), (2024, 4, 31), (2024, 1, 32)]
        {
            assert_eq!(days_from_civil(year, month, day), None, "{year}-{month}-{day}");
        }
        for (month, day) in [(0, 1), (13, 1), (1, 0), (255, 255)] {
            assert_eq!(days_from_civil(2024, month, day), None, "{month}-{day}");
        }
    }

    #[test]
    fn every_day_of_five_centuries_is_one_after_the_day_before() {
        let mut expected = days_from_civil(1600, 1, 1).unwrap();
        for year in 1600..2100 {
            for month in 1..=12 {
                for day in 1..=days_in_month(year, month).unwrap() {
                    assert_eq!(days_from_civil(year, month, day), Some(expected));
                    expected += 1;
                }
            }
        }
    }
}
