//! Traces, from a webhook to the delivery report of its reply: the only module that records spans.
//!
//! Rows carry a trace from one process to the next: an event and a message keep the span that wrote them. A worker that dies
//! loses spans, and never the trace. Steps that many rows share have the span of the oldest as their parent, and link the others.
//!
//! A trace begins here: one that a request brings is not believed. Spans hold no phone, number, words, or id of Twilio's or
//! Stripe's. Nothing is recorded in a process that does not [`turn_on`] traces, and spans are never waited for.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use opentelemetry::global::{self, BoxedSpan};
use opentelemetry::trace::{
    Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState,
};
use opentelemetry::{Context, KeyValue, Value};

use crate::clock;

/// Whether this process records spans.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Records spans from now on, with the tracer that is installed in this process.
pub fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// The name of a span: the step of the work that it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanName {
    /// The ingress commits an event.
    Record,
    /// The worker decides the events of a client.
    Decide,
    /// The worker applies an event of Stripe's.
    Apply,
    /// The worker posts a text to Twilio.
    Send,
    /// A delivery report arrives, and is applied to its text.
    Report,
}

impl SpanName {
    const fn name(self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Decide => "decide",
            Self::Apply => "apply",
            Self::Send => "send",
            Self::Report => "report",
        }
    }

    const fn kind(self) -> SpanKind {
        match self {
            Self::Record => SpanKind::Producer,
            Self::Decide | Self::Apply => SpanKind::Consumer,
            Self::Send => SpanKind::Client,
            Self::Report => SpanKind::Internal,
        }
    }
}

/// A span of a sampled trace, as rows keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traceparent {
    trace: TraceId,
    span: SpanId,
}

impl Traceparent {
    /// Reads the form of W3C's Trace Context, version 00.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let traceparent = Self { trace: TraceId::from_hex(trace).ok()?, span: SpanId::from_hex(span).ok()? };
        (version == "00" && flags == "01" && parts.next().is_none()).then_some(traceparent)
    }

    fn context(self) -> SpanContext {
        SpanContext::new(self.trace, self.span, TraceFlags::SAMPLED, true, TraceState::default())
    }
}

impl fmt::Display for Traceparent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "00-{}-{}-01", self.trace, self.span)
    }
}

/// A span that has begun. One that is dropped before it [`succeeds`](Span::succeed) is recorded as failed.
#[derive(Debug)]
pub struct Span(BoxedSpan);

impl Span {
    /// Begins a trace with the webhook that arrived `ago`. Returns nothing if traces are off, or this one is not sampled.
    #[must_use]
    pub fn of_webhook(source: &'static str, kind: &'static str, ago: Duration) -> Option<Self> {
        if !IS_ON.load(Ordering::Relaxed) {
            return None;
        }
        let arrived_at = clock::now() - TimeDelta::from_std(ago).unwrap_or_default();
        let builder = SpanBuilder::from_name("webhook").with_kind(SpanKind::Server).with_start_time(arrived_at);
        let attributes = [KeyValue::new("source", source), KeyValue::new("kind", kind)];
        Self::start(builder.with_attributes(attributes), &Context::new())
    }

    /// Begins a step of the work that `parents` led to, the oldest first. Returns nothing if there are none, or traces are off.
    #[must_use]
    pub fn child_of(step: SpanName, parents: impl IntoIterator<Item = Traceparent>) -> Option<Self> {
        Self::child_since(step, parents, clock::now())
    }

    /// Like [`Span::child_of`], for a step that began earlier.
    #[must_use]
    pub fn child_since(
        step: SpanName,
        parents: impl IntoIterator<Item = Traceparent>,
        began_at: DateTime<Utc>,
    ) -> Option<Self> {
        if !IS_ON.load(Ordering::Relaxed) {
            return None;
        }
        let mut parents = parents.into_iter();
        let parent = Context::new().with_remote_span_context(parents.next()?.context());
        let links = parents.map(|other| Link::with_context(other.context())).collect();
        let builder = SpanBuilder::from_name(step.name()).with_kind(step.kind()).with_start_time(began_at);
        Self::start(builder.with_links(links), &parent)
    }

    fn start(builder: SpanBuilder, parent: &Context) -> Option<Self> {
        let mut span = builder.start_with_context(&global::tracer("jobrun"), parent);
        // Success replaces an error, and nothing replaces success.
        span.set_status(Status::error("it did not come to its end"));
        span.is_recording().then_some(Self(span))
    }

    /// Returns the form in which rows keep it.
    #[must_use]
    pub fn traceparent(&self) -> Traceparent {
        let context = self.0.span_context();
        Traceparent { trace: context.trace_id(), span: context.span_id() }
    }

    /// Adds an attribute. It must be neither personal nor an id of Twilio's or Stripe's.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.0.set_attribute(KeyValue::new(name, value));
        self
    }

    /// Ends the span of a step whose result is committed.
    pub fn succeed(mut self) {
        self.0.set_status(Status::Ok);
        self.0.end_with_timestamp(clock::now().into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_a_span_in_the_form_of_w3c() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(Traceparent::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-xyz-00f067aa0ba902b7-01",
        ] {
            assert_eq!(Traceparent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_is_recorded_while_traces_are_off() {
        let parent = Traceparent::parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        assert!(Span::of_webhook("twilio", "text", Duration::ZERO).is_none());
        assert!(Span::child_of(SpanName::Decide, parent).is_none());
    }
}
