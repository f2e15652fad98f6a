use models::mapping::Text;
use proptest::prelude::*;

use super::*;
use crate::codec::NamedColumn;

/// 2026-01-01T00:00:00Z.
const T0: i64 = 1_767_225_600_000_000;

fn file<'a>(text: &'a [u8], mapping: &Mapping, per_chunk: usize) -> LineFile<&'a [u8]> {
    let limits = TimeLimits {
        future_s: 3_600,
        ancient: Timestamp::from_secs(631_152_000),
    };
    LineFile::new(text, "a.lp", mapping, limits, per_chunk).unwrap()
}

fn all(text: &[u8], mapping: &Mapping) -> (Vec<NamedColumn>, Vec<String>) {
    let chunk = file(text, mapping, usize::MAX).next(false).unwrap().unwrap();
    let details = chunk.decoded.rejects.into_iter().map(|reject| reject.detail);
    (chunk.decoded.columns, details.collect())
}

fn ns(i: i64) -> i64 {
    (T0 + i) * 1_000
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_rest_is_read() {
    let mut text = format!("# DML\nm,device=d f=1 {}\n", ns(0)).into_bytes();
    text.extend_from_slice(b"m,device=d f=\xff\n");
    text.extend(format!("m,device=d f=x {}\n", ns(1)).bytes());
    text.extend(b"m,device=d f=2 1767225600\nm,device=d f=3\n");
    text.extend(format!("m,device=d f=4 {}\n", ns(1_000_000_000_000_000)).bytes());
    text.extend(format!("m,device=d s=\"a\nb\",f=5 {}\n", ns(5)).bytes());
    text.extend(format!("m,device=d f=6 {}", ns(6)).bytes());
    let (columns, details) = all(&text, &Mapping::default());
    assert_eq!(columns.len(), 1);
    assert_eq!(columns[0].values, [1.0, 5.0, 6.0]);
    assert_eq!(columns[0].ts, [T0, T0 + 5, T0 + 6]);
    let expect = [
        "a.lp line 3, column 14: not UTF-8",
        "a.lp line 4, column 14: field `f`: expected a number",
        "a.lp line 5, column 16: 1970-01-01T00:00:01.767225Z is too long ago",
        "a.lp line 6, column 15: a time stamp is missing",
        "a.lp line 7, column 16: 2057-09-09T01:46:40Z is ahead of the server's clock",
        "a.lp line 8, field `s`: expected a number or truth value, got text",
    ];
    assert_eq!(details.len(), expect.len(), "{details:#?}");
    for (detail, words) in details.iter().zip(expect) {
        assert!(detail.starts_with(words), "{detail} should begin with {words}");
    }
}

#[test]
fn a_file_without_newlines_does_not_fill_the_memory() {
    let mut text = vec![b'x'; 3 << 20];
    text.extend(format!("\nm,device=d f=1 {}\n", ns(0)).bytes());
    let (columns, details) = all(&text, &Mapping::default());
    assert_eq!(columns[0].values, [1.0]);
    assert_eq!(details, ["a.lp line 1: it is longer than 1048576 bytes"]);
}

#[test]
fn the_mapping_names_channels_and_units() {
    let mapping = Mapping {
        time_format: TimeFormat::UnixS,
        unit: Some("Cel".into()),
        text: Text::Ignore,
        columns: vec![ColumnMap {
            column: "m.a[t=x]".into(),
            channel: Some("hot".into()),
            device: Some("press".into()),
            unit: Some("K".into()),
        }],
        skip: vec!["m.b".into()],
        ..Mapping::default()
    };
    let text = b"m,device=d,t=x a=1,b=2,c=3,s=\"on\" 1767225600\nm,device=d,t=y b=4,d=5 1767225601\n";
    let (columns, details) = all(text, &mapping);
    assert_eq!(details, [""; 0]);
    let rows: Vec<_> = columns
        .iter()
        .map(|column| {
            (
                column.device.as_str(),
                column.channel.as_str(),
                column.unit.as_deref(),
                column.ts[0] - T0,
            )
        })
        .collect();
    assert_eq!(
        rows,
        [
            ("press", "hot", Some("K"), 0),
            ("d", "m.c[t=x]", Some("Cel"), 0),
            ("d", "m.d[t=y]", Some("Cel"), 1_000_000),
        ]
    );
    let refused = |mapping: Mapping| {
        let limits = TimeLimits {
            future_s: 0,
            ancient: Timestamp::MIN,
        };
        LineFile::new(&b""[..], "a.lp", &mapping, limits, 1)
            .err()
            .unwrap()
            .to_string()
    };
    let mapping = Mapping {
        value_column: Some("v".into()),
        ..Mapping::default()
    };
    assert!(refused(mapping).starts_with("value_column: line protocol has no columns"));
    let mapping = Mapping {
        time_format: TimeFormat::Rfc3339,
        ..Mapping::default()
    };
    assert!(refused(mapping).starts_with("time_format: line protocol has unix_s"));
}

/// Good lines, and what is in files beside them.
fn line() -> impl Strategy<Value = String> {
    let at = 0..1_000_000_i64;
    prop_oneof![
        4 => (0..3_u8, prop::collection::vec(any::<i16>(), 1..4), at.clone()).prop_map(|(d, values, at)| {
            let fields: Vec<String> = values.iter().enumerate().map(|(i, v)| format!("f{i}={v}")).collect();
            format!("m,device=d{d} {} {}", fields.join(","), ns(at))
        }),
        1 => at.prop_map(|at| format!("m,device=d s=\"a\nb = \\\" c\",f=1 {}", ns(at))),
        1 => "[a-z ,=\"\\\\#é0-9]{0,30}",
    ]
}

proptest! {
    /// Chunks of any size hold together what one chunk holds, and a second run that passes some of
    /// them goes on where the first one stopped.
    #[test]
    fn chunks_are_cut_in_the_same_places(
        lines in prop::collection::vec(line(), 0..60), per_chunk in 1..20_usize, passed in 0..10_usize,
    ) {
        let text = lines.join("\n").into_bytes();
        let mapping = Mapping::default();
        let read = |per_chunk: usize, passed: usize| {
            let mut file = file(&text, &mapping, per_chunk);
            let mut chunks = Vec::new();
            for i in 0.. {
                let Some(chunk) = file.next(i < passed).unwrap() else { break };
                chunks.push(chunk);
            }
            chunks
        };
        let whole = read(usize::MAX, 0);
        let parts = read(per_chunk, 0);
        let count = |chunks: &[Chunk]| -> (usize, u64) {
            let readings = chunks.iter().map(|chunk| chunk.decoded.readings()).sum();
            (readings, chunks.iter().map(|chunk| chunk.records).sum())
        };
        prop_assert_eq!(count(&whole), count(&parts));
        prop_assert_eq!(parts.last().map_or(0, |chunk| chunk.bytes), text.len() as u64);
        let again = read(per_chunk, passed);
        prop_assert_eq!(again.len(), parts.len());
        for (i, (first, second)) in parts.iter().zip(&again).enumerate() {
            prop_assert_eq!(first.bytes, second.bytes);
            if i < passed {
                prop_assert_eq!(second.decoded.readings(), 0);
            } else {
                prop_assert_eq!(&first.decoded, &second.decoded);
            }
        }
    }
}
