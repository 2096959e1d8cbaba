//! Text as people's machines write it: UTF-8 with or without a byte-order mark, or UTF-16.
//!
//! Windows PowerShell's `>` writes UTF-16 with a mark; editors there write UTF-8 with one.

/// Why bytes are no text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Neither UTF-8 nor marked UTF-16.
    #[error("not UTF-8 text (first bad byte at offset {0})")]
    NotUtf8(usize),
    /// A UTF-16 mark, but what follows is not UTF-16.
    #[error("marked as UTF-16, but it is not valid UTF-16")]
    NotUtf16,
}

/// The text in `bytes`, without its byte-order mark.
pub fn decode(bytes: &[u8]) -> Result<String, TextError> {
    if let Some(rest) = bytes.strip_prefix(b"\xef\xbb\xbf") {
        return utf8(rest, 3);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xff\xfe") {
        return utf16(rest, u16::from_le_bytes);
    }
    if let Some(rest) = bytes.strip_prefix(b"\xfe\xff") {
        return utf16(rest, u16::from_be_bytes);
    }
    utf8(bytes, 0)
}

fn utf8(bytes: &[u8], skipped: usize) -> Result<String, TextError> {
    match std::str::from_utf8(bytes) {
        Ok(s) => Ok(s.to_owned()),
        Err(e) => Err(TextError::NotUtf8(skipped + e.valid_up_to())),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, TextError> {
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return Err(TextError::NotUtf16);
    }
    let units = pairs.map(|p| match p {
        [a, b] => unit([*a, *b]),
        _ => 0,
    });
    char::decode_utf16(units)
        .collect::<Result<String, _>>()
        .map_err(|_| TextError::NotUtf16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_gives_the_same_text() {
        let text = "{\"größe\": 1}";
        let le: Vec<u8> = [0xff, 0xfe]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
            .collect();
        let be: Vec<u8> = [0xfe, 0xff]
            .into_iter()
            .chain(text.encode_utf16().flat_map(u16::to_be_bytes))
            .collect();
        let bom: Vec<u8> = b"\xef\xbb\xbf"
            .iter()
            .copied()
            .chain(text.bytes())
            .collect();
        for bytes in [text.as_bytes(), &le, &be, &bom] {
            assert_eq!(decode(bytes).unwrap(), text);
        }
    }

    #[test]
    fn what_is_no_text_says_so() {
        assert_eq!(decode(b"ab\xff"), Err(TextError::NotUtf8(2)));
        assert_eq!(decode(b"\xff\xfe\x00"), Err(TextError::NotUtf16));
        assert_eq!(decode(b"\xff\xfe\x00\xd8"), Err(TextError::NotUtf16));
    }
}
