//! A story as OpenLineage events, version 2-0-2 of the specification: START and one of COMPLETE, FAIL, ABORT for the
//! pipeline and for each node that ran. Pure; whoever calls it sends them.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::event::{Column, InputOrigin};
use crate::story::{ColumnOrigin, NodeStory, Status, Story};

/// The specification of an event.
const EVENT_SCHEMA: &str = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent";
/// Where facets are specified.
const FACETS: &str = "https://openlineage.io/spec/facets";

/// All events of a story, in the order in which they happened, each made when it is asked for. `producer` is a URI that names
/// who made them.
pub fn events<'a>(story: &'a Story, producer: &'a str) -> impl Iterator<Item = Value> + 'a {
    events_in(story, producer, &story.project)
}

/// As [`events`], with jobs and datasets in another namespace than that of the project's name.
pub fn events_in<'a>(
    story: &'a Story,
    producer: &'a str,
    namespace: &'a str,
) -> impl Iterator<Item = Value> + 'a {
    let writer = Writer {
        story,
        producer,
        namespace,
    };
    let mut moments = vec![(story.started_at, 0, None, "START")];
    for node in &story.nodes {
        let Some(started_at) = node.started_at else {
            continue;
        };
        moments.push((started_at, 1, Some(node), "START"));
        let at = node.ended_at.unwrap_or(writer.end());
        moments.push((at, 2, Some(node), state(node.outcome)));
    }
    moments.push((writer.end(), 3, None, state(story.outcome)));
    // Stable: of one moment, starts come before ends, and nodes lie inside the pipeline.
    moments.sort_by_key(|(at, rank, ..)| (*at, *rank));
    moments
        .into_iter()
        .map(move |(at, _, node, state)| match node {
            Some(node) => writer.node(node, at, state),
            None => writer.pipeline(at, state),
        })
}

/// How a run ended. What was not said to end was given up.
fn state(status: Status) -> &'static str {
    match status {
        Status::Succeeded | Status::Recovered => "COMPLETE",
        Status::Failed => "FAIL",
        Status::Skipped
        | Status::Cancelled
        | Status::Unfinished
        | Status::Crashed
        | Status::NotStarted => "ABORT",
    }
}

struct Writer<'a> {
    story: &'a Story,
    producer: &'a str,
    namespace: &'a str,
}

impl Writer<'_> {
    fn end(&self) -> Timestamp {
        let known = self.story.nodes.iter().filter_map(|node| node.ended_at);
        let known = known
            .chain(self.story.ended_at)
            .chain([self.story.started_at]);
        known.max().unwrap_or(self.story.started_at)
    }

    fn pipeline(&self, at: Timestamp, state: &str) -> Value {
        let mut run = Map::new();
        if let Some(logical_time) = self.story.logical_time {
            let time = json!({ "nominalStartTime": logical_time.to_string() });
            run.insert(
                "nominalTime".to_owned(),
                self.facet("1-0-1/NominalTimeRunFacet.json", time),
            );
        }
        if state == "FAIL" {
            let failures = self
                .story
                .nodes
                .iter()
                .filter(|node| node.outcome == Status::Failed);
            let names: Vec<&str> = failures.map(|node| node.outline.name.as_str()).collect();
            self.error(&mut run, &format!("failed: {}", names.join(", ")));
        }
        let mut job = Map::new();
        job.insert("jobType".to_owned(), self.job_type("PIPELINE"));
        if let Some(text) = &self.story.description {
            let facet = json!({ "description": text });
            job.insert(
                "documentation".to_owned(),
                self.facet("1-0-1/DocumentationJobFacet.json", facet),
            );
        }
        self.event(
            at,
            state,
            &self.run_id(None),
            &self.story.pipeline,
            run,
            job,
            (Vec::new(), Vec::new()),
        )
    }

    fn node(&self, node: &NodeStory, at: Timestamp, state: &str) -> Value {
        let mut run = Map::new();
        let parent = json!({
            "run": { "runId": self.run_id(None) },
            "job": { "namespace": self.namespace, "name": self.story.pipeline },
        });
        run.insert(
            "parent".to_owned(),
            self.facet("1-0-1/ParentRunFacet.json", parent),
        );
        if let (Some(failure), "FAIL" | "ABORT") = (&node.failure, state) {
            self.error(&mut run, &format!("{}: {}", failure.code, failure.message));
        }
        let mut job = Map::new();
        job.insert("jobType".to_owned(), self.job_type("NODE"));
        if let Some(text) = &node.outline.description {
            let facet = json!({ "description": text });
            job.insert(
                "documentation".to_owned(),
                self.facet("1-0-1/DocumentationJobFacet.json", facet),
            );
        }
        let ended = state != "START";
        let inputs = node.outline.inputs.iter().enumerate().map(|(at, input)| {
            let schema = (ended && at == 0).then(|| node.schema_in());
            self.dataset(
                &input.from,
                schema.filter(|columns| !columns.is_empty()),
                None,
            )
        });
        let outputs = node.outline.writes.iter().map(|target| {
            let table = InputOrigin::Dataset(target.clone());
            let columns = Some(node.schema_out()).filter(|columns| ended && !columns.is_empty());
            let origins =
                Some(&node.column_origins[..]).filter(|origins| ended && !origins.is_empty());
            let mut dataset = self.dataset(&table, columns, origins);
            let facts = node.facts.as_ref().filter(|_| ended);
            if let Some((rows, facts)) = facts.and_then(|facts| Some((facts.rows_written?, facts)))
            {
                let mut statistics = json!({ "rowCount": rows });
                if let Some(target) = &facts.target {
                    statistics["size"] = target.bytes.into();
                }
                let facet = self.facet("1-0-2/OutputStatisticsOutputDatasetFacet.json", statistics);
                dataset["outputFacets"] = json!({ "outputStatistics": facet });
            }
            dataset
        });
        let name = format!("{}.{}", self.story.pipeline, node.outline.name);
        let tables = (inputs.collect(), outputs.collect());
        self.event(
            at,
            state,
            &self.run_id(Some(&node.outline.name)),
            &name,
            run,
            job,
            tables,
        )
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of an event")]
    fn event(
        &self,
        at: Timestamp,
        state: &str,
        run_id: &str,
        job: &str,
        run_facets: Map<String, Value>,
        job_facets: Map<String, Value>,
        (inputs, outputs): (Vec<Value>, Vec<Value>),
    ) -> Value {
        json!({
            "eventType": state,
            "eventTime": at.to_string(),
            "run": { "runId": run_id, "facets": run_facets },
            "job": { "namespace": self.namespace, "name": job, "facets": job_facets },
            "inputs": inputs,
            "outputs": outputs,
            "producer": self.producer,
            "schemaURL": EVENT_SCHEMA,
        })
    }

    fn dataset(
        &self,
        table: &InputOrigin,
        columns: Option<&[Column]>,
        origins: Option<&[ColumnOrigin]>,
    ) -> Value {
        let (namespace, name) = self.name(table);
        let mut facets = Map::new();
        if let Some(columns) = columns {
            let field = |column: &Column| json!({ "name": column.name, "type": column.data_type });
            let fields: Vec<Value> = columns.iter().map(field).collect();
            let facet = self.facet("1-1-1/SchemaDatasetFacet.json", json!({ "fields": fields }));
            facets.insert("schema".to_owned(), facet);
        }
        if let Some(origins) = origins {
            let fields: Map<String, Value> = origins
                .iter()
                .map(|origin| (origin.column.clone(), self.origin(origin)))
                .collect();
            let facet = self.facet(
                "1-2-0/ColumnLineageDatasetFacet.json",
                json!({ "fields": fields }),
            );
            facets.insert("columnLineage".to_owned(), facet);
        }
        json!({ "namespace": namespace, "name": name, "facets": facets })
    }

    fn origin(&self, origin: &ColumnOrigin) -> Value {
        let subtype = if origin.unchanged {
            "IDENTITY"
        } else {
            "TRANSFORMATION"
        };
        let sources = origin.from.iter().map(|source| {
            let (namespace, name) = self.name(&source.table);
            json!({
                "namespace": namespace,
                "name": name,
                "field": source.column,
                "transformations": [{ "type": "DIRECT", "subtype": subtype }],
            })
        });
        json!({ "inputFields": sources.collect::<Vec<_>>() })
    }

    /// A connection is a namespace of its own below the project's; results of nodes have the project's.
    fn name(&self, table: &InputOrigin) -> (String, String) {
        let project = self.namespace;
        match table {
            InputOrigin::Dataset(dataset) => match dataset.split_once(':') {
                Some((connection, path)) => (format!("{project}/{connection}"), path.to_owned()),
                None => (project.to_owned(), dataset.clone()),
            },
            InputOrigin::Node(node) => (project.to_owned(), node.to_string()),
        }
    }

    fn job_type(&self, kind: &str) -> Value {
        let facet = json!({ "processingType": "BATCH", "integration": "ODIBI", "jobType": kind });
        self.facet("2-0-3/JobTypeJobFacet.json", facet)
    }

    fn error(&self, facets: &mut Map<String, Value>, message: &str) {
        let facet = json!({ "message": message, "programmingLanguage": "Rust" });
        facets.insert(
            "errorMessage".to_owned(),
            self.facet("1-0-1/ErrorMessageRunFacet.json", facet),
        );
    }

    fn facet(&self, file: &str, mut content: Value) -> Value {
        let name = file.split(['/', '.']).nth(1).unwrap_or_default();
        content["_producer"] = self.producer.into();
        content["_schemaURL"] = format!("{FACETS}/{file}#/$defs/{name}").into();
        content
    }

    /// A UUID for the pipeline or a node of it, of version 8: the same for the same run, pipeline and node.
    fn run_id(&self, node: Option<&str>) -> String {
        use sha2::Digest as _;
        let mut hash = sha2::Sha256::new();
        for part in [
            &self.story.run_id,
            &self.story.pipeline,
            node.unwrap_or_default(),
        ] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let mut bytes = u128::from_be_bytes(std::array::from_fn(|at| digest[at]));
        bytes = bytes & !(0xf << 76) | 0x8 << 76;
        bytes = bytes & !(0x3 << 62) | 0x2 << 62;
        let hex = format!("{bytes:032x}");
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example;

    const PRODUCER: &str = "urn:odibi:0.1.0";

    fn told() -> Vec<Value> {
        events(&example::story(), PRODUCER).collect()
    }

    /// What version 2-0-2 demands of an event and of every facet, in our words.
    fn demands(event: &Value) -> Vec<String> {
        let mut missing = Vec::new();
        let mut demand = |pointer: &str, holds: bool| {
            if !holds {
                missing.push(pointer.to_owned());
            }
        };
        let text = |pointer: &str| {
            event
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        demand("/producer", text("/producer").contains(':'));
        demand("/schemaURL", text("/schemaURL").starts_with("https://"));
        demand(
            "/eventTime",
            text("/eventTime").parse::<Timestamp>().is_ok(),
        );
        demand(
            "/eventType",
            ["START", "COMPLETE", "FAIL", "ABORT"].contains(&text("/eventType")),
        );
        let id = text("/run/runId");
        let groups: Vec<usize> = id.split('-').map(str::len).collect();
        demand(
            "/run/runId",
            groups == [8, 4, 4, 4, 12] && id.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit()),
        );
        demand("/job/namespace", !text("/job/namespace").is_empty());
        demand("/job/name", !text("/job/name").is_empty());
        let mut facets = Vec::new();
        for holder in [&event["run"]["facets"], &event["job"]["facets"]] {
            facets.extend(holder.as_object().into_iter().flatten());
        }
        for dataset in ["inputs", "outputs"]
            .iter()
            .filter_map(|key| event[*key].as_array())
            .flatten()
        {
            demand(
                "dataset",
                dataset["namespace"].is_string() && dataset["name"].is_string(),
            );
            for holder in [&dataset["facets"], &dataset["outputFacets"]] {
                facets.extend(holder.as_object().into_iter().flatten());
            }
        }
        for (name, facet) in facets {
            demand(
                name,
                facet["_producer"].is_string() && facet["_schemaURL"].is_string(),
            );
            let own = match name.as_str() {
                "schema" => facet["fields"]
                    .as_array()
                    .is_some_and(|f| f.iter().all(|f| f["name"].is_string())),
                "columnLineage" => facet["fields"].as_object().is_some_and(|f| {
                    f.values().all(|f| {
                        f["inputFields"].as_array().is_some_and(|sources| {
                            sources.iter().all(|s| {
                                ["namespace", "name", "field"]
                                    .iter()
                                    .all(|k| s[*k].is_string())
                            })
                        })
                    })
                }),
                "errorMessage" => {
                    facet["message"].is_string() && facet["programmingLanguage"].is_string()
                }
                "parent" => {
                    facet["run"]["runId"].is_string()
                        && facet["job"]["name"].is_string()
                        && facet["job"]["namespace"].is_string()
                }
                "outputStatistics" => facet["rowCount"].is_u64(),
                "nominalTime" => facet["nominalStartTime"].is_string(),
                "jobType" => {
                    facet["processingType"].is_string() && facet["integration"].is_string()
                }
                "documentation" => facet["description"].is_string(),
                _ => false,
            };
            demand(name, own);
        }
        missing
    }

    #[test]
    fn events_have_what_the_specification_demands() {
        for event in told() {
            assert_eq!(demands(&event), Vec::<String>::new(), "{event:#}");
        }
    }

    #[test]
    fn demands_see_what_is_missing() {
        let mut event = told().pop().expect("an event");
        event["run"]["runId"] = "x".into();
        event["job"]["facets"]["jobType"]["_producer"] = Value::Null;
        assert_eq!(demands(&event), ["/run/runId", "jobType"]);
    }

    #[test]
    fn each_run_starts_once_and_ends_once() {
        let events = told();
        let mut runs = std::collections::BTreeMap::<String, Vec<String>>::new();
        for event in &events {
            let run = runs.entry(event["run"]["runId"].to_string()).or_default();
            run.push(event["eventType"].as_str().unwrap_or_default().to_owned());
        }
        // The pipeline and three nodes; the fourth was not tried.
        assert_eq!(runs.len(), 4);
        for states in runs.values() {
            assert_eq!(
                (states.len(), states[0].as_str()),
                (2, "START"),
                "{states:?}"
            );
            assert_ne!(states[1], "START");
        }
        assert_eq!(events[0]["job"]["name"], "orders");
        assert_eq!(
            events.last().map(|event| &event["eventType"]),
            Some(&"FAIL".into())
        );
        assert_eq!(told(), events, "the same story gives the same events");
    }

    #[test]
    fn columns_and_failures_are_told() {
        let events = told();
        let of = |name: &str, state: &str| {
            let found = events
                .iter()
                .find(|e| e["job"]["name"] == name && e["eventType"] == state);
            found.unwrap_or_else(|| panic!("no {state} of {name}"))
        };
        let clean = of("orders.orders_clean", "COMPLETE");
        let output = &clean["outputs"][0];
        assert_eq!(
            (&output["namespace"], &output["name"]),
            (&"shop/lake".into(), &"orders.parquet".into())
        );
        let id = &output["facets"]["columnLineage"]["fields"]["id"]["inputFields"][0];
        assert_eq!(
            (&id["name"], &id["field"]),
            (&"orders.orders_raw".into(), &"id".into())
        );
        let sum = of("orders.orders_sum", "FAIL");
        let message = sum["run"]["facets"]["errorMessage"]["message"].to_string();
        assert!(message.contains("guest/params"), "{message}");
    }
}
