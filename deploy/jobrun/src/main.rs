//! `jobrun`: the operator's command.
//!
//! Results go to standard output, everything else to standard error. `jobrun_shared::exit` defines the exit statuses.

mod cli;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use jobrun::commands::console::Change;
use jobrun::commands::{
    self, alerts, buy, call, cases, change_phone, client, client_action, clients, connect_migrated, console, demo,
    doctor, erase, export, migrate, numbers, pay, payments, pool, restored, stops, sweep, tail, text, texts, up,
    waiting,
};
use jobrun_shared::numbers::purchase::Order;
use jobrun_shared::{config, exit, telemetry};

use crate::cli::{Arguments, Command, Console, Numbers, OfClient, Payments, Pool, User};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A demo whose output is cut short has proved nothing, so a broken pipe is an error there.
    let may_be_cut_short = !matches!(arguments.command, Command::Demo { .. });
    match run(arguments.command).await {
        Ok(code) => code,
        // The reader closed the pipe because it has read enough.
        Err(error) if may_be_cut_short && is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jobrun: {error:#}");
            ExitCode::from(exit::status_of(error.chain()))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let causes = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    causes.into_iter().any(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Returns the problems of the settings that only this command needs.
fn problems_of(command: &Command) -> Option<config::Problems> {
    match command {
        Command::Pool(Pool::Buy { .. }) => config::Buying::from_env().err(),
        Command::Numbers(Numbers::Check { .. }) | Command::Restored { .. } => config::Numbers::from_env().err(),
        Command::Client { action: Some(OfClient::Erase { .. }), .. } => config::Erasing::from_env().err(),
        _ => None,
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Settings { json } = command {
        let are_well = commands::settings::run(json)?;
        return Ok(if are_well { ExitCode::SUCCESS } else { ExitCode::from(exit::USAGE) });
    }
    if let Command::Doctor { json } = command {
        return doctor::run(json).await;
    }
    match &command {
        Command::Completions { shell } => {
            cli::print_completions(*shell);
            return Ok(ExitCode::SUCCESS);
        }
        Command::Manual { folder } => {
            cli::write_manual(folder)
                .with_context(|| format!("the manual pages cannot be written to {}", folder.display()))?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let settings = config::Operator::from_env().map_err(|problems| problems.and(problems_of(&command)))?;
    telemetry::start(&settings.log, telemetry::Output::Stderr);
    match command {
        Command::Up(options) => up::run(&settings, &options).await?,
        Command::Demo { workers } => return demo::run(&settings, usize::from(workers)).await,
        Command::Settings { .. } | Command::Doctor { .. } | Command::Completions { .. } | Command::Manual { .. } => {}
        Command::Clients(options) => return clients::run(&settings, &options).await,
        Command::Migrate { roles } => migrate::migrate(&settings, roles).await?,
        Command::Restored { dry_run, json } => {
            restored::run(&config::Numbers::from_env()?, &settings, dry_run, json).await?;
        }
        Command::Pool(command) => return run_pool(&settings, command).await,
        Command::Numbers(Numbers::Webhooks { json }) => numbers::print_addresses(&settings, json)?,
        Command::Numbers(Numbers::Check { fix, why, json }) => {
            let well = numbers::check(&config::Numbers::from_env()?, fix, why, json).await?;
            return Ok(ExitCode::from(u8::from(!well)));
        }
        Command::Payments { assign: Some(Payments::Assign { payment, client, why, json }), .. } => {
            payments::assign(&connect_migrated(&settings).await?, &payment, &client, why, json).await?;
        }
        Command::Payments { json, assign: None } => {
            payments::print_unassigned(&connect_migrated(&settings).await?, json).await?;
        }
        Command::Sweep { json } => sweep::run(&settings, json).await?,
        Command::Waiting { json } => waiting::run(&settings, json).await?,
        Command::Client { action: Some(OfClient::Export { on, page }), .. } => {
            export::run(&settings, &on.client, on.why, on.json, page.as_deref()).await?;
        }
        Command::Client { action: Some(OfClient::Erase { on, yes, dry_run: _ }), .. } => {
            let erasing = config::Erasing::from_env()?;
            erase::run(&erasing, &settings, &on.client, on.why, !yes, on.json).await?;
        }
        Command::Client { action: Some(OfClient::ChangePhone { on, new_phone, from, yes }), .. } => {
            let options = change_phone::Options { new: new_phone, from, yes, why: on.why, json: on.json };
            return change_phone::run(&settings, &on.client, options).await;
        }
        Command::Client { action: Some(OfClient::Act(action)), .. } => {
            let (on, action) = action.read();
            return client_action::run(&settings, &on.client, action, on.why, on.json).await;
        }
        Command::Client { client, json, action: None } => {
            return client::run(&settings, &client.unwrap_or_default(), json).await;
        }
        Command::Texts(options) => return texts::run(&settings, &options).await,
        Command::Text { from, body, to, at } => text::run(&settings, at, &from, &body, to.as_deref()).await?,
        Command::Pay { reference, debit, json, at } => pay::run(&settings, at, &reference, debit, json).await?,
        Command::Call { from, to, at } => call::run(&settings, at, &from, &to).await?,
        Command::Tail { phone, new, json, at } => tail::run(&settings, at, phone.as_deref(), new, json).await?,
        Command::Stop { what: Some(what), why, json } => stops::stop(&settings, what, why, json).await?,
        Command::Stop { what: None, json, .. } => stops::show(&settings, json).await?,
        Command::Start { what, why, json } => stops::start(&settings, what, why, json).await?,
        Command::Console(Console::User(command)) => run_console(&settings, command).await?,
        Command::Cases { close: Some(id), why, json } => return cases::close(&settings, id, why, json).await,
        Command::Cases { json, close: None, .. } => return cases::list(&settings, json).await,
        Command::Alerts { clear: Some(id), why, json } => return alerts::clear(&settings, id, why, json).await,
        Command::Alerts { json, clear: None, .. } => return alerts::list(&settings, json).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run_console(settings: &config::Operator, command: User) -> anyhow::Result<()> {
    let (name, change, password_from_stdin, json) = match command {
        User::List { json } => return console::list(settings, json).await,
        User::Add { name, role, password_stdin, json } => (name, Change::Add(role), password_stdin, json),
        User::Password { name, password_stdin, json } => (name, Change::Password, password_stdin, json),
        User::Link { name, json } => (name, Change::Link, false, json),
        User::Role { name, role, json } => (name, Change::Role(role), false, json),
        User::Disable { name, undo: false, json } => (name, Change::Disable, false, json),
        User::Disable { name, undo: true, json } => (name, Change::Enable, false, json),
    };
    console::change(settings, &name, &change, password_from_stdin, json).await
}

async fn run_pool(settings: &config::Operator, command: Pool) -> anyhow::Result<ExitCode> {
    match command {
        Pool::Seed { numbers, json } => pool::seed(settings, &numbers, json).await?,
        Pool::Status { json } => pool::status(settings, json).await?,
        Pool::Release { number, yes, now, why, json } => pool::release(settings, &number, yes, now, why, json).await?,
        Pool::Drain { number, undo, why, json } => pool::drain(settings, &number, undo, why, json).await?,
        Pool::Allocate { client, why } => return pool::allocate(settings, &client, why).await,
        Pool::Buy { count, country, kind, yes, why, json } => {
            let order = Order { country, kind, count: usize::from(count) };
            return Ok(ExitCode::from(buy::run(&config::Buying::from_env()?, &order, yes, why, json).await?));
        }
    }
    Ok(ExitCode::SUCCESS)
}
