//! The document, and the results of its rows.

use std::collections::BTreeMap;

/// One line of a table.
pub(crate) struct Row {
    pub(crate) theme: String,
    pub(crate) id: String,
    pub(crate) attack: String,
    pub(crate) answer: String,
    pub(crate) who: String,
}

/// `docs/attacks.md`.
pub(crate) struct Document {
    themes: Vec<String>,
    rows: Vec<Row>,
}

/// The results of one theme, row by row.
pub(crate) struct Board {
    theme: &'static str,
    answers: BTreeMap<String, String>,
    executed: Vec<String>,
    problems: Vec<String>,
}

const COLUMNS: [&str; 4] = ["id", "attack", "answer", "who failed it"];

// === impl Document ===

impl Document {
    pub(crate) fn read() -> Self {
        Self::parse(include_str!("../../../docs/attacks.md"))
    }

    #[track_caller]
    fn parse(text: &str) -> Self {
        let mut document = Self {
            themes: Vec::new(),
            rows: Vec::new(),
        };
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                document.themes.push(heading.to_owned());
                continue;
            }
            let Some(cells) = cells(line) else { continue };
            let theme = document.themes.last().expect("a table below a heading");
            if cells == COLUMNS || cells.iter().all(|cell| cell.starts_with("--")) {
                continue;
            }
            let [id, attack, answer, who] = cells.as_slice() else {
                panic!("four cells, no more: {line}");
            };
            document.rows.push(Row {
                theme: theme.clone(),
                id: id.trim_matches('`').to_owned(),
                attack: attack.clone(),
                answer: answer.trim_matches('`').to_owned(),
                who: who.clone(),
            });
        }
        document
    }

    pub(crate) fn themes(&self) -> impl Iterator<Item = &str> {
        self.themes.iter().map(String::as_str)
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter()
    }
}

fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|c| c.trim().to_owned()).collect())
}

// === impl Board ===

impl Board {
    pub(crate) fn open(theme: &'static str) -> Self {
        Self::over(&Document::read(), theme)
    }

    fn over(document: &Document, theme: &'static str) -> Self {
        let rows = document.rows().filter(|row| row.theme == theme);
        Self {
            theme,
            answers: rows.map(|r| (r.id.clone(), r.answer.clone())).collect(),
            executed: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Compares the answer to an attack with its row.
    pub(crate) fn row(&mut self, id: &str, observed: impl Into<String>) {
        let observed = observed.into();
        match self.answers.get(id) {
            None => self.problems.push(format!("{id}: no row; {observed}")),
            Some(stated) if *stated != observed => {
                let problem = format!("{id}: stated `{stated}`, observed `{observed}`");
                self.problems.push(problem);
            }
            Some(_) => {}
        }
        if self.executed.iter().any(|before| before == id) {
            self.problems.push(format!("{id}: executed twice"));
        }
        self.executed.push(id.to_owned());
    }

    /// Ends the theme. Fails if an answer differs, or if a row is missing or was not executed.
    #[track_caller]
    pub(crate) fn close(self) {
        let problems = self.problems();
        let count = problems.len();
        assert!(
            problems.is_empty(),
            "{}: {count} problems\n{}",
            self.theme,
            problems.join("\n")
        );
    }

    fn problems(&self) -> Vec<String> {
        let executed = |id: &&String| !self.executed.contains(id);
        let left = self.answers.keys().filter(executed);
        let left = left.map(|id| format!("{id}: no test executes this row"));
        self.problems.iter().cloned().chain(left).collect()
    }
}

#[test]
fn the_board_finds_every_mismatch() {
    let document = Document::parse(
        "## One\n| id | attack | answer | who failed it |\n|--|--|--|--|\n| `a-b` | x | `401 expired` | - |\n",
    );
    let check = |executed: &[(&str, &str)], expected: usize| {
        let mut board = Board::over(&document, "One");
        for (id, observed) in executed {
            board.row(id, *observed);
        }
        assert_eq!(board.problems().len(), expected, "{:?}", board.problems());
    };
    check(&[("a-b", "401 expired")], 0);
    check(&[], 1);
    check(&[("a-b", "200")], 1);
    check(&[("a-b", "401 expired"), ("c-d", "200")], 1);
    check(&[("a-b", "401 expired"), ("a-b", "401 expired")], 1);
}
