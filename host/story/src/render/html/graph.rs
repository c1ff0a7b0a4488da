//! The graph of data sets and nodes, with the rows that went through.

use super::blocks::{Links, scrolled};
use super::mark;
use super::markup::Markup;
use crate::render::layers::{self, Layers, Spot};
use crate::render::words;
use crate::story::{NodeStory, Story, Vertex, VertexKind};

/// Vertices that are drawn; a larger graph is only in the JSON.
const VERTICES_MAX: usize = 160;
/// Edges that are drawn.
const EDGES_MAX: usize = 400;

/// A drawing of at most this width is shrunk to that of a desktop page rather than scrolled, in pixels.
const SHRUNK_MAX: f64 = 1_500.0;
const BOX_WIDTH: f64 = 188.0;
const BOX_HEIGHT: f64 = 46.0;
const STEP_X: f64 = 246.0;
const STEP_Y: f64 = 62.0;
const MARGIN: f64 = 6.0;
/// Characters of a name that fit into a box.
const NAME_CHARS_MAX: usize = 20;
/// Characters of what a node came to that fit; more are set closer.
const BELOW_CHARS_MAX: usize = 24;
/// Of a connection at least so many are shown.
const CONNECTION_CHARS_MIN: usize = 8;

/// Writes the drawing, or says why there is none.
pub(super) fn write(story: &Story, links: &Links<'_>, page: &mut Markup) {
    let lineage = &story.lineage;
    page.host("<section><h2 id=\"lineage\">Lineage</h2>\n");
    if lineage.vertices.is_empty() {
        page.host("<p class=\"note\">There is nothing to draw.</p>");
    } else if lineage.vertices.len() > VERTICES_MAX || lineage.edges.len() > EDGES_MAX {
        page.element("p", &[("class", "note")], |p| {
            p.text(&format!(
                "{} data sets and nodes with {} edges are too many to be drawn; each node below says what it reads and writes, and the JSON of this story holds the graph.",
                words::thousands(lineage.vertices.len() as u64),
                words::thousands(lineage.edges.len() as u64),
            ));
        });
    } else {
        let layers = layers::lay_out(lineage);
        scrolled("Lineage", page, |inside| {
            drawing(story, &layers, links, inside)
        });
    }
    page.host("</section>\n");
}

fn drawing(story: &Story, layers: &Layers, links: &Links<'_>, page: &mut Markup) {
    let width = (layers.layers.max(1) - 1) as f64 * STEP_X + BOX_WIDTH + 2.0 * MARGIN;
    let height = layers.height * STEP_Y + 2.0 * MARGIN;
    let class = if width <= SHRUNK_MAX {
        "graph fits"
    } else {
        "graph"
    };
    let (width, height) = (pixels(width), pixels(height));
    let whole = format!("0 0 {width} {height}");
    let attributes = [
        ("class", class),
        ("width", width.as_str()),
        ("height", height.as_str()),
        ("viewBox", whole.as_str()),
        ("role", "group"),
        ("aria-label", "data sets and nodes, from left to right"),
    ];
    page.element("svg", &attributes, |svg| {
        for spots in &layers.edges {
            if spots.len() > 1 {
                svg.shape(
                    "path",
                    &[
                        ("class", "edge"),
                        ("d", &curve(spots)),
                        ("marker-end", "url(#arrow)"),
                    ],
                );
            }
        }
        for (vertex, spot) in story.lineage.vertices.iter().zip(&layers.vertices) {
            self::vertex(story, vertex, *spot, links, svg);
            svg.newline();
        }
    });
}

fn left(spot: Spot) -> f64 {
    MARGIN + spot.layer as f64 * STEP_X
}

fn middle(spot: Spot) -> f64 {
    MARGIN + spot.y * STEP_Y
}

fn curve(spots: &[Spot]) -> String {
    let mut path = String::new();
    for (at, pair) in spots.windows(2).enumerate() {
        // A bend is passed along the width of a box.
        let from = left(pair[0]) + BOX_WIDTH;
        let last = at + 2 == spots.len();
        let to = left(pair[1]) - if last { 2.0 } else { 0.0 };
        let bow = ((to - from) / 2.0).max(24.0);
        let (y0, y1) = (middle(pair[0]), middle(pair[1]));
        let begin = if at == 0 { "M" } else { "L" };
        path.push_str(&format!(
            "{begin}{} {}C{} {} {} {} {} {}",
            pixels(from),
            pixels(y0),
            pixels(from + bow),
            pixels(y0),
            pixels(to - bow),
            pixels(y1),
            pixels(to),
            pixels(y1)
        ));
    }
    path
}

fn pixels(number: f64) -> String {
    format!("{number:.1}")
}

fn vertex(story: &Story, vertex: &Vertex, spot: Spot, links: &Links<'_>, svg: &mut Markup) {
    let node = story
        .nodes
        .iter()
        .find(|n| vertex.kind == VertexKind::Node && n.outline.name == vertex.name);
    match links.to(&vertex.name).filter(|_| node.is_some()) {
        Some(target) => svg.element("a", &[("href", &target)], |a| {
            shape(story, vertex, node, spot, a)
        }),
        None => svg.element("g", &[], |g| shape(story, vertex, node, spot, g)),
    };
}

fn shape(story: &Story, vertex: &Vertex, node: Option<&NodeStory>, spot: Spot, svg: &mut Markup) {
    let (x, y) = (left(spot), middle(spot) - BOX_HEIGHT / 2.0);
    let (name, below) = texts(story, vertex, node);
    svg.leaf("title", &[], &vertex.name);
    let (class, radius) = match vertex.kind {
        VertexKind::Dataset => ("box data", "23"),
        VertexKind::Node => ("box", "4"),
        VertexKind::OtherPipeline => ("box other", "4"),
    };
    let (left, top) = (pixels(x), pixels(y));
    let (width, height) = (pixels(BOX_WIDTH), pixels(BOX_HEIGHT));
    svg.shape(
        "rect",
        &[
            ("class", class),
            ("x", &left),
            ("y", &top),
            ("width", &width),
            ("height", &height),
            ("rx", radius),
        ],
    );
    if let Some(outcome) = vertex.outcome {
        let class = mark::class(outcome);
        svg.shape(
            "rect",
            &[
                ("class", class),
                ("x", &left),
                ("y", &top),
                ("width", "5"),
                ("height", &height),
                ("rx", "2"),
            ],
        );
    }
    let indent = if vertex.kind == VertexKind::Dataset {
        20.0
    } else {
        14.0
    };
    let text_x = pixels(x + indent);
    svg.leaf(
        "text",
        &[("class", "name"), ("x", &text_x), ("y", &pixels(y + 19.5))],
        &name,
    );
    // A sign, a space, and what parts the two.
    let outcome_chars = vertex.outcome.map_or(0, |outcome| 5 + outcome.word().len());
    let chars = outcome_chars + below.chars().count();
    let text_y = pixels(y + 36.0);
    let room = pixels(BOX_WIDTH - indent - 8.0);
    let mut attributes = vec![("class", "below"), ("x", &text_x), ("y", &text_y)];
    if chars > BELOW_CHARS_MAX {
        attributes.extend([("textLength", &*room), ("lengthAdjust", "spacingAndGlyphs")]);
    }
    svg.element("text", &attributes, |text| {
        if let Some(outcome) = vertex.outcome {
            text.element("tspan", &[("class", mark::class(outcome))], |sign| {
                sign.text(mark::sign(outcome))
                    .host(" ")
                    .text(outcome.word());
            });
            if !below.is_empty() {
                text.host(" · ");
            }
        }
        text.text(&below);
    });
}

/// The name as far as it fits, and what stands under it.
fn texts(story: &Story, vertex: &Vertex, node: Option<&NodeStory>) -> (String, String) {
    match vertex.kind {
        VertexKind::Node => {
            let facts = node.and_then(|node| node.facts.as_ref());
            let rows = facts.map(|facts| words::count(facts.rows_out, "row"));
            let name = ending(&vertex.name, NAME_CHARS_MAX);
            (name, rows.unwrap_or_default())
        }
        VertexKind::OtherPipeline => {
            let name = ending(&vertex.name, NAME_CHARS_MAX);
            (name, "another pipeline".to_owned())
        }
        VertexKind::Dataset => {
            let (connection, path) = vertex.name.split_once(':').unwrap_or(("", &vertex.name));
            let writes = |node: &&NodeStory| node.outline.writes.as_deref() == Some(&*vertex.name);
            let written = story.nodes.iter().find(writes);
            let rows = written.and_then(|node| node.facts.as_ref()?.rows_written);
            let rows = rows.map(|rows| words::count(rows, "row"));
            // What is left of the line belongs to the connection.
            let taken = rows.as_ref().map_or(0, |rows| 3 + rows.len());
            let left = BELOW_CHARS_MAX
                .saturating_sub(taken)
                .max(CONNECTION_CHARS_MIN);
            let mut below = vec![ending(connection, left)];
            below.extend(rows);
            below.retain(|word| !word.is_empty());
            (ending(path, NAME_CHARS_MAX), below.join(" · "))
        }
    }
}

/// The end of a long name: paths differ there.
fn ending(name: &str, chars_max: usize) -> String {
    let chars = name.chars().count();
    if chars <= chars_max {
        return name.to_owned();
    }
    let tail = name.chars().skip(chars - (chars_max - 1));
    std::iter::once('…').chain(tail).collect()
}
