//! The console: the real program, on a database with its role's rights only.

mod acting;

mod audit;

mod bulk_texts;

mod cases;

mod long_lists;

mod masking;

mod ops_port;

mod rights;

mod sessions;

mod stops;

mod untrusted;

use std::time::Duration;

use jobrun::commands::console::{Change, apply};
use jobrun::programs::{Environment, Lines, Program, free_port};
use jobrun_shared::clock;
use jobrun_shared::config::Console as Settings;
use jobrun_shared::db::audit_log::{Actor, Via};
use jobrun_shared::db::console::Role;
use jobrun_shared::db::{self};
use jobrun_tests::{PATIENCE, empty_database, migrate, programs};
use reqwest::header::{HeaderMap, LOCATION, SET_COOKIE};
use reqwest::{Client, Method, StatusCode, redirect};
use secrecy::{ExposeSecret, SecretString};
use sqlx::{AssertSqlSafe, PgPool};

/// A password that is long enough.
const PASSWORD: &str = "correct horse battery";

/// A running console, with a person of each role: `vi`, `op` and `ad`.
struct Console {
    pool: PgPool,
    program: Program,
    url: String,
    http: Client,
    /// The settings that the program runs with.
    environment: Environment,
}

/// A response, read to its end.
#[derive(Debug)]
struct Response {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Response {
    /// Returns the cookie that it sets, as a request sends it.
    fn cookie(&self) -> Option<String> {
        let set = self.headers.get(SET_COOKIE)?.to_str().unwrap();
        let pair = set.split(';').next().unwrap();
        (!pair.ends_with('=')).then(|| pair.to_owned())
    }

    fn location(&self) -> &str {
        self.headers.get(LOCATION).map(|to| to.to_str().unwrap()).unwrap_or_default()
    }
}

fn actor() -> Actor {
    Actor { who: "the test".to_owned(), via: Via::Command, why: None }
}

impl Console {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let url = empty_database().await;
        migrate(&url).await;
        let pool = db::connect(&url, jobrun::CONNECTIONS).await.unwrap();
        db::make_roles(&pool).await.unwrap();
        for (name, role) in [("vi", Role::Viewer), ("op", Role::Operator), ("ad", Role::Admin)] {
            apply(&pool, &actor(), name, &Change::Add(role), Some(PASSWORD), clock::now()).await.unwrap();
        }
        let addr = format!("127.0.0.1:{}", free_port().unwrap());
        let mut environment = Environment::from([
            ("DATABASE_URL".to_owned(), login(&pool, &url).await),
            ("CONSOLE_ADDR".to_owned(), addr.clone()),
            ("RUST_LOG".to_owned(), "info".to_owned()),
        ]);
        for (name, value) in settings {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        let mut program = Program::start(&programs(), "jobrun-console", &environment, Lines::Kept).unwrap();
        program.wait_for_line("console listens", PATIENCE).await.unwrap();
        jobrun_twilio::api::use_tls_provider();
        let http = Client::builder().redirect(redirect::Policy::none()).timeout(Duration::from_secs(30));
        Self { pool, program, url: format!("http://{addr}"), http: http.build().unwrap(), environment }
    }

    /// Sends a request as a page of the console does.
    async fn send(&self, method: Method, path: &str, cookie: Option<&str>, form: &[(&str, &str)]) -> Response {
        let origin = self.url.as_str();
        self.send_with(method, path, cookie, form, &[("origin", origin), ("sec-fetch-site", "same-origin")]).await
    }

    async fn send_with(
        &self,
        method: Method,
        path: &str,
        cookie: Option<&str>,
        form: &[(&str, &str)],
        headers: &[(&str, &str)],
    ) -> Response {
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(cookie) = cookie {
            request = request.header("cookie", cookie);
        }
        if method == Method::POST {
            request = request.form(form);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let is_stream = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if is_stream { String::new() } else { response.text().await.unwrap() };
        Response { status, headers, body }
    }

    async fn get(&self, path: &str, cookie: Option<&str>) -> Response {
        self.send(Method::GET, path, cookie, &[]).await
    }

    async fn post(&self, path: &str, cookie: Option<&str>, form: &[(&str, &str)]) -> Response {
        self.send(Method::POST, path, cookie, form).await
    }

    /// Logs a person in. Returns the cookie of the session.
    async fn log_in(&self, name: &str) -> String {
        let response = self.post("/login", None, &[("name", name), ("password", PASSWORD)]).await;
        assert_eq!(response.status, StatusCode::SEE_OTHER, "{}", response.body);
        response.cookie().unwrap()
    }

    /// Returns a state like the program's, for its table of routes.
    fn app(&self) -> jobrun_console::app::App {
        let settings = Settings {
            database_url: SecretString::from(self.environment["DATABASE_URL"].clone()),
            addr: "127.0.0.1:0".parse().unwrap(),
            public_url: None,
            session_lifetime: Duration::from_secs(60),
            trusted_proxies: Vec::new(),
            proxy_header: None,
            ops_addr: None,
            onboarding_number: "+447476955179".to_owned(),
            stop_with_stdin: false,
            log: jobrun_shared::config::Log {
                format: jobrun_shared::config::LogFormat::Plain,
                filter: "info".to_owned(),
            },
        };
        jobrun_console::app::App::new(self.pool.clone(), jobrun_shared::db::Health::default(), settings)
    }

    async fn run(&self, statement: &str) {
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&self.pool).await.unwrap();
    }

    /// Stops the program. It must have been denied nothing.
    async fn stop(mut self) {
        self.program.stop().await.unwrap();
        let denied: Vec<String> =
            self.program.lines().into_iter().filter(|line| line.contains("permission denied")).collect();
        assert!(denied.is_empty(), "{denied:#?}");
        self.pool.close().await;
    }
}

/// Makes a login with the console's role and nothing else. Returns the address of the database for it.
async fn login(pool: &PgPool, url: &SecretString) -> String {
    let database: String = sqlx::query_scalar("SELECT current_database()::TEXT").fetch_one(pool).await.unwrap();
    let login = format!("console_{database}");
    let make = format!("CREATE ROLE {login} LOGIN PASSWORD 'of-the-test' IN ROLE jobrun_console");
    sqlx::raw_sql(AssertSqlSafe(make)).execute(pool).await.unwrap();
    let (scheme, rest) = url.expose_secret().split_once("://").unwrap();
    let at = rest.split_once('@').map_or(rest, |(_, at)| at);
    format!("{scheme}://{login}:of-the-test@{at}")
}
