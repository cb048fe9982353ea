//! The command line: commands, their arguments and help.

mod client;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use jobrun::commands::stand_in::At;
use jobrun::commands::{clients, texts, up, wording};
use jobrun_onboarding::region_of;
use jobrun_shared::db::console::Role;
use jobrun_shared::db::stops::Activity;
use jobrun_twilio::numbers::NumberType;

pub(crate) use client::OfClient;

/// Runs JobRun onboarding, and does by hand what its worker does automatically.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
#[command(after_help = "Settings come from the environment; deploy/guide/settings.md lists them.\n\n\
    Try it:           jobrun up\n\
    See it proved:    jobrun demo\n\
    Set up a server:  DATABASE_URL=postgres://… jobrun migrate, then jobrun pool seed +447…\n\n\
    Exit status: 0 done; 1 the answer is no, or it could not be done; 2 settings or arguments are wrong;\n\
    130 stopped before the end.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Prints the completions of a shell.
pub(crate) fn print_completions(shell: Shell) {
    clap_complete::generate(shell, &mut Arguments::command(), "jobrun", &mut std::io::stdout());
}

/// Writes the manual pages into a folder.
pub(crate) fn write_manual(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    clap_mangen::generate_to(Arguments::command(), folder)
}

/// The placeholder for a client in `--help`.
const CLIENT: &str = "ID|PHONE";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Bring everything up on this machine: database, ingress, worker, and a stand-in for Twilio unless an account is set
    ///
    /// Uses DATABASE_URL, or else a PostgreSQL server of its own from the installed programs. Data is kept. Ctrl-C stops all.
    Up(up::Options),
    /// Play the six scenarios on a throw-away database, and compare every result with the plan
    ///
    /// Exit status 0 only if every check holds.
    Demo {
        /// How many worker processes share the work
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
        workers: u8,
    },
    /// Every setting: its value, with secrets hidden, and where the value comes from; exit status 2 if one cannot be found out
    Settings {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Look at everything that the programs need: settings, database, workers, Twilio, Stripe; exit status 1 if there is a fault
    ///
    /// It changes nothing. Each fault and each warning says what to do.
    Doctor {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Every wording of our texts as it would be sent, with its segments; or check a file of changed ones
    ///
    /// The wordings are those of this environment: the built-in ones, with those of WORDING_FILE in their place. It needs no database.
    Wording(wording::Options),
    /// Apply all migrations, the job queue's included; safe to repeat, and to run twice at once
    Migrate {
        /// Also make the roles jobrun_ingress, jobrun_worker, jobrun_console and jobrun_reader, with no more rights than each needs
        #[arg(long)]
        roles: bool,
    },
    /// After a restore from a backup, and before the programs start: fetch what the database lacks from Twilio
    ///
    /// Texts that came in since the backup are recorded, as if they had just arrived in the same order. Texts that were sent since
    /// then are not sent again: for three days, a text with the same recipient and words counts as sent. Numbers that clients were
    /// told are kept for them. Safe to repeat. Refuses while an ingress or a worker runs.
    Restored {
        /// Change nothing, and print what would be done
        #[arg(long)]
        dry_run: bool,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// The pool: the numbers that clients can be given
    #[command(subcommand)]
    Pool(Pool),
    /// The webhook addresses at Twilio: print them, or check and set them
    #[command(subcommand)]
    Numbers(Numbers),
    /// Payments that belong to no known client
    ///
    /// A payment names its client by a reference in the payment link. One without a reference, or with one that is no client's, is
    /// listed here.
    Payments {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        assign: Option<Payments>,
    },
    /// Take back numbers of deleted clients and offer free numbers to the waiting list now, and print the clients that were texted
    Sweep {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Clients that wait for a number: since when, and by when one was promised
    ///
    /// Clients are listed in the order in which they are served. close: 20 of the promised 24 hours have passed; late: the promise
    /// is broken; held: a number is kept free, and the client has been told; not textable: opted out, out of reach, or not paid.
    Waiting {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// One client's history: texts, calls, payments and numbers, oldest first; exit status 1 if there is no such client
    ///
    /// With an action, acts on the client. The action is recorded with its reason, decided by the client's conversation, and told in
    /// the history. Exit status 1 if it is refused.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Client {
        /// clients.id or its beginning, or the phone: +447911123456 or 07911 123456
        #[arg(value_name = CLIENT, required = true)]
        client: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        #[command(subcommand)]
        action: Option<OfClient>,
    },
    /// List clients: the newest, those in a state, those who are stuck, or those whom words find
    ///
    /// At most 50, the newest first. Exit status 1 if there is none.
    Clients(clients::Options),
    /// Print the completions of a shell: bash, zsh, fish, elvish or powershell
    ///
    /// For bash: jobrun completions bash > /etc/bash_completion.d/jobrun
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages, one for each command, into a folder
    Manual {
        /// The folder; it is made if it does not exist
        folder: std::path::PathBuf,
    },
    /// Texts out: list them, send failed ones again, or drop waiting ones
    ///
    /// Workers do it, in batches. A text is sent again only if it is still of use: its question is open, or its news is true.
    Texts(texts::Options),
    /// Text as a client, at the stand-in of a running `jobrun up`
    Text {
        /// The phone: +447900000001 or 07900 000001
        from: String,
        /// The text
        body: String,
        /// The number that it is sent to [default: the onboarding number]
        #[arg(long, value_name = "NUMBER")]
        to: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Pay as a client, at the stand-in of a running `jobrun up`
    Pay {
        /// The reference in the payment link that was texted
        reference: String,
        /// Pay by a debit, which takes days: the phone page lets them pass
        #[arg(long)]
        debit: bool,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Ring a number, at the stand-in of a running `jobrun up`
    Call {
        /// The caller, or `anonymous`
        from: String,
        /// The number that is rung
        to: String,
        #[command(flatten)]
        at: At,
    },
    /// Follow the texts in both directions, at the stand-in of a running `jobrun up`
    Tail {
        /// Only the texts of this phone
        #[arg(long, value_name = "NUMBER")]
        phone: Option<String>,
        /// Only texts from now on
        #[arg(long)]
        new: bool,
        /// Print a line of JSON for each text, for scripts
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Stop sending texts, or processing conversations, for every worker; alone, list the stops that last
    ///
    /// sending: no text leaves; texts wait, and are dropped once they are too old to be of use. conversations: texts, calls and
    /// payments are recorded, and nobody is answered before the start. Work under way goes on. Delivery reports and Stripe's
    /// events go on.
    Stop {
        /// sending or conversations
        #[arg(value_parser = activity(), requires = "why")]
        what: Option<Activity>,
        /// The reason, for those who see the stop, and for the audit log
        #[arg(long, value_name = "TEXT", requires = "what")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Start what was stopped: what has waited is sent or answered at once
    Start {
        /// sending or conversations
        #[arg(value_parser = activity())]
        what: Activity,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// The console in the browser: the people who may use it
    #[command(subcommand)]
    Console(Console),
    /// Cases: what clients said that a person has to answer; exit status 1 if there are any
    ///
    /// misfits: the conversation did not understand the client; person: it asks for a person, or to be rung; help; question; doubt: it
    /// doubts that we are honest; cancel: it cancels, or wants its money back. The conversation keeps its place, and sends no
    /// reminders while a case is open. Handing a client back closes its cases, but for a wish to cancel.
    Cases {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        /// Close the case with this id, once the client has been answered
        #[arg(long, value_name = "ID")]
        close: Option<i64>,
        /// How it was answered, for the audit log
        #[arg(long, value_name = "TEXT", requires = "close")]
        why: Option<String>,
    },
    /// Alerts that need attention; exit status 1 if there are any
    Alerts {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
        /// Clear the alert with this id, once it has been dealt with
        #[arg(long, value_name = "ID")]
        clear: Option<i64>,
        /// The reason for clearing it, for the audit log
        #[arg(long, value_name = "TEXT", requires = "clear")]
        why: Option<String>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Console {
    /// The people who may use the console
    #[command(subcommand)]
    User(User),
}

#[derive(Subcommand)]
pub(crate) enum User {
    /// Add a person, with a random password, which is printed
    Add {
        /// The name that the person logs in with: a word, or an e-mail address
        name: String,
        /// viewer: sees everything, but no phone numbers; operator: sees those too, and acts; admin: sees the people too
        #[arg(long, value_parser = role())]
        role: Role,
        /// Read the password from standard input instead
        #[arg(long)]
        password_stdin: bool,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// The people, their roles, and when they last logged in
    List {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Let a person log in no more, and end the person's sessions
    Disable {
        /// The name
        name: String,
        /// Let the person log in again
        #[arg(long)]
        undo: bool,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Give a person a new random password, which is printed, and end the person's sessions
    Password {
        /// The name
        name: String,
        /// Read the password from standard input instead
        #[arg(long)]
        password_stdin: bool,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Print a link that logs a person in once, within an hour
    Link {
        /// The name
        name: String,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Give a person another role
    Role {
        /// The name
        name: String,
        /// viewer, operator or admin
        #[arg(value_parser = role())]
        role: Role,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

fn role() -> impl TypedValueParser<Value = Role> {
    let named = |name: String| Role::named(&name).ok_or("no such role");
    PossibleValuesParser::new(Role::ALL.map(Role::name)).try_map(named)
}

fn activity() -> impl TypedValueParser<Value = Activity> {
    let named = |name: String| Activity::named(&name).ok_or("no such activity");
    PossibleValuesParser::new(Activity::ALL.map(Activity::name)).try_map(named)
}

#[derive(Subcommand)]
pub(crate) enum Pool {
    /// Add numbers to the pool, and tell waiting clients at once
    Seed {
        /// Numbers such as +447911123456 or 07911123456, separated by spaces or commas [default: TWILIO_POOL_NUMBERS]
        numbers: Vec<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Count the numbers, forecast how long those of each region last, and list them
    ///
    /// RUNS DRY is a forecast. It assumes that numbers are handed out as fast as in the last 7 days, that numbers that cool down
    /// come back on time, and that none are added or drained.
    Status {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Put a number back into the pool, and tell waiting clients as soon as it is available
    ///
    /// A number that a client holds is taken only with --yes. The client is given another number, or a place on the waiting list,
    /// and is texted that its number had to change; it does not get the same number back. The number first cools down for
    /// NUMBER_COOLING, because the client's phone may still forward calls to it.
    Release {
        /// The number, such as +447911123456 or "07911 123456"
        number: String,
        /// Take the number even if a client holds it
        #[arg(long)]
        yes: bool,
        /// Make it available at once instead of letting it cool down: the next client may then answer calls that the former
        /// client's phone still forwards
        #[arg(long)]
        now: bool,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Give a number to no further client; a client that holds it keeps it
    Drain {
        /// The number, such as +447911123456 or "07911 123456"
        number: String,
        /// Let clients be given it again, and tell waiting clients at once
        #[arg(long)]
        undo: bool,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Give a client a number exactly as the conversation does; JSON on standard output, exit status 1 when refused
    Allocate {
        /// clients.id or its beginning, or the phone
        #[arg(value_name = CLIENT)]
        client: String,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
    },
    /// Buy numbers at Twilio, with our webhooks, and put them into the pool; without --yes, only show what it would do
    ///
    /// Numbers take both texts and calls. They are bought under TWILIO_BUNDLE_SID and TWILIO_ADDRESS_SID, where those are set.
    /// At most POOL_BUY_MAX numbers (10 by default) are bought within 30 days, by all runs together. The limit is a count, because
    /// Twilio does not tell prices when it offers numbers.
    ///
    /// Safe to run again after any failure: purchases that an earlier run left open are settled first, and count towards --count.
    ///
    /// Exit status 0 if all are bought, or would be; 1 if fewer; 2 if the count is over the limit.
    Buy {
        /// How many
        #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
        count: u16,
        /// The country, by the two letters of ISO 3166
        #[arg(long, default_value = "GB", value_parser = country)]
        country: String,
        /// Which type of number
        #[arg(long = "type", value_name = "TYPE", default_value = NumberType::Mobile.name(), value_parser = number_type())]
        kind: NumberType,
        /// Buy, and pay, instead of only showing what would be bought
        #[arg(long)]
        yes: bool,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT", requires = "yes")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

fn country(given: &str) -> Result<String, &'static str> {
    let country = region_of(given);
    let is_shaped = country.len() == 2 && country.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_shaped { Ok(country) } else { Err("not a country by the two letters of ISO 3166, such as GB") }
}

fn number_type() -> impl TypedValueParser<Value = NumberType> {
    let named = |name: String| NumberType::named(&name).ok_or("no such type");
    PossibleValuesParser::new(NumberType::ALL.map(NumberType::name)).try_map(named)
}

#[derive(Subcommand)]
pub(crate) enum Payments {
    /// Assign a payment to a client, as if the payment had named the client
    Assign {
        /// The subscription, sub_…, or the checkout session, cs_…, of a payment without one
        payment: String,
        /// clients.id or its beginning, or the phone
        #[arg(value_name = CLIENT)]
        client: String,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum Numbers {
    /// Print the addresses to be entered at Twilio
    Webhooks {
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
    /// Compare every number of the account with the pool, and list the problems; exit status 0 only if there are none
    Check {
        /// First set the addresses of the onboarding number and of the pool; other numbers are never touched
        #[arg(long)]
        fix: bool,
        /// The reason, for the audit log
        #[arg(long, value_name = "TEXT", requires = "fix")]
        why: Option<String>,
        /// Print JSON, for scripts
        #[arg(long)]
        json: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that list and show nothing, print what others wrote, or print JSON anyway.
    const WITHOUT_JSON: [&str; 8] = ["up", "demo", "migrate", "pool allocate", "completions", "manual", "text", "call"];

    /// Returns the commands that can be run, each with whether it has `--json`.
    fn runnable(command: &clap::Command, name: &str) -> Vec<(String, bool)> {
        let mut found = Vec::new();
        if !name.is_empty() && !command.is_subcommand_required_set() {
            found.push((name.to_owned(), command.get_arguments().any(|it| it.get_long() == Some("json"))));
        }
        for under in command.get_subcommands() {
            found.extend(runnable(under, format!("{name} {}", under.get_name()).trim()));
        }
        found
    }

    #[test]
    fn every_command_that_a_script_would_read_has_json() {
        let commands = runnable(&Arguments::command(), "");
        let without: Vec<&str> = commands.iter().filter(|(_, has)| !has).map(|(name, _)| name.as_str()).collect();
        assert_eq!(without, WITHOUT_JSON);
        assert!(commands.len() > 35, "{commands:?}");
    }
}
