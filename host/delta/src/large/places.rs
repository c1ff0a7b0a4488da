//! Rows of a batch at places: beside which row of the table, or where among each other. They lie on disk in parts of so many
//! places that the rows of one fit into memory.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use arrow_select::interleave::interleave;
use datafusion::execution::memory_pool::MemoryReservation;
use odibi_engine::parts::{Divider, Parts};
use odibi_story::failure::Failure;

use super::{Large, PARTS_MAX, ROW_BYTES};
use crate::batch::bytes_of;
use crate::failure::{During, classify, internal};

/// Column of places, behind those of the batch.
pub(super) const PLACE: &str = "odibi:place";

/// Puts rows at their places.
pub(super) struct Placing {
    divider: Divider,
    schema: SchemaRef,
    each: u64,
}

/// Rows at their places.
pub(super) struct Placed {
    parts: Parts,
    /// Places of a part.
    each: u64,
}

impl Placing {
    /// For places below `end`.
    pub(super) fn new(large: &Large, end: u64) -> Result<Self, Failure> {
        let row = large.size.width() + ROW_BYTES;
        let wanted = end.div_ceil((large.part_bytes() / row).max(1));
        let parts = wanted.clamp(1, PARTS_MAX);
        let mut fields = large.columns.batch.fields().to_vec();
        fields.push(Arc::new(Field::new(PLACE, DataType::UInt64, false)));
        Ok(Self {
            divider: Divider::new(
                &large.lent.scratch_dir,
                usize::try_from(parts).unwrap_or(1),
                large.collected_bytes(),
            )?,
            schema: Arc::new(Schema::new(fields)),
            each: end.div_ceil(parts).max(1),
        })
    }

    /// Adds rows: the columns of the batch, and the place of each.
    pub(super) fn push(
        &mut self,
        mut columns: Vec<ArrayRef>,
        places: UInt64Array,
    ) -> Result<(), Failure> {
        columns.push(Arc::new(places.clone()));
        let rows = RecordBatch::try_new(Arc::clone(&self.schema), columns);
        let rows = rows.map_err(|e| internal(e.to_string()))?;
        let each = self.each;
        self.divider.push(&rows, |row| {
            usize::try_from(places.value(row) / each).unwrap_or(usize::MAX)
        })
    }

    pub(super) fn finish(self) -> Result<Placed, Failure> {
        Ok(Placed {
            parts: self.divider.finish()?,
            each: self.each,
        })
    }
}

/// A row in a [`Window`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Spot {
    pub(super) place: u64,
    chunk: usize,
    row: usize,
}

impl Spot {
    /// Where [`Window::column`] has it.
    pub(super) fn pick(self) -> (usize, usize) {
        (self.chunk, self.row)
    }

    /// Which row it is beside, counted from the one at `place`.
    pub(super) fn row_behind(self, place: u64) -> usize {
        usize::try_from(self.place.saturating_sub(place)).unwrap_or(usize::MAX)
    }
}

/// The part of placed rows that is in memory.
pub(super) struct Window<'a> {
    placed: &'a Placed,
    shown: &'a str,
    reservation: MemoryReservation,
    at: Option<usize>,
    chunks: Vec<RecordBatch>,
    spots: Vec<Spot>,
}

impl<'a> Window<'a> {
    pub(super) fn new(large: &'a Large, placed: &'a Placed) -> Self {
        Self {
            placed,
            shown: &large.shown,
            reservation: large.reservation(),
            at: None,
            chunks: Vec::new(),
            spots: Vec::new(),
        }
    }

    /// How many places from this one on are in the part that it is in.
    pub(super) fn reach(&self, place: u64) -> usize {
        let left = self.placed.each - place % self.placed.each;
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// The rows at `count` places, which are all in one part, in order.
    pub(super) fn within(&mut self, start: u64, count: usize) -> Result<Vec<Spot>, Failure> {
        self.load(usize::try_from(start / self.placed.each).unwrap_or(usize::MAX))?;
        let end = start + count as u64;
        let from = self.spots.partition_point(|spot| spot.place < start);
        let to = self.spots.partition_point(|spot| spot.place < end);
        Ok(self.spots[from..to].to_vec())
    }

    /// Goes to a part; `false` behind the last one.
    pub(super) fn enter(&mut self, part: usize) -> Result<bool, Failure> {
        if part >= self.placed.parts.count() {
            return Ok(false);
        }
        self.load(part)?;
        Ok(true)
    }

    /// All rows of the part that was entered, in order.
    pub(super) fn spots(&self) -> &[Spot] {
        &self.spots
    }

    fn load(&mut self, part: usize) -> Result<(), Failure> {
        if self.at == Some(part) {
            return Ok(());
        }
        self.at = None;
        self.chunks.clear();
        self.spots.clear();
        self.reservation.free();
        for rows in self.placed.parts.part(part) {
            let rows = rows?;
            let bytes = bytes_of(&rows) + ROW_BYTES * rows.num_rows() as u64;
            self.reservation.grow(usize::try_from(bytes).unwrap_or(0));
            let places = rows.columns().last();
            let places = places.and_then(|places| places.as_primitive_opt::<UInt64Type>());
            let places = places.ok_or_else(|| internal("a row of a batch has no place"))?;
            let chunk = self.chunks.len();
            let spots = places.values().iter().enumerate();
            self.spots.extend(spots.map(|(row, place)| Spot {
                place: *place,
                chunk,
                row,
            }));
            self.chunks.push(rows);
        }
        self.spots.sort_unstable();
        self.at = Some(part);
        Ok(())
    }

    /// Values of a column of the batch: those of `others` are numbered first, then the chunks that [`Spot::pick`] means.
    pub(super) fn column(
        &self,
        column: usize,
        others: Option<&dyn Array>,
        picks: &[(usize, usize)],
    ) -> Result<ArrayRef, Failure> {
        let mut values: Vec<&dyn Array> = Vec::with_capacity(self.chunks.len() + 1);
        values.extend(others);
        for rows in &self.chunks {
            values.push(rows.column(column).as_ref());
        }
        interleave(&values, picks).map_err(|e| classify(&e, During::Write(self.shown)))
    }
}
