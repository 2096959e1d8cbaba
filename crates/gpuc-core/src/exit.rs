//! Exit statuses: the contract that scripts and CI rely on.

/// A verdict as a process status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// The plan ships, the floor is cleared, the cache is not justified, the machine is well.
    Ok,
    /// Bad usage, bad input, or something that could not be read or written.
    BadInput,
    /// The planner refuses, or a measurement is below the floor.
    Refused,
    /// A measurement is above its ceiling: the bandwidth model is wrong.
    AboveCeiling,
    /// A reading is near its limit, or an expert cache could help.
    Warn,
    /// A limit was breached; the supervised job was aborted.
    Abort,
    /// Interrupted by the user.
    Interrupted,
    /// The supervised job's own status (128 + n when signal n ended it).
    Job(u8),
    /// Signal n, other than an interrupt, ended the command itself.
    Signalled(u8),
}

impl Exit {
    /// The status the process ends with.
    pub const fn status(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::BadInput => 2,
            Self::Refused => 3,
            Self::AboveCeiling => 4,
            Self::Warn => 5,
            Self::Abort => 7,
            Self::Interrupted => 130,
            Self::Job(n) => n,
            Self::Signalled(n) => 128_u8.saturating_add(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn statuses_are_the_documented_ones() {
        let all = [
            (Exit::Ok, 0),
            (Exit::BadInput, 2),
            (Exit::Refused, 3),
            (Exit::AboveCeiling, 4),
            (Exit::Warn, 5),
            (Exit::Abort, 7),
            (Exit::Interrupted, 130),
            (Exit::Job(137), 137),
            (Exit::Signalled(15), 143),
        ];
        for (exit, status) in all {
            assert_eq!(exit.status(), status, "{exit:?}");
        }
    }
}
