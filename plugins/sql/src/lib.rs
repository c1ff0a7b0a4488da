//! SQL inside the sandbox: the operation `sql`, and operations that are one statement.

mod batchwise;
mod chain;
mod choice;
mod database;
mod exact;
mod expression;
mod fault;
mod groups;
#[cfg(target_arch = "wasm32")]
mod no_files;
mod operations;
mod order;
mod ordered;
mod parse;
mod port;
mod query;
mod spread;
mod sql;
mod statement;
mod stream;
mod thin;
mod totals;
mod types;

odibi_sdk::export!(
    name = "sql",
    operations = [
        sql::Sql,
        chain::Chain,
        thin::Of<operations::aggregate::Aggregate>,
        thin::Of<operations::apply_mapping::ApplyMapping>,
        thin::Of<operations::case_when::CaseWhen>,
        thin::Of<operations::cast_columns::CastColumns>,
        thin::Of<operations::coalesce_columns::CoalesceColumns>,
        thin::Of<operations::concat_columns::ConcatColumns>,
        thin::Of<operations::convert_timezone::ConvertTimezone>,
        thin::Of<operations::date_add::DateAdd>,
        thin::Of<operations::date_diff::DateDiff>,
        thin::Of<operations::date_trunc::DateTrunc>,
        thin::Of<operations::derive_columns::DeriveColumns>,
        thin::Of<operations::extract_date_parts::ExtractDateParts>,
        thin::Of<operations::filter_rows::FilterRows>,
        thin::Of<operations::join::Join>,
        thin::Of<operations::pivot::Pivot>,
        thin::Of<operations::regex_replace::RegexReplace>,
        thin::Of<operations::split_part::SplitPart>,
        thin::Of<operations::unpivot::Unpivot>,
        thin::Of<operations::validate_and_flag::ValidateAndFlag>,
        thin::Of<operations::window_calculation::WindowCalculation>,
        operations::cross_check::CrossCheck,
    ]
);

#[cfg(test)]
mod tests;
