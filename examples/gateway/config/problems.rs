//! Errors and warnings of a configuration, each with its place.

use std::cell::RefCell;
use std::error::Error;
use std::fmt;

use super::model::Place;

/// All errors of a configuration, in the order of the file. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Invalid(Vec<Problem>);

/// An error or warning with a remedy. It never quotes a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    place: Place,
    text: String,
}

/// Collects problems.
#[derive(Debug, Default)]
pub(super) struct Problems(RefCell<Vec<Problem>>);

/// Further problems are counted only.
const SHOWN: usize = 20;

// === impl Problems ===

impl Problems {
    pub(super) fn add(&self, place: &Place, text: impl Into<String>) {
        self.0.borrow_mut().push(Problem {
            place: place.clone(),
            text: text.into(),
        });
    }

    /// Returns the problems so far, in the order of the file.
    pub(super) fn take(&self) -> Vec<Problem> {
        let mut problems = self.0.take();
        problems.sort_by_key(|problem| match &problem.place {
            Place::Line { line, .. } => *line,
            Place::File(_) => 0,
            Place::Variable(_) => usize::MAX,
        });
        problems.dedup();
        problems
    }

    /// Returns `value` if there are no problems.
    pub(super) fn none<T>(self, value: Option<T>) -> Result<T, Invalid> {
        let problems = self.take();
        match value {
            Some(value) if problems.is_empty() => Ok(value),
            _ => Err(Invalid(problems)),
        }
    }
}

// === impl Invalid ===

impl From<Problem> for Invalid {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().take(SHOWN).enumerate() {
            let line_end = if at == 0 { "" } else { "\n" };
            write!(f, "{line_end}{problem}")?;
        }
        match self.0.len().checked_sub(SHOWN) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, "\nand {more} more"),
        }
    }
}

impl Error for Invalid {}

// === impl Problem ===

impl Problem {
    pub(super) fn new(place: Place, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { place, text }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
