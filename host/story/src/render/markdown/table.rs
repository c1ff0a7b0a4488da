//! A Markdown table whose columns line up in the source too.

use super::Inline;

/// On which side the cells of a column stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Right,
}

/// Cells longer than this do not widen their column, in characters.
const WIDTH_CHARS_MAX: usize = 60;

/// Headers and rows. Every row has as many cells as there are headers.
pub(super) struct Table {
    headers: Vec<(Inline, Align)>,
    rows: Vec<Vec<Inline>>,
}

impl Table {
    /// A table with headers of the program.
    pub(super) fn new<const N: usize>(headers: [(&'static str, Align); N]) -> Self {
        Self::with_headers(
            headers
                .into_iter()
                .map(|(header, align)| (Inline::host(header), align))
                .collect(),
        )
    }

    /// A table with headers that came from outside.
    pub(super) fn with_headers(headers: Vec<(Inline, Align)>) -> Self {
        Self {
            headers,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells stay empty, further ones are left out.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Inline>) {
        let padding = std::iter::repeat_with(|| Inline::host(""));
        self.rows.push(
            cells
                .into_iter()
                .chain(padding)
                .take(self.headers.len())
                .collect(),
        );
    }

    fn widths(&self) -> Vec<usize> {
        let width = |cell: &Inline| cell.as_str().chars().count();
        let of = |column: usize| {
            let cells = self
                .rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(width);
            let fitting = cells.filter(|width| *width <= WIDTH_CHARS_MAX);
            fitting
                .chain([width(&self.headers[column].0), 3])
                .max()
                .unwrap_or(3)
        };
        (0..self.headers.len()).map(of).collect()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let widths = self.widths();
        let mut line = |cells: Vec<&str>| {
            for ((cell, (_, align)), width) in cells.iter().zip(&self.headers).zip(&widths) {
                match align {
                    Align::Left => write!(f, "| {cell:<width$} ")?,
                    Align::Right => write!(f, "| {cell:>width$} ")?,
                }
            }
            writeln!(f, "|")
        };
        line(
            self.headers
                .iter()
                .map(|(header, _)| header.as_str())
                .collect(),
        )?;
        let rules: Vec<String> = self
            .headers
            .iter()
            .zip(&widths)
            .map(|((_, align), width)| match align {
                Align::Left => "-".repeat(*width),
                Align::Right => format!("{}:", "-".repeat(*width - 1)),
            })
            .collect();
        line(rules.iter().map(String::as_str).collect())?;
        for row in &self.rows {
            line(row.iter().map(Inline::as_str).collect())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(table.to_string(), expect);
    }

    #[test]
    fn long_cells_do_not_widen_the_column() {
        let mut table = Table::new([("Name", Align::Left)]);
        table.row([Inline::text(&"x".repeat(WIDTH_CHARS_MAX + 1))]);
        assert!(table.to_string().starts_with("| Name |\n| ---- |\n"));
    }
}
