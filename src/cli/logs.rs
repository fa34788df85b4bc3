//! Options of `service logs` and `task logs`.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use crate::render::time::Moment;

#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Go on showing what is written, also by tasks that come later, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with the last lines of each task
    #[arg(short = 'n', long, value_name = "LINES|all", default_value = "all")]
    pub tail: Tail,
    /// Only what was written since then: a time (2026-11-24T02:00:00Z; UTC when no zone is said),
    /// how long ago (10m, 1h30m), or seconds since 1970
    #[arg(long, value_name = "TIME|AGO")]
    pub since: Option<When>,
    /// Only what was written until then
    #[arg(long, value_name = "TIME|AGO", conflicts_with = "follow")]
    pub until: Option<When>,
    /// Begin each line with the time at which it was written
    ///
    /// A line that comes after a pause has its time to about 10 milliseconds; lines that come in
    /// quick succession share one each tenth of a second. What was written while the keeper was
    /// dead has the time of the last such line.
    #[arg(short, long)]
    pub timestamps: bool,
    /// Leave out the tasks' ids
    #[arg(long)]
    pub no_task_ids: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,
    /// Print the lines as they are, without saying whose they are
    #[arg(long, conflicts_with_all = ["no_task_ids", "no_trunc"])]
    pub raw: bool,
}

/// How many lines to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    All,
    Last(u64),
}

impl FromStr for Tail {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Last).map_err(|_| "say a number of lines, or all".into()),
        }
    }
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Moment),
    Ago(Duration),
}

impl When {
    pub fn moment(self, now: Moment) -> Moment {
        match self {
            Self::At(moment) => moment,
            Self::Ago(ago) => {
                let nanos = u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX);
                Moment(now.0.saturating_sub(nanos))
            }
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = text.parse() {
            return Ok(Self::At(moment));
        }
        duration(text).map(Self::Ago).ok_or_else(|| {
            "say a time (2026-11-24T02:00:00Z), how long ago (10m, 1h30m), or seconds since 1970"
                .into()
        })
    }
}

/// A duration as Go writes it: `1h30m`, `1.5s`, `250ms`. Its longest unit is the hour; `d` is ours.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut whole = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let seconds = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        whole = whole.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_may_be_a_time_or_how_long_ago() {
        let ago = |text: &str| match text.parse() {
            Ok(When::Ago(ago)) => ago.as_secs_f64(),
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(ago("10m"), 600.0);
        assert_eq!(ago("1h30m"), 5400.0);
        assert_eq!(ago("1.5s"), 1.5);
        assert_eq!(ago("250ms"), 0.25);
        assert_eq!(ago("2d"), 172_800.0);
        assert_eq!("1764000000".parse(), Ok(When::At(Moment::of_seconds(1_764_000_000))));
        for bad in ["", "10", "m", "10x", "10m5", "yesterday", "-5m", "1h-5m", "1..5s"] {
            // Digits alone are seconds since 1970.
            let told = bad.parse::<When>();
            assert!(told.is_err() || bad == "10", "{bad}: {told:?}");
        }
        let now = Moment::of_seconds(1000);
        assert_eq!(When::Ago(Duration::from_secs(10)).moment(now), Moment::of_seconds(990));
        assert_eq!(When::Ago(Duration::from_secs(5000)).moment(now), Moment(0));
    }

    #[test]
    fn a_tail_is_a_number_or_all() {
        assert_eq!("all".parse(), Ok(Tail::All));
        assert_eq!("0".parse(), Ok(Tail::Last(0)));
        assert!("-1".parse::<Tail>().is_err() && "some".parse::<Tail>().is_err());
    }
}
