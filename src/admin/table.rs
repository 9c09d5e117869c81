//! Tables for people: columns as wide as what is in them, no control character from anybody's text.
//!
//! They may change at any time; programs use `--json`.

use serde_json::Value;

/// Characters of one cell; longer texts are cut.
const CELL_CHARS_MAX: usize = 60;

/// A table under construction.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Begins with the names of the columns.
    pub fn new(columns: &[&str]) -> Self {
        Self { rows: vec![columns.iter().map(|name| name.to_uppercase()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// The text: no trailing spaces.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(&format!("{cell:<width$}  "));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// What a table shows of a field; `a.b` is the field `b` of the field `a`.
pub fn cell(item: &Value, column: &str) -> String {
    let value = column.split('.').try_fold(item, |value, name| value.get(name));
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => plain(text),
        Some(Value::Array(list)) => {
            let texts = list.iter().map(|one| one.as_str().unwrap_or_default());
            plain(&texts.collect::<Vec<_>>().join(","))
        }
        Some(other) => plain(&other.to_string()),
    }
}

/// A text that cannot move a terminal's cursor, on one line and not too long.
fn plain(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(CELL_CHARS_MAX).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_needed() {
        let mut table = Table::new(&["id", "name"]);
        table.row(vec!["r1-5".into(), "été".into()]);
        table.row(vec!["r1-12".into(), "x".into()]);
        assert_eq!(table.render(), "ID     NAME\nr1-5   été\nr1-12  x\n");
    }

    #[test]
    fn cells_are_one_harmless_line() {
        let item = json!({ "a": "x\u{1b}[2J\ny", "b": { "c": 3 }, "d": ["m", "n"], "e": null });
        assert_eq!(cell(&item, "a"), "x [2J y");
        assert_eq!(cell(&item, "b.c"), "3");
        assert_eq!(cell(&item, "d"), "m,n");
        assert_eq!(cell(&item, "e"), "-");
        assert_eq!(cell(&item, "nothing"), "-");
        assert_eq!(cell(&json!({ "a": "é".repeat(61) }), "a").chars().count(), 61);
    }
}
