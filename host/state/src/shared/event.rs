//! The events of a run, where others can read them.

use std::sync::Arc;

use odibi_story::failure::Failure;

use super::SharedState;
use super::run::events_path;
use super::shelf::{Desk, Expected};
use crate::lease::lost_run;
use crate::port::EventsCopy;

/// The copy of one run's events.
#[derive(Debug)]
struct Copy {
    desk: Arc<Desk>,
    path: String,
    run_id: String,
    version: Option<String>,
}

impl SharedState {
    pub(super) fn read_events(&self, run_id: &str) -> Result<Option<Vec<u8>>, Failure> {
        let read = self.desk.bytes(&events_path(&self.project, run_id))?;
        Ok(read.map(|sheet| sheet.bytes))
    }

    pub(super) fn copy_of_events(&self, run_id: &str) -> Box<dyn EventsCopy> {
        Box::new(Copy {
            desk: Arc::clone(&self.desk),
            path: events_path(&self.project, run_id),
            run_id: run_id.to_owned(),
            version: None,
        })
    }

    pub(super) fn shown_events(&self, run_id: &str) -> String {
        self.desk.shown(&events_path(&self.project, run_id))
    }
}

impl EventsCopy for Copy {
    fn put(&mut self, events: &[u8]) -> Result<(), Failure> {
        if self.version.is_none()
            && let Some(known) = self.desk.bytes(&self.path)?
        {
            // Of who is to go on with it: the events of a run that was killed.
            self.version = Some(known.version);
        }
        let expected = self
            .version
            .as_deref()
            .map_or(Expected::Absent, Expected::Version);
        match self.desk.put_bytes(&self.path, events, expected)? {
            Some(version) => {
                self.version = Some(version);
                Ok(())
            }
            None => Err(lost_run(&self.run_id)),
        }
    }
}
