//! The bugs that `tests/planted/run` plants: each must still have its place in the sources.

/// What is wrong with the bug at `path`, whose sources `read` gives.
pub(super) fn rotten(path: &str, bug: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let complaint = |why: &str| vec![format!("{path}: {why}")];
    let field = |name: &str| bug.lines().find_map(|line| line.strip_prefix(name));
    let (Some(file), Some(test)) = (field("file: "), field("test: ")) else {
        return complaint("it must name a `file:` and a `test:`");
    };
    if !["--lib ", "--test "]
        .iter()
        .any(|target| test.starts_with(target))
    {
        return complaint("its test must begin with `--lib` or `--test`");
    }
    let texts = bug.split_once("\n--- instead of\n").map(|(_, rest)| rest);
    let Some((before, after)) = texts.and_then(|texts| texts.split_once("\n--- write\n")) else {
        return complaint("it must have a text `--- instead of` and one `--- write`");
    };
    if before == after.trim_end_matches('\n') {
        return complaint("it changes nothing");
    }
    let Some(source) = read(file) else {
        return complaint(&format!("there is no {file}"));
    };
    // `tests/planted/run` asks the crate that the file is of.
    let krate = file.split("/src/").next().unwrap_or_default();
    if let Some(name) = test
        .strip_prefix("--test ")
        .and_then(|rest| rest.split(' ').next())
        && [format!("{name}.rs"), format!("{name}/main.rs")]
            .iter()
            .all(|path| read(&format!("{krate}/tests/{path}")).is_none())
    {
        return complaint(&format!("{krate} has no tests named `{name}`"));
    }
    match source.matches(before).count() {
        1 => vec![],
        found => complaint(&format!("its text must be once in {file}, found: {found}")),
    }
}

#[test]
fn rotten_bugs_are_found() {
    let check = |bug: &str, expect: &[&str]| {
        let known = ["a.rs", "host/a/src/a.rs", "host/a/tests/t/main.rs"];
        let text = "if x > 1 {\nif y > 1 {\n";
        let read = |file: &str| known.contains(&file).then(|| text.to_owned());
        assert_eq!(rotten("b.bug", bug, read), expect);
    };
    let bug = |file: &str, text: &str| {
        format!(
            "what\nfile: {file}\ntest: --lib x\n--- instead of\n{text}\n--- write\nif true {{\n"
        )
    };
    check(&bug("a.rs", "if x > 1 {"), &[]);
    check(
        &bug("a.rs", "if z"),
        &["b.bug: its text must be once in a.rs, found: 0"],
    );
    check(
        &bug("a.rs", "> 1"),
        &["b.bug: its text must be once in a.rs, found: 2"],
    );
    check(&bug("c.rs", "if x"), &["b.bug: there is no c.rs"]);
    check(&bug("a.rs", "if true {"), &["b.bug: it changes nothing"]);
    let elsewhere = bug("host/a/src/a.rs", "if x > 1 {").replace("--lib x", "--test it x");
    check(&elsewhere, &["b.bug: host/a has no tests named `it`"]);
    check(&elsewhere.replace("--test it", "--test t"), &[]);
    check(
        "what\nfile: a.rs\n",
        &["b.bug: it must name a `file:` and a `test:`"],
    );
}
