//! The secrets of a run: each asked for once, side by side.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt as _;
use odibi_plan::{Secret, SecretRef};
use odibi_story::failure::Failure;

use crate::port::Secrets;

/// Secrets that are asked for at the same time.
const SIDE_BY_SIDE_MAX: usize = 16;

/// Asks for each of them. What cannot be had comes with the reason.
pub async fn fetch_all(
    vaults: &dyn Secrets,
    references: BTreeSet<SecretRef>,
) -> BTreeMap<SecretRef, Result<Secret, Failure>> {
    futures::stream::iter(references)
        .map(|reference| async move {
            let found = vaults.fetch(&reference).await;
            (reference, found)
        })
        .buffer_unordered(SIDE_BY_SIDE_MAX)
        .collect()
        .await
}
