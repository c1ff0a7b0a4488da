//! The whole page against a golden copy.

use super::*;
use crate::example;

#[test]
fn page_of_a_run_with_every_outcome() {
    expect_test::expect_file!["testdata/story.html"].assert_eq(&render(&example::with_history()));
}

#[test]
fn digests_are_written_in_base64() {
    assert_eq!(
        sha256_base64(""),
        "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
    );
}
