//! TLS to a PostgreSQL server whose certificate is signed by an authority of its own.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use jobrun::CONNECTIONS;
use jobrun::local_postgres::{Data, LocalPostgres};
use jobrun_shared::db::{self, Reason};
use jobrun_tests::{PATIENCE, eventually, path, programs};
use secrecy::{ExposeSecret, SecretString};

/// The OpenSSL configuration that makes a certificate that of an authority.
const AUTHORITY: &str = "[req]\ndistinguished_name=name\nx509_extensions=authority\nprompt=no\n[name]\nCN=Throw-away\n\
                         [authority]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign\n";

/// The extensions of the server's certificate, which is for one name.
const SERVER: &str = "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n";

fn openssl(dir: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.args(arguments.split(' ')).current_dir(dir).output().expect("openssl is installed");
    assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes an authority, `name.pem` with `name.key`. Returns the path of its certificate.
fn make_authority(dir: &Path, name: &str) -> PathBuf {
    fs::write(dir.join("authority.conf"), AUTHORITY).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(dir, &format!("req -x509 -config authority.conf {key} -days 2 -keyout {name}.key -out {name}.pem"));
    dir.join(format!("{name}.pem"))
}

/// Makes a certificate for the server, signed by the authority `signer`.
fn make_server_certificate(dir: &Path, signer: &str) {
    fs::write(dir.join("server.conf"), SERVER).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    openssl(dir, &format!("req -config authority.conf {key} -keyout server.key -out server.csr"));
    let signed = format!("-CA {signer}.pem -CAkey {signer}.key -CAcreateserial -days 2 -extfile server.conf");
    openssl(dir, &format!("x509 -req -in server.csr {signed} -out server.pem"));
}

/// Starts a server with TLS. Returns it and the folder that holds its authority and another one.
async fn server_with_tls() -> (LocalPostgres, PathBuf) {
    let server = LocalPostgres::start_temporary(Data::ThrownAway, &path()).await.unwrap();
    let pool = db::connect(server.url(), CONNECTIONS).await.unwrap();
    let data: String = sqlx::query_scalar("SHOW data_directory").fetch_one(&pool).await.unwrap();
    let dir = PathBuf::from(data).join("tls");
    fs::create_dir(&dir).unwrap();
    make_authority(&dir, "authority");
    make_authority(&dir, "other");
    make_server_certificate(&dir, "authority");
    let owner = fs::metadata(dir.parent().unwrap()).unwrap();
    for path in [dir.clone(), dir.join("server.key"), dir.join("server.pem")] {
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    fs::set_permissions(dir.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let settings = [
        "ALTER SYSTEM SET ssl_cert_file = 'tls/server.pem'",
        "ALTER SYSTEM SET ssl_key_file = 'tls/server.key'",
        "ALTER SYSTEM SET ssl = on",
        "SELECT pg_reload_conf()",
    ];
    for setting in settings {
        sqlx::raw_sql(setting).execute(&pool).await.unwrap();
    }
    let speaks_tls = async || db::connect(&with(&server, "127.0.0.1", "sslmode=require"), CONNECTIONS).await.is_ok();
    eventually(PATIENCE, "the server speaks TLS", speaks_tls).await;
    (server, dir)
}

fn with(server: &LocalPostgres, host: &str, options: &str) -> SecretString {
    SecretString::from(format!(
        "{}?{options}",
        server.url().expose_secret().replace("@127.0.0.1:", &format!("@{host}:"))
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_verified_by_its_own_authority_and_by_the_name_that_was_asked_for() {
    let (server, dir) = server_with_tls().await;
    let verified = |host: &str, mode: &str, authority: &str| {
        with(&server, host, &format!("sslmode={mode}&sslrootcert={}/{authority}.pem", dir.display()))
    };
    for url in [
        verified("localhost", "verify-full", "authority"),
        // The name is not checked.
        verified("127.0.0.1", "verify-ca", "authority"),
    ] {
        let pool = db::connect(&url, CONNECTIONS).await.unwrap();
        let encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert!(sqlx::query_scalar::<_, bool>(encrypted).fetch_one(&pool).await.unwrap());
    }
    for (url, reason, words) in [
        (
            verified("localhost", "verify-full", "other"),
            Reason::Untrusted,
            "is not signed by an authority in sslrootcert",
        ),
        (with(&server, "localhost", "sslmode=verify-full"), Reason::Untrusted, "is not signed by an authority"),
        (verified("127.0.0.1", "verify-ca", "other"), Reason::Untrusted, "is not signed by an authority"),
        (verified("127.0.0.1", "verify-full", "authority"), Reason::OtherHost, "is for another host name"),
        (verified("localhost", "verify-full", "missing"), Reason::NoFile, "a file that the address names is not there"),
    ] {
        let refused = db::connect(&url, CONNECTIONS).await.unwrap_err();
        assert_eq!(refused.reason(), Some(reason), "{refused}");
        assert!(refused.to_string().contains(words), "{refused}");
        assert_eq!(refused.is_of_the_settings(), reason == Reason::NoFile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_verifies_its_server_and_warns_if_it_does_not() {
    let (server, dir) = server_with_tls().await;
    let run = |url: SecretString| async move {
        let mut command = tokio::process::Command::new(programs().join("jobrun"));
        command.args(["migrate"]).env_clear().env("DATABASE_URL", url.expose_secret()).kill_on_drop(true);
        let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let root = format!("sslrootcert={}/authority.pem", dir.display());
    let verified = run(with(&server, "localhost", &format!("sslmode=verify-full&{root}"))).await;
    assert_eq!(verified, (Some(0), String::new()));
    assert_eq!(
        run(with(&server, "127.0.0.1", "sslmode=disable")).await,
        (Some(0), String::new()),
        "no network is between"
    );

    let warning = "the connection to the database is not verified";
    // 0.0.0.0 reaches this machine, but is not a loopback address.
    let (code, said) = run(with(&server, "0.0.0.0", "sslmode=require")).await;
    assert!(code == Some(0) && said.contains(warning) && said.contains("sslmode=verify-full"), "{said}");
    let (code, said) = run(with(&server, "0.0.0.0", &format!("sslmode=verify-full&{root}"))).await;
    assert!(code == Some(1) && !said.contains(warning) && said.contains("for another host name"), "{said}");
    let (code, said) = run(with(&server, "localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem")).await;
    assert!(code == Some(2) && said.contains("sslrootcert"), "{said}");
}
