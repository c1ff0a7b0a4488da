//! `sql`: a query over the tables of the node.

use odibi_sdk::prelude::*;

use crate::query::Query;

/// Params of `sql`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sql {
    /// A query: SELECT, WITH or VALUES, in DataFusion's dialect. `df` is the main input.
    sql: String,
    /// Further tables that the query speaks of, by name.
    #[serde(default)]
    tables: Vec<String>,
    /// Another name of the main input.
    #[serde(default)]
    main: Option<String>,
}

/// What the main input is always called.
pub(crate) const MAIN: &str = "df";

impl Operation for Sql {
    const NAME: &'static str = "sql";
    const SUMMARY: &'static str = "Answers a SQL query over the tables of the node";
    const FURTHER_INPUTS: FurtherInputs = FurtherInputs::Many("tables");

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "keeps rows and computes a column",
                json!({ "sql": "SELECT id, price * quantity AS total FROM df WHERE quantity > 0" }),
                ["id,price,quantity\n1,2.5,4\n2,9.9,0\n3,1.0,1\n"],
                "id,total\n1,10.0\n3,1.0\n",
            ),
            Example::new(
                "joins another table of the node",
                json!({
                    "sql": "SELECT o.id, c.name FROM df o JOIN customers c ON o.customer = c.id",
                    "tables": ["customers"],
                }),
                ["id,customer\n1,7\n2,8\n", "id,name\n7,Ann\n8,Bob\n"],
                "id,name\n1,Ann\n2,Bob\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let planned = self.query(inputs)?.plan(inputs);
        planned.map_err(|failure| match &failure.param {
            Some(_) => failure.at_param("/sql"),
            None => failure,
        })
    }

    fn open(self, start: Start) -> Result<Box<dyn Session>> {
        Query::open(&start)
    }
}

impl Sql {
    /// The query.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "as of the operations that are one statement"
    )]
    pub(crate) fn query(&self, _: &[SchemaRef]) -> Result<Query> {
        let mut tables = vec![vec![MAIN.to_owned()]];
        tables[0].extend(self.main.clone());
        tables.extend(self.tables.iter().map(|name| vec![name.clone()]));
        Ok(Query {
            sql: self.sql.clone(),
            tables,
        })
    }
}
