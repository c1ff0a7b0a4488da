//! JSON: objects on lines or in a list. The columns are those of all files, in the order in which they first appear.

pub(crate) mod infer;
pub(crate) mod objects;

use std::sync::Arc;

use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_schema::{FieldRef, Schema, SchemaRef};
use odibi_plan::plan::{ColumnTypes, JsonRead};
use odibi_story::failure::Failure;
use serde_json::Value;

use self::infer::Shape;
use self::objects::Objects;
use super::unify::{Described, Seen};
use super::{Chunk, FileDecode, Stop, Wanted, bad_row, check_names};
use crate::failure::{During, cancelled, classify};
use crate::limits::DECODE_BYTES_MAX;
use crate::store::Blob;

/// Objects between two looks at the stop sign.
const STOP_EVERY_OBJECTS: u64 = 4_096;

/// The columns of a file.
pub(crate) fn describe(
    blob: &Arc<dyn Blob>,
    shown: &str,
    options: JsonRead,
    types: &ColumnTypes,
    stop: Stop<'_>,
) -> Result<Described, Failure> {
    let mut shape = Shape::object();
    let mut objects = Objects::open(blob, shown, options)?;
    let mut count: u64 = 0;
    while objects.next()? {
        count += 1;
        if count.is_multiple_of(STOP_EVERY_OBJECTS) && stop() {
            return Err(cancelled());
        }
        let mut value: Value =
            serde_json::from_slice(&objects.text).map_err(|e| not_json(&objects, &e))?;
        let Value::Object(map) = &mut value else {
            return Err(bad_row(shown, objects.line, "this is not an object")
                .hint("put one object on each line, or objects into one list"));
        };
        // A declared type needs no look at the values.
        for name in types.keys() {
            if let Some(declared) = map.get_mut(name) {
                *declared = Value::Null;
            }
        }
        shape.merge_value(&value).map_err(|column| {
            let what = format!(
                "column `{column}` holds a list or an object here and something else elsewhere"
            );
            bad_row(shown, objects.line, &what)
        })?;
    }
    if count == 0 {
        return Ok(Described::Empty);
    }
    let fields = shape.into_fields();
    check_names(fields.iter().map(|(name, _)| name.as_str()), shown)?;
    let seen = |(name, shape)| (name, Seen::Shape(shape));
    Ok(Described::Columns(fields.into_iter().map(seen).collect()))
}

fn not_json(objects: &Objects, error: &serde_json::Error) -> Failure {
    // The message of the library may quote the text.
    let what = if error.is_eof() {
        "the object is not complete"
    } else {
        "this is not JSON"
    };
    let line = objects.line + (error.line().max(1) as u64 - 1);
    bad_row(
        &objects.shown,
        line,
        &format!("{what}, at character {}", error.column()),
    )
    .hint("put one whole object on each line, or objects into one list")
}

/// Objects of a file as rows.
pub(crate) struct JsonDecoder {
    objects: Objects,
    schema: SchemaRef,
    decoder: Decoder,
    batch_rows: usize,
    /// The objects of a batch, each with a line end behind it.
    text: Vec<u8>,
    /// Line and end in `text` of every object in it.
    origins: Vec<(u64, usize)>,
}

impl JsonDecoder {
    pub(crate) fn open(
        blob: &Arc<dyn Blob>,
        shown: &str,
        options: JsonRead,
        wanted: &[Wanted],
        batch_rows: usize,
    ) -> Result<Self, Failure> {
        let fields: Vec<FieldRef> = wanted
            .iter()
            .map(|w| {
                // In this file the column may be missing from some objects.
                Arc::new(w.field.as_ref().clone().with_nullable(true))
            })
            .collect();
        let schema = Arc::new(Schema::new(fields));
        Ok(Self {
            objects: Objects::open(blob, shown, options)?,
            decoder: decoder(&schema, batch_rows)?,
            schema,
            batch_rows,
            text: Vec::new(),
            origins: Vec::new(),
        })
    }

    fn collect(&mut self) -> Result<(), Failure> {
        self.text.clear();
        self.origins.clear();
        while self.origins.len() < self.batch_rows
            && self.text.len() < DECODE_BYTES_MAX
            && self.objects.next()?
        {
            self.text.extend_from_slice(&self.objects.text);
            self.text.push(b'\n');
            self.origins.push((self.objects.line, self.text.len()));
        }
        Ok(())
    }

    /// Decodes the collected objects one by one to find the bad one.
    fn blame(&self) -> Failure {
        let shown = &self.objects.shown;
        let mut start = 0;
        for (line, end) in &self.origins {
            let text = &self.text[start..*end];
            start = *end;
            if decodes(&self.schema, text) {
                continue;
            }
            let fields = self.schema.fields();
            let column = fields.iter().find(|f| {
                let one = Arc::new(Schema::new(vec![f.as_ref().clone()]));
                !decodes(&one, text)
            });
            let what = column.map_or_else(
                || "this is not JSON".to_owned(),
                |f| {
                    format!(
                        "column `{}` holds something that is not of type {}",
                        f.name(),
                        f.data_type()
                    )
                },
            );
            return bad_row(shown, *line, &what);
        }
        bad_row(
            shown,
            self.origins.first().map_or(0, |o| o.0),
            "the objects from here on cannot be understood",
        )
    }
}

fn decoder(schema: &SchemaRef, rows: usize) -> Result<Decoder, Failure> {
    ReaderBuilder::new(Arc::clone(schema))
        .with_batch_size(rows)
        .with_coerce_primitive(true)
        .build_decoder()
        .map_err(|e| classify(&e, During::Run))
}

fn decodes(schema: &SchemaRef, text: &[u8]) -> bool {
    let Ok(mut decoder) = decoder(schema, 1) else {
        return false;
    };
    decoder.decode(text).is_ok_and(|n| n == text.len())
        && decoder.flush().is_ok_and(|b| b.is_some())
}

impl FileDecode for JsonDecoder {
    fn next(&mut self) -> Result<Option<Chunk>, Failure> {
        self.collect()?;
        let rows = self.origins.len();
        if rows == 0 {
            return Ok(None);
        }
        if self.schema.fields().is_empty() {
            return Ok(Some(Chunk::new(Vec::new(), rows)));
        }
        let read = self.decoder.decode(&self.text);
        let batch = match read {
            Ok(_) => self.decoder.flush(),
            Err(error) => Err(error),
        };
        match batch {
            Ok(Some(batch)) if batch.num_rows() == rows => {
                Ok(Some(Chunk::new(batch.columns().to_vec(), rows)))
            }
            Ok(_) | Err(_) => Err(self.blame()),
        }
    }
}
