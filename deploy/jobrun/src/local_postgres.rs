//! A PostgreSQL server of our own, from the installed programs.
//!
//! PostgreSQL refuses to run as root, so root starts it as an unprivileged user. A guard process stops the server as soon as the
//! process that started it has ended, even if that was killed.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use anyhow::{Context, bail, ensure};
use jobrun_shared::db;
use secrecy::SecretString;
use sqlx::AssertSqlSafe;

use crate::CONNECTIONS;
use crate::data_dir::{random_hex, write_secret};
use crate::programs::free_port;

/// The name of the database, and of its user.
const NAME: &str = "jobrun";

/// Where packages put the programs, when they are not on the PATH: Debian, Red Hat, and Homebrew.
const KNOWN_PLACES: [&str; 4] = ["/usr/lib/postgresql", "/usr/local/opt", "/opt/homebrew/opt", "/usr"];

/// The lifetime of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// It outlives the server.
    Kept,
    /// It is deleted with the server, and need not survive a power cut: `fsync` is off.
    ThrownAway,
    /// It is deleted with the server, but written as safely as data that is kept: for measuring.
    Measured,
}

/// A running server. Dropping it stops it.
#[derive(Debug)]
pub struct LocalPostgres {
    url: SecretString,
    data_dir: PathBuf,
    // Dropping it closes the guard's standard input; the guard then stops the server.
    _guard: Guard,
}

/// The process that stops the server, and that outlives ours for this.
#[derive(Debug)]
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// An unprivileged user to run as.
#[derive(Clone, Copy, Debug)]
struct User {
    uid: u32,
    gid: u32,
}

impl LocalPostgres {
    /// Starts a server with its data in `dir`, which is created if it is missing, and which no other program may use. `path` lists
    /// the folders to search for programs first, in the form of the environment variable PATH.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not start.
    pub async fn start(dir: &Path, data: Data, path: &str) -> anyhow::Result<Self> {
        let programs = find_programs(path)?;
        let user = if is_root() { Some(unprivileged_user()?) } else { None };
        let cluster = Cluster { programs, user, dir: dir.to_owned() };
        cluster.prepare(data)?;
        cluster.stop_leftover()?;
        let port = cluster.port()?;
        cluster.run(port, data)?;
        let guard = Guard(cluster.guard(data)?);
        let password = fs::read_to_string(cluster.password_file()).context("reading the database's password")?;
        let url_of =
            |name: &str| SecretString::from(format!("postgres://{NAME}:{}@127.0.0.1:{port}/{name}", password.trim()));
        create_database(&url_of("postgres")).await?;
        Ok(Self { url: url_of(NAME), data_dir: cluster.data_dir(), _guard: guard })
    }

    /// Starts a server on a folder of its own below the folder for temporary files.
    ///
    /// # Errors
    /// As [`LocalPostgres::start`].
    pub async fn start_temporary(data: Data, path: &str) -> anyhow::Result<Self> {
        let name = format!("jobrun-{}-{}", std::process::id(), jobrun_shared::clock::now().timestamp_micros());
        Self::start(&std::env::temp_dir().join(name), data, path).await
    }

    /// Returns the URL of the database, password included.
    #[must_use]
    pub const fn url(&self) -> &SecretString {
        &self.url
    }

    /// Returns the id of its first process, the parent of all its others.
    ///
    /// # Errors
    /// When it has stopped.
    pub fn pid(&self) -> anyhow::Result<u32> {
        pid_in(&self.data_dir)
    }
}

fn pid_in(data_dir: &Path) -> anyhow::Result<u32> {
    let file = fs::read_to_string(data_dir.join("postmaster.pid")).context("looking for the database's process")?;
    file.lines().next().and_then(|line| line.trim().parse().ok()).context("reading the database's process number")
}

/// Returns the folder that holds `initdb`, `pg_ctl` and `postgres`.
fn find_programs(path: &str) -> anyhow::Result<PathBuf> {
    let complete = |dir: &PathBuf| ["initdb", "pg_ctl", "postgres"].iter().all(|name| dir.join(name).is_file());
    let on_path = path.split(':').map(PathBuf::from);
    let mut in_packages: Vec<PathBuf> = KNOWN_PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path().join("bin"))
        .collect();
    // Sorting puts the newest version last.
    in_packages.sort();
    on_path.chain(in_packages.into_iter().rev()).find(complete).context(
        "PostgreSQL's server programs are not installed; `apt-get install postgresql` (or your system's package) brings \
         them, or set DATABASE_URL to a server that runs already",
    )
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// Returns the user `postgres`, which packages create, or else the user `nobody`.
fn unprivileged_user() -> anyhow::Result<User> {
    for name in ["postgres", "nobody"] {
        if let Some(user) = nix::unistd::User::from_name(name).context("looking for an unprivileged user")? {
            return Ok(User { uid: user.uid.as_raw(), gid: user.gid.as_raw() });
        }
    }
    anyhow::bail!("PostgreSQL does not run as root, and there is no other user")
}

struct Cluster {
    programs: PathBuf,
    user: Option<User>,
    dir: PathBuf,
}

impl Cluster {
    fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    fn password_file(&self) -> PathBuf {
        self.dir.join("password")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    /// Returns a command for one of PostgreSQL's programs. It runs as the unprivileged user, in a folder that this user may enter,
    /// and in a process group of its own, which a Ctrl-C for this process does not reach.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        self.as_user(&mut command);
        command
    }

    fn as_user(&self, command: &mut Command) {
        if let Some(User { uid, gid }) = self.user {
            command.uid(uid).gid(gid);
        }
        command.current_dir(&self.dir).process_group(0).stdin(Stdio::null()).stdout(Stdio::null());
    }

    fn give(&self, path: &Path) -> io::Result<()> {
        match self.user {
            Some(User { uid, gid }) => chown(path, Some(uid), Some(gid)),
            None => Ok(()),
        }
    }

    /// Makes the data folder, unless there is one.
    fn prepare(&self, data: Data) -> anyhow::Result<()> {
        if self.data_dir().join("PG_VERSION").is_file() {
            return Ok(());
        }
        fs::create_dir_all(&self.dir).with_context(|| format!("making the folder {}", self.dir.display()))?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o700))?;
        write_secret(&self.password_file(), &random_hex()?)?;
        self.give(&self.dir)?;
        self.give(&self.password_file())?;
        let mut initdb = self.command("initdb");
        initdb.arg("--pgdata").arg(self.data_dir()).arg("--pwfile").arg(self.password_file()).args([
            "--username",
            NAME,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
            "--locale",
            "C",
        ]);
        if data != Data::Kept {
            initdb.arg("--no-sync");
        }
        let dir = self.dir.display();
        let purpose = match self.user {
            None => format!("making the database in {dir}"),
            Some(_) => format!("making the database in {dir}, which an unprivileged user must be able to enter"),
        };
        succeed(&mut initdb, &purpose)
    }

    /// Stops a server that an earlier start left running because its guard was killed as well.
    fn stop_leftover(&self) -> anyhow::Result<()> {
        if !self.data_dir().join("postmaster.pid").exists() {
            return Ok(());
        }
        // Fails if no server runs and only its file is left, which the next start of PostgreSQL removes.
        let _ = self
            .command("pg_ctl")
            .arg("--pgdata")
            .arg(self.data_dir())
            .args(["--mode", "fast", "--wait", "stop"])
            .stderr(Stdio::null())
            .status();
        Ok(())
    }

    /// Returns the port of the last start if it is free, so that addresses stay valid over a restart, and otherwise any free port.
    fn port(&self) -> anyhow::Result<u16> {
        let file = self.dir.join("port");
        let last = fs::read_to_string(&file).ok().and_then(|port| port.trim().parse::<u16>().ok());
        let last = last.filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let port = last.map_or_else(free_port, Ok)?;
        fs::write(&file, port.to_string())?;
        Ok(port)
    }

    fn run(&self, port: u16, data: Data) -> anyhow::Result<()> {
        let mut options =
            format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=400");
        if data == Data::ThrownAway {
            options += " -c fsync=off -c full_page_writes=off";
        }
        let mut start = self.command("pg_ctl");
        start.arg("--pgdata").arg(self.data_dir()).arg("--log").arg(self.log_file());
        start.args(["--wait", "--timeout", "60", "--options", &options, "start"]);
        succeed(&mut start, "starting the database").with_context(|| {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(5).collect();
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        })
    }

    /// Starts the guard, which waits for the end of its standard input. That closes at the latest when this process ends.
    fn guard(&self, data: Data) -> anyhow::Result<Child> {
        let mut script = "cat > /dev/null; ".to_owned();
        if data == Data::Kept {
            // Stops only our process: a later start may have stopped our server by now, and started its own.
            script += "[ \"$(head -n 1 \"$1/postmaster.pid\")\" = \"$4\" ] && ";
        }
        script += "\"$0\" --pgdata \"$1\" --mode \"$2\" --wait stop";
        if data != Data::Kept {
            script += "; cd /; rm -rf \"$3\"";
        }
        let mode = if data == Data::Kept { "fast" } else { "immediate" };
        let mut guard = Command::new("sh");
        guard.args(["-c", &script]).arg(self.programs.join("pg_ctl")).arg(self.data_dir()).arg(mode).arg(&self.dir);
        guard.arg(pid_in(&self.data_dir())?.to_string());
        self.as_user(&mut guard);
        guard.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().context("starting the database's guard")
    }
}

/// Creates the database, unless an earlier start has.
async fn create_database(server: &SecretString) -> anyhow::Result<()> {
    let pool = db::connect(server, CONNECTIONS).await?;
    let exists = sqlx::query_scalar::<_, bool>("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)").bind(NAME);
    if !exists.fetch_one(&pool).await? {
        sqlx::raw_sql(AssertSqlSafe(format!("CREATE DATABASE {NAME}"))).execute(&pool).await?;
    }
    pool.close().await;
    Ok(())
}

fn succeed(command: &mut Command, purpose: &str) -> anyhow::Result<()> {
    let output = command.stderr(Stdio::piped()).output().with_context(|| purpose.to_owned())?;
    if !output.status.success() {
        bail!("{purpose}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// Returns the folder for data that is kept: a folder below HOME, or for root a folder of the system's, because root's home may
/// be closed to the user that runs PostgreSQL.
///
/// # Errors
/// When HOME is not set, or cannot be written to.
pub fn kept_dir(home: Option<&str>) -> anyhow::Result<PathBuf> {
    if is_root() {
        return Ok(PathBuf::from("/var/lib/jobrun"));
    }
    let home = PathBuf::from(
        home.context("HOME is not set, so there is no place to keep the data: name one with --data (or JOBRUN_DATA)")?,
    );
    ensure!(fs::metadata(&home).is_ok_and(|it| it.mode() & 0o200 != 0), "HOME cannot be written to");
    Ok(home.join(".local/share/jobrun"))
}
