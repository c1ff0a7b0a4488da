//! Columns that must not be seen: what the project says of them, and how far that reaches before any column is known.

use std::collections::BTreeSet;

use super::{ColumnName, NodeId, PlannedNode};

/// What a node or a read says of columns that must not be seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Marks {
    /// Nothing (default).
    #[default]
    None,
    /// All columns are sensitive.
    All,
    /// These are.
    Columns(Vec<ColumnName>),
}

impl Marks {
    /// True when nothing is said.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }

    /// The columns that are named.
    #[must_use]
    pub fn columns(&self) -> &[ColumnName] {
        match self {
            Self::Columns(columns) => columns,
            Self::None | Self::All => &[],
        }
    }
}

/// Of which columns something may be sensitive, as far as can be said before any column is known. An upper bound.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Reach {
    /// Of none.
    #[default]
    Nothing,
    /// Of those with these names.
    Columns(BTreeSet<String>),
    /// Of any.
    Everything,
}

impl Reach {
    /// True when no column may be sensitive.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::Nothing
    }

    /// Adds what else may be.
    pub fn add(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Everything, _) | (_, Self::Nothing) => {}
            (_, Self::Everything) => *self = Self::Everything,
            (Self::Nothing, Self::Columns(_)) => *self = other.clone(),
            (Self::Columns(own), Self::Columns(more)) => own.extend(more.iter().cloned()),
        }
    }

    /// Adds what is marked.
    pub(super) fn mark(&mut self, marks: &Marks) {
        match marks {
            Marks::None => {}
            Marks::All => *self = Self::Everything,
            Marks::Columns(columns) if columns.is_empty() => {}
            Marks::Columns(columns) => {
                let names = columns.iter().map(|mark| mark.name.clone());
                self.add(&Self::Columns(names.collect()));
            }
        }
    }

    /// May a column of this name be sensitive?
    #[must_use]
    pub fn holds(&self, column: &str) -> bool {
        match self {
            Self::Nothing => false,
            Self::Columns(names) => names.contains(column),
            Self::Everything => true,
        }
    }
}

/// A node of the project that writes what is read.
#[derive(Debug, Clone, PartialEq)]
pub struct Writer {
    /// Its place in the plan, when it is in it.
    pub node: Option<NodeId>,
    /// Pipeline.
    pub pipeline: String,
    /// Name.
    pub name: String,
    /// True when rows that it rejects may be read.
    pub rejected: bool,
    /// What of its target may be sensitive.
    pub reach: Reach,
}

/// What a node says of columns that must not be seen.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Privacy {
    /// `sensitive`: of its inputs, of its result, and of all between.
    pub sensitive: Marks,
    /// `columns` with `pii: true`: sensitive, and changed by `privacy`.
    pub pii: Vec<ColumnName>,
    /// `declassify`: columns of the result that may be seen, whatever they come from.
    pub declassify: Vec<ColumnName>,
    /// The step that changes the values of personal columns: the last one.
    pub step: Option<usize>,
    /// True when a column that enters, or is marked here, may be sensitive.
    pub touches: bool,
    /// What of the result may be sensitive.
    pub reach: Reach,
}

impl Privacy {
    /// What is to be known by those who read what this node wrote in an earlier run.
    pub(super) fn writers_of(&self, node: &PlannedNode) -> Vec<Writer> {
        if self.reach.is_nothing() {
            return Vec::new();
        }
        vec![Writer {
            node: None,
            pipeline: node.pipeline.clone(),
            name: node.name.clone(),
            rejected: false,
            reach: self.reach.clone(),
        }]
    }
}
