//! Rules of the code that no compiler checks.

mod imports;

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the path and the contents of every file of the project with one of these endings.
fn files(endings: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && name != ".git" {
                folders.push(path);
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                let short = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.push((short, fs::read_to_string(path).unwrap()));
            }
        }
    }
    assert!(found.len() > 3, "the project has been found");
    found
}

#[test]
fn only_the_queue_and_the_worker_s_start_up_use_the_job_queue_s_library() {
    let mut knowing: Vec<String> =
        files(&[".rs"]).into_iter().filter(|(_, text)| text.contains("apalis")).map(|(name, _)| name).collect();
    knowing.sort_unstable();
    // Telemetry names the library to silence it, `db/mod.rs` to refer to its migrations, `record.rs` inserts the job in the statement
    // that inserts the events, the tests of kills, outages, replays, roles,
    // stops and Stripe's list name its tables, and this test looks for it.
    let allowed = [
        "shared/src/db/inbox/record.rs",
        "shared/src/db/mod.rs",
        "shared/src/queue/announce.rs",
        "shared/src/queue/backend.rs",
        "shared/src/queue/enqueue.rs",
        "shared/src/queue/mod.rs",
        "shared/src/queue/notify.rs",
        "shared/src/queue/upkeep.rs",
        "shared/src/telemetry.rs",
        "tests/it/crashes/database_trouble.rs",
        "tests/it/crashes/kills.rs",
        "tests/it/messaging/replay.rs",
        "tests/it/operator/roles.rs",
        "tests/it/operator/stops.rs",
        "tests/it/payments/stripe_audit.rs",
        "tests/it/tidy/mod.rs",
        "worker/src/main.rs",
    ];
    assert_eq!(knowing, allowed);
}

fn dependencies(manifest: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(manifest)).unwrap();
    let after = manifest.split("[dependencies]\n").nth(1).unwrap();
    let section = after.split("\n[").next().unwrap();
    section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|it| !it.is_empty())
        .map(str::to_owned)
        .collect()
}

/// None of these dependencies does I/O, and `chrono` is built without its clock.
#[test]
fn the_core_depends_on_nothing_that_does_io() {
    assert_eq!(
        dependencies("shared/onboarding/Cargo.toml"),
        ["chrono", "chrono-tz", "phonenumber", "serde", "serde_json", "thiserror", "toml_edit"]
    );
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        workspace.contains(r#"chrono = { version = "0.4", default-features = false, features = ["alloc", "serde"] }"#)
    );
    let core = files(&[".rs"]).into_iter().filter(|(name, _)| name.starts_with("shared/onboarding/src"));
    for (name, text) in core {
        for forbidden in ["std::fs", "std::net", "std::time", "std::env", "std::process", "Utc::now", "println!"] {
            assert!(!text.contains(forbidden), "{name} says {forbidden}");
        }
    }
}

#[test]
fn ingress_and_worker_do_not_depend_on_each_other() {
    assert!(!dependencies("ingress/Cargo.toml").contains(&"jobrun-worker".to_owned()));
    assert!(!dependencies("worker/Cargo.toml").contains(&"jobrun-ingress".to_owned()));
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

#[test]
fn the_guide_describes_every_setting_as_the_table_does() {
    let guide = document("deploy/guide/settings.md");
    for setting in jobrun_shared::config::SETTINGS {
        let name = setting.name;
        let row = guide.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
        let cells: Vec<&str> =
            row.unwrap_or_else(|| panic!("{name} is not in deploy/guide/settings.md")).split('|').collect();
        assert_eq!(cells[2].replace('`', "").trim(), setting.read_by, "{name}: read by");
        let default = setting.default.map(|default| format!("`{default}`")).unwrap_or_default();
        assert!(cells[3].contains(&default), "{name}: the default is {default}, not {}", cells[3]);
        let file_name = setting.file_name().unwrap_or_default();
        assert!(guide.contains(&file_name), "{file_name} is not in deploy/guide/settings.md");
        let earlier_name = setting.earlier_name.unwrap_or_default();
        assert!(guide.contains(earlier_name), "{earlier_name} is not in deploy/guide/settings.md");
    }
}

#[test]
fn the_guide_has_an_entry_for_every_alert() {
    let guide = document("deploy/guide/operating.md");
    for (_, name) in jobrun_shared::alerts::KINDS {
        let entry = guide.split(&format!("\n### `{name}`\n")).nth(1);
        let entry = entry.unwrap_or_else(|| panic!("{name} has no entry in deploy/guide/operating.md"));
        let entry = entry.split("\n### ").next().unwrap();
        for part in ["Urgency:", "Means:", "Look at:", "Do:"] {
            assert!(entry.contains(&format!("\n{part} ")), "{name}: {part:?} is not in its entry");
        }
        assert!(entry.contains("by itself"), "{name}: its entry does not say when it ends");
    }
}

#[test]
fn the_guide_lists_the_events_that_the_endpoint_at_stripe_is_to_send() {
    let guide = document("deploy/guide/payments.md");
    let listed = guide.split("snapshot\n   events").nth(1).unwrap().split("\n3. ").next().unwrap();
    let listed: Vec<&str> = listed.split('`').skip(1).step_by(2).collect();
    assert_eq!(listed, jobrun_stripe::facts::TYPES);
}

#[test]
fn the_guide_has_an_entry_for_every_command() {
    let guide = document("deploy/guide/commands.md");
    let pool = ["pool seed", "pool status", "pool release", "pool drain", "pool allocate", "pool buy"];
    let others = [
        "payments",
        "payments assign",
        "waiting",
        "client",
        "client change-phone",
        "client erase",
        "client export",
        "clients",
        "completions",
        "manual",
        "numbers webhooks",
        "numbers check",
    ];
    for command in [
        "up", "demo", "settings", "doctor", "wording", "migrate", "restored", "sweep", "alerts", "cases", "text",
        "texts", "pay", "call", "tail", "stop", "start",
    ]
    .into_iter()
    .chain(others)
    .chain(pool)
    {
        assert!(
            guide.contains(&format!("\n### `jobrun {command}`\n")),
            "jobrun {command} is not in deploy/guide/commands.md"
        );
    }
}

#[test]
fn every_module_begins_with_its_purpose() {
    for (name, text) in files(&[".rs"]) {
        assert!(text.starts_with("//! "), "{name} does not begin with its purpose");
    }
}

/// Words that hide the subject of a sentence, or its meaning.
const RIDDLES: [&str; 5] = ["whoever", "whatever", "what is", "somebody", "mostly"];

#[test]
fn comments_name_their_subject() {
    for (name, text) in files(&[".rs"]) {
        for (number, line) in text.lines().enumerate() {
            let Some(comment) = line.trim_start().strip_prefix("//") else { continue };
            let comment = comment.trim_start_matches(['/', '!', ' ']).to_lowercase();
            let riddle = RIDDLES.into_iter().find(|riddle| comment.contains(riddle));
            assert!(riddle.is_none(), "{name}:{}: {riddle:?} in: {comment}", number + 1);
            assert!(!comment.starts_with("answers "), "{name}:{}: a function returns: {comment}", number + 1);
        }
    }
}

/// A longer file has more than one subject.
const LINES_MAX: usize = 500;

#[test]
fn no_file_of_the_programs_is_too_long() {
    for (name, text) in files(&[".rs"]) {
        let code = text.split("\n#[cfg(test)]\nmod").next().unwrap();
        let lines = code.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with("//")).count();
        assert!(name.starts_with("tests/it/") || lines <= LINES_MAX, "{name} has {lines} lines of code");
    }
}
