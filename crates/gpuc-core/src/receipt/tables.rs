//! llama-bench's table formats: markdown, CSV and SQL, among log lines.

use super::row::{Cell, Cells, MAX_ROWS, Row, depth_of_test};

/// Columns of a table; llama-bench has some forty.
const MAX_COLUMNS: usize = 256;

/// The rows of every markdown table that has a `test` and a `t/s` column.
pub(super) fn markdown(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut header: Option<Vec<String>> = None;
    for line in text.lines() {
        if rows.len() >= MAX_ROWS {
            break;
        }
        let Some(cells) = markdown_cells(line) else {
            continue;
        };
        if cells.contains(&"test") && cells.contains(&"t/s") {
            header = Some(cells.iter().map(|c| (*c).to_owned()).collect());
            continue;
        }
        let Some(names) = header.as_ref().filter(|names| names.len() == cells.len()) else {
            continue;
        };
        // The line under the header measures nothing.
        rows.extend(
            markdown_row(names, &cells)
                .into_iter()
                .filter(|row| row.rate.is_some()),
        );
    }
    rows
}

fn markdown_cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    Some(
        inner
            .split('|')
            .take(MAX_COLUMNS)
            .map(|cell| cell.trim_matches([' ', '\t', '*', '`']))
            .collect(),
    )
}

fn markdown_row(names: &[String], values: &[&str]) -> Vec<Row> {
    let mut cells = Cells::default();
    for (name, value) in names.iter().zip(values) {
        match name.as_str() {
            "test" => {
                let (what, _) = value.split_once('@').unwrap_or((value, ""));
                let (prompt, gen_) = tokens_of_test(what.trim());
                cells.set("n_prompt", &Cell::Number(prompt));
                cells.set("n_gen", &Cell::Number(gen_));
                if let Some(depth) = depth_of_test(value) {
                    cells.set("n_depth", &Cell::Number(depth as f64));
                }
            }
            "t/s" => {
                // Consoles mangle the sign between rate and deviation; the blanks stay.
                let mut words = value.split(|c: char| c == '±' || c.is_whitespace());
                let rate = words.next().unwrap_or_default();
                cells.set("avg_ts", &Cell::of_text(rate));
                cells.set(
                    "stddev_ts",
                    &Cell::of_text(words.next_back().unwrap_or_default()),
                );
            }
            name => cells.set(name, &Cell::of_text(value)),
        }
    }
    cells.rows()
}

/// Prompt and generation tokens of `pp512`, `tg128` or `pp512+tg128`; zeros for anything else.
fn tokens_of_test(test: &str) -> (f64, f64) {
    let count = |s: &str| s.trim().parse::<u32>().map_or(0.0, f64::from);
    if let Some((pp, tg)) = test.split_once('+') {
        return (
            pp.strip_prefix("pp").map_or(0.0, count),
            tg.strip_prefix("tg").map_or(0.0, count),
        );
    }
    match (test.strip_prefix("pp"), test.strip_prefix("tg")) {
        (Some(n), _) => (count(n), 0.0),
        (_, Some(n)) => (0.0, count(n)),
        _ => (0.0, 0.0),
    }
}

/// The rows under every CSV header that has the columns of a benchmark.
pub(super) fn csv(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut header: Option<Vec<String>> = None;
    for line in text.lines() {
        if rows.len() >= MAX_ROWS {
            break;
        }
        let is_header = ["n_prompt", "n_gen", "avg_ts"]
            .iter()
            .all(|c| line.contains(c));
        if header.is_none() && !is_header {
            continue;
        }
        let fields = csv_fields(line.trim());
        if is_header {
            header = Some(fields);
            continue;
        }
        let Some(names) = header.as_ref().filter(|names| names.len() == fields.len()) else {
            continue;
        };
        rows.extend(table_row(names, &fields));
    }
    rows
}

fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut quoted = false;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                field.push('"');
                chars.next();
            }
            '"' => quoted = !quoted,
            ',' if !quoted => {
                fields.push(std::mem::take(&mut field));
                if fields.len() >= MAX_COLUMNS {
                    break;
                }
            }
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

/// The rows of every INSERT statement that names the columns of a benchmark.
pub(super) fn sql(text: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for line in text.lines() {
        if rows.len() >= MAX_ROWS {
            break;
        }
        let line = line.trim();
        let is_insert = line
            .get(..11)
            .is_some_and(|head| head.eq_ignore_ascii_case("insert into"));
        if !is_insert {
            continue;
        }
        let mut names: Option<Vec<String>> = None;
        sql_lists(line, |list| {
            match &names {
                None => names = Some(list),
                Some(names) if names.len() == list.len() => rows.extend(table_row(names, &list)),
                Some(_) => {}
            }
            rows.len() < MAX_ROWS
        });
    }
    rows
}

/// Hands over the parenthesised lists of a statement, quotes taken off, while `more` are wanted.
fn sql_lists(statement: &str, mut more: impl FnMut(Vec<String>) -> bool) {
    let mut list: Option<Vec<String>> = None;
    let mut item = String::new();
    let mut quote: Option<char> = None;
    let mut chars = statement.chars().peekable();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(q), c) if c == q => {
                if chars.peek() == Some(&q) {
                    item.push(q);
                    chars.next();
                } else {
                    quote = None;
                }
            }
            (Some(_), c) => item.push(c),
            (None, '\'' | '"') => quote = Some(c),
            (None, '(') => list = Some(Vec::new()),
            (None, ',' | ')') => {
                if let Some(items) = list.as_mut().filter(|l| l.len() < MAX_COLUMNS) {
                    items.push(std::mem::take(&mut item).trim().to_owned());
                }
                if c == ')' && list.take().is_some_and(|list| !more(list)) {
                    return;
                }
            }
            (None, c) if list.is_some() => item.push(c),
            _ => {}
        }
    }
}

fn table_row(names: &[String], values: &[String]) -> Vec<Row> {
    let mut cells = Cells::default();
    for (name, value) in names.iter().zip(values) {
        cells.set(name, &Cell::of_text(value));
    }
    cells.rows()
}

#[cfg(test)]
mod tests {
    use super::super::row::Kind;
    use super::*;

    #[test]
    fn markdown_tables_with_depths_placements_and_emphasis() {
        let text = "load: found 1 device\n\
            | model | ngl | n_cpu_moe | fa | test | t/s |\n\
            | ----- | --: | --------: | -: | ---: | --: |\n\
            | gpt-oss 20B | 99 | 12 | 1 | pp512 | 299.87 ± 31.43 |\n\
            | gpt-oss 20B | 99 | 12 | 1 | tg128 @ d4096 | **38.45 ± 2.39** |\n\
            | gpt-oss 20B | 99 | 12 | 1 | pp512+tg128 | 99.00 ± 1.00 |\n\
            | gpt-oss 20B | 99 | 12 | 1 | tg 64 | 12.50 \u{252c}\u{2592} 0.25 |\n\
            | a | short row |\n\nbuild: dd1ea5243 (10355)\n";
        let rows = markdown(text);
        let kinds: Vec<_> = rows.iter().map(|r| r.kind).collect();
        assert_eq!(
            kinds,
            [Kind::Prefill, Kind::Decode, Kind::Other, Kind::Decode]
        );
        assert_eq!((rows[3].rate, rows[3].stddev), (Some(12.5), Some(0.25)));
        let tg = &rows[1];
        assert_eq!((tg.rate, tg.stddev), (Some(38.45), Some(2.39)));
        assert_eq!((tg.depth, tg.tokens), (Some(4096), Some(128)));
        assert_eq!(tg.setting.n_cpu_moe, Some(12));
        assert_eq!(tg.setting.n_gpu_layers, Some(99));
        assert_eq!(tg.setting.flash_attn, Some(true));
    }

    #[test]
    fn csv_quotes_hold_commas_and_quotes() {
        let text = "noise, noise\nmodel_type,n_prompt,n_gen,avg_ts\n\
                    \"a, \"\"b\"\"\",\"0\",\"16\",\"959.08\"\nbroken,line\n";
        let rows = csv(text);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].rate, Some(959.08));
        assert_eq!(rows[0].setting.model.as_deref(), Some("a, \"b\""));
    }

    #[test]
    fn sql_values_hold_quotes_and_several_tuples() {
        let text = "CREATE TABLE t (n_gen INTEGER);\n\
            insert into t (model_type, n_prompt, n_gen, avg_ts) VALUES \
            ('it''s (a), b', '0', '16', '2.5'), ('x', 512, 0, 100.0);\n";
        let rows = sql(text);
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].setting.model.as_deref(), Some("it's (a), b"));
        assert_eq!((rows[0].kind, rows[0].rate), (Kind::Decode, Some(2.5)));
        assert_eq!((rows[1].kind, rows[1].rate), (Kind::Prefill, Some(100.0)));
    }
}
