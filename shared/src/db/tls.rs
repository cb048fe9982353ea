//! Warns when the connection to the database can be read or changed on its way.

use std::net::IpAddr;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

/// Warns if the server is on another machine and its certificate is not verified.
pub(super) fn warn_if_unverified(options: &PgConnectOptions) {
    if is_unverified(options) {
        tracing::warn!(
            host = options.get_host(),
            "the connection to the database is not verified, so that others on the way can read and change it: set \
             sslmode=verify-full, and sslrootcert, in DATABASE_URL"
        );
    }
}

fn is_unverified(options: &PgConnectOptions) -> bool {
    let verified = matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
    let host = options.get_host();
    // A host that begins with a slash is the folder of a socket.
    let is_local = options.get_socket().is_some() || host.starts_with('/') || is_loopback(host);
    !verified && !is_local
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|it: IpAddr| it.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_another_machine_must_be_verified() {
        for (url, unverified) in [
            ("postgres://db.example.com/jobrun", true),
            ("postgres://db.example.com/jobrun?sslmode=require", true),
            ("postgres://10.0.0.1/jobrun?sslmode=prefer", true),
            ("postgres://db.example.com/jobrun?sslmode=verify-full", false),
            ("postgres://db.example.com/jobrun?sslmode=verify-ca", false),
            ("postgres://localhost/jobrun", false),
            ("postgres://127.0.0.1:5433/jobrun", false),
            ("postgres://[::1]/jobrun", false),
            ("postgres://jobrun@%2Fvar%2Frun%2Fpostgresql/jobrun", false),
            ("postgres:///jobrun?host=/var/run/postgresql", false),
        ] {
            assert_eq!(is_unverified(&url.parse().unwrap()), unverified, "{url}");
        }
    }
}
