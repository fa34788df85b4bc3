//! `--format TEMPLATE`: rows become lines as the operator says.
//!
//! A template is minijinja's: `{{ name }}`. What Docker's users type, Go's `{{.Name}}`,
//! `{{json .}}`, `{{range .Tasks}}…{{end}}`, is translated to it (`go`). Fields are those of
//! `--format json`; letter case and underscores do not count. A template that begins with `table`
//! prints a heading and columns, one for each tab.

mod fields;
mod go;
#[cfg(test)]
mod tests;

use std::fmt;

use minijinja::value::{Rest, Value, ValueKind};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior};

use super::english::duration;
use super::figure::size;
use super::table::{columns, printable};
use fields::{Heading, Misses, Scope, value};

/// A word of Docker's that is no field of ours, and the template that gives it.
pub type Words = &'static [(&'static str, &'static str)];

/// What stands before a template that shall have a heading.
const TABLE: &str = "table ";

/// How to print a row; its syntax is known to be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// As it was typed.
    typed: String,
    /// In minijinja's words.
    source: String,
    has_heading: bool,
}

/// Why a template cannot be read, or does not fit the rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// The text is no template.
    Syntax { problem: String },
    /// The rows have no such field.
    NoField { name: String, known: Vec<String> },
    /// Anything else that a row does not allow.
    Row { problem: String },
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { problem } | Self::Row { problem } => f.write_str(problem),
            Self::NoField { name, .. } => write!(f, "there is no field `{name}`"),
        }
    }
}

impl Template {
    /// Whether a text is meant as a template, rather than as the name of a format.
    pub fn is_meant(text: &str) -> bool {
        text.contains("{{") || text.contains("{%") || text.starts_with(TABLE)
    }

    /// # Errors
    /// When it is no template.
    pub fn parse(typed: &str) -> Result<Self, TemplateError> {
        let (has_heading, body) = match typed.strip_prefix(TABLE) {
            Some(body) => (true, body.trim_start()),
            None => (false, typed),
        };
        let mut source =
            go::translated(body).map_err(|problem| TemplateError::Syntax { problem })?;
        if source.ends_with('\n') {
            // What ends a template's last line would be taken for the end of a file.
            source.push_str("{# #}");
        }
        environment().template_from_str(&source).map_err(|error| syntax(&error))?;
        Ok(Self { typed: typed.to_owned(), source, has_heading })
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// A line for each element of a list, or for the one value that is no list.
    ///
    /// # Errors
    /// When a row lacks a field that the template names.
    pub fn render(&self, data: &serde_json::Value, words: Words) -> Result<String, TemplateError> {
        let environment = environment();
        let rows = match data {
            serde_json::Value::Array(rows) => rows.iter().collect(),
            row => vec![row],
        };
        let mut lines = Vec::new();
        for row in rows {
            lines.push(self.row(&environment, row, words)?);
        }
        if !self.has_heading {
            return Ok(lines.iter().map(|line| format!("{line}\n")).collect());
        }
        let heading = rendered(&environment, &self.source, Value::from_object(Heading::default()))
            .map_err(|error| row_error(&error))?;
        lines.insert(0, heading);
        let cells = |line: &String| line.split('\t').map(str::to_owned).collect();
        Ok(columns(lines.iter().map(cells).collect()))
    }

    fn row(
        &self,
        environment: &Environment<'_>,
        row: &serde_json::Value,
        words: Words,
    ) -> Result<String, TemplateError> {
        let misses = Misses::default();
        let mut given = Vec::new();
        for (word, template) in words {
            let scope = Scope::new(value(row, &misses));
            // A word that a row does not allow is only missed where it is used.
            if let Ok(said) = rendered(environment, template, Value::from_object(scope)) {
                given.push((*word, Value::from(said)));
            }
        }
        let misses = Misses::default();
        let scope = Scope::with_words(row, &misses, given);
        rendered(environment, &self.source, Value::from_object(scope)).map_err(|error| {
            match (error.kind(), misses.last()) {
                (ErrorKind::UndefinedError, Some((name, known))) => {
                    TemplateError::NoField { name, known }
                }
                _ => row_error(&error),
            }
        })
    }
}

fn rendered(environment: &Environment<'_>, source: &str, scope: Value) -> Result<String, Error> {
    environment.template_from_str(source)?.render(scope)
}

fn syntax(error: &Error) -> TemplateError {
    TemplateError::Syntax { problem: sentence(error) }
}

fn row_error(error: &Error) -> TemplateError {
    TemplateError::Row { problem: sentence(error) }
}

fn sentence(error: &Error) -> String {
    printable(&match error.detail() {
        Some(detail) => detail.to_owned(),
        None => error.kind().to_string(),
    })
}

/// Docker's functions, and how values are printed.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_formatter(|out, _, value| {
        // A value never steers the terminal; what the template itself says may.
        out.write_str(&printed(value)).map_err(Error::from)
    });
    environment.add_function("json", |value: Value| defined(&value).map(json));
    environment.add_function("upper", |text: Value| said(&text).map(|text| text.to_uppercase()));
    environment.add_function("lower", |text: Value| said(&text).map(|text| text.to_lowercase()));
    environment.add_function("title", |text: Value| said(&text).map(|text| title(&text)));
    environment.add_function("join", |list: Value, between: String| {
        defined(&list).map(|list| join(list, &between))
    });
    environment.add_function("split", |text: Value, at: String| {
        said(&text).map(|text| text.split(&at).map(str::to_owned).collect::<Vec<_>>())
    });
    environment.add_function("truncate", |text: Value, length: usize| {
        said(&text).map(|text| text.chars().take(length).collect::<String>())
    });
    environment.add_function("print", |values: Rest<Value>| {
        values.iter().map(said).collect::<Result<String, Error>>()
    });
    environment.add_function("println", |values: Rest<Value>| {
        let words = values.iter().map(said).collect::<Result<Vec<String>, Error>>()?;
        Ok::<Value, Error>(Value::from_safe_string(words.join(" ") + "\n"))
    });
    environment.add_function("each", |value: Value| defined(&value).map(each));
    environment.add_function("pairs", |value: Value| defined(&value).map(pairs));
    environment.add_function("ago", duration);
    environment.add_function("bytes", size);
    environment
}

/// A value that a function can work on: a field that is not there is none.
fn defined(value: &Value) -> Result<&Value, Error> {
    match value.is_undefined() {
        true => Err(ErrorKind::UndefinedError.into()),
        false => Ok(value),
    }
}

fn said(value: &Value) -> Result<String, Error> {
    defined(value).map(printed)
}

/// A value as text: nothing for none, lists with commas, maps as JSON, no control characters.
fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => String::new(),
        ValueKind::Bool => value.is_true().to_string(),
        ValueKind::String if value.is_safe() => value.to_string(),
        ValueKind::Seq | ValueKind::Iterable => join(value, ", "),
        ValueKind::Map => json(value),
        _ => printable(&value.to_string()),
    }
}

fn join(list: &Value, between: &str) -> String {
    match list.try_iter() {
        Ok(items) => items.map(|item| printed(&item)).collect::<Vec<_>>().join(between),
        Err(_) => printed(list),
    }
}

fn title(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn json(value: &Value) -> String {
    match value.downcast_object_ref::<Heading>() {
        Some(heading) => heading.to_string(),
        None => fields::json(value).to_string(),
    }
}

/// What Go's `range` goes through: the values of a map, the items of a list.
fn each(value: &Value) -> Vec<Value> {
    pairs(value).into_iter().filter_map(|pair| pair.get_item_by_index(1).ok()).collect()
}

/// Keys, or numbers from 0, with their values.
fn pairs(value: &Value) -> Vec<Value> {
    let Ok(items) = value.try_iter() else { return Vec::new() };
    let is_map = value.kind() == ValueKind::Map;
    let pair = |(number, item): (usize, Value)| match is_map {
        true => Value::from(vec![item.clone(), value.get_item(&item).unwrap_or_default()]),
        false => Value::from(vec![Value::from(number), item]),
    };
    items.enumerate().map(pair).collect()
}
