//! `jobrun up`: everything on one machine, across restarts and kills, and beside a second instance.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use jobrun::programs::{Environment, Lines, Program, free_port};
use jobrun_shared::config::STAND_IN_ACCOUNT_SID;
use jobrun_tests::{
    PATIENCE, count, empty_database, eventually, migrate, migrated_database, programs, test_system, texts,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// How long the start may take. A new database takes longest.
const START_TIMEOUT: Duration = Duration::from_secs(120);

const PHONE: &str = "+447900000001";

const REAL_ACCOUNT: &str = "AC1234567890abcdef1234567890abcdef";

/// Variables of the tests' own environment that would redirect `jobrun up`. An empty variable counts as not set.
const NOT_SET: [&str; 8] = [
    "DATABASE_URL",
    "CONSOLE_ADDR",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "PUBLIC_BASE_URL",
    "INGRESS_ADDR",
    "STAND_IN_ADDR",
    "JOBRUN_DATA",
];

/// The ports and the data folder of a `jobrun up`.
#[derive(Clone)]
struct Place {
    data: PathBuf,
    port: u16,
    stand_in_port: u16,
    console_port: u16,
}

impl Place {
    fn new(name: &str) -> Self {
        let data = std::env::temp_dir().join(format!("jobrun-up-{}-{name}", std::process::id()));
        Self {
            data,
            port: free_port().unwrap(),
            stand_in_port: free_port().unwrap(),
            console_port: free_port().unwrap(),
        }
    }

    fn run(&self, settings: &[(&str, &str)]) -> Program {
        let unset = NOT_SET.iter().map(|name| (*name, ""));
        let environment: Environment =
            unset.chain(settings.iter().copied()).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let [port, stand_in_port, console_port] =
            [self.port, self.stand_in_port, self.console_port].map(|port| port.to_string());
        let data = self.data.to_str().unwrap();
        let arguments =
            ["up", "--data", data, "--port", &port, "--stand-in-port", &stand_in_port, "--console-port", &console_port];
        Program::start_with(&programs(), "jobrun", &arguments, &environment, Lines::Kept).unwrap()
    }

    async fn start(&self) -> Program {
        // The secrets of the stand-in replace those of the operator, also one that is in a file.
        let file = self.data.with_extension("token");
        fs::write(&file, "of-a-real-account").unwrap();
        let mut up = self.run(&[("TWILIO_AUTH_TOKEN_FILE", file.to_str().unwrap())]);
        up.wait_for_line("is up.", START_TIMEOUT).await.unwrap();
        up
    }

    /// Runs until the end. Returns the exit code and the output.
    async fn is_refused(&self, settings: &[(&str, &str)]) -> (Option<i32>, String) {
        end_of(self.run(settings)).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.stand_in_port)
    }

    async fn get(&self, path: &str) -> String {
        client().get(self.url(path)).send().await.unwrap().text().await.unwrap()
    }

    /// Texts as a client, and waits until a message contains `answer`.
    async fn says(&self, body: &str, answer: &str) {
        let form = [("from", PHONE), ("body", body)];
        let response = client().post(self.url("/texts")).form(&form).send().await.unwrap();
        assert_eq!(response.status(), 200);
        eventually(PATIENCE, "the text is answered", async || self.get("/messages").await.contains(answer)).await;
    }

    /// Returns the files of the data folder whose names begin with `prefix`, and their contents.
    fn files(&self, prefix: &str) -> Vec<(PathBuf, String)> {
        let paths = fs::read_dir(&self.data).unwrap().map(|entry| entry.unwrap().path());
        let named = paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(prefix));
        let mut files: Vec<_> = named.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect();
        files.sort();
        files
    }

    fn secrets(&self) -> Vec<(PathBuf, String)> {
        let mut secrets = self.files("stand-in-");
        secrets.retain(|(path, _)| path.extension().is_none());
        secrets
    }

    fn remove(self) {
        fs::remove_dir_all(self.data).unwrap();
    }
}

fn client_builder() -> reqwest::ClientBuilder {
    jobrun_twilio::api::use_tls_provider();
    reqwest::Client::builder().timeout(Duration::from_secs(20))
}

fn client() -> reqwest::Client {
    client_builder().build().unwrap()
}

async fn end_of(mut program: Program) -> (Option<i32>, String) {
    let status = tokio::time::timeout(START_TIMEOUT, program.wait()).await.unwrap().unwrap();
    (status.code(), program.lines().join("\n"))
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

async fn signal(signal: &str, pid: u32) {
    tokio::process::Command::new("kill").args([signal, &pid.to_string()]).status().await.unwrap();
}

/// Returns the children of a process that still run.
async fn children(pid: u32) -> Vec<u32> {
    let found = tokio::process::Command::new("pgrep").args(["-P", &pid.to_string()]).output().await.unwrap();
    String::from_utf8(found.stdout).unwrap().lines().map(|pid| pid.parse().unwrap()).collect()
}

fn is_at_work(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// Follows the link to the console that was printed, as a browser does.
async fn log_in_to_console(place: &Place, shown: &str) {
    let console = format!("http://127.0.0.1:{}", place.console_port);
    let secret = shown.split(&format!("{console}/login?token=")).nth(1).expect("the link is printed");
    let form = [("token", secret.split_whitespace().next().unwrap())];
    let http = client_builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let send = http.post(format!("{console}/login/link")).header("origin", &console).form(&form);
    let response = send.send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let people = http.get(format!("{console}/people")).header("cookie", cookie).send().await.unwrap();
    assert_eq!(people.status(), 200, "the first person is an admin");
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_and_payments_survive_a_restart_and_a_kill() {
    let place = Place::new("restart");
    let mut up = place.start().await;
    let shown = up.lines().join("\n");
    let (ingress, data) = (format!("http://127.0.0.1:{}/webhooks/", place.port), place.data.to_str().unwrap());
    for part in [
        &ingress,
        data,
        "psql postgres://",
        "Be a client",
        &place.url("/ in a browser"),
        &place.url("/texts"),
        &place.url("/messages"),
    ] {
        assert!(shown.contains(part), "{part} is missing in: {shown}");
    }
    log_in_to_console(&place, &shown).await;
    place.says("Plumber from London", "name of your business").await;
    let paid = client().post(place.url("/pay")).form(&[("client_reference_id", "reference")]).send().await.unwrap();
    assert_eq!(paid.status(), 200);
    let (said, sold, secrets) = (place.get("/messages").await, place.get("/subscriptions").await, place.secrets());
    assert!(sold.starts_with("sub_"), "{sold}");
    assert_eq!(secrets.len(), 3, "{secrets:?}");
    assert!(secrets.iter().all(|(path, secret)| mode(path) == 0o600 && secret.len() == 32), "{secrets:?}");
    signal("-INT", up.pid().unwrap()).await;
    let (code, shown) = end_of(up).await;
    assert_eq!(code, Some(0), "{shown}");

    up = place.start().await;
    assert_eq!(
        (place.get("/messages").await, place.get("/subscriptions").await, place.secrets()),
        (said, sold, secrets)
    );
    place.says("ABC Plumbing", "own name").await;
    let (said, started) = (place.get("/messages").await, children(up.pid().unwrap()).await);
    assert!(started.len() >= 3, "ingress, worker, and the process that stops the database: {started:?}");
    up.kill().await.unwrap();

    // The start is immediate: the children of the killed process are still ending.
    let mut up = place.start().await;
    assert_eq!(place.get("/messages").await, said);
    eventually(PATIENCE, "no child of the killed process is left", async || !started.iter().copied().any(is_at_work))
        .await;
    place.says("John Smith", "Reply SMS").await;
    assert!(up.stop().await.unwrap().success());

    let kept = place.files("stand-in-").into_iter().find(|(path, _)| path.extension().is_some()).unwrap().1;
    let lines = kept.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let sids: Vec<String> = lines.filter_map(|line| Some(line["text"]["sid"].as_str()?.to_owned())).collect();
    assert_eq!(sids.len(), 6, "three texts each way");
    assert_eq!(sids.iter().collect::<BTreeSet<_>>().len(), 6, "no SID was given twice: {sids:?}");
    place.remove();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_names_the_taken_port_or_folder_and_how_to_move_and_disturbs_nothing() {
    let first = Place::new("first");
    let mut up = first.start().await;
    let other = Place::new("second");
    let holder = format!("another `jobrun up` (process {})", up.pid().unwrap());
    let (ingress, stand_in) = (format!("127.0.0.1:{}", first.port), format!("127.0.0.1:{}", first.stand_in_port));
    let folder = first.data.to_str().unwrap().to_owned();
    for (second, taken, how) in [
        (Place { port: first.port, ..other.clone() }, ingress, "--port "),
        (Place { stand_in_port: first.stand_in_port, ..other.clone() }, stand_in, "--stand-in-port "),
        (Place { data: first.data.clone(), ..other.clone() }, folder, "--data"),
    ] {
        let (code, said) = second.is_refused(&[]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!([&taken, &holder, how].iter().all(|part| said.contains(part)), "{taken}, {holder}, {how}: {said}");
    }
    let both = Place { stand_in_port: other.port, ..other.clone() };
    let (code, said) = both.is_refused(&[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("--port") && said.contains("--stand-in-port"), "{said}");

    for port in [first.port, first.stand_in_port] {
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        let elsewhere = TcpStream::connect(("127.0.0.2", port)).map_err(|error| error.kind());
        assert_eq!(elsewhere.err(), Some(io::ErrorKind::ConnectionRefused), "{port} is for this machine only");
    }
    first.says("Plumber from London", "name of your business").await;
    assert!(up.stop().await.unwrap().success());
    first.remove();
    other.remove();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_stand_in_is_refused_to_a_real_account() {
    let system = test_system(1).await;
    assert_eq!(texts(&system.pool, "SELECT account_kind FROM installation").await, ["stand-in"]);
    let mut environment = system.environment.clone();
    environment.insert("TWILIO_ACCOUNT_SID".to_owned(), REAL_ACCOUNT.to_owned());
    for name in ["jobrun-ingress", "jobrun-worker"] {
        let program = Program::start(&system.programs, name, &environment, Lines::Kept).unwrap();
        is_refused_for_its_account(end_of(program).await, "has been used with the stand-in");
    }
    let (check, buy) = (["numbers", "check", "--fix"], ["pool", "buy", "--count", "1", "--yes"]);
    for arguments in [&check[..], &buy] {
        let command = Program::start_with(&system.programs, "jobrun", arguments, &environment, Lines::Kept).unwrap();
        is_refused_for_its_account(end_of(command).await, "has been used with the stand-in");
    }
    let place = Place::new("real-account");
    let url = environment["DATABASE_URL"].as_str();
    let settings =
        [("DATABASE_URL", url), ("TWILIO_ACCOUNT_SID", REAL_ACCOUNT), ("PUBLIC_BASE_URL", "https://example.com")];
    is_refused_for_its_account(place.is_refused(&settings).await, "has been used with the stand-in");
    place.remove();
    system.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_real_account_is_refused_to_the_stand_in() {
    let url = empty_database().await;
    migrate(&url).await;
    let settings = [
        ("DATABASE_URL", url.expose_secret()),
        ("TWILIO_ACCOUNT_SID", REAL_ACCOUNT),
        ("TWILIO_AUTH_TOKEN", "token"),
        // No server listens there.
        ("TWILIO_API_BASE_URL", "http://127.0.0.1:9"),
        ("PUBLIC_BASE_URL", "https://example.com"),
        ("INGRESS_ADDR", "127.0.0.1:0"),
        ("PAYMENT_LINK_URL", ""),
    ];
    let real: Environment = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut worker = Program::start(&programs(), "jobrun-worker", &real, Lines::Kept).unwrap();
    worker.wait_for_line("takes jobs", START_TIMEOUT).await.unwrap();
    worker.stop().await.unwrap();

    let mut stand_in = real.clone();
    stand_in.insert("TWILIO_ACCOUNT_SID".to_owned(), STAND_IN_ACCOUNT_SID.to_owned());
    let ingress = Program::start(&programs(), "jobrun-ingress", &stand_in, Lines::Kept).unwrap();
    is_refused_for_its_account(end_of(ingress).await, "has been used with a real account");
    let place = Place::new("stand-in");
    is_refused_for_its_account(place.is_refused(&settings[..1]).await, "has been used with a real account");
    place.remove();

    let pool = connect(&url).await;
    assert_eq!(texts(&pool, "SELECT account_kind FROM installation").await, ["real"]);
    assert_eq!(count(&pool, "SELECT count(*) FROM twilio_number_pool").await, 0, "no number was added");
    let mut ingress = Program::start(&programs(), "jobrun-ingress", &real, Lines::Kept).unwrap();
    ingress.wait_for_line("ingress listens", START_TIMEOUT).await.unwrap();
    assert!(ingress.stop().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_a_client_use_the_stand_in_of_a_running_system() {
    let system = test_system(1).await;
    let port = system.stand_in.url().rsplit(':').next().unwrap().to_owned();
    let run = async |arguments: &[&str]| {
        let at = ["--stand-in-port", port.as_str()];
        system.operator(&[arguments, &at].concat()).await.unwrap()
    };
    let (code, said, _) = run(&["text", "07900 000001", "Plumber from London"]).await;
    assert_eq!((code, said.as_str()), (0, "text: answered 200 <Response/>\n"));
    let follow = ["tail", "--json", "--phone", PHONE, "--stand-in-port", &port];
    let mut tail = Program::start_with(&system.programs, "jobrun", &follow, &system.environment, Lines::Kept).unwrap();
    tail.wait_for_line("name of your business", PATIENCE).await.unwrap();
    assert_eq!(run(&["text", PHONE, "ABC Plumbing"]).await.0, 0);
    tail.wait_for_line("own name", PATIENCE).await.unwrap();
    let lines: Vec<Value> = tail.lines().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let directions: Vec<&str> = lines.iter().map(|line| line["direction"].as_str().unwrap()).collect();
    assert_eq!(directions, ["inbound", "outbound", "inbound", "outbound"]);
    let (code, said, _) = run(&["call", "anonymous", "+447111111111"]).await;
    assert!(code == 0 && said.contains("call arrived: answered 200 <?xml"), "{said}");
    let (_, paid, _) = run(&["pay", "reference", "--debit", "--json"]).await;
    let paid: Value = serde_json::from_str(&paid).unwrap();
    assert!(paid["subscription"].as_str().unwrap().starts_with("sub_"), "{paid}");
    let (code, _, why) = system.operator(&["text", PHONE, "Hi", "--stand-in-port", "9"]).await.unwrap();
    assert!(code == 1 && why.contains("start it with `jobrun up`"), "{why}");
    tail.kill().await.unwrap();
    system.shut_down().await.unwrap();
}

async fn connect(url: &SecretString) -> sqlx::PgPool {
    jobrun_shared::db::connect(url, jobrun::CONNECTIONS).await.unwrap()
}

fn is_refused_for_its_account((code, said): (Option<i32>, String), why: &str) {
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains(why) && said.contains("use another database"), "{said}");
}

/// Twilio's SIDs are random; an earlier stand-in counted its SIDs.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_in_use_before_accounts_were_recorded_is_marked_by_the_sids_of_its_texts() {
    let pool = migrated_database(1).await;
    let step = include_str!("../../../migrations/20261126000400_installation.sql");
    let client = r#"INSERT INTO clients (id, "phoneNumber") VALUES ('a', '447900000001')"#;
    sqlx::raw_sql(client).execute(&pool).await.unwrap();
    for (sid, marks) in [("SM00000000000000000005f3a1b2c4d5e6", 0), ("SM9b1c0d4e5f60718293a4b5c6d7e8f901", 1)] {
        let text = "INSERT INTO messages (client_id, kind, to_phone, from_number, body, next_attempt_at, created_at, updated_at,
                                          status, attempts, twilio_sid)
                    VALUES ('a', 'live', '+447900000001', '+447476955179', 'Hi', now(), now(), now(), 'sent', 1, $1)";
        sqlx::query(text).bind(sid).execute(&pool).await.unwrap();
        sqlx::raw_sql("DROP TABLE installation").execute(&pool).await.unwrap();
        sqlx::raw_sql(step).execute(&pool).await.unwrap();
        assert_eq!(count(&pool, "SELECT count(*) FROM installation WHERE account_kind = 'real'").await, marks, "{sid}");
    }
}

/// Stubs replace cargo and the command, so that only the script itself runs.
#[tokio::test(flavor = "multi_thread")]
async fn the_script_passes_its_arguments_on_and_builds_nothing_to_show_its_options() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let copy = std::env::temp_dir().join(format!("jobrun-script-{}", std::process::id()));
    let program = |path: &str, contents: &str| {
        let path = copy.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, contents).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    for script in ["deploy/up", "deploy/prepare"] {
        program(script, &fs::read_to_string(root.join(script)).unwrap());
    }
    program("bin/cargo", "#!/bin/sh\necho cargo \"$@\"\n");
    program("target/release/jobrun", "#!/bin/sh\necho jobrun \"$@\"\n");
    let up = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(copy.join("deploy/up"));
        command.args(arguments).env_remove("CARGO_TARGET_DIR").env("DATABASE_URL", "postgres://nowhere");
        command.env("PATH", format!("{}:{}", copy.join("bin").display(), jobrun_tests::path()));
        String::from_utf8(command.output().await.unwrap().stdout).unwrap()
    };
    let built = "cargo build --release -p jobrun-ingress -p jobrun-worker -p jobrun-console -p jobrun\njobrun up --port 8081 --data /tmp/a folder\n";
    assert_eq!(up(&["--port", "8081", "--data", "/tmp/a folder"]).await, built);
    assert_eq!(up(&["--help"]).await, "jobrun up --help\n");
    fs::remove_dir_all(copy).unwrap();
}
