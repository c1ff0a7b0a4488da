//! DDL that is read, DDL that is refused, and DDL made up.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::super::name_of;
use super::*;

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the others are no nested types"
)]
fn shown(data_type: &DataType) -> String {
    match data_type {
        DataType::List(item) => format!("ARRAY<{}>", shown(item.data_type())),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(kv) => format!("MAP<STRING, {}>", shown(kv[1].data_type())),
            other => panic!("no map has entries of {other}"),
        },
        DataType::Struct(fields) => {
            let field = |f: &Arc<Field>| {
                format!(
                    "`{}`: {}",
                    f.name().replace('`', "``"),
                    shown(f.data_type())
                )
            };
            format!(
                "STRUCT<{}>",
                fields.iter().map(field).collect::<Vec<_>>().join(", ")
            )
        }
        other => name_of(other),
    }
}

#[track_caller]
fn check(text: &str, expect: &str) {
    assert_eq!(shown(&read("/s", text).unwrap()), expect, "{text}");
}

#[test]
fn fields_and_types_are_read() {
    check("a INT, b STRING", "STRUCT<`a`: INT, `b`: STRING>");
    check(" a : int ,b:String ", "STRUCT<`a`: INT, `b`: STRING>");
    check(
        "c ARRAY<INT>, d STRUCT<x: INT>",
        "STRUCT<`c`: ARRAY<INT>, `d`: STRUCT<`x`: INT>>",
    );
    check(
        "a STRUCT<x DOUBLE, y: ARRAY<ARRAY<DATE>>>",
        "STRUCT<`a`: STRUCT<`x`: DOUBLE, `y`: ARRAY<ARRAY<DATE>>>>",
    );
    check(
        "größe BIGINT NOT NULL COMMENT 'it''s, <big>'",
        "STRUCT<`größe`: BIGINT>",
    );
    check(
        "`a b` INT, `c``d` INT, `,>` INT",
        "STRUCT<`a b`: INT, `c``d`: INT, `,>`: INT>",
    );
    check(
        "struct STRING, map MAP<string, boolean>",
        "STRUCT<`struct`: STRING, `map`: MAP<STRING, BOOLEAN>>",
    );
    check(
        "struct struct<array: array<int>>",
        "STRUCT<`struct`: STRUCT<`array`: ARRAY<INT>>>",
    );
    check("array: INT", "STRUCT<`array`: INT>");
    check(
        "a TINYINT, b short, c LONG, d REAL, e dec, f NUMERIC(5), g Decimal( 12 , 3 ), h varchar(20), i TIMESTAMP, j TIMESTAMP_NTZ",
        "STRUCT<`a`: TINYINT, `b`: SMALLINT, `c`: BIGINT, `d`: FLOAT, `e`: DECIMAL(10,0), `f`: DECIMAL(5,0), `g`: DECIMAL(12,3), `h`: STRING, `i`: TIMESTAMP, `j`: TIMESTAMP_NTZ>",
    );
}

#[test]
fn a_type_may_stand_alone() {
    check("ARRAY < STRUCT<a INT> >", "ARRAY<STRUCT<`a`: INT>>");
    check("map<STRING,DOUBLE>", "MAP<STRING, DOUBLE>");
    check("INT", "INT");
    check("DECIMAL(3,1)", "DECIMAL(3,1)");
}

#[track_caller]
fn check_wrong(text: &str, blamed: &str, message: &str) {
    let failure = read("/s", text).unwrap_err();
    assert_eq!(
        (failure.param.as_deref(), failure.message.as_str()),
        (Some("/s"), message)
    );
    assert_eq!(&text[failure.span.unwrap()], blamed, "{text}");
}

#[test]
fn mistakes_are_shown_where_they_stand() {
    check_wrong("", "", "the DDL names no field");
    check_wrong("  ", "  ", "the DDL names no field");
    check_wrong("a INTT", "INTT", "unknown type `INTT`, did you mean `INT`?");
    check_wrong("ä BINARY", "BINARY", "unknown type `BINARY`");
    check_wrong("foo", "foo", "unknown type `foo`");
    check_wrong(
        "a INT b INT",
        "b",
        "the DDL should have `,` or the end in place of `b`, at character 7",
    );
    check_wrong(
        "a INT,",
        "",
        "the DDL should have the name of a field in place of its end, at character 7",
    );
    check_wrong(
        "a ARRAY",
        "",
        "the DDL should have `<` in place of its end, at character 8",
    );
    check_wrong(
        "ä ARRAY<INT",
        "",
        "the DDL should have `>` in place of its end, at character 12",
    );
    check_wrong(
        "a STRUCT<>",
        ">",
        "the DDL should have the name of a field in place of `>`, at character 10",
    );
    check_wrong(
        "a STRUCT<x INT",
        "",
        "the DDL should have `,` or `>` in place of its end, at character 15",
    );
    check_wrong(
        "a INT, a STRING",
        "a",
        "the DDL names the field `a` twice, at character 8",
    );
    check_wrong(
        "a MAP<INT, INT>",
        "INT",
        "the DDL has a map whose keys are not STRING, at character 7",
    );
    check_wrong("`a INT", "`a INT", "the DDL has a ``` without its end");
    check_wrong("`` INT", "``", "the DDL names a field without a name");
    check_wrong(
        "a INT NOT",
        "",
        "the DDL should have `NULL` in place of its end, at character 10",
    );
    check_wrong(
        "a INT COMMENT x",
        "x",
        "the DDL should have a text in quotes in place of `x`, at character 15",
    );
    let decimal = "the DDL has a decimal that is not `DECIMAL(precision, scale)` of 1 to 38 digits, at character 10";
    check_wrong("a DECIMAL(39)", "(39)", decimal);
    check_wrong("a DECIMAL(2,3)", "(2,3)", decimal);
    check_wrong("a DECIMAL(1,1,1)", "(1,1,1)", decimal);
    check_wrong(
        "a DECIMAL(x)",
        "x",
        "the DDL has `x` for a number, at character 11",
    );
}

#[test]
fn nesting_has_an_end() {
    let nested = |levels: usize| format!("a {}INT{}", "ARRAY<".repeat(levels), ">".repeat(levels));
    assert!(read("/s", &nested(NESTING_MAX - 1)).is_ok());
    let failure = read("/s", &nested(100_000)).unwrap_err();
    assert_eq!(
        failure.message,
        "the DDL is nested deeper than 16 levels, at character 99"
    );
}

proptest! {
    #![proptest_config(crate::testing::cases())]

    #[test]
    fn what_is_shown_is_read_again(
        names in proptest::collection::btree_set("[a-zß` ,<>]{1,4}", 1..5), kinds in proptest::collection::vec(0..15usize, 5),
    ) {
        let ddl = names.iter().zip(kinds).map(|(name, kind)| {
            let data_type = match TYPES[kind] {
                "ARRAY" => "ARRAY<MAP<STRING, DATE>>",
                "MAP" => "MAP<STRING, STRUCT<`x y`: INT, `y`: ARRAY<INT>>>",
                "STRUCT" => "STRUCT<`a`: DECIMAL(7,7)>",
                "DECIMAL" => "DECIMAL(38,2)",
                plain => plain,
            };
            format!("`{}`: {data_type}", name.replace('`', "``"))
        });
        let ddl = format!("STRUCT<{}>", ddl.collect::<Vec<_>>().join(", "));
        prop_assert_eq!(shown(&read("/s", &ddl).unwrap()), ddl);
    }

    #[test]
    fn no_text_makes_it_panic(text in "[aß`<>(),: '0-9INTARYSUCDE]{0,30}") {
        let _ = read("/s", &text);
    }
}
