use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(value: f64, from: &str, to: &str, expect: f64) {
    let got = Unit::new(from)
        .conversion_to(&Unit::new(to))
        .unwrap()
        .apply(value);
    assert!(
        (got - expect).abs() < 1e-9 * expect.abs().max(1.0),
        "{value} {from} = {got} {to}, not {expect}"
    );
}

#[test]
fn converts() {
    check(100.0, "Cel", "[degF]", 212.0);
    check(32.0, "[degF]", "Cel", 0.0);
    check(491.67, "[degR]", "Cel", 0.0);
    check(1.0, "bar", "kPa", 100.0);
    check(3000.0, "{rpm}", "Hz", 50.0);
    check(3000.0, "/min", "Hz", 50.0);
    check(1.0, "kW.h", "MJ", 3.6);
    check(7.0, "no-such-unit", "no-such-unit", 7.0);
}

#[test]
fn reads_the_grammar() {
    check(3.6, "km/h", "m/s", 1.0);
    check(1.0, "[in_i]/s", "mm/s", 25.4);
    check(1.0, "[g]", "m/s2", 9.80665);
    check(1.0, "[psi]", "Pa", 6_894.757_293_168_361);
    check(1.0, "[lbf_av]/[sin_i]", "[psi]", 1.0);
    check(1.0, "m[H2O]", "kPa", 9.80665);
    check(760.0, "mm[Hg]", "atm", 760.0 * 133.322 / 101_325.0);
    check(1.0, "L/min", "m3/h", 0.06);
    check(1.0, "[gal_us]/min", "L/min", 3.785_411_784);
    check(1.0, "[HP]", "W", 745.699_871_582_270_1);
    check(1.0, "J.s-1", "W", 1.0);
    check(1.0, "kg.m2/s2", "J", 1.0);
    check(1.0, "N.m", "J", 1.0);
    check(1.0, "W/(m2.K)", "mW/(cm2.K)", 0.1);
    check(1.0, "10*3/uL", "10*9/L", 1.0);
    check(1.0, "KiBy", "By", 1024.0);
    check(1.0, "1/s", "Hz", 1.0);
    check(5.0, "{pieces}/min", "/h", 300.0);
    check(1.0, "mol{CO2}", "mol", 1.0);
    check(50.0, "%", "1", 0.5);
    check(1.0, "dag", "g", 10.0);
    check(1.0, "cd", "mcd", 1000.0);
}

#[test]
fn refuses_what_can_not_be() {
    let error = Unit::new("bar").conversion_to(&Unit::new("Cel")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "can't convert `bar` to `Cel`: they measure different things"
    );
    for (from, to) in [
        ("furlong", "m"),
        ("m", "km/"),
        ("m", "m//s"),
        ("m", "(m"),
        ("m", "m)"),
        ("m", "mm2m"),
        ("m", "m99999"),
        ("m", "m-"),
        ("m", "k%"),
        ("Cel", "Cel/s"),
        ("Cel", "Cel2"),
        ("m", ""),
        ("m", "((((((((((m))))))))))"),
        ("dB", "1"),
    ] {
        let (a, b) = (Unit::new(from), Unit::new(to));
        assert!(
            a.conversion_to(&b).is_err() && b.conversion_to(&a).is_err(),
            "{from} {to}"
        );
    }
}

#[test]
fn every_atom_reads_as_itself() {
    for atom in atoms::ATOMS {
        assert!(Unit::new(atom.code).is_known(), "{}", atom.code);
    }
}

#[test]
fn spellings_lead_to_known_codes() {
    for symbol in ["Cel", "%RH", "1/min", "kWh", "B/s", "lat", "VA", "km/h", "ppm"] {
        let code = from_senml(symbol).unwrap();
        assert!(Unit::new(code).is_known(), "{symbol} → {code}");
    }
    assert_eq!(from_senml("furlong"), None);
    for text in ["°C", "RPM", "psi", "GPM", "in/s", "kWh"] {
        assert!(Unit::new(from_spelling(text)).is_known(), "{text}");
    }
    assert_eq!(from_spelling("widgets"), "widgets");
}

proptest! {
    #[test]
    fn noise_never_panics(code in "[\\PC]{0,70}") {
        let _ = Unit::new(code).conversion_to(&Unit::new("m"));
    }

    #[test]
    fn ucum_like_noise_never_panics(code in "([kmud]?(m|s|g|Pa|Cel|\\[degF\\]|10\\*)-?[0-9]{0,3}[./(){}]?){0,8}") {
        let _ = Unit::new(code).conversion_to(&Unit::new("m"));
    }

    #[test]
    fn there_and_back(value in -1e9_f64..1e9, i in 0..atoms::ATOMS.len(), j in 0..atoms::ATOMS.len()) {
        let (a, b) = (Unit::new(atoms::ATOMS[i].code), Unit::new(atoms::ATOMS[j].code));
        if let (Ok(there), Ok(back)) = (a.conversion_to(&b), b.conversion_to(&a)) {
            let again = back.apply(there.apply(value));
            prop_assert!((again - value).abs() <= 1e-6 * value.abs().max(1.0), "{a} {b}: {value} {again}");
        }
    }
}
