//! Selections that go by what is remembered: what `state:modified` and `result:…` mean, and what of the rest is read back.

use std::collections::BTreeMap;
use std::path::Path;

use odibi_bundle::COMPONENTS;
use odibi_engine::DataEngine;
use odibi_plan::graph::{NodeResult, Remembered};
use odibi_plan::plan::{Fate, OperationRef, PlannedNode};
use odibi_plan::{Manifest, Plan};
use odibi_state::{Made, NodeRecord, State};
use odibi_story::event::NodeRef;
use odibi_story::failure::Failure;
use sha2::{Digest as _, Sha256};

use crate::command::retry::is_untouched;
use crate::kept::StatePlace;
use crate::project::{Loaded, hex};

/// What becomes of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) node: NodeRef,
    /// `run`, `read` or `kept`.
    pub(crate) action: &'static str,
    pub(crate) why: String,
}

impl std::fmt::Display for Told {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:4}  {}: {}", self.action, self.node, self.why)
    }
}

/// For each node of a plan a hash of what its rows follow from: what the project says of it, and the code of its plugins.
pub(crate) fn digests(plan: &Plan, directory: &Path) -> BTreeMap<NodeRef, String> {
    let code = Code::of(plan, directory);
    let nodes = plan.nodes.iter();
    let digest = |node: &PlannedNode| {
        let mut hash = Sha256::new_with_prefix(plan.fingerprint(node));
        for step in &node.steps {
            let grants = plan.grants(&step.operation);
            hash.update(format!("\n{} {grants:?} ", step.operation));
            hash.update(code.digest(&step.operation));
        }
        hex(&hash.finalize())
    };
    nodes.map(|node| (named(node), digest(node))).collect()
}

/// Hashes of components.
struct Code {
    first_party: Vec<(Manifest, &'static str)>,
    plugins: BTreeMap<String, String>,
}

impl Code {
    fn of(plan: &Plan, directory: &Path) -> Self {
        let plugins = plan.plugins.iter().map(|(name, source)| {
            // One that cannot be read is refused elsewhere.
            let bytes = std::fs::read(directory.join(&source.path)).unwrap_or_default();
            (name.clone(), hex(&Sha256::digest(bytes)))
        });
        let first_party = COMPONENTS.iter().filter_map(|component| {
            let manifest = Manifest::parse(component.manifest).ok()?;
            Some((manifest, component.digest))
        });
        Self {
            first_party: first_party.collect(),
            plugins: plugins.collect(),
        }
    }

    fn digest(&self, operation: &OperationRef) -> &str {
        let found = match &operation.plugin {
            Some(plugin) => self.plugins.get(plugin).map(String::as_str),
            None => {
                let mut all = self.first_party.iter();
                let has = |manifest: &Manifest| {
                    manifest
                        .operations
                        .iter()
                        .any(|one| one.name == operation.name)
                };
                all.find(|(manifest, _)| has(manifest))
                    .map(|(_, digest)| *digest)
            }
        };
        found.unwrap_or_default()
    }
}

/// What the state knows of the nodes of a whole project. Where there is none yet, every node is new and none has ended.
///
/// # Errors
/// The state cannot be used.
pub(crate) fn remembered(
    whole: &Plan,
    directory: &Path,
    place: &StatePlace,
) -> Result<Remembered, Failure> {
    let digests = digests(whole, directory);
    let state = place.open_existing()?;
    let made = match &state {
        Some(state) => state.made(&whole.project)?,
        None => BTreeMap::new(),
    };
    let is_same = |node: &NodeRef, digest: &String| {
        let noted = made.get(node).and_then(|made| made.digest.as_ref());
        noted == Some(digest)
    };
    let modified = digests
        .iter()
        .filter(|(node, digest)| !is_same(node, digest))
        .map(|(node, _)| pair(node));
    Ok(Remembered {
        modified: modified.collect(),
        results: match &state {
            Some(state) => results(state.as_ref(), &whole.project)?,
            None => BTreeMap::new(),
        },
    })
}

/// How the nodes of the last run ended.
fn results(
    state: &dyn State,
    project: &str,
) -> Result<BTreeMap<(String, String), NodeResult>, Failure> {
    let filter = odibi_state::RunFilter {
        project: Some(project),
        count_max: Some(1),
        ..odibi_state::RunFilter::default()
    };
    let Some(last) = state.runs(&filter)?.pop() else {
        return Ok(BTreeMap::new());
    };
    let nodes = state.nodes(&last.id)?;
    let result = |record: &NodeRecord| match record.outcome.as_deref() {
        _ if record.is_success() => NodeResult::Succeeded,
        Some("skipped") => NodeResult::Skipped,
        _ => NodeResult::Failed,
    };
    Ok(nodes
        .iter()
        .map(|record| (pair(&record.node), result(record)))
        .collect())
}

/// Leaves in the plan what the selection asks for, what follows from it, and what they need that does not stand any more.
/// Says of every node what becomes of it; nothing, when the selection does not go by what is remembered.
///
/// # Errors
/// The state cannot be used.
pub(crate) fn narrow(
    loaded: &mut Loaded,
    state: &dyn State,
    engine: &DataEngine,
) -> Result<Vec<Told>, Failure> {
    let Some(asked) = &loaded.asked else {
        return Ok(Vec::new());
    };
    let made = state.made(&loaded.plan.project)?;
    let digests = digests(&loaded.plan, &loaded.directory);
    let stands = |node: &PlannedNode| {
        let name = named(node);
        let is_same = |made: &Made| made.digest.as_ref() == digests.get(&name);
        made.get(&name)
            .is_some_and(|made| is_same(made) && is_untouched(node, &made.record, engine))
    };
    let is_asked = |node: &PlannedNode| asked.contains(&pair(&named(node)));
    let narrowed = loaded.plan.narrowed(&is_asked, &stands);
    let said = say(&loaded.plan, &narrowed.fates);
    loaded.plan = narrowed.plan;
    Ok(said)
}

/// As [`narrow`], where there may be no state and nothing is to be made for it.
///
/// # Errors
/// As [`narrow`].
pub(crate) fn foresee(loaded: &mut Loaded) -> Result<Vec<Told>, Failure> {
    if loaded.asked.is_none() {
        return Ok(Vec::new());
    }
    let Some(state) = loaded.state.open_existing()? else {
        return Ok(Vec::new());
    };
    let scratch = std::env::temp_dir();
    let options = odibi_engine::EngineOptions::new(loaded.directory.clone(), scratch);
    narrow(loaded, state.as_ref(), &DataEngine::new(options)?)
}

fn say(plan: &Plan, fates: &[Fate]) -> Vec<Told> {
    let name = |node: &PlannedNode| named(node).to_string();
    let told = |fate: &Fate| match fate {
        Fate::Asked => ("run", "selected".to_owned()),
        Fate::Follows(id) => ("run", format!("it depends on {}", name(&plan.nodes[id.0]))),
        Fate::Feeds(id) => (
            "run",
            format!(
                "{} needs its output, which does not stand",
                name(&plan.nodes[id.0])
            ),
        ),
        Fate::Read => ("read", "what it wrote is read".to_owned()),
        Fate::Kept => ("kept", "what it made stands".to_owned()),
    };
    let all = plan.nodes.iter().zip(fates).map(|(node, fate)| {
        let (action, why) = told(fate);
        Told {
            node: named(node),
            action,
            why,
        }
    });
    all.collect()
}

fn named(node: &PlannedNode) -> NodeRef {
    NodeRef {
        pipeline: node.pipeline.clone(),
        name: node.name.clone(),
    }
}

fn pair(node: &NodeRef) -> (String, String) {
    (node.pipeline.clone(), node.name.clone())
}
