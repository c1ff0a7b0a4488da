//! How a project is put together: environments, `.env`, references, imports, attempts, selection; and how it is shown.

use expect_test::expect;
use support::Project;

const PROJECT: &str = r#"project: shop
imports: parts/lake.yaml
vars: {day: "${date:today}", limit: 3}
environments:
  test: {connections: {lake: {base_path: test}}, vars: {limit: 1}}
retry: {max_attempts: 2, delay: 1ms}
pipelines:
  - pipeline: orders
    nodes:
      - name: load
        description: "${vars.limit}"
        read: {connection: lake, format: csv, path: "${NAME:-orders}.csv"}
        write: {connection: lake, format: csv, path: "out/${vars.day}.csv"}
"#;
const LAKE: &str = "connections:\n  lake: {type: local, base_path: \"${BASE:-data}\"}\n";

fn project() -> Project {
    Project::with(PROJECT)
        .file("parts/lake.yaml", LAKE)
        .file("data/orders.csv", "id\n1\n")
        .file("test/orders.csv", "id\n2\n")
        .file("prod/orders.csv", "id\n3\n")
        .file("env.prod.yaml", "connections: {lake: {base_path: prod}}\n")
}

/// Runs, and says where the row of the result came from.
#[track_caller]
fn check(project: &Project, args: &[&str], written: &str, expect: &str) {
    let args = [&["run", "--as-of", "2024-02-29T12:00:00Z"], args].concat();
    let _ = project.odibi(&args).exits(0);
    assert_eq!(project.text(written), format!("id\n{expect}\n"));
}

#[test]
fn environment_is_laid_over_the_project() {
    check(&project(), &[], "data/out/2024-02-29.csv", "1");
    check(
        &project(),
        &["--env", "test"],
        "test/out/2024-02-29.csv",
        "2",
    );
    check(
        &project(),
        &["--env", "prod"],
        "prod/out/2024-02-29.csv",
        "3",
    );
    let by_variable = project().variable("ODIBI_ENV", "prod");
    check(&by_variable, &[], "prod/out/2024-02-29.csv", "3");
    // The command line wins.
    check(
        &by_variable,
        &["--env", "test"],
        "test/out/2024-02-29.csv",
        "2",
    );
    let unknown = project().odibi(&["run", "--env", "tst"]).exits(78);
    assert!(
        unknown.stderr.contains("config/unknown-environment")
            && unknown.stderr.contains("did you mean `test`?")
            && unknown.stderr.contains("`prod`"),
        "{}",
        unknown.stderr
    );
}

#[test]
fn environment_wins_over_the_file_of_variables() {
    let project = project().file(
        ".env",
        "# where\nexport BASE='test'\nNAME=orders # no more\n",
    );
    check(&project, &[], "test/out/2024-02-29.csv", "2");
    check(
        &project.variable("BASE", "prod"),
        &[],
        "prod/out/2024-02-29.csv",
        "3",
    );
    let faulty = self::project().file(".env", "BASE=test\nNAME\n");
    let refused = faulty.odibi(&["validate"]).exits(78);
    assert!(
        refused.stderr.contains("`.env`, line 2: there is no `=`"),
        "{}",
        refused.stderr
    );
}

#[test]
fn project_is_shown_with_its_places_and_without_credentials() {
    let project = project()
        .file(
            "parts/lake.yaml",
            "connections:\n  lake: {type: local, base_path: \"${BASE:-data}\"}\n  blob: {type: azure_blob, account_key: \"${KEY}\", sas_token: hunter2}\n",
        )
        .variable("KEY", "hunter3");
    let shown = project
        .odibi(&[
            "config",
            "show",
            "--env",
            "test",
            "--resolved",
            "--as-of",
            "2024-02-29T12:00:00Z",
        ])
        .exits(0);
    expect![[r#"
        project: shop  # odibi.yaml:1
        vars:
          day: 2024-02-29  # odibi.yaml:3
          limit: 1  # odibi.yaml:5
        retry:
          max_attempts: 2  # odibi.yaml:6
          delay: 1ms  # odibi.yaml:6
        pipelines:
          - pipeline: orders  # odibi.yaml:8
            nodes:
              - name: load  # odibi.yaml:10
                description: 1  # odibi.yaml:11
                read:
                  connection: lake  # odibi.yaml:12
                  format: csv  # odibi.yaml:12
                  path: orders.csv  # odibi.yaml:12
                write:
                  connection: lake  # odibi.yaml:13
                  format: csv  # odibi.yaml:13
                  path: out/2024-02-29.csv  # odibi.yaml:13
        connections:
          lake:
            type: local  # parts/lake.yaml:2
            base_path: test  # odibi.yaml:5
          blob:
            type: azure_blob  # parts/lake.yaml:3
            account_key: "***"  # parts/lake.yaml:3
            sas_token: "***"  # parts/lake.yaml:3
    "#]]
    .assert_eq(&shown.stdout);
    let written = project
        .odibi(&["config", "show", "--output", "json"])
        .exits(0);
    let json: serde_json::Value = serde_json::from_str(&written.stdout).unwrap();
    assert_eq!(json["config"]["vars"]["day"], "${date:today}");
    assert_eq!(
        json["config"]["connections"]["blob"]["account_key"],
        "${KEY}"
    );
    assert_eq!(
        json["places"]["/connections/blob/account_key"],
        "parts/lake.yaml:3"
    );
    assert!(!written.stdout.contains("hunter") && !shown.stdout.contains("hunter"));
}

#[test]
fn values_change_nothing_but_themselves() {
    let injections = [
        "a\nb: c",
        "\"",
        "'",
        "{x: y}",
        "[1, 2]",
        "a: b",
        "a #b",
        "!!python/object:os.system x",
        "*a",
        "&a b",
        "- x",
        "| \n x",
        "${HOME}",
        "$${X}",
        "\u{2028}x",
        "%TAG",
        "---",
        "null",
    ];
    let yaml = "project: p\ndescription: ${V}\nowner: \"x ${V}\"\nconnections: {lake: {type: local, base_path: .}}\npipelines:\n  - pipeline: one\n    nodes:\n      - {name: a, tags: [\"${V}\"], read: {connection: lake, format: csv, path: a.csv}}\n";
    let shown = |value: &str| {
        let project = Project::with(yaml).variable("V", value);
        let shown = project.odibi(&["config", "show", "--resolved", "--output", "json"]);
        let json: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap();
        let plan = project.odibi(&["plan", "--output", "json"]);
        (shown.code, json, plan.code)
    };
    for value in injections {
        let (code, mut found, planned) = shown(value);
        assert_eq!((code, planned), (0, 0), "{value:?}");
        let (_, mut calm, _) = shown("calm");
        assert_eq!(found["config"]["description"], value);
        assert_eq!(found["config"]["owner"], format!("x {value}"));
        assert_eq!(
            found["config"]["pipelines"][0]["nodes"][0]["tags"][0],
            value
        );
        for json in [&mut found, &mut calm] {
            json["config"]["description"] = "".into();
            json["config"]["owner"] = "".into();
            json["config"]["pipelines"][0]["nodes"][0]["tags"][0] = "".into();
        }
        assert_eq!(found, calm, "{value:?}");
    }
}

const THREE: &str = r"project: p
connections: {lake: {type: local, base_path: .}}
pipelines:
  - pipeline: one
    nodes:
      - {name: bad, read: {connection: lake, format: csv, path: missing.csv}}
      - {name: after, depends_on: [bad], read: {connection: lake, format: csv, path: a.csv}, write: {connection: lake, format: csv, path: after.csv}}
      - {name: other, read: {connection: lake, format: csv, path: a.csv}, write: {connection: lake, format: csv, path: other.csv}}
";

#[test]
fn on_error_decides_what_a_failure_means() {
    let ran = |word: &str| {
        let project = Project::with(THREE).file("a.csv", "id\n1\n");
        let (code, result) = project.run_json(&["--workers", "1", "--on-error", word]);
        let written = ["after.csv", "other.csv"].map(|name| project.path(name).exists());
        (
            code,
            result["outcome"].as_str().unwrap().to_owned(),
            written,
        )
    };
    assert_eq!(ran("fail_later"), (1, "failed".to_owned(), [false, true]));
    assert_eq!(ran("fail_fast"), (1, "failed".to_owned(), [false, false]));
    assert_eq!(ran("ignore"), (0, "succeeded".to_owned(), [true, true]));
}

#[test]
fn words_select_nodes() {
    let planned = |args: &[&str]| {
        let project = Project::with(THREE).file("a.csv", "id\n1\n");
        let plan = project
            .odibi(&[&["plan", "--output", "json"], args].concat())
            .exits(0);
        let json: serde_json::Value = serde_json::from_str(&plan.stdout).unwrap();
        let nodes = json["nodes"].as_array().unwrap().iter();
        nodes
            .map(|n| n["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(planned(&["--select", "bad+"]), ["bad", "after"]);
    assert_eq!(planned(&["--exclude", "bad"]), ["other"]);
    assert_eq!(
        planned(&["--select", "pipeline:one", "--exclude", "after"]),
        ["bad", "other"]
    );
}

/// Begins a project, validates and runs it.
#[track_caller]
fn begun(template: &str, written: &[&str]) -> Project {
    let project = Project::new();
    let begun = project
        .odibi(&["init", "shop", "--template", template])
        .exits(0);
    assert!(
        begun.stdout.contains("wrote odibi.yaml\n"),
        "{}",
        begun.stdout
    );
    let first = project.text("shop/odibi.yaml");
    assert!(first.starts_with("# yaml-language-server: $schema=./odibi.schema.json\n"));
    assert!(project.path("shop/odibi.schema.json").exists());
    let _ = project.odibi(&["validate", "shop"]).exits(0);
    let _ = project.odibi(&["run", "shop"]).exits(0);
    for path in written {
        assert!(project.path(path).exists(), "{path}");
    }
    // What is there is not overwritten.
    let again = project
        .odibi(&["init", "shop", "--template", template])
        .exits(2);
    assert!(again.stderr.contains("cli/file-exists"), "{}", again.stderr);
    project
}

#[test]
fn quickstart_runs() {
    let project = begun("quickstart", &["shop/data/out/orders.parquet"]);
    assert_eq!(
        project.text("shop/data/out/cities.csv"),
        "city,orders,amount\nBASEL,1,7.0\nBERN,2,42.75\n"
    );
}

#[test]
fn star_schema_runs() {
    let written = ["dim_customer", "dim_product", "fact_sales"];
    let written = written.map(|name| format!("shop/warehouse/{name}.parquet"));
    let _ = begun("star-schema", &written.each_ref().map(String::as_str));
}

#[test]
fn azure_runs_on_local_files_and_names_what_production_needs() {
    let project = begun("azure", &["shop/data/lake/orders.parquet"]);
    let refused = project
        .odibi(&["validate", "shop", "--env", "prod"])
        .exits(78);
    assert!(
        refused.stderr.contains("name the storage account"),
        "{}",
        refused.stderr
    );
}

#[test]
fn schema_completions_and_manual_are_printed() {
    let project = Project::new();
    let schema = project.odibi(&["schema"]).exits(0);
    let schema: serde_json::Value = serde_json::from_str(&schema.stdout).unwrap();
    assert_eq!(schema["title"], "odibi project");
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = project.odibi(&["completions", shell]).exits(0);
        assert!(script.stdout.contains("validate"), "{shell}");
    }
    let page = project.odibi(&["man"]).exits(0);
    assert!(
        page.stdout.contains(".TH odibi 1") && page.stdout.contains("validate"),
        "{}",
        page.stdout
    );
    let page = project.odibi(&["man", "plugin", "inspect"]).exits(0);
    assert!(page.stdout.contains("inspect"), "{}", page.stdout);
    let _ = project.odibi(&["man", "nothing"]).exits(2);
}
