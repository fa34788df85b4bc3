//! `swarmlb events`

use std::str::FromStr;

use clap::Args;

use super::logs::When;
use crate::events::Kind;

#[derive(Debug, Args)]
pub struct Events {
    /// Only what has that value; may be given several times
    ///
    /// KEY is type, action, node, network, service or task, or another attribute. Of several values of
    /// one key one must fit, of several keys all.
    #[arg(short, long = "filter", value_name = "KEY=VALUE")]
    pub filters: Vec<Filter>,
    /// Until that time, or for so long (10m, 1h30m) [default: until Ctrl-C]
    #[arg(long, value_name = "TIME|SPAN")]
    pub until: Option<When>,
}

/// `KEY=VALUE`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    pub key: String,
    pub value: String,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
        if key == "type" && Kind::ALL.iter().all(|kind| kind.name() != value) {
            let known = Kind::ALL.map(Kind::name).join(", ");
            return Err(format!("nothing has type `{}`: {known}", value.escape_debug()));
        }
        match key {
            "" => Err("write KEY=VALUE".into()),
            _ => Ok(Self { key: key.to_owned(), value: value.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_there_is_not_is_refused() {
        assert!("type=task".parse::<Filter>().is_ok());
        assert!("service=web".parse::<Filter>().is_ok());
        let error = "type=container".parse::<Filter>().unwrap_err();
        assert!(error.contains("node, network, service, task, agent"), "{error}");
        assert!("task".parse::<Filter>().is_err() && "=x".parse::<Filter>().is_err());
    }
}
