//! Replays a capsule: the same component, params, limits, time and batches, up to the call that failed.

mod stand_in;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_buffer::{Buffer, MutableBuffer};
use arrow_schema::{Fields, Schema, SchemaRef};
use odibi_plan::plan::{Grants, OperationRef};
use odibi_run::MemoryBudget;
use odibi_run::port::{Operation as _, OperationPlan, Session};
use odibi_story::event::{GuestNote, Ledger, OperationIdentity};
use odibi_story::failure::{Failure, FailureClass};

use self::stand_in::{stand_in, stand_in_bytes};
use crate::capsule::{Call, Capsule, Phase};
use crate::component::{ComponentSource, digest, read_file};
use crate::exchange::decode::Decoder;
use crate::exchange::schema;
use crate::limits::Limits;
use crate::operation::Found;
use crate::sandbox::Sandbox;

/// What a replay came to.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Which code ran.
    pub operation: OperationIdentity,
    /// The call it ended in, and how. `None`: everything that was recorded went well.
    pub ended: Option<(Phase, Failure)>,
    /// Calls of the data path that were made, the failed one included.
    pub calls: usize,
    /// It failed as recorded: in the same call, with class, code and message (of a limit: its name and value).
    pub same: bool,
    /// What the guest said.
    pub notes: Vec<GuestNote>,
    /// What the session cost; all zero when it was never open.
    pub ledger: Ledger,
}

impl Capsule {
    /// Finds the component to replay with: `file`, or the one of `first_party` or at the recorded path that has the
    /// recorded digest. With `any_version` the name is enough.
    ///
    /// # Errors
    /// `replay/no-plugin`, `replay/other-plugin`; what reading the file says.
    pub fn component(
        &self,
        first_party: &[ComponentSource],
        file: Option<&Path>,
        any_version: bool,
    ) -> Result<ComponentSource, Failure> {
        let recorded = &self.header.operation;
        let same = |source: &ComponentSource| digest(source) == recorded.digest;
        if let Some(path) = file {
            let source = read_file(&recorded.plugin, path)?;
            return if any_version || same(&source) {
                Ok(source)
            } else {
                Err(self.other(&source))
            };
        }
        if let Some(source) = first_party.iter().find(|source| same(source)) {
            return Ok(source.clone());
        }
        let hinted = self.header.path.as_ref();
        let hinted = hinted.map(|path| read_file(&recorded.plugin, path));
        let named = first_party.iter().find(|s| s.name == recorded.plugin);
        match (hinted, named) {
            (Some(Ok(source)), _) if any_version || same(&source) => Ok(source),
            (None, Some(source)) if any_version => Ok(source.clone()),
            (Some(Ok(source)), _) => Err(self.other(&source)),
            (None, Some(source)) => Err(self.other(source)),
            (Some(Err(unread)), _) => Err(self.nowhere().cause(unread.message)),
            (None, None) => Err(self.nowhere()),
        }
    }

    fn nowhere(&self) -> Failure {
        let plugin = &self.header.operation.plugin;
        let message = format!("the component of plugin `{plugin}` is not where it was");
        Failure::new(FailureClass::Missing, "replay/no-plugin", message)
            .hint("name its file with `--plugin`")
    }

    fn other(&self, found: &ComponentSource) -> Failure {
        let recorded = &self.header.operation;
        let message = format!(
            "the component of plugin `{}` is not the one that failed, digest {}: {}",
            recorded.plugin,
            recorded.digest,
            digest(found)
        );
        Failure::new(FailureClass::Conflict, "replay/other-plugin", message)
            .hint("name the file of the recorded one with `--plugin`")
            .hint("replay with this one all the same with `--any-version`")
    }

    /// Limits to replay under: the recorded ones, but none above the default. A capsule may come from a stranger.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.header.limits.least(&Limits::default())
    }
}

impl Sandbox {
    /// Replays a capsule with the first of the sandbox's own components that has the operation. The sandbox must have been
    /// made with [`Capsule::limits`]. Blocks.
    ///
    /// # Errors
    /// `replay/…` when the capsule cannot be used with this component, `plugin/…` when the component cannot be loaded.
    /// How the guest ends is no error.
    pub fn replay(&self, capsule: &Capsule) -> Result<Replayed, Failure> {
        let reference = OperationRef {
            plugin: None,
            name: capsule.header.name.clone(),
        };
        let mut found = self.find(&reference)?;
        found.grants = Grants::from_words(&capsule.header.grants);
        let mut stage = Stage {
            notes: Vec::new(),
            ledger: Ledger::default(),
            calls: 0,
        };
        let ended = stage.play(&found, capsule)?;
        let recorded = (capsule.header.phase, &capsule.header.failure);
        let same = stage.calls == capsule.calls.len()
            && ended.as_ref().is_some_and(|(phase, failure)| {
                *phase == recorded.0 && same_failure(failure, recorded.1)
            });
        Ok(Replayed {
            operation: found.identity(),
            ended,
            calls: stage.calls,
            same,
            notes: stage.notes,
            ledger: stage.ledger,
        })
    }
}

/// Memory of a whole replay, whatever its guest does.
fn memory(limits: &Limits) -> MemoryBudget {
    MemoryBudget::new(limits.memory_bytes_max.saturating_mul(4))
}

/// Of a limit, what was asked for may differ: CPU time is never the same twice.
fn same_failure(a: &Failure, b: &Failure) -> bool {
    let limit = |f: &Failure| f.limit.as_ref().map(|l| (l.which.clone(), l.limit));
    let alike = match (limit(a), limit(b)) {
        (None, None) => a.message == b.message,
        (a, b) => a == b,
    };
    a.class == b.class && a.code == b.code && alike
}

struct Stage {
    notes: Vec<GuestNote>,
    ledger: Ledger,
    calls: usize,
}

impl Stage {
    fn play(
        &mut self,
        found: &Found,
        capsule: &Capsule,
    ) -> Result<Option<(Phase, Failure)>, Failure> {
        let header = &capsule.header;
        let wide = wide();
        let offered = capsule.schemas.iter().map(|range| {
            let read = schema::read(&capsule.bytes[range.clone()], &wide);
            read.map(Arc::new).map_err(unusable)
        });
        let offered: Vec<SchemaRef> = offered.collect::<Result<_, _>>()?;
        let mut inputs = inputs(capsule, &offered)?;
        let mut plan = match found.plan(&header.params, &offered) {
            Ok(plan) => plan,
            Err(failure) => return Ok(Some((Phase::Plan, failure))),
        };
        if header.phase == Phase::Plan {
            return Ok(None);
        }
        suits(&plan, capsule)?;
        if found.identity().digest == header.operation.digest {
            plan.state = capsule.bytes[capsule.state.clone()].to_vec();
        }
        let context = header.session.context(memory(&capsule.limits()));
        let plan = Arc::new(plan);
        let mut session = match found.open_seeded(&plan, &context, header.session.seed) {
            Ok(session) => session,
            Err(failure) => return Ok(Some((Phase::Open, failure))),
        };
        let ended = self.calls(session.as_mut(), capsule, &mut inputs, &wide);
        self.notes = session.take_notes();
        self.ledger = session.ledger();
        ended
    }

    fn calls(
        &mut self,
        session: &mut dyn Session,
        capsule: &Capsule,
        inputs: &mut [Input],
        wide: &Limits,
    ) -> Result<Option<(Phase, Failure)>, Failure> {
        let mut out = Vec::new();
        for call in &capsule.calls {
            let answer = match call {
                Call::Process(port, range) => {
                    let input = inputs.get_mut(*port as usize);
                    let input = input.ok_or_else(|| unusable_because("an input is not there"))?;
                    let batch = input.batch(&capsule.bytes[range.clone()], wide)?;
                    session
                        .process(*port as usize, &batch, &mut out)
                        .map(|_| ())
                }
                Call::Drain(port) => session.drain(*port as usize, &mut out),
                Call::Finish => session.finish(&mut out).map(|_| ()),
            };
            out.clear();
            self.calls += 1;
            if let Err(failure) = answer {
                return Ok(Some((call.phase(), failure)));
            }
        }
        Ok(None)
    }
}

/// Another version may ask for other columns; those that were never recorded cannot be given to it.
fn suits(plan: &OperationPlan, capsule: &Capsule) -> Result<(), Failure> {
    for (input, recorded) in plan.inputs.iter().zip(&capsule.header.need) {
        if let Some(missing) = input.need.iter().find(|i| !recorded.contains(i)) {
            let message = format!(
                "the plugin asks for a column that is not recorded: `{}`",
                input.offered.field(*missing).name()
            );
            return Err(Failure::new(
                FailureClass::Missing,
                "replay/other-columns",
                message,
            ));
        }
    }
    Ok(())
}

/// One input: its batches as the engine offered them, with stand-ins for the columns that never entered the sandbox.
struct Input {
    offered: SchemaRef,
    need: Vec<usize>,
    decoder: Decoder,
}

fn inputs(capsule: &Capsule, offered: &[SchemaRef]) -> Result<Vec<Input>, Failure> {
    let inputs = capsule.header.need.iter().zip(offered);
    inputs
        .map(|(need, offered)| {
            let distinct: BTreeSet<usize> = need.iter().copied().collect();
            if distinct.len() != need.len() || distinct.iter().any(|i| *i >= offered.fields().len())
            {
                return Err(unusable_because("it names columns that are not there"));
            }
            let fields: Fields = need.iter().map(|i| offered.field(*i).clone()).collect();
            Ok(Input {
                offered: Arc::clone(offered),
                need: need.clone(),
                decoder: Decoder::new(&Schema::new(fields)).map_err(unusable)?,
            })
        })
        .collect()
}

impl Input {
    fn batch(&mut self, message: &[u8], wide: &Limits) -> Result<RecordBatch, Failure> {
        let mut aligned = MutableBuffer::with_capacity(message.len());
        aligned.extend_from_slice(message);
        let bytes: Buffer = aligned.into();
        let decoded = self.decoder.decode(&bytes, wide).map_err(unusable)?;
        let rows = decoded.num_rows();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.offered.fields().len()];
        for (at, column) in self.need.iter().zip(decoded.columns()) {
            columns[*at] = Some(Arc::clone(column));
        }
        let columns = columns.into_iter().zip(self.offered.fields());
        let missing = columns.clone().filter(|(column, _)| column.is_none());
        let bytes = missing.fold(0, |sum: u64, (_, field)| {
            sum.saturating_add(stand_in_bytes(field.data_type(), rows as u64))
        });
        if bytes > wide.gathered_bytes_max {
            let why = "the columns that are not recorded are too large";
            return Err(unusable_because(why).cause(format!(
                "a batch of {rows} rows needs more than {} bytes for them: {bytes}",
                wide.gathered_bytes_max
            )));
        }
        let columns =
            columns.map(|(column, field)| column.map_or_else(|| stand_in(field, rows), Ok));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        columns
            .collect::<Result<Vec<_>, _>>()
            .and_then(|columns| {
                RecordBatch::try_new_with_options(Arc::clone(&self.offered), columns, &options)
            })
            .map_err(|e| unusable_because("its batches cannot be rebuilt").cause(e.to_string()))
    }
}

/// What the host itself sent may be larger than what a guest may emit. The file bounds it, but not its rows: without columns
/// they take no bytes. No batch that is offered has more of them than one that is given.
fn wide() -> Limits {
    let limits = Limits::default();
    Limits {
        metadata_bytes_max: usize::MAX,
        messages_max: usize::MAX,
        batch_rows_max: limits.input_rows_max as u64,
        batch_values_max: u64::from(u32::MAX),
        columns_max: usize::MAX,
        column_depth_max: 64,
        column_name_bytes_max: usize::MAX,
        schema_bytes_max: usize::MAX,
        ..limits
    }
}

/// What the gate says of a capsule is not the plugin's fault.
fn unusable(why: Failure) -> Failure {
    let mut failure = unusable_because("a part of it cannot be read").cause(why.message);
    failure.causes.extend(why.causes);
    failure
}

fn unusable_because(why: &str) -> Failure {
    Failure::new(
        FailureClass::Data,
        "replay/damaged",
        format!("the capsule cannot be used, {why}"),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use arrow_schema::{DataType, Field};
    use odibi_run::memory::Holder;

    use super::*;
    use crate::exchange::encode::Encoder;

    /// What becomes of a batch of so many rows, no column of which was recorded.
    fn stood_in(data_type: DataType, nullable: bool, rows: usize) -> Result<RecordBatch, Failure> {
        let nothing = RecordBatch::try_new_with_options(
            Arc::new(Schema::empty()),
            Vec::new(),
            &RecordBatchOptions::new().with_row_count(Some(rows)),
        );
        let message = Encoder::new(Vec::new())
            .encode(&nothing.unwrap())
            .unwrap()
            .message()
            .to_vec();
        let mut input = Input {
            offered: Arc::new(Schema::new(vec![Field::new("c", data_type, nullable)])),
            need: Vec::new(),
            decoder: Decoder::new(&Schema::empty()).unwrap(),
        };
        input.batch(&message, &wide())
    }

    #[test]
    fn rows_without_columns_cannot_ask_for_more_memory_than_there_is() {
        let item = |data_type| Arc::new(Field::new("item", data_type, false));
        let list = |data_type| DataType::FixedSizeList(item(data_type), 1 << 20);
        let wide = DataType::FixedSizeBinary(1 << 20);
        let word = DataType::Dictionary(DataType::Int8.into(), wide.clone().into());
        for (data_type, rows) in [
            (DataType::Boolean, 4_000_000_000),
            (DataType::Boolean, 65_537),
            (wide.clone(), 65_536),
            (list(DataType::Int8), 65_536),
            (list(list(list(list(DataType::Null)))), 65_536),
            (list(word), 65_536),
            (DataType::Struct(vec![item(wide)].into()), 65_536),
        ] {
            for nullable in [true, false] {
                let refused = stood_in(data_type.clone(), nullable, rows);
                let failure = refused.err().map(|f| f.code);
                let expected = Some("replay/damaged".to_owned());
                assert_eq!(failure, expected, "{data_type} {rows}");
            }
        }
        let sound = stood_in(DataType::FixedSizeBinary(16), false, 65_536).unwrap();
        assert_eq!(sound.num_rows(), 65_536);
    }

    #[test]
    fn the_memory_of_a_replay_has_an_end() {
        let guest_bytes_max = Limits::default().memory_bytes_max;
        let take = |bytes| memory(&Limits::default()).try_take(Holder::Guests, bytes);
        assert!(take(guest_bytes_max).is_ok());
        assert!(take(5 * guest_bytes_max).is_err());
    }
}
