//! The operator's console: what happens, who is stuck, and what can be done, in the browser.
//!
//! It only reads the tables, but for its own people, sessions and the audit log. It has a database role of its own, few
//! connections and a short statement timeout: a slow page must not slow the programs down that answer clients.
//!
//! * [`routes`]: every route with the role that it needs, and the headers of every response.
//! * [`guard`]: who sends a request, and whether they may.
//! * [`login`]: logging in and out.
//! * [`pages`]: a file for each page. [`view`] has what they share, and [`mask`] hides phone numbers.
//! * [`overview`]: the figures of the first page, computed at most every half minute for all readers.
//! * [`live`]: tells open pages that rows have changed.

pub mod app;

pub mod assets;

pub mod error;

pub mod guard;

pub mod live;

pub mod login;

pub mod mask;

pub mod overview;

pub mod pages;

pub mod remedies;

pub mod routes;

pub mod view;
