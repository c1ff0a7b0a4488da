//! What a session was given so far, ready to become the calls of a capsule.
//!
//! An operation without state between batches needs its last batch only, which stays in memory. Any other needs all
//! batches since `open`; they are spooled to a file without a name, so that nothing is left when odibi is killed.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write};

use arrow_array::RecordBatch;
use odibi_run::port::{OperationPlan, Spread};
use odibi_story::failure::{Failure, FailureClass};

use super::{Capture, not_written};
use crate::capsule::{write_batch, write_drain, write_finish};
use crate::exchange::encode::Encoder;

/// Records the calls of one session.
pub(crate) enum Tape {
    Last(Last),
    Spooled(Spool),
    /// Why there will be no capsule.
    Lost(Failure),
}

/// The running call, and the marks before it.
#[derive(Default)]
pub(crate) struct Last {
    need: Vec<usize>,
    batch: Option<(u32, RecordBatch)>,
    drained: Vec<u32>,
    finished: bool,
    bytes_max: u64,
}

/// All calls.
pub(crate) struct Spool {
    capture: Capture,
    file: BufWriter<File>,
    encoders: Vec<Encoder>,
    bytes: u64,
}

/// Calls to be written.
pub(crate) enum Played {
    Last {
        batch: Option<(u32, Vec<u8>)>,
        drained: Vec<u32>,
        finished: bool,
    },
    Spooled(File),
}

impl Tape {
    pub(crate) fn new(plan: &OperationPlan, capture: &Capture) -> Self {
        // As the engine has it: an operation with several inputs keeps state between them, whatever it says.
        if let (Spread::PerBatch, [input]) = (plan.spread, plan.inputs.as_slice()) {
            return Self::Last(Last {
                need: input.need.clone(),
                bytes_max: capture.bytes_max,
                ..Last::default()
            });
        }
        match tempfile::tempfile_in(&capture.dir) {
            Ok(file) => Self::Spooled(Spool {
                file: BufWriter::new(file),
                encoders: (plan.inputs.iter())
                    .map(|input| Encoder::new(input.need.clone()))
                    .collect(),
                bytes: 0,
                capture: capture.clone(),
            }),
            Err(error) => Self::Lost(not_written(&capture.dir, &error)),
        }
    }

    /// Of a session that never was.
    pub(crate) fn blank() -> Self {
        Self::Last(Last::default())
    }

    /// A batch is about to be given.
    pub(crate) fn process(&mut self, port: usize, batch: &RecordBatch) {
        match self {
            Self::Last(last) => last.batch = Some((number(port), batch.clone())),
            Self::Spooled(spool) => {
                let written = spool.batch(port, batch);
                self.check(written);
            }
            Self::Lost(_) => {}
        }
    }

    /// An input is about to be ended.
    pub(crate) fn drain(&mut self, port: usize) {
        match self {
            Self::Last(last) => last.drained.push(number(port)),
            Self::Spooled(spool) => {
                let written = write_drain(&mut spool.file, number(port));
                let written = written.map_err(|e| not_written(&spool.capture.dir, &e));
                self.check(written);
            }
            Self::Lost(_) => {}
        }
    }

    /// The session is about to be ended.
    pub(crate) fn finish(&mut self) {
        match self {
            Self::Last(last) => last.finished = true,
            Self::Spooled(spool) => {
                let written = write_finish(&mut spool.file);
                let written = written.map_err(|e| not_written(&spool.capture.dir, &e));
                self.check(written);
            }
            Self::Lost(_) => {}
        }
    }

    /// The running call went well.
    pub(crate) fn forget(&mut self) {
        if let Self::Last(last) = self {
            last.batch = None;
        }
    }

    fn check(&mut self, written: Result<(), Failure>) {
        if let Err(failure) = written {
            *self = Self::Lost(failure);
        }
    }

    /// # Errors
    /// Why there is no recording.
    pub(crate) fn play(self) -> Result<Played, Failure> {
        match self {
            Self::Lost(failure) => Err(failure),
            Self::Last(last) => {
                let batch = match last.batch {
                    Some((port, batch)) => {
                        let message = Encoder::new(last.need).encode(&batch)?.message().to_vec();
                        within(message.len() as u64, last.bytes_max)?;
                        Some((port, message))
                    }
                    None => None,
                };
                Ok(Played::Last {
                    batch,
                    drained: last.drained,
                    finished: last.finished,
                })
            }
            Self::Spooled(spool) => {
                let dir = spool.capture.dir;
                let rewound = spool
                    .file
                    .into_inner()
                    .map_err(io::IntoInnerError::into_error)
                    .and_then(|mut file| file.rewind().map(|()| file));
                rewound
                    .map(Played::Spooled)
                    .map_err(|e| not_written(&dir, &e))
            }
        }
    }
}

impl Spool {
    fn batch(&mut self, port: usize, batch: &RecordBatch) -> Result<(), Failure> {
        let Some(encoder) = self.encoders.get_mut(port) else {
            // The session will say so.
            return Ok(());
        };
        let message = encoder.encode(batch)?.message().to_vec();
        self.bytes += message.len() as u64;
        within(self.bytes, self.capture.bytes_max)?;
        write_batch(&mut self.file, number(port), &message)
            .map_err(|e| not_written(&self.capture.dir, &e))
    }
}

impl Played {
    pub(crate) fn write(&mut self, to: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Spooled(file) => io::copy(file, to).map(|_| ()),
            Self::Last {
                batch,
                drained,
                finished,
            } => {
                if let Some((port, message)) = batch {
                    write_batch(to, *port, message)?;
                }
                drained.iter().try_for_each(|port| write_drain(to, *port))?;
                if *finished { write_finish(to) } else { Ok(()) }
            }
        }
    }
}

fn within(bytes: u64, bytes_max: u64) -> Result<(), Failure> {
    if bytes <= bytes_max {
        return Ok(());
    }
    let message = format!(
        "the failure is not recorded, the batches since the session began are over the limit: {bytes_max} bytes"
    );
    Err(
        Failure::new(FailureClass::Limit, "capture/too-large", message)
            .of_limit("capsule-bytes", bytes_max, bytes)
            .hint("run it again on a part of the data that still fails"),
    )
}

fn number(port: usize) -> u32 {
    u32::try_from(port).unwrap_or(u32::MAX)
}
