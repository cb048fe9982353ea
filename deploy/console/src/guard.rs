//! Who sends a request, and whether they may: sessions, roles, and the origin of requests that change something.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Redirect, Response};
use jobrun_shared::clock;
use jobrun_shared::db::console::{self, LoggedIn, Role};

use crate::app::App;
use crate::error::PageError;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a login.
    Public,
    /// People with this role, or one with more rights.
    Role(Role),
}

/// The digest of the session that a request came with.
#[derive(Clone, Debug)]
pub struct SessionDigest(pub Option<Vec<u8>>);

/// Lets a request through to its handler if the person may use the route. A request that changes something has to come from a
/// page of the console.
///
/// # Errors
/// [`PageError::ForeignOrigin`], [`PageError::Forbidden`], or an error of the database.
pub async fn guard(
    State((app, access)): State<(App, Access)>,
    mut request: Request,
    next: Next,
) -> Result<Response, PageError> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && !comes_from_us(&app, request.headers()) {
        return Err(PageError::ForeignOrigin);
    }
    let Access::Role(needed) = access else { return Ok(next.run(request).await) };
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip());
    let Some((person, digest)) = find_person(&app, request.headers(), peer).await? else {
        return Ok(ask_to_log_in(&request));
    };
    if person.role < needed {
        return Err(PageError::Forbidden);
    }
    request.extensions_mut().insert(person);
    request.extensions_mut().insert(SessionDigest(digest));
    Ok(next.run(request).await)
}

/// Returns the person that sends a request, with the digest of the session, if there is one.
async fn find_person(
    app: &App,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> Result<Option<(LoggedIn, Option<Vec<u8>>)>, PageError> {
    if let Some(header) = &app.settings.proxy_header {
        let is_trusted = peer.is_some_and(|peer| app.settings.trusted_proxies.contains(&peer.to_canonical()));
        // Two names would leave it to chance which of them the proxy wrote.
        let mut names = headers.get_all(header.as_str()).iter();
        let (name, another) = (names.next(), names.next());
        let name = name.filter(|_| is_trusted && another.is_none()).and_then(|name| name.to_str().ok());
        let Some(name) = name.map(str::to_ascii_lowercase) else { return Ok(None) };
        let person = console::find_enabled(&mut *app.pool.acquire().await?, &name).await?;
        return Ok(person.map(|person| (person, None)));
    }
    let Some(secret) = cookie(app, headers) else { return Ok(None) };
    let digest = jobrun_credentials::digest(secret);
    let person = console::find_session(&mut *app.pool.acquire().await?, &digest, clock::now()).await?;
    Ok(person.map(|person| (person, Some(digest))))
}

/// The name of the cookie. Browsers take a cookie of the first name over https only, and for this host and every path.
fn cookie_name(app: &App) -> &'static str {
    if app.is_https() { "__Host-jobrun-console" } else { "jobrun-console" }
}

/// Returns the secret in the cookie of a request, if there is one.
#[must_use]
pub fn cookie<'a>(app: &App, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = cookie_name(app);
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|it| it.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

/// Returns the cookie that a session begins with; an empty secret ends it.
#[must_use]
pub fn set_cookie(app: &App, secret: &str, seconds: u64) -> (HeaderName, HeaderValue) {
    let secure = if app.is_https() { "; Secure" } else { "" };
    let name = cookie_name(app);
    let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    (header::SET_COOKIE, HeaderValue::from_str(&cookie).unwrap_or_else(|_| HeaderValue::from_static("")))
}

/// Returns whether a request comes from a page of the console. Browsers say so in `Sec-Fetch-Site` and in `Origin`; a request
/// that has neither is refused.
fn comes_from_us(app: &App, headers: &HeaderMap) -> bool {
    let text = |name: &HeaderName| headers.get(name).map(|it| it.to_str().unwrap_or("unreadable"));
    let site = text(&HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    match (text(&header::ORIGIN), &app.settings.public_url) {
        (Some(origin), Some(ours)) => origin.eq_ignore_ascii_case(ours),
        (Some(origin), None) => {
            let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
            host.is_some() && host == text(&header::HOST)
        }
        (None, _) => site.is_some(),
    }
}

/// Asks a person without a session to log in, and brings the person back afterwards.
fn ask_to_log_in(request: &Request) -> Response {
    let is_page = *request.method() == Method::GET && !request.headers().contains_key("hx-request");
    if !is_page || request.uri().path() == "/live" {
        // htmx loads the page to log in at instead of the part of a page that it asked for.
        return (StatusCode::UNAUTHORIZED, [("hx-redirect", "/login")], "log in first").into_response();
    }
    let here = safe_next(request.uri().path_and_query().map(|it| it.as_str()));
    let is_followed_link =
        request.headers().get("sec-fetch-site").is_some_and(|site| site == "cross-site" || site == "same-site");
    if is_followed_link && !request.uri().query().is_some_and(|query| query.contains("again=")) {
        // With a link on another site, browsers send no strict cookie. They do once this page sends them on.
        let to = format!("{here}{}again=1", if here.contains('?') { "&" } else { "?" });
        let to = to.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
        let refresh = format!(
            "<!doctype html><html lang=en><title>JobRun console</title><meta http-equiv=refresh content=\"0;url={to}\">"
        );
        return Html(refresh).into_response();
    }
    let next: String = form_urlencoded::byte_serialize(here.as_bytes()).collect();
    Redirect::to(&format!("/login?next={next}")).into_response()
}

/// Returns a path of the console to go to, or the first page if `next` leads elsewhere.
#[must_use]
pub fn safe_next(next: Option<&str>) -> &str {
    let is_ours = |it: &&str| {
        let rest = it.strip_prefix('/');
        rest.is_some_and(|rest| !rest.starts_with(['/', '\\']))
            && it.chars().all(|it| it.is_ascii_graphic() && it != '\\')
    };
    next.filter(is_ours).unwrap_or("/")
}

/// The address that a request comes from: the one that a trusted proxy names, or the other end of the connection.
#[derive(Clone, Debug)]
pub struct ClientAddress(pub String);

impl FromRequestParts<App> for ClientAddress {
    type Rejection = PageError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, PageError> {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|it| it.0.ip().to_canonical());
        let proxies = &app.settings.trusted_proxies;
        let is_proxy = |it: &IpAddr| proxies.iter().any(|proxy| proxy.to_canonical() == *it);
        let named = parts.headers.get_all("x-forwarded-for").iter().filter_map(|it| it.to_str().ok());
        // An entry that cannot be read ends the list: those before it may be the client's own.
        let mut named: Vec<&str> = named.flat_map(|it| it.split(',')).collect();
        named.reverse();
        let mut named = named.into_iter().map_while(named_address);
        let address = match peer {
            Some(peer) if is_proxy(&peer) => named.find(|it| !is_proxy(it)).or(Some(peer)),
            other => other,
        };
        Ok(Self(address.map_or_else(|| "unknown".to_owned(), |it| network_of(it).to_string())))
    }
}

/// Reads an entry of `X-Forwarded-For`, with or without a port.
fn named_address(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let with_port = entry.parse::<SocketAddr>().ok().map(|it| it.ip());
    with_port.or_else(|| entry.trim_matches(['[', ']']).parse().ok()).map(|it: IpAddr| it.to_canonical())
}

/// Returns what attempts are counted by: an IPv4 address, or the /64 network of an IPv6 address, which one client has as a whole.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(it) => {
            let [a, b, c, d, ..] = it.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Returns the address of a page without the mark of a followed link.
#[must_use]
pub fn here(uri: &Uri) -> String {
    let here = uri.path_and_query().map_or("/", |it| it.as_str());
    here.replace("?again=1", "").replace("&again=1", "")
}

#[cfg(test)]
mod tests {
    use super::{named_address, network_of, safe_next};

    #[test]
    fn a_client_is_counted_by_its_address_or_its_network() {
        let counted = |entry| named_address(entry).map(|it| network_of(it).to_string());
        assert_eq!(counted(" 203.0.113.5:4711").as_deref(), Some("203.0.113.5"));
        assert_eq!(counted("::ffff:203.0.113.5").as_deref(), Some("203.0.113.5"));
        assert_eq!(counted("[2001:db8:1:2:3::4]:4711").as_deref(), Some("2001:db8:1:2::"));
        assert_eq!(counted("2001:db8:1:2:5::6").as_deref(), Some("2001:db8:1:2::"));
        assert_eq!(counted("unknown"), None);
    }

    #[test]
    fn a_login_leads_to_no_other_site() {
        assert_eq!(safe_next(Some("/clients?state=COMPLETE")), "/clients?state=COMPLETE");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "javascript:1", ""] {
            assert_eq!(safe_next(Some(elsewhere)), "/", "{elsewhere}");
        }
    }
}
