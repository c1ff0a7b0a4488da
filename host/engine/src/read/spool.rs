//! The output of an earlier node, read back from its spool.

use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use odibi_story::failure::Failure;

use super::Decode;
use super::columns::Filler;
use crate::failure::{During, classify};
use crate::write::spool::Spool;

/// Batches of a spool.
pub(crate) struct SpoolDecoder {
    reader: StreamReader<BufReader<File>>,
    filler: Filler,
    /// Keeps the file.
    _spool: Arc<Spool>,
}

impl SpoolDecoder {
    pub(crate) fn new(spool: Arc<Spool>, filler: Filler) -> Result<Self, Failure> {
        let file = File::open(spool.path()).map_err(|e| classify(&e, During::Scratch))?;
        let reader = StreamReader::try_new(
            BufReader::with_capacity(256 * 1024, file),
            Some(filler.wanted()),
        )
        .map_err(|e| classify(&e, During::Scratch))?;
        Ok(Self {
            reader,
            filler,
            _spool: spool,
        })
    }
}

impl Decode for SpoolDecoder {
    fn next(&mut self) -> Result<Option<RecordBatch>, Failure> {
        for batch in self.reader.by_ref() {
            let batch = batch.map_err(|e| classify(&e, During::Scratch))?;
            if batch.num_rows() > 0 {
                return self
                    .filler
                    .fill(batch.columns().to_vec(), batch.num_rows())
                    .map(Some);
            }
        }
        Ok(None)
    }
}
