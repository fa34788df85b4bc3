//! The configuration file: every option that has an environment variable may stand in it, by its
//! long name. Flags go before the environment, the environment before the file, the file before
//! what is built in. The file is read elsewhere.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::intent::name;

/// The file that is read when none is named, if it is there.
pub const DEFAULT_FILE: &str = "/etc/swarmlb/config.toml";
/// The option that names another file; it cannot stand in one.
const CONFIG: &str = "config";

/// A configuration file whose every line is known to be good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsFile {
    path: PathBuf,
    held: BTreeMap<String, Held>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    value: String,
    line: usize,
}

/// What is wrong with a configuration file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsError {
    pub path: PathBuf,
    /// Counted from 1.
    pub line: usize,
    pub problem: String,
    pub meant: Option<String>,
}

/// An option's value, and who said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    pub name: String,
    pub value: Option<String>,
    /// `--node`, `SWARMLB_NODE`, `/etc/swarmlb/config.toml:3` or `default`.
    pub source: String,
}

impl SettingsFile {
    /// Reads a file's text. `command` says which options there are and what they take.
    ///
    /// # Errors
    /// What is no TOML, is no option, or is no value of its option.
    pub fn parse(path: &Path, text: &str, command: &Command) -> Result<Self, SettingsError> {
        let wrong = |at: usize, problem: String, meant: Option<String>| SettingsError {
            path: path.to_owned(),
            line: text[..at.min(text.len())].matches('\n').count() + 1,
            problem,
            meant,
        };
        let table = DeTable::parse(text).map_err(|error| {
            wrong(error.span().map_or(0, |span| span.start), error.message().to_owned(), None)
        })?;
        let options = options(command);
        let mut held = BTreeMap::new();
        for (key, value) in table.into_inner() {
            let (at, key) = (key.span().start, key.into_inner());
            let Some(option) = options.get(key.as_ref()) else {
                let known = options.keys().map(String::as_str);
                let problem = format!("there is no setting `{}`", key.escape_debug());
                return Err(wrong(at, problem, name::nearest(&key, known).map(str::to_owned)));
            };
            let at = value.span().start;
            let value = plain(&value)
                .and_then(|value| checked(option, value))
                .map_err(|problem| wrong(at, format!("`{key}`: {problem}"), None))?;
            let line = text[..at].matches('\n').count() + 1;
            held.insert(key.into_owned(), Held { value, line });
        }
        Ok(Self { path: path.to_owned(), held })
    }

    /// A command line whose defaults are the file's.
    pub fn applied(&self, mut command: Command) -> Command {
        let mine: Vec<(clap::Id, &Held)> = command
            .get_arguments()
            .filter(|arg| is_setting(arg))
            .filter_map(|arg| Some((arg.get_id().clone(), self.held.get(arg.get_long()?)?)))
            .collect();
        for (id, held) in mine {
            command = command.mut_arg(id, |arg| arg.default_value(held.value.clone()));
        }
        command.mut_subcommands(|sub| self.applied(sub))
    }

    /// What the file says of an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.held.get(name).map(|held| held.value.as_str())
    }
}

/// Every option that may be set, what it is, and who said so. `matches` is what was typed;
/// `variable` reads the environment, for options of commands that were not typed.
pub fn settings(
    command: &Command,
    matches: &ArgMatches,
    file: Option<&SettingsFile>,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<Setting> {
    let say = |(name, option): (String, Arg)| {
        let id = option.get_id().as_str();
        let typed = matches!(matches.try_contains_id(id), Ok(true));
        let source = typed.then(|| matches.value_source(id)).flatten();
        let environment = option.get_env().and_then(|name| name.to_str());
        let held = file.and_then(|file| Some((file, file.held.get(&name)?)));
        let default = || match option.get_action() {
            clap::ArgAction::SetTrue => Some("false".to_owned()),
            clap::ArgAction::Count => Some("0".to_owned()),
            _ => option.get_default_values().first().map(|v| v.to_string_lossy().into()),
        };
        let (value, source) = match source {
            Some(ValueSource::CommandLine) => (typed_value(matches, &option), format!("--{name}")),
            Some(ValueSource::EnvVariable) => {
                (typed_value(matches, &option), environment.unwrap_or_default().to_owned())
            }
            _ => match (environment.filter(|_| !typed), held) {
                (Some(given), _) if variable(given).is_some() => {
                    (variable(given), given.to_owned())
                }
                (_, Some((file, held))) => {
                    (Some(held.value.clone()), format!("{}:{}", file.path.display(), held.line))
                }
                _ => (default(), "default".into()),
            },
        };
        Setting { name, value, source }
    };
    options(command).into_iter().map(say).collect()
}

fn typed_value(matches: &ArgMatches, option: &Arg) -> Option<String> {
    let id = option.get_id().as_str();
    if matches!(option.get_action(), clap::ArgAction::Count) {
        return Some(matches.get_count(id).to_string());
    }
    if matches!(option.get_action(), clap::ArgAction::SetTrue) {
        return Some(matches.get_flag(id).to_string());
    }
    let raw: Vec<&std::ffi::OsStr> = matches.get_raw(id)?.collect();
    raw.last().map(|value| value.to_string_lossy().into_owned())
}

fn is_setting(arg: &Arg) -> bool {
    arg.get_env().is_some() && !arg.is_hide_set() && arg.get_id() != CONFIG
}

/// Options by their long names, of the command and all below it.
fn options(command: &Command) -> BTreeMap<String, Arg> {
    let mut found: BTreeMap<String, Arg> = BTreeMap::new();
    for sub in command.get_subcommands() {
        found.extend(options(sub));
    }
    for arg in command.get_arguments().filter(|arg| is_setting(arg)) {
        if let Some(long) = arg.get_long() {
            found.insert(long.to_owned(), arg.clone());
        }
    }
    found
}

/// A value as it would be typed.
fn plain(value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        _ => Err("a text, a number, true or false is wanted".into()),
    }
}

/// A value that its option takes.
fn checked(option: &Arg, value: String) -> Result<String, String> {
    if matches!(option.get_action(), clap::ArgAction::Count) {
        return match value.parse::<u8>() {
            Ok(_) => Ok(value),
            Err(_) => Err(format!("`{}` is not a number from 0 to 255", value.escape_debug())),
        };
    }
    if matches!(option.get_action(), clap::ArgAction::SetTrue) {
        return match value.as_str() {
            "true" | "false" => Ok(value),
            other => Err(format!("`{}` is neither true nor false", other.escape_debug())),
        };
    }
    let id = option.get_id().clone();
    let alone = option.clone().global(false).long("it").required(false);
    let words: [OsString; 2] = ["it".into(), format!("--it={value}").into()];
    let parsed = Command::new("it").no_binary_name(false).arg(alone).try_get_matches_from(words);
    match parsed {
        Ok(matches) if matches.contains_id(id.as_str()) => Ok(value),
        Ok(_) => Err("it takes no value".into()),
        Err(error) => Err(super::complaint::reason(&error)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::command;

    fn parsed(text: &str) -> Result<SettingsFile, SettingsError> {
        SettingsFile::parse(Path::new("config.toml"), text, &command())
    }

    #[track_caller]
    fn refused(text: &str, line: usize, problem: &str, meant: Option<&str>) {
        let error = parsed(text).expect_err(text);
        assert_eq!(error.line, line, "{text:?}: {error:?}");
        assert!(error.problem.contains(problem), "{text:?}: {error:?}");
        assert_eq!(error.meant.as_deref(), meant, "{text:?}: {error:?}");
    }

    #[test]
    fn every_option_with_a_variable_may_stand_in_the_file() {
        let text = "state-dir = \"/srv/lb\"\nnode = \"n1\"\nformat = \"json\"\ncolor = 'never'\n\
                    quiet = true\nverbose = 2\ndata-plane = \"nftables\"\nstore = \"etcd://a,b/x\"\n\
                    store-cacert = \"/ca\"\nstore-cert = \"/c\"\nstore-key = \"/k\"\n\
                    insecure-registry = \"10.0.0.5:5000,b.example\"\ncredentials = \"/config.json\"\n";
        let file = parsed(text).expect("a good file");
        let names: Vec<String> = options(&command()).into_keys().collect();
        let held: Vec<String> = file.held.keys().cloned().collect();
        assert_eq!(held, names, "the text above has every setting");
        let matches =
            file.applied(command()).try_get_matches_from(["swarmlb", "service", "ls"]).unwrap();
        assert_eq!(matches.get_one::<PathBuf>("state_dir"), Some(&PathBuf::from("/srv/lb")));
        assert!(matches.get_flag("quiet"));
        assert_eq!(matches.get_count("verbose"), 2);
        let matches = file.applied(command());
        let matches = matches.try_get_matches_from(["swarmlb", "image", "pull", "nginx"]).unwrap();
        let (_, pull) = matches.subcommand().unwrap().1.subcommand().unwrap();
        let insecure: Vec<&String> = pull.get_many("insecure").unwrap().collect();
        assert_eq!(insecure, ["10.0.0.5:5000", "b.example"]);
    }

    #[test]
    fn an_empty_file_sets_nothing() {
        assert!(parsed("").unwrap().held.is_empty());
        assert!(parsed("# nothing\n\n").unwrap().held.is_empty());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        refused(
            "node = \"n1\"\nstate_dir = \"x\"\n",
            2,
            "no setting `state_dir`",
            Some("state-dir"),
        );
        refused("\n\nfromat = \"json\"", 3, "no setting `fromat`", Some("format"));
        refused("zebra = 1", 1, "no setting `zebra`", None);
        refused("config = \"x\"", 1, "no setting `config`", None);
        refused("node = \"n1\"\nnode = \"n2\"", 2, "duplicate", None);
        refused("node = ", 1, "", None);
        refused("[table]\nnode = \"x\"", 1, "no setting `table`", None);
        refused("node = [\"a\"]", 1, "a text, a number, true or false is wanted", None);
        refused("node = \"a b\"", 1, "`node`: ", None);
        refused("format = \"yaml\"", 1, "table, json or a template", None);
        refused("format = \"{{.Name\"", 1, "`{{` has no `}}`", None);
        refused("color = \"red\"", 1, "auto, always, never", None);
        refused("verbose = 300", 1, "not a number from 0 to 255", None);
        refused("quiet = \"perhaps\"", 1, "neither true nor false", None);
        refused("store = \"mysql\"", 1, "neither `sqlite` nor `etcd://HOST:PORT`", None);
        refused("data-plane = \"ebpf\"", 1, "auto, ipvs or nftables", None);
    }

    #[test]
    fn flags_go_before_the_environment_and_that_before_the_file() {
        let file = parsed("node = \"from-file\"\n").unwrap();
        let of = |words: &[&str], variables: &[(&str, &str)]| {
            let command = file.applied(command());
            let matches = command.clone().try_get_matches_from(words).unwrap();
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let all = settings(&crate::cli::command(), &matches, Some(&file), variable);
            let node = all.iter().find(|setting| setting.name == "node").unwrap().clone();
            (node.value.unwrap(), node.source)
        };
        let typed = of(&["swarmlb", "system", "info", "--node", "typed"], &[]);
        assert_eq!(typed, ("typed".into(), "--node".into()));
        let from_file = of(&["swarmlb", "system", "info"], &[]);
        assert_eq!(from_file, ("from-file".into(), "config.toml:1".into()));
    }
}
