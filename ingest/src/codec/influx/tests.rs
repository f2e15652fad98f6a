use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_micros(1_767_225_600_000_000);

fn read(payload: &str) -> Decoded {
    decode(payload.as_bytes(), &Options::default(), NOW).unwrap()
}

fn rows(payload: &str) -> Vec<(String, String, i64, f64)> {
    let decoded = read(payload);
    assert_eq!(decoded.rejects, []);
    let mut rows = Vec::new();
    for column in decoded.columns {
        for (ts, value) in column.ts.iter().zip(&column.values) {
            rows.push((column.device.clone(), column.channel.clone(), *ts, *value));
        }
    }
    rows
}

fn row(device: &str, channel: &str, value: f64) -> (String, String, i64, f64) {
    (device.into(), channel.into(), NOW.micros(), value)
}

/// What Telegraf's inputs send, by its documentation of each plugin's metrics.
#[test]
fn a_set_of_telegraf_payloads() {
    let payload = "\
cpu,cpu=cpu-total,host=press-3 usage_idle=92.4,usage_user=5.1 1767225600000000000
mem,host=press-3 total=8254865408u,used_percent=41.25,available=4849770496i 1767225600000000000
disk,device=sda1,fstype=ext4,host=press-3,mode=rw,path=/ used_percent=17.5 1767225600000000000
modbus,host=press-3,name=PLC\\ 1,slave_id=1,type=holding_register spindle_temp=61.5,running=true 1767225600000000000
opcua,host=press-3,id=ns\\=3;s\\=Temperature vibration=2.25 1767225600000000000
";
    assert_eq!(
        rows(payload),
        [
            row("press-3", "cpu.usage_idle[cpu=cpu-total]", 92.4),
            row("press-3", "cpu.usage_user[cpu=cpu-total]", 5.1),
            row("press-3", "mem.total", 8_254_865_408.0),
            row("press-3", "mem.used_percent", 41.25),
            row("press-3", "mem.available", 4_849_770_496.0),
            row(
                "sda1",
                "disk.used_percent[fstype=ext4,host=press-3,mode=rw,path=/]",
                17.5
            ),
            row(
                "press-3",
                "modbus.spindle_temp[name=PLC 1,slave_id=1,type=holding_register]",
                61.5
            ),
            row(
                "press-3",
                "modbus.running[name=PLC 1,slave_id=1,type=holding_register]",
                1.0
            ),
            row("press-3", "opcua.vibration[id=ns=3;s=Temperature]", 2.25),
        ]
    );
}

#[test]
fn times_escapes_and_types() {
    let at = NOW.micros();
    assert_eq!(rows("m f=1")[0].2, at, "no time: now");
    assert_eq!(
        rows("m f=1 1767225600000001999")[0].2,
        at + 1,
        "nanoseconds are cut off"
    );
    assert_eq!(rows("# comment\n\nm f=-1e-3\r\n")[0].3, -0.001);
    assert_eq!(rows("my\\ m,a\\,b=c\\=d f\\ 1=T")[0].1, "my m.f 1[a,b=c=d]");
    let options = Options {
        device: Some("dev".into()),
        precision: Some(Precision::Ms),
        text: Text::Ignore,
    };
    let decoded = decode(b"m,host=h s=\"a \\\" b, c=\n\",v=2 1767225600001", &options, NOW).unwrap();
    assert_eq!(decoded.columns.len(), 1);
    assert_eq!(decoded.columns[0].device, "dev");
    assert_eq!(decoded.columns[0].channel, "m.v[host=h]");
    assert_eq!(decoded.columns[0].ts, [at + 1_000]);
}

#[test]
fn a_bad_line_is_kept_and_its_neighbours_stored() {
    let decoded = read("m f=1\nm f=\nm,t= f=1\nm f=1 noon\nm f=\"21.5\"\nm f=2");
    assert_eq!(decoded.columns[0].values, [1.0, 2.0]);
    let details: Vec<&str> = decoded
        .rejects
        .iter()
        .map(|reject| reject.detail.as_str())
        .collect();
    assert_eq!(
        details,
        [
            "line 2, column 5: field `f`: expected a number, 1i, 1u, true, false or \"text\", got ``",
            "line 3, column 5: tag `t` has no value, or a = that is not escaped",
            "line 4, column 7: expected a whole number as the time stamp",
            "line 5, field `f`: expected a number or truth value, got text \"21.5\"",
        ]
    );
    assert_eq!(decoded.readings(), 6);
}

#[test]
fn a_stray_quote_takes_no_neighbours_along() {
    let decoded = read("# a 3\" pipe\nm f=1\nm f=2\"\nm f=3\\\nm s=\"x\ny\",f=4\nm f=no\n");
    assert_eq!(decoded.columns[0].values, [1.0, 4.0]);
    let details: Vec<&str> = decoded
        .rejects
        .iter()
        .map(|reject| &reject.detail[..17])
        .collect();
    assert_eq!(
        details,
        [
            "line 3, column 5:",
            "line 4, column 5:",
            "line 5, field `s`",
            "line 7, column 5:"
        ],
        "lines are those of the file, also behind a text of two"
    );
}

#[test]
fn nothing_readable_is_refused_with_its_place() {
    let refused = |payload: &[u8]| {
        let error = decode(payload, &Options::default(), NOW).unwrap_err();
        (error.reason, error.detail)
    };
    assert_eq!(
        refused(b""),
        ("malformed_line", "line 1: there is no line".into())
    );
    assert_eq!(
        refused(b"m f=1\xff"),
        ("malformed_line", "byte 5: not UTF-8".into())
    );
    assert_eq!(
        refused(b"cpu,host=a usage_id"),
        (
            "malformed_line",
            "line 1, column 12: expected a field as key=value".into()
        )
    );
    assert_eq!(
        refused(b"m f=\"never ends"),
        (
            "malformed_line",
            "line 1, column 5: field `f`: the text has no closing quote".into()
        )
    );
    let huge = "m f=1\n".repeat(MAX_READINGS + 1);
    assert_eq!(refused(huge.as_bytes()).0, "too_many_readings");
}

fn escape(text: &str) -> String {
    text.replace(',', "\\,").replace('=', "\\=").replace(' ', "\\ ")
}

proptest! {
    #[test]
    fn what_was_written_is_read(
        points in prop::collection::vec(("[a-z ,=é]{1,8}", "[a-z ,=]{1,8}", any::<i32>(), 0..1_000_000_i64), 1..20),
    ) {
        let text: Vec<String> = points.iter()
            .map(|(m, f, v, t)| format!("x{},device=d {}={v} {}", escape(m), escape(f), (NOW.micros() + t) * 1_000))
            .collect();
        let mut got: Vec<(String, i64, f64)> = rows(&text.join("\n")).into_iter().map(|row| (row.1, row.2, row.3)).collect();
        let mut expect: Vec<(String, i64, f64)> = points.into_iter()
            .map(|(m, f, v, t)| (format!("x{m}.{f}"), NOW.micros() + t, f64::from(v)))
            .collect();
        got.sort_by(|a, b| a.partial_cmp(b).unwrap());
        expect.sort_by(|a, b| a.partial_cmp(b).unwrap());
        prop_assert_eq!(got, expect);
    }

    #[test]
    fn noise_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(decode(&bytes, &Options::default(), NOW));
    }

    #[test]
    fn line_like_noise_never_panics(text in "([a-z]{0,3}[ ,=\"\\\\\n#é]{0,3}[0-9.iue+-]{0,4}){0,12}") {
        drop(decode(text.as_bytes(), &Options::default(), NOW));
    }
}
