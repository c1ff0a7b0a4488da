//! Distance on a sphere.

/// IUGG mean radius R1 = (2a + b) / 3 of the GRS 80 ellipsoid, in kilometres (Moritz, "Geodetic Reference System 1980",
/// Journal of Geodesy 74, 2000: 6 371 008.7714 m). Against the ellipsoid a distance is off by up to 0.56 %.
pub(crate) const EARTH_RADIUS_KM: f64 = 6371.0088;

/// A place, in degrees; north and east are positive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    pub(crate) lat: f64,
    pub(crate) lon: f64,
}

impl Place {
    /// `None` unless the latitude is in -90..=90 and the longitude in -180..=180.
    pub(crate) fn new(lat: f64, lon: f64) -> Option<Self> {
        ((-90.0..=90.0).contains(&lat) && (-180.0..=180.0).contains(&lon))
            .then_some(Self { lat, lon })
    }

    /// Kilometres along the great circle, by the haversine formula (Sinnott, "Virtues of the Haversine", Sky and
    /// Telescope 68, 1984), which stays exact for places close together.
    pub(crate) fn distance_km(self, to: Self) -> f64 {
        let (phi1, phi2) = (self.lat.to_radians(), to.lat.to_radians());
        let half_lat = ((phi2 - phi1) / 2.0).sin();
        let half_lon = ((to.lon - self.lon).to_radians() / 2.0).sin();
        let h = half_lat * half_lat + phi1.cos() * phi2.cos() * half_lon * half_lon;
        // Rounding can lift antipodes a little over 1.
        2.0 * EARTH_RADIUS_KM * h.min(1.0).sqrt().asin()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    const JFK: (f64, f64) = (40.639751, -73.778925);
    const LAX: (f64, f64) = (33.942536, -118.408075);

    #[track_caller]
    fn check(from: (f64, f64), to: (f64, f64), expect_km: f64, tolerance_km: f64) {
        let (from, to) = (
            Place::new(from.0, from.1).unwrap(),
            Place::new(to.0, to.1).unwrap(),
        );
        for km in [from.distance_km(to), to.distance_km(from)] {
            assert!(
                (km - expect_km).abs() <= tolerance_km,
                "{km} km, should be {expect_km} ± {tolerance_km}"
            );
        }
    }

    #[test]
    fn known_distances_are_met() {
        check(JFK, LAX, 3_974.205_452, 1e-6);
        check(JFK, JFK, 0.0, 0.0);
        // A degree along the equator and along a meridian, a quarter and half of the circumference.
        check((0.0, 0.0), (0.0, 1.0), EARTH_RADIUS_KM.to_radians(), 1e-9);
        check(
            (10.0, 20.0),
            (11.0, 20.0),
            EARTH_RADIUS_KM.to_radians(),
            1e-9,
        );
        check(
            (0.0, 0.0),
            (90.0, 0.0),
            EARTH_RADIUS_KM * std::f64::consts::FRAC_PI_2,
            1e-9,
        );
        check(
            (0.0, 0.0),
            (0.0, 180.0),
            EARTH_RADIUS_KM * std::f64::consts::PI,
            1e-9,
        );
        check(
            (35.5, 12.25),
            (-35.5, -167.75),
            EARTH_RADIUS_KM * std::f64::consts::PI,
            1e-3,
        );
        // Over the date line, not around the world.
        check(
            (0.0, 179.5),
            (0.0, -179.5),
            EARTH_RADIUS_KM.to_radians(),
            1e-9,
        );
    }

    #[test]
    fn what_is_no_place_on_earth_is_refused() {
        assert_eq!(Place::new(90.1, 0.0), None);
        assert_eq!(Place::new(0.0, -180.1), None);
        assert_eq!(Place::new(f64::NAN, 0.0), None);
        assert!(Place::new(-90.0, 180.0).is_some());
    }
}
