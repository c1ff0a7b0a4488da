//! A log store that keeps the entry of a commit to itself: delta-rs writes files and says how they would be committed, and
//! nothing is visible.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::DeltaResult;
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{Action, Version};
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef, get_actions};
use object_store::ObjectStore;
use uuid::Uuid;

/// The log store of a table, from which nothing reaches the log.
pub(crate) struct Withheld {
    inner: LogStoreRef,
    entry: Mutex<Option<(Version, Bytes)>>,
}

impl Withheld {
    pub(crate) fn new(inner: LogStoreRef) -> Self {
        Self {
            inner,
            entry: Mutex::default(),
        }
    }

    /// What would have been committed, but for what says of the commit itself. `None` when it did not come so far.
    pub(crate) fn actions(&self) -> DeltaResult<Option<Vec<Action>>> {
        let entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((version, bytes)) = entry.as_ref() else {
            return Ok(None);
        };
        let mut actions = get_actions(*version, bytes)?;
        actions.retain(|action| !matches!(action, Action::CommitInfo(_) | Action::Txn(_)));
        Ok(Some(actions))
    }
}

#[async_trait]
impl LogStore for Withheld {
    fn name(&self) -> String {
        // delta-rs goes by the name: to this one it hands entries as bytes.
        self.inner.name()
    }

    async fn read_commit_entry(&self, version: Version) -> DeltaResult<Option<Bytes>> {
        self.inner.read_commit_entry(version).await
    }

    /// An error would be logged as one. So the writer goes on, does not find its version, and ends in an error of its own.
    async fn write_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        _: Uuid,
    ) -> Result<(), TransactionError> {
        if let CommitOrBytes::LogBytes(bytes) = commit_or_bytes {
            let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
            *entry = Some((version, bytes));
        }
        Ok(())
    }

    async fn abort_commit_entry(
        &self,
        _: Version,
        _: CommitOrBytes,
        _: Uuid,
    ) -> Result<(), TransactionError> {
        Ok(())
    }

    async fn get_latest_version(&self, start_version: Version) -> DeltaResult<Version> {
        self.inner.get_latest_version(start_version).await
    }

    fn object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.object_store(operation_id)
    }

    fn root_object_store(&self, operation_id: Option<Uuid>) -> Arc<dyn ObjectStore> {
        self.inner.root_object_store(operation_id)
    }

    fn config(&self) -> &LogStoreConfig {
        self.inner.config()
    }
}
