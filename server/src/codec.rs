//! Text forms of bytes: base64url without padding, and hexadecimal.
//!
//! Both are strict: one value has one text, and anything else is `None`. INVARIANT: no input makes
//! a decoder panic.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Bytes as base64url without padding.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| (word << 8) | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for at in 0..=chunk.len() {
            let index = (word >> (18 - 6 * at)) & 63;
            out.push(char::from(ALPHABET[index as usize]));
        }
    }
    out
}

/// The bytes of a base64url text in its one spelling.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for chunk in text.as_bytes().chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let mut word = 0_u32;
        for byte in chunk {
            let value = ALPHABET.iter().position(|known| known == byte)?;
            word = (word << 6) | u32::try_from(value).ok()?;
        }
        let word = word << (6 * (4 - chunk.len()));
        let [_, bytes @ ..] = word.to_be_bytes();
        let (kept, rest) = bytes.split_at(chunk.len() - 1);
        if rest.iter().any(|byte| *byte != 0) {
            return None;
        }
        out.extend_from_slice(kept);
    }
    Some(out)
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
    out
}

/// The bytes of a lower-case hexadecimal text of exactly `N` bytes.
pub(crate) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut out = [0; N];
    for (slot, pair) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *slot = (*slot << 4) | u8::try_from(value).ok()?;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64url_has_one_spelling() {
        for (bytes, text) in [(&b""[..], ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v")] {
            assert_eq!(base64url(bytes), text);
            assert_eq!(from_base64url(text).as_deref(), Some(bytes));
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
        for wrong in ["Z", "Zh", "Zm9=", "Zm+v", "Zm9v\n", "é"] {
            assert_eq!(from_base64url(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hexadecimal_is_lower_case_and_of_one_length() {
        assert_eq!(hex(&[0, 0xab]), "00ab");
        assert_eq!(from_hex::<2>("00ab"), Some([0, 0xab]));
        for wrong in ["00AB", "00a", "00abc", "zz00", "é0a"] {
            assert_eq!(from_hex::<2>(wrong), None, "{wrong}");
        }
    }
}
