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
    /// Reads where spans are sent, if that is set.
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let share: Option<f64> = self.parsed("OTEL_TRACES_SAMPLER_ARG", "a number from 0 to 1");
        if share.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            self.add_invalid("OTEL_TRACES_SAMPLER_ARG", "not a number from 0 to 1");
        }
        let endpoint = self.get("OTEL_EXPORTER_OTLP_ENDPOINT")?;
        if !["https://", "http://"].iter().any(|scheme| endpoint.starts_with(scheme))
            || endpoint.contains(char::is_whitespace)
        {
            self.add_invalid("OTEL_EXPORTER_OTLP_ENDPOINT", "not an address that begins with https:// or http://");
        }
        Some(Traces { endpoint: endpoint.trim_end_matches('/').to_owned(), share: share? })
    }
}
