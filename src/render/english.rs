//! Counts and durations in words.

/// `1 task`, `3 tasks`, `2 sandboxes`.
pub fn count(number: usize, noun: &str) -> String {
    match (number, noun.ends_with(['s', 'x'])) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{number} {noun}es"),
        (_, false) => format!("{number} {noun}s"),
    }
}

/// How long ago, as Docker says it: `5 seconds`, `3 minutes`, `2 days`.
pub fn duration(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0 => return "less than a second".into(),
        1..=119 => (seconds, "second"),
        120..=7199 => (seconds / 60, "minute"),
        7200..=172_799 => (seconds / 3600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    count(usize::try_from(number).unwrap_or(usize::MAX), unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_the_largest_fitting_unit() {
        let said: Vec<String> =
            [0, 1, 59, 119, 120, 7199, 7200, 200_000].map(duration).into_iter().collect();
        assert_eq!(
            said,
            [
                "less than a second",
                "1 second",
                "59 seconds",
                "119 seconds",
                "2 minutes",
                "119 minutes",
                "2 hours",
                "2 days"
            ]
        );
    }
}
