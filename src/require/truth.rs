//! Kleene's three-valued logic: a claim may be missing, and then the answer is unknown.

/// Whether a rule holds. `any` returns the greatest answer in this order, and `all` the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    /// The token lacks the claim, or its value cannot be compared. The opposite of unknown is
    /// unknown: `not` never admits a caller because a claim is missing.
    Unknown,
    Yes,
}

impl Truth {
    pub(super) const fn is_yes(self) -> bool {
        matches!(self, Self::Yes)
    }

    pub(super) const fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Unknown => Self::Unknown,
            Self::Yes => Self::No,
        }
    }

    // Loops: a fold that can return early compiles to twice the instructions.
    pub(super) fn any(all: impl Iterator<Item = Self>) -> Self {
        let mut greatest = Self::No;
        for truth in all {
            match truth {
                Self::Yes => return Self::Yes,
                other => greatest = greatest.max(other),
            }
        }
        greatest
    }

    pub(super) fn all(all: impl Iterator<Item = Self>) -> Self {
        let mut least = Self::Yes;
        for truth in all {
            match truth {
                Self::No => return Self::No,
                other => least = least.min(other),
            }
        }
        least
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
