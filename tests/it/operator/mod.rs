//! The operator's command.

mod up;

mod cases;

mod client_actions;

mod commands;

mod dead_workers;

mod history;

mod ops_port;

mod traces;

mod alert_delivery;

mod doctor;

mod roles;

mod stops;

mod restored;

mod unrecorded_texts;

mod erasure;
