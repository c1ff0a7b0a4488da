//! DataFusion without files, disk, threads or catalogs: functions, optimiser, and the tables of the host.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, TableReference, plan_datafusion_err};
use datafusion::config::ConfigOptions;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner};
use datafusion::logical_expr::{
    AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF,
};
use datafusion::optimizer::analyzer::function_rewrite::ApplyFunctionRewrites;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;
use futures::FutureExt as _;

use crate::port::PortTable;
use crate::{choice, exact, totals};

/// Rows of a batch inside the engine.
const BATCH_ROWS: usize = 8192;

/// A query engine over the tables of one session.
pub(crate) struct Database {
    state: SessionState,
    tables: HashMap<String, Arc<PortTable>>,
}

impl Database {
    /// With these tables by name.
    pub(crate) fn new(tables: HashMap<String, Arc<PortTable>>) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(UnboundedMemoryPool::default()))
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_mode(DiskManagerMode::Disabled),
            )
            .build_arc()?;
        let mut state = SessionStateBuilder::new()
            .with_config(config())
            .with_runtime_env(runtime)
            .with_expr_planners(SessionStateDefaults::default_expr_planners())
            .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
            .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
            .with_aggregate_functions(totals::exact(
                SessionStateDefaults::default_aggregate_functions(),
            ))
            .with_window_functions(SessionStateDefaults::default_window_functions())
            .with_table_function_list(SessionStateDefaults::default_table_functions())
            // Behind the engine's own rules, which settle the types.
            .with_analyzer_rule(Arc::new(ApplyFunctionRewrites::new(vec![
                Arc::new(exact::Replace),
                Arc::new(choice::Replace),
            ])))
            .build();
        // `now()` is one time in the whole query: the clock of the sandbox, which is the run's logical time.
        state.mark_start_execution();
        Ok(Self { state, tables })
    }

    /// The statement as a plan with every name and type resolved.
    pub(crate) fn logical(&self, statement: Statement) -> Result<LogicalPlan> {
        let options = ParserOptions::from(&self.state.config_options().sql_parser);
        let plan = SqlToRel::new_with_options(self, options).sql_statement_to_plan(statement)?;
        Ok(plan)
    }

    /// The plan, simplified.
    pub(crate) fn optimized(&self, plan: &LogicalPlan) -> Result<LogicalPlan> {
        self.state.optimize(plan)
    }

    /// The operators of an optimised plan, in one partition.
    pub(crate) fn physical(&self, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
        let planned = self
            .state
            .query_planner()
            .create_physical_plan(plan, &self.state)
            .now_or_never();
        planned.unwrap_or_else(|| Err(internal("the planner waits for something")))
    }

    /// The engine's state.
    pub(crate) fn state(&self) -> &SessionState {
        &self.state
    }
}

/// A defect of this component.
pub(crate) fn internal(message: &str) -> datafusion::common::DataFusionError {
    datafusion::common::DataFusionError::Internal(message.to_owned())
}

fn config() -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.execution.planning_concurrency = 1;
    // One thread: runs that are sorted apart and merged gain nothing, and the merge would account for its memory twice.
    options.execution.sort_in_place_threshold_bytes = usize::MAX;
    options.optimizer.enable_round_robin_repartition = false;
    options.optimizer.repartition_joins = false;
    options.optimizer.repartition_aggregations = false;
    options.optimizer.repartition_windows = false;
    options.optimizer.repartition_sorts = false;
    options.optimizer.enable_dynamic_filter_pushdown = false;
    config
}

impl ContextProvider for Database {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let found = match &name {
            TableReference::Bare { table } => self.tables.get(table.as_ref()),
            TableReference::Partial { .. } | TableReference::Full { .. } => None,
        };
        let table = found.ok_or_else(|| plan_datafusion_err!("table '{name}' not found"))?;
        Ok(provider_as_source(
            Arc::clone(table) as Arc<dyn TableProvider>
        ))
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> Result<Arc<dyn TableSource>> {
        let functions = self.state.table_functions();
        let function = functions
            .get(name)
            .ok_or_else(|| plan_datafusion_err!("table function '{name}' not found"))?;
        let arguments = datafusion::catalog::TableFunctionArgs::new(&args, &self.state);
        Ok(provider_as_source(
            function.create_table_provider_with_args(arguments)?,
        ))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: arrow_schema::SchemaRef,
    ) -> Result<Arc<dyn TableSource>> {
        let table = datafusion::datasource::cte_worktable::CteWorkTable::new(name, schema);
        Ok(provider_as_source(Arc::new(table)))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state
            .higher_order_functions()
            .keys()
            .cloned()
            .collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}
