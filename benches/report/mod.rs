//! What every bench shares: rounds in turns, medians, and the table with its bars.
// Each bench uses what it needs.
#![allow(dead_code)]

use std::process::ExitCode;
use std::time::{Duration, Instant};

use swarmlb::render::table::table;

/// What a figure is a figure of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    PerSecond,
    MiB,
    Gigabits,
}

/// What one thing took, round by round.
#[derive(Debug, Clone)]
pub struct Figures {
    unit: Unit,
    values: Vec<f64>,
}

impl Figures {
    pub fn new(unit: Unit, values: Vec<f64>) -> Self {
        Self { unit, values }
    }

    pub fn of_times(times: &[Duration]) -> Self {
        Self::new(Unit::Seconds, times.iter().map(Duration::as_secs_f64).collect())
    }

    /// The middle one; of an even number the lower of the two.
    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The smallest value that so large a share of all does not exceed.
    fn at(&self, share: f64) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(place.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// `1.02 s (0.98, 1.30; 20 ×)`
    fn in_words(&self) -> String {
        let (unit, factor) = self.shown_in();
        let number = |value: f64| figure(value * factor);
        let [least, median, most] = [0.0, 0.5, 0.9].map(|share| number(self.at(share)));
        format!("{median} {unit} ({least}, {most}; {} ×)", self.values.len())
    }

    /// A unit in which the median is a number that is read easily, and how many there are of it.
    fn shown_in(&self) -> (&'static str, f64) {
        match self.unit {
            Unit::PerSecond => ("/s", 1.0),
            Unit::MiB => ("MiB", 1.0),
            Unit::Gigabits => ("Gbit/s", 1.0),
            Unit::Seconds => match self.median() {
                median if median >= 1.0 => ("s", 1e0),
                median if median >= 1e-3 => ("ms", 1e3),
                _ => ("µs", 1e6),
            },
        }
    }
}

/// Three digits, where there are as many before the point as that.
fn figure(number: f64) -> String {
    let digits = if number < 10.0 { 2 } else { usize::from(number < 100.0) };
    format!("{number:.digits$}")
}

/// What is compared in the rounds of one row: each call does the work once and says how long it
/// took, what went before and after it not counted.
pub type Contender<'a> = &'a mut dyn FnMut() -> Duration;

/// Of so few rounds each is told, for they take long.
const SHOWN: usize = 10;

/// Lets contenders work in turns, so that what disturbs the machine meets all alike.
pub fn rounds<const N: usize>(count: usize, mut contenders: [Contender<'_>; N]) -> [Figures; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::new());
    for round in 1..=count {
        for (contender, times) in contenders.iter_mut().zip(&mut times) {
            times.push(contender());
        }
        if count <= SHOWN {
            let took: Vec<_> = times.iter().filter_map(|times| times.last()).collect();
            eprintln!("round {round} of {count}: {took:.3?}");
        }
    }
    times.map(|times| Figures::of_times(&times))
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
    /// So large a share of what the peer reaches, or more.
    OfThePeer(f64),
    /// This or less, in the row's own unit.
    AtMost(f64),
    /// This or less, in the row's own unit, by 99 of 100.
    AtMostBy99(f64),
    /// This or more, in the row's own unit.
    AtLeast(f64),
}

/// One line of the table.
#[derive(Debug)]
pub struct Row {
    pub what: &'static str,
    pub swarmlb: Figures,
    /// Whom it is compared with, where there is somebody.
    pub peer: Option<(&'static str, Figures)>,
    pub bar: Bar,
}

impl Row {
    /// How many times the peer's figure it is; none without a peer.
    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, theirs)| self.swarmlb.median() / theirs.median())
    }

    fn is_reached(&self) -> bool {
        let ratio = self.ratio();
        match self.bar {
            Bar::TimesFaster(least) => ratio.is_some_and(|ratio| 1.0 / ratio >= least),
            Bar::TimesThePeer(most) => ratio.is_some_and(|ratio| ratio <= most),
            Bar::OfThePeer(least) => ratio.is_some_and(|ratio| ratio >= least),
            Bar::AtMost(most) => self.swarmlb.median() <= most,
            Bar::AtMostBy99(most) => self.swarmlb.at(0.99) <= most,
            Bar::AtLeast(least) => self.swarmlb.median() >= least,
        }
    }

    fn cells(&self) -> [String; 6] {
        let (unit, factor) = self.swarmlb.shown_in();
        let limit = |value: f64| figure(value * factor);
        let bar = match self.bar {
            Bar::TimesFaster(least) => format!("{least} × faster"),
            Bar::TimesThePeer(most) => format!("{most} × at most"),
            Bar::OfThePeer(least) => format!("{least} × at least"),
            Bar::AtMost(most) => format!("{} {unit} at most", limit(most)),
            Bar::AtMostBy99(most) => format!("{} {unit} at most", limit(most)),
            Bar::AtLeast(least) => format!("{} {unit} at least", limit(least)),
        };
        let ratio = match (self.bar, self.ratio()) {
            (Bar::AtMostBy99(_), _) => {
                format!("99 of 100: {} {unit}", limit(self.swarmlb.at(0.99)))
            }
            (Bar::AtMost(_), None) => format!("worst: {} {unit}", limit(self.swarmlb.at(1.0))),
            (_, None) => "-".into(),
            (Bar::TimesFaster(_), Some(ratio)) => format!("{:.1} × faster", 1.0 / ratio),
            (_, Some(ratio)) => format!("{ratio:.2} ×"),
        };
        let peer = match &self.peer {
            Some((name, figures)) => format!("{name}: {}", figures.in_words()),
            None => "-".into(),
        };
        let reached = if self.is_reached() { "reached" } else { "MISSED" };
        [self.what.into(), self.swarmlb.in_words(), peer, ratio, bar, reached.into()]
    }
}

/// Prints the table and says whether every bar was reached, as an exit code: 1 where one was not.
pub fn report(rows: &[Row]) -> ExitCode {
    println!("{}", conditions());
    println!("median (least, 90th of 100; how often), rounds in turns");
    let headings = ["WHAT", "SWARMLB", "PEER", "RATIO", "BAR", ""];
    print!("{}", table(headings, rows.iter().map(Row::cells).collect()));
    let reached = rows.iter().filter(|row| row.is_reached()).count();
    println!("{reached} of {} reached", rows.len());
    if reached == rows.len() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// What the figures depend on: `Linux 6.12.8, 2 CPUs, load 0.52`.
pub fn conditions() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    format!("Linux {}, {cpus} CPUs, load {load} at the end", kernel.trim())
}

/// Ends a bench that cannot run here: exit 3, as of the program itself.
pub fn cannot(what: &str, hint: &str) -> ExitCode {
    eprintln!("error: cannot measure: {what}\nhint: {hint}");
    ExitCode::from(3)
}
