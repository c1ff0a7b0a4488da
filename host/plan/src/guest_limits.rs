//! The limits of plugins that a project may set: one table, from which reading, diagnostics, lists and messages come.
//!
//! The sandbox lays them over its own, most of which nobody needs to know.

mod unit;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

pub use unit::{Unit, Unreadable};

/// What is to be known of one limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Its key in YAML, and its name in failures.
    pub key: &'static str,
    /// What its values count.
    pub unit: Unit,
    /// When nothing is set.
    pub default: u64,
    /// Values that are accepted.
    pub range: RangeInclusive<u64>,
    /// What failures call it in their `limit.which`. None, when what is over is cut or dropped.
    pub failures: &'static [&'static str],
    /// One line for people.
    pub doc: &'static str,
}

macro_rules! table {
    ($($limit:ident = $key:literal, $unit:ident, $default:expr, $range:expr, $failures:expr, $doc:literal;)*) => {
        /// A limit of plugins.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum GuestLimit {
            $(#[doc = concat!("`", $key, "`: ", $doc)] $limit),*
        }

        impl GuestLimit {
            /// All of them, in the order of lists.
            pub const ALL: &[Self] = &[$(Self::$limit),*];

            /// What is to be known of it.
            #[must_use]
            pub const fn spec(self) -> Spec {
                match self {
                    $(Self::$limit => Spec {
                        key: $key,
                        unit: Unit::$unit,
                        default: $default,
                        range: $range,
                        failures: &$failures,
                        doc: $doc,
                    }),*
                }
            }
        }
    };
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SECOND: u64 = 1_000;
const DAY: u64 = 86_400 * SECOND;

table! {
    Memory = "memory", Bytes, 256 * MIB, MIB..=4 * GIB, ["guest-memory"],
        "linear memory of one instance";
    Cpu = "cpu", Milliseconds, 30 * SECOND, 10..=DAY, ["guest-cpu"],
        "CPU time of one call into the plugin";
    Wall = "wall", Milliseconds, 300 * SECOND, 10..=DAY, ["guest-wall"],
        "wall-clock time of one call, when the machine is busy with something else";
    InputRows = "input_rows", Count, 65_536, 1..=65_536, [],
        "rows of one batch that enters the plugin; larger ones are cut";
    InputBytes = "input_bytes", Bytes, 32 * MIB, KIB..=GIB, [],
        "size of one batch that enters the plugin; larger ones are cut";
    BatchOutput = "batch_output", Bytes, 64 * MIB, KIB..=GIB, ["batch-output", "dictionaries"],
        "size of one batch that the plugin emits, and of its dictionaries";
    BatchRows = "batch_rows", Count, 16 << 20, 1..=128 << 20, ["batch-rows"],
        "rows of one batch that the plugin emits";
    Output = "output", Bytes, GIB, KIB..=1024 * GIB, ["output"],
        "size of all batches emitted in one call";
    TotalOutput = "total_output", Bytes, 1024 * GIB, KIB..=1024 * 1024 * GIB, ["total-output"],
        "size of all batches emitted by one instance";
    OutputRows = "output_rows", Count, 256 << 20, 1..=1 << 40, ["output-rows"],
        "rows of all batches emitted in one call";
    Emits = "emits", Count, 16_384, 1..=1 << 24, ["emits"],
        "batches emitted in one call";
    Gathered = "gathered", Bytes, 512 * MIB, KIB..=64 * GIB, ["gathered", "batch-expanded"],
        "size of one emitted batch with the columns that the host adds and repeated values written out";
    Columns = "columns", Count, 4_096, 1..=8_192, ["plan-columns"],
        "columns of a planned output, nested ones included";
    Schema = "schema", Bytes, 4 * MIB, KIB..=64 * MIB, ["plan-schema"],
        "size of the schema of a planned output";
    State = "state", Bytes, MIB, KIB..=64 * MIB, ["plan-state"],
        "size of the state that a plan hands to its sessions";
    TableElements = "table_elements", Count, 100_000, 1..=10_000_000, ["guest-table"],
        "elements of one function table";
    Handles = "handles", Count, 64, 1..=65_536, ["guest-handles"],
        "resource handles held at once";
    LogLines = "log_lines", Count, 1_000, 1..=1_000_000, [],
        "log lines and notes of one instance; further ones are counted and dropped";
    LogBytes = "log_bytes", Bytes, 256 * KIB, KIB..=64 * MIB, [],
        "size of these lines together; further ones are counted and dropped";
    LogLine = "log_line", Bytes, 2 * KIB, 64..=64 * KIB, [],
        "size of one of these lines; longer ones are cut";
    Metrics = "metrics", Count, 64, 1..=10_000, [],
        "names of counters and of gauges of one instance; further ones are counted and dropped";
    Random = "random", Bytes, MIB, 64..=64 * MIB, ["random"],
        "random bytes of one request";
}

impl GuestLimit {
    /// The limit of a key.
    #[must_use]
    pub fn find(key: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|limit| limit.spec().key == key)
    }

    /// The limit that a failure calls so.
    #[must_use]
    pub fn of_failure(which: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|limit| limit.spec().failures.contains(&which))
    }

    /// The value to set so that `asked` fits: a multiple of two of what is set. `None` when none is allowed.
    #[must_use]
    pub fn raised(self, set: u64, asked: u64) -> Option<u64> {
        let most = *self.spec().range.end();
        let doubled = std::iter::successors(Some(set.max(1)), |value| value.checked_mul(2));
        doubled
            .skip(1)
            .find(|value| *value >= asked)
            .filter(|value| *value <= most)
    }
}

/// Limits that are set; the others have their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GuestLimits(BTreeMap<GuestLimit, u64>);

impl GuestLimits {
    /// Sets one.
    pub fn set(&mut self, limit: GuestLimit, value: u64) {
        self.0.insert(limit, value);
    }

    /// These, and what `wider` sets besides: the nearer wins, key by key.
    #[must_use]
    pub fn within(&self, wider: &Self) -> Self {
        let mut all = wider.clone();
        all.0.extend(&self.0);
        all
    }

    /// Those that are set, in the order of lists.
    pub fn iter(&self) -> impl Iterator<Item = (GuestLimit, u64)> {
        self.0.iter().map(|(limit, value)| (*limit, *value))
    }

    /// Those that differ from their defaults.
    pub fn changed(&self) -> impl Iterator<Item = (GuestLimit, u64)> {
        self.iter()
            .filter(|(limit, value)| limit.spec().default != *value)
    }
}

impl FromIterator<(GuestLimit, u64)> for GuestLimits {
    fn from_iter<I: IntoIterator<Item = (GuestLimit, u64)>>(limits: I) -> Self {
        Self(limits.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::GuestLimit::{Cpu, Memory, Wall};
    use super::*;

    #[test]
    fn table_is_sound() {
        let mut keys: Vec<&str> = GuestLimit::ALL.iter().map(|l| l.spec().key).collect();
        for limit in GuestLimit::ALL {
            let spec = limit.spec();
            assert!(spec.range.contains(&spec.default), "{}", spec.key);
            assert!(*spec.range.start() > 0, "{}", spec.key);
            assert_eq!(GuestLimit::find(spec.key), Some(*limit));
            for which in spec.failures {
                assert_eq!(GuestLimit::of_failure(which), Some(*limit));
            }
            assert!((10..=100).contains(&spec.doc.len()), "{}", spec.key);
            // What is printed can be written.
            for value in [*spec.range.start(), spec.default, *spec.range.end()] {
                let written = spec.unit.written(value);
                assert_eq!(spec.unit.parse(&written), Ok(value), "{written}");
            }
        }
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), GuestLimit::ALL.len());
    }

    #[test]
    fn nearest_wins_key_by_key() {
        let project = GuestLimits::from_iter([(Memory, 1), (Cpu, 1), (Wall, 1)]);
        let plugin = GuestLimits::from_iter([(Memory, 2), (Cpu, 2)]);
        let node = GuestLimits::from_iter([(Memory, 3)]);
        let all = node.within(&plugin.within(&project));
        assert_eq!(
            all.iter().collect::<Vec<_>>(),
            [(Memory, 3), (Cpu, 2), (Wall, 1)]
        );
    }

    #[test]
    fn a_default_that_is_written_out_is_no_change() {
        let limits = GuestLimits::from_iter([(Memory, 256 << 20), (Cpu, 40)]);
        assert_eq!(limits.changed().collect::<Vec<_>>(), [(Cpu, 40)]);
    }

    #[track_caller]
    fn check_raised(set: u64, asked: u64, expect: Option<u64>) {
        assert_eq!(Memory.raised(set, asked), expect);
    }

    #[test]
    fn raised_fits_what_was_asked_and_what_is_allowed() {
        check_raised(256 * MIB, 257 * MIB, Some(512 * MIB));
        check_raised(256 * MIB, 3 * GIB, Some(4 * GIB));
        check_raised(256 * MIB, 5 * GIB, None);
        check_raised(4 * GIB, 4 * GIB + 1, None);
        check_raised(256 * MIB, u64::MAX, None);
    }
}
