//! The commands on one client, their arguments and help.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use jobrun_onboarding::action::{Action, SILENCE_MINUTES_MAX};
use jobrun_onboarding::{Field, State};

use super::CLIENT;

/// What every action on a client is given.
#[derive(Args)]
pub(crate) struct OnClient {
    /// clients.id or its beginning, or the phone
    #[arg(value_name = CLIENT)]
    pub(crate) client: String,
    /// The reason, for the audit log and the client's history
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: Option<String>,
    /// Print JSON, for scripts
    #[arg(long)]
    pub(crate) json: bool,
}

/// The commands for one client.
#[derive(Subcommand)]
pub(crate) enum OfClient {
    #[command(flatten)]
    Act(ClientAction),
    /// Give a person everything that is held about it: rows of all tables, as JSON or as a page
    ///
    /// Recorded in the audit log. The numbers of callers are in it: they are data about the client's calls.
    Export {
        #[command(flatten)]
        on: OnClient,
        /// Write a page for a browser to this new file, which only you may read
        #[arg(long, value_name = "FILE")]
        page: Option<std::path::PathBuf>,
    },
    /// Move a client to a new phone, once you know who it is; without --yes, only show what that would do
    ///
    /// Its history, number and payment follow, and both phones are told. A client that the new phone is by now becomes one with it,
    /// unless it pays or holds a number itself: then the change is refused.
    ChangePhone {
        #[command(flatten)]
        on: OnClient,
        /// The new phone: +447911123456
        #[arg(value_name = "NEW_PHONE")]
        new_phone: String,
        /// The phone at which the client was seen: one that has moved since is left alone [default: the one it has now]
        #[arg(long, value_name = "PHONE")]
        from: Option<String>,
        /// Move it
        #[arg(long)]
        yes: bool,
    },
    /// Erase a person on its request; without --yes, only show what that would do
    ///
    /// Refused while the client pays, or its payment is on its way. Its number cools down. Its rows are deleted, or lose its phone and
    /// its words; at Twilio, the words of its texts are redacted. What remains is listed. Needs ERASURE_KEY and the account at Twilio.
    /// Run again, it goes on where it was cut short.
    Erase {
        #[command(flatten)]
        on: OnClient,
        /// Only show what would be done, as without --yes
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Erase
        #[arg(long, requires = "why")]
        yes: bool,
    },
}

#[derive(Subcommand)]
pub(crate) enum ClientAction {
    /// Text a client in your own words; it takes the client over until 4 hours of silence, unless that has been done
    Reply {
        #[command(flatten)]
        on: OnClient,
        /// The words
        body: String,
    },
    /// Stop automatic texts to a client, so that you can speak with it
    ///
    /// Its texts are recorded and move nothing. Calls, payments and opt-outs count as ever, and missed calls are still reported.
    TakeOver {
        #[command(flatten)]
        on: OnClient,
        /// Hand the client back after so many minutes of silence [default: only by hand]
        #[arg(long, value_name = "MINUTES", value_parser = clap::value_parser!(u32).range(1..=i64::from(SILENCE_MINUTES_MAX)))]
        silence: Option<u32>,
        /// The operator from whom the client is taken, if one has taken it over
        #[arg(long, value_name = "NAME")]
        from: Option<String>,
    },
    /// Let the conversation go on
    HandBack {
        #[command(flatten)]
        on: OnClient,
        /// Ask the open question again
        #[arg(long)]
        ask_again: bool,
    },
    /// Move a client to another state, and ask the question of that state
    MoveTo {
        #[command(flatten)]
        on: OnClient,
        /// The state
        #[arg(value_parser = state())]
        state: State,
        /// The state at which the client was seen: one that has moved since is left alone [default: as it is now]
        #[arg(long, value_name = "STATE", value_parser = state())]
        from: Option<State>,
    },
    /// Correct an answer; the client is not told
    Correct {
        #[command(flatten)]
        on: OnClient,
        /// Which answer
        #[arg(value_parser = field())]
        field: Field,
        /// The right answer
        text: String,
    },
    /// Open the payment gate for a client who has paid in another way
    MarkPaid {
        #[command(flatten)]
        on: OnClient,
    },
    /// Give a client who has paid a number, as the conversation would
    GiveNumber {
        #[command(flatten)]
        on: OnClient,
    },
    /// Take the number from a client; one who has paid gets another, or waits for one
    TakeNumber {
        #[command(flatten)]
        on: OnClient,
        /// The number that was seen: another one is left to the client [default: the one it holds now]
        #[arg(long, value_name = "NUMBER")]
        number: Option<String>,
    },
    /// Ask the open question again, with the payment link or the instructions that belong to it
    AskAgain {
        #[command(flatten)]
        on: OnClient,
    },
    /// Opt a client in that has asked for it in another way than by text
    ///
    /// If the client texted STOP, Twilio refuses our texts until the client texts START.
    OptIn {
        #[command(flatten)]
        on: OnClient,
    },
    /// Cancel for a client that has asked for it in another way than by text: it is texted how, or you are alerted
    ///
    /// With PAYMENT_PORTAL_URL, a client with a subscription gets the link at which it cancels by itself. Otherwise the alert stays
    /// until the subscription is cancelled in Stripe and has ended. The client keeps its number for the time that it has paid for.
    Cancel {
        #[command(flatten)]
        on: OnClient,
    },
}

impl ClientAction {
    /// Returns the client, and the action on it.
    pub(crate) fn read(self) -> (OnClient, Action) {
        match self {
            Self::Reply { on, body } => (on, Action::Reply { body }),
            Self::TakeOver { on, silence, from } => (on, Action::TakeOver { from, silence_minutes: silence }),
            Self::HandBack { on, ask_again } => (on, Action::HandBack { ask_again }),
            Self::MoveTo { on, state, from } => (on, Action::MoveTo { state, from }),
            Self::Correct { on, field, text } => (on, Action::Correct { field, text }),
            Self::MarkPaid { on } => (on, Action::MarkPaid),
            Self::GiveNumber { on } => (on, Action::GiveNumber),
            Self::TakeNumber { on, number } => (on, Action::TakeNumber { number }),
            Self::AskAgain { on } => (on, Action::AskAgain),
            Self::OptIn { on } => (on, Action::OptIn),
            Self::Cancel { on } => (on, Action::Cancel),
        }
    }
}

fn state() -> impl TypedValueParser<Value = State> {
    let named = |name: String| State::from_name(&name).ok_or("no such state");
    PossibleValuesParser::new(State::ALL.map(State::name)).try_map(named)
}

const FIELDS: [(&str, Field); 3] = [
    ("business-name", Field::BusinessName),
    ("owner-name", Field::OwnerName),
    ("trade-and-place", Field::TradeAndPlace),
];

fn field() -> impl TypedValueParser<Value = Field> {
    let named =
        |name: String| FIELDS.iter().find(|(it, _)| *it == name).map(|(_, field)| *field).ok_or("no such answer");
    PossibleValuesParser::new(FIELDS.map(|(name, _)| name)).try_map(named)
}
