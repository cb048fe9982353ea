//! The rules that the code holds to, checked where a compiler does not.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every file of the project with one of these endings, and its contents.
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
fn only_the_queue_and_the_worker_s_start_up_know_the_job_queue_s_library() {
    let mut knowing: Vec<String> =
        files(&[".rs"]).into_iter().filter(|(_, text)| text.contains("apalis")).map(|(name, _)| name).collect();
    knowing.sort_unstable();
    // Telemetry names it to silence it, the door to explain itself, and this test to look for it.
    let allowed = [
        "shared/src/db/mod.rs",
        "shared/src/queue.rs",
        "shared/src/telemetry.rs",
        "tests/it/tidy.rs",
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

/// None of these does I/O, and the clock of `chrono` is left out.
#[test]
fn the_heart_depends_on_nothing_that_does_io() {
    assert_eq!(
        dependencies("shared/onboarding/Cargo.toml"),
        ["chrono", "phonenumber", "serde", "serde_json", "thiserror"]
    );
    let workspace = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(
        workspace.contains(r#"chrono = { version = "0.4", default-features = false, features = ["alloc", "serde"] }"#)
    );
    let heart = files(&[".rs"]).into_iter().filter(|(name, _)| name.starts_with("shared/onboarding/src"));
    for (name, text) in heart {
        for forbidden in ["std::fs", "std::net", "std::time", "std::env", "std::process", "Utc::now", "println!"] {
            assert!(!text.contains(forbidden), "{name} says {forbidden}");
        }
    }
}

#[test]
fn the_door_and_the_hands_do_not_know_each_other() {
    assert!(!dependencies("ingress/Cargo.toml").contains(&"jobrun-worker".to_owned()));
    assert!(!dependencies("worker/Cargo.toml").contains(&"jobrun-ingress".to_owned()));
}

/// A setting or a command that users cannot read about does not exist for them.
#[test]
fn the_readme_names_every_setting_and_every_command() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let config = fs::read_to_string(root().join("shared/src/config.rs")).unwrap();
    let settings: Vec<&str> = config.split("`").filter(|word| is_setting(word)).collect();
    assert!(settings.len() >= 12, "{settings:?}");
    for setting in settings {
        assert!(readme.contains(&format!("`{setting}`")), "{setting} is not in the README");
    }
    let pool = ["pool seed", "pool status", "pool release", "pool drain", "pool allocate", "pool buy"];
    let others = ["payments", "payments assign", "waiting", "client", "numbers webhooks", "numbers check"];
    for command in ["up", "demo", "migrate", "sweep", "alerts"].into_iter().chain(others).chain(pool) {
        assert!(readme.contains(&format!("jobrun {command}")), "jobrun {command} is not in the README");
    }
}

fn is_setting(word: &str) -> bool {
    word.contains('_') && word.chars().all(|it| it.is_ascii_uppercase() || it == '_')
}

/// Every file says what it is for.
#[test]
fn every_module_begins_with_its_job() {
    for (name, text) in files(&[".rs"]) {
        assert!(text.starts_with("//! "), "{name} does not begin with what it is for");
    }
}
