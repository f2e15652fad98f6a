//! Files of the edge agent's spool: whatever lies in a segment, opening and reading the spool never
//! panics, ends, and hands out numbers that only rise; afterwards it can be written to. With
//! `TMPDIR=/dev/shm`, or it waits for the disk nearly all the time.

#![no_main]

use edge_agent::spool::disk::OsDisk;
use edge_agent::spool::{Entry, Options, Spool};
use libfuzzer_sys::fuzz_target;
use models::time::Timestamp;

fuzz_target!(|data: &[u8]| {
    let now = Timestamp::from_secs(1_767_225_600);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || {
        let disk = OsDisk::new(folder.path()).expect("the folder is there");
        Spool::open(disk, Options::new(1 << 20), now)
    };
    // A sound segment first, so that the bytes land in a file with the right name and header.
    let Ok((mut spool, _)) = open() else { return };
    for i in 0..3_u8 {
        let entry = Entry {
            payload: vec![i; 40],
            readings: 1,
            ..Entry::default()
        };
        let _ = spool.append(&entry, now);
    }
    drop(spool);
    let Some((&place, bytes)) = data.split_first() else {
        return;
    };
    for file in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
        let Ok(mut content) = std::fs::read(file.path()) else {
            continue;
        };
        let from = usize::from(place).min(content.len());
        content.truncate(from);
        content.extend_from_slice(bytes);
        let _ = std::fs::write(file.path(), content);
    }
    let Ok((mut spool, _)) = open() else { return };
    let mut after = 0;
    while let Ok(Some(record)) = spool.read(after) {
        assert!(record.seq > after);
        after = record.seq;
    }
    let _ = spool.append(&Entry::default(), now);
});
