//! Whether a file is what it is said to be, as it comes.

/// Longest mark with its offset.
const HEAD: usize = 16;

/// Looks at a content part by part.
#[derive(Debug)]
pub(super) struct Sniff<'a> {
    media_type: &'a str,
    head: Vec<u8>,
    /// Of a text: the beginning of a letter whose end is in the next part.
    cut: Vec<u8>,
    /// Of a text: something that is no text was in it.
    binary: bool,
}

impl<'a> Sniff<'a> {
    pub fn new(media_type: &'a str) -> Self {
        Self {
            media_type,
            head: Vec::with_capacity(HEAD),
            cut: Vec::new(),
            binary: false,
        }
    }

    fn is_text(&self) -> bool {
        self.media_type.starts_with("text/")
    }

    pub fn take(&mut self, part: &[u8]) {
        let wanted = HEAD.saturating_sub(self.head.len()).min(part.len());
        self.head
            .extend_from_slice(part.get(..wanted).unwrap_or_default());
        if !self.is_text() || self.binary {
            return;
        }
        let mut joined = std::mem::take(&mut self.cut);
        let letters = if joined.is_empty() {
            part
        } else {
            joined.extend_from_slice(part);
            joined.as_slice()
        };
        self.binary |= letters.contains(&0);
        if let Err(error) = std::str::from_utf8(letters) {
            self.binary |= error.error_len().is_some();
            self.cut = letters.get(error.valid_up_to()..).unwrap_or_default().to_vec();
        }
    }

    /// Whether all of it, as far as it came, is what its type says. Types without a mark of their own are
    /// believed.
    pub fn fits(&self) -> bool {
        let at =
            |offset: usize, mark: &[u8]| self.head.get(offset..).is_some_and(|rest| rest.starts_with(mark));
        match self.media_type {
            "image/jpeg" => at(0, &[0xff, 0xd8, 0xff]),
            "image/png" => at(0, b"\x89PNG\r\n\x1a\n"),
            "image/webp" => at(0, b"RIFF") && at(8, b"WEBP"),
            "image/heic" | "video/mp4" => at(4, b"ftyp"),
            "application/pdf" => at(0, b"%PDF-"),
            _ if self.is_text() => !self.binary && self.cut.is_empty(),
            _ => true,
        }
    }
}

/// Whether a whole content is what its type says.
pub fn looks_like(media_type: &str, bytes: &[u8]) -> bool {
    let mut sniff = Sniff::new(media_type);
    sniff.take(bytes);
    sniff.fits()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_not_believed_however_it_is_cut() {
        let table: [(&str, &[u8], bool); 10] = [
            ("image/png", b"\x89PNG\r\n\x1a\n....", true),
            ("image/png", b"<html>", false),
            ("image/jpeg", &[0xff, 0xd8, 0xff, 0xe0], true),
            ("image/webp", b"RIFF....WEBPVP8 ", true),
            ("video/mp4", b"....ftypisom", true),
            ("application/pdf", b"", false),
            ("text/plain", "größer als 10 µm".as_bytes(), true),
            ("text/plain", b"gr\xf6\xdfer", false),
            ("text/csv", b"a\0b", false),
            ("text/csv", "µ".as_bytes().split_at(1).0, false),
        ];
        for (media_type, bytes, expect) in table {
            assert_eq!(looks_like(media_type, bytes), expect, "{media_type} {bytes:?}");
            for size in 1..=3 {
                let mut sniff = Sniff::new(media_type);
                for part in bytes.chunks(size) {
                    sniff.take(part);
                }
                assert_eq!(sniff.fits(), expect, "{media_type} {bytes:?} in parts of {size}");
            }
        }
    }
}
