//! Moments as RFC 3339 has them, in UTC.

use std::fmt;
use std::str::FromStr;

/// A moment: nanoseconds since 1970, UTC, leap seconds left out as POSIX does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

const SECOND: u64 = 1_000_000_000;
const DAY: i64 = 86_400;

impl Moment {
    pub fn of_seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(SECOND))
    }

    /// `2026-11-24T02:40:52.123Z`, with as many digits after the point as asked, none to nine.
    pub fn with_digits(self, digits: usize) -> String {
        let seconds = self.0 / SECOND;
        let (year, month, day) = civil((seconds / DAY as u64) as i64);
        let of_day = seconds % DAY as u64;
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        let fraction = format!("{:09}", self.0 % SECOND);
        let fraction = match fraction.get(..digits.min(9)) {
            None | Some("") => String::new(),
            Some(digits) => format!(".{digits}"),
        };
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z")
    }
}

/// As Docker prints the time of a line: always nine digits.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.with_digits(9))
    }
}

/// `2026-11-24`, `2026-11-24T02:40`, `2026-11-24T02:40:52.5+01:00`, or seconds since 1970; without a
/// zone it is UTC.
impl FromStr for Moment {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if let Some(moment) = since_1970(text) {
            return Ok(moment);
        }
        let (date, time) = match text.split_once(['T', 't', ' ']) {
            Some((date, time)) => (date, time),
            None => (text, "00:00"),
        };
        let [year, month, day] = numbers(date, '-')?;
        if !(1970..=2500).contains(&year) || day < 1 || day > days_of(year, month).ok_or(())? {
            return Err(());
        }
        let (time, offset) = zone(time)?;
        let (time, fraction) = match time.split_once('.') {
            Some((time, fraction)) => (time, nanoseconds(fraction)?),
            None => (time, 0),
        };
        let [hour, minute, second] = match time.matches(':').count() {
            1 => {
                let [hour, minute] = numbers(time, ':')?;
                [hour, minute, 0]
            }
            _ => numbers(time, ':')?,
        };
        if hour > 23 || minute > 59 || second > 60 {
            return Err(());
        }
        let seconds = days(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset;
        let seconds = u64::try_from(seconds).map_err(drop)?;
        Ok(Self(seconds.checked_mul(SECOND).ok_or(())?.checked_add(fraction).ok_or(())?))
    }
}

/// `1764000000` or `1764000000.25`.
fn since_1970(text: &str) -> Option<Moment> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(seconds) {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    seconds.checked_mul(SECOND)?.checked_add(nanoseconds(fraction).ok()?).map(Moment)
}

fn nanoseconds(fraction: &str) -> Result<u64, ()> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(());
    }
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    nine.parse().map_err(drop)
}

/// The time without its zone, and the zone's seconds east of UTC.
fn zone(time: &str) -> Result<(&str, i64), ()> {
    if let Some(time) = time.strip_suffix(['Z', 'z']) {
        return Ok((time, 0));
    }
    let Some(at) = time.rfind(['+', '-']) else { return Ok((time, 0)) };
    let (time, zone) = time.split_at(at);
    let [hours, minutes] = numbers(zone.get(1..).unwrap_or_default(), ':')?;
    if hours > 23 || minutes > 59 {
        return Err(());
    }
    let east = hours * 3600 + minutes * 60;
    Ok((time, if zone.starts_with('-') { -east } else { east }))
}

fn numbers<const N: usize>(text: &str, separator: char) -> Result<[i64; N], ()> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.len() <= 4;
        let digits = digits && part.bytes().all(|byte| byte.is_ascii_digit());
        if digits { part.parse::<i64>().map_err(drop) } else { Err(()) }
    };
    let parts: Vec<i64> = text.split(separator).map(number).collect::<Result<_, _>>()?;
    parts.try_into().map_err(drop)
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    match month {
        2 if is_leap(year) => Some(29),
        2 => Some(28),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to a day of the Gregorian calendar (Howard Hinnant, `days_from_civil`): years
/// begin in March, so that a leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The other way round: year, month, day.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_said_as_docker_says_it() {
        // `date -u -d @1795488052`
        let moment = Moment(1_795_488_052 * SECOND + 120_000_034);
        assert_eq!(moment.to_string(), "2026-11-24T02:40:52.120000034Z");
        assert_eq!(moment.with_digits(3), "2026-11-24T02:40:52.120Z");
        assert_eq!(moment.with_digits(0), "2026-11-24T02:40:52Z");
        assert_eq!(Moment(0).with_digits(0), "1970-01-01T00:00:00Z");
        assert_eq!(Moment::of_seconds(951_782_400).with_digits(0), "2000-02-29T00:00:00Z");
    }

    #[test]
    fn what_is_said_is_read_back_on_every_day_of_five_hundred_years() {
        for day in 0..193_000 {
            let moment = Moment(day * DAY as u64 * SECOND + 86_399 * SECOND + day);
            assert_eq!(moment.to_string().parse(), Ok(moment));
        }
    }

    #[test]
    fn zones_fractions_and_shorter_forms_are_read() {
        let seconds = |text: &str| text.parse().map(|Moment(nanos)| nanos / 10_000_000);
        assert_eq!(seconds("2026-11-24T02:40:52Z"), Ok(179_548_805_200));
        assert_eq!(seconds("2026-11-24T03:40:52.5+01:00"), Ok(179_548_805_250));
        assert_eq!(seconds("2026-11-23T21:10:52-05:30"), Ok(179_548_805_200));
        assert_eq!(seconds("2026-11-24 02:40"), Ok(179_548_800_000));
        assert_eq!(seconds("2026-11-24"), Ok(179_547_840_000));
        assert_eq!(seconds("1764000000"), Ok(176_400_000_000));
        assert_eq!(seconds("1764000000.25"), Ok(176_400_000_025));
        for bad in
            ["", "2026-02-29", "2026-13-01", "2026-11-24T24:00", "2026-11-24T02", "+5", "now"]
        {
            assert_eq!(bad.parse::<Moment>(), Err(()), "{bad}");
        }
    }
}
