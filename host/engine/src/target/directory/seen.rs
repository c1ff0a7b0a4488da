//! What is in the directory of a target.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use odibi_plan::plan::WriteMode;
use odibi_story::failure::{Failure, FailureClass, code};
use serde_json::Value;

use super::super::rows::{mismatch, unreadable};
use super::super::source::{Partition, Source};
use super::super::{Ready, Target, short};
use super::{FORMAT_VERSION, LOG_DIR, part_name};
use crate::failure::{During, classify};
use crate::partition::decode;
use crate::store::blob::BlobReader;
use crate::store::{Store, join};

/// Bytes of an entry that are read: it is small.
const ENTRY_BYTES_MAX: usize = 1024 * 1024;

/// Names and values of the directories that a file lies in.
type Found = Vec<(String, Option<String>)>;

/// What is in the directory. Paths are below it.
pub(super) struct Seen {
    dir: String,
    shown: String,
    pub(super) exists: bool,
    pub(super) data: Vec<String>,
    /// Other files that readers leave alone.
    pub(super) hidden: Vec<String>,
    pub(super) batches: Vec<String>,
    /// Of the newest entry in the log.
    pub(super) number: u64,
}

impl Seen {
    pub(super) fn new(target: &Target) -> Result<Self, Failure> {
        let (store, dir, shown) = (target.store.as_ref(), &target.path, target.shown());
        let mut seen = Self {
            exists: exists(store, dir, &shown)?,
            dir: dir.to_owned(),
            shown,
            data: Vec::new(),
            hidden: Vec::new(),
            batches: Vec::new(),
            number: 0,
        };
        let parted = !target.write.partition_by.is_empty();
        let replaces = target.write.mode == WriteMode::Overwrite;
        let mut newest = None;
        for stat in store.list(dir)? {
            let path = stat.path[dir.len()..].trim_start_matches('/').to_owned();
            if let Some(name) = path.strip_prefix(LOG_DIR) {
                let number = name
                    .trim_start_matches('/')
                    .trim_end_matches(".json")
                    .parse();
                let number: u64 = number.map_err(|_| {
                    unreadable(&seen.shown, "its log holds a file with another name")
                })?;
                seen.number = seen.number.max(number);
                newest = Some(stat.path);
            } else if path.starts_with("_odibi/") {
            } else if is_hidden(&path) {
                seen.hidden.push(path);
            } else {
                let (dirs, name) = path.rsplit_once('/').unwrap_or(("", &path));
                let hive = found(dirs).is_some();
                if !(dirs.is_empty() || hive && (parted || replaces)) {
                    let what = format!("it holds directories, for example `{path}`");
                    let failure = unreadable(&seen.shown, &what);
                    return Err(if hive {
                        failure.hint("say with `partition_by` which columns they are")
                    } else {
                        failure
                    });
                }
                let id = name
                    .strip_prefix("part-")
                    .and_then(|rest| rest.split_once('-'));
                seen.batches.extend(id.map(|(id, _)| id.to_owned()));
                seen.data.push(path);
            }
        }
        if let Some(newest) = newest {
            let entry = entry(store, &newest, &seen.shown)?;
            seen.batches.splice(0..0, entry);
        }
        let mut named = std::collections::HashSet::new();
        seen.batches.retain(|batch| named.insert(batch.clone()));
        Ok(seen)
    }

    /// What shows that a batch is there that it holds.
    pub(super) fn proof(&self, ready: &Ready) -> String {
        let part = part_name(ready);
        let is_it = |path: &&String| path.rsplit('/').next() == Some(part.as_str());
        match self.data.iter().find(is_it) {
            Some(path) => format!("file {path}"),
            None => format!("log {LOG_DIR} {}", short(&ready.batch)),
        }
    }

    pub(super) fn holds(&self, batch: &str) -> bool {
        self.batches.iter().any(|named| named == short(batch))
    }

    /// Entries of the log and files.
    pub(super) fn version(&self) -> Option<String> {
        self.exists
            .then(|| format!("{}-{}", self.number, self.data.len()))
    }

    /// Its files with their partitions, in the order of [`Seen::data`]. `result` are the columns that are written.
    pub(super) fn sources(
        &self,
        target: &Target,
        result: &SchemaRef,
    ) -> Result<Vec<Source>, Failure> {
        let partition_by = &target.write.partition_by;
        let mut known: HashMap<&str, Arc<Partition>> = HashMap::new();
        let mut sources = Vec::with_capacity(self.data.len());
        for path in &self.data {
            let dirs = path.rsplit_once('/').map_or("", |(dirs, _)| dirs);
            let partition = if partition_by.is_empty() {
                None
            } else if let Some(partition) = known.get(dirs) {
                Some(Arc::clone(partition))
            } else {
                let what = "its files do not lie in directories of partitions";
                let found = found(dirs).ok_or_else(|| mismatch(&self.shown, what))?;
                let made = Partition::found(&found, partition_by, result, &self.shown)?;
                let made = Arc::new(made);
                known.insert(dirs, Arc::clone(&made));
                Some(made)
            };
            let full = join(&self.dir, path);
            sources.push(Source::later(&target.store, full, partition));
        }
        Ok(sources)
    }
}

/// Names and values of directories, if all of them have such; `None` for none.
fn found(dirs: &str) -> Option<Found> {
    if dirs.is_empty() {
        return None;
    }
    dirs.split('/').map(decode).collect()
}

/// Is it a file that readers leave alone?
fn is_hidden(path: &str) -> bool {
    path.split('/').any(|part| part.starts_with(['_', '.']))
}

fn exists(store: &dyn Store, dir: &str, shown: &str) -> Result<bool, Failure> {
    match store.stat(dir) {
        Ok(None) => Ok(false),
        Ok(Some(_)) => {
            let what = format!("`{shown}` is a file and not a directory");
            Err(
                Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, what)
                    .hint("remove the `/` at the end of `path`, or move the file"),
            )
        }
        // What a directory answers; anything else comes again below.
        Err(failure) if failure.code == code::READ_BAD_FILE.name => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Batches that an entry of the log names.
fn entry(store: &dyn Store, path: &str, shown: &str) -> Result<Vec<String>, Failure> {
    let blob = store.open(path)?;
    let mut bytes = Vec::new();
    let limit = ENTRY_BYTES_MAX as u64;
    let read = std::io::Read::read_to_end(
        &mut std::io::Read::take(BlobReader::new(blob), limit),
        &mut bytes,
    );
    read.map_err(|e| classify(&e, During::Read(shown)))?;
    let value: Value = serde_json::from_slice(&bytes)
        .map_err(|e| unreadable(shown, "its log is damaged").cause(e.to_string()))?;
    if value["format_version"]
        .as_u64()
        .is_none_or(|v| v > FORMAT_VERSION)
    {
        return Err(unreadable(shown, "its log is of a newer odibi"));
    }
    let batches = value["batches"].as_array().map_or(&[][..], Vec::as_slice);
    Ok(batches
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}
