//! What every bench shares: rounds in turns, medians, and the table with its bars.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use swarmlb::render::table::table;

/// How long one thing took, round by round.
#[derive(Debug, Clone, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// The middle one; of an even number the lower of the two.
    pub fn median(&self) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// `1.02 s (0.98 to 1.30 s)`
    fn in_words(&self) -> String {
        let (least, most) = (self.0.iter().min(), self.0.iter().max());
        let (Some(least), Some(most)) = (least, most) else { return "-".into() };
        let (unit, per_second) = match self.median() {
            median if median >= Duration::from_secs(1) => ("s", 1e0),
            median if median >= Duration::from_millis(1) => ("ms", 1e3),
            _ => ("µs", 1e6),
        };
        let number = |time: &Duration| {
            let number = time.as_secs_f64() * per_second;
            let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
            format!("{number:.digits$}")
        };
        format!("{} {unit} ({} to {})", number(&self.median()), number(least), number(most))
    }
}

/// What is compared in the rounds of one row: each call does the work once and says how long it
/// took, what went before and after it not counted.
pub type Contender<'a> = &'a mut dyn FnMut() -> Duration;

/// Of so few rounds each is told, for they take long.
const SHOWN: usize = 10;

/// Lets contenders work in turns, so that what disturbs the machine meets all alike.
pub fn rounds<const N: usize>(count: usize, mut contenders: [Contender<'_>; N]) -> [Times; N] {
    let mut times = std::array::from_fn(|_| Times::default());
    for round in 1..=count {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            times.0.push(contender());
        }
        if count <= SHOWN {
            let took: Vec<_> = times.iter().filter_map(|times| times.0.last()).collect();
            eprintln!("round {round} of {count}: {took:.3?}");
        }
    }
    times
}

/// Measures one piece of work.
pub fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let result = work();
    (begun.elapsed(), result)
}

/// What is to be reached.
#[derive(Debug, Clone, Copy)]
pub enum Bar {
    /// So many times faster than the peer, or more.
    TimesFaster(f64),
    /// So many times what the peer took, or less.
    TimesThePeer(f64),
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    pub what: &'static str,
    pub swarmlb: Times,
    pub peer: &'static str,
    pub peer_times: Times,
    pub bar: Bar,
}

impl Row {
    fn ratio(&self) -> f64 {
        let (ours, theirs) = (self.swarmlb.median(), self.peer_times.median());
        match self.bar {
            Bar::TimesFaster(_) => theirs.as_secs_f64() / ours.as_secs_f64(),
            Bar::TimesThePeer(_) => ours.as_secs_f64() / theirs.as_secs_f64(),
        }
    }

    fn is_reached(&self) -> bool {
        match self.bar {
            Bar::TimesFaster(least) => self.ratio() >= least,
            Bar::TimesThePeer(most) => self.ratio() <= most,
        }
    }

    fn cells(&self) -> [String; 6] {
        let (ratio, bar) = match self.bar {
            Bar::TimesFaster(least) => {
                (format!("{:.1} × faster", self.ratio()), format!("{least} × faster"))
            }
            Bar::TimesThePeer(most) => {
                (format!("{:.2} ×", self.ratio()), format!("{most} × at most"))
            }
        };
        let reached = if self.is_reached() { "reached" } else { "missed" };
        [
            self.what.into(),
            self.swarmlb.in_words(),
            format!("{}: {}", self.peer, self.peer_times.in_words()),
            ratio,
            bar,
            reached.into(),
        ]
    }
}

/// Prints the table and says whether every bar was reached, as an exit code: 1 where one was not.
pub fn report(rows: &[Row]) -> ExitCode {
    println!("median (least to most), rounds in turns");
    let headings = ["WHAT", "SWARMLB", "PEER", "RATIO", "BAR", ""];
    print!("{}", table(headings, rows.iter().map(Row::cells).collect()));
    let reached = rows.iter().filter(|row| row.is_reached()).count();
    println!("{reached} of {} reached", rows.len());
    if reached == rows.len() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Ends a bench that cannot run here: exit 3, as of the program itself.
pub fn cannot(what: &str, hint: &str) -> ExitCode {
    eprintln!("error: cannot measure: {what}\nhint: {hint}");
    ExitCode::from(3)
}
