//! What lies on the disk. All integers little-endian.
//!
//! | segment header | | record header | |
//! |---|---|---|---|
//! | 0 | magic `FWSPOOL1` | 0 | magic `FWR1` |
//! | 8 | epoch, u64 | 4 | length of resume, u32 |
//! | 16 | first sequence number, u64 | 8 | sequence number, u64 |
//! | 24 | made at, i64 microseconds | 16 | length of payload, u32 |
//! | 32 | length of resume, u32 | 20 | readings, u32 |
//! | 36 | checksum of 0..36 and resume | 24, 32 | oldest and newest reading, i64 microseconds |
//! | 40 | resume | 40 | checksum of resume and payload |
//! | | | 44 | checksum of 0..44 |
//! | | | 48 | resume, payload |
//!
//! The header has a checksum of its own, so that a damaged payload costs one record: its length
//! still leads to the next.

use std::io;

use super::disk::DiskFile;

const SEGMENT_MAGIC: &[u8; 8] = b"FWSPOOL1";
const RECORD_MAGIC: &[u8; 4] = b"FWR1";
pub const SEGMENT_HEADER: usize = 40;
pub const RECORD_HEADER: usize = 48;
/// Longer than any record can be: batches have at most 16 MiB before compression.
pub const MAX_RECORD: usize = 32 << 20;

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// First bytes of a segment: whose it is, where it starts, and how far the collectors were then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub epoch: u64,
    pub base: u64,
    /// Microseconds.
    pub made_at: i64,
    pub resume: Vec<u8>,
}

impl SegmentHeader {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER + self.resume.len());
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.extend_from_slice(&self.base.to_le_bytes());
        out.extend_from_slice(&self.made_at.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.resume.len()).unwrap_or(u32::MAX).to_le_bytes());
        let mut crc = crc32fast::Hasher::new();
        crc.update(&out);
        crc.update(&self.resume);
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        out.extend_from_slice(&self.resume);
        out
    }

    /// The header and its length, or `None` when it is damaged or incomplete.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn read(file: &impl DiskFile) -> io::Result<Option<(Self, u64)>> {
        let mut head = [0; SEGMENT_HEADER];
        if file.read_at(&mut head, 0)? < SEGMENT_HEADER || &head[..8] != SEGMENT_MAGIC {
            return Ok(None);
        }
        let len = u32_at(&head, 32) as usize;
        if len > MAX_RECORD || (SEGMENT_HEADER + len) as u64 > file.len()? {
            return Ok(None);
        }
        let mut resume = vec![0; len];
        if file.read_at(&mut resume, SEGMENT_HEADER as u64)? < len {
            return Ok(None);
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(&head[..36]);
        crc.update(&resume);
        if crc.finalize() != u32_at(&head, 36) {
            return Ok(None);
        }
        Ok(Some((
            Self {
                epoch: u64_at(&head, 8),
                base: u64_at(&head, 16),
                made_at: u64_at(&head, 24) as i64,
                resume,
            },
            (SEGMENT_HEADER + len) as u64,
        )))
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub seq: u64,
    pub readings: u32,
    pub oldest: i64,
    pub newest: i64,
    pub resume_len: u32,
    pub payload_len: u32,
    body_crc: u32,
}

impl RecordHeader {
    /// Header and body together.
    pub fn encode(
        seq: u64,
        readings: u32,
        (oldest, newest): (i64, i64),
        resume: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let mut crc = crc32fast::Hasher::new();
        crc.update(resume);
        crc.update(payload);
        let mut out = Vec::with_capacity(RECORD_HEADER + resume.len() + payload.len());
        out.extend_from_slice(RECORD_MAGIC);
        out.extend_from_slice(&u32::try_from(resume.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&seq.to_le_bytes());
        out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&readings.to_le_bytes());
        out.extend_from_slice(&oldest.to_le_bytes());
        out.extend_from_slice(&newest.to_le_bytes());
        out.extend_from_slice(&crc.finalize().to_le_bytes());
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(resume);
        out.extend_from_slice(payload);
        out
    }

    /// `None` when these bytes are no intact header.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..RECORD_HEADER)?;
        if &head[..4] != RECORD_MAGIC || crc32fast::hash(&head[..44]) != u32_at(head, 44) {
            return None;
        }
        let header = Self {
            seq: u64_at(head, 8),
            readings: u32_at(head, 20),
            oldest: u64_at(head, 24) as i64,
            newest: u64_at(head, 32) as i64,
            resume_len: u32_at(head, 4),
            payload_len: u32_at(head, 16),
            body_crc: u32_at(head, 40),
        };
        (header.body_len() <= MAX_RECORD as u64).then_some(header)
    }

    pub fn body_len(&self) -> u64 {
        u64::from(self.resume_len) + u64::from(self.payload_len)
    }

    pub fn total_len(&self) -> u64 {
        RECORD_HEADER as u64 + self.body_len()
    }

    pub fn body_is_intact(&self, body: &[u8]) -> bool {
        body.len() as u64 == self.body_len() && crc32fast::hash(body) == self.body_crc
    }
}

/// What stands at an offset of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Record(RecordHeader),
    /// The file ends here.
    End,
    /// The file ends inside what began here, or nothing but zeros follows: a write that a crash cut
    /// short. It was never synced, so it was never sent.
    Torn,
    /// Damaged. The next intact record, if any, begins at `next`.
    Damaged {
        next: Option<u64>,
    },
}

/// Looks at `offset`. A record counts here when its header is intact and its body's length is there;
/// the body's checksum is the reader's to check.
///
/// # Errors
/// When the file can't be read.
pub fn look(file: &impl DiskFile, offset: u64, after: u64) -> io::Result<At> {
    let end = file.len()?;
    if offset >= end {
        return Ok(At::End);
    }
    let mut head = [0; RECORD_HEADER];
    let n = file.read_at(&mut head, offset)?;
    if let Some(header) = RecordHeader::decode(&head[..n]) {
        return Ok(if offset + header.total_len() <= end {
            At::Record(header)
        } else {
            At::Torn
        });
    }
    if n < RECORD_HEADER {
        return Ok(At::Torn);
    }
    resync(file, offset, end, after)
}

/// Searches for the next intact header behind a damaged place.
fn resync(file: &impl DiskFile, from: u64, end: u64, after: u64) -> io::Result<At> {
    const CHUNK: usize = 64 << 10;
    let mut only_zeros = true;
    let mut at = from;
    let mut buffer = vec![0; CHUNK + RECORD_HEADER];
    while at < end {
        let n = file.read_at(&mut buffer, at)?;
        if n == 0 {
            break;
        }
        only_zeros &= buffer[..n].iter().all(|byte| *byte == 0);
        let starts = n.min(CHUNK);
        for i in 0..starts {
            let offset = at + i as u64;
            if offset > from
                && buffer[i] == RECORD_MAGIC[0]
                && let Some(header) = RecordHeader::decode(&buffer[i..n])
                && header.seq > after
                && offset + header.total_len() <= end
            {
                return Ok(At::Damaged { next: Some(offset) });
            }
        }
        at += starts as u64;
    }
    Ok(if only_zeros {
        At::Torn
    } else {
        At::Damaged { next: None }
    })
}
