//! Describes every query anew, against a database that the migrations have just made, into `.sqlx`.
//!
//! With `--check`, compares instead, and fails when what is committed differs. Needs no database of anybody's.
//!
//! The tree is that in which it is started, which need not be the one that it was built from: `deploy/describe-queries` builds it
//! from the last commit, because with a query that is not described yet nothing compiles.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{fs, io};

use jobrun_shared::config::Secret;
use jobrun_tests::{empty_database, migrate};
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
    // A folder of its own for what is built: queries are described only when their crate is compiled, so it always must be.
    let built = root.join("target/describe-queries");
    let mut clean = Command::new(env!("CARGO"));
    clean.args(["clean", "--quiet", "--package", "jobrun-shared", "--target-dir"]).arg(&built).current_dir(&root);
    let mut compile = Command::new(env!("CARGO"));
    compile
        .args(["check", "--quiet", "--package", "jobrun-shared", "--target-dir"])
        .arg(&built)
        // The compiler beside this cargo: what is found by its name may choose another by the folder of each dependency.
        .env("RUSTC", Path::new(env!("CARGO")).with_file_name("rustc"))
        .env("SQLX_CHECK_DATABASE_URL", url.expose())
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

/// Applies the migrations of the tree that this was not built with.
async fn migrate_as_in(root: &Path, url: &Secret) -> Result<(), MigrateError> {
    let mut conn = PgConnection::connect(url.expose()).await?;
    let mut migrator = Migrator::new(root.join("migrations")).await?;
    // The tree that this was built with may have steps that this one has not.
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
