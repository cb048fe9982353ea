-- Traces. An event and a message keep the span that wrote them, in W3C's form, if their trace is sampled: the next step of the
-- work, in any process, adds to that trace.

ALTER TABLE events ADD COLUMN traceparent TEXT;

ALTER TABLE messages ADD COLUMN traceparent TEXT;

ALTER TABLE events ADD CONSTRAINT an_event_keeps_a_span_of_a_sampled_trace
    CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-01$') NOT VALID;

ALTER TABLE messages ADD CONSTRAINT a_message_keeps_a_span_of_a_sampled_trace
    CHECK (traceparent ~ '^00-[0-9a-f]{32}-[0-9a-f]{16}-01$') NOT VALID;
