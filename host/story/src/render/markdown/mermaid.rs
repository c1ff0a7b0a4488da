//! The lineage as a Mermaid flowchart. Ids are the story's own letters and numbers; names stand in quoted labels.

use std::fmt::Write as _;

use crate::render::escape::{fence, mermaid};
use crate::render::{GRAPH_BYTES_MAX, GRAPH_EDGES_MAX};
use crate::story::{Lineage, Status, VertexKind};

/// A fenced `mermaid` block, or a sentence when there is nothing to draw or too much.
pub(super) fn graph(lineage: &Lineage) -> String {
    if lineage.vertices.is_empty() {
        return "There is nothing to draw.\n".to_owned();
    }
    let drawn = flowchart(lineage);
    if lineage.edges.len() > GRAPH_EDGES_MAX || drawn.len() > GRAPH_BYTES_MAX {
        return "The graph is too large to be drawn here; the JSON of this story holds it.\n"
            .to_owned();
    }
    fence("mermaid", &drawn)
}

fn flowchart(lineage: &Lineage) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for vertex in &lineage.vertices {
        let (id, label) = (safe_id(&vertex.id), mermaid(&vertex.name));
        let outcome = vertex
            .outcome
            .map(|outcome| format!("<br/>{}", outcome.word()))
            .unwrap_or_default();
        let _ = match vertex.kind {
            VertexKind::Dataset => writeln!(text, "    {id}[(\"{label}\")]"),
            VertexKind::Node => writeln!(text, "    {id}[\"{label}{outcome}\"]"),
            VertexKind::OtherPipeline => writeln!(text, "    {id}([\"{label}\"])"),
        };
    }
    for edge in &lineage.edges {
        let _ = writeln!(
            text,
            "    {} --> {}",
            safe_id(&edge.from),
            safe_id(&edge.to)
        );
    }
    for status in Status::ALL {
        let of = lineage
            .vertices
            .iter()
            .filter(|vertex| vertex.outcome == Some(status));
        let ids: Vec<String> = of.map(|vertex| safe_id(&vertex.id)).collect();
        if !ids.is_empty() {
            let class = status.word().replace(' ', "_");
            let _ = writeln!(text, "    classDef {class} {}", style(status));
            let _ = writeln!(text, "    class {} {class}", ids.join(","));
        }
    }
    text
}

/// Ids are made by the fold; a story that was read from a file may say otherwise.
fn safe_id(id: &str) -> String {
    let safe: String = id.chars().filter(char::is_ascii_alphanumeric).collect();
    // Not the bare word `end`, which Mermaid reads as its keyword.
    format!("v{safe}")
}

/// Borders only, so that text stays readable on a light and on a dark page.
fn style(status: Status) -> &'static str {
    match status {
        Status::Succeeded => "stroke:#1a7f37,stroke-width:2px",
        Status::Recovered => "stroke:#9a6700,stroke-width:2px",
        Status::Failed | Status::Crashed => "stroke:#cf222e,stroke-width:4px",
        Status::Skipped | Status::NotStarted => "stroke:#6e7781,stroke-dasharray:4 4",
        Status::Cancelled | Status::Unfinished => "stroke:#9a6700,stroke-dasharray:4 4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::{Edge, Vertex};

    fn vertex(id: &str, name: &str) -> Vertex {
        Vertex {
            id: id.to_owned(),
            kind: VertexKind::Dataset,
            name: name.to_owned(),
            outcome: None,
        }
    }

    #[test]
    fn too_many_edges_are_told_not_drawn() {
        let edge = |_| Edge {
            from: "d0".to_owned(),
            to: "d1".to_owned(),
        };
        let with = |count| Lineage {
            vertices: vec![vertex("d0", "a"), vertex("d1", "b")],
            edges: (0..count).map(edge).collect(),
        };
        assert!(graph(&with(GRAPH_EDGES_MAX)).starts_with("```mermaid\n"));
        assert!(graph(&with(GRAPH_EDGES_MAX + 1)).starts_with("The graph is too large"));
        assert!(graph(&Lineage::default()).starts_with("There is nothing"));
    }

    #[test]
    fn long_names_do_not_make_the_text_longer_than_mermaid_reads() {
        let long = "|".repeat(10_000);
        let vertices = (0..400).map(|n| vertex(&format!("d{n}"), &long)).collect();
        assert!(
            graph(&Lineage {
                vertices,
                edges: Vec::new()
            })
            .starts_with("The graph is too large")
        );
    }

    #[test]
    fn ids_from_a_foreign_file_stay_ids() {
        assert_eq!(safe_id("d0\"]\n click"), "vd0click");
    }
}
