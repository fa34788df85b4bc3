//! The swarmlb binary: parses, runs, prints, and says how it ended.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use swarmlb::cli::{Cli, Format};
use swarmlb::commands;

/// A bug in swarmlb (sysexits.h: EX_SOFTWARE).
const BUG: u8 = 70;

fn main() -> ExitCode {
    // Options from the environment would otherwise count as something that was typed.
    if std::env::args_os().len() == 1 {
        return match print(&Cli::command().render_help().to_string()) {
            Ok(()) => ExitCode::from(2),
            Err(_) => ExitCode::from(3),
        };
    }
    let cli = Cli::parse();
    let format = cli.global.format;
    let ended = std::panic::catch_unwind(move || commands::run(cli));
    match ended {
        Err(_) => {
            eprintln!("error: this is a bug in swarmlb; what it was about to do may be half done");
            eprintln!("hint: the next command mends what was left; please report the lines above");
            ExitCode::from(BUG)
        }
        Ok(Ok(report)) => match print(&report.text) {
            Ok(()) => ExitCode::from(report.exit),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(report.exit),
            Err(error) => {
                eprintln!("error: cannot print: {error}");
                ExitCode::from(3)
            }
        },
        Ok(Err(failure)) => {
            let text = match format {
                Format::Json => failure.json() + "\n",
                Format::Table => failure.to_string(),
            };
            let _ = io::stderr().write_all(text.as_bytes());
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}
