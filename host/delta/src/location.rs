//! Where a table lies: its log store, its lock among processes of one machine, and loading it.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use deltalake::logstore::{LogStoreRef, StorageConfig, default_logstore};
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use odibi_engine::driver::{Place, Reach};
use odibi_plan::plan::TableVersion;
use odibi_story::failure::{Failure, FailureClass, code};
use rustix::fs::FlockOperation;
use url::Url;

use crate::failure::{During, classify, damaged, internal};
use crate::local::LocalDir;
use crate::noted::Noted;

/// Every table has a registry of its own, in which it is called so.
const TABLE_URL: &str = "odibi://table/";
/// How long others are waited for. It saves work that would be done in vain; without it, commits still exclude each other.
const LOCK_POLLS_MAX: u32 = 12_000;
const LOCK_POLL: Duration = Duration::from_millis(5);

/// A place that may hold a table.
#[derive(Debug)]
pub(crate) struct Location {
    /// Name of the connection.
    pub(crate) connection: String,
    /// Path below its root.
    pub(crate) path: String,
    /// As messages show it.
    pub(crate) shown: String,
    /// As the log of batches names it.
    pub(crate) name: String,
    /// What was put.
    pub(crate) noted: Arc<Noted>,
    dir: Option<LocalDir>,
}

/// Held until it is dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _dir: Option<OwnedFd>,
}

impl Location {
    pub(crate) fn new(place: Place) -> Result<Self, Failure> {
        let Place {
            connection,
            path,
            shown,
            name,
            reach,
        } = place;
        let (store, dir): (Arc<dyn ObjectStore>, _) = match reach {
            Reach::Directory(root) => {
                let local = LocalDir::new(root);
                let table = PrefixStore::new(local.clone(), parsed(&path)?);
                (Arc::new(table), Some(local))
            }
            Reach::Objects(store, prefix) => {
                let below = format!("{prefix}/{path}");
                (Arc::new(PrefixStore::new(store, parsed(&below)?)), None)
            }
        };
        Ok(Self {
            connection,
            path,
            shown,
            name,
            noted: Arc::new(Noted::new(store)),
            dir,
        })
    }

    /// Waits for other processes of this machine, some time.
    pub(crate) fn lock(&self) -> Lock {
        let Some(dir) = &self.dir else {
            return Lock { _dir: None };
        };
        let Ok(own) = dir.made_dir(&self.path) else {
            return Lock { _dir: None };
        };
        for _ in 0..LOCK_POLLS_MAX {
            if rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive).is_ok() {
                return Lock { _dir: Some(own) };
            }
            std::thread::sleep(LOCK_POLL);
        }
        Lock { _dir: None }
    }

    fn log_store(&self) -> Result<LogStoreRef, Failure> {
        let url = Url::parse(TABLE_URL).map_err(|e| internal(e.to_string()))?;
        let store = Arc::clone(&self.noted);
        Ok(default_logstore(
            Arc::clone(&store) as Arc<dyn ObjectStore>,
            store,
            &url,
            &StorageConfig::default(),
        ))
    }

    /// A table that is not loaded: there is none yet.
    pub(crate) fn fresh(&self) -> Result<DeltaTable, Failure> {
        self.log_store().map(DeltaTable::new)
    }

    /// The table as it is now; `None` only when there is no log at all.
    pub(crate) async fn load(&self, during: During<'_>) -> Result<Option<DeltaTable>, Failure> {
        if !self.has_log(during).await? {
            return Ok(None);
        }
        let mut table = self.fresh()?;
        let loaded = table.load().await;
        loaded.map_err(|e| unreadable(&e, during))?;
        Ok(Some(table))
    }

    /// The table as it was.
    pub(crate) async fn load_at(&self, at: &TableVersion) -> Result<Option<DeltaTable>, Failure> {
        let during = During::Read(&self.shown);
        let Some(latest) = self.load(during).await? else {
            return Ok(None);
        };
        let newest = latest.version().unwrap_or_default();
        let mut table = self.fresh()?;
        match at {
            TableVersion::Latest => return Ok(Some(latest)),
            TableVersion::Number(version) if *version > newest => {
                return Err(self.no_version(&format!("version {version}"), newest));
            }
            TableVersion::Number(version) => match table.load_version(*version).await {
                Ok(()) => {}
                Err(error) if is_gone(&error) => {
                    return Err(self.no_version(&format!("version {version}"), newest));
                }
                Err(error) => return Err(unreadable(&error, during)),
            },
            TableVersion::Time(micros) => {
                let time = DateTime::<Utc>::from_timestamp_micros(*micros)
                    .ok_or_else(|| internal("a time that no calendar has"))?;
                let loaded = table.load_with_datetime(time).await;
                loaded.map_err(|e| unreadable(&e, during))?;
                let version = table.version().unwrap_or_default();
                let commit = self.commit_time(&table, version).await?;
                if commit > time {
                    return Err(self.no_version(&format!("version as old as {time}"), newest));
                }
            }
        }
        Ok(Some(table))
    }

    /// When a version was committed.
    pub(crate) async fn commit_time(
        &self,
        table: &DeltaTable,
        version: u64,
    ) -> Result<DateTime<Utc>, Failure> {
        let told = table.snapshot().ok();
        let told = told.and_then(|state| state.version_timestamp(version));
        if let Some(time) = told.and_then(DateTime::<Utc>::from_timestamp_millis) {
            return Ok(time);
        }
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let meta = object_store::ObjectStoreExt::head(self.noted.as_ref(), &path).await;
        let meta = meta.map_err(|e| classify(&e, During::Read(&self.shown)))?;
        Ok(meta.last_modified)
    }

    async fn has_log(&self, during: During<'_>) -> Result<bool, Failure> {
        let mut log = self.noted.list(Some(&Path::from("_delta_log")));
        match log.try_next().await {
            Ok(first) => Ok(first.is_some()),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(classify(&error, during)),
        }
    }

    fn no_version(&self, what: &str, newest: u64) -> Failure {
        Failure::new(
            FailureClass::Missing,
            code::READ_NO_VERSION,
            format!("the Delta table `{}` has no {what}", self.shown),
        )
        .hint(format!("its newest version is {newest}"))
    }
}

/// Names are kept as they are, and not encoded.
fn parsed(path: &str) -> Result<Path, Failure> {
    Path::parse(path.trim_matches('/')).map_err(|e| {
        let message = format!("no table can lie at `{path}`");
        Failure::new(FailureClass::Denied, code::WRITE_BAD_TARGET, message).cause(e.to_string())
    })
}

/// A log that cannot be read, whatever the reason. Never a table that is not there.
fn unreadable(error: &DeltaTableError, during: During<'_>) -> Failure {
    let failure = classify(error, during);
    if failure.class == FailureClass::Missing {
        return damaged(during).cause(error.to_string());
    }
    failure
}

fn is_gone(error: &DeltaTableError) -> bool {
    matches!(
        error,
        DeltaTableError::InvalidVersion(_) | DeltaTableError::NotATable(_)
    )
}
