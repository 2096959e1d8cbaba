//! Bytes of a header, read in large pieces and never past what the file holds.

use std::io::{Read, Seek, SeekFrom};

use super::error::HeaderError;

/// The longest header that is read.
pub(super) const HEADER_LIMIT: u64 = 512 << 20;
/// The most that is kept of a header: names, values, tensor entries.
pub(super) const KEEP_LIMIT: usize = 40 << 20;
const BUFFER: usize = 256 << 10;

/// A reader that knows how many bytes are left and what has been kept so far.
pub(super) struct Input<R> {
    inner: R,
    buffer: Vec<u8>,
    /// Next unread byte of the buffer.
    at: usize,
    /// Absolute position of that byte.
    pos: u64,
    /// Where the file ends.
    len: u64,
    kept: usize,
}

impl<R: Read + Seek> Input<R> {
    pub(super) fn new(mut inner: R) -> Result<Self, HeaderError> {
        let len = inner.seek(SeekFrom::End(0)).map_err(HeaderError::Read)?;
        inner.rewind().map_err(HeaderError::Read)?;
        Ok(Self {
            inner,
            buffer: Vec::new(),
            at: 0,
            pos: 0,
            len,
            kept: 0,
        })
    }

    pub(super) fn pos(&self) -> u64 {
        self.pos
    }

    pub(super) fn file_len(&self) -> u64 {
        self.len
    }

    /// Bytes from here to the end of the file, or to the header limit.
    pub(super) fn left(&self) -> u64 {
        self.len.min(HEADER_LIMIT).saturating_sub(self.pos)
    }

    /// That `n` bytes can be read from here.
    pub(super) fn need(&self, n: u64, within: &str) -> Result<(), HeaderError> {
        if n <= self.left() {
            return Ok(());
        }
        let missing = n.saturating_sub(self.len.saturating_sub(self.pos));
        if missing == 0 {
            return Err(HeaderError::TooLong {
                limit: HEADER_LIMIT,
            });
        }
        Err(HeaderError::HeaderTruncated {
            within: within.to_owned(),
            missing,
        })
    }

    /// That `count` entries of at least `each` bytes can follow.
    pub(super) fn need_entries(
        &self,
        count: u64,
        each: u64,
        what: &str,
    ) -> Result<(), HeaderError> {
        match count.checked_mul(each) {
            Some(n) if n <= self.left() => Ok(()),
            _ => Err(HeaderError::Count {
                what: what.to_owned(),
                count,
            }),
        }
    }

    /// Counts `n` bytes as kept.
    pub(super) fn keep(&mut self, n: usize, within: &str) -> Result<(), HeaderError> {
        self.kept = self.kept.saturating_add(n);
        if self.kept > KEEP_LIMIT {
            return Err(HeaderError::TooMuch {
                limit: KEEP_LIMIT,
                within: within.to_owned(),
            });
        }
        Ok(())
    }

    fn fill(&mut self, within: &str) -> Result<(), HeaderError> {
        let size = usize::try_from(self.len).map_or(BUFFER, |n| n.min(BUFFER));
        self.buffer.resize(size, 0);
        loop {
            match self.inner.read(&mut self.buffer) {
                Ok(0) => {
                    self.buffer.clear();
                    // The file shrank while it was read.
                    return Err(HeaderError::HeaderTruncated {
                        within: within.to_owned(),
                        missing: 1,
                    });
                }
                Ok(n) => {
                    self.buffer.truncate(n);
                    self.at = 0;
                    return Ok(());
                }
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(HeaderError::Read(e)),
            }
        }
    }

    fn copy_to(&mut self, mut out: &mut [u8], within: &str) -> Result<(), HeaderError> {
        while !out.is_empty() {
            let have = self.buffer.get(self.at..).unwrap_or_default();
            if have.is_empty() {
                self.fill(within)?;
                continue;
            }
            let n = have.len().min(out.len());
            let (head, rest) = out.split_at_mut(n);
            head.copy_from_slice(have.get(..n).unwrap_or_default());
            out = rest;
            self.at += n;
            self.pos += n as u64;
        }
        Ok(())
    }

    pub(super) fn array<const N: usize>(&mut self, within: &str) -> Result<[u8; N], HeaderError> {
        // The common case: the bytes lie in the buffer.
        if let Some(bytes) = self
            .buffer
            .get(self.at..)
            .and_then(<[u8]>::first_chunk::<N>)
        {
            let out = *bytes;
            if self.left() >= N as u64 {
                self.at += N;
                self.pos += N as u64;
                return Ok(out);
            }
        }
        self.need(N as u64, within)?;
        let mut out = [0; N];
        self.copy_to(&mut out, within)?;
        Ok(out)
    }

    pub(super) fn u32(&mut self, within: &str) -> Result<u32, HeaderError> {
        self.array(within).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, within: &str) -> Result<u64, HeaderError> {
        self.array(within).map(u64::from_le_bytes)
    }

    /// `n` bytes, which count as kept.
    pub(super) fn bytes(&mut self, n: u64, within: &str) -> Result<Vec<u8>, HeaderError> {
        self.need(n, within)?;
        let size = usize::try_from(n).unwrap_or(usize::MAX);
        self.keep(size, within)?;
        let mut out = vec![0; size];
        self.copy_to(&mut out, within)?;
        Ok(out)
    }

    /// Passes over `n` bytes without keeping any.
    pub(super) fn skip(&mut self, n: u64, within: &str) -> Result<(), HeaderError> {
        let have = (self.buffer.len() - self.at) as u64;
        if n <= have && n <= self.left() {
            // `n` is at most the buffer's length.
            self.at += usize::try_from(n).unwrap_or(0);
            self.pos += n;
            return Ok(());
        }
        self.need(n, within)?;
        self.buffer.clear();
        self.at = 0;
        self.pos += n;
        self.inner
            .seek(SeekFrom::Start(self.pos))
            .map_err(HeaderError::Read)?;
        Ok(())
    }

    /// Passes over a string: its length, then its bytes.
    pub(super) fn skip_string(&mut self, within: &str) -> Result<(), HeaderError> {
        let n = self.u64(within)?;
        self.skip(n, within)
    }
}
