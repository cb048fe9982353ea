//! The settings of traces.

use super::reader::Reader;

/// Where spans are sent, and how many.
#[derive(Clone, Debug)]
pub struct Traces {
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, to which the path of traces is added.
    pub endpoint: String,
    /// `OTEL_TRACES_SAMPLER_ARG`: the share of webhooks that are traced, from 0 to 1.
    pub share: f64,
}

impl Reader<'_> {
    /// Reads where spans are sent, if that is set. Other programs of a platform may set the share without it.
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let share = self.get("OTEL_TRACES_SAMPLER_ARG").and_then(|share| share.parse::<f64>().ok());
        let share = share.filter(|share| (0.0..=1.0).contains(share));
        let endpoint = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        let host = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
        if host.is_none_or(|host| host.contains(['@', '?', '#']) || host.contains(char::is_whitespace)) {
            self.add_problem(
                "OTEL_EXPORTER_OTLP_ENDPOINT is not http:// or https://, a host, a port and a path, and nothing more",
            );
        }
        if share.is_none() {
            self.add_invalid("OTEL_TRACES_SAMPLER_ARG", "not a number from 0 to 1");
        }
        Some(Traces { endpoint: endpoint.trim_end_matches('/').to_owned(), share: share? })
    }
}
