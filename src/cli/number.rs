//! Numbers as they are typed, refused in our words.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A parser of numbers in a range.
pub fn number<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Result<T, String> + Clone
where
    T: FromStr + PartialOrd + Display + Clone,
{
    move |text| match text.parse::<T>() {
        Ok(number) if range.contains(&number) => Ok(number),
        _ => Err(format!(
            "`{}` is not a number from {} to {}",
            text.escape_debug(),
            range.start(),
            range.end()
        )),
    }
}

/// How many tasks; how many there may be is the intent's to say.
pub fn tasks(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{}` is not a number of tasks", text.escape_debug()))
}

/// How many lines.
pub fn lines(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("`{}` is not a number of lines", text.escape_debug()))
}
