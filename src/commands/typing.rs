//! From words to a command line: flags, environment, the configuration file, and what follows from
//! them together.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::{ArgMatches, FromArgMatches};

use crate::cli::complaint::Complaint;
use crate::cli::settings::{DEFAULT_FILE, SettingsError, SettingsFile, settings};
use crate::cli::{self, Cli, Command, Format, manual};
use crate::environment::variable;
use crate::failure::{Exit, Failure};
use crate::intent::name::nearest;
use crate::render::template::{Template, TemplateError};

/// Why words are no command line.
#[derive(Debug)]
pub enum Misunderstood {
    /// It was asked for help or the version: this is it.
    Asked(clap::Error),
    Complaint(Complaint),
    Failure(Failure),
}

/// The version, where nothing but that is asked for: to make all commands only to find the flag among
/// theirs would be most of the time that it takes.
pub fn version(words: &[OsString]) -> Option<String> {
    let [_, word] = words else { return None };
    let asked = ["--version", "-V"].iter().any(|flag| word == flag);
    asked.then(|| concat!("swarmlb ", env!("CARGO_PKG_VERSION"), "\n").to_owned())
}

/// Understands what was typed.
///
/// # Errors
/// Help, when that was asked for; else what is wrong with words, variables or the file.
pub fn understood(words: &[OsString]) -> Result<Cli, Misunderstood> {
    // Made once: to make the tree of commands is a good part of a short command's time.
    let command = cli::command();
    let mut matches = parsed(command.clone(), words)?;
    let file = match is_own(&matches) {
        // What the keeper starts was told all that it needs, and runs whatever the file says.
        true => None,
        false => file(matches.get_one::<PathBuf>("config")).map_err(Misunderstood::Failure)?,
    };
    if let Some(file) = &file {
        matches = parsed(file.applied(command.clone()), words)?;
    }
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| told(error, words))?;
    let (path, inner) = innermost(&matches);
    let all = settings(&command, inner, file.as_ref(), variable);
    cli.global.typed.settings = all;
    cli.global.typed.command = path;
    take_template(&mut cli, inner).map_err(Misunderstood::Failure)?;
    Ok(cli)
}

fn parsed(command: clap::Command, words: &[OsString]) -> Result<ArgMatches, Misunderstood> {
    command.try_get_matches_from(words).map_err(|error| told(error, words))
}

fn told(error: clap::Error, words: &[OsString]) -> Misunderstood {
    if !error.use_stderr() {
        return Misunderstood::Asked(error);
    }
    // What was typed stands in the message: said again without what would steer the terminal.
    let harmless = words.iter().map(|word| match word.to_str() {
        Some(word) if word.chars().any(char::is_control) => word.escape_debug().to_string().into(),
        _ => word.clone(),
    });
    let error = cli::command().try_get_matches_from(harmless).err().unwrap_or(error);
    Misunderstood::Complaint(Complaint::of(&error, &command_of(words)))
}

/// The command that words begin with, as far as there is one: `swarmlb service create`.
fn command_of(words: &[OsString]) -> String {
    let mut command = cli::command();
    command.build();
    let mut said = "swarmlb".to_owned();
    for word in words.iter().skip(1).filter_map(|word| word.to_str()) {
        if let Some(sub) = command.find_subcommand(word).filter(|sub| !sub.is_hide_set()).cloned() {
            said = format!("{said} {}", sub.get_name());
            command = sub;
        }
    }
    said
}

/// Whether it is one of swarmlb's own processes.
fn is_own(matches: &ArgMatches) -> bool {
    let own = [
        "keeper",
        "agent-process",
        "store-server",
        "api-server",
        "lab-node",
        "lab-init",
        "builtin",
    ];
    matches.subcommand_name().is_some_and(|name| own.contains(&name))
}

/// The last of the commands in each other, where all options are, and the path to it.
pub fn innermost(matches: &ArgMatches) -> (String, &ArgMatches) {
    let (mut path, mut inner) = (Vec::new(), matches);
    while let Some((name, below)) = inner.subcommand() {
        path.push(name);
        inner = below;
    }
    (path.join(" "), inner)
}

/// The configuration file: the one that was named, or else the usual one if there is one.
///
/// # Errors
/// When it cannot be read, or says what cannot be.
pub fn file(named: Option<&PathBuf>) -> Result<Option<SettingsFile>, Failure> {
    let path = named.map_or(Path::new(DEFAULT_FILE), PathBuf::as_path);
    let what = format!("read the settings in {}", path.display());
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let failure = Failure::io(what, &error);
            return Err(Failure {
                exit: match error.kind() {
                    ErrorKind::NotFound | ErrorKind::InvalidData => Exit::Usage,
                    _ => failure.exit,
                },
                ..failure
            });
        }
    };
    SettingsFile::parse(path, &text, &cli::command())
        .map(Some)
        .map_err(|error| Failure::settings(&error))
}

/// What a template needs: that the command has rows, and prints them as programs get them.
fn take_template(cli: &mut Cli, matches: &ArgMatches) -> Result<(), Failure> {
    let typed = cli.global.typed.settings.iter().find(|setting| setting.name == "format");
    let Some((text, source)) =
        typed.and_then(|setting| Some((setting.value.clone()?, setting.source.clone())))
    else {
        return Ok(());
    };
    let _ = matches;
    if !Template::is_meant(&text) {
        return Ok(());
    }
    let command = cli.global.typed.command.clone();
    if manual::page(&command).is_none_or(|page| page.fields.is_empty()) {
        // A setting for all commands is no mistake of this one.
        if source != "--format" || matches!(cli.command, Command::Complete { .. }) {
            cli.global.format = Format::Table;
            return Ok(());
        }
        let problem = format!("`swarmlb {command}` has no fields to print");
        return Err(Failure::new(Exit::Usage, "print by a template", problem)
            .hint("templates are for what lists or inspects; leave out `--format`"));
    }
    let template = Template::parse(&text)
        .map_err(|error| Failure::new(Exit::Usage, "read the template", error))?;
    cli.global.typed.template = Some(template);
    Ok(())
}

/// A template that does not fit the rows.
pub fn misfit(template: &Template, error: &TemplateError) -> Failure {
    let what = format!("print by the template `{}`", template.as_str().escape_debug());
    let failure = Failure::new(Exit::Usage, what, error);
    let TemplateError::NoField { name, known } = error else { return failure };
    let failure = failure.fact("fields:", known.join(" "));
    let plain = name.to_lowercase();
    match nearest(&plain, known.iter().map(String::as_str)) {
        Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
        None => failure,
    }
}

impl Failure {
    /// A configuration file that says what cannot be.
    fn settings(error: &SettingsError) -> Self {
        let what = format!("read the settings in {}:{}", error.path.display(), error.line);
        let failure = Self::new(Exit::Usage, what, &error.problem);
        match &error.meant {
            Some(meant) => failure.hint(format!("did you mean `{meant}`?")),
            None => failure,
        }
    }
}
