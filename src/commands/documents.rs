//! Completions and manual pages, made from the command line's own description.

use std::path::Path;

use super::Report;
use crate::cli::{self, Shell};
use crate::failure::Failure;

/// A script that asks `swarmlb complete` at each key.
pub fn completions(shell: Shell) -> Report {
    Report::good(match shell {
        Shell::Bash => include_str!("../../completions/swarmlb.bash"),
        Shell::Zsh => include_str!("../../completions/_swarmlb"),
        Shell::Fish => include_str!("../../completions/swarmlb.fish"),
    })
}

pub fn manual(directory: Option<&Path>) -> Result<Report, Failure> {
    let mut command = without_help(cli::command());
    command.build();
    match directory {
        None => Ok(Report::good(page(&command, "swarmlb")?)),
        Some(directory) => {
            let failed = |error: std::io::Error| {
                Failure::io(format!("write manual pages to {}", directory.display()), &error)
            };
            std::fs::create_dir_all(directory).map_err(failed)?;
            write_pages(&command, "swarmlb", directory)?;
            Ok(Report::good(""))
        }
    }
}

/// `help` is no command to write a page about.
fn without_help(command: clap::Command) -> clap::Command {
    command.disable_help_subcommand(true).mut_subcommands(without_help)
}

fn write_pages(command: &clap::Command, name: &str, directory: &Path) -> Result<(), Failure> {
    let path = directory.join(format!("{name}.1"));
    std::fs::write(&path, page(command, name)?)
        .map_err(|error| Failure::io(format!("write {}", path.display()), &error))?;
    for sub in
        command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), directory)?;
    }
    Ok(())
}

fn page(command: &clap::Command, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let title = name.to_uppercase();
    // A date or a version of the day would make every page differ each time.
    let man = clap_mangen::Man::new(command.clone().name(name.to_owned()))
        .title(title)
        .source(format!("swarmlb {}", env!("CARGO_PKG_VERSION")))
        .manual("swarmlb manual");
    man.render(&mut bytes).map_err(|error| Failure::io("make a manual page", &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
