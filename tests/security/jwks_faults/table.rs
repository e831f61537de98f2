//! The tables of the document.

use std::time::Duration;

/// One row of the first table.
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

/// One row of the second table.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) id: String,
    /// In seconds, as the other numbers.
    pub(super) cooldown: u64,
    pub(super) before: String,
    pub(super) during: String,
    pub(super) accepted_within: u64,
    pub(super) max_requests: usize,
}

const RECOVERY_HEAD: &str = "| id | cooldown | before the outage | tokens of the new key during the outage | first accepted | requests during the outage |";

const UNAVAILABLE: &str = "503 keys_unavailable";

#[track_caller]
pub(super) fn rows(document: &str) -> Vec<Row> {
    lines(document, HEAD).map(row).collect()
}

#[track_caller]
pub(super) fn recoveries(document: &str) -> Vec<Recovery> {
    lines(document, RECOVERY_HEAD).map(recovery).collect()
}

/// The rows of the only table with this head.
#[track_caller]
fn lines<'d>(document: &'d str, head: &str) -> impl Iterator<Item = &'d str> {
    let (_, table) = document.split_once(head).expect("the table");
    assert!(!table.contains(head), "a second table");
    let lines = table.lines().skip(2);
    lines.take_while(|line| line.starts_with('|'))
}

#[track_caller]
fn recovery(line: &str) -> Recovery {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [id, cooldown, before, during, accepted, requests] = cells[..] else {
        panic!("not six cells: {line}");
    };
    let number = |cell: &str, before: &str, after: &str| {
        let digits = cell
            .strip_prefix(before)
            .and_then(|c| c.strip_suffix(after));
        digits.expect(line).parse::<u64>().expect(line)
    };
    Recovery {
        id: id.replace('`', ""),
        cooldown: number(cooldown, "", " s"),
        before: before.to_owned(),
        during: during.to_owned(),
        accepted_within: number(accepted, "within ", " s"),
        max_requests: usize::try_from(number(requests, "at most ", "")).unwrap(),
    }
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
    /// The time from the end of the fault until all tokens are accepted; `None` if they always
    /// were.
    #[track_caller]
    pub(super) fn recovers_within(&self) -> Option<Duration> {
        if self.recovery == "none needed" {
            return None;
        }
        let words: Vec<_> = self.recovery.split(' ').collect();
        let ["within", number, unit] = words[..] else {
            panic!("{}: cannot read {:?}", self.id, self.recovery);
        };
        let seconds = match unit {
            "s" => 1,
            "min" => 60,
            _ => panic!("{}: unknown unit {unit:?}", self.id),
        };
        Some(Duration::from_secs(
            number.parse::<u64>().unwrap() * seconds,
        ))
    }

    /// Whether fetches fail, so that the published keys are not known.
    pub(super) fn is_unavailable(&self) -> bool {
        self.new == UNAVAILABLE
    }

    /// The response to a token with an unknown `kid`.
    pub(super) fn unknown(&self) -> &'static str {
        if self.is_unavailable() {
            UNAVAILABLE
        } else {
            "401 unknown_key"
        }
    }

    /// The response to tokens of the known key after the first fetch has ended.
    pub(super) fn known_at_last(&self) -> &str {
        let then = self.known.split_once(", then ");
        then.map_or(&*self.known, |(_, then)| then)
    }
}
