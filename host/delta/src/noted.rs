//! An object store that notes which data files were put through it, so that those of a commit that failed can go.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::ready;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    Result,
};

/// Names that are not data.
const LOG: &str = "_delta_log";

/// A store with its notes.
#[derive(Debug)]
pub(crate) struct Noted {
    inner: Arc<dyn ObjectStore>,
    data: Mutex<Vec<Path>>,
}

impl Noted {
    /// Notes from now on.
    pub(crate) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self {
            inner,
            data: Mutex::default(),
        }
    }

    /// What was noted belongs to the table now.
    pub(crate) fn keep(&self) {
        self.take();
    }

    /// Removes what was noted; no log names it. What cannot be removed is left to VACUUM.
    pub(crate) async fn sweep(&self) {
        for path in self.take() {
            let _ = self.inner.delete(&path).await;
        }
    }

    fn take(&self) -> Vec<Path> {
        let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *data)
    }

    fn note(&self, location: &Path) {
        if location
            .parts()
            .next()
            .is_none_or(|part| part.as_ref() != LOG)
        {
            let mut data = self.data.lock().unwrap_or_else(PoisonError::into_inner);
            data.push(location.clone());
        }
    }
}

impl fmt::Display for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Noted {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.note(location);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.note(location);
        self.inner.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        // Azurite overlooks where a listing is to start, and then a table seems not to have its newest version.
        let offset = offset.clone();
        let listed = self.inner.list_with_offset(prefix, &offset);
        let behind = move |meta: &ObjectMeta| ready(meta.location > offset);
        listed.try_filter(behind).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
