//! The swarmlb binary: parses, runs, prints, and says how it ended.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use swarmlb::cli::{Builtin, Cli, Command, Format, agent};
use swarmlb::commands;
use swarmlb::environment::variable;
use swarmlb::failure::{self, Exit};
use swarmlb::keeper::journal;

/// A bug in swarmlb (sysexits.h: EX_SOFTWARE).
const BUG: u8 = 70;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    if let Some(image) = Builtin::typed_by_keeper(&words) {
        return builtin(image);
    }
    // Options from the environment would otherwise count as something that was typed.
    if std::env::args_os().len() == 1 {
        complain(&Cli::command().render_help().to_string());
        return ExitCode::from(Exit::Usage as u8);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(error),
    };
    let format = cli.global.format;
    // What runs in the background says when, in its log.
    let in_background = matches!(
        cli.command,
        Command::Keeper | Command::StoreServer | Command::Agent(agent::Command::Run)
    );
    let ended = std::panic::catch_unwind(move || commands::run(cli));
    match ended {
        Err(_) => {
            complain("error: this is a bug in swarmlb; what it was about to do may be half done\n");
            complain("hint: the next command mends what was left; please report the lines above\n");
            ExitCode::from(BUG)
        }
        Ok(Ok(report)) => match print(&report.text) {
            Ok(()) => ExitCode::from(report.exit),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(report.exit),
            Err(error) => {
                complain(&format!("error: cannot print: {error}\n"));
                ExitCode::from(3)
            }
        },
        Ok(Err(failure)) if in_background => {
            journal::say(&failure);
            ExitCode::from(failure.exit as u8)
        }
        Ok(Err(failure)) => {
            let text = match format {
                Format::Json => failure.json() + "\n",
                Format::Table => failure.to_string(),
            };
            complain(&text);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Runs as a built-in image; only what it cannot is told.
fn builtin(image: Builtin) -> ExitCode {
    match commands::builtin(image) {
        Ok(report) => ExitCode::from(report.exit),
        Err(failure) => {
            complain(&failure.to_string());
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Help, version, or what is wrong with the command line.
fn unparsed(error: clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    // What was typed stands in the message: said again without what would steer the terminal.
    let harmless = std::env::args_os().map(|word| match word.into_string() {
        Ok(word) if word.chars().any(char::is_control) => word.escape_debug().to_string().into(),
        Ok(word) => word.into(),
        Err(word) => word,
    });
    let error = Cli::try_parse_from(harmless).err().unwrap_or(error);
    if asks_for_json() {
        complain(&(failure::unparsed(&error.render().to_string()) + "\n"));
    } else {
        let _ = error.print();
    }
    ExitCode::from(Exit::Usage as u8)
}

/// Whether errors shall be JSON, as far as that can be told from words that cannot be parsed.
fn asks_for_json() -> bool {
    let words: Vec<String> =
        std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let after_format = words.windows(2).find(|pair| pair[0] == "--format");
    let said = after_format
        .map(|pair| pair[1].clone())
        .or_else(|| words.iter().find_map(|word| Some(word.strip_prefix("--format=")?.to_owned())))
        .or_else(|| variable("SWARMLB_FORMAT"));
    said.as_deref() == Some("json")
}

/// Says it on stderr. Where nobody listens, that is no reason to panic.
fn complain(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
