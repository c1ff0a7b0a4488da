//! From the parser's events to the tree, holding the limits on the way.

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};

use super::merge::{Pair, finish_mapping};
use super::position::Positions;
use super::{Mapping, Node, Scalar, Tree, Value};
use crate::diagnostic::{Collector, Diagnostic, FileId, Sources, Span, codes};
use crate::limits::{
    ALIASES_MAX, COPIED_BYTES_MAX, FILE_BYTES_MAX, FILE_DEPTH_MAX, FILE_NODES_MAX, NODE_BYTES,
};

/// Reads a file. Never fails: what cannot be read is [`Value::Missing`], and a diagnostic says why.
#[must_use]
pub fn parse(sources: &Sources, file: FileId) -> (Tree, Vec<Diagnostic>) {
    let text = sources.text(file);
    let nowhere = Span {
        file,
        start: 0,
        end: 0,
    };
    let mut faults = Collector::default();
    let refused = || Tree {
        root: Node {
            span: nowhere,
            value: Value::Missing,
        },
        complete: false,
    };
    if text.len() > FILE_BYTES_MAX {
        let message = format!(
            "the file is longer than {FILE_BYTES_MAX} bytes: {}",
            text.len()
        );
        faults.push(Diagnostic::error(&codes::LIMIT, nowhere, message));
        return (refused(), faults.finish());
    }
    let positions = Positions::new(text, file);
    if let Some((offset, c)) = text.char_indices().find(|(_, c)| !is_allowed(*c)) {
        let message = format!(
            "a character that YAML does not allow: U+{:04X}",
            u32::from(c)
        );
        let span = positions.bytes(offset, offset + c.len_utf8());
        faults.push(
            Diagnostic::error(&codes::SYNTAX, span, message)
                .hint("remove it, or write it as an escape in double quotes"),
        );
        return (refused(), faults.finish());
    }
    let mut builder = Builder {
        positions,
        faults,
        stack: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        nodes: 0,
        aliases: 0,
        copied_bytes: 0,
    };
    let complete = builder.read(text);
    builder.close_all();
    let empty = || Node {
        span: nowhere,
        value: Value::Scalar(Scalar {
            text: String::new(),
            plain: true,
            written: None,
        }),
    };
    let root = match builder.root.take() {
        Some(root) => root.node,
        None if complete => empty(),
        None => refused().root,
    };
    (Tree { root, complete }, builder.faults.finish())
}

/// The characters of YAML 1.2, section 5.1.
fn is_allowed(c: char) -> bool {
    match c {
        '\t' | '\n' | '\r' | '\u{85}' => true,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => false,
        _ => true,
    }
}

/// Reading has to stop here; the fault is reported.
struct Stop;

/// A finished node with what its copies would cost.
#[derive(Clone)]
struct Built {
    node: Node,
    nodes: usize,
    height: usize,
    bytes: usize,
}

enum Shape {
    Sequence(Vec<Node>),
    Mapping {
        pairs: Vec<Pair>,
        key: Option<Key>,
        truncated: bool,
    },
}

enum Key {
    Good {
        text: String,
        span: Span,
        merge: bool,
    },
    /// Reported already.
    Refused(Span),
}

/// A collection that is still open.
struct Frame {
    start: usize,
    anchor: usize,
    refused: bool,
    shape: Shape,
    nodes: usize,
    height: usize,
    bytes: usize,
    /// End of the last child.
    end: usize,
}

struct Builder<'a> {
    positions: Positions<'a>,
    faults: Collector,
    stack: Vec<Frame>,
    anchors: HashMap<usize, Built>,
    root: Option<Built>,
    nodes: usize,
    aliases: usize,
    copied_bytes: usize,
}

impl Builder<'_> {
    /// False when it stopped before the end.
    fn read(&mut self, text: &str) -> bool {
        let mut parser = Parser::new_from_str(text);
        let mut documents = 0;
        while let Some(next) = parser.next_event() {
            let (event, span) = match next {
                Ok(found) => found,
                Err(fault) => {
                    self.syntax(*fault.marker(), fault.info());
                    return false;
                }
            };
            if matches!(event, Event::DocumentStart(_)) {
                documents += 1;
                if documents > 1 {
                    let span = self.positions.span(span.start, span.end);
                    let made = Diagnostic::error(
                        &codes::MULTIPLE_DOCUMENTS,
                        span,
                        "a second YAML document begins here",
                    );
                    self.faults
                        .push(made.hint("remove the line `---` or what follows it"));
                    return true;
                }
            }
            if self.event(event, span).is_err() {
                return false;
            }
        }
        true
    }

    fn event(&mut self, event: Event<'_>, span: saphyr_parser::Span) -> Result<(), Stop> {
        match event {
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
            Event::Alias(anchor) => {
                let span = self.positions.span(span.start, span.end);
                self.alias(anchor, span)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let raw = self.positions.byte(span.start);
                let span = self.scalar_span(span, text.is_empty() && style == ScalarStyle::Plain);
                self.count(1, span)?;
                let plain = style == ScalarStyle::Plain;
                let value = match self.tag(tag.as_deref(), "scalar", raw) {
                    Tagged::Refused => Value::Missing,
                    Tagged::Text => Value::Scalar(Scalar {
                        text: text.into_owned(),
                        plain: false,
                        written: None,
                    }),
                    Tagged::Plain => Value::Scalar(Scalar {
                        text: text.into_owned(),
                        plain: true,
                        written: None,
                    }),
                    Tagged::Untouched => Value::Scalar(Scalar {
                        text: text.into_owned(),
                        plain,
                        written: None,
                    }),
                };
                let bytes = NODE_BYTES
                    + if let Value::Scalar(scalar) = &value {
                        scalar.text.len()
                    } else {
                        0
                    };
                self.complete(
                    Built {
                        node: Node { span, value },
                        nodes: 1,
                        height: 0,
                        bytes,
                    },
                    anchor,
                )
            }
            Event::SequenceStart(anchor, tag) => {
                self.open(span, anchor, tag.as_deref(), Shape::Sequence(Vec::new()))
            }
            Event::MappingStart(anchor, tag) => {
                let shape = Shape::Mapping {
                    pairs: Vec::new(),
                    key: None,
                    truncated: false,
                };
                self.open(span, anchor, tag.as_deref(), shape)
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let at = self.positions.byte(span.start);
                self.close(if matches!(self.positions.at(at), Some(b']' | b'}')) {
                    at + 1
                } else {
                    at
                })
            }
        }
    }

    fn open(
        &mut self,
        span: saphyr_parser::Span,
        anchor: usize,
        tag: Option<&Tag>,
        shape: Shape,
    ) -> Result<(), Stop> {
        let raw = self.positions.byte(span.start);
        let start = self.positions.after_properties(raw);
        let at = self.positions.bytes(start, start + 1);
        self.count(1, at)?;
        if self.stack.len() >= FILE_DEPTH_MAX {
            return Err(self.too_deep(at));
        }
        let kind = if matches!(shape, Shape::Sequence(_)) {
            "seq"
        } else {
            "map"
        };
        let refused = matches!(self.tag(tag, kind, raw), Tagged::Refused);
        self.stack.push(Frame {
            start,
            anchor,
            refused,
            shape,
            nodes: 1,
            height: 1,
            bytes: NODE_BYTES,
            end: start + 1,
        });
        Ok(())
    }

    /// `end` is where the closing bracket ends, in flow style.
    fn close(&mut self, end: usize) -> Result<(), Stop> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let bracket = matches!(self.positions.at(frame.start), Some(b'[' | b'{'));
        let span = self
            .positions
            .bytes(frame.start, if bracket { end } else { frame.end });
        let value = match frame.shape {
            _ if frame.refused => Value::Missing,
            Shape::Sequence(items) => Value::Sequence(items),
            Shape::Mapping {
                pairs, truncated, ..
            } => {
                let (entries, whole) = finish_mapping(pairs, &mut self.faults);
                Value::Mapping(Mapping {
                    entries,
                    truncated: truncated || !whole,
                })
            }
        };
        let built = Built {
            node: Node { span, value },
            nodes: frame.nodes,
            height: frame.height,
            bytes: frame.bytes,
        };
        self.complete(built, frame.anchor)
    }

    /// After a stop: what is open ends here, as incomplete.
    fn close_all(&mut self) {
        while let Some(frame) = self.stack.last_mut() {
            let (end, start) = (frame.end, frame.start);
            if let Shape::Mapping {
                pairs,
                key,
                truncated,
            } = &mut frame.shape
            {
                *truncated = true;
                if let Some(Key::Good { text, span, merge }) = key.take() {
                    let value = Node {
                        span,
                        value: Value::Missing,
                    };
                    pairs.push(Pair {
                        key: text,
                        key_span: span,
                        merge,
                        value,
                    });
                }
            }
            self.anchors.clear();
            let end = end.max(start + 1);
            if self.close(end).is_err() {
                return;
            }
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Result<(), Stop> {
        self.aliases += 1;
        if self.aliases > ALIASES_MAX {
            return Err(self.limit(
                span,
                format!("the file uses more aliases than allowed: {ALIASES_MAX}"),
            ));
        }
        let missing = Built {
            node: Node {
                span,
                value: Value::Missing,
            },
            nodes: 1,
            height: 0,
            bytes: NODE_BYTES,
        };
        if self.stack.iter().any(|frame| frame.anchor == anchor) {
            let made = Diagnostic::error(
                &codes::RECURSIVE_ALIAS,
                span,
                "the alias stands inside the value it refers to",
            );
            self.faults.push(made);
            return self.complete(missing, 0);
        }
        let Some(found) = self.anchors.get(&anchor) else {
            return self.complete(missing, 0);
        };
        let (nodes, height, bytes) = (found.nodes, found.height, found.bytes);
        self.count(nodes, span)?;
        self.copy(bytes, span)?;
        if self.stack.len() + height > FILE_DEPTH_MAX {
            return Err(self.too_deep(span));
        }
        let mut built = self.anchors.get(&anchor).cloned().unwrap_or(missing);
        built.node.span = span;
        self.complete(built, 0)
    }

    /// A node is whole: it becomes the root, a key, a value or an item.
    fn complete(&mut self, built: Built, anchor: usize) -> Result<(), Stop> {
        if anchor > 0 {
            self.copy(built.bytes, built.node.span)?;
            self.anchors.insert(anchor, built.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root.get_or_insert(built);
            return Ok(());
        };
        frame.nodes += built.nodes;
        frame.bytes += built.bytes;
        frame.height = frame.height.max(built.height + 1);
        frame.end = frame.end.max(built.node.span.end as usize);
        let node = built.node;
        match &mut frame.shape {
            Shape::Sequence(items) => items.push(node),
            Shape::Mapping {
                pairs,
                key,
                truncated,
            } => match key.take() {
                None => {
                    let made = as_key(node, &mut self.faults);
                    *truncated |= matches!(made, Key::Refused(_));
                    *key = Some(made);
                }
                Some(Key::Refused(_)) => {}
                Some(Key::Good { text, span, merge }) => pairs.push(Pair {
                    key: text,
                    key_span: span,
                    merge,
                    value: node,
                }),
            },
        }
        Ok(())
    }

    /// An empty value stands nowhere; it gets the place of its key or of the hyphen before it.
    fn scalar_span(&self, span: saphyr_parser::Span, empty: bool) -> Span {
        let start = self.positions.byte(span.start);
        if !empty {
            return self.positions.bytes(
                self.positions.after_properties(start),
                self.positions.byte(span.end),
            );
        }
        match self.stack.last().map(|frame| &frame.shape) {
            Some(Shape::Mapping {
                key: Some(Key::Good { span, .. } | Key::Refused(span)),
                ..
            }) => *span,
            Some(Shape::Mapping { key: None, .. }) | None => self.positions.bytes(start, start),
            Some(Shape::Sequence(_)) => self.positions.before(start),
        }
    }

    /// `start` is where the tag, or the anchor before it, begins.
    fn tag(&mut self, tag: Option<&Tag>, kind: &str, start: usize) -> Tagged {
        let Some(tag) = tag else {
            return Tagged::Untouched;
        };
        let core = if tag.is_yaml_core_schema() {
            tag.suffix.as_str()
        } else {
            ""
        };
        match (kind, core) {
            ("seq", "seq") | ("map", "map") => return Tagged::Untouched,
            ("scalar", "str") => return Tagged::Text,
            ("scalar", "int" | "float" | "bool" | "null") => return Tagged::Plain,
            _ => {}
        }
        let shown = if core.is_empty() {
            tag.to_string()
        } else {
            format!("!!{core}")
        };
        let message = format!(
            "a tag that is not accepted here: {}",
            crate::diagnostic::quoted(&shown)
        );
        let span = self.positions.tag(start);
        self.faults
            .push(Diagnostic::error(&codes::TAG, span, message).hint("remove the tag"));
        Tagged::Refused
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes <= FILE_NODES_MAX {
            return Ok(());
        }
        Err(self.limit(
            span,
            format!("the file holds more keys and values than allowed: {FILE_NODES_MAX}"),
        ))
    }

    fn copy(&mut self, bytes: usize, span: Span) -> Result<(), Stop> {
        self.copied_bytes += bytes;
        if self.copied_bytes <= COPIED_BYTES_MAX {
            return Ok(());
        }
        Err(self.limit(
            span,
            format!("anchors and aliases copy more bytes than allowed: {COPIED_BYTES_MAX}"),
        ))
    }

    fn too_deep(&mut self, span: Span) -> Stop {
        self.limit(
            span,
            format!("the file nests deeper than allowed: {FILE_DEPTH_MAX}"),
        )
    }

    fn limit(&mut self, span: Span, message: String) -> Stop {
        self.faults
            .push(Diagnostic::error(&codes::LIMIT, span, message));
        Stop
    }

    fn syntax(&mut self, marker: Marker, info: &str) {
        let at = self.positions.byte(marker);
        let span = self.positions.bytes(at, at);
        if info.contains("recursion limit") {
            // The parser's own limit on brackets, which it meets before it hands out the first of them.
            self.too_deep(span);
            return;
        }
        let reference = self.positions.line(at).contains("${");
        let mut made = Diagnostic::error(
            &codes::SYNTAX,
            span,
            format!("malformed YAML: {}", info.to_lowercase()),
        );
        if reference {
            made = made.hint("inside `{…}` and `[…]` put `${NAME}` in quotes");
        } else if info.contains("mapping values are not allowed") {
            made = made.hint("put the text in quotes if the `: ` belongs to it");
        } else if info.contains("tab") {
            made = made.hint("indent with spaces");
        } else if info.contains("whitespace") {
            made = made.hint("write a space after the `:`");
        } else if info.contains("unknown anchor") {
            made = made.hint("define the anchor with `&name` before its first use, or put a text that begins with `*` in quotes");
        }
        self.faults.push(made);
    }
}

enum Tagged {
    Untouched,
    Text,
    Plain,
    Refused,
}

fn as_key(node: Node, faults: &mut Collector) -> Key {
    let span = node.span;
    match node.value {
        Value::Scalar(scalar) if !(scalar.plain && scalar.text.is_empty()) => Key::Good {
            merge: scalar.plain && scalar.text == "<<",
            text: scalar.text,
            span,
        },
        Value::Missing => Key::Refused(span),
        Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
            let what = if matches!(node.value, Value::Scalar(_)) {
                "an empty key"
            } else {
                "a key that is a list or mapping"
            };
            let made = Diagnostic::error(&codes::BAD_KEY, span, what);
            faults.push(
                made.hint("write a text before the `:`, in quotes if it begins with `[` or `{`"),
            );
            Key::Refused(span)
        }
    }
}
