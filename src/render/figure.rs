//! Numbers as people read them: durations, probabilities, thousands.

/// A time given in microseconds, with three significant digits and a fitting unit.
pub fn time(micros: f64) -> String {
    // The limits are where three digits would round up to the next unit.
    let (value, unit) = match micros {
        _ if micros < 999.5 => (micros, "µs"),
        _ if micros < 999_500.0 => (micros / 1e3, "ms"),
        _ => (micros / 1e6, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

fn three_digits(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// A probability: `p 0.031`, never a zero that it is not.
pub fn p(probability: f64) -> String {
    match probability {
        _ if probability < 0.001 => "p < 0.001".to_owned(),
        _ => format!("p {probability:.3}"),
    }
}

/// A share of 1 in percent: `33.3 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A whole number with a comma between thousands.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A size in bytes as Docker says it: `0B`, `4.2kB`, `187MB`, in units of a thousand.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    let mut units = ["B", "kB", "MB", "GB", "TB", "PB", "EB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    // The limit is where three digits would round up to the next unit.
    while value >= 999.5 {
        value /= 1000.0;
        unit = units.next().unwrap_or(unit);
    }
    let digits = match unit {
        "B" => format!("{value:.0}"),
        _ => three_digits(value),
    };
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => &digits,
    };
    format!("{digits}{unit}")
}

/// `1 reply`, `2 replies`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// A name in at most `most` characters: cut in the middle, for names of tasks differ at the end.
pub fn shortened(name: &str, most: usize) -> String {
    let length = name.chars().count();
    if length <= most {
        return name.to_owned();
    }
    let end = (most / 3).min(10);
    let begin = most.saturating_sub(end + 1);
    let first: String = name.chars().take(begin).collect();
    let last: String = name.chars().skip(length - end).collect();
    format!("{first}…{last}")
}

/// A moment, given in seconds since 1970: `2026-11-24 03:04:05 UTC`.
pub fn moment(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, so that the leap day is a year's last; eras of 400 such years
    // have 146,097 days each, and 1970 began 719,468 days after the first of March of year 0.
    let day = days + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    format!(
        "{:04}-{month:02}-{of_month:02} {:02}:{:02}:{:02} UTC",
        era * 400 + year + next,
        second / 3_600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_too_long_keeps_its_end() {
        assert_eq!(shortened("web.1", 36), "web.1");
        let long = format!("{}.12", "a".repeat(60));
        let cut = shortened(&long, 24);
        assert_eq!((cut.chars().count(), cut.as_str()), (24, "aaaaaaaaaaaaaaa…aaaaa.12"));
        assert_eq!(shortened("üüüüüü", 3), "ü…ü");
    }

    #[test]
    fn moments_are_those_of_date() {
        // date -u -d @SECONDS
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_795_489_445, "2026-11-24 03:04:05 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(seconds), expected);
        }
    }

    #[test]
    fn times_have_three_digits_and_the_unit_that_fits() {
        let shown: Vec<String> =
            [0.0, 4.2, 9.996, 210.4, 999.6, 1234.0, 12_340.0, 999_600.0, 2_500_000.0]
                .map(time)
                .into();
        let expected = [
            "0.00 µs", "4.20 µs", "10.0 µs", "210 µs", "1.00 ms", "1.23 ms", "12.3 ms", "1.00 s",
            "2.50 s",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_tiny_probability_is_not_zero() {
        assert_eq!(p(4e-11), "p < 0.001");
        assert_eq!(p(0.0017), "p 0.002");
    }

    #[test]
    fn sizes_are_as_docker_says_them() {
        let shown = [0, 999, 1_000, 4_200, 999_600, 187_400_000, 1_250_000_000, u64::MAX].map(size);
        assert_eq!(shown, ["0B", "999B", "1kB", "4.2kB", "1MB", "187MB", "1.25GB", "18.4EB"]);
    }

    #[test]
    fn thousands_are_grouped() {
        let shown = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
