//! What each node was when it last succeeded.

use std::collections::BTreeMap;

use odibi_story::event::NodeRef;
use odibi_story::failure::Failure;
use rusqlite::params;

use super::NodeRecord;
use super::record::node;
use crate::db::StateDb;

/// The last success of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Hash of what the node was, hex; `None` when the run was made by an odibi that did not note it.
    pub digest: Option<String>,
    /// How it ended, and what it left.
    pub record: NodeRecord,
}

impl StateDb {
    /// Notes what the nodes of a run are: hashes of what their rows follow from.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn note_digests(
        &self,
        run_id: &str,
        digests: &BTreeMap<NodeRef, String>,
    ) -> Result<(), Failure> {
        self.write(|t| {
            let mut statement = t.prepare(
                "INSERT OR REPLACE INTO run_node_digest (run, pipeline, node, digest) \
                 SELECT number, ?2, ?3, ?4 FROM run WHERE id = ?1",
            )?;
            for (node, digest) in digests {
                statement.execute(params![run_id, node.pipeline, node.name, digest])?;
            }
            Ok(())
        })
    }

    /// The last success of each node of a project.
    ///
    /// # Errors
    /// The state cannot be used.
    pub fn made(&self, project: &str) -> Result<BTreeMap<NodeRef, Made>, Failure> {
        self.read(|t| {
            let mut statement = t.prepare(
                "SELECT pipeline, node, outcome, attempts, duration_ms, rows_written, failure_code, \
                 target_bytes, target_modified, \
                 (SELECT digest FROM run_node_digest d \
                  WHERE d.run = last.run AND d.pipeline = last.pipeline AND d.node = last.node) \
                 FROM run_node last JOIN (\
                     SELECT max(run_node.run) AS newest, pipeline AS of_pipeline, node AS of_node \
                     FROM run_node JOIN run ON run.number = run_node.run \
                     WHERE project = ?1 AND run_node.outcome IN ('succeeded', 'recovered') \
                     GROUP BY pipeline, node\
                 ) ON newest = last.run AND of_pipeline = pipeline AND of_node = node",
            )?;
            let rows = statement.query_map(params![project], |row| {
                let digest: Option<String> = row.get(9)?;
                let record = node(row)?;
                Ok((record.node.clone(), Made { digest, record }))
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }
}
