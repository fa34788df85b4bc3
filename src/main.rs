//! The swarmlb binary: parses, runs, prints, and says how it ended.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use swarmlb::cli::{self, Builtin, Cli, Color, Command, Format};
use swarmlb::commands::typing::{Misunderstood, understood, version};
use swarmlb::commands::{self, Report};
use swarmlb::environment::variable;
use swarmlb::failure::{self, Exit};
use swarmlb::keeper::journal;
use swarmlb::render::paint;

/// A bug in swarmlb (sysexits.h: EX_SOFTWARE).
const BUG: u8 = 70;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    if let Some(image) = Builtin::typed_by_keeper(words.get(1..).unwrap_or_default()) {
        return builtin(image);
    }
    // Options from the environment would otherwise count as something that was typed.
    if words.len() <= 1 {
        complain(&cli::command().render_help().to_string(), Color::Never);
        return ExitCode::from(Exit::Usage as u8);
    }
    if let Some(text) = version(&words) {
        return print(&Report::good(text), Format::Json, Color::Never);
    }
    match understood(&words) {
        Ok(cli) => run(cli),
        Err(misunderstood) => answer(misunderstood, &words),
    }
}

fn run(cli: Cli) -> ExitCode {
    let (format, color) = (cli.global.format, cli.global.color);
    let for_programs = format == Format::Json && cli.global.typed.template.is_none();
    // What runs in the background says when, in its log.
    let in_background = matches!(
        cli.command,
        Command::Keeper { .. }
            | Command::StoreServer
            | Command::ApiServer
            | Command::LabInit
            | Command::AgentProcess
    );
    let ended = std::panic::catch_unwind(move || commands::run(cli));
    match ended {
        Err(_) => {
            complain(
                "error: this is a bug in swarmlb; what it was about to do may be half done\n",
                color,
            );
            complain(
                "hint: the next command mends what was left; please report the lines above\n",
                color,
            );
            ExitCode::from(BUG)
        }
        Ok(Ok(report)) => print(&report, format, color),
        Ok(Err(failure)) if in_background => {
            journal::say(&failure);
            ExitCode::from(failure.exit as u8)
        }
        Ok(Err(failure)) => {
            let text = if for_programs { failure.json() + "\n" } else { failure.to_string() };
            complain(&text, if for_programs { Color::Never } else { color });
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Runs as a built-in image; only what it cannot is told.
fn builtin(image: Builtin) -> ExitCode {
    match commands::builtin(image) {
        Ok(report) => ExitCode::from(report.exit),
        Err(failure) => {
            complain(&failure.to_string(), Color::Never);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Help, version, or what is wrong with the command line.
fn answer(misunderstood: Misunderstood, words: &[OsString]) -> ExitCode {
    let for_programs = typed(words, "format", "SWARMLB_FORMAT").as_deref() == Some("json");
    let color = match typed(words, "color", "SWARMLB_COLOR").as_deref() {
        Some("always") => Color::Always,
        Some("never") => Color::Never,
        _ => Color::Auto,
    };
    let (text, json, exit) = match misunderstood {
        Misunderstood::Asked(help) => {
            let text = help.render();
            let text = match is_wanted(color, io::stdout().is_terminal()) {
                true => text.ansi().to_string(),
                false => text.to_string(),
            };
            return print(&Report::good(text), Format::Json, Color::Never);
        }
        Misunderstood::Complaint(complaint) => {
            let text = format!("error: {}\nhint: {}\n", complaint.error, complaint.hint);
            (text, failure::unparsed(&complaint), Exit::Usage)
        }
        Misunderstood::Failure(failure) => (failure.to_string(), failure.json(), failure.exit),
    };
    match for_programs {
        true => complain(&(json + "\n"), Color::Never),
        false => complain(&text, color),
    }
    ExitCode::from(exit as u8)
}

/// What an option says, as far as that can be told from words that cannot be parsed.
fn typed(words: &[OsString], option: &str, name: &str) -> Option<String> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let (apart, joined) = (format!("--{option}"), format!("--{option}="));
    let after = words.windows(2).find(|pair| pair[0] == apart).map(|pair| pair[1].clone());
    after
        .or_else(|| words.iter().find_map(|word| Some(word.strip_prefix(&joined)?.to_owned())))
        .or_else(|| variable(name))
}

/// Whether a stream gets colour.
fn is_wanted(color: Color, is_terminal: bool) -> bool {
    let refused = || variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    let is_dumb = || variable("TERM").is_none_or(|term| term == "dumb");
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => is_terminal && !refused() && !is_dumb(),
    }
}

/// Says it on stderr. Where nobody listens, that is no reason to panic.
fn complain(text: &str, color: Color) {
    let text = match is_wanted(color, io::stderr().is_terminal()) {
        true => paint::complaint(text),
        false => text.to_owned(),
    };
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints what a command has to say. A reader who has seen enough is no error.
fn print(report: &Report, format: Format, color: Color) -> ExitCode {
    let painted = format == Format::Table && is_wanted(color, io::stdout().is_terminal());
    let text = if painted { paint::report(&report.text) } else { report.text.clone() };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Ok(()) => ExitCode::from(report.exit),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(report.exit),
        Err(error) => {
            complain(&format!("error: cannot print: {error}\n"), color);
            ExitCode::from(Exit::Cannot as u8)
        }
    }
}
