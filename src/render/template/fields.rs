//! A row as a template sees it: fields are found by their name, whatever its case.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::value::{Enumerator, Object, Value, ValueKind};
use serde_json::{Map, Number};

use crate::render::table::printable;

/// A name that was looked for and not found, and what there was.
type Miss = (String, Vec<String>);

/// What was looked for and not found.
#[derive(Debug, Clone, Default)]
pub struct Misses(Arc<Mutex<Vec<Miss>>>);

impl Misses {
    pub fn last(&self) -> Option<Miss> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last().cloned()
    }

    fn add(&self, name: &str, known: Vec<String>) {
        let miss = (printable(name), known);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(miss);
    }
}

/// A JSON value for a template.
pub fn value(json: &serde_json::Value, misses: &Misses) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(truth) => Value::from(*truth),
        serde_json::Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::from(number),
            (None, Some(number)) => Value::from(number),
            _ => Value::from(number.as_f64()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => {
            Value::from(items.iter().map(|item| value(item, misses)).collect::<Vec<_>>())
        }
        serde_json::Value::Object(map) => {
            let fields =
                map.iter().map(|(name, field)| (name.clone(), value(field, misses))).collect();
            Value::from_object(Fields { fields, misses: misses.clone(), words: Vec::new() })
        }
    }
}

/// A template's value as JSON again.
pub fn json(value: &Value) -> serde_json::Value {
    match value.kind() {
        ValueKind::None | ValueKind::Undefined => serde_json::Value::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => {
            let text = value.to_string();
            text.parse::<Number>().map_or(serde_json::Value::String(text), Into::into)
        }
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter().into_iter().flatten().map(|item| json(&item)).collect()
        }
        ValueKind::Map => {
            let names = value.try_iter().into_iter().flatten();
            let field = |name: Value| {
                let held = value.get_item(&name).unwrap_or_default();
                (name.to_string(), json(&held))
            };
            names.map(field).collect::<Map<_, _>>().into()
        }
        _ => value.to_string().into(),
    }
}

/// An object's fields, in their order.
struct Fields {
    fields: Vec<(String, Value)>,
    /// Found when they are spelled just so, and before any field.
    words: Vec<(&'static str, Value)>,
    misses: Misses,
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.fields.iter().map(|(name, value)| (name, value))).finish()
    }
}

/// A name less what does not count.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

impl Fields {
    fn find(&self, name: &str) -> Option<&Value> {
        let word = self.words.iter().find(|(word, _)| *word == name).map(|(_, value)| value);
        let exact = || self.fields.iter().find(|(field, _)| field == name).map(|(_, v)| v);
        let like = || self.fields.iter().find(|(f, _)| plain(f) == plain(name)).map(|(_, v)| v);
        let docker = || self.words.iter().find(|(w, _)| plain(w) == plain(name)).map(|(_, v)| v);
        word.or_else(exact).or_else(like).or_else(docker)
    }

    fn known(&self) -> Vec<String> {
        let words = self.words.iter().map(|(word, _)| (*word).to_owned());
        self.fields.iter().map(|(name, _)| name.clone()).chain(words).collect()
    }
}

impl Object for Fields {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let name = key.as_str()?;
        let found = self.find(name).cloned();
        if found.is_none() {
            self.misses.add(name, self.known());
        }
        found
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.fields.iter().map(|(name, _)| Value::from(name.as_str())).collect())
    }
}

/// What a template's own names mean: `it` and `root` the row, else the row's fields.
#[derive(Debug)]
pub struct Scope {
    row: Value,
}

impl Scope {
    pub fn new(row: Value) -> Self {
        Self { row }
    }

    /// A row to which words are added that are no fields of it.
    pub fn with_words(
        row: &serde_json::Value,
        misses: &Misses,
        words: Vec<(&'static str, Value)>,
    ) -> Self {
        let serde_json::Value::Object(map) = row else {
            return Self { row: value(row, misses) };
        };
        let fields = map.iter().map(|(name, field)| (name.clone(), value(field, misses))).collect();
        Self { row: Value::from_object(Fields { fields, misses: misses.clone(), words }) }
    }
}

/// Names that are functions here and need not be fields.
const FUNCTIONS: [&str; 17] = [
    "json",
    "upper",
    "lower",
    "title",
    "join",
    "split",
    "truncate",
    "print",
    "println",
    "each",
    "pairs",
    "ago",
    "range",
    "dict",
    "debug",
    "namespace",
    "loop",
];

impl Object for Scope {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "it" | "root" => Some(self.row.clone()),
            name if FUNCTIONS.contains(&name) => None,
            name => self.row.get_attr(name).ok().filter(|value| !value.is_undefined()),
        }
    }
}

/// What stands for a row when a table's heading is made: each field is its own name.
#[derive(Debug, Default)]
pub struct Heading(String);

impl Object for Heading {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        match key.as_str()? {
            "it" | "root" => Some(Value::from_object(Self::default())),
            name if FUNCTIONS.contains(&name) => None,
            name => Some(Value::from_object(Self(words(name)))),
        }
    }

    fn is_true(self: &Arc<Self>) -> bool {
        true
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Heading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `DesiredState` and `desired_state` are DESIRED STATE, `ID` is ID.
fn words(name: &str) -> String {
    let mut text = String::new();
    let mut before = ' ';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() {
            text.push(' ');
        }
        text.extend(if letter == '_' { ' ' } else { letter }.to_uppercase());
        before = letter;
    }
    text
}
