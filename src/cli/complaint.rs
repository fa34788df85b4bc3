//! What is wrong with a command line, in our words rather than clap's.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A command line that cannot be parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    pub error: String,
    pub hint: String,
}

impl Complaint {
    /// `command` is what was understood so far, as `swarmlb service create`.
    pub fn of(error: &clap::Error, command: &str) -> Self {
        let help = format!("see `{command} --help`");
        let meant = [
            ContextKind::SuggestedSubcommand,
            ContextKind::SuggestedArg,
            ContextKind::SuggestedValue,
        ];
        // The last is the nearest.
        let meant = meant.into_iter().find_map(|kind| all(error, kind).pop());
        Self {
            error: sentence(error, command),
            hint: meant.map_or(help, |meant| format!("did you mean `{meant}`?")),
        }
    }
}

fn sentence(error: &clap::Error, command: &str) -> String {
    let option = first(error, ContextKind::InvalidArg).map(|arg| name_of(&arg));
    let value = first(error, ContextKind::InvalidValue).filter(|value| !value.is_empty());
    match (error.kind(), option, value) {
        (ErrorKind::InvalidValue | ErrorKind::ValueValidation, Some(option), Some(_)) => {
            format!("{option}: {}", reason(error))
        }
        (ErrorKind::InvalidValue, Some(option), None) => format!("{option} needs a value"),
        (ErrorKind::UnknownArgument, Some(option), _) if option.starts_with('-') => {
            format!("`{command}` has no option `{option}`")
        }
        (ErrorKind::UnknownArgument, Some(word), _) => {
            format!("`{command}` takes no `{word}`")
        }
        (ErrorKind::InvalidSubcommand, ..) => {
            let word = first(error, ContextKind::InvalidSubcommand).unwrap_or_default();
            format!("`{command}` has no command `{word}`")
        }
        (ErrorKind::MissingRequiredArgument, ..) => {
            format!("`{command}` needs {}", all(error, ContextKind::InvalidArg).join(" "))
        }
        (ErrorKind::ArgumentConflict, Some(option), _) => {
            match first(error, ContextKind::PriorArg).map(|arg| name_of(&arg)) {
                Some(prior) if prior != option => format!("{option} does not go with {prior}"),
                _ => format!("{option} is given twice"),
            }
        }
        _ => clap_sentence(error),
    }
}

/// Why a value is none of its option.
pub fn reason(error: &clap::Error) -> String {
    let value = first(error, ContextKind::InvalidValue).unwrap_or_default();
    let allowed = all(error, ContextKind::ValidValue);
    let source = std::error::Error::source(error).map(ToString::to_string);
    match source {
        Some(reason) if reason.contains('`') => reason,
        Some(reason) => format!("`{value}`: {reason}"),
        None if !allowed.is_empty() => format!("`{value}` is none of {}", allowed.join(", ")),
        None => clap_sentence(error),
    }
}

fn clap_sentence(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// `--replicas <N>` is `--replicas`.
fn name_of(arg: &str) -> String {
    match arg.split_once(' ') {
        Some((name, _)) if arg.starts_with('-') => name.to_owned(),
        _ => arg.to_owned(),
    }
}

fn first(error: &clap::Error, kind: ContextKind) -> Option<String> {
    all(error, kind).into_iter().next()
}

fn all(error: &clap::Error, kind: ContextKind) -> Vec<String> {
    match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}
