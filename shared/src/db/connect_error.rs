//! Why a program could not start on its database, told apart as far as the server and the network tell.

use std::fmt;
use std::io::ErrorKind;

use sqlx::postgres::PgConnectOptions;

use super::Unfit;

/// Why a program could not start on its database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// `DATABASE_URL` cannot be read.
    #[error("DATABASE_URL cannot be read: {0}")]
    Url(sqlx::Error),
    /// The server cannot be reached, or does not let us in.
    #[error("{}", describe(address, error))]
    Unreachable {
        /// Host, port and database name.
        address: String,
        /// What was answered.
        error: sqlx::Error,
    },
    /// A server answers there that is not to be used.
    #[error("the database at {address} is not used: {why}")]
    Unfit {
        /// Host, port and database name.
        address: String,
        /// Why.
        why: Unfit,
    },
    /// The tables are not there, or are older than this program.
    #[error("the database is not migrated: {missing}; run `jobrun migrate`")]
    NotMigrated {
        /// What is missing.
        missing: String,
    },
    /// The tables are there, and the role that we connect as does not see them.
    #[error(
        "the tables are in the schema {schema}, which the role in DATABASE_URL may not use, or does not search: grant it USAGE \
         on the schema, or set its search_path"
    )]
    Hidden {
        /// Where the tables are.
        schema: String,
    },
}

impl ConnectError {
    /// Whether `DATABASE_URL` itself is at fault, so that nothing but another one helps.
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

    /// What keeps us out, if something does.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Self::Unreachable { error, .. } => Some(Reason::of(error)),
            Self::Url(_) | Self::Unfit { .. } | Self::NotMigrated { .. } | Self::Hidden { .. } => None,
        }
    }
}

/// What keeps us out of a database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The name of the host is not known.
    NoHost,
    /// Nothing listens there.
    Refused,
    /// There is no answer in time.
    Silent,
    /// A file that the address names is not there: a certificate, a key, or the server's socket.
    NoFile,
    /// The server does not speak TLS, which the address asks for.
    NoTls,
    /// The server's certificate is not signed by an authority that we know.
    Untrusted,
    /// The server's certificate is for other host names.
    OtherHost,
    /// TLS fails in another way.
    Tls,
    /// The role, its password, or the place that we connect from is refused.
    Login,
    /// The server has no such database.
    NoDatabase,
    /// The role lacks a right.
    NoRight,
    /// The server is starting, stopping, or has no connection left.
    Busy,
    /// Anything else.
    Other,
}

impl Reason {
    /// Reads an error.
    #[must_use]
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self::of_code(error.code().as_deref().unwrap_or_default()),
            sqlx::Error::Io(error) => Self::of_io(error),
            sqlx::Error::Tls(error) if error.to_string().contains("does not support TLS") => Self::NoTls,
            sqlx::Error::Tls(_) => Self::Tls,
            sqlx::Error::PoolTimedOut => Self::Silent,
            _ => Self::Other,
        }
    }

    /// By SQLSTATE.
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
                // Another authority may bear the same name.
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
            // The standard library has no kind for it.
            _ if error.to_string().contains("lookup address") => Self::NoHost,
            _ => Self::Other,
        }
    }
}

/// Host, port and database name.
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
