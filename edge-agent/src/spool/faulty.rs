//! A disk in memory that loses what was not synced, tears writes, fills up, refuses to sync and flips
//! bits.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::disk::{Disk, DiskFile};

const SECTOR: usize = 32;

#[derive(Default, Clone)]
struct Inode {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Bytes that a failed sync gave up: the kernel holds them for clean, so that a later sync says
    /// yes and still doesn't bring them to the disk. Writing them again does.
    given_up: BTreeSet<usize>,
}

impl Inode {
    fn sync(&mut self) {
        let mut after = self.now.clone();
        for at in &self.given_up {
            if let Some(byte) = after.get_mut(*at) {
                *byte = self.durable.get(*at).copied().unwrap_or(0);
            }
        }
        self.durable = after;
    }

    fn give_up(&mut self) {
        let dirty = (0..self.now.len()).filter(|at| self.durable.get(*at) != self.now.get(*at));
        self.given_up.extend(dirty);
    }
}

#[derive(Default)]
pub struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Directory states since the last directory sync, oldest first.
    name_history: Vec<BTreeMap<String, usize>>,
    pub fail_writes: u32,
    pub fail_syncs: u32,
    /// Making, renaming and removing files, and syncs of the folder.
    pub fail_names: u32,
    /// No byte more fits.
    pub full: bool,
}

#[derive(Default, Clone)]
pub struct FaultyDisk(pub Arc<Mutex<State>>);

pub struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

impl State {
    fn refuse_name(&mut self) -> io::Result<()> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if self.fail_names > 0 {
            self.fail_names -= 1;
            return Err(io::Error::other("the folder can't be changed"));
        }
        Ok(())
    }

    fn named(&mut self) {
        let names = self.names.clone();
        self.name_history.push(names);
    }
}

impl Disk for FaultyDisk {
    type File = FaultyFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().names.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut state = self.0.lock();
        state.refuse_name()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        state.named();
        Ok(FaultyFile {
            disk: self.clone(),
            inode,
        })
    }

    fn open(&self, name: &str) -> io::Result<FaultyFile> {
        let inode = *self.0.lock().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(FaultyFile {
            disk: self.clone(),
            inode,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        state.refuse_name()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.named();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock();
        // A full disk doesn't keep anybody from removing.
        let full = std::mem::take(&mut state.full);
        let refused = state.refuse_name();
        state.full = full;
        refused?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.named();
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if state.fail_names > 0 {
            state.fail_names -= 1;
            return Err(io::Error::other("sync of the folder refused"));
        }
        state.durable_names = state.names.clone();
        state.name_history.clear();
        Ok(())
    }
}

impl DiskFile for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.0.lock().inodes[self.inode].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.0.lock();
        let bytes = state.inodes[self.inode].now.get(offset as usize..).unwrap_or(&[]);
        let n = bytes.len().min(buf.len());
        buf[..n].copy_from_slice(&bytes[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        let fail = state.fail_writes > 0 || state.full;
        let n = if fail { bytes.len() / 2 } else { bytes.len() };
        let end = offset as usize + n;
        let inode = &mut state.inodes[self.inode];
        inode.given_up.retain(|at| !(offset as usize..end).contains(at));
        let file = &mut inode.now;
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(&bytes[..n]);
        if fail {
            state.fail_writes = state.fail_writes.saturating_sub(1);
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.0.lock().inodes[self.inode].now.resize(len as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.0.lock();
        if state.fail_syncs > 0 {
            state.fail_syncs -= 1;
            state.inodes[self.inode].give_up();
            return Err(io::Error::other("sync refused"));
        }
        state.inodes[self.inode].sync();
        Ok(())
    }
}

impl FaultyDisk {
    /// Power cut: of what was not synced, each sector and each directory change may or may not be there.
    pub fn crash(&self, mut chance: u64) {
        let mut next = move |n: usize| {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (chance >> 33) as usize % n.max(1)
        };
        let mut state = self.0.lock();
        let kept = next(state.name_history.len() + 1);
        let names = if kept == 0 {
            state.durable_names.clone()
        } else {
            state.name_history[kept - 1].clone()
        };
        state.names = names.clone();
        state.durable_names = names;
        state.name_history.clear();
        state.fail_writes = 0;
        state.fail_syncs = 0;
        state.fail_names = 0;
        state.full = false;
        for inode in &mut state.inodes {
            if inode.now == inode.durable {
                continue;
            }
            inode.given_up.clear();
            let len = if next(2) == 0 {
                inode.durable.len()
            } else {
                inode.now.len()
            };
            let mut after = vec![0; len];
            for (i, sector) in after.chunks_mut(SECTOR).enumerate() {
                let from = if next(2) == 0 { &inode.durable } else { &inode.now };
                for (j, byte) in sector.iter_mut().enumerate() {
                    *byte = from.get(i * SECTOR + j).copied().unwrap_or(0);
                }
            }
            inode.now = after.clone();
            inode.durable = after;
        }
    }

    /// Flips one bit of a segment, everywhere. Returns whether there was one.
    pub fn flip(&self, place: u64) -> bool {
        let mut state = self.0.lock();
        let segments: Vec<usize> = state
            .names
            .iter()
            .filter(|(name, _)| name.ends_with(".seg"))
            .map(|(_, inode)| *inode)
            .collect();
        let total: usize = segments.iter().map(|inode| state.inodes[*inode].now.len()).sum();
        if total == 0 {
            return false;
        }
        let mut at = place as usize % total;
        for inode in segments {
            let inode = &mut state.inodes[inode];
            if at < inode.now.len() {
                inode.now[at] ^= 1 << (place % 8);
                inode.given_up.remove(&at);
                if let Some(byte) = inode.durable.get_mut(at) {
                    *byte ^= 1 << (place % 8);
                }
                return true;
            }
            at -= inode.now.len();
        }
        false
    }
}
