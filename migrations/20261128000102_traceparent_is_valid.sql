-- The rows from before have no span, so this finds nothing. It reads while others write.

ALTER TABLE events VALIDATE CONSTRAINT an_event_keeps_a_span_of_a_sampled_trace;

ALTER TABLE messages VALIDATE CONSTRAINT a_message_keeps_a_span_of_a_sampled_trace;
