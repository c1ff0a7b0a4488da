//! Components that need bytes of their own: the small build of the hostile component, changed in one respect.

use std::ops::Range;
use std::sync::OnceLock;

use wasmparser::{Parser, Payload};

use crate::guest::{build, overwritten, table_grows};

/// One respect.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Spoilt {
    /// The attack with this letter, in the place with that one.
    Attack(u8, u8),
    /// `describe` returns something else.
    Manifest(u8),
    /// Its memory begins with so many pages.
    MemoryMin(u32),
    /// It has so many memories.
    Memories(u32),
    /// Its table begins with so many elements.
    TableMin(u32),
    /// It imports file systems.
    Files,
    /// It imports sockets.
    Network,
}

impl Spoilt {
    pub(crate) fn bytes(self) -> Vec<u8> {
        const MEMORY: u8 = 5;
        const TABLE: u8 = 4;
        match self {
            Self::Attack(place, attack) => switched([place, attack]),
            Self::Manifest(how) => switched([how, b'-']),
            Self::MemoryMin(pages) => with_section(MEMORY, &[&[1, 0][..], &leb(pages)].concat()),
            Self::Memories(count) => {
                let one = [0, 1].repeat(count as usize);
                with_section(MEMORY, &[leb(count), one].concat())
            }
            Self::TableMin(elements) => {
                let funcref = 0x70;
                with_section(TABLE, &[&[1, funcref, 0][..], &leb(elements)].concat())
            }
            Self::Files => with_feature("files"),
            Self::Network => with_feature("network"),
        }
    }
}

/// Without Arrow: compiled in no time.
fn small() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| table_grows(build("hostile-small", &["--no-default-features"])))
}

fn with_feature(feature: &str) -> Vec<u8> {
    let arguments = ["--no-default-features", "--features", feature];
    build(&format!("hostile-{feature}"), &arguments)
}

fn switched(to: [u8; 2]) -> Vec<u8> {
    let from = b"odibi-hostile-switch=--";
    let to = [&from[..from.len() - 2], &to].concat();
    overwritten(small(), from, &to)
}

/// With another section in its largest core module.
fn with_section(id: u8, body: &[u8]) -> Vec<u8> {
    let bytes = small();
    let mut modules: Vec<Range<usize>> = Vec::new();
    let mut sections: Vec<Range<usize>> = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "all else stays as it is")]
        match payload.unwrap() {
            Payload::ModuleSection {
                unchecked_range, ..
            } => modules.push(unchecked_range),
            Payload::MemorySection(reader) if id == 5 => sections.push(reader.range()),
            Payload::TableSection(reader) if id == 4 => sections.push(reader.range()),
            _ => {}
        }
    }
    let module = modules
        .into_iter()
        .max_by_key(|module| module.len())
        .unwrap();
    let section = sections
        .into_iter()
        .find(|s| module.contains(&s.start))
        .unwrap();
    let inner = replaced(
        &bytes[module.clone()],
        id,
        section.start - module.start..section.end - module.start,
        body,
    );
    replaced(bytes, 1, module, &inner)
}

/// Replaces the section `id` whose body lies at `range`, length and all.
fn replaced(bytes: &[u8], id: u8, range: Range<usize>, body: &[u8]) -> Vec<u8> {
    let header = (1..=5).find(|width| {
        let at = range.start - width;
        bytes[at - 1] == id && unleb(&bytes[at..range.start]) == Some(range.len())
    });
    let start = range.start - header.unwrap() - 1;
    let length = leb(u32::try_from(body.len()).unwrap());
    [&bytes[..start], &[id], &length, body, &bytes[range.end..]].concat()
}

fn leb(mut value: u32) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
    out
}

fn unleb(bytes: &[u8]) -> Option<usize> {
    let (last, others) = bytes.split_last()?;
    let whole = last & 0x80 == 0 && others.iter().all(|b| b & 0x80 != 0);
    let sum = bytes
        .iter()
        .rev()
        .fold(0, |sum, b| sum << 7 | usize::from(b & 0x7f));
    whole.then_some(sum)
}
