//! The settings of traces.

use percent_encoding::percent_decode_str;
use secrecy::SecretString;

use super::reader::Reader;

/// Where spans are sent, and how many.
#[derive(Clone, Debug)]
pub struct Traces {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, to which the path of traces is added.
    pub endpoint: String,
    /// `OTEL_TRACES_SAMPLER_ARG`: the share of webhooks that are traced, from 0 to 1.
    pub share: f64,
    /// `OTEL_EXPORTER_OTLP_HEADERS`: names and values of the headers of each request.
    pub headers: Vec<(String, SecretString)>,
}

impl Reader<'_> {
    /// Reads where spans are sent, if that is set. Other programs of a platform may set the rest without it.
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let share = self.get("OTEL_TRACES_SAMPLER_ARG").and_then(|share| share.parse::<f64>().ok());
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        let headers = self.list("OTEL_EXPORTER_OTLP_HEADERS");
        let endpoint = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let headers = self.trace_headers(&headers);
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if host.is_none_or(|host| host.contains(['@', '?', '#']) || host.contains(char::is_whitespace)) {
            self.add_problem(
                "OTEL_EXPORTER_OTLP_ENDPOINT is not http:// or https://, a host, a port and a path, and nothing more",
            );
        }
        if share.is_none() {
            self.add_invalid("OTEL_TRACES_SAMPLER_ARG", "not a number from 0 to 1");
        }
        Some(Traces { endpoint: endpoint.trim_end_matches('/').to_owned(), share: share?, headers: headers? })
    }

    fn trace_headers(&mut self, headers: &[String]) -> Option<Vec<(String, SecretString)>> {
        let headers: Option<Vec<_>> = headers.iter().map(|header| read_header(header)).collect();
        if headers.is_none() {
            self.add_problem(
                "OTEL_EXPORTER_OTLP_HEADERS is not name=value, comma separated, with the special characters of a value as %XX",
            );
        }
        headers
    }
}

/// Reads `name=value`. The value is percent-encoded, as OpenTelemetry says, so that it may contain a comma.
fn read_header(header: &str) -> Option<(String, SecretString)> {
    let (name, value) = header.split_once('=')?;
    let name = name.trim();
    let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    let is_value = !value.is_empty() && value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    (is_name && is_value).then(|| (name.to_owned(), SecretString::from(value.into_owned())))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_percent_encoded_value() {
        let read = |header| read_header(header).map(|(name, value)| (name, value.expose_secret().to_owned()));
        let expected = |value: &str| Some(("authorization".to_owned(), value.to_owned()));
        assert_eq!(read("authorization=Basic dXNlcjpwYXNz=="), expected("Basic dXNlcjpwYXNz=="));
        assert_eq!(read(" authorization = Bearer%20a%2Cb "), expected("Bearer a,b"));
        for wrong in ["", "authorization", "=value", "name=", "a name=value", "name=a%0Ab", "name=%FF", "name=é"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
