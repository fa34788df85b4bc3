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

/// `1 reply`, `2 replies`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn thousands_are_grouped() {
        let shown = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(shown, ["0", "999", "1,000", "1,234,567"]);
    }
}
