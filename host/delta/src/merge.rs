//! An upsert, or an insert of what is not there, as one MERGE of delta-rs, in memory.

use std::sync::Arc;

use arrow_schema::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::Column;
use datafusion::logical_expr::{Expr, Operator, binary_expr};
use datafusion::prelude::{DataFrame, SessionContext};
use deltalake::delta_datafusion::SessionFallbackPolicy;
use deltalake::kernel::transaction::CommitProperties;
use deltalake::operations::merge::MergeMetrics;
use deltalake::protocol::{DeltaOperation, MergePredicate};
use deltalake::{DeltaResult, DeltaTable};
use odibi_plan::plan::{Keys, NullKeys};

use crate::columns::Alignment;

const BATCH: &str = "batch";
const TABLE: &str = "target";

/// One merge.
pub(crate) struct Merge<'a> {
    pub(crate) keys: &'a Keys,
    /// Rows whose key is there take the place of those.
    pub(crate) updates: bool,
    pub(crate) aligned: &'a Alignment,
    pub(crate) table_schema: &'a SchemaRef,
}

impl Merge<'_> {
    /// Commits it, unless nothing would change.
    pub(crate) async fn run(
        &self,
        table: DeltaTable,
        rows: DataFrame,
        context: &SessionContext,
        properties: CommitProperties,
    ) -> DeltaResult<(DeltaTable, MergeMetrics)> {
        let state: Arc<dyn Session> = Arc::new(context.state());
        let names: Vec<&String> = self.names().collect();
        let mut merge = table
            .merge(rows, self.matches())
            .with_source_alias(BATCH)
            .with_target_alias(TABLE)
            .with_session_state(state)
            .with_session_fallback_policy(SessionFallbackPolicy::RequireSessionState)
            .with_merge_schema(!self.aligned.added.is_empty())
            .with_commit_properties(properties)
            .when_not_matched_insert(|insert| {
                names.iter().fold(insert, |insert, name| {
                    insert.set(Column::new(Some(TABLE), *name), of_batch(name))
                })
            })?;
        if let Some(differs) = self.differs().filter(|_| self.updates) {
            merge = merge.when_matched_update(|update| {
                self.values()
                    .fold(update.predicate(differs), |update, name| {
                        update.update(Column::new(Some(TABLE), name), of_batch(name))
                    })
            })?;
        }
        merge.await
    }

    /// The same, as the log says it. It read the whole table, as far as others are concerned.
    pub(crate) fn operation(&self) -> DeltaOperation {
        let action = |action_type: &str, predicate: Option<Expr>| MergePredicate {
            action_type: action_type.to_owned(),
            predicate: predicate.map(|predicate| predicate.to_string()),
        };
        let update = self.differs().filter(|_| self.updates);
        DeltaOperation::Merge {
            predicate: None,
            merge_predicate: Some(self.matches().to_string()),
            matched_predicates: update
                .map(|differs| action("update", Some(differs)))
                .into_iter()
                .collect(),
            not_matched_predicates: vec![action("insert", None)],
            not_matched_by_source_predicates: Vec::new(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        self.aligned.schema.fields().iter().map(|f| f.name())
    }

    /// Columns of the batch that are no keys.
    pub(crate) fn values(&self) -> impl Iterator<Item = &String> {
        self.names().filter(|name| !self.is_key(name))
    }

    fn is_key(&self, name: &str) -> bool {
        self.keys.columns.iter().any(|key| key.name == name)
    }

    /// A row of the table has the key of one of the batch. Columns that the table is partitioned by prune its files when
    /// they are keys.
    fn matches(&self) -> Expr {
        let equal = match self.keys.null_keys {
            NullKeys::Equal => Operator::IsNotDistinctFrom,
            NullKeys::Error | NullKeys::Distinct => Operator::Eq,
        };
        let keys = self.keys.columns.iter();
        let pairs = keys.map(|key| binary_expr(of_table(&key.name), equal, of_batch(&key.name)));
        pairs.reduce(Expr::and).unwrap_or_default()
    }

    /// Something else is in the row of the batch; without it, a second run would write every file again.
    fn differs(&self) -> Option<Expr> {
        let differs = self.values().map(|name| {
            if self.table_schema.fields().find(name.as_str()).is_none() {
                return of_batch(name).is_not_null();
            }
            binary_expr(of_batch(name), Operator::IsDistinctFrom, of_table(name))
        });
        differs.reduce(Expr::or)
    }
}

fn of_batch(name: &str) -> Expr {
    Expr::Column(Column::new(Some(BATCH), name))
}

fn of_table(name: &str) -> Expr {
    Expr::Column(Column::new(Some(TABLE), name))
}
