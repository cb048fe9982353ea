//! Messages that callers left, for the owners who were texted a link: `GET /voicemail/<secret>`.
//!
//! The ingress serves them because it is the one program that the public reaches, and the link needs no account. To stay minimal, it
//! keeps no recording: it asks the database what the link leads to, and passes on what Twilio sends, with a limit on how many at a
//! time, of all links and of one, how long and how much. Our credentials go to Twilio alone, so a redirect of Twilio's is neither
//! followed nor passed on.
//!
//! A listener who stalls loses the connection after a while, as every sender does (`server.rs`), and with it the place.
//!
//! The secret has 256 bits and is stored as a digest, so it cannot be guessed. An unknown link, one that has ended and a valid one cost
//! the same lookup.

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::stream;
use jobrun_shared::db::voicemails::{self, Linked};
use jobrun_shared::{clock, db};
use jobrun_twilio::recordings::Sound;

use crate::recordings::{Place, Recordings};
use crate::state::AppState;

/// How long a lookup may take, its wait for the others included.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// The most bytes of a recording. Two minutes of MP3 are below one million.
const BYTES_MAX: u64 = 8 * 1024 * 1024;

/// Plays a message. A HEAD request gets the same status and asks Twilio nothing.
pub(crate) async fn play(
    State(state): State<AppState>,
    Path(secret): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    // Another form is no link of ours, which costs no look into the database.
    let found = if is_secret(&secret) { find(&state, &secret).await } else { Ok(None) };
    let answer = match found {
        Err(()) => unavailable(),
        Ok(None) => plain(StatusCode::NOT_FOUND, "There is no such message.\n"),
        Ok(Some(linked)) if linked.is_deleted || linked.expires_at <= clock::now() => {
            plain(StatusCode::GONE, "This message is no longer there. Messages are kept for 7 days.\n")
        }
        Ok(Some(_)) if method == Method::HEAD => [(header::CONTENT_TYPE, "audio/mpeg")].into_response(),
        Ok(Some(linked)) => pass_on(&state.recordings, &linked, &headers).await,
    };
    with_headers(answer)
}

/// Returns whether a link ends as ours do: in 32 bytes as base64 for addresses.
fn is_secret(end: &str) -> bool {
    end.len() == 43 && end.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// Returns what a link leads to. The error is logged.
async fn find(state: &AppState, secret: &str) -> Result<Option<Linked>, ()> {
    let digest = jobrun_credentials::digest(secret);
    let lookup = async {
        let _slot = state.recordings.lookups.acquire().await;
        voicemails::find_linked(&mut *state.pool.acquire().await?, &digest).await
    };
    let why = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => db::Error::to_string(&error),
        Err(_) => "the database did not answer in time".to_owned(),
    };
    tracing::warn!(why, "a link to a message could not be looked up");
    Err(())
}

/// Passes a recording on as it arrives from Twilio.
async fn pass_on(recordings: &Recordings, linked: &Linked, headers: &HeaderMap) -> Response {
    let Some(place) = recordings.take_place(&linked.recording_sid) else { return unavailable() };
    let sound = match recordings.api.recording(&linked.recording_sid).await {
        Ok(sound) if sound.length().is_none_or(|length| length <= BYTES_MAX) => sound,
        Ok(_) => return not_played("the recording is too long"),
        Err(error) => return not_played(&error.to_string()),
    };
    let kind = [(header::CONTENT_TYPE, "audio/mpeg"), (header::ACCEPT_RANGES, "bytes")];
    let Some(length) = sound.length().filter(|length| *length > 0) else {
        return (kind, body(sound, place, 0..=BYTES_MAX - 1)).into_response();
    };
    match asked_range(headers, length) {
        Range::All => (kind, [(header::CONTENT_LENGTH, length)], body(sound, place, 0..=length - 1)).into_response(),
        Range::Part(part) => {
            let of_all = format!("bytes {}-{}/{length}", part.start(), part.end());
            let size = part.end() - part.start() + 1;
            let sizes = [(header::CONTENT_RANGE, of_all), (header::CONTENT_LENGTH, size.to_string())];
            (StatusCode::PARTIAL_CONTENT, kind, sizes, body(sound, place, part)).into_response()
        }
        Range::None => {
            let of_all = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            (StatusCode::RANGE_NOT_SATISFIABLE, of_all).into_response()
        }
    }
}

/// The part of a recording that a player asks for. Safari plays only what it can have in parts.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    All,
    Part(RangeInclusive<u64>),
    None,
}

/// Reads the `Range` of a request for `length` bytes, at least one. Several ranges, or another unit, count as none asked for.
fn asked_range(headers: &HeaderMap, length: u64) -> Range {
    let asked = headers.get(header::RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = asked.and_then(|range| range.trim().split_once('-')) else { return Range::All };
    let number = |text: &str| text.parse::<u64>().ok();
    let part = match (first, last) {
        ("", last) => number(last).map(|count| (length.saturating_sub(count), if count == 0 { 0 } else { length })),
        (first, "") => number(first).map(|first| (first, length)),
        (first, last) => {
            number(first).zip(number(last)).filter(|(first, last)| first <= last).map(|(f, l)| (f, l.saturating_add(1)))
        }
    };
    match part {
        None => Range::All,
        Some((first, end)) if first < end.min(length) => Range::Part(first..=end.min(length) - 1),
        Some(_) => Range::None,
    }
}

/// A recording that is being passed on.
struct Passing {
    sound: Sound,
    /// How many bytes have arrived.
    at: u64,
    part: RangeInclusive<u64>,
    _place: Place,
}

impl Passing {
    /// Returns the next bytes of the part; none at its end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, jobrun_twilio::Error> {
        while self.at <= *self.part.end() {
            let Some(mut bytes) = self.sound.next().await? else { return Ok(None) };
            let begins_at = self.at;
            self.at += bytes.len() as u64;
            let index = |at: u64| usize::try_from(at.saturating_sub(begins_at)).unwrap_or(usize::MAX).min(bytes.len());
            let (from, to) = (index(*self.part.start()), index(*self.part.end() + 1));
            bytes.truncate(to);
            bytes.drain(..from);
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }
}

fn body(sound: Sound, place: Place, part: RangeInclusive<u64>) -> Body {
    let passing = Passing { sound, at: 0, part, _place: place };
    Body::from_stream(stream::try_unfold(passing, |mut passing| async {
        let next = passing.next().await.inspect_err(|error| tracing::warn!(%error, "a message was played in part"))?;
        Ok::<_, jobrun_twilio::Error>(next.map(|bytes| (bytes, passing)))
    }))
}

/// The page of a message that Twilio did not give. One that Twilio has lost is as one that has ended, to its owner.
fn not_played(why: &str) -> Response {
    tracing::warn!(why, "a message could not be played");
    plain(
        StatusCode::BAD_GATEWAY,
        "Sorry, this message cannot be played right now. Please try again in some minutes.\n",
    )
}

fn unavailable() -> Response {
    let busy = plain(StatusCode::SERVICE_UNAVAILABLE, "Sorry, we are busy. Please try again in a minute.\n");
    ([(header::RETRY_AFTER, "60")], busy).into_response()
}

fn plain(status: StatusCode, words: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], words).into_response()
}

/// Adds the headers of every response: no copy is kept, no search engine lists it, no page embeds it, and nothing else is loaded.
fn with_headers(mut response: Response) -> Response {
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::HeaderName::from_static("x-robots-tag"), "noindex, nofollow, noarchive"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_the_recording_and_one_beyond_it_is_refused() {
        for (asked, expected) in [
            ("bytes=0-1", Range::Part(0..=1)),
            ("bytes=10-", Range::Part(10..=99)),
            ("bytes=90-200", Range::Part(90..=99)),
            ("bytes=-10", Range::Part(90..=99)),
            ("bytes=-200", Range::Part(0..=99)),
            ("bytes=99-18446744073709551615", Range::Part(99..=99)),
            ("bytes=100-", Range::None),
            ("bytes=-0", Range::None),
            ("bytes=5-3", Range::All),
            ("bytes=0-1,5-6", Range::All),
            ("items=0-1", Range::All),
            ("bytes=x-", Range::All),
        ] {
            let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_static(asked))]);
            assert_eq!(asked_range(&headers, 100), expected, "{asked}");
        }
        assert_eq!(asked_range(&HeaderMap::new(), 100), Range::All);
    }
}
