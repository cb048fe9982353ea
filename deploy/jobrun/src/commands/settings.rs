//! `jobrun settings`: prints every setting, its value and where the value comes from. Secrets are hidden.

use std::io::Write;

use jobrun_shared::config::{self, Origin, Shown};
use serde_json::{Value, json};

use crate::table::{self, Column};

const COLUMNS: [Column; 4] =
    [Column::text("SETTING", 28), Column::text("VALUE", 30), Column::text("FROM", 24), Column::text("READ BY", 0)];

/// Prints the settings as a table, or as JSON. Returns whether each of them can be found out.
///
/// # Errors
/// When the output cannot be written.
pub fn run(json: bool) -> anyhow::Result<bool> {
    let shown = config::show();
    let mut out = table::stdout();
    if json {
        let settings: Vec<Value> = shown.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&settings)?)?;
    } else {
        table::print(&mut out, &COLUMNS, shown.iter().map(row).collect())?;
    }
    Ok(shown.iter().all(|it| it.origin.is_ok()))
}

/// The longest value that the table shows whole. JSON shows every value whole.
const SHOWN_CHARS_MAX: usize = 40;

fn row(shown: &Shown) -> Vec<String> {
    let value = match &shown.value {
        None => "-".to_owned(),
        Some(value) if value.chars().count() > SHOWN_CHARS_MAX => {
            value.chars().take(SHOWN_CHARS_MAX - 1).chain(['…']).collect()
        }
        Some(value) => value.clone(),
    };
    vec![shown.setting.name.to_owned(), value, origin(shown), shown.setting.read_by.to_owned()]
}

fn origin(shown: &Shown) -> String {
    match &shown.origin {
        Ok(Origin::Environment(name)) if name == shown.setting.name => "environment".to_owned(),
        Ok(Origin::Environment(name)) => format!("environment, as {name}"),
        Ok(Origin::File(path)) => format!("file {path}"),
        Ok(Origin::Default) => "default".to_owned(),
        Ok(Origin::NotSet) => "not set".to_owned(),
        Err(problem) => problem.clone(),
    }
}

fn as_json(shown: &Shown) -> Value {
    json!({
        "name": shown.setting.name,
        "value": shown.value,
        "from": origin(shown),
        "readBy": shown.setting.read_by,
        "secret": shown.setting.is_secret,
        "meaning": shown.setting.meaning,
    })
}
