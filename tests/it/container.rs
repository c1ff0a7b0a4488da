//! The image, as far as it can be tried without a daemon: the rules its Dockerfile keeps, and the program in a root file
//! system that holds nothing else.

use std::process::Command;

use serde_json::Value;

/// Instructions, continued lines joined, comments left out.
fn instructions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(support::root().join("Dockerfile")).unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.fold(String::new(), |all, line| match line.strip_suffix('\\') {
        Some(line) => all + line,
        None => all + line + "\n",
    });
    joined
        .lines()
        .filter_map(|line| line.trim().split_once(' '))
        .map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()))
        .collect()
}

#[test]
fn dockerfile_keeps_the_rules() {
    let all = instructions();
    let of = |word: &str| -> Vec<&str> {
        let found = all.iter().filter(|(w, _)| w == word);
        found.map(|(_, rest)| rest.as_str()).collect()
    };
    let known = [
        "FROM", "LABEL", "WORKDIR", "COPY", "RUN", "ENV", "USER", "VOLUME", "CMD",
    ];
    for (word, _) in &all {
        assert!(known.contains(&word.as_str()), "{word}");
    }
    // Bases are named with a tag that says which.
    let bases = of("FROM");
    assert_eq!(bases.len(), 2, "{bases:?}");
    for base in &bases {
        let image = base.split_whitespace().next().unwrap();
        let (_, tag) = image
            .rsplit_once(':')
            .unwrap_or_else(|| panic!("no tag: {image}"));
        assert!(!tag.contains("latest"), "{image}");
        assert!(base.contains(" AS "), "{base}");
    }
    // The program meets the C library that it was linked to.
    let debian = bases[0].contains("-bookworm") && bases[1].contains("-debian12");
    assert!(debian, "{bases:?}");
    let channel = std::fs::read_to_string(support::root().join("rust-toolchain.toml")).unwrap();
    let channel = channel.split('"').nth(1).unwrap();
    assert!(
        bases[0].starts_with(&format!("rust:{channel}-")),
        "{} {channel}",
        bases[0]
    );
    // What is in the image that runs.
    let last = all.iter().rposition(|(word, _)| word == "FROM").unwrap();
    let image = &all[last..];
    let runs_nothing = image.iter().all(|(word, _)| word != "RUN");
    assert!(runs_nothing, "distroless has no shell");
    let user = image
        .iter()
        .find(|(word, _)| word == "USER")
        .map(|(_, user)| user.as_str());
    let number: u32 = user.unwrap().split(':').next().unwrap().parse().unwrap();
    assert_ne!(number, 0);
    let copies = image.iter().filter(|(word, _)| word == "COPY");
    for (_, copied) in copies {
        assert!(copied.contains("--from=build"), "{copied}");
    }
    assert_eq!(of("CMD"), [r#"["odibi", "run", "project.yaml"]"#]);
    assert!(of("VOLUME").contains(&"/state"));
    // Nothing that could be a secret is put into a layer, nor fetched without a name.
    for (word, rest) in &all {
        let small = rest.to_ascii_lowercase();
        for secret in ["password", "secret", "token", "account_key", "sas", "ssh"] {
            assert!(!small.contains(secret), "{word} {rest}");
        }
        assert!(
            !small.contains("curl") && !small.contains("wget"),
            "{word} {rest}"
        );
    }
    let fetched = all
        .iter()
        .any(|(word, rest)| word == "COPY" && rest.contains("http"));
    assert!(!fetched);
}

/// The context holds what is named and nothing else; everything the build reads is named.
#[test]
fn build_context_holds_the_sources_and_no_secrets() {
    let text = std::fs::read_to_string(support::root().join(".dockerignore")).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines[0], "*");
    let named: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    for name in &named {
        assert!(support::root().join(name).exists(), "{name}");
    }
    let manifest = std::fs::read_to_string(support::root().join("Cargo.toml")).unwrap();
    let members = manifest
        .split("members = [")
        .nth(1)
        .unwrap()
        .split(']')
        .next()
        .unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        let top = member.split('/').next().unwrap();
        assert!(named.contains(&top), "{member}");
    }
    for secret in ["**/.env", "**/.env.*", "**/*.pem", "**/*.key"] {
        assert!(lines.contains(&secret), "{secret}");
    }
}

#[test]
fn program_runs_in_an_empty_root_file_system() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(support::root().join("tests/container/run"))
        .arg(support::binary())
        .arg(dir.path())
        .arg(support::cache_dir())
        .output()
        .unwrap();
    let (stdout, stderr) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap_or_default();
    assert!(
        output.status.success(),
        "{stdout}{stderr}{}{}",
        text("compile.err"),
        text("run1.log")
    );
    assert!(
        text("compile.out").contains("sql"),
        "{}",
        text("compile.out")
    );
    let result = |name: &str| -> Value { serde_json::from_str(&text(name)).unwrap() };
    let (first, second) = (result("run1.json"), result("run2.json"));
    assert_eq!(
        (&first["exit_code"], &second["exit_code"]),
        (&0.into(), &0.into())
    );
    let write = |run: &Value| run["pipelines"][0]["story"]["nodes"][0]["facts"]["write"].clone();
    assert_eq!(write(&first)["rows_inserted"], 2, "{first:#}");
    assert_ne!(write(&second)["effect"], "published", "{second:#}");
    for name in ["run1.log", "run2.log"] {
        let log = text(name);
        assert!(!log.contains("compiling"), "it was compiled before: {log}");
        for line in log.lines() {
            let _: Value = serde_json::from_str(line).unwrap();
        }
    }
    // What it could write, and as whom.
    let state = dir.path().join("root/state");
    assert!(state.join("out/cities.parquet").is_file());
    assert!(state.join("state.db").is_file());
    if rustix::process::geteuid().is_root() {
        use std::os::unix::fs::MetadataExt as _;
        let written = std::fs::metadata(state.join("state.db")).unwrap();
        assert_eq!((written.uid(), written.gid()), (65532, 65532));
    }
}
