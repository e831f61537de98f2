//! Three answers, because a claim may be missing: Kleene's strong logic.

/// Whether something holds for a caller. The order is that of `any` (the greatest) and `all` (the least).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    /// The token does not tell, or tells what cannot be compared. Its opposite is just as unknown, so that `not` never
    /// admits anybody for what a token leaves out.
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

    pub(super) fn any(mut all: impl Iterator<Item = Self>) -> Self {
        let found = all.try_fold(Self::No, |greatest, truth| match truth {
            Self::Yes => Err(Self::Yes),
            other => Ok(greatest.max(other)),
        });
        found.unwrap_or_else(|yes| yes)
    }

    pub(super) fn all(mut all: impl Iterator<Item = Self>) -> Self {
        let found = all.try_fold(Self::Yes, |least, truth| match truth {
            Self::No => Err(Self::No),
            other => Ok(least.min(other)),
        });
        found.unwrap_or_else(|no| no)
    }
}

impl From<bool> for Truth {
    fn from(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }
}
