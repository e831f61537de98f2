//! The table of the document.

use std::time::Duration;

/// One row, its cells as they are written.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) known: String,
    pub(super) new: String,
    pub(super) forged: String,
    pub(super) added: String,
    pub(super) fetches: usize,
    pub(super) recovery: String,
}

const HEAD: &str = "| id | fault | a valid token, known key | a valid token, new key | a forged token | added p99 | fetches | recovery |";

const UNAVAILABLE: &str = "503 keys_unavailable";

/// All rows; the document has one table with this head.
#[track_caller]
pub(super) fn rows(document: &str) -> Vec<Row> {
    let (_, table) = document.split_once(HEAD).expect("the table");
    assert!(!table.contains(HEAD), "a second table");
    let lines = table.lines().skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(row)
        .collect()
}

#[track_caller]
fn row(line: &str) -> Row {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [id, _, known, new, forged, added, fetches, recovery] = cells[..] else {
        panic!("not eight cells: {line}");
    };
    let text = |cell: &str| cell.replace('`', "");
    Row {
        id: text(id),
        known: text(known),
        new: text(new),
        forged: text(forged),
        added: added.to_owned(),
        fetches: fetches.parse().expect(line),
        recovery: recovery.to_owned(),
    }
}

impl Row {
    /// How long after the end of the fault everything is well; `None` if it never was otherwise.
    #[track_caller]
    pub(super) fn recovers_within(&self) -> Option<Duration> {
        if self.recovery == "none needed" {
            return None;
        }
        let words: Vec<_> = self.recovery.split(' ').collect();
        let ["within", number, unit] = words[..] else {
            panic!("{}: what is {:?}?", self.id, self.recovery);
        };
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            _ => panic!("{}: what is {unit:?}?", self.id),
        };
        Some(Duration::from_secs(
            number.parse::<u64>().unwrap() * seconds,
        ))
    }

    /// Whether fetches fail, so that nobody can tell which keys there are.
    pub(super) fn is_unavailable(&self) -> bool {
        self.new == UNAVAILABLE
    }

    /// What a token with an unknown `kid` is answered.
    pub(super) fn unknown(&self) -> &'static str {
        if self.is_unavailable() {
            UNAVAILABLE
        } else {
            "401 unknown_key"
        }
    }

    /// What tokens of the known key are answered once the first fetch has ended.
    pub(super) fn known_at_last(&self) -> &str {
        let then = self.known.split_once(", then ");
        then.map_or(&*self.known, |(_, then)| then)
    }
}
