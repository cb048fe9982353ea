//! Twilio's protocol: the signature of its webhooks, and its REST API for messages.

pub mod api;

pub mod signature;
