//! Units by name, as factors to SI units, and expressions of them such as `kg/m^3`.
//!
//! Factors are exact unless said otherwise. Sources: BIPM, The International System of Units (SI Brochure), 9th edition,
//! tables 1 to 8; NIST Special Publication 811 (2008), appendix B, where exact factors stand in bold; for the international
//! foot, pound, gallon and horsepower the definitions there, multiplied out. Conventional columns of mercury and water have
//! densities of 13595.1 and 1000 kg/m^3 at standard gravity, 9.80665 m/s^2. No crate was fit: `uom` fixes units when a
//! program is compiled, knows no gauge pressure, and has no names such as `psig`.

/// Powers of length, mass, time, temperature, current, amount, angle.
pub(super) type Dimension = [i8; 7];

/// What a unit measures, and how: `si = (value - zero) * numerator / denominator`, where temperatures are in degrees Celsius.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Unit {
    pub(super) dimension: Dimension,
    pub(super) kind: Kind,
    pub(super) zero: f64,
    pub(super) numerator: f64,
    pub(super) denominator: f64,
}

/// What else must agree between two units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Plain,
    /// A pressure above that of the air around.
    Gauge,
    /// A difference of temperatures.
    Difference,
}

const NONE: Dimension = [0; 7];
const LENGTH: Dimension = [1, 0, 0, 0, 0, 0, 0];
const AREA: Dimension = [2, 0, 0, 0, 0, 0, 0];
const VOLUME: Dimension = [3, 0, 0, 0, 0, 0, 0];
const MASS: Dimension = [0, 1, 0, 0, 0, 0, 0];
const TIME: Dimension = [0, 0, 1, 0, 0, 0, 0];
const FREQUENCY: Dimension = [0, 0, -1, 0, 0, 0, 0];
const TEMPERATURE: Dimension = [0, 0, 0, 1, 0, 0, 0];
const SPEED: Dimension = [1, 0, -1, 0, 0, 0, 0];
const FLOW: Dimension = [3, 0, -1, 0, 0, 0, 0];
const FORCE: Dimension = [1, 1, -2, 0, 0, 0, 0];
const PRESSURE: Dimension = [-1, 1, -2, 0, 0, 0, 0];
const ENERGY: Dimension = [2, 1, -2, 0, 0, 0, 0];
const POWER: Dimension = [2, 1, -3, 0, 0, 0, 0];
const VISCOSITY: Dimension = [-1, 1, -1, 0, 0, 0, 0];
const CURRENT: Dimension = [0, 0, 0, 0, 1, 0, 0];
const VOLTAGE: Dimension = [2, 1, -3, 0, -1, 0, 0];
const AMOUNT: Dimension = [0, 0, 0, 0, 0, 1, 0];
const ANGLE: Dimension = [0, 0, 0, 0, 0, 0, 1];

const INCH: f64 = 0.0254;
const FOOT: f64 = 0.3048;
const POUND: f64 = 0.453_592_37;
const GRAVITY: f64 = 9.806_65;
const POUND_FORCE: f64 = POUND * GRAVITY;
const PSI: f64 = POUND_FORCE / (INCH * INCH);
/// 231 cubic inches.
const GALLON: f64 = 3.785_411_784e-3;
const IMPERIAL_GALLON: f64 = 4.546_09e-3;
/// Of the International Table.
const BTU: f64 = 1_055.055_852_62;
const HOUR: f64 = 3_600.0;
const MERCURY: f64 = 133.322_387_415;

/// Names separated by blanks, dimension, factor.
#[rustfmt::skip]
const TABLE: &[(&str, Dimension, f64)] = &[
    ("m meter meters metre metres", LENGTH, 1.0),
    ("km kilometer kilometers kilometre kilometres", LENGTH, 1e3),
    ("dm decimeter decimetre", LENGTH, 1e-1),
    ("cm centimeter centimeters centimetre centimetres", LENGTH, 1e-2),
    ("mm millimeter millimeters millimetre millimetres", LENGTH, 1e-3),
    ("um µm μm micrometer micrometre micron microns", LENGTH, 1e-6),
    ("nm nanometer nanometre", LENGTH, 1e-9),
    ("in inch inches", LENGTH, INCH),
    ("mil thou", LENGTH, INCH / 1e3),
    ("ft foot feet", LENGTH, FOOT),
    ("yd yard yards", LENGTH, 0.9144),
    ("mi mile miles", LENGTH, 1_609.344),
    ("nmi nautical_mile nautical_miles", LENGTH, 1_852.0),
    ("m2 m² sqm square_meter square_metre", AREA, 1.0),
    ("km2 km²", AREA, 1e6),
    ("cm2 cm²", AREA, 1e-4),
    ("mm2 mm²", AREA, 1e-6),
    ("ha hectare hectares", AREA, 1e4),
    ("acre acres", AREA, 4_046.856_422_4),
    ("ft2 ft² sqft square_foot square_feet", AREA, FOOT * FOOT),
    ("in2 in² sqin square_inch", AREA, INCH * INCH),
    ("mi2 mi² square_mile", AREA, 1_609.344 * 1_609.344),
    ("m3 m³ cubic_meter cubic_metre", VOLUME, 1.0),
    ("cm3 cm³ cc ml mL milliliter millilitre", VOLUME, 1e-6),
    ("l L liter liters litre litres dm3 dm³", VOLUME, 1e-3),
    ("hl hL hectoliter hectolitre", VOLUME, 1e-1),
    ("gal gallon gallons us_gallon", VOLUME, GALLON),
    ("qt quart quarts", VOLUME, GALLON / 4.0),
    ("pt pint pints", VOLUME, GALLON / 8.0),
    ("cup cups", VOLUME, GALLON / 16.0),
    ("floz fl_oz fluid_ounce fluid_ounces", VOLUME, GALLON / 128.0),
    ("imp_gal imperial_gallon", VOLUME, IMPERIAL_GALLON),
    ("bbl barrel barrels oil_bbl", VOLUME, 42.0 * GALLON),
    ("ft3 ft³ cf cubic_foot cubic_feet", VOLUME, FOOT * FOOT * FOOT),
    ("in3 in³ cubic_inch", VOLUME, INCH * INCH * INCH),
    ("yd3 yd³ cubic_yard", VOLUME, 0.9144 * 0.9144 * 0.9144),
    ("kg kilogram kilograms", MASS, 1.0),
    ("g gram grams", MASS, 1e-3),
    ("mg milligram milligrams", MASS, 1e-6),
    ("ug µg μg microgram", MASS, 1e-9),
    ("t tonne tonnes metric_ton", MASS, 1e3),
    ("lb lbs lbm pound pounds", MASS, POUND),
    ("oz ounce ounces", MASS, POUND / 16.0),
    ("gr grain grains", MASS, 64.798_91e-6),
    ("ton short_ton tons", MASS, 2_000.0 * POUND),
    ("long_ton", MASS, 2_240.0 * POUND),
    ("klb kip_mass", MASS, 1e3 * POUND),
    ("s sec second seconds", TIME, 1.0),
    ("ms millisecond milliseconds", TIME, 1e-3),
    ("us µs μs microsecond microseconds", TIME, 1e-6),
    ("ns nanosecond nanoseconds", TIME, 1e-9),
    ("min minute minutes", TIME, 60.0),
    ("h hr hour hours", TIME, HOUR),
    ("d day days", TIME, 86_400.0),
    ("week weeks", TIME, 604_800.0),
    ("Hz hertz", FREQUENCY, 1.0),
    ("kHz", FREQUENCY, 1e3),
    ("rpm", FREQUENCY, 1.0 / 60.0),
    ("mps", SPEED, 1.0),
    ("kph kmh km_per_hour", SPEED, 1.0 / 3.6),
    ("mph", SPEED, 0.447_04),
    ("fps", SPEED, FOOT),
    ("kn knot knots kt", SPEED, 1_852.0 / HOUR),
    ("lpm", FLOW, 1e-3 / 60.0),
    ("gpm", FLOW, GALLON / 60.0),
    ("gpd", FLOW, GALLON / 86_400.0),
    ("mgd", FLOW, 1e6 * GALLON / 86_400.0),
    ("cfm", FLOW, FOOT * FOOT * FOOT / 60.0),
    ("cfs", FLOW, FOOT * FOOT * FOOT),
    ("cmh", FLOW, 1.0 / HOUR),
    ("bpd bopd", FLOW, 42.0 * GALLON / 86_400.0),
    ("N newton newtons", FORCE, 1.0),
    ("kN", FORCE, 1e3),
    ("lbf pound_force", FORCE, POUND_FORCE),
    ("kgf kilogram_force", FORCE, GRAVITY),
    ("kip", FORCE, 1e3 * POUND_FORCE),
    ("dyn dyne", FORCE, 1e-5),
    ("Pa pascal pascals", PRESSURE, 1.0),
    ("hPa", PRESSURE, 1e2),
    ("kPa kpaa", PRESSURE, 1e3),
    ("MPa", PRESSURE, 1e6),
    ("bar bara bars", PRESSURE, 1e5),
    ("mbar millibar", PRESSURE, 1e2),
    ("atm atmosphere atmospheres", PRESSURE, 101_325.0),
    ("torr Torr", PRESSURE, 101_325.0 / 760.0),
    ("psi psia", PRESSURE, PSI),
    ("ksi", PRESSURE, 1e3 * PSI),
    ("psf", PRESSURE, POUND_FORCE / (FOOT * FOOT)),
    ("mmHg", PRESSURE, MERCURY),
    ("inHg", PRESSURE, 25.4 * MERCURY),
    ("mmH2O", PRESSURE, GRAVITY),
    ("inH2O", PRESSURE, 25.4 * GRAVITY),
    ("ftH2O", PRESSURE, 304.8 * GRAVITY),
    ("J joule joules", ENERGY, 1.0),
    ("kJ kilojoule", ENERGY, 1e3),
    ("MJ megajoule", ENERGY, 1e6),
    ("GJ gigajoule", ENERGY, 1e9),
    ("Wh watt_hour", ENERGY, HOUR),
    ("kWh kilowatt_hour", ENERGY, 1e3 * HOUR),
    ("MWh megawatt_hour", ENERGY, 1e6 * HOUR),
    ("GWh gigawatt_hour", ENERGY, 1e9 * HOUR),
    // Thermochemical calorie.
    ("cal calorie calories", ENERGY, 4.184),
    ("kcal kilocalorie", ENERGY, 4_184.0),
    ("BTU Btu btu", ENERGY, BTU),
    ("kBTU kBtu", ENERGY, 1e3 * BTU),
    ("MMBTU MMBtu mmbtu", ENERGY, 1e6 * BTU),
    ("therm therms", ENERGY, 1e5 * BTU),
    ("ft_lbf ft_lb foot_pound", ENERGY, FOOT * POUND_FORCE),
    ("erg", ENERGY, 1e-7),
    ("eV electronvolt", ENERGY, 1.602_176_634e-19),
    ("W watt watts", POWER, 1.0),
    ("mW milliwatt", POWER, 1e-3),
    ("kW kilowatt kilowatts", POWER, 1e3),
    ("MW megawatt megawatts", POWER, 1e6),
    ("GW gigawatt", POWER, 1e9),
    ("hp horsepower", POWER, 550.0 * FOOT * POUND_FORCE),
    ("metric_hp PS", POWER, 75.0 * GRAVITY),
    ("BTUh btuh btu_per_hour", POWER, BTU / HOUR),
    ("TR ton_refrigeration refrigeration_ton", POWER, 12_000.0 * BTU / HOUR),
    ("Pa_s pascal_second", VISCOSITY, 1.0),
    ("cP centipoise", VISCOSITY, 1e-3),
    ("P poise", VISCOSITY, 1e-1),
    ("A amp amps ampere amperes", CURRENT, 1.0),
    ("mA milliampere", CURRENT, 1e-3),
    ("kA kiloampere", CURRENT, 1e3),
    ("V volt volts", VOLTAGE, 1.0),
    ("mV millivolt", VOLTAGE, 1e-3),
    ("kV kilovolt", VOLTAGE, 1e3),
    ("mol mole moles", AMOUNT, 1.0),
    ("mmol millimole", AMOUNT, 1e-3),
    ("kmol kilomole", AMOUNT, 1e3),
    ("lbmol lb_mol", AMOUNT, 1e3 * POUND),
    ("rad radian radians", ANGLE, 1.0),
    ("deg degree degrees °", ANGLE, std::f64::consts::PI / 180.0),
    ("1 fraction ratio dimensionless", NONE, 1.0),
    ("% percent", NONE, 1e-2),
    ("ppm", NONE, 1e-6),
    ("ppb", NONE, 1e-9),
];

/// Pressures above that of the air, by the absolute unit.
const GAUGES: &[(&str, &str)] = &[
    ("psig", "psi"),
    ("barg", "bar"),
    ("mbarg", "mbar"),
    ("kPag", "kPa"),
    ("MPag", "MPa"),
    ("Pag", "Pa"),
];

/// Names, zero on the unit's scale of what is 0 °C, numerator and denominator of its degree in kelvins.
const TEMPERATURES: &[(&str, f64, f64, f64)] = &[
    ("degC °C celsius C", 0.0, 1.0, 1.0),
    ("degF °F fahrenheit F", 32.0, 5.0, 9.0),
    ("K kelvin", 273.15, 1.0, 1.0),
    ("degR °R rankine R", 491.67, 5.0, 9.0),
];

const DIFFERENCES: &[(&str, f64, f64)] = &[
    ("delta_degC delta_K delta_celsius delta_kelvin", 1.0, 1.0),
    ("delta_degF delta_degR delta_fahrenheit", 5.0, 9.0),
];

/// Why a text is no unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unknown {
    /// This part of it is none; maybe another was meant.
    Name(String, Option<String>),
    /// This part of it has its own zero, and cannot stand in an expression.
    Offset(String),
    /// It cannot be read.
    Form,
}

/// A unit, or several joined by `*`, `/` and powers: `kg/m^3`, `BTU/lb/delta_degF`.
pub(super) fn parse(text: &str) -> Result<Unit, Unknown> {
    let text = text.trim();
    if let Some(unit) = named(text) {
        return Ok(unit);
    }
    if !text.contains(['*', '/', '^', '·']) {
        return Err(unknown(text));
    }
    let mut whole = plain(NONE, 1.0, 1.0);
    let mut rest = text;
    let mut divided = false;
    loop {
        let end = rest
            .find(['*', '/', '·'])
            .filter(|at| !rest[*at..].starts_with("**"));
        let end = end.or_else(|| {
            // `**` is a power.
            let after = rest.find("**").map(|at| at + 2)?;
            rest[after..].find(['*', '/', '·']).map(|at| after + at)
        });
        let part = end.map_or(rest, |end| &rest[..end]);
        let (name, power) = match part.split_once("**").or_else(|| part.split_once('^')) {
            Some((name, power)) => (
                name.trim(),
                power.trim().parse().map_err(|_| Unknown::Form)?,
            ),
            None => (part.trim(), 1_i8),
        };
        if name.is_empty() || !(-9..=9).contains(&power) {
            return Err(Unknown::Form);
        }
        let unit = named(name).ok_or_else(|| unknown(name))?;
        if unit.kind == Kind::Gauge
            || (unit.dimension == TEMPERATURE && unit.zero != 0.0)
            || is_celsius(name)
        {
            return Err(Unknown::Offset(name.to_owned()));
        }
        let power = if divided { -power } else { power };
        for (sum, one) in whole.dimension.iter_mut().zip(unit.dimension) {
            *sum = sum.saturating_add(one.saturating_mul(power));
        }
        let (up, down) = if power < 0 {
            (unit.denominator, unit.numerator)
        } else {
            (unit.numerator, unit.denominator)
        };
        whole.numerator *= up.powi(i32::from(power.abs()));
        whole.denominator *= down.powi(i32::from(power.abs()));
        let Some(end) = end else { return Ok(whole) };
        divided = rest[end..].starts_with('/');
        let after = rest[end..]
            .chars()
            .next()
            .map_or(end, |c| end + c.len_utf8());
        rest = &rest[after..];
    }
}

fn is_celsius(name: &str) -> bool {
    TEMPERATURES[0].0.split(' ').any(|n| n == name)
}

fn plain(dimension: Dimension, numerator: f64, denominator: f64) -> Unit {
    Unit {
        dimension,
        kind: Kind::Plain,
        zero: 0.0,
        numerator,
        denominator,
    }
}

/// As it is written; else whatever the case, when only one unit has the name then.
fn named(name: &str) -> Option<Unit> {
    let exact = find(|candidate| candidate == name);
    if let Some(unit) = exact.into_iter().next() {
        return Some(unit);
    }
    let lower = name.to_lowercase();
    let mut loose = find(|candidate| candidate.to_lowercase() == lower);
    let first = loose.pop()?;
    loose.iter().all(|other| *other == first).then_some(first)
}

fn find(is: impl Fn(&str) -> bool) -> Vec<Unit> {
    let among = |names: &str| names.split(' ').any(&is);
    let plains = TABLE.iter().filter(|row| among(row.0));
    let mut found: Vec<Unit> = plains.map(|row| plain(row.1, row.2, 1.0)).collect();
    for (name, absolute) in GAUGES {
        if is(name) {
            let row = TABLE
                .iter()
                .find(|row| row.0.split(' ').any(|n| n == *absolute));
            found.extend(row.map(|row| Unit {
                kind: Kind::Gauge,
                ..plain(row.1, row.2, 1.0)
            }));
        }
    }
    let temperatures = TEMPERATURES.iter().filter(|row| among(row.0));
    found.extend(temperatures.map(|row| Unit {
        zero: row.1,
        ..plain(TEMPERATURE, row.2, row.3)
    }));
    let differences = DIFFERENCES.iter().filter(|row| among(row.0));
    found.extend(differences.map(|row| Unit {
        kind: Kind::Difference,
        ..plain(TEMPERATURE, row.1, row.2)
    }));
    found
}

/// Every name.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let plains = TABLE.iter().map(|row| row.0);
    let gauges = GAUGES.iter().map(|row| row.0);
    let temperatures = TEMPERATURES.iter().map(|row| row.0);
    let differences = DIFFERENCES.iter().map(|row| row.0);
    let all = plains.chain(gauges).chain(temperatures).chain(differences);
    all.flat_map(|names| names.split(' '))
}

fn unknown(name: &str) -> Unknown {
    let failure = odibi_sdk::failure::unknown_name("unit", "", name, names());
    let near = failure.message.split_once(", did you mean `");
    let near = near.and_then(|(_, rest)| rest.split_once('`'));
    Unknown::Name(name.to_owned(), near.map(|(near, _)| near.to_owned()))
}
