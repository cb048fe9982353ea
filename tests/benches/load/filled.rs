//! A filled inbox that each run gets a copy of, so that all runs begin alike, and the phones that text it.

use anyhow::ensure;
use secrecy::SecretString;

use crate::bench::Bench;
use crate::rows::{self, Filling};

/// A client of the filled inbox has sent this many texts: few, because a client who texts again and again does not always get
/// an answer, so each one texts once in a run.
const EVENTS_OF_A_CLIENT: i64 = 5;

/// One in this many senders is unknown. The others are clients.
const ONE_NEW_IN: usize = 3;

/// The distance between clients who text one after the other: a prime, so that every client has a turn.
const STRIDE: usize = 104_729;

pub(crate) struct Filled {
    pub(crate) url: SecretString,
    clients: usize,
}

impl Filled {
    pub(crate) async fn set_up(bench: &Bench, events: i64) -> anyhow::Result<Self> {
        let filling = Filling { events, events_of_a_client: EVENTS_OF_A_CLIENT, digests: true };
        let clients = filling.clients() as usize;
        ensure!(!clients.is_multiple_of(STRIDE), "{events} events have a count of clients that does not work");
        let url = bench.database().await;
        jobrun_tests::migrate(&url).await;
        rows::fill(&url, filling).await?;
        Ok(Self { url, clients })
    }

    /// Makes a copy. Returns its URL.
    pub(crate) async fn copy(&self, bench: &Bench) -> anyhow::Result<SecretString> {
        bench.copy_of(&self.url).await
    }

    /// Returns the phones of `count` senders, each once: a stranger and two clients in turn, as long as there are clients.
    pub(crate) fn senders(&self, bench: &Bench, count: usize) -> Vec<String> {
        let mut phones = bench.strangers(count);
        let returning = phones.iter_mut().enumerate().filter(|(place, _)| place % ONE_NEW_IN != 0);
        for ((_, phone), n) in returning.zip(0..self.clients) {
            *phone = rows::phone(n * STRIDE % self.clients);
        }
        phones
    }
}
