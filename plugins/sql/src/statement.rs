//! The one place where params become SQL: names are quoted, values are literals, and nothing else of a param stands in a
//! statement but expressions that were checked.

use arrow_schema::Schema;
use odibi_sdk::outline::duplicate_column;
use odibi_sdk::params::child;
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use crate::sql::MAIN;

/// A name, quoted.
pub(crate) fn name(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text value.
pub(crate) fn text(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A column of the main input.
pub(crate) fn column(of: &str) -> String {
    column_of(MAIN, of)
}

/// A column of any table. With its table, so that no other reading of the name is possible.
pub(crate) fn column_of(table: &str, of: &str) -> String {
    format!("{}.{}", self::name(table), self::name(of))
}

/// How statements call the tables behind the main one.
pub(crate) fn further(port: usize) -> String {
    format!("t{port}")
}

/// A value as it stands in the YAML.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Scalar {
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}

impl Scalar {
    /// The value as SQL.
    pub(crate) fn literal(&self) -> String {
        match self {
            Self::Bool(true) => "TRUE".to_owned(),
            Self::Bool(false) => "FALSE".to_owned(),
            Self::Int(value) => format!("CAST('{value}' AS BIGINT)"),
            Self::Float(value) => format!("CAST('{value:e}' AS DOUBLE)"),
            Self::Text(value) => text(value),
        }
    }

    /// Is it a value of such a column?
    pub(crate) fn fits(&self, field: &Field) -> bool {
        let kind = field.data_type();
        match self {
            Self::Bool(_) => matches!(kind, DataType::Boolean),
            Self::Int(_) | Self::Float(_) => kind.is_numeric(),
            Self::Text(_) => is_text(kind),
        }
    }

    /// As it is written.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Float(value) => value.to_string(),
            Self::Text(value) => value.clone(),
        }
    }
}

/// One name or several.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Names {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl Names {
    /// Each with its pointer.
    pub(crate) fn each(&self, pointer: &str) -> Vec<(String, &str)> {
        match self {
            Self::One(name) => vec![(pointer.to_owned(), name)],
            Self::Many(names) => {
                let names = names.iter().enumerate();
                names
                    .map(|(i, name)| (child(pointer, i), name.as_str()))
                    .collect()
            }
        }
    }
}

/// The columns of a result: those of the main input, with changes.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Name, and what it is.
    items: Vec<(String, String)>,
}

impl Columns {
    /// All columns of the input, untouched.
    pub(crate) fn of(input: &Schema) -> Self {
        let untouched = |f: &Arc<Field>| (f.name().clone(), column(f.name()));
        Self {
            items: input.fields().iter().map(untouched).collect(),
        }
    }

    /// None.
    pub(crate) fn none() -> Self {
        Self { items: Vec::new() }
    }

    /// Replaces the column of that name where it stands, or adds it at the end.
    pub(crate) fn put(&mut self, name: &str, sql: impl Into<String>) {
        match self.items.iter_mut().find(|(n, _)| n == name) {
            Some((_, made)) => *made = sql.into(),
            None => self.items.push((name.to_owned(), sql.into())),
        }
    }

    /// Adds a column at the end; `pointer` is the param to blame when the name is taken.
    pub(crate) fn add(&mut self, pointer: &str, name: &str, sql: impl Into<String>) -> Result<()> {
        if self.has(name) {
            return Err(duplicate_column(pointer, name));
        }
        self.items.push((name.to_owned(), sql.into()));
        Ok(())
    }

    /// Is there a column of that name?
    pub(crate) fn has(&self, name: &str) -> bool {
        self.items.iter().any(|(n, _)| n == name)
    }

    /// Leaves a column out.
    pub(crate) fn leave_out(&mut self, name: &str) {
        self.items.retain(|(n, _)| n != name);
    }

    /// `SELECT … ` and what follows the columns: `FROM …`.
    pub(crate) fn select(&self, rest: &str) -> Result<String> {
        if self.items.is_empty() {
            let message = "the result would have no column";
            return Err(Failure::schema(message).code("no-columns"));
        }
        let listed = |items: Vec<String>| items.join(", ");
        // The engine takes a column `id` of `df` and a name `df.id` for the same.
        let clashes = |n: &str| n.contains('.');
        if !self.items.iter().any(|(n, _)| clashes(n)) {
            let item = |(name, sql): &(String, String)| format!("{sql} AS {}", self::name(name));
            let items = self.items.iter().map(item).collect();
            return Ok(format!("SELECT {} {rest}", listed(items)));
        }
        let mut inner = "c".to_owned();
        while self.items.iter().any(|(n, _)| n.starts_with(&inner)) {
            inner.push('_');
        }
        let made = self.items.iter().enumerate();
        let made = made.map(|(at, (_, sql))| format!("{sql} AS {}", name(&format!("{inner}{at}"))));
        let named = self.items.iter().enumerate().map(|(at, (n, _))| {
            let of = column_of(&inner, &format!("{inner}{at}"));
            format!("{of} AS {}", name(n))
        });
        Ok(format!(
            "SELECT {} FROM (SELECT {} {rest}) AS {}",
            listed(named.collect()),
            listed(made.collect()),
            name(&inner)
        ))
    }

    /// The statement over the main input.
    pub(crate) fn over_main(&self) -> Result<String> {
        self.select(&format!("FROM {}", name(MAIN)))
    }
}
