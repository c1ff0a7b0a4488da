//! `sessionize`: events of a user that follow each other closely are one session.
//!
//! The host brings the events of a user together, in the order of their time; the last user, the last time and a count are
//! remembered, however many sessions there are.

use std::fmt::Write as _;

use arrow_array::builder::StringBuilder;
use arrow_array::types::{
    Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use odibi_sdk::prelude::*;
use odibi_sdk::text::is_text;

use crate::ticks;

/// Params of `sessionize`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sessionize {
    /// When the event happened: a timestamp.
    timestamp_col: String,
    /// Whose event it is: text or a whole number.
    user_col: String,
    /// A gap of more seconds than this between two events of a user begins a new session.
    #[serde(default = "half_an_hour")]
    threshold_seconds: u32,
    /// Column that receives the session: the user, a hyphen, and the number of the user's session from 1, as in `ann-1`.
    /// Null where the user or the time is null. Rows come out ordered by user and time.
    #[serde(default = "session_id")]
    session_col: String,
}

fn half_an_hour() -> u32 {
    1800
}

fn session_id() -> String {
    "session_id".to_owned()
}

impl Operation for Sessionize {
    const NAME: &'static str = "sessionize";
    const SUMMARY: &'static str =
        "Gives events of a user that follow each other closely one session";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "a pause of more than half an hour begins a session",
                json!({ "timestamp_col": "at", "user_col": "user" }),
                [
                    "user,at\nann,2026-01-01T10:00:00\nbo,2026-01-01T10:00:00\nann,2026-01-01T10:30:00\nann,2026-01-01T11:00:01\n",
                ],
                "user,at,session_id\nann,2026-01-01T10:00:00,ann-1\nann,2026-01-01T10:30:00,ann-1\nann,2026-01-01T11:00:01,ann-2\nbo,2026-01-01T10:00:00,bo-1\n",
            ),
            Example::new(
                "visits of machines, a minute apart at most",
                json!({ "timestamp_col": "at", "user_col": "machine", "threshold_seconds": 60, "session_col": "visit" }),
                [
                    "machine,at\n7,2026-01-01T10:02:00\n7,2026-01-01T10:00:00\n,2026-01-01T10:00:00\n",
                ],
                "machine,at,visit\n7,2026-01-01T10:00:00,7-1\n7,2026-01-01T10:02:00,7-2\n,2026-01-01T10:00:00,\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let schema = inputs
            .first()
            .ok_or_else(|| Failure::internal("no input"))?;
        ticks::unit_of("/timestamp_col", &self.timestamp_col, schema)?;
        let outline = Outline::of(schema)
            .read_if("/user_col", &self.user_col, "text or a whole number", |t| {
                is_text(t) || t.is_integer()
            })?
            .add(
                "/session_col",
                Field::new(&self.session_col, DataType::Utf8, true),
            )?;
        let user = find("/user_col", &self.user_col, schema)?;
        let time = find("/timestamp_col", &self.timestamp_col, schema)?;
        let input = InputPlan::only([user, time])
            .partition_by([user])
            .sorted_by([user, time].map(SortKey::ascending))
            .keep_order();
        Ok(Plan::from(outline).input(0, input))
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Sessions {
            threshold_seconds: i128::from(self.threshold_seconds),
            user: String::new(),
            last: None,
            number: 0,
        }))
    }
}

struct Sessions {
    threshold_seconds: i128,
    user: String,
    /// Time of the user's last event; none before the first.
    last: Option<i64>,
    /// Of the user's last session, from 1; 0 before the first.
    number: u64,
}

impl Session for Sessions {
    fn process(
        &mut self,
        _port: usize,
        batch: RecordBatch,
        out: &mut Output<'_>,
    ) -> Result<Appetite> {
        let users = Users::of(batch.column(0))?;
        let (times, unit) = ticks::of(batch.column(1))?;
        let threshold = self.threshold_seconds * i128::from(ticks::per_second(unit));
        let mut sessions = StringBuilder::new();
        let mut user = String::new();
        for row in 0..batch.num_rows() {
            user.clear();
            if !users.push(row, &mut user) || times.is_null(row) {
                sessions.append_null();
                continue;
            }
            if self.number == 0 || user != self.user {
                self.user.clone_from(&user);
                self.last = None;
                self.number = 0;
            }
            let time = times.value(row);
            let gap = self.last.map(|last| i128::from(time) - i128::from(last));
            if gap.is_none_or(|gap| gap > threshold) {
                self.number += 1;
            }
            self.last = Some(time);
            let _ = write!(user, "-{}", self.number);
            sessions.append_value(&user);
        }
        out.same_rows(vec![Arc::new(sessions.finish())])
    }
}

/// The text of each user.
enum Users<'a> {
    Text(Text<'a>),
    Signed(Int64Array),
    Unsigned(arrow_array::UInt64Array),
}

impl<'a> Users<'a> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the others were refused")]
    fn of(array: &'a ArrayRef) -> Result<Self> {
        macro_rules! widened {
            ($variant:ident, $from:ty, $to:ty) => {
                Self::$variant(array.as_primitive::<$from>().unary::<_, $to>(Into::into))
            };
        }
        Ok(match array.data_type() {
            DataType::Int8 => widened!(Signed, Int8Type, Int64Type),
            DataType::Int16 => widened!(Signed, Int16Type, Int64Type),
            DataType::Int32 => widened!(Signed, Int32Type, Int64Type),
            DataType::Int64 => Self::Signed(array.as_primitive::<Int64Type>().clone()),
            DataType::UInt8 => widened!(Unsigned, UInt8Type, UInt64Type),
            DataType::UInt16 => widened!(Unsigned, UInt16Type, UInt64Type),
            DataType::UInt32 => widened!(Unsigned, UInt32Type, UInt64Type),
            DataType::UInt64 => Self::Unsigned(array.as_primitive::<UInt64Type>().clone()),
            _ => Self::Text(Text::of(array)?),
        })
    }

    /// False for null.
    fn push(&self, row: usize, out: &mut String) -> bool {
        match self {
            Self::Text(texts) => match texts.get(row) {
                Some(text) => out.push_str(text),
                None => return false,
            },
            Self::Signed(numbers) if numbers.is_valid(row) => {
                let _ = write!(out, "{}", numbers.value(row));
            }
            Self::Unsigned(numbers) if numbers.is_valid(row) => {
                let _ = write!(out, "{}", numbers.value(row));
            }
            Self::Signed(_) | Self::Unsigned(_) => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::collections::BTreeMap;

    use arrow_array::{DictionaryArray, TimestampSecondArray, UInt8Array};
    use odibi_sdk::harness;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{self, batch, check_csv, check_failure, int_column};

    const OPERATION: &str = "sessionize";
    const TABLE: &str = "u,at,n\nä,2026-01-01T00:00:00,1.5\n";

    fn params() -> Value {
        json!({ "timestamp_col": "at", "user_col": "u", "threshold_seconds": 10, "session_col": "s" })
    }

    #[test]
    fn null_users_and_times_have_no_session() {
        check_csv(
            OPERATION,
            params(),
            "u,at\nß🎉,2026-01-01T00:00:10\nß🎉,\n,2026-01-01T00:00:00\nß🎉,2026-01-01T00:00:00\n",
            "u,at,s\nß🎉,2026-01-01T00:00:00,ß🎉-1\nß🎉,2026-01-01T00:00:10,ß🎉-1\nß🎉,,\n,2026-01-01T00:00:00,\n",
        );
    }

    #[test]
    fn empty_tables_and_every_layout_of_users() {
        let times: ArrayRef = Arc::new(TimestampSecondArray::from(vec![0, 100, 105]));
        let text: DictionaryArray<Int8Type> = ["7", "7", "7"].into_iter().collect();
        let users: [ArrayRef; 2] = [Arc::new(UInt8Array::from(vec![7, 7, 7])), Arc::new(text)];
        for users in users {
            let table = batch(vec![("u", users), ("at", Arc::clone(&times))]);
            let run =
                |table| harness::run(&crate::plugin(), OPERATION, params(), &[table]).unwrap();
            assert_eq!(run(table.slice(0, 0)).num_rows(), 0);
            let output = run(table);
            let sessions = output.column(2).as_string::<i32>();
            assert_eq!(
                sessions.iter().flatten().collect::<Vec<_>>(),
                ["7-1", "7-2", "7-2"]
            );
        }
    }

    #[test]
    fn wrong_params_are_shown_where_they_stand() {
        let check = |key: &str, value: Value, code, message| {
            let mut params = params();
            params[key] = value;
            check_failure(OPERATION, params, TABLE, code, &format!("/{key}"), message);
        };
        let near = "unknown column `U`, did you mean `u`?";
        check("user_col", json!("U"), "unknown-column", near);
        let near = "unknown column `att`, did you mean `at`?";
        check("timestamp_col", json!("att"), "unknown-column", near);
        let wrong = "column `u` must be a timestamp, is: Utf8";
        check("timestamp_col", json!("u"), "wrong-type", wrong);
        let wrong = "column `n` must be text or a whole number, is: Float64";
        check("user_col", json!("n"), "wrong-type", wrong);
        let exists = "column `n` exists already";
        check("session_col", json!("n"), "duplicate-column", exists);
        let wrong = "invalid value: integer `-1`, expected u32";
        check("threshold_seconds", json!(-1), "invalid-param", wrong);
    }

    proptest! {
        #![proptest_config(testing::cases())]

        #[test]
        fn result_is_that_of_a_walk_through_each_user(
            rows in proptest::collection::vec((0..3i64, 0..80i64), 0..50),
        ) {
            let table = batch(vec![
                ("u", Arc::new(rows.iter().map(|r| Some(r.0)).collect::<Int64Array>())),
                ("at", Arc::new(rows.iter().map(|r| Some(r.1)).collect::<TimestampSecondArray>())),
                testing::ids(rows.len()),
            ]);
            let mut order: Vec<usize> = (0..rows.len()).collect();
            order.sort_by_key(|row| rows[*row].1);
            let mut users: BTreeMap<i64, (i64, u32)> = BTreeMap::new();
            let mut expect = vec![String::new(); rows.len()];
            for row in order {
                let (user, at) = rows[row];
                let (last, number) = users.get(&user).copied().unwrap_or((-100, 0));
                let number = if at - last > 10 { number + 1 } else { number };
                users.insert(user, (at, number));
                expect[row] = format!("{user}-{number}");
            }
            let output = harness::run(&crate::plugin(), OPERATION, params(), &[table]).unwrap();
            let sessions = output.column_by_name("s").unwrap().as_string::<i32>().clone();
            for (id, session) in int_column(&output, "id").into_iter().zip(&sessions) {
                prop_assert_eq!(session.unwrap(), &expect[usize::try_from(id.unwrap()).unwrap()]);
            }
        }
    }
}
