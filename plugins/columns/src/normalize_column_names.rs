//! `normalize_column_names`: brings all column names into one form.

use std::collections::HashMap;

use odibi_sdk::prelude::*;

use crate::passing::{Passing, Renamed, only_input, renamed};

/// Brings all column names into one form.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NormalizeColumnNames {
    /// `snake_case` puts an underscore between words (blanks, `-`, `.`, `/` and the humps of `customerId` separate them);
    /// `none` leaves words as they are.
    #[serde(default)]
    style: Style,
    /// Writes names in lowercase.
    #[serde(default = "yes")]
    lowercase: bool,
    /// Leaves out whatever is not a letter, a digit or an underscore between them. Letters are those of any script.
    #[serde(default = "yes")]
    remove_special: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Style {
    /// `customerId` becomes `customer_id`.
    #[default]
    SnakeCase,
    /// Words stay as they are.
    None,
}

fn yes() -> bool {
    true
}

impl Operation for NormalizeColumnNames {
    const NAME: &'static str = "normalize_column_names";
    const SUMMARY: &'static str = "brings all column names into one form";

    fn examples() -> Vec<Example> {
        vec![
            Example::new(
                "writes names in snake case",
                json!({}),
                ["Customer ID,firstName,Total (€)\n1,ann,10\n"],
                "customer_id,first_name,total\n1,ann,10\n",
            ),
            Example::new(
                "only removes special characters",
                json!({ "style": "none", "lowercase": false }),
                ["Order#,Net $\n1,10\n"],
                "Order,Net\n1,10\n",
            ),
        ]
    }

    fn plan(&self, inputs: &[SchemaRef]) -> Result<Plan> {
        let input = only_input(inputs)?;
        let mut taken: HashMap<String, &str> = HashMap::new();
        let mut names = Vec::with_capacity(input.fields().len());
        for field in input.fields() {
            let old = field.name();
            let new = self.normal(old);
            if new.is_empty() {
                let message = format!("nothing is left of the name of column `{old}`");
                return Err(Failure::param("", message)
                    .hint("rename it before, or set `remove_special: false`"));
            }
            if let Some(other) = taken.insert(new.clone(), old) {
                let message = format!("columns `{other}` and `{old}` would both be called `{new}`");
                return Err(Failure::param("", message)
                    .code("duplicate-column")
                    .hint("rename one of them before"));
            }
            names.push((new != *old).then(|| Renamed {
                name: new,
                pointer: String::new(),
            }));
        }
        renamed(input, &names)
    }

    fn open(self, _start: Start) -> Result<Box<dyn Session>> {
        Ok(Box::new(Passing))
    }
}

impl NormalizeColumnNames {
    fn normal(&self, name: &str) -> String {
        let kept = |word: &str| -> String {
            let special = |c: &char| !c.is_alphanumeric() && *c != '_' && !is_mark(*c);
            let chars = word.chars();
            chars
                .filter(|c| !self.remove_special || !special(c))
                .collect()
        };
        // Underscores at the ends, and several behind each other, are as good as special characters.
        let tidy = |name: String| -> String {
            if !self.remove_special {
                return name;
            }
            let words: Vec<&str> = name.split('_').filter(|w| !w.is_empty()).collect();
            words.join("_")
        };
        let new = tidy(match self.style {
            Style::None => kept(name),
            Style::SnakeCase => {
                let separates = |c: char| c.is_whitespace() || matches!(c, '-' | '.' | '/');
                let words = name.split(separates).map(kept).filter(|w| !w.is_empty());
                let words: Vec<String> = words.map(|w| humps(&w)).collect();
                words.join("_")
            }
        });
        if self.lowercase {
            new.to_lowercase()
        } else {
            new
        }
    }
}

/// Combining diacritical marks belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}')
}

/// `HTTPServer` becomes `HTTP_Server`, `customerId` becomes `customer_Id`.
fn humps(word: &str) -> String {
    let chars: Vec<char> = word.chars().collect();
    let mut out = String::with_capacity(word.len() + 4);
    for (i, c) in chars.iter().enumerate() {
        let before = i.checked_sub(1).map(|b| chars[b]);
        let after_small = before.is_some_and(|b| b.is_lowercase() || b.is_numeric());
        let ends_capitals = before.is_some_and(char::is_uppercase)
            && chars.get(i + 1).is_some_and(|a| a.is_lowercase());
        // Some capitals, such as those of mathematics, have no small letter.
        let capital = c.is_uppercase() && !c.to_lowercase().eq([*c]);
        if capital && (after_small || ends_capitals) {
            out.push('_');
        }
        out.push(*c);
    }
    out
}

#[cfg(test)]
mod tests {
    use odibi_sdk::prelude::json;
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{check_csv, check_failure};

    const OPERATION: &str = "normalize_column_names";

    #[track_caller]
    fn check(style: Style, lowercase: bool, remove_special: bool, cases: &[(&str, &str)]) {
        let params = NormalizeColumnNames {
            style,
            lowercase,
            remove_special,
        };
        for (old, new) in cases {
            assert_eq!(params.normal(old), *new, "{old}");
        }
    }

    #[test]
    fn names_take_the_form_asked_for() {
        let snake = [
            ("Customer ID", "customer_id"),
            ("customerId", "customer_id"),
            ("HTTPServer2Name", "http_server2_name"),
            (" a  b ", "a_b"),
            ("a-b.c/d", "a_b_c_d"),
            ("_id", "id"),
            ("a__b_", "a_b"),
            ("Größe (m²)", "größe_m²"),
            ("ÄrzteListe", "ärzte_liste"),
            ("e\u{301}te\u{301}", "e\u{301}te\u{301}"),
            ("数量 🎉", "数量"),
            ("%", ""),
        ];
        check(Style::SnakeCase, true, true, &snake);
        let special = [("Net (%)", "net_(%)"), ("a#b", "a#b")];
        check(Style::SnakeCase, true, false, &special);
        check(
            Style::SnakeCase,
            false,
            true,
            &[("netTotal x", "net_Total_x")],
        );
        check(Style::None, true, true, &[("Net Total%", "nettotal")]);
        check(Style::None, false, false, &[("Net Total%", "Net Total%")]);
    }

    #[test]
    fn values_stay_and_tables_may_be_empty() {
        check_csv(OPERATION, json!({}), "A b,C\n", "a_b,c\n");
        check_csv(
            OPERATION,
            json!({ "style": "none" }),
            "A,b\n1,\n",
            "a,b\n1,\n",
        );
    }

    #[test]
    fn names_that_meet_are_refused() {
        let both = "columns `A b` and `a_b` would both be called `a_b`";
        check_failure(
            OPERATION,
            json!({}),
            "A b,x,a_b\n",
            "duplicate-column",
            "",
            both,
        );
        let none = "nothing is left of the name of column `%`";
        check_failure(OPERATION, json!({}), "a,%\n", "invalid-param", "", none);
        let wrong = "unknown variant `camel`, expected `snake_case` or `none`";
        let params = json!({ "style": "camel" });
        check_failure(OPERATION, params, "a\n", "invalid-param", "/style", wrong);
        let wrong = "invalid type: string \"x\", expected a boolean";
        let params = json!({ "lowercase": "x" });
        check_failure(
            OPERATION,
            params,
            "a\n",
            "invalid-param",
            "/lowercase",
            wrong,
        );
    }

    proptest! {
        #[test]
        fn a_normal_name_is_its_own_normal_name(name: String, remove_special: bool) {
            let params = NormalizeColumnNames { style: Style::SnakeCase, lowercase: true, remove_special };
            let once = params.normal(&name);
            prop_assert_eq!(params.normal(&once), once);
        }
    }
}
