//! Describes every query anew in `.sqlx`, against a new database with all migrations.
//!
//! With `--check`, it compares instead, and fails when the committed descriptions differ. It starts a PostgreSQL of its own.
//!
//! It describes the tree in which it is started. `deploy/describe-queries` builds it from another tree, that of the last
//! commit, because a tree with a query that is not described yet does not compile.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

use jobrun_tests::{empty_database, migrate};
use secrecy::{ExposeSecret, SecretString};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{Connection, PgConnection};

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let check = std::env::args().nth(1).as_deref() == Some("--check");
    let root = std::env::current_dir()?;
    let url = empty_database().await;
    migrate(&url).await;
    if let Err(error) = migrate_as_in(&root, &url).await {
        eprintln!("describe-queries: the migrations cannot be applied: {error}");
        return Ok(ExitCode::FAILURE);
    }

    let committed = root.join(".sqlx");
    let described = root.join("target/described-queries");
    let _ = fs::remove_dir_all(&described);
    fs::create_dir_all(&described)?;
    // Queries are described only when their crate is compiled. A target folder of its own, cleaned first, makes sure of that.
    let built = root.join("target/describe-queries");
    let mut clean = Command::new(env!("CARGO"));
    clean.args(["clean", "--quiet", "--package", "jobrun-shared", "--target-dir"]).arg(&built).current_dir(&root);
    let mut compile = Command::new(env!("CARGO"));
    compile
        .args(["check", "--quiet", "--package", "jobrun-shared", "--target-dir"])
        .arg(&built)
        // The compiler beside this cargo. A `rustc` found by name may select another version by the folder of each dependency.
        .env("RUSTC", Path::new(env!("CARGO")).with_file_name("rustc"))
        .env("SQLX_CHECK_DATABASE_URL", url.expose_secret())
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", &described)
        .current_dir(&root);
    if !clean.status()?.success() || !compile.status()?.success() {
        eprintln!("describe-queries: the queries do not fit the tables that the migrations make");
        return Ok(ExitCode::FAILURE);
    }
    let fresh = contents(&described)?;
    if !check {
        let _ = fs::remove_dir_all(&committed);
        fs::create_dir_all(&committed)?;
        for (name, text) in &fresh {
            fs::write(committed.join(name), text)?;
        }
        eprintln!("describe-queries: {} queries are described in .sqlx", fresh.len());
    } else if fresh != contents(&committed)? {
        eprintln!("describe-queries: .sqlx is out of date; run `deploy/describe-queries` and commit it");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Applies the migrations of the tree at `root`, on top of those of the tree that this program was built from.
async fn migrate_as_in(root: &Path, url: &SecretString) -> Result<(), MigrateError> {
    let mut conn = PgConnection::connect(url.expose_secret()).await?;
    let mut migrator = Migrator::new(root.join("migrations")).await?;
    // The tree that this program was built from may have migrations that the tree at `root` lacks.
    migrator.set_ignore_missing(true);
    migrator.run(&mut conn).await
}

fn contents(folder: &PathBuf) -> io::Result<BTreeMap<PathBuf, String>> {
    fs::read_dir(folder)?
        .map(|entry| {
            let entry = entry?;
            Ok((PathBuf::from(entry.file_name()), fs::read_to_string(entry.path())?))
        })
        .collect()
}
