use analytics::backtest::nab;
use analytics::backtest::nab_score::{Profile, Scored, at, best, probation};

use super::data;

const STANDARD: Profile = Profile {
    hit: 1.0,
    miss: 1.0,
    false_alarm: 0.11,
};

/// A published detector's scores: our scorer must give its published result, stream by stream.
#[test]
fn scorer_reference() {
    let Some(folder) = data("nab") else { return };
    let mut streams = Vec::new();
    for stream in nab::read(&folder).unwrap() {
        let name = format!(
            "scorer-reference/windowedGaussian/{}.gz",
            stream.name.replace('/', "__")
        );
        let file = flate2::read::GzDecoder::new(std::fs::File::open(folder.join(name)).unwrap());
        let mut reader = csv::Reader::from_reader(file);
        let (mut score, mut published) = (Vec::new(), 0.0);
        for record in reader.records() {
            let record = record.unwrap();
            score.push(record[1].parse::<f64>().unwrap());
            published += record[2].parse::<f64>().unwrap();
        }
        assert!(score[..probation(score.len())].len() < score.len());
        let scored = Scored {
            score,
            windows: stream.windows,
        };
        scored.check().unwrap();
        let raw = scored.raw(1.0, &STANDARD);
        assert!(
            (raw - published).abs() < 1e-6,
            "{}: {raw}, published {published}",
            stream.name
        );
        streams.push(scored);
    }
    let standard = at(&streams, 1.0, &STANDARD);
    assert!((standard - 36.71).abs() < 0.005, "{standard}");
    assert!(best(&streams, &STANDARD).normalised >= standard);
}
