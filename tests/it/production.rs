//! `examples/production`, whole: on local files, and with `--env prod` on Azurite, with a Key Vault, receivers of alerts and
//! a lineage server of this machine. The same project file, untouched; what leads to this machine stands in variables and
//! in an `env.prod.yaml` beside it.

mod site;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use support::Project;
use support::proxy::Fault;

use self::site::{Production, Ran, SENSITIVE, Seen};
use crate::logs;

const NODES: [&str; 3] = ["customers", "orders", "revenue"];

fn example() -> Project {
    let project = Project::new();
    let example = support::root().join("examples/production");
    support::copy_tree(&example, &project.path("production"));
    // What somebody may have left in the checkout who ran it there.
    let _ = std::fs::remove_dir_all(project.path("production/data/lake"));
    let _ = std::fs::remove_file(project.path("production/.env"));
    project
}

/// The node of a result.
fn node<'a>(result: &'a Value, name: &str) -> &'a Value {
    let nodes = result["pipelines"][0]["story"]["nodes"].as_array().unwrap();
    let found = nodes.iter().find(|node| node["name"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {result:#}"))
}

fn effect<'a>(result: &'a Value, name: &str) -> &'a str {
    let effect = &node(result, name)["facts"]["write"]["effect"];
    effect.as_str().unwrap_or_else(|| panic!("{result:#}"))
}

#[track_caller]
fn check_unchanged(result: &Value) {
    for name in NODES {
        let effect = effect(result, name);
        assert!(
            matches!(effect, "already_applied" | "unchanged"),
            "{name}: {effect}"
        );
    }
}

/// Ids of the runs whose stories are there, each with its page, its text and its data.
fn stories(lake: &BTreeMap<String, (String, String)>) -> BTreeSet<String> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for name in lake.keys() {
        let Some((place, ending)) = name.rsplit_once('.') else {
            panic!("{name}");
        };
        if let Some(id) = place
            .strip_prefix("retail/stories/sales/")
            .and_then(|rest| rest.split_once("/run_"))
            .and_then(|(_, file)| file.split_once('_'))
        {
            let endings = found.entry(id.1.to_owned()).or_default();
            endings.insert(ending.to_owned());
        }
    }
    for (id, endings) in &found {
        let endings: Vec<&str> = endings.iter().map(String::as_str).collect();
        assert_eq!(endings, ["html", "json", "md"], "{id}");
    }
    found.into_keys().collect()
}

fn run_id(ran: &Ran) -> String {
    ran.result["run_id"].as_str().unwrap().to_owned()
}

/// The events that say so, of any node.
fn said<'a>(ran: &'a Ran, event: &str) -> Vec<&'a Value> {
    let of = |line: &&Value| line["event"] == event;
    ran.lines.iter().filter(of).collect()
}

const THUN: &str = "C002,Ben Moser,ben.moser@example.com,,Thun,2026-11-25T08:00:00Z\n";

#[test]
fn production_runs_on_azure_and_its_second_run_changes_nothing() {
    let production = Production::start();
    let mut seen = Seen::default();
    let customers = production
        .project
        .text("production/data/landing/customers.csv");

    let first = production.run();
    assert_eq!(first.code, 0, "{:#}", first.result);
    assert_eq!(first.result["outcome"], "succeeded");
    let silver = production.rows("parquet", "silver/customers.parquet");
    assert_eq!(silver.len(), 4, "{silver:?}");
    assert!(
        silver[0].starts_with("C001|Ada Keller-Frei|ada.keller@example.com|")
            && silver[3].contains("|basel|"),
        "{silver:?}"
    );
    let orders = production.rows("parquet", "silver/orders.parquet");
    assert_eq!(orders.len(), 6, "{orders:?}");
    let revenue = [
        "C001|Zürich|CHF|2|140.4",
        "C002|Bern|CHF|2|87.25",
        "C003|Lausanne|CHF|1|310.0",
        "C004|basel|CHF|1|42.1",
    ];
    assert_eq!(production.rows("csv", "gold/revenue.csv"), revenue);
    assert_eq!(
        production.alerts(&mut seen, &first),
        ["oncall on_start", "oncall on_success", "teams succeeded"]
    );
    // The pipeline and each of its nodes begin and end.
    let lineage = production.lineage.taken();
    assert_eq!(lineage.len(), 2 * (1 + NODES.len()));
    let written = said(&first, "node_finished");
    let rows: u64 = written
        .iter()
        .map(|line| line["rows_written"].as_u64().unwrap())
        .sum();
    assert_eq!((written.len(), rows), (3, 4 + 6 + 4), "{written:#?}");
    let lake = production.lake();
    assert_eq!(stories(&lake), [run_id(&first)].into());
    for name in ["index.html", "index.md", "index.json"] {
        assert!(lake.contains_key(&format!("retail/stories/sales/{name}")));
    }

    let before = production.targets();
    let second = production.run();
    assert_eq!(second.code, 0, "{:#}", second.result);
    assert_eq!(production.targets(), before);
    check_unchanged(&second.result);
    let story = production.lake();
    let story = story
        .iter()
        .find(|(name, _)| name.ends_with(&format!("{}.md", run_id(&second))));
    let (_, (_, story)) = story.expect("the story of the second run");
    for words in ["upsert: already applied", "append_once: already applied"] {
        assert!(story.contains(words), "{story}");
    }
    // A success within a quarter of an hour is held back for people, and told to the program.
    assert_eq!(
        production.alerts(&mut seen, &second),
        ["oncall on_start", "oncall on_success"]
    );

    production.land("customers.csv", format!("{customers}{THUN}").as_bytes());
    let third = production.run();
    assert_eq!(third.code, 0, "{:#}", third.result);
    let write = &node(&third.result, "customers")["facts"]["write"];
    assert_eq!(
        (&write["rows_updated"], &write["rows_inserted"]),
        (&1.into(), &Value::Null),
        "{write}"
    );
    let now = production.rows("parquet", "silver/customers.parquet");
    let changed: Vec<&String> = now.iter().filter(|row| !silver.contains(row)).collect();
    assert_eq!((now.len(), changed.len()), (4, 1), "{now:?}");
    assert!(
        changed[0].starts_with("C002|") && changed[0].contains("|Thun|"),
        "{changed:?}"
    );
    let now = production.rows("csv", "gold/revenue.csv");
    assert_eq!(now, revenue.map(|row| row.replace("Bern", "Thun")));
    assert_eq!(effect(&third.result, "orders"), "already_applied");
    let targets = production.targets();
    assert_eq!(targets[1], before[1], "the orders are as they were");
    assert_eq!(
        production.alerts(&mut seen, &third),
        ["oncall on_start", "oncall on_success"]
    );

    // A row with a cell too many, of which nobody may see anything.
    let bad = format!("{customers}C005,Eva Kanarek,eva@example.com,,Chur,2026-11-26T08:00:00Z,x\n");
    production.land("customers.csv", bad.as_bytes());
    let fourth = production.run();
    assert_eq!(fourth.code, 1, "{:#}", fourth.result);
    assert_eq!(production.targets(), targets);
    assert_eq!(node(&fourth.result, "revenue")["outcome"], "skipped");
    let failed = said(&fourth, "node_finished");
    let failed: Vec<&Value> = failed
        .into_iter()
        .filter(|line| line["outcome"] == "failed")
        .collect();
    assert_eq!(failed.len(), 1, "{failed:#?}");
    assert_eq!(
        (
            &failed[0]["node"],
            &failed[0]["attempt"],
            &failed[0]["failure_class"]
        ),
        (&"customers".into(), &1.into(), &"data".into()),
        "it cannot be mended by waiting: {}",
        failed[0]
    );
    assert_eq!(
        production.alerts(&mut seen, &fourth),
        [
            "oncall on_failure",
            "oncall on_start",
            "slack failed",
            "teams failed"
        ]
    );

    production.land("customers.csv", format!("{customers}{THUN}").as_bytes());
    let fifth = production.run();
    assert_eq!(fifth.code, 0, "{:#}", fifth.result);
    check_unchanged(&fifth.result);
    assert_eq!(production.targets(), targets);
    assert_eq!(
        production.alerts(&mut seen, &fifth),
        ["oncall on_recovered", "oncall on_start", "slack recovered"]
    );
    // As many as are kept, the newest.
    assert_eq!(
        stories(&production.lake()),
        [&third, &fourth, &fifth].map(run_id).into()
    );
}

/// Both what its client tries again by itself, and what only another attempt of the node mends.
#[test]
fn production_gets_over_a_storage_account_that_fails_for_a_while() {
    let production = Production::start();
    let proxy = &production.proxy;
    proxy.fail("GET", "retail/orders.csv", Fault::Status(503), 2);
    // Five tries of one request each, and then the next attempt.
    proxy.fail("GET", "retail/customers.csv", Fault::Status(503), 10);
    proxy.fail("PUT", "silver/orders.parquet", Fault::HangUp, 2);
    let ran = production.run();
    assert_eq!(ran.code, 0, "{:#}", ran.result);
    assert_eq!(ran.result["outcome"], "recovered");
    assert_eq!(proxy.failed().len(), 14, "{:?}", proxy.failed());
    let again = said(&ran, "attempt_failed");
    let customers: Vec<&&Value> = again
        .iter()
        .filter(|line| line["node"] == "customers")
        .collect();
    assert_eq!(customers.len(), 2, "{again:#?}");
    for line in &again {
        assert_eq!(line["failure_class"], "transient", "{line}");
    }
    // The pauses grow; each is shortened by a half at most.
    let pauses: Vec<u64> = customers
        .iter()
        .map(|line| line["retry_in_ms"].as_u64().unwrap())
        .collect();
    assert!(
        (50..=100).contains(&pauses[0]) && (100..=200).contains(&pauses[1]),
        "{pauses:?}"
    );
    assert_eq!(
        production.rows("parquet", "silver/customers.parquet").len(),
        4
    );
    assert_eq!(production.rows("parquet", "silver/orders.parquet").len(), 6);
    assert_eq!(
        production.alerts(&mut Seen::default(), &ran),
        [
            "oncall on_recovered",
            "oncall on_start",
            "slack recovered",
            "teams succeeded"
        ]
    );
    let before = production.targets();
    let second = production.run();
    assert_eq!(second.code, 0, "{:#}", second.result);
    check_unchanged(&second.result);
    assert_eq!(production.targets(), before);
}

/// What its README says to do before the first run.
#[test]
fn production_can_be_tried_before_it_runs() {
    let production = Production::start();
    let (code, stdout, stderr) = production.odibi(&["validate", "--connect"]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    for found in ["ok      landing [azure_blob]", "ok      lake [azure_blob]"] {
        assert!(stdout.contains(found), "{stdout}");
    }
    let (code, stdout, stderr) = production.odibi(&["secrets", "check"]);
    assert_eq!(
        (code, stdout.as_str()),
        (0, "ok      keyvault:acme/azurite-key\n"),
        "{stderr}"
    );
    let (code, stdout, stderr) = production.odibi(&["plan"]);
    assert_eq!(code, 0, "{stderr}");
    for found in [
        "silver/customers.parquet (parquet, upsert)",
        "silver/orders.parquet (parquet, append_once)",
    ] {
        assert!(stdout.contains(found), "{stdout}");
    }
    assert!(production.lake().is_empty());
}

#[test]
fn production_runs_on_a_laptop_and_its_second_run_changes_nothing() {
    let project = example();
    let (code, first) = project.run_json(&["production/project.yaml"]);
    assert_eq!(code, 0, "{first:#}");
    let lake = project.path("production/data/lake");
    let written = [
        "silver/customers.parquet",
        "silver/orders.parquet",
        "gold/revenue.csv",
    ];
    let read = |path: &str| std::fs::read(lake.join(path)).unwrap();
    let before = written.map(read);
    assert_eq!(
        String::from_utf8_lossy(&before[2]),
        "customer_id,city,currency,orders,revenue\nC001,Zürich,CHF,2,140.4\nC002,Bern,CHF,2,87.25\nC003,Lausanne,CHF,1,310.0\n\
         C004,basel,CHF,1,42.1\n"
    );
    let (code, second) = project.run_json(&["production/project.yaml"]);
    assert_eq!(code, 0, "{second:#}");
    assert_eq!(written.map(read), before);
    check_unchanged(&second);
    for path in support::files_below(&lake.join("stories")) {
        let text = std::fs::read_to_string(&path).unwrap();
        for word in SENSITIVE {
            assert!(!text.contains(word), "{word} in {}", path.display());
        }
    }
}

/// All that are missing at once, as lines of JSON, before anybody is asked.
#[test]
fn production_says_which_variables_are_missing() {
    let missing = example()
        .odibi(&["validate", "--env", "prod", "production/project.yaml"])
        .exits(78);
    let lines = logs::parsed(&missing.stderr);
    for name in [
        "ADLS_ACCOUNT_NAME",
        "KEY_VAULT_NAME",
        "SLACK_WEBHOOK_URL",
        "TEAMS_WEBHOOK_URL",
        "ONCALL_WEBHOOK_URL",
        "ONCALL_WEBHOOK_SECRET",
        "OPENLINEAGE_URL",
    ] {
        let named = lines
            .iter()
            .any(|line| line["message"].as_str().unwrap().contains(name));
        assert!(named, "{name}: {lines:#?}");
    }
    assert!(
        lines
            .iter()
            .all(|line| line["metadata"]["service"] == "retail"),
        "{lines:#?}"
    );
    // What the example file lists is what there is.
    let listed = std::fs::read_to_string(support::root().join("examples/production/env.example"));
    let listed = listed.unwrap();
    let yaml = std::fs::read_to_string(support::root().join("examples/production/project.yaml"));
    let yaml = yaml.unwrap();
    let names = yaml.split("${").skip(1).filter_map(|rest| {
        let name = rest.split([':', '}']).next()?;
        name.chars()
            .all(|c| c.is_ascii_uppercase() || c == '_')
            .then_some(name)
    });
    for name in names {
        let has = listed.lines().any(|line| {
            line.trim_start_matches("# ")
                .starts_with(&format!("{name}="))
        });
        assert!(has, "{name} is not in env.example");
    }
}
