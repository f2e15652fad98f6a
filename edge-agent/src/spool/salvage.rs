//! Reading one segment file on its own, whatever its bytes are: to look into a spool that was brought
//! in from the field, and for the fuzz target, which wants a function of bytes.

use std::io;

use super::Record;
use super::disk::DiskFile;
use super::format::{self, At, SegmentHeader};
use super::read::read_body;

/// What a segment file held.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    /// `None` when the header is damaged; records are found all the same.
    pub header: Option<SegmentHeader>,
    /// Intact records, in the order of the file.
    pub records: Vec<Record>,
    /// Damaged places, each one record or more.
    pub damaged: u64,
    /// Bytes at the end of a write that was cut short.
    pub torn_bytes: u64,
}

/// Bytes as a file that nobody writes to.
struct Frozen(Vec<u8>);

impl DiskFile for Frozen {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..))
            .unwrap_or_default();
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Everything that can still be read of a segment's bytes.
///
/// # Errors
/// Only when a length doesn't fit this machine's memory.
pub fn read(bytes: Vec<u8>) -> io::Result<Salvaged> {
    let file = Frozen(bytes);
    let mut salvaged = Salvaged::default();
    let mut offset = 0;
    match SegmentHeader::read(&file)? {
        Some((header, len)) => (salvaged.header, offset) = (Some(header), len),
        None => salvaged.damaged += 1,
    }
    loop {
        match format::look(&file, offset, 0)? {
            At::Record(record) => {
                match read_body(&file, offset, &record)? {
                    Some(mut body) => salvaged.records.push(Record {
                        seq: record.seq,
                        readings: record.readings,
                        payload: body.split_off(record.resume_len as usize),
                    }),
                    None => salvaged.damaged += 1,
                }
                offset += record.total_len();
            }
            At::End => return Ok(salvaged),
            At::Torn => {
                salvaged.torn_bytes = file.len()? - offset;
                return Ok(salvaged);
            }
            At::Damaged { next } => {
                salvaged.damaged += u64::from(offset > 0);
                match next {
                    Some(next) => offset = next,
                    None => return Ok(salvaged),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::format::RecordHeader;
    use super::*;

    fn segment() -> Vec<u8> {
        let header = SegmentHeader {
            epoch: 7,
            base: 1,
            made_at: 0,
            resume: vec![1, 2],
        };
        let mut bytes = header.encode();
        for seq in 1..=5 {
            bytes.extend(RecordHeader::encode(seq, 1, (0, 0), &[9], &[seq as u8; 40]));
        }
        bytes
    }

    proptest! {
        #[test]
        fn a_flipped_bit_costs_one_record(at in 0_usize..400, bit in 0_u8..8) {
            let mut bytes = segment();
            let at = at % bytes.len();
            bytes[at] ^= 1 << bit;
            let found = read(bytes).unwrap();
            prop_assert!(found.records.len() >= 4, "{found:?}");
            prop_assert!(found.damaged + u64::from(found.torn_bytes > 0) >= 1);
            for record in &found.records {
                prop_assert_eq!(&record.payload, &vec![record.seq as u8; 40]);
            }
        }

        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300), whole in any::<bool>()) {
            let bytes = if whole { [segment(), bytes].concat() } else { bytes };
            let found = read(bytes).unwrap();
            prop_assert!(!whole || found.records.len() >= 5);
        }
    }
}
