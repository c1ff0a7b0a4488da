//! The forms in which a secret may come along: as it is, escaped, encoded, and the parts that it is made of.

use serde_json::Value;

use super::CHARS_MIN;

/// Parts of a secret are looked for when they are no shorter.
const PART_CHARS_MIN: usize = 8;
/// Characters of base64 that do not depend on what stands around the secret.
const BASE64_CHARS_MIN: usize = 6;
/// Names, in connection strings, queries and JSON, of values that are secrets themselves.
const TELLING: [&str; 12] = [
    "accountkey",
    "sharedaccesskey",
    "sharedaccesssignature",
    "password",
    "pwd",
    "sig",
    "token",
    "secret",
    "client_secret",
    "private_key",
    "secret_access_key",
    "access_token",
];

/// Each at least [`CHARS_MIN`] characters long.
pub(super) fn of(value: &str) -> Vec<String> {
    let mut forms = Vec::new();
    for text in parts(value) {
        encoded(&text, &mut forms);
    }
    forms.retain(|form| form.chars().count() >= CHARS_MIN);
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// The value and what it is made of.
fn parts(value: &str) -> Vec<String> {
    let mut parts = vec![value.to_owned(), value.trim().to_owned()];
    if value.contains('\n') {
        let lines = value.lines().map(str::trim);
        parts.extend(
            lines
                .filter(|line| line.chars().count() >= PART_CHARS_MIN && !line.starts_with("-----"))
                .map(str::to_owned),
        );
    }
    for pair in value.trim_start_matches('?').split([';', '&']) {
        if let Some((name, text)) = pair.split_once('=')
            && TELLING.contains(&name.trim().to_ascii_lowercase().as_str())
        {
            parts.extend([text.to_owned(), decoded(text)]);
        }
    }
    if let Some((_, rest)) = value.split_once("://") {
        of_url(rest, &mut parts);
    }
    if let Ok(json) = serde_json::from_str::<Value>(value) {
        of_json(&json, &mut parts);
    }
    parts
}

/// The password of a URL, and what comes behind the host: for a webhook that is the secret.
fn of_url(rest: &str, parts: &mut Vec<String>) {
    let path_at = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(path_at);
    if let Some((user, _)) = authority.rsplit_once('@')
        && let Some((_, password)) = user.split_once(':')
    {
        parts.extend([password.to_owned(), decoded(password)]);
    }
    if path.len() >= PART_CHARS_MIN && !authority.contains('@') {
        parts.push(path.to_owned());
        let pieces = path.split(['/', '?', '&', '=']);
        parts.extend(
            pieces
                .filter(|piece| piece.len() >= 2 * PART_CHARS_MIN)
                .map(str::to_owned),
        );
    }
    if let Some((_, query)) = path.split_once('?') {
        for (name, text) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            if TELLING.contains(&name.to_ascii_lowercase().as_str()) {
                parts.extend([text.to_owned(), decoded(text)]);
            }
        }
    }
}

fn of_json(json: &Value, parts: &mut Vec<String>) {
    match json {
        Value::Object(entries) => {
            for (name, value) in entries {
                let telling = TELLING.contains(&name.to_ascii_lowercase().as_str());
                if let Some(text) = value.as_str().filter(|_| telling) {
                    parts.push(text.to_owned());
                    let lines = text
                        .lines()
                        .filter(|l| l.len() >= 2 * PART_CHARS_MIN && !l.starts_with("-----"));
                    parts.extend(lines.map(str::to_owned));
                } else {
                    of_json(value, parts);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| of_json(item, parts)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn encoded(text: &str, forms: &mut Vec<String>) {
    forms.push(text.to_owned());
    let json = serde_json::to_string(text).unwrap_or_default();
    let debug = format!("{text:?}");
    let twice = format!("{debug:?}");
    for quoted in [&json, &debug] {
        forms.push(inside(quoted).to_owned());
    }
    forms.push(inside(inside(&twice)).trim_matches(['\\', '"']).to_owned());
    for kept in [
        "-_.~",
        "-_.~/",
        "-_.!~*'()",
        "-_.~!$&'()*+,;=:@",
        "-_.~!$&'()*+,;=:@/",
        "-_.~!$&'()*+,;=:@/?",
    ] {
        forms.extend(percent(text, kept, "%20"));
    }
    forms.extend(percent(text, "*-._", "+"));
    forms.push(text.chars().map(visible).collect());
    let markup = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    forms.push(markup.replace('"', "&quot;").replace('\'', "&#39;"));
    forms.push(markup.replace('"', "&quot;").replace('\'', "&#x27;"));
    forms.push(markup);
    for offset in 0..3 {
        forms.extend(base64(text.as_bytes(), offset));
    }
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    forms.extend([hex.to_ascii_uppercase(), hex]);
    if text.chars().count() >= PART_CHARS_MIN {
        forms.extend([text.to_lowercase(), text.to_uppercase()]);
    }
}

fn inside(quoted: &str) -> &str {
    let inner = quoted.strip_prefix('"').unwrap_or(quoted);
    inner.strip_suffix('"').unwrap_or(inner)
}

/// As messages show control characters.
fn visible(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(c)).unwrap_or(c),
        '\x7f' => '\u{2421}',
        c => c,
    }
}

/// With the digits of escapes in both cases.
fn percent(text: &str, kept: &str, blank: &str) -> [String; 2] {
    let (mut upper, mut lower) = (String::new(), String::new());
    for c in text.chars() {
        if c.is_ascii_alphanumeric() || kept.contains(c) {
            upper.push(c);
            lower.push(c);
        } else if c == ' ' {
            upper.push_str(blank);
            lower.push_str(blank);
        } else {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                upper.push_str(&format!("%{byte:02X}"));
                lower.push_str(&format!("%{byte:02x}"));
            }
        }
    }
    [upper, lower]
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let hex = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

/// The characters that the bytes make when so many others (modulo 3) stand before them, whatever stands around.
fn base64(bytes: &[u8], offset: usize) -> Vec<String> {
    const ALPHABETS: [&[u8; 64]; 2] = [
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    ];
    let bits = bytes.len() * 8;
    // The first whole group of six bits, and how many there are.
    let skipped = (6 - (offset * 8) % 6) % 6;
    let many = bits.saturating_sub(skipped) / 6;
    if many < BASE64_CHARS_MIN {
        return Vec::new();
    }
    let group = |index: usize| {
        (0..6).fold(0usize, |value, bit| {
            let at = skipped + index * 6 + bit;
            (value << 1) | usize::from(bytes[at / 8] >> (7 - at % 8) & 1)
        })
    };
    ALPHABETS
        .iter()
        .map(|alphabet| (0..many).map(|i| char::from(alphabet[group(i)])).collect())
        .collect()
}
