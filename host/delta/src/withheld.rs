//! A log store that keeps the entry of a commit to itself: delta-rs writes files and says how they would be committed, and
//! nothing is visible.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use deltalake::kernel::transaction::TransactionError;
use deltalake::kernel::{Action, Version};
use deltalake::logstore::{CommitOrBytes, LogStore, LogStoreConfig, LogStoreRef, get_actions};
use deltalake::{DeltaResult, DeltaTable, DeltaTableError};
use object_store::ObjectStore;
use tokio::sync::Notify;
use uuid::Uuid;

/// The log store of a table, from which nothing reaches the log.
pub(crate) struct Withheld {
    inner: LogStoreRef,
    entry: Mutex<Option<(Version, Bytes)>>,
    came: Notify,
}

impl Withheld {
    pub(crate) fn new(inner: LogStoreRef) -> Self {
        Self {
            inner,
            entry: Mutex::default(),
            came: Notify::new(),
        }
    }

    /// Lets a write through this store go on until it would commit. What that would have been, but for what it says of the
    /// commit itself.
    pub(crate) async fn actions(
        &self,
        write: impl Future<Output = DeltaResult<DeltaTable>>,
    ) -> DeltaResult<Vec<Action>> {
        let ended = tokio::select! {
            ended = write => Some(ended),
            () = self.came.notified() => None,
        };
        let Some((version, bytes)) = self.entry().take() else {
            return Err(match ended {
                Some(Err(error)) => error,
                Some(Ok(_)) | None => {
                    DeltaTableError::Generic("files were written and not committed".to_owned())
                }
            });
        };
        let mut actions = get_actions(version, &bytes)?;
        actions.retain(|action| !matches!(action, Action::CommitInfo(_) | Action::Txn(_)));
        Ok(actions)
    }

    fn entry(&self) -> MutexGuard<'_, Option<(Version, Bytes)>> {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Never returns: an error would be logged as one, and after a success the writer would look for its version, and log
    /// that it is not there.
    async fn write_commit_entry(
        &self,
        version: Version,
        commit_or_bytes: CommitOrBytes,
        _: Uuid,
    ) -> Result<(), TransactionError> {
        if let CommitOrBytes::LogBytes(bytes) = commit_or_bytes {
            *self.entry() = Some((version, bytes));
        }
        self.came.notify_one();
        std::future::pending().await
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
