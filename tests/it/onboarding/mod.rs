//! The conversation, from the first text to the test call.

mod scenarios;

mod conversation;

mod phone_change;

mod switches;

mod understanding;

mod forwarding;

mod reminders;
