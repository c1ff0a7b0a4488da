//! `join`: rows of two tables that belong together.

use odibi_sdk::prelude::*;

use crate::sql::MAIN;
use crate::statement::{Columns, Names, column, column_of, further, name};
use crate::thin::Thin;

/// Params of `join`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Join {
    /// The table to join with.
    right_dataset: String,
    /// Key columns, called the same in both tables. Null equals nothing, not even null.
    #[serde(default)]
    on: Option<Names>,
    /// Key columns of the main input, when they are called otherwise; with `right_on`.
    #[serde(default)]
    left_on: Option<Names>,
    /// Key columns of the other table, in the order of `left_on`.
    #[serde(default)]
    right_on: Option<Names>,
    /// Which rows: `inner` those that have a partner, `left` and `right` all of one table, `full` all of both; `semi` and
    /// `anti` rows of the main input that have a partner or have none, without columns of the other; `cross` each with each.
    #[serde(default = "left")]
    how: How,
    /// A column of the other table whose name is taken is called `<prefix>_<column>`; by default the prefix is
    /// `right_dataset`.
    #[serde(default)]
    prefix: Option<String>,
    /// Instead of `prefix`: such a column is called `<column><suffix>`.
    #[serde(default)]
    suffix: Option<String>,
}

/// Which rows a join gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum How {
    Inner,
    Left,
    Right,
    Full,
    /// As `full`.
    Outer,
    Cross,
    Anti,
    Semi,
}

fn left() -> How {
    How::Left
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Inner => "INNER JOIN",
            Self::Left => "LEFT JOIN",
            Self::Right => "RIGHT JOIN",
            Self::Full | Self::Outer => "FULL JOIN",
            Self::Cross => "INNER JOIN",
            Self::Anti => "LEFT ANTI JOIN",
            Self::Semi => "LEFT SEMI JOIN",
        }
    }

    /// May a row lack its partner in the main input?
    fn lacks_left(self) -> bool {
        matches!(self, Self::Right | Self::Full | Self::Outer)
    }
}

/// A pair of key columns.
struct Key<'a> {
    left: &'a Field,
    right: &'a Field,
}

impl Thin for Join {
    const NAME: &'static str = "join";
    const SUMMARY: &'static str = "Joins the rows of another table";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::One("right_dataset");

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "adds the customer to each order",
                json!({ "right_dataset": "customers", "on": "customer" }),
                [
                    "id,customer\n1,7\n2,8\n3,\n",
                    "customer,id,name\n7,70,Ann\n9,90,Bob\n",
                ],
                "id,customer,customers_id,name\n1,7,70,Ann\n2,8,,\n3,,,\n",
            ),
            Example::new(
                "keeps what has no partner on either side",
                json!({ "right_dataset": "plan", "on": ["day"], "how": "full", "suffix": "_planned" }),
                ["day,n\n1,10\n2,20\n", "day,n\n2,21\n3,30\n"],
                "day,n,n_planned\n1,10,\n2,20,21\n3,,30\n",
            ),
            Example::new(
                "rows that have no partner, by keys of other names",
                json!({ "right_dataset": "known", "left_on": "user", "right_on": "id", "how": "anti" }),
                ["user,x\n1,a\n2,b\n", "id\n1\n"],
                "user,x\n2,b\n",
            ),
        ]
    }

    fn sql(&self, inputs: &[SchemaRef]) -> Result<String> {
        let (main, other) = super::two(inputs)?;
        let keys = self.keys(main, other)?;
        if self.prefix.is_some() && self.suffix.is_some() {
            let failure = Failure::param("/suffix", "`prefix` is given as well");
            return Err(failure.hint("leave one of the two out"));
        }
        let table = further(1);
        let mut columns = Columns::of(main);
        if self.how.lacks_left() {
            for key in keys.iter().filter(|k| k.left.name() == k.right.name()) {
                let (l, r) = (column(key.left.name()), column_of(&table, key.right.name()));
                columns.put(key.left.name(), format!("coalesce({l}, {r})"));
            }
        }
        if !matches!(self.how, How::Anti | How::Semi) {
            let is_key = |f: &Field| {
                keys.iter()
                    .any(|k| k.right.name() == f.name() && k.left.name() == f.name())
            };
            for field in other.fields().iter().filter(|f| !is_key(f)) {
                let (pointer, named) = self.named(field.name(), &columns);
                columns.add(pointer, &named, column_of(&table, field.name()))?;
            }
        }
        let main = name(MAIN);
        let how = self.how.word();
        let right = name(&table);
        if self.how == How::Cross {
            // By a key that is equal everywhere: unlike a product, a join gives its rows in an order that does not depend
            // on how they come in batches.
            let one = |of: &str, schema: &Schema| {
                let key = free("one", schema);
                let rows = format!("(SELECT *, 1 AS {} FROM {of}) AS {of}", name(&key));
                (rows, format!("{of}.{}", name(&key)))
            };
            let ((l, lk), (r, rk)) = (one(&main, inputs[0].as_ref()), one(&right, other));
            return columns.select(&format!("FROM {l} {how} {r} ON {lk} = {rk}"));
        }
        let equal = |k: &Key<'_>| {
            let (l, r) = (column(k.left.name()), column_of(&table, k.right.name()));
            format!("{l} = {r}")
        };
        let equal: Vec<String> = keys.iter().map(equal).collect();
        let on = equal.join(" AND ");
        columns.select(&format!("FROM {main} {how} {right} ON {on}"))
    }
}

/// A name like this one that no column has.
fn free(like: &str, schema: &Schema) -> String {
    let mut name = like.to_owned();
    while schema.column_with_name(&name).is_some() {
        name.push('_');
    }
    name
}

impl Join {
    /// The param to blame and the name in the result.
    fn named(&self, of: &str, taken: &Columns) -> (&'static str, String) {
        if !taken.has(of) {
            return ("/right_dataset", of.to_owned());
        }
        match (&self.prefix, &self.suffix) {
            (Some(prefix), _) => ("/prefix", format!("{prefix}_{of}")),
            (None, Some(suffix)) => ("/suffix", format!("{of}{suffix}")),
            (None, None) => ("/right_dataset", format!("{}_{of}", self.right_dataset)),
        }
    }

    fn keys<'a>(&self, main: &'a Schema, other: &'a Schema) -> Result<Vec<Key<'a>>> {
        let ((left_pointer, left), (right_pointer, right)) =
            match (&self.on, &self.left_on, &self.right_on) {
                (Some(on), None, None) => (("/on", on), ("/on", on)),
                (None, Some(left), Some(right)) => (("/left_on", left), ("/right_on", right)),
                (None, None, None) if self.how == How::Cross => return Ok(Vec::new()),
                (None, None, None) => {
                    let message = "`on` is missing: by which columns is to be joined?";
                    let failure = Failure::param("", message).code("missing-keys");
                    return Err(failure.hint("only `how: cross` goes without"));
                }
                (Some(_), _, _) => {
                    let message = "`left_on` and `right_on` are instead of `on`";
                    return Err(Failure::param("/on", message));
                }
                (None, Some(_), None) => {
                    return Err(Failure::param("/left_on", "`right_on` is missing"));
                }
                (None, None, Some(_)) => {
                    return Err(Failure::param("/right_on", "`left_on` is missing"));
                }
            };
        if self.how == How::Cross {
            let failure = Failure::param(left_pointer, "a cross join has no keys");
            return Err(failure.hint("leave it out, or choose another `how`"));
        }
        let (left, right) = (left.each(left_pointer), right.each(right_pointer));
        super::not_empty(left_pointer, left.is_empty())?;
        if left.len() != right.len() {
            let message = format!(
                "as many columns as in `left_on` are wanted, {}, are: {}",
                left.len(),
                right.len()
            );
            return Err(Failure::param(right_pointer, message));
        }
        let pair = |((lp, l), (rp, r)): ((String, &str), (String, &str))| {
            let key = Key {
                left: super::field(&lp, l, main)?,
                right: super::field(&rp, r, other)
                    .map_err(|f| f.hint(format!("it is looked for in `{}`", self.right_dataset)))?,
            };
            let (a, b) = (key.left.data_type(), key.right.data_type());
            if a.is_nested() || !super::alike(a, b) {
                let message = format!(
                    "column `{l}` is {a}, column `{r}` of `{}` is: {b}",
                    self.right_dataset
                );
                return Err(Failure::param(rp, message)
                    .code("wrong-type")
                    .hint("cast one of them with `cast_columns` first"));
            }
            Ok(key)
        };
        left.into_iter().zip(right).map(pair).collect()
    }
}
