//! Reference servers for the ingress. Each runs in a process of its own, as the ingress does: this program started again.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::ValueEnum;
use jobrun::programs::{Environment, Lines, Program};
use jobrun_ingress::group_commit::RecordError;
use jobrun_ingress::rejection::Rejection;
use jobrun_ingress::signed::verify_form;
use jobrun_ingress::twilio::{self, EMPTY_TWIML};
use jobrun_shared::db::{self, Connections, inbox};
use jobrun_shared::{clock, config};
use jobrun_twilio::webhooks::SMS;
use sqlx::PgPool;

/// As many as the ingress has. The timeout is long, because a webhook refused after a wait would end the comparison.
const CONNECTIONS: Connections =
    Connections { kept: 16, max: 16, acquire_timeout: Duration::from_secs(60), ..jobrun::CONNECTIONS };

/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A server ends after this time, in case the process that started it is gone.
const LIFE_MAX: Duration = Duration::from_secs(6 * 60 * 60);

/// The words before the address in a server's output.
const SERVES_ON: &str = "serves on ";

/// How a server handles a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// It verifies the webhook, and records it in a transaction of its own.
    Committing,
    /// It verifies and parses the webhook, and records nothing.
    Forgetful,
    /// It responds without verifying or parsing the webhook.
    Plain,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Committing => "committing",
            Self::Forgetful => "forgetful",
            Self::Plain => "plain",
        }
    }
}

/// A server in a process of its own, which ends when this is dropped.
pub(crate) struct Server {
    pub(crate) program: Program,
    pub(crate) addr: SocketAddr,
}

/// Starts this program again, in a process of its own.
pub(crate) fn start_again(arguments: &[&str], environment: &Environment) -> anyhow::Result<Program> {
    let this = std::env::current_exe().context("finding out where this program lies")?;
    let dir = this.parent().context("finding the folder of this program")?;
    let name = this.file_name().and_then(|name| name.to_str()).context("finding the name of this program")?;
    Program::start_with(dir, name, arguments, environment, Lines::Kept)
}

/// Starts a server with the settings of an ingress.
pub(crate) async fn start(kind: Kind, environment: &Environment) -> anyhow::Result<Server> {
    let mut program = start_again(&["serve", kind.name()], environment)?;
    program.wait_for_line(SERVES_ON, START_TIMEOUT).await?;
    let lines = program.lines();
    let addr = lines.iter().find_map(|line| line.strip_prefix(SERVES_ON)).context("a server says where it listens")?;
    Ok(Server { addr: addr.parse()?, program })
}

/// Serves webhooks in the process of a server.
pub(crate) async fn serve(kind: Kind) -> anyhow::Result<()> {
    let settings = config::Ingress::from_env()?;
    let router = match kind {
        Kind::Committing => {
            let pool = db::connect(&settings.database_url, CONNECTIONS).await?;
            Router::new().route(SMS, post(commit)).with_state((settings.twilio, pool))
        }
        Kind::Forgetful => Router::new().route(SMS, post(forget)).with_state(settings.twilio),
        Kind::Plain => Router::new().route(SMS, post(async |_: Bytes| twilio::twiml_response(EMPTY_TWIML))),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    writeln!(std::io::stdout(), "{SERVES_ON}{}", listener.local_addr()?)?;
    tokio::select! {
        served = axum::serve(listener, router).into_future() => Ok(served?),
        () = tokio::time::sleep(LIFE_MAX) => Ok(()),
    }
}

async fn commit(
    State((account, pool)): State<(config::Twilio, PgPool)>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Response> {
    let refused = |rejection: Rejection| rejection.into_response();
    let signed = verify_form(&account, &uri, &headers, &body).map_err(refused)?;
    let event = twilio::text_event(&signed.form).map_err(refused)?;
    let recorded = inbox::record(&pool, std::slice::from_ref(&event), clock::now()).await;
    let why = |error: db::Error| RecordError::Refused(error.to_string());
    recorded.map_err(|error| refused(Rejection::NotRecorded { event: event.external_id.clone(), why: why(error) }))?;
    Ok(twilio::twiml_response(EMPTY_TWIML))
}

async fn forget(
    State(account): State<config::Twilio>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Rejection> {
    twilio::text_event(&verify_form(&account, &uri, &headers, &body)?.form)?;
    Ok(twilio::twiml_response(EMPTY_TWIML))
}
