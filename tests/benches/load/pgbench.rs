//! Runs scripts of pgbench, which comes with PostgreSQL's server programs, on the server of the benchmarks.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use jobrun::CONNECTIONS;
use jobrun_shared::db;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::bench::Bench;

/// How many clients run a script at the same time.
pub(crate) const CLIENTS: usize = 4;

/// The planner's settings, the same as of the programs' connections.
const PLANNER: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c jit=off";

pub(crate) struct Pgbench {
    program: PathBuf,
}

impl Pgbench {
    /// Finds the program beside the server's own.
    pub(crate) async fn find(bench: &Bench) -> anyhow::Result<Self> {
        let server = db::connect(bench.postgres.url(), CONNECTIONS).await?;
        let dir: String =
            sqlx::query_scalar("SELECT setting FROM pg_config WHERE name = 'BINDIR'").fetch_one(&server).await?;
        server.close().await;
        let program = PathBuf::from(dir).join("pgbench");
        ensure!(program.is_file(), "{} is missing; it belongs to PostgreSQL's server programs", program.display());
        Ok(Self { program })
    }

    /// Runs a script on the database at `url` for `texts` texts, `batch` at a time.
    pub(crate) async fn run(&self, url: &SecretString, script: &str, texts: usize, batch: usize) -> anyhow::Result<()> {
        let each = texts / batch / CLIENTS;
        ensure!(each * batch * CLIENTS == texts, "{CLIENTS} clients cannot share {texts} texts in batches of {batch}");
        let url = Url::parse(url.expose_secret()).context("reading the address of a database")?;
        let mut command = Command::new(&self.program);
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--file=-"]);
        command.arg(format!("--client={CLIENTS}")).arg(format!("--transactions={each}"));
        command.args(["--define=n=0".to_owned(), format!("--define=each={each}"), format!("--define=batch={batch}")]);
        command.arg(url.path().trim_start_matches('/')).env("PGOPTIONS", PLANNER);
        command.env("PGHOST", url.host_str().unwrap_or_default()).env("PGPORT", url.port().unwrap_or(5432).to_string());
        command.env("PGUSER", url.username()).env("PGPASSWORD", url.password().unwrap_or_default());
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut pgbench = command.spawn().context("starting pgbench")?;
        let mut stdin = pgbench.stdin.take().context("pgbench reads its script")?;
        stdin.write_all(script.as_bytes()).await?;
        drop(stdin);
        let output = pgbench.wait_with_output().await?;
        ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
