//! Finding runs: by the days below which they lie, the newest first.

use std::collections::BTreeMap;

use odibi_story::event::NodeRef;
use odibi_story::failure::Failure;

use super::super::document::{MadeSheet, RunSheet};
use super::super::shelf::at_once;
use super::super::{SharedState, name_of};
use super::sheet::{day, node_record, record, run_path};
use crate::run::{CRASHED, Made, RunFilter, RunRecord, no_run};

/// Runs that are read to find those that a filter asks for.
const RUNS_READ_MAX: usize = 1_000;
/// Runs that are read at once.
const RUNS_READ_AT_ONCE: usize = 16;

impl SharedState {
    /// Ids of runs, the newest first, until `take` has enough. `days` says which days are looked at.
    fn walk(
        &self,
        project: &str,
        days: &dyn Fn(&str) -> bool,
        take: &mut dyn FnMut(Vec<String>) -> Result<bool, Failure>,
    ) -> Result<(), Failure> {
        let root = format!("{}/runs", name_of(project));
        for month in self.desk.names(&root)?.into_iter().rev() {
            for day in self
                .desk
                .names(&format!("{root}/{month}"))?
                .into_iter()
                .rev()
            {
                let day = format!("{month}/{day}");
                if !days(&day) {
                    continue;
                }
                let names = self.desk.names(&format!("{root}/{day}"))?;
                let ids = names.iter().filter_map(|name| name.strip_suffix(".json"));
                let ids: Vec<String> = ids.rev().map(str::to_owned).collect();
                if !take(ids)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn read_runs(&self, project: &str, ids: &[String]) -> Result<Vec<RunSheet>, Failure> {
        let read = |id: &String| self.desk.read::<RunSheet>(&run_path(project, id));
        let mut sheets = Vec::new();
        for read in at_once(ids, read) {
            sheets.extend(read?.map(|(sheet, _)| sheet));
        }
        Ok(sheets)
    }

    pub(in crate::shared) fn find_runs(
        &self,
        filter: &RunFilter<'_>,
    ) -> Result<Vec<RunRecord>, Failure> {
        let project = filter.project.unwrap_or(&self.project);
        let wanted = filter.count_max.map_or(usize::MAX, |n| n as usize);
        let fits = |run: &RunRecord| {
            let failed = matches!(
                run.outcome.as_deref(),
                Some("failed" | "cancelled" | CRASHED)
            );
            let of = |name: &str| run.pipelines.iter().any(|pipeline| pipeline == name);
            filter.pipeline.is_none_or(of) && (failed || !filter.failed)
        };
        let (mut found, mut read) = (Vec::new(), 0);
        self.walk(project, &|_| true, &mut |ids| {
            for ids in ids.chunks(RUNS_READ_AT_ONCE.min(wanted.max(1))) {
                if found.len() >= wanted || read >= RUNS_READ_MAX {
                    return Ok(false);
                }
                read += ids.len();
                let records = self.read_runs(project, ids)?.into_iter().map(record);
                found.extend(records.filter(fits));
            }
            Ok(found.len() < wanted && read < RUNS_READ_MAX)
        })?;
        found.truncate(wanted);
        Ok(found)
    }

    pub(in crate::shared) fn find_run(
        &self,
        project: &str,
        name: &str,
    ) -> Result<RunRecord, Failure> {
        let mut ids = Vec::new();
        if name == "last" {
            self.walk(project, &|_| true, &mut |found| {
                ids.extend(found.into_iter().next());
                Ok(ids.is_empty())
            })?;
        } else {
            let (first, last) = (day(&lowest(name, '0')), day(&lowest(name, 'f')));
            let within = |day: &str| {
                let known = first.as_deref().zip(last.as_deref());
                known.is_none_or(|(first, last)| first <= day && day <= last)
            };
            self.walk(project, &within, &mut |found| {
                ids.extend(found.into_iter().filter(|id| id.starts_with(name)).take(2));
                Ok(ids.len() < 2)
            })?;
        }
        match self.read_runs(project, &ids)?.as_slice() {
            [one] if ids.len() == 1 => Ok(record(one.clone())),
            _ => Err(no_run(project, name, ids.len())),
        }
    }

    pub(in crate::shared) fn find_made(
        &self,
        project: &str,
    ) -> Result<BTreeMap<NodeRef, Made>, Failure> {
        let dir = format!("{}/made", name_of(project));
        let mut found = BTreeMap::new();
        for name in self.desk.names(&dir)? {
            let read = self.desk.read::<MadeSheet>(&format!("{dir}/{name}"))?;
            let Some((sheet, _)) = read else { continue };
            for made in sheet.nodes.into_values() {
                let name = made.node.name();
                let made = Made {
                    digest: made.node.digest.clone(),
                    record: node_record(made.node),
                };
                found.insert(name, made);
            }
        }
        Ok(found)
    }
}

/// An id that begins so, with the rest of its time filled up.
fn lowest(prefix: &str, fill: char) -> String {
    let mut id = prefix.to_owned();
    while id.len() < 13 {
        id.push(if id.len() == 8 { '-' } else { fill });
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_ids_tell_the_days_that_are_looked_at() {
        assert_eq!(day(&lowest("0192f0c1", '0')).unwrap(), "2024-11/03");
        assert_eq!(day(&lowest("0192", 'f')).unwrap(), "2024-11/06");
        assert_eq!(day(&lowest("0", '0')).unwrap(), "1970-01/01");
        assert_eq!(day(&lowest("x", 'f')), None);
    }
}
