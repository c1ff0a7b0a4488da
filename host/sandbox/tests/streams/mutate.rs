//! What random damage and a patient attacker have in common: mutations of bytes, and of messages.

use arrow_ipc::{MessageHeader, MetadataVersion};

use super::message::{self, Message};
use super::random::Random;

/// A mutated copy of sound bytes. `other` are sound ones of another schema, to be mixed in.
pub(crate) fn mutated(sound: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let times = 1 + random.below(3);
    match random.below(10) {
        0..=2 => {
            let mut bytes = sound.to_vec();
            (0..times).for_each(|_| spoil_bytes(&mut bytes, other, random));
            bytes
        }
        3..=8 => message::build(&spoilt(sound, other, times, random)),
        _ => {
            let mut bytes = message::build(&spoilt(sound, other, 1, random));
            spoil_bytes(&mut bytes, other, random);
            bytes
        }
    }
}

fn spoilt(sound: &[u8], other: &[u8], times: usize, random: &mut Random) -> Vec<Message> {
    let mut messages = message::parse(sound);
    for _ in 0..times {
        if random.once_in(8) {
            spoil_order(&mut messages, other, random);
        }
        let at = random.below(messages.len());
        if let Some(message) = messages.get_mut(at) {
            if random.once_in(2) {
                spoil_body(message, random);
            } else {
                spoil_metadata(message, random);
            }
        }
    }
    messages
}

/// Any bytes, sound or not.
pub(crate) fn spoil_bytes(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    if bytes.is_empty() {
        bytes.extend_from_slice(&other[..random.below(other.len())]);
        return;
    }
    // Half of the time in what is likely to be metadata.
    let near = if random.once_in(2) {
        bytes.len().min(600)
    } else {
        bytes.len()
    };
    let at = random.below(near);
    match random.below(9) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.pick(&[0, 1, 0x7f, 0x80, 0xc0, 0xff]),
        2 => bytes[at] = bytes[at].wrapping_add(random.pick(&[1, 4, 8, 0xff])),
        3 => put(bytes, at & !3, &random.number(1).to_le_bytes()[..4]),
        4 => {
            let at = at & !7;
            let held = bytes.get(at..at + 8).and_then(|b| b.try_into().ok());
            let number = random.number(held.map_or(0, i64::from_le_bytes));
            put(bytes, at, &number.to_le_bytes());
        }
        5 => bytes.truncate(at),
        6 => bytes.extend((0..random.below(64)).map(|i| if i % 3 == 0 { 0xff } else { 0 })),
        7 => {
            let from = random.below(other.len());
            let length = random.below(64).min(other.len() - from);
            put(bytes, at, &other[from..from + length]);
        }
        _ => {
            let length = random.below(64).min(bytes.len() - at);
            drop(bytes.drain(at..at + length));
        }
    }
}

fn put(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..]
        .iter_mut()
        .zip(new)
        .for_each(|(old, new)| *old = *new);
}

fn spoil_order(messages: &mut Vec<Message>, other: &[u8], random: &mut Random) {
    if messages.is_empty() {
        return;
    }
    let (a, b) = (random.below(messages.len()), random.below(messages.len()));
    match random.below(5) {
        0 => messages.swap(a, b),
        1 => drop(messages.remove(a)),
        2 => messages.insert(a, messages[b].clone()),
        3 => messages[a] = messages[b].clone(),
        _ => {
            let theirs = message::parse(other);
            messages.insert(a, theirs[random.below(theirs.len())].clone());
        }
    }
}

fn spoil_metadata(message: &mut Message, random: &mut Random) {
    let (node, buffer) = (
        random.below(message.nodes.len()),
        random.below(message.buffers.len()),
    );
    let other = random.below(message.buffers.len());
    let mut spare = (0, 0);
    match random.below(20) {
        0 => message.rows = random.number(message.rows),
        1 => all_rows(message, random),
        2 => number_in(
            message
                .nodes
                .get_mut(node)
                .map_or(&mut spare.0, |n| &mut n.0),
            random,
        ),
        3 | 4 => number_in(
            message
                .nodes
                .get_mut(node)
                .map_or(&mut spare.0, |n| &mut n.1),
            random,
        ),
        5 | 6 => number_in(
            message
                .buffers
                .get_mut(buffer)
                .map_or(&mut spare.0, |b| &mut b.0),
            random,
        ),
        7 | 8 => number_in(
            message
                .buffers
                .get_mut(buffer)
                .map_or(&mut spare.0, |b| &mut b.1),
            random,
        ),
        9 if !message.buffers.is_empty() => message.buffers.swap(buffer, other),
        10 if !message.buffers.is_empty() => message.buffers[buffer] = message.buffers[other],
        11 if !message.buffers.is_empty() => drop(message.buffers.remove(buffer)),
        12 => message.buffers.insert(buffer, (0, 0)),
        13 if !message.nodes.is_empty() => drop(message.nodes.remove(node)),
        14 => message.nodes.insert(node, (message.rows, 0)),
        15 => match message.variadic.first_mut() {
            Some(count) => *count = random.number(*count),
            None => message.variadic.push(random.number(0)),
        },
        16 => message.compression = Some(random.pick(&[0, 1, 2, -1])),
        17 => {
            message.dictionary = match message.dictionary {
                Some((id, delta)) => Some((random.number(id), delta ^ random.once_in(4))),
                None => Some((random.number(0), false)),
            }
        }
        18 => match random.below(3) {
            0 => message.version = MetadataVersion(random.pick(&[0, 1, 2, 3, 5, -1])),
            1 => message.header = MessageHeader(random.pick(&[0, 1, 2, 3, 4, 5, 9])),
            _ => message.metadata_length = i32::try_from(random.number(200)).ok(),
        },
        _ => message.body_length = Some(random.number(message.body.len() as i64)),
    }
}

fn number_in(number: &mut i64, random: &mut Random) {
    *number = random.number(*number);
}

/// Another number of rows, wherever the true one is told.
fn all_rows(message: &mut Message, random: &mut Random) {
    let (old, new) = (message.rows, random.number(message.rows));
    message.rows = new;
    for (length, nulls) in &mut message.nodes {
        if *nulls == *length && random.once_in(2) {
            *nulls = new;
        }
        if *length == old {
            *length = new;
        }
    }
}

/// Values: numbers, offsets, keys, texts, views, validity, whatever lies there.
fn spoil_body(message: &mut Message, random: &mut Random) {
    let held: Vec<(i64, i64)> = message
        .buffers
        .iter()
        .copied()
        .filter(|b| b.1 > 0)
        .collect();
    if held.is_empty() {
        return;
    }
    let (offset, length) = random.pick(&held);
    let (Ok(offset), Ok(length)) = (usize::try_from(offset), usize::try_from(length)) else {
        return;
    };
    let end = message.body.len().min(offset.saturating_add(length));
    let Some(bytes) = message
        .body
        .get_mut(offset.min(end)..end)
        .filter(|b| !b.is_empty())
    else {
        return;
    };
    let width = random.pick(&[1, 2, 4, 8, 16]);
    let at = random.below(bytes.len()) / width * width;
    let held = bytes[at..]
        .first_chunk::<8>()
        .map_or(0, |b| i64::from_le_bytes(*b));
    match random.below(8) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => put(
            bytes,
            at,
            random.pick(&[&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\x80"]),
        ),
        2 => put(bytes, at, &i32::MAX.to_le_bytes()[..width.min(4)]),
        3 => put(bytes, at, &i128::MAX.to_le_bytes()[..width]),
        4 => put(bytes, at, &i128::MIN.to_le_bytes()[..width]),
        5 => put(
            bytes,
            at,
            &(random.number(held) as i128).to_le_bytes()[..width],
        ),
        6 => bytes[at..].iter_mut().take(width).for_each(|b| *b = 0xff),
        _ => {
            // A value moved to where another was.
            let from = random.below(bytes.len()) / width * width;
            let value: Vec<u8> = bytes[from..].iter().copied().take(width).collect();
            put(bytes, at, &value);
        }
    }
}
