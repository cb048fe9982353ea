//! `jobrun client export`: everything that is held about a person, as JSON or as a page.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::Context as _;
use askama::Template;
use jobrun_shared::export::{self, ABOUT_CALLERS, Export};
use jobrun_shared::{clock, config, refusal};
use serde_json::Value;

use crate::commands::{connect_migrated, operator};
use crate::{MINUTE, table};

#[derive(Template)]
#[template(path = "export.html")]
struct Page<'a> {
    client_id: &'a str,
    exported_at: String,
    about_callers: &'static str,
    customers: String,
    tables: Vec<Section>,
}

/// One table of the page.
struct Section {
    name: &'static str,
    /// Its rows: names and values of columns. Empty columns are left out.
    rows: Vec<Vec<(String, String)>>,
}

fn cells(row: &Value) -> Vec<(String, String)> {
    let cell = |(name, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name.clone(), text.clone())),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Some((name.clone(), format!("{value:#}")))
        }
    };
    row.as_object().into_iter().flatten().filter_map(cell).collect()
}

fn page(export: &Export) -> askama::Result<String> {
    let section =
        |it: &jobrun_shared::db::person::Rows| Section { name: it.table, rows: it.rows.iter().map(cells).collect() };
    let page = Page {
        client_id: &export.client_id,
        exported_at: export.exported_at.format(MINUTE).to_string(),
        about_callers: ABOUT_CALLERS,
        customers: export.stripe_customers.join(", "),
        tables: export.tables.iter().map(section).collect(),
    };
    page.render()
}

/// Exports the client that `words` name: to the file `page_file` as a page that only its owner may read, and to standard output as
/// JSON, or else as counts.
///
/// # Errors
/// When the settings, the database, the file or the output fail, or there is no such client.
pub async fn run(
    settings: &config::Operator,
    words: &str,
    why: Option<String>,
    json: bool,
    page_file: Option<&Path>,
) -> anyhow::Result<()> {
    let pool = connect_migrated(settings).await?;
    let id = refusal::find_client(&pool, words).await?;
    let export = export::export(&pool, &id, &operator(why), clock::now()).await?;
    if let Some(path) = page_file {
        let cannot = || format!("{} cannot be written", path.display());
        let mut file = std::fs::OpenOptions::new();
        let mut file = file.write(true).create_new(true).mode(0o600).open(path).with_context(cannot)?;
        file.write_all(page(&export)?.as_bytes()).with_context(cannot)?;
    }
    let mut out = table::stdout();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(&export.as_json())?)?;
        return Ok(());
    }
    writeln!(out, "client {id}:")?;
    for it in &export.tables {
        writeln!(out, "{:>7}  {}", it.rows.len(), it.table)?;
    }
    match page_file {
        Some(path) => writeln!(out, "\nwritten to {}. {ABOUT_CALLERS}", path.display())?,
        None => writeln!(out, "\n--json prints the rows, and --page FILE writes a page of them. {ABOUT_CALLERS}")?,
    }
    Ok(())
}
