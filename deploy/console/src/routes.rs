//! Every route, with the role that it needs, and the headers of every response.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use jobrun_shared::db::console::Role;
use jobrun_shared::db::{self, ConnectionLost};

use crate::app::App;
use crate::error::PageError;
use crate::guard::{Access, guard};
use crate::pages::{
    alerts, audit, bulk_texts, cases, client, client_actions, clients, events, number_check, numbers, payments, people,
    stops, texts, today, waiting,
};
use crate::{assets, live, login};

/// The greatest size of a form. Every form has a few short fields.
const BODY_MAX: usize = 16 * 1024;

/// A route, and who may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// GET or POST.
    pub method: &'static str,
    /// The path, with its parameters in braces.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
}

/// The routes so far. A route cannot be added without saying who may use it.
struct Table {
    app: App,
    router: Router<App>,
    routes: Vec<Route>,
}

impl Table {
    fn add<H, T>(mut self, access: Access, method: &Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, App>,
        T: 'static,
    {
        let (filter, method) =
            if *method == Method::POST { (MethodFilter::POST, "POST") } else { (MethodFilter::GET, "GET") };
        let guarded = middleware::from_fn_with_state((self.app.clone(), access), guard);
        self.router = self.router.route(path, on(filter, handler).layer(guarded));
        self.routes.push(Route { method, path, access });
        self
    }
}

fn table(app: App) -> Table {
    const PUBLIC: Access = Access::Public;
    const VIEWER: Access = Access::Role(Role::Viewer);
    const OPERATOR: Access = Access::Role(Role::Operator);
    const ADMIN: Access = Access::Role(Role::Admin);
    let (get, post) = (&Method::GET, &Method::POST);
    let table = Table { app, router: Router::new(), routes: Vec::new() };
    table
        .add(PUBLIC, get, "/healthz", healthz)
        .add(PUBLIC, get, "/assets/{digest}/{name}", assets::get)
        .add(PUBLIC, get, "/login", login::show)
        .add(PUBLIC, post, "/login", login::log_in)
        .add(PUBLIC, post, "/login/link", login::follow_link)
        .add(VIEWER, post, "/logout", login::log_out)
        .add(VIEWER, get, "/account", login::account)
        .add(VIEWER, post, "/account/password", login::change_password)
        .add(VIEWER, get, "/live", live::stream)
        .add(VIEWER, get, "/", today::show)
        .add(VIEWER, get, "/clients", clients::show)
        .add(VIEWER, get, "/clients/{id}", client::show)
        .add(OPERATOR, post, "/clients/{id}/actions", client_actions::act)
        .add(VIEWER, get, "/waiting", waiting::show)
        .add(VIEWER, get, "/numbers", numbers::show)
        .add(VIEWER, get, "/numbers/check", number_check::show)
        .add(OPERATOR, get, "/numbers/{number}", numbers::one)
        .add(VIEWER, get, "/purchases", numbers::purchases)
        .add(VIEWER, get, "/payments", payments::show)
        .add(VIEWER, get, "/texts", texts::show)
        .add(OPERATOR, get, "/texts/bulk", bulk_texts::check)
        .add(OPERATOR, post, "/texts/bulk", bulk_texts::begin)
        .add(OPERATOR, get, "/texts/bulk/{id}", bulk_texts::show)
        .add(VIEWER, get, "/events", events::show)
        .add(VIEWER, get, "/alerts", alerts::show)
        .add(VIEWER, get, "/cases", cases::show)
        .add(OPERATOR, post, "/cases/{id}/close", cases::close)
        .add(VIEWER, get, "/stops", stops::show)
        .add(OPERATOR, post, "/stops", stops::change)
        .add(OPERATOR, get, "/audit", audit::show)
        .add(ADMIN, get, "/people", people::show)
}

/// Returns every route, for tests.
#[must_use]
pub fn all(app: App) -> Vec<Route> {
    table(app).routes
}

/// Returns the router.
pub fn router(app: App) -> Router {
    let router = table(app.clone()).router.fallback(|| async { PageError::NotFound });
    router
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(middleware::from_fn_with_state(app.clone(), unless_lost))
        .layer(middleware::from_fn_with_state(app.clone(), with_headers))
        .with_state(app)
}

/// Gives a request up when the server of the database has gone silent: its statement would wait for a quarter of an hour.
async fn unless_lost(State(app): State<App>, request: Request, next: Next) -> Response {
    let lost = |lost: ConnectionLost| PageError::Database(lost.into()).into_response();
    app.health.unless_lost(next.run(request)).await.unwrap_or_else(lost)
}

async fn healthz(State(app): State<App>) -> Response {
    match db::ensure_migrated(&app.pool).await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::error!(%error, "the console is not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not ready: the log says why\n").into_response()
        }
    }
}

/// The policy of every page: nothing from another host, no script or style within a page, no frame.
pub const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                          form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    // With `no-referrer`, browsers would send `Origin: null` with our own forms.
    ("referrer-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), microphone=(), geolocation=(), payment=()"),
];

async fn with_headers(State(app): State<App>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if app.is_https() {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    // Pages show what clients wrote: no copy of them stays behind. Only the assets say otherwise.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
