//! The plan of an operation that keeps its rows: which columns it reads, and how the output differs from the input.

use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema};

use crate::failure::{Failure, Result, unknown_column, unknown_name};
use crate::params::child;
use crate::plan::{InputPlan, Need, OutputColumn, Plan, Spread};
use crate::text::is_text;

/// Starts as "every column passes through, none is read"; each call changes that. Columns are named as they stand in
/// the output so far; a pointer is the JSON Pointer of the param that holds the name, so that a wrong one is shown there.
#[derive(Debug, Clone)]
pub struct Outline {
    offered: Schema,
    reads: Vec<usize>,
    columns: Vec<Slot>,
    computed: usize,
}

#[derive(Debug, Clone)]
struct Slot {
    field: FieldRef,
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    /// Index into the offered schema.
    Passed(usize),
    /// The how-manieth `put`.
    Computed(usize),
}

impl Outline {
    /// Everything passes through.
    #[must_use]
    pub fn of(input: &Schema) -> Self {
        let fields = input.fields().iter().enumerate();
        let columns = fields
            .map(|(i, f)| Slot {
                field: Arc::clone(f),
                source: Source::Passed(i),
            })
            .collect();
        Self {
            offered: input.clone(),
            reads: Vec::new(),
            columns,
            computed: 0,
        }
    }

    /// Reads a column of the input: it becomes the next column of the batch that `compute` sees.
    ///
    /// # Errors
    /// `unknown-column`.
    pub fn read(mut self, pointer: &str, name: &str) -> Result<Self> {
        self.reads.push(find(pointer, name, &self.offered)?);
        Ok(self)
    }

    /// Reads a column whose type must fit; `wanted` says which ones do, e.g. `a number`.
    ///
    /// # Errors
    /// `unknown-column`, `wrong-type`.
    pub fn read_if(
        self,
        pointer: &str,
        name: &str,
        wanted: &str,
        fits: impl Fn(&DataType) -> bool,
    ) -> Result<Self> {
        let data_type = self.input_field(pointer, name)?.data_type();
        if !fits(data_type) {
            let message = format!("column `{name}` must be {wanted}, is: {data_type}");
            return Err(Failure::param(pointer, message).code("wrong-type"));
        }
        self.read(pointer, name)
    }

    /// Reads a text column of any layout, for [`Text`](crate::text::Text).
    ///
    /// # Errors
    /// `unknown-column`, `wrong-type`.
    pub fn read_text(self, pointer: &str, name: &str) -> Result<Self> {
        self.read_if(pointer, name, "text", is_text)
    }

    /// Reads several columns; the pointer of the n-th is `pointer/n`.
    ///
    /// # Errors
    /// `unknown-column`.
    pub fn read_each<S: AsRef<str>>(self, pointer: &str, names: &[S]) -> Result<Self> {
        let mut names = names.iter().enumerate();
        names.try_fold(self, |outline, (i, name)| {
            outline.read(&child(pointer, i), name.as_ref())
        })
    }

    /// Reads every column.
    #[must_use]
    pub fn read_all(mut self) -> Self {
        self.reads = (0..self.offered.fields().len()).collect();
        self
    }

    /// Adds a computed column at the end, or replaces the column of that name where it stands. `compute` returns one
    /// array for each `put` and `add`, in the order of these calls.
    #[must_use]
    pub fn put(mut self, field: Field) -> Self {
        let at = self
            .columns
            .iter()
            .position(|c| c.field.name() == field.name());
        let slot = Slot {
            field: Arc::new(field),
            source: Source::Computed(self.computed),
        };
        self.computed += 1;
        match at {
            Some(i) => self.columns[i] = slot,
            None => self.columns.push(slot),
        }
        self
    }

    /// Adds a computed column at the end; `pointer` is the param that holds its name.
    ///
    /// # Errors
    /// `duplicate-column`.
    pub fn add(self, pointer: &str, field: Field) -> Result<Self> {
        self.must_be_free(pointer, field.name())?;
        Ok(self.put(field))
    }

    /// Leaves a column out.
    ///
    /// # Errors
    /// `unknown-column`.
    pub fn drop_column(mut self, pointer: &str, name: &str) -> Result<Self> {
        let at = self.position(pointer, name)?;
        self.columns.remove(at);
        Ok(self)
    }

    /// Gives a column another name.
    ///
    /// # Errors
    /// `unknown-column`, `duplicate-column`.
    pub fn rename(mut self, pointer: &str, from: &str, to: &str) -> Result<Self> {
        let at = self.position(pointer, from)?;
        if from != to {
            self.must_be_free(pointer, to)?;
        }
        let slot = &mut self.columns[at];
        slot.field = Arc::new(slot.field.as_ref().clone().with_name(to));
        Ok(self)
    }

    /// Keeps these columns, in this order; the pointer of the n-th is `pointer/n`.
    ///
    /// # Errors
    /// `unknown-column`, `duplicate-column`.
    pub fn select<S: AsRef<str>>(mut self, pointer: &str, names: &[S]) -> Result<Self> {
        let mut kept: Vec<Slot> = Vec::with_capacity(names.len());
        for (i, name) in names.iter().enumerate() {
            let (pointer, name) = (child(pointer, i), name.as_ref());
            let slot = self.columns[self.position(&pointer, name)?].clone();
            if kept.iter().any(|k| k.field.name() == name) {
                return Err(duplicate_column(&pointer, name));
            }
            kept.push(slot);
        }
        self.columns = kept;
        Ok(self)
    }

    /// Name, type and nullability of an input column.
    ///
    /// # Errors
    /// `unknown-column`.
    pub fn input_field(&self, pointer: &str, name: &str) -> Result<&Field> {
        Ok(self.offered.field(find(pointer, name, &self.offered)?))
    }

    /// Names of the output so far, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|c| c.field.name().as_str())
    }

    /// The computed fields in output order, as positions among the arrays that `compute` returns.
    pub(crate) fn turns(&self) -> Vec<usize> {
        let computed = self.columns.iter().filter_map(|c| match c.source {
            Source::Computed(order) => Some(order),
            Source::Passed(_) => None,
        });
        computed.collect()
    }

    fn position(&self, pointer: &str, name: &str) -> Result<usize> {
        let at = self.columns.iter().position(|c| c.field.name() == name);
        at.ok_or_else(|| unknown_name("column", pointer, name, self.names()))
    }

    fn must_be_free(&self, pointer: &str, name: &str) -> Result<()> {
        if self.names().any(|n| n == name) {
            Err(duplicate_column(pointer, name))
        } else {
            Ok(())
        }
    }
}

/// A stateless plan: any instance for any batch.
impl From<Outline> for Plan {
    fn from(outline: Outline) -> Self {
        let output = outline.columns.into_iter().map(|slot| match slot.source {
            Source::Passed(input) => OutputColumn::Passed {
                field: slot.field,
                port: 0,
                input,
            },
            Source::Computed(_) => OutputColumn::Computed(slot.field),
        });
        let input = InputPlan {
            need: Need::Only(outline.reads),
            ..InputPlan::default()
        };
        Self::new([input], output.collect()).spread(Spread::PerBatch)
    }
}

/// Index of a column of an offered schema, by name.
///
/// # Errors
/// `unknown-column` with the pointer.
pub fn find(pointer: &str, name: &str, schema: &Schema) -> Result<usize> {
    schema
        .index_of(name)
        .map_err(|_| unknown_column(pointer, name, schema))
}

/// Indices of several columns; the pointer of the n-th is `pointer/n`.
///
/// # Errors
/// `unknown-column` with the pointer.
pub fn find_each<S: AsRef<str>>(pointer: &str, names: &[S], schema: &Schema) -> Result<Vec<usize>> {
    names
        .iter()
        .enumerate()
        .map(|(i, name)| find(&child(pointer, i), name.as_ref(), schema))
        .collect()
}

/// A param names an output column that exists already. Code `duplicate-column`.
#[must_use]
pub fn duplicate_column(pointer: &str, name: &str) -> Failure {
    Failure::param(pointer, format!("column `{name}` exists already")).code("duplicate-column")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn outline() -> Outline {
        let fields = [
            ("a", DataType::Int64),
            ("b", DataType::Utf8),
            ("c", DataType::Float64),
        ];
        Outline::of(&Schema::new(
            fields.map(|(name, of)| Field::new(name, of, true)).to_vec(),
        ))
    }

    fn new(name: &str) -> Field {
        Field::new(name, DataType::Boolean, false)
    }

    /// `name<source` for each output column; a computed one has no source.
    #[track_caller]
    fn check(outline: Result<Outline>, reads: &[usize], expect: &str) {
        let plan = Plan::from(outline.unwrap());
        let show = |column: &OutputColumn| match column {
            OutputColumn::Passed { field, input, .. } => format!("{}<{input}", field.name()),
            OutputColumn::Computed(field) => field.name().clone(),
        };
        assert_eq!(
            plan.output.iter().map(show).collect::<Vec<_>>().join(" "),
            expect
        );
        assert_eq!(
            (&plan.inputs[0].need, plan.spread),
            (&Need::Only(reads.to_vec()), Spread::PerBatch)
        );
    }

    #[track_caller]
    fn check_failure(outline: Result<Outline>, expect: &str) {
        let failure = outline.unwrap_err();
        let param = failure.param.unwrap();
        assert_eq!(
            format!("{} {param} {}", failure.code, failure.message),
            expect
        );
    }

    #[test]
    fn everything_passes_unless_told_otherwise() {
        check(Ok(outline()), &[], "a<0 b<1 c<2");
        check(outline().read("", "c"), &[2], "a<0 b<1 c<2");
        check(outline().read_each("", &["c", "a"]), &[2, 0], "a<0 b<1 c<2");
        check(Ok(outline().read_all()), &[0, 1, 2], "a<0 b<1 c<2");
    }

    #[test]
    fn columns_are_dropped_renamed_chosen_replaced_and_added() {
        check(outline().drop_column("", "b"), &[], "a<0 c<2");
        check(outline().rename("", "b", "z"), &[], "a<0 z<1 c<2");
        check(outline().rename("", "b", "b"), &[], "a<0 b<1 c<2");
        check(outline().select("", &["c", "a"]), &[], "c<2 a<0");
        check(
            Ok(outline().put(new("b")).put(new("d"))),
            &[],
            "a<0 b c<2 d",
        );
        check(
            outline().put(new("d")).select("", &["d", "a"]),
            &[],
            "d a<0",
        );
        check(
            outline().rename("", "a", "x").unwrap().add("", new("a")),
            &[],
            "x<0 b<1 c<2 a",
        );
    }

    #[test]
    fn arrays_find_their_place_in_the_output() {
        assert_eq!(outline().put(new("d")).put(new("a")).turns(), [1, 0]);
        assert_eq!(outline().put(new("d")).put(new("d")).turns(), [1]);
        assert_eq!(
            outline()
                .put(new("d"))
                .put(new("e"))
                .drop_column("", "d")
                .unwrap()
                .turns(),
            [1]
        );
    }

    #[test]
    fn wrong_names_and_types_are_blamed_on_the_param() {
        check_failure(
            outline().read("/by", "B"),
            "unknown-column /by unknown column `B`, did you mean `b`?",
        );
        check_failure(
            outline().read_each("/by", &["a", "zz"]),
            "unknown-column /by/1 unknown column `zz`",
        );
        check_failure(
            outline().read_text("/on", "a"),
            "wrong-type /on column `a` must be text, is: Int64",
        );
        check_failure(
            outline().add("/as", new("a")),
            "duplicate-column /as column `a` exists already",
        );
        check_failure(
            outline().rename("/to", "a", "b"),
            "duplicate-column /to column `b` exists already",
        );
        check_failure(
            outline().select("/c", &["a", "a"]),
            "duplicate-column /c/1 column `a` exists already",
        );
    }
}
