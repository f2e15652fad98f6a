//! Bytes from the network: cutting packets out of them and reading those never panics, and a packet
//! that was read once is read the same again.

#![no_main]

use bytes::BytesMut;
use ingest::front_door::packet::{Version, next_frame, read, read_connect};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let version = if choice & 1 == 0 { Version::V4 } else { Version::V5 };
    let mut buffer = BytesMut::from(rest);
    while let Ok(Some(frame)) = next_frame(&mut buffer, 1 << 20) {
        let once = read(version, frame.clone());
        assert_eq!(once, read(version, frame.clone()));
        assert_eq!(read_connect(frame.clone()), read_connect(frame));
    }
});
