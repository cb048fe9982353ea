//! Responses to requests that cannot be served.

use askama::Template;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use jobrun_shared::db;

use crate::assets::{ADDRESSES, Addresses};

/// Why a request is not served.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// There is no such thing.
    #[error("there is no such page")]
    NotFound,
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// The role does not allow it.
    #[error("your role does not allow this")]
    Forbidden,
    /// The request comes from another site, or does not say where it comes from.
    #[error("this request does not come from a page of the console")]
    ForeignOrigin,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The page cannot be written.
    #[error(transparent)]
    Template(#[from] askama::Error),
    /// A password cannot be hashed, or the system gives no random bytes.
    #[error(transparent)]
    Credentials(#[from] jobrun_credentials::Error),
    /// A task has failed.
    #[error("a task has failed")]
    Task,
}

impl From<sqlx::Error> for PageError {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error.into())
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    assets: &'static Addresses,
    title: &'static str,
    about: String,
}

impl PageError {
    fn shown(&self) -> (StatusCode, &'static str, String) {
        let by = |status: StatusCode, title| (status, title, format!("{self}."));
        match self {
            Self::NotFound => by(StatusCode::NOT_FOUND, "Not found"),
            Self::Invalid(_) => by(StatusCode::BAD_REQUEST, "Not understood"),
            Self::Forbidden => by(StatusCode::FORBIDDEN, "Not allowed"),
            Self::ForeignOrigin => by(StatusCode::FORBIDDEN, "Refused"),
            // The address of a page holds a character or a number that the database knows no meaning for.
            Self::Database(error) if error.is_of_the_rows() => {
                tracing::warn!(%error, "a page is not understood");
                (StatusCode::BAD_REQUEST, "Not understood", "The address of this page makes no sense.".to_owned())
            }
            Self::Database(error) => {
                tracing::error!(%error, "a page could not be read");
                let about = "The database did not answer in time, or refused. The log of the console has the reason. Load the \
                             page again in a moment.";
                (StatusCode::SERVICE_UNAVAILABLE, "The database does not answer", about.to_owned())
            }
            Self::Template(_) | Self::Credentials(_) | Self::Task => {
                tracing::error!(error = %self, "a page could not be made");
                (StatusCode::INTERNAL_SERVER_ERROR, "Failed", "The log of the console has the reason.".to_owned())
            }
        }
    }
}

impl IntoResponse for PageError {
    fn into_response(self) -> Response {
        let (status, title, about) = self.shown();
        let page = ErrorPage { assets: &ADDRESSES, title, about };
        (status, Html(page.render().unwrap_or_else(|_| title.to_owned()))).into_response()
    }
}
