//! The spread of the rounds.

/// Smallest, median and largest of the rounds.
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) median: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self {
            min: values[0],
            median,
            max: values[values.len() - 1],
        }
    }

    pub(crate) fn show(&self, digits: usize) -> String {
        let Self { min, median, max } = self;
        format!("{median:.digits$} ({min:.digits$}-{max:.digits$})")
    }
}
