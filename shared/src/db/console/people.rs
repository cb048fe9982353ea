//! The people who use the console.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use crate::db::Error;

/// What a person may do. Each role may do everything that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Sees every page but the audit log, with phone numbers masked.
    Viewer,
    /// Sees phone numbers and the audit log, and acts.
    Operator,
    /// Sees the people.
    Admin,
}

impl Role {
    /// Every role, the one with the fewest rights first.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// Returns its name, as it is stored.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }

    /// Returns the role of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// A person who uses the console.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// `console_people.id`.
    pub id: i64,
    /// The name that the person logs in with.
    pub name: String,
    /// What the person may do.
    pub role: Role,
    /// When the person was added.
    pub created_at: DateTime<Utc>,
    /// Since when the person may not log in, if so.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the person last logged in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// How many sessions of the person there are that have not expired.
    pub sessions: i64,
}

/// The facts that a check of a password needs.
#[derive(Clone, Debug)]
pub struct Login {
    /// `console_people.id`.
    pub id: i64,
    /// The hash of the password, if the person has one.
    pub password_hash: Option<String>,
    /// Whether the person may not log in.
    pub is_disabled: bool,
}

/// A role by its stored name. The table's constraint allows no other than the three.
pub(super) fn role_of(name: &str) -> Role {
    Role::named(name).unwrap_or(Role::Viewer)
}

/// Returns whether a name has the form that the table asks for.
#[must_use]
pub fn is_a_name(name: &str) -> bool {
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._@+-".contains(&byte);
    first && name.len() <= 100 && name.bytes().all(rest)
}

/// Adds a person. Returns the id, or nothing if the name is taken.
pub async fn add_person(
    conn: &mut PgConnection,
    name: &str,
    role: Role,
    password_hash: Option<&str>,
    now: DateTime<Utc>,
) -> Result<Option<i64>, Error> {
    let added = sqlx::query_scalar!(
        "INSERT INTO console_people (name, role, password_hash, created_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT ON CONSTRAINT a_name_belongs_to_one_person DO NOTHING RETURNING id",
        name,
        role.name(),
        password_hash,
        now
    );
    Ok(added.fetch_optional(conn).await?)
}

/// Returns the facts that a check of the password of `name` needs, if there is such a person.
pub async fn find_login(conn: &mut PgConnection, name: &str) -> Result<Option<Login>, Error> {
    let login = sqlx::query_as!(
        Login,
        r#"SELECT id, password_hash, disabled_at IS NOT NULL AS "is_disabled!" FROM console_people WHERE name = $1"#,
        name
    );
    Ok(login.fetch_optional(conn).await?)
}

/// Returns the first `limit` people, by name.
pub async fn list_people(conn: &mut PgConnection, now: DateTime<Utc>, limit: i64) -> Result<Vec<Person>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id, name, role, created_at, disabled_at, last_login_at,
                  (SELECT count(*) FROM console_sessions WHERE person_id = p.id AND expires_at > $1) AS "sessions!"
           FROM console_people p WHERE name >= '' ORDER BY name LIMIT $2"#,
        now,
        limit
    );
    let rows = rows.fetch_all(conn).await?.into_iter().map(|row| Person {
        id: row.id,
        name: row.name,
        role: role_of(&row.role),
        created_at: row.created_at,
        disabled_at: row.disabled_at,
        last_login_at: row.last_login_at,
        sessions: row.sessions,
    });
    Ok(rows.collect())
}

/// Sets the hash of a person's password. Returns whether there is such a person.
pub async fn set_password(conn: &mut PgConnection, person_id: i64, password_hash: &str) -> Result<bool, Error> {
    let set = sqlx::query!("UPDATE console_people SET password_hash = $2 WHERE id = $1", person_id, password_hash);
    Ok(set.execute(conn).await?.rows_affected() == 1)
}

/// Gives a person a role. Returns whether there is such a person.
pub async fn set_role(conn: &mut PgConnection, name: &str, role: Role) -> Result<bool, Error> {
    let set = sqlx::query!("UPDATE console_people SET role = $2 WHERE name = $1", name, role.name());
    Ok(set.execute(conn).await?.rows_affected() == 1)
}

/// Disables a person from `since` on, or enables the person again. Returns the id, if there is such a person.
pub async fn set_disabled(
    conn: &mut PgConnection,
    name: &str,
    since: Option<DateTime<Utc>>,
) -> Result<Option<i64>, Error> {
    let set =
        sqlx::query_scalar!("UPDATE console_people SET disabled_at = $2 WHERE name = $1 RETURNING id", name, since);
    Ok(set.fetch_optional(conn).await?)
}
