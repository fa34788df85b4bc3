//! Completions and manual pages, made from the command line's own description.

use std::path::Path;

use clap_mangen::Man;
use roff::{Roff, bold, italic, roman};

use super::Report;
use crate::cli::{self, Shell, manual};
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
    for sub in below(command) {
        write_pages(sub, &format!("{name}-{}", sub.get_name()), directory)?;
    }
    Ok(())
}

/// The commands of a command that have pages.
fn below(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
}

fn page(command: &clap::Command, name: &str) -> Result<String, Failure> {
    let failed = |error: std::io::Error| Failure::io("make a manual page", &error);
    let mut defined = Vec::new();
    let man = Man::new(command.clone().name(name.to_owned()));
    man.render_synopsis_section(&mut defined).map_err(failed)?;
    man.render_description_section(&mut defined).map_err(failed)?;
    man.render_options_section(&mut defined).map_err(failed)?;
    let typed = name.replacen("swarmlb-", "", 1);
    let page = manual::PAGES.iter().find(|page| page.command.replace(' ', "-") == typed);
    let mut written = Vec::new();
    if below(command).next().is_some() {
        written.push(commands_section(command, name));
    }
    if let Some(page) = page {
        if !page.fields.is_empty() {
            written.push(fields_section(page));
        }
        written.push(examples_section(page));
    }
    written.push(exits_section(page));
    written.push(environment_section(command));
    written.push(files_section());
    written.push(see_also_section(command, name));
    // A date or a version of the day would make every page differ each time.
    let mut text = format!(
        "{APOSTROPHE}.TH {} 1 \"\" \"swarmlb {}\" \"swarmlb manual\"\n",
        name.to_uppercase().replace('-', "\\-"),
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(&name_section(command, name).render());
    text.push_str(&tidy(&String::from_utf8_lossy(&defined)));
    text.extend(written.iter().map(Roff::render));
    // It is said once, above.
    let (first, rest) = text.split_at(APOSTROPHE.len());
    Ok(first.to_owned() + &rest.replace(APOSTROPHE, ""))
}

/// How roff is told to print an apostrophe; every section says it anew.
const APOSTROPHE: &str = ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n";

/// Help as a page has it: an empty line is a request, and what stands between backticks is bold.
fn tidy(help: &str) -> String {
    let help = help.replace(".br\n\n.br\n", ".sp\n");
    let line = |line: &str| match line {
        "" => ".sp\n".to_owned(),
        line => {
            let mut text = String::new();
            for (number, part) in line.split('`').enumerate() {
                text.push_str(match number {
                    0 => "",
                    n if n % 2 == 1 => "\\fB",
                    _ => "\\fR",
                });
                text.push_str(part);
            }
            text.trim_end().to_owned() + "\n"
        }
    };
    help.lines().map(line).collect()
}

/// The one line that apropos(1) reads.
fn name_section(command: &clap::Command, name: &str) -> Roff {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff
}

fn commands_section(command: &clap::Command, name: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for sub in below(command) {
        roff.control("TP", []);
        roff.text([bold(format!("{name}-{}", sub.get_name())), roman("(1)")]);
        roff.text([roman(sub.get_about().map(ToString::to_string).unwrap_or_default())]);
    }
    roff
}

fn fields_section(page: &manual::Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FIELDS"]);
    roff.text([
        roman("For templates of "),
        bold("--format"),
        roman(", and in what "),
        bold("--format json"),
        roman(" prints:"),
    ]);
    for (name, meaning) in page.fields {
        roff.control("TP", []);
        roff.text([bold(*name)]);
        roff.text([roman(plain(meaning))]);
    }
    for (word, template) in page.words {
        roff.control("TP", []);
        roff.text([bold(*word)]);
        roff.text([roman("as Docker's templates have it: "), bold(*template)]);
    }
    roff
}

fn examples_section(page: &manual::Page) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (number, (purpose, lines)) in page.examples.iter().enumerate() {
        if number > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*purpose)]);
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.control("RE", []);
    }
    roff
}

fn exits_section(page: Option<&manual::Page>) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, always) in manual::EXITS {
        let here = page.and_then(|page| page.exits.iter().find(|(own, _)| *own == code));
        let meaning = here.map_or(always, |(_, meaning)| *meaning);
        roff.control("TP", []);
        roff.text([bold(code.to_string())]);
        roff.text([roman(meaning)]);
    }
    roff
}

fn environment_section(command: &clap::Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    let variables = command.get_arguments().filter(|arg| !arg.is_hide_set()).filter_map(|arg| {
        Some((arg.get_env()?.to_string_lossy().into_owned(), arg.get_long()?.to_owned()))
    });
    for (variable, option) in variables {
        roff.control("TP", []);
        roff.text([bold(variable)]);
        roff.text([roman("as "), bold(format!("--{option}"))]);
    }
    roff.control("TP", []);
    roff.text([bold("NO_COLOR")]);
    roff.text([
        roman("when it is set and not empty, nothing is coloured unless "),
        bold("--color"),
        roman(" says so"),
    ]);
    roff
}

fn files_section() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["FILES"]);
    for (path, meaning) in manual::FILES {
        roff.control("TP", []);
        roff.text([italic(path)]);
        roff.text([roman(meaning)]);
    }
    roff
}

fn see_also_section(command: &clap::Command, name: &str) -> Roff {
    let mut others: Vec<String> = Vec::new();
    if let Some((parent, _)) = name.rsplit_once('-').filter(|(_, last)| *last == command.get_name())
    {
        others.push(parent.to_owned());
    } else if name != "swarmlb" {
        others.push("swarmlb".into());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for other in others {
        line.extend([bold(other), roman("(1), ")]);
    }
    line.extend([bold("swarmlb-concepts"), roman("(7)")]);
    roff.text(line);
    roff
}

/// What stands between backticks in help stands by itself in a page.
fn plain(text: &str) -> String {
    text.replace('`', "")
}
