//! How the columns of a result differ from those of the main input.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Column;

/// What happened to the columns, by name. A renamed column is one removed and one added.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnChanges {
    /// In the order of the result.
    pub added: Vec<Column>,
    /// In the order of the input.
    pub removed: Vec<Column>,
    /// Same name, other type or nullability; in the order of the result.
    pub changed: Vec<ColumnChange>,
}

/// A column whose type or nullability changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ColumnChange {
    /// In the main input.
    pub before: Column,
    /// In the result.
    pub after: Column,
}

impl ColumnChanges {
    /// Compares two schemas. Of columns with the same name, the first counts.
    #[must_use]
    pub fn between(before: &[Column], after: &[Column]) -> Self {
        let (old, new) = (by_name(before), by_name(after));
        let mut changes = Self::default();
        for column in after {
            match old.get(column.name.as_str()) {
                None => changes.added.push(column.clone()),
                Some(was) if *was != column => {
                    changes.changed.push(ColumnChange {
                        before: (*was).clone(),
                        after: column.clone(),
                    });
                }
                Some(_) => {}
            }
        }
        changes.removed = before
            .iter()
            .filter(|column| !new.contains_key(column.name.as_str()))
            .cloned()
            .collect();
        changes
    }
}

fn by_name(columns: &[Column]) -> BTreeMap<&str, &Column> {
    columns
        .iter()
        .rev()
        .map(|column| (column.name.as_str(), column))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(text: &str) -> Vec<Column> {
        let one = |word: &str| {
            let (name, kind) = word.split_once(':').expect("name:type");
            let (data_type, nullable) = kind.strip_suffix('?').map_or((kind, false), |t| (t, true));
            Column {
                name: name.to_owned(),
                data_type: data_type.to_owned(),
                nullable,
            }
        };
        text.split_whitespace().map(one).collect()
    }

    #[track_caller]
    fn check(before: &str, after: &str, expect: &str) {
        let changes = ColumnChanges::between(&columns(before), &columns(after));
        let names = |list: &[Column], sign| {
            list.iter()
                .map(|c| format!("{sign}{}", c.name))
                .collect::<Vec<_>>()
        };
        let mut words = names(&changes.added, '+');
        words.extend(names(&changes.removed, '-'));
        words.extend(changes.changed.iter().map(|c| format!("~{}", c.after.name)));
        assert_eq!(words.join(" "), expect);
    }

    #[test]
    fn columns_are_compared_by_name_type_and_nullability() {
        check("", "", "");
        check("a:Int64 b:Utf8", "b:Utf8 a:Int64", "");
        check("a:Int64", "a:Int64 c:Utf8 b:Utf8", "+c +b");
        check("a:Int64 b:Utf8 c:Utf8", "b:Utf8", "-a -c");
        check("a:Int64 b:Utf8?", "a:Utf8 b:Utf8", "~a ~b");
        check("a:Int64", "b:Int64", "+b -a");
    }

    #[test]
    fn first_of_equal_names_counts() {
        check("a:Int64 a:Utf8", "a:Int64", "");
    }
}
