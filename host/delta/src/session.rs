//! The DataFusion session of one table: the memory and spill files of the run, and no store but the table's own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::CacheManagerConfig;
use datafusion::execution::object_store::ObjectStoreRegistry;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalake::delta_datafusion::DeltaSessionConfig;
use deltalake::delta_datafusion::planner::DeltaPlanner;
use object_store::ObjectStore;
use odibi_engine::driver::Lent;
use odibi_story::failure::Failure;
use url::Url;

use crate::failure::{During, classify, internal};

/// A session with one partition: rows keep their order, and one file is written where one is enough.
pub(crate) fn session(lent: &Lent, shown: &str) -> Result<SessionContext, Failure> {
    let Some(env) = lent.shared::<RuntimeEnv>() else {
        return Err(internal("the engine lends no runtime environment"));
    };
    let env = RuntimeEnvBuilder::from_runtime_env(&env)
        // Caches go by paths, and paths begin anew in each table.
        .with_cache_manager(CacheManagerConfig::default())
        .with_object_store_registry(Arc::new(OwnStores::default()))
        .build_arc()
        .map_err(|e| classify(&e, During::Scratch(shown)))?;
    let config = SessionConfig::from(DeltaSessionConfig::default())
        .with_batch_size(lent.batch_rows)
        .with_target_partitions(1)
        .set_bool(
            "datafusion.execution.parquet.schema_force_view_types",
            false,
        );
    let state = SessionStateBuilder::new()
        .with_default_features()
        .with_config(config)
        .with_runtime_env(env)
        .with_query_planner(DeltaPlanner::new())
        .build();
    Ok(SessionContext::new_with_state(state))
}

/// Stores that were registered. A log may name files by whole URLs; what is not the table's is not there.
#[derive(Debug, Default)]
struct OwnStores {
    stores: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

fn key(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

impl ObjectStoreRegistry for OwnStores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        let mut stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.insert(key(url), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let stores = self.stores.lock().unwrap_or_else(PoisonError::into_inner);
        stores.get(&key(url)).cloned().ok_or_else(|| {
            DataFusionError::Execution("a file of the table lies outside of the table".to_owned())
        })
    }
}
