//! The last of what a job has printed, in bounded memory.

use std::collections::VecDeque;

/// Bytes that are kept.
const KEPT: usize = 256 << 10;

/// The end of a stream of text, and how many lines came before it.
///
/// Taking bytes in costs a copy and a count, so that a job that prints a lot is not held up.
#[derive(Debug, Clone, Default)]
pub struct Scrollback {
    bytes: VecDeque<u8>,
    /// Line ends in the whole stream.
    ends: u64,
    taken: u64,
}

impl Scrollback {
    /// Takes in what comes next.
    pub fn push(&mut self, bytes: &[u8]) {
        self.taken = self.taken.saturating_add(bytes.len() as u64);
        self.ends += line_ends(bytes);
        let kept = bytes
            .get(bytes.len().saturating_sub(KEPT)..)
            .unwrap_or_default();
        let over = (self.bytes.len() + kept.len()).saturating_sub(KEPT);
        self.bytes.drain(..over.min(self.bytes.len()));
        self.bytes.extend(kept);
    }

    /// Bytes that it has taken in, so that a change is seen without a look at them.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// The lines that are kept, the first one whole: its number in the stream, counted from 0, and
    /// all bytes from there on.
    pub fn kept(&self) -> (u64, Vec<u8>) {
        let (a, b) = self.bytes.as_slices();
        let mut bytes = [a, b].concat();
        let mut first = self.ends - line_ends(&bytes);
        if self.taken > bytes.len() as u64
            && let Some(end) = bytes.iter().position(|b| *b == b'\n')
        {
            bytes.drain(..=end);
            first += 1;
        }
        (first, bytes)
    }
}

/// How many lines end in `bytes`.
pub(super) fn line_ends(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(*b == b'\n')).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept_and_lines_keep_their_numbers() {
        let mut all = Scrollback::default();
        all.push(b"a\nb");
        assert_eq!(all.kept(), (0, b"a\nb".to_vec()));
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        for _ in 0..10_000 {
            all.push(&line);
        }
        let (first, bytes) = all.kept();
        assert!(bytes.len() <= KEPT && bytes.len() > KEPT - 100);
        assert_eq!(first + line_ends(&bytes), 10_001);
        assert_eq!(bytes.get(..100), Some(line.as_slice()));
        all.push(&b"y".repeat(3 * KEPT));
        assert_eq!(all.kept(), (10_001, b"y".repeat(KEPT)));
        assert_eq!(all.taken(), 3 + 1_000_000 + 3 * KEPT as u64);
    }
}
