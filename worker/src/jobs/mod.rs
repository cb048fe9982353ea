//! The jobs, one for each queue.

pub(crate) mod bulk_actions;

mod lost_recordings;

pub(crate) mod process_events;

pub(crate) mod reconcile;

pub(crate) mod reconcile_stripe;

mod recordings;

pub(crate) mod send_messages;

pub(crate) mod sweep;

mod untaken;
