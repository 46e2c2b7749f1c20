//! Our own Markdown for people at a terminal: the same words, with columns that stand below each other.

/// How things are set off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Styling {
    /// By the escape sequences that terminals know.
    Ansi,
    /// Not at all.
    Plain,
}

/// Between columns.
const GAP: &str = "  ";

/// Where a column's cells stand.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Middle,
    Right,
}

/// A report as a terminal shows it.
pub fn terminal(markdown: &str, styling: Styling) -> String {
    let mut out = String::new();
    let mut table: Vec<Vec<String>> = Vec::new();
    for line in markdown.lines() {
        if let Some(row) = line.strip_prefix('|') {
            table.push(row.trim_end_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect());
            continue;
        }
        aligned(&std::mem::take(&mut table), styling, &mut out);
        let shown = match line.strip_prefix("### ") {
            Some(heading) => set_off(heading, styling),
            None => {
                strong(&line.strip_prefix("- ").map_or(line.to_owned(), |item| format!("• {item}")), styling)
            }
        };
        out.push_str(&shown);
        out.push('\n');
    }
    aligned(&table, styling, &mut out);
    out
}

/// A table: a heading, a row that tells where columns stand, and rows.
fn aligned(table: &[Vec<String>], styling: Styling, out: &mut String) {
    let [heading, marks, rows @ ..] = table else { return };
    let side = |mark: &String| match (mark.starts_with(':'), mark.ends_with(':')) {
        (true, true) => Side::Middle,
        (false, true) => Side::Right,
        _ => Side::Left,
    };
    let sides: Vec<Side> = marks.iter().map(side).collect();
    let wide = |cell: Option<&String>| cell.map_or(0, |cell| cell.replace("**", "").chars().count());
    let width = |i: usize| rows.iter().chain([heading]).map(|row| wide(row.get(i))).max().unwrap_or(0);
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).zip(&sides).map(|((cell, &width), side)| {
            let space = width.saturating_sub(wide(Some(cell)));
            let before = match side {
                Side::Left => 0,
                Side::Middle => space / 2,
                Side::Right => space,
            };
            format!("{}{}{}", " ".repeat(before), strong(cell, styling), " ".repeat(space - before))
        });
        cells.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
    };
    // Some have no words above their columns.
    if heading.iter().any(|cell| !cell.is_empty()) {
        out.push_str(&set_off(&line(heading), styling));
        out.push('\n');
    }
    for row in rows {
        out.push_str(&line(row));
        out.push('\n');
    }
}

fn set_off(text: &str, styling: Styling) -> String {
    match styling {
        Styling::Ansi => format!("\x1b[1m{text}\x1b[0m"),
        Styling::Plain => text.to_owned(),
    }
}

/// Text with `**bold**` parts.
fn strong(text: &str, styling: Styling) -> String {
    let parts = text.split("**").enumerate();
    parts.map(|(i, part)| if i % 2 == 1 { set_off(part, styling) } else { part.to_owned() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "head\n\n### One\n\n- **bad** thing\n| ms | mean | range |\n| --- | ---: | :---: |\n\
                        | to the first | 1,234 | 1 to 2 |\n| µ | **7** |  |\nend\n\n| | x |\n| --- | ---: |\n| a | 1 |\n";

    #[test]
    fn columns_stand_below_each_other() {
        assert_eq!(
            terminal(TEXT, Styling::Plain),
            "head\n\nOne\n\n• bad thing\n\
             ms             mean  range\n\
             to the first  1,234  1 to 2\n\
             µ                 7\n\
             end\n\n\
             \x20  x\n\
             a  1\n"
        );
    }

    #[test]
    fn escape_sequences_take_no_room() {
        let text = terminal(TEXT, Styling::Ansi);
        assert!(text.contains("• \x1b[1mbad\x1b[0m thing\n"), "{text:?}");
        assert!(text.contains("µ                 \x1b[1m7\x1b[0m\n"), "{text:?}");
        assert!(text.contains("\x1b[1mOne\x1b[0m\n"), "{text:?}");
    }
}
