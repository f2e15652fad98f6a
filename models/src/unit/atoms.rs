//! The unit atoms and prefixes of UCUM that industry writes, from the tables of
//! <https://ucum.org/ucum> (case-sensitive codes).

/// Exponents of metre, second, gram, kelvin, coulomb, candela and radian, UCUM's base units.
pub(super) type Dimension = [i8; 7];

pub(super) const ONE: Dimension = [0; 7];
const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0];
const AREA: Dimension = [2, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 1, 0, 0, 0, 0, 0];
const RATE: Dimension = [0, -1, 0, 0, 0, 0, 0];
const SPEED: Dimension = [1, -1, 0, 0, 0, 0, 0];
const ACCELERATION: Dimension = [1, -2, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 0, 1, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 1, 0, 0, 0];
const CHARGE: Dimension = [0, 0, 0, 0, 1, 0, 0];
const CURRENT: Dimension = [0, -1, 0, 0, 1, 0, 0];
const LIGHT: Dimension = [0, 0, 0, 0, 0, 1, 0];
const ANGLE: Dimension = [0, 0, 0, 0, 0, 0, 1];
const FORCE: Dimension = [1, -2, 1, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, -2, 1, 0, 0, 0, 0];
const ENERGY: Dimension = [2, -2, 1, 0, 0, 0, 0];
const POWER: Dimension = [2, -3, 1, 0, 0, 0, 0];
const VOLTAGE: Dimension = [2, -2, 1, 0, -1, 0, 0];
const RESISTANCE: Dimension = [2, -1, 1, 0, -2, 0, 0];
const CONDUCTANCE: Dimension = [-2, 1, -1, 0, 2, 0, 0];
const CAPACITY: Dimension = [-2, 2, -1, 0, 2, 0, 0];
const FLUX: Dimension = [2, -1, 1, 0, -1, 0, 0];
const INDUCTION: Dimension = [0, -1, 1, 0, -1, 0, 0];
const INDUCTANCE: Dimension = [2, 0, 1, 0, -2, 0, 0];
const VISCOSITY: Dimension = [-1, -1, 1, 0, 0, 0, 0];
const KINEMATIC_VISCOSITY: Dimension = [2, -1, 0, 0, 0, 0, 0];
const ILLUMINANCE: Dimension = [-2, 0, 0, 0, 0, 1, 0];
const DOSE: Dimension = [2, -2, 0, 0, 0, 0, 0];

/// A unit atom: one of it is `factor` of the base units.
pub(super) struct Atom {
    pub code: &'static str,
    pub dimension: Dimension,
    pub factor: f64,
    /// Added after the factor, for scales whose zero is elsewhere.
    pub offset: f64,
    /// Whether a prefix may stand before it.
    pub metric: bool,
}

const fn metric(code: &'static str, dimension: Dimension, factor: f64) -> Atom {
    Atom {
        code,
        dimension,
        factor,
        offset: 0.0,
        metric: true,
    }
}

const fn plain(code: &'static str, dimension: Dimension, factor: f64) -> Atom {
    Atom {
        code,
        dimension,
        factor,
        offset: 0.0,
        metric: false,
    }
}

const fn scale(code: &'static str, factor: f64, offset: f64) -> Atom {
    Atom {
        code,
        dimension: TEMPERATURE,
        factor,
        offset,
        metric: false,
    }
}

const FOOT: f64 = 0.3048;
const INCH: f64 = 0.0254;
const POUND: f64 = 453.592_37;
const GRAVITY: f64 = 9.806_65;

pub(super) const ATOMS: &[Atom] = &[
    metric("m", LENGTH, 1.0),
    metric("s", TIME, 1.0),
    metric("g", MASS, 1.0),
    metric("K", TEMPERATURE, 1.0),
    metric("C", CHARGE, 1.0),
    metric("cd", LIGHT, 1.0),
    metric("rad", ANGLE, 1.0),
    // Numbers
    plain("%", ONE, 1e-2),
    plain("[ppth]", ONE, 1e-3),
    plain("[ppm]", ONE, 1e-6),
    plain("[ppb]", ONE, 1e-9),
    plain("[pi]", ONE, std::f64::consts::PI),
    plain("10*", ONE, 10.0),
    plain("10^", ONE, 10.0),
    metric("mol", ONE, 6.022_140_76e23),
    metric("kat", RATE, 6.022_140_76e23),
    metric("bit", ONE, 1.0),
    metric("By", ONE, 8.0),
    metric("Bd", RATE, 1.0),
    metric("eq", ONE, 6.022_140_76e23),
    // SI with names
    metric("Hz", RATE, 1.0),
    metric("N", FORCE, 1e3),
    metric("Pa", PRESSURE, 1e3),
    metric("J", ENERGY, 1e3),
    metric("W", POWER, 1e3),
    metric("A", CURRENT, 1.0),
    metric("V", VOLTAGE, 1e3),
    metric("F", CAPACITY, 1e-3),
    metric("Ohm", RESISTANCE, 1e3),
    metric("S", CONDUCTANCE, 1e-3),
    metric("Wb", FLUX, 1e3),
    metric("T", INDUCTION, 1e3),
    metric("H", INDUCTANCE, 1e3),
    metric("lm", LIGHT, 1.0),
    metric("lx", ILLUMINANCE, 1.0),
    metric("Bq", RATE, 1.0),
    metric("Gy", DOSE, 1.0),
    metric("Sv", DOSE, 1.0),
    metric("sr", [0, 0, 0, 0, 0, 0, 2], 1.0),
    scale("Cel", 1.0, 273.15),
    // Beside SI
    metric("L", VOLUME, 1e-3),
    metric("l", VOLUME, 1e-3),
    metric("ar", AREA, 100.0),
    plain("min", TIME, 60.0),
    plain("h", TIME, 3_600.0),
    plain("d", TIME, 86_400.0),
    plain("wk", TIME, 604_800.0),
    plain("mo", TIME, 2_629_800.0),
    plain("a", TIME, 31_557_600.0),
    metric("t", MASS, 1e6),
    metric("bar", PRESSURE, 1e8),
    metric("u", MASS, 1.660_540_2e-24),
    metric("eV", ENERGY, 1.602_176_634e-16),
    plain("deg", ANGLE, std::f64::consts::PI / 180.0),
    plain("gon", ANGLE, std::f64::consts::PI / 200.0),
    plain("'", ANGLE, std::f64::consts::PI / 10_800.0),
    plain("''", ANGLE, std::f64::consts::PI / 648_000.0),
    plain("circ", ANGLE, 2.0 * std::f64::consts::PI),
    metric("g%", [-3, 0, 1, 0, 0, 0, 0], 1e4),
    // CGS and others still on instruments
    metric("dyn", FORCE, 1e-2),
    metric("erg", ENERGY, 1e-4),
    metric("P", VISCOSITY, 100.0),
    metric("St", KINEMATIC_VISCOSITY, 1e-4),
    metric("G", INDUCTION, 1e-1),
    metric("Gal", ACCELERATION, 1e-2),
    metric("cal", ENERGY, 4_184.0),
    metric("cal_IT", ENERGY, 4_186.8),
    metric("m[H2O]", PRESSURE, 9.806_65e6),
    metric("m[Hg]", PRESSURE, 1.333_22e8),
    plain("atm", PRESSURE, 1.013_25e8),
    plain("att", PRESSURE, 9.806_65e7),
    metric("[g]", ACCELERATION, GRAVITY),
    metric("gf", FORCE, GRAVITY),
    plain("[lbf_av]", FORCE, POUND * GRAVITY),
    plain("[kn_i]", SPEED, 1_852.0 / 3_600.0),
    plain("[nmi_i]", LENGTH, 1_852.0),
    // Imperial and US customary
    plain("[in_i]", LENGTH, INCH),
    plain("[ft_i]", LENGTH, FOOT),
    plain("[yd_i]", LENGTH, 3.0 * FOOT),
    plain("[mi_i]", LENGTH, 5_280.0 * FOOT),
    plain("[mil_i]", LENGTH, INCH / 1_000.0),
    plain("[sin_i]", AREA, INCH * INCH),
    plain("[sft_i]", AREA, FOOT * FOOT),
    plain("[cin_i]", VOLUME, INCH * INCH * INCH),
    plain("[cft_i]", VOLUME, FOOT * FOOT * FOOT),
    plain("[gal_us]", VOLUME, 231.0 * INCH * INCH * INCH),
    plain("[qt_us]", VOLUME, 231.0 / 4.0 * INCH * INCH * INCH),
    plain("[pt_us]", VOLUME, 231.0 / 8.0 * INCH * INCH * INCH),
    plain("[bbl_us]", VOLUME, 42.0 * 231.0 * INCH * INCH * INCH),
    plain("[gal_br]", VOLUME, 4.546_09e-3),
    plain("[lb_av]", MASS, POUND),
    plain("[oz_av]", MASS, POUND / 16.0),
    plain("[ston_av]", MASS, POUND * 2_000.0),
    plain("[lton_av]", MASS, POUND * 2_240.0),
    plain("[psi]", PRESSURE, POUND * GRAVITY / (INCH * INCH)),
    plain("[in_i'H2O]", PRESSURE, 9.806_65e6 * INCH),
    plain("[in_i'Hg]", PRESSURE, 1.333_22e8 * INCH),
    plain("[HP]", POWER, 550.0 * FOOT * POUND * GRAVITY),
    plain("[Btu_IT]", ENERGY, 1_055.055_852_62e3),
    plain("[Btu_th]", ENERGY, 1_054.35e3),
    plain("[Btu]", ENERGY, 1_054.35e3),
    scale("[degF]", 5.0 / 9.0, 459.67 * 5.0 / 9.0),
    plain("[degR]", TEMPERATURE, 5.0 / 9.0),
    scale("[degRe]", 1.25, 273.15),
    // Not of UCUM, which has annotations only; so common on machines that leaving it out would help
    // nobody. UCUM's own way to write it is /min.
    plain("{rpm}", RATE, 1.0 / 60.0),
];

/// Longer ones first, so that `da` is not read as `d`.
pub(super) const PREFIXES: &[(&str, f64)] = &[
    ("da", 1e1),
    ("Ki", 1_024.0),
    ("Mi", 1_048_576.0),
    ("Gi", 1_073_741_824.0),
    ("Ti", 1_099_511_627_776.0),
    ("Y", 1e24),
    ("Z", 1e21),
    ("E", 1e18),
    ("P", 1e15),
    ("T", 1e12),
    ("G", 1e9),
    ("M", 1e6),
    ("k", 1e3),
    ("h", 1e2),
    ("d", 1e-1),
    ("c", 1e-2),
    ("m", 1e-3),
    ("u", 1e-6),
    ("n", 1e-9),
    ("p", 1e-12),
    ("f", 1e-15),
    ("a", 1e-18),
    ("z", 1e-21),
    ("y", 1e-24),
];
