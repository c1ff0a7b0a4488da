//! What a project sets, laid over what an instance may use.

use odibi_plan::guest_limits::{GuestLimit, GuestLimits};

use super::Limits;

impl Limits {
    /// These, with what is set instead of what is here.
    #[must_use]
    pub fn with(&self, set: &GuestLimits) -> Self {
        let mut limits = self.clone();
        for (limit, value) in set.iter() {
            limits.set(limit, value);
        }
        limits
    }

    fn set(&mut self, limit: GuestLimit, value: u64) {
        // Every limit that can be set fits: the largest values are far below the largest number of any machine.
        let size = usize::try_from(value).unwrap_or(usize::MAX);
        match limit {
            GuestLimit::Memory => self.memory_bytes_max = value,
            GuestLimit::Cpu => self.call_cpu_ms_max = value,
            GuestLimit::Wall => self.call_wall_ms_max = value,
            GuestLimit::InputRows => self.input_rows_max = size,
            GuestLimit::InputBytes => self.input_bytes_max = value,
            GuestLimit::BatchOutput => self.batch_output_bytes_max = value,
            GuestLimit::BatchRows => self.batch_rows_max = value,
            GuestLimit::Output => self.call_output_bytes_max = value,
            GuestLimit::TotalOutput => self.output_bytes_max = value,
            GuestLimit::OutputRows => self.call_rows_max = value,
            GuestLimit::Emits => self.call_emits_max = value,
            GuestLimit::Gathered => self.gathered_bytes_max = value,
            GuestLimit::Columns => self.columns_max = size,
            GuestLimit::Schema => self.schema_bytes_max = size,
            GuestLimit::State => self.state_bytes_max = size,
            GuestLimit::TableElements => self.table_elements_max = value,
            GuestLimit::Handles => self.handles_max = size,
            GuestLimit::LogLines => self.lines_max = value,
            GuestLimit::LogBytes => self.lines_bytes_max = value,
            GuestLimit::LogLine => self.line_bytes_max = size,
            GuestLimit::Metrics => self.metrics_max = size,
            GuestLimit::Random => self.random_bytes_max = value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_table() {
        let defaults = GuestLimit::ALL.iter().map(|l| (*l, l.spec().default));
        assert_eq!(
            Limits::default().with(&defaults.collect()),
            Limits::default()
        );
    }

    #[test]
    fn each_limit_that_is_set_changes_one_field() {
        let fields = |limits: &Limits| serde_json::to_value(limits).map(|v| v.as_object().cloned());
        let before = fields(&Limits::default()).ok().flatten();
        let before = before.unwrap_or_default();
        let mut changed = Vec::new();
        for limit in GuestLimit::ALL {
            let value = *limit.spec().range.start();
            let set = GuestLimits::from_iter([(*limit, value)]);
            let after = fields(&Limits::default().with(&set)).ok().flatten();
            let after = after.unwrap_or_default();
            let differ: Vec<&String> = before
                .keys()
                .filter(|name| before.get(*name) != after.get(*name))
                .collect();
            let [field] = differ[..] else {
                panic!("`{}` changes {differ:?}", limit.spec().key)
            };
            assert_eq!(after[field], value, "{field}");
            changed.push(field.clone());
        }
        changed.sort();
        changed.dedup();
        assert_eq!(changed.len(), GuestLimit::ALL.len());
    }
}
