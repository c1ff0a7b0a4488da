//! A table as Markdown whose columns line up in the source too.

use std::fmt::Write as _;

use super::inline;
use crate::render::document::{Align, Table};

/// Cells longer than this do not widen their column, in characters.
const WIDTH_CHARS_MAX: usize = 60;

/// The table, each line with a line break.
pub(super) fn write(table: &Table) -> String {
    let headers: Vec<String> = table
        .headers
        .iter()
        .map(|(header, _)| inline(header))
        .collect();
    let cells = |row: &Vec<_>| row.iter().map(inline).collect();
    let rows: Vec<Vec<String>> = table.rows.iter().map(cells).collect();
    let widths = widths(&headers, &rows);
    let mut text = String::new();
    let mut line = |cells: &[String]| {
        for ((cell, (_, align)), width) in cells.iter().zip(&table.headers).zip(&widths) {
            let _ = match align {
                Align::Left => write!(text, "| {cell:<width$} "),
                Align::Right => write!(text, "| {cell:>width$} "),
            };
        }
        text.push_str("|\n");
    };
    line(&headers);
    let rule = |((_, align), width): (&(_, Align), &usize)| match align {
        Align::Left => "-".repeat(*width),
        Align::Right => format!("{}:", "-".repeat(*width - 1)),
    };
    let rules: Vec<String> = table.headers.iter().zip(&widths).map(rule).collect();
    line(&rules);
    rows.iter().for_each(|row| line(row));
    text
}

fn widths(headers: &[String], rows: &[Vec<String>]) -> Vec<usize> {
    let width = |cell: &String| cell.chars().count();
    let of = |(column, header): (usize, &String)| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(width);
        let fitting = cells.filter(|width| *width <= WIDTH_CHARS_MAX);
        fitting.chain([width(header), 3]).max().unwrap_or(3)
    };
    headers.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::document::{Align, Inline};

    #[test]
    fn columns_line_up_and_rows_have_the_right_number_of_cells() {
        let mut table = Table::new([("Name", Align::Left), ("Rows", Align::Right)]);
        table.row([Inline::text("a"), Inline::text("1,000")]);
        table.row([Inline::text("größer")]);
        table.row([
            Inline::text("b"),
            Inline::text("2"),
            Inline::text("too many"),
        ]);
        let expect = "\
| Name   |  Rows |
| ------ | ----: |
| a      | 1,000 |
| größer |       |
| b      |     2 |
";
        assert_eq!(write(&table), expect);
    }

    #[test]
    fn long_cells_do_not_widen_the_column() {
        let mut table = Table::new([("Name", Align::Left)]);
        table.row([Inline::text("x".repeat(WIDTH_CHARS_MAX + 1))]);
        assert!(write(&table).starts_with("| Name |\n| ---- |\n"));
    }
}
