//! How much load one machine takes, with everything on it: the daemons, PostgreSQL, the stand-in for Twilio, and the load
//! generator.
//!
//! Durability is on in every figure. Each figure is the median of several runs, beside a reference that was measured in turn
//! with it, run by run, so that a disturbance of the machine affects both. Figures are comparable only within one run.

mod allocation;

mod bench;

mod console;

mod cost;

mod extent;

mod feed;

mod figures;

mod filled;

mod floor;

mod footprint;

mod growth;

mod lasting;

mod latency;

mod pgbench;

mod processes;

mod report;

mod rows;

mod sender;

mod servers;

mod texts;

mod wal;

mod webhooks;

use std::io::Write;

use clap::{Parser, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};

use crate::bench::Bench;
use crate::extent::Extent;
use crate::figures::RUNS;
use crate::report::Table;

/// Measures how much load one machine takes, beside references.
///
/// PostgreSQL runs with fsync and synchronous_commit on, from the installed programs, on data that is thrown away.
/// Every figure is the median of five runs, measured in turn with its reference. Progress goes to standard error, tables to
/// standard output. Without sections, it measures all but `floor` and `lasting`, which take long; `lasting` takes an hour.
#[derive(Parser)]
#[command(name = "load", disable_help_subcommand = true)]
#[command(override_usage = "cargo bench --bench load -- [SECTION]… [--rows N] [--seconds N] [--runs N] [--json]")]
#[command(after_help = "Try it:      cargo bench --bench load -- webhooks\n\
    A short try: cargo bench --bench load -- floor lasting --rows 100000 --seconds 5 --runs 1\n\
    For scripts: cargo bench --bench load -- texts latency --json")]
struct Arguments {
    /// The sections to measure; all but `floor` and `lasting` by default
    #[arg(value_enum, value_name = "SECTION")]
    sections: Vec<Section>,
    #[command(flatten)]
    extent: Extent,
    /// Print one JSON object at the end instead of tables
    #[arg(long)]
    json: bool,
    /// Cargo passes this to every benchmark
    #[arg(long = "bench", hide = true)]
    _bench: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Section {
    /// Acknowledged webhooks a second, at 1 to 512 connections, beside one commit per webhook and no database
    Webhooks,
    /// Texts in to texts out a second, with 1 to 4 workers, beside one transaction per text; and where the time goes
    Texts,
    /// How long a single text takes, idle and at half load, beside four bare commits
    Latency,
    /// Numbers allocated a second by 64 concurrent transactions, in batches and one by one, beside one alone; none may be refused
    Allocation,
    /// The cost of ten million rows, beside ten thousand
    Growth,
    /// Memory and processor time of the daemons, idle and loaded, beside their limits
    Footprint,
    /// Webhooks and texts a second while ten pages of the console are open, beside none
    Console,
    /// What PostgreSQL alone takes for a text by the fewest statements, in batches of 1, 10 and 100, beside the programs
    Floor,
    /// Webhooks, texts and latency over half a minute, on a million rows, with clients who text again, without forced
    /// checkpoints
    Lasting,
}

/// The sections of a run that names none.
const DEFAULT: [Section; 7] = [
    Section::Webhooks,
    Section::Texts,
    Section::Latency,
    Section::Allocation,
    Section::Growth,
    Section::Footprint,
    Section::Console,
];

impl Section {
    async fn measure(self, bench: &Bench, extent: &Extent) -> anyhow::Result<Vec<Table>> {
        match self {
            Self::Webhooks => webhooks::section(bench).await,
            Self::Texts => texts::section(bench).await,
            Self::Latency => latency::section(bench).await,
            Self::Allocation => allocation::section(bench).await,
            Self::Growth => growth::section(bench, extent.many_rows()).await,
            Self::Footprint => footprint::section(bench).await,
            Self::Console => console::section(bench, extent.many_rows()).await,
            Self::Floor => floor::section(bench, extent).await,
            Self::Lasting => lasting::section(bench, extent).await,
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// A part that this program runs in a process of its own, for which it starts itself again.
#[derive(Subcommand)]
enum Part {
    /// Serve webhooks, and print the address
    #[command(hide = true)]
    Serve {
        #[arg(value_enum)]
        kind: servers::Kind,
    },
    /// Post texts to the stand-in, and print the processor time of each
    #[command(hide = true)]
    Post { count: usize },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.part {
        Some(Part::Serve { kind }) => servers::serve(kind).await,
        Some(Part::Post { count }) => cost::post(count).await,
        None => measure(&arguments).await,
    }
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let named = arguments.sections.as_slice();
    let sections = if named.is_empty() { &DEFAULT } else { named };
    let mut out = std::io::stdout();
    let bench = Bench::set_up().await?;
    let (runs, seconds) = (arguments.extent.runs, arguments.extent.seconds());
    if !arguments.json {
        writeln!(
            out,
            "Medians of {RUNS} runs, of {runs} in `floor` and `lasting`, fsync and synchronous_commit on.\n"
        )?;
    }
    let mut measured = Map::new();
    for section in sections {
        let tables = section.measure(&bench, &arguments.extent).await?;
        if !arguments.json {
            tables.iter().try_for_each(|table| writeln!(out, "{}", table.shown()))?;
        }
        measured.insert(section.name(), tables.iter().map(Table::as_json).collect::<Value>());
    }
    if arguments.json {
        let long = json!({ "runs": runs, "seconds": seconds });
        writeln!(out, "{:#}", json!({ "runs": RUNS, "long": long, "durable": true, "sections": measured }))?;
    }
    Ok(())
}
