//! JSON as text: is it JSON, and where do its parts lie. Values are spans of the text, so that a number keeps all its
//! digits and what is not asked for costs no memory. Nothing here recurses.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

/// Why a text is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Byte of the text, from 0.
    pub(crate) at: usize,
    wanted: &'static str,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected {} at byte {}", self.wanted, self.at)
    }
}

/// What kind of value a text is, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Text => "text",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// The one value of a text, without the blanks around it.
///
/// # Errors
/// It is not JSON (RFC 8259), or half of a surrogate pair is escaped in it.
pub(crate) fn read(text: &str) -> Result<&str, Fault> {
    let start = blanks(text.as_bytes(), 0);
    let end = end_of_value(text.as_bytes(), start)?;
    let rest = blanks(text.as_bytes(), end);
    if rest < text.len() {
        return Err(fault(rest, "the end"));
    }
    Ok(&text[start..end])
}

/// Of a value that [`read`], [`members`] or [`elements`] gave.
pub(crate) fn kind(value: &str) -> Kind {
    match value.as_bytes().first() {
        Some(b'n') => Kind::Null,
        Some(b't' | b'f') => Kind::Boolean,
        Some(b'"') => Kind::Text,
        Some(b'[') => Kind::List,
        Some(b'{') => Kind::Object,
        _ => Kind::Number,
    }
}

/// Names and values of an object, in the order of the text.
pub(crate) fn members(object: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    let bytes = object.as_bytes();
    let mut at = 1;
    std::iter::from_fn(move || {
        let key = blanks(bytes, at);
        let colon = end_of_value(bytes, key).ok()?;
        let value = blanks(bytes, blanks(bytes, colon) + 1);
        let end = end_of_value(bytes, value).ok()?;
        at = blanks(bytes, end) + 1;
        Some((unescaped(&object[key..colon]), &object[value..end]))
    })
}

/// Values of a list.
pub(crate) fn elements(list: &str) -> impl Iterator<Item = &str> {
    let bytes = list.as_bytes();
    let mut at = 1;
    std::iter::from_fn(move || {
        let value = blanks(bytes, at);
        let end = end_of_value(bytes, value).ok()?;
        at = blanks(bytes, end) + 1;
        Some(&list[value..end])
    })
}

/// What a text in quotes says.
pub(crate) fn unescaped(quoted: &str) -> Cow<'_, str> {
    let inner = quoted.get(1..quoted.len() - 1).unwrap_or_default();
    let Some(first) = inner.find('\\') else {
        return Cow::Borrowed(inner);
    };
    let (head, mut rest) = inner.split_at(first);
    let mut out = String::with_capacity(inner.len());
    out.push_str(head);
    while let Some(escape) = rest.strip_prefix('\\') {
        let (c, after) = escaped(escape).unwrap_or((char::REPLACEMENT_CHARACTER, ""));
        out.push(c);
        let (plain, next) = after.split_at(after.find('\\').unwrap_or(after.len()));
        out.push_str(plain);
        rest = next;
    }
    Cow::Owned(out)
}

/// The character that an escape stands for, behind its backslash, and what follows.
fn escaped(text: &str) -> Option<(char, &str)> {
    let mut rest = text.chars();
    let c = match rest.next()? {
        c @ ('"' | '\\' | '/') => c,
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'u' => {
            let (unit, rest) = hex(rest.as_str())?;
            if let Some(c) = char::from_u32(unit) {
                return Some((c, rest));
            }
            let (low, rest) = hex(rest.strip_prefix("\\u")?)?;
            let pair = [u16::try_from(unit).ok()?, u16::try_from(low).ok()?];
            let c = char::decode_utf16(pair).next()?.ok()?;
            return Some((c, rest));
        }
        _ => return None,
    };
    Some((c, rest.as_str()))
}

fn hex(text: &str) -> Option<(u32, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    let all = digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u32::from_str_radix(digits, 16).ok())?
        .map(|unit| (unit, rest))
}

fn fault(at: usize, wanted: &'static str) -> Fault {
    Fault { at, wanted }
}

fn blanks(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
        at += 1;
    }
    at
}

/// The byte behind the value that begins here.
fn end_of_value(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    // Opening brackets that wait for theirs.
    let mut open: Vec<u8> = Vec::new();
    let mut at = start;
    loop {
        at = match bytes.get(at) {
            Some(b'{') => {
                let first = blanks(bytes, at + 1);
                if bytes.get(first) == Some(&b'}') {
                    first + 1
                } else {
                    open.push(b'{');
                    at = end_of_key(bytes, first)?;
                    continue;
                }
            }
            Some(b'[') => {
                let first = blanks(bytes, at + 1);
                if bytes.get(first) == Some(&b']') {
                    first + 1
                } else {
                    open.push(b'[');
                    at = first;
                    continue;
                }
            }
            Some(b'"') => end_of_text(bytes, at)?,
            Some(b'-' | b'0'..=b'9') => end_of_number(bytes, at)?,
            _ => end_of_word(bytes, at)?,
        };
        loop {
            let Some(bracket) = open.last() else {
                return Ok(at);
            };
            at = blanks(bytes, at);
            match (bracket, bytes.get(at)) {
                (b'{', Some(b',')) => {
                    at = end_of_key(bytes, blanks(bytes, at + 1))?;
                    break;
                }
                (b'[', Some(b',')) => {
                    at = blanks(bytes, at + 1);
                    break;
                }
                (b'{', Some(b'}')) | (b'[', Some(b']')) => {
                    open.pop();
                    at += 1;
                }
                (b'{', _) => return Err(fault(at, "`,` or `}`")),
                _ => return Err(fault(at, "`,` or `]`")),
            }
        }
    }
}

/// Where the value of a member begins.
fn end_of_key(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    if bytes.get(start) != Some(&b'"') {
        return Err(fault(start, "a name in quotes"));
    }
    let colon = blanks(bytes, end_of_text(bytes, start)?);
    if bytes.get(colon) != Some(&b':') {
        return Err(fault(colon, "`:`"));
    }
    Ok(blanks(bytes, colon + 1))
}

fn end_of_text(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let mut at = start + 1;
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => {
                // Every byte of an escape is ASCII.
                let escape = bytes[at + 1..].get(..11.min(bytes.len() - at - 1));
                let ascii = escape.map_or(&[][..], |e| {
                    &e[..e.iter().position(|b| !b.is_ascii()).unwrap_or(e.len())]
                });
                let text = std::str::from_utf8(ascii).unwrap_or_default();
                let (_, rest) = escaped(text).ok_or(fault(at, "an escape of JSON"))?;
                at += 1 + text.len() - rest.len();
            }
            Some(0..=0x1f) => return Err(fault(at, "control characters to be escaped")),
            Some(_) => at += 1,
            None => return Err(fault(at, "`\"`")),
        }
    }
}

fn end_of_number(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let digits = |mut at: usize| {
        let first = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        if at == first {
            return Err(fault(at, "a digit"));
        }
        Ok(at)
    };
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') {
        at + 1
    } else {
        digits(at)?
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at = digits(at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-'))))?;
    }
    Ok(at)
}

fn end_of_word(bytes: &[u8], start: usize) -> Result<usize, Fault> {
    let rest = bytes.get(start..).unwrap_or_default();
    let words: [&[u8]; 3] = [b"null", b"true", b"false"];
    let word = words.iter().find(|word| rest.starts_with(word));
    word.map(|word| start + word.len())
        .ok_or(fault(start, "a value"))
}
