//! Cutting packets out of a stream of bytes.

use bytes::BytesMut;

use super::{PacketError, malformed};

/// Cuts the next whole packet out of `buffer`; `None` = more bytes are needed.
///
/// # Errors
/// When its length is malformed or more than `max` bytes.
pub fn next_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<BytesMut>, PacketError> {
    let mut length = 0_usize;
    for i in 0..4 {
        let Some(byte) = buffer.get(1 + i) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let total = 2 + i + length;
            if total > max {
                return Err(PacketError::TooLarge(total));
            }
            if buffer.len() < total {
                buffer.reserve(total - buffer.len());
                return Ok(None);
            }
            return Ok(Some(buffer.split_to(total)));
        }
    }
    Err(malformed("length of more than four bytes"))
}

/// Bytes of the fixed header of a whole packet.
pub(super) fn header_len(frame: &[u8]) -> usize {
    2 + frame.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count()
}
