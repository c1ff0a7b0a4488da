//! Framing of IPC messages: marker, lengths and flatbuffer are checked without allocating.
//!
//! Format: <https://arrow.apache.org/docs/format/Columnar.html#encapsulated-message-format>

use std::ops::Range;

use arrow_ipc::{Message, MessageHeader, MetadataVersion, root_as_message_with_opts};
use flatbuffers::VerifierOptions;
use odibi_story::failure::Failure;

use super::broken;
use crate::limits::{Limits, exceeded};

/// What stands in front of the metadata: this and their length.
pub(super) const MARKER: [u8; 4] = [0xff; 4];
pub(super) const PREFIX_BYTES: usize = 8;
/// Bodies and buffers start on a multiple of this.
const ALIGN_BYTES: usize = 8;
/// An end-of-stream mark: a prefix that announces no metadata.
const END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// One message, its flatbuffer verified.
#[derive(Debug)]
pub(crate) struct Framed<'a> {
    pub(crate) message: Message<'a>,
    /// Its body within the bytes that were given.
    pub(crate) body: Range<usize>,
}

/// Splits bytes into messages; they must fill them completely, but for one end-of-stream mark. Of `length` bytes some at the
/// end need not be there, if only a body is cut by that.
///
/// # Errors
/// `contract/ipc` for the first thing that is wrong.
pub(crate) fn split<'a>(
    bytes: &'a [u8],
    length: usize,
    limits: &Limits,
) -> Result<Vec<Framed<'a>>, Failure> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < length {
        let rest = bytes.get(at..).unwrap_or_default();
        if rest == END && at + END.len() == length && !messages.is_empty() {
            break;
        }
        if messages.len() == limits.messages_max {
            return Err(broken(
                "ipc",
                format!("a batch has more than {} messages", limits.messages_max),
            ));
        }
        let (framed, next) = one(rest, at, length, limits)?;
        messages.push(framed);
        at = next;
    }
    Ok(messages)
}

/// The bytes of a planned schema: exactly one Schema message.
///
/// # Errors
/// `limit/plan-size`, `contract/ipc`.
pub(crate) fn schema<'a>(
    bytes: &'a [u8],
    limits: &Limits,
) -> Result<arrow_ipc::Schema<'a>, Failure> {
    if bytes.len() > limits.schema_bytes_max {
        return Err(exceeded(
            "plan-schema",
            limits.schema_bytes_max as u64,
            bytes.len() as u64,
        ));
    }
    // A schema may be larger than the metadata of a batch.
    let wide = Limits {
        metadata_bytes_max: limits.schema_bytes_max,
        ..limits.clone()
    };
    match split(bytes, bytes.len(), &wide)?.as_slice() {
        [only] => only
            .message
            .header_as_schema()
            .ok_or_else(|| broken("ipc", "a planned schema is not a Schema message")),
        other => Err(broken(
            "ipc",
            format!("a planned schema must be one message: {}", other.len()),
        )),
    }
}

fn one<'a>(
    rest: &'a [u8],
    start: usize,
    end: usize,
    limits: &Limits,
) -> Result<(Framed<'a>, usize), Failure> {
    if !start.is_multiple_of(ALIGN_BYTES) {
        return Err(broken(
            "ipc",
            format!("a message does not start on a multiple of 8: {start}"),
        ));
    }
    let Some((prefix, rest)) = rest.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(broken(
            "ipc",
            format!("a message is cut short: {} bytes are left", rest.len()),
        ));
    };
    if prefix[..4] != MARKER {
        return Err(broken(
            "ipc",
            "a message does not start with the continuation marker",
        ));
    }
    let claimed = i32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    let length = usize::try_from(claimed)
        .ok()
        .filter(|n| *n > 0 && *n <= rest.len() && *n <= limits.metadata_bytes_max);
    let Some(length) = length else {
        return Err(broken(
            "ipc",
            format!("the metadata of a message cannot have this length: {claimed}"),
        ));
    };
    let body_start = start + PREFIX_BYTES + length;
    if !body_start.is_multiple_of(ALIGN_BYTES) {
        return Err(broken(
            "ipc",
            format!("a message body does not start on a multiple of 8: {body_start}"),
        ));
    }
    let message = verified(&rest[..length])?;
    let claimed = message.bodyLength();
    let body = usize::try_from(claimed)
        .ok()
        .filter(|n| *n <= end.saturating_sub(body_start) && n % ALIGN_BYTES == 0);
    let Some(body) = body else {
        return Err(broken(
            "ipc",
            format!("the body of a message cannot have this length: {claimed}"),
        ));
    };
    let body = body_start..body_start + body;
    Ok((
        Framed {
            message,
            body: body.clone(),
        },
        body.end,
    ))
}

fn verified(metadata: &[u8]) -> Result<Message<'_>, Failure> {
    // Tables of one message: fields of a schema, mostly. The defaults would let 1 MiB name a million tables.
    let options = VerifierOptions {
        max_tables: 100_000,
        max_depth: 64,
        ..VerifierOptions::default()
    };
    let message = root_as_message_with_opts(&options, metadata).map_err(|e| {
        broken("ipc", "the metadata of a message is damaged").cause(first_line(&e.to_string()))
    })?;
    if message.version() != MetadataVersion::V5 {
        return Err(broken(
            "ipc",
            format!(
                "a message has another metadata version than 5: {:?}",
                message.version()
            ),
        ));
    }
    let known = [
        MessageHeader::Schema,
        MessageHeader::DictionaryBatch,
        MessageHeader::RecordBatch,
    ];
    if !known.contains(&message.header_type()) {
        return Err(broken(
            "ipc",
            format!(
                "a message is of an unknown kind: {:?}",
                message.header_type()
            ),
        ));
    }
    Ok(message)
}

fn first_line(text: &str) -> String {
    crate::host_api::report::clean(text.lines().next().unwrap_or_default(), 200)
}
