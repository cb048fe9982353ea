//! Why a program could not start on its database, as precisely as the server and the network tell.

use std::fmt;
use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

/// Why a program could not start on its database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `DATABASE_URL` cannot be read.
    #[error("DATABASE_URL cannot be read: {0}")]
    Url(sqlx::Error),
    /// The server cannot be reached, or refuses the connection.
    #[error("{}", describe(address, error))]
    Unreachable {
        /// Host, port and database name.
        address: String,
        /// The driver's error.
        error: sqlx::Error,
    },
    /// A server responds that must not be used.
    #[error("the database at {address} is not used: {why}")]
    Unfit {
        /// Host, port and database name.
        address: String,
        /// The reason.
        why: Unfit,
    },
    /// The tables are missing, or are older than this program.
    #[error("the database is not migrated: {missing}; run `jobrun migrate`")]
    NotMigrated {
        /// The missing part.
        missing: String,
    },
    /// The tables exist, but are not visible to the role that we connect as.
    #[error(
        "the tables are in the schema {schema}, which the role in DATABASE_URL may not use, or does not search: grant it USAGE \
         on the schema, or set its search_path"
    )]
    Hidden {
        /// The schema of the tables.
        schema: String,
    },
}

impl ConnectError {
    /// Returns whether `DATABASE_URL` itself is at fault, so that only a changed one helps.
    #[must_use]
    pub fn is_of_the_settings(&self) -> bool {
        match self {
            Self::Url(_) => true,
            Self::Unreachable { error, .. } => {
                matches!(Reason::of(error), Reason::NoFile | Reason::Login | Reason::NoDatabase)
            }
            Self::Unfit { .. } | Self::NotMigrated { .. } | Self::Hidden { .. } => false,
        }
    }

    /// Returns why the server cannot be reached, or `None` for other errors.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unreachable { error, .. } => Some(Reason::of(error)),
            Self::Url(_) | Self::Unfit { .. } | Self::NotMigrated { .. } | Self::Hidden { .. } => None,
        }
    }
}

/// Why a server cannot be reached or used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The host name cannot be resolved.
    NoHost,
    /// No server listens at the address.
    Refused,
    /// The server does not respond in time.
    Silent,
    /// A proxy listens at the address, and closes the connection because it has no server.
    NoServer,
    /// The connection is closed while it is made.
    Closed,
    /// A file that the address names does not exist: a certificate, a key, or the server's socket.
    NoFile,
    /// The server does not speak TLS, which the address asks for.
    NoTls,
    /// The server's certificate is not signed by a trusted authority.
    Untrusted,
    /// The server's certificate is for other host names.
    OtherHost,
    /// TLS fails in another way.
    Tls,
    /// The server refuses the role, its password, or our address.
    Login,
    /// The server has no such database.
    NoDatabase,
    /// The role lacks a right.
    NoRight,
    /// The server is starting, stopping, or has no connection left.
    Busy,
    /// Any other reason.
    Other,
}

impl Reason {
    /// Returns the reason for an error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_code(error.code().as_deref().unwrap_or_default()),
            sqlx::Error::Io(error) => Self::of_io(error),
            sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => Self::NoTls,
            sqlx::Error::Tls(_) => Self::Tls,
            sqlx::Error::PoolTimedOut => Self::Silent,
            // The driver takes the end of the connection for a response of zero, and nothing else sends this one.
            sqlx::Error::Protocol(error) if error.contains("unexpected response from SSLRequest: 0x00") => {
                Self::NoServer
            }
            _ => Self::Other,
        }
    }

    /// Classifies by SQLSTATE.
    fn of_code(code: &str) -> Self {
        match code {
            "3D000" => Self::NoDatabase,
            "42501" => Self::NoRight,
            "53300" | "57P01" | "57P02" | "57P03" => Self::Busy,
            _ if code.starts_with("28") => Self::Login,
            _ => Self::Other,
        }
    }

    fn of_io(error: &std::io::Error) -> Self {
        use rustls::CertificateError as Certificate;
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return match tls {
                // `BadSignature` as well: another authority may have the same name.
                rustls::Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
                    Self::Untrusted
                }
                rustls::Error::InvalidCertificate(
                    Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
                ) => Self::OtherHost,
                _ => Self::Tls,
            };
        }
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Refused,
            ErrorKind::TimedOut => Self::Silent,
            ErrorKind::NotFound => Self::NoFile,
            ErrorKind::UnexpectedEof => Self::NoServer,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Self::Closed,
            // The standard library has no error kind for a failed lookup.
            _ if error.to_string().contains("lookup address") => Self::NoHost,
            _ => Self::Other,
        }
    }
}

/// Returns host, port and database name.
pub(super) fn address_of(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or("(default database)");
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

struct Described<'a> {
    address: &'a str,
    error: &'a sqlx::Error,
}

const fn describe<'a>(address: &'a str, error: &'a sqlx::Error) -> Described<'a> {
    Described { address, error }
}

impl fmt::Display for Described<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, error } = self;
        match Reason::of(error) {
            Reason::NoHost => write!(formatter, "no database at {address}: the host name is not known ({error})"),
            Reason::Refused => write!(formatter, "no database at {address}: nothing listens there ({error})"),
            Reason::Silent => write!(formatter, "no answer in time from the database at {address}"),
            Reason::NoServer => write!(
                formatter,
                "what listens at {address} takes the connection and answers as no database does: a proxy that has no database \
                 behind it ({error})"
            ),
            Reason::Closed => write!(
                formatter,
                "the connection to the database at {address} was closed while it was made: the server starts or stops, or it is a proxy \
                 that has no database behind it. Look at their logs, and try again ({error})"
            ),
            Reason::NoFile => write!(
                formatter,
                "connecting to {address}: a file that the address names is not there, such as sslrootcert ({error})"
            ),
            Reason::NoTls => write!(formatter, "the server at {address} does not speak TLS, which sslmode asks for"),
            Reason::Untrusted => write!(
                formatter,
                "the certificate of the server at {address} is not signed by an authority in sslrootcert, or a public one \
                 ({error})"
            ),
            Reason::OtherHost => {
                write!(formatter, "the certificate of the server at {address} is for another host name ({error})")
            }
            Reason::Tls => write!(formatter, "TLS to the server at {address} fails ({error})"),
            Reason::Login => write!(
                formatter,
                "the server at {address} refuses the login: check the user and the password in DATABASE_URL ({error})"
            ),
            Reason::NoDatabase => {
                write!(
                    formatter,
                    "the server at {address} has no such database: check its name in DATABASE_URL, or create it ({error})"
                )
            }
            Reason::NoRight => write!(formatter, "the role in DATABASE_URL lacks a right at {address} ({error})"),
            Reason::Busy => write!(formatter, "the server at {address} takes no connections now ({error})"),
            Reason::Other => write!(formatter, "the database at {address} cannot be used ({error})"),
        }
    }
}

/// Why a server is not used although it responds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The server is a standby: it follows another server.
    #[error("the server is a standby, which takes no writes: connect to the primary")]
    Standby,
    /// The server takes no writes.
    #[error("the server takes no writes (transaction_read_only is on): connect to one that does")]
    ReadOnly,
    /// The server acknowledges a commit before it is on the disk.
    #[error("synchronous_commit is off, so that what was acknowledged could be lost: set it to on")]
    AsynchronousCommit,
    /// One of our settings is not in force.
    #[error(
        "{name} is {actual} although {wanted} was asked for: a connection pooler must pass on the option `options`"
    )]
    OtherSetting {
        /// The setting.
        name: &'static str,
        /// The value that was requested.
        wanted: &'static str,
        /// The value in force.
        actual: String,
    },
}

/// An error of the driver in words for an operator: what failed, and what to do, if the connection broke.
#[derive(Clone, Copy, Debug)]
pub struct BrokenConnection<'a>(pub &'a sqlx::Error);

impl fmt::Display for BrokenConnection<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let broke = match self.0 {
            sqlx::Error::Io(error) => matches!(
                error.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        if broke {
            write!(
                formatter,
                "the server, or a proxy before it, closed the connection in the middle of its work. It is made anew; if that fails, \
                 look at the server's log ({})",
                self.0
            )
        } else {
            self.0.fmt(formatter)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_is_reset_is_told_of_as_closed_by_the_server_or_a_proxy() {
        let reset = || sqlx::Error::Io(ErrorKind::ConnectionReset.into());
        let at_start = ConnectError::Unreachable { address: "db:5432/ops".to_owned(), error: reset() };
        assert_eq!((at_start.reason(), at_start.is_of_the_settings()), (Some(Reason::Closed), false));
        let said = at_start.to_string();
        assert!(
            said.starts_with("the connection to the database at db:5432/ops was closed while it was made"),
            "{said}"
        );
        assert!(said.contains("Look at their logs, and try again") && said.contains("connection reset"), "{said}");
        let later = crate::db::Error::Database(reset()).to_string();
        assert!(later.starts_with("database: the server, or a proxy before it, closed the connection"), "{later}");
        assert!(later.contains("look at the server's log"), "{later}");
        let other = crate::db::Error::Database(sqlx::Error::PoolClosed).to_string();
        assert_eq!(other, format!("database: {}", sqlx::Error::PoolClosed));
    }
}
