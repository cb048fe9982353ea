//! Decides which clients get a number when there are fewer numbers than clients.
//!
//! The caller passes the waiting list in the order in which it is served: clients with fewer lapsed holds first, then those who
//! have waited longest. One rule covers newcomers, waiting clients and clients with a hold: a client may take a number if more are
//! free than are reserved for clients who come before it.
//!
//! Waiting clients were promised a number within 24 hours. [`watch`] finds the clients to tell that it takes longer, and the marks
//! about which to alert the operator.

use chrono::{DateTime, TimeDelta, Utc};

/// A client on the waiting list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingClient {
    /// `clients.id`.
    pub client_id: String,
    /// Until when a number is kept free for this client, if one is.
    pub held_until: Option<DateTime<Utc>>,
    /// Whether the client can be offered a number now: it has paid, and takes texts.
    pub reachable: bool,
}

/// Returns for each of `client_ids`, in the order in which they asked, whether it may take one of the `free` numbers.
///
/// A client that may not is on the waiting list from then on, at its end.
#[must_use]
pub fn serve(free: usize, waiting: &[WaitingClient], client_ids: &[&str]) -> Vec<bool> {
    let mut free = free;
    let mut line: Vec<WaitingClient> = waiting.to_vec();
    client_ids
        .iter()
        .map(|client_id| {
            let place = line.iter().position(|other| other.client_id == *client_id);
            let served = free > reserved_for_others(&line, place);
            match (served, place) {
                (true, Some(place)) => {
                    line.remove(place);
                }
                (false, None) => {
                    line.push(WaitingClient { client_id: (*client_id).to_owned(), held_until: None, reachable: true });
                }
                (true, None) | (false, Some(_)) => {}
            }
            free -= usize::from(served);
            served
        })
        .collect()
}

/// Returns how many numbers are reserved before the client at `place` in the line (`None` for a newcomer) may take one. For a
/// client with a hold these are the holds ahead. For others they are all holds, and the reachable clients ahead.
fn reserved_for_others(line: &[WaitingClient], place: Option<usize>) -> usize {
    let has_hold = place.and_then(|place| line.get(place)).is_some_and(|it| it.held_until.is_some());
    line.iter()
        .enumerate()
        .filter(|(other, it)| {
            let ahead = place.is_none_or(|place| *other < place);
            match (it.held_until.is_some(), has_hold) {
                (true, true) => ahead,
                (true, false) => true,
                (false, true) => false,
                (false, false) => ahead && it.reachable,
            }
        })
        .count()
}

/// The changes that a sweep makes to the waiting list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Clients whose holds lapse, because they did not take the number and another client can. They stay on the list.
    pub lapse: Vec<String>,
    /// Clients for whom to hold a number, and whom to tell so, in this order.
    pub offer: Vec<String>,
}

/// Decides which waiting clients are offered one of the `free` numbers, and which holds lapse.
///
/// A hold past its time lapses only if another client can take the number: to offer it to the same client again gains nothing.
#[must_use]
pub fn offers(free: usize, waiting: &[WaitingClient], now: DateTime<Utc>) -> Offers {
    let held = waiting.iter().filter(|it| it.held_until.is_some()).count();
    let overdue: Vec<&WaitingClient> =
        waiting.iter().filter(|it| it.held_until.is_some_and(|until| until <= now)).collect();
    let next: Vec<&WaitingClient> = waiting.iter().filter(|it| it.held_until.is_none() && it.reachable).collect();
    // The fewest holds lapse that let the most clients be served. Holds can exceed the numbers, if the operator took some.
    let served = |lapsing: usize| free.saturating_sub(held - lapsing).min(next.len());
    let lapsing = (0..=overdue.len()).find(|lapsing| served(*lapsing) == served(overdue.len())).unwrap_or(0);

    let ids = |clients: &[&WaitingClient]| clients.iter().map(|it| it.client_id.clone()).collect();
    let first = |clients: &[&WaitingClient], count: usize| ids(clients.get(..count).unwrap_or_default());
    Offers { lapse: first(&overdue, lapsing), offer: first(&next, served(lapsing)) }
}

/// A client without an offer is told this long before the promise runs out that it will take longer.
const TOLD_BEFORE: TimeDelta = TimeDelta::hours(2);

/// The marks at which the operator is alerted: the hours of waiting, and the time that is then left of the promise.
pub const MARKS: [(i32, TimeDelta); 2] = [(20, CLOSE), (24, TimeDelta::zero())];

/// A client counts as close to the promise this long before it runs out.
const CLOSE: TimeDelta = TimeDelta::hours(4);

/// A place on the waiting list, with the promise and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// `clients.id`.
    pub client_id: String,
    /// The ISO 3166 country in which the client needs a number.
    pub region: String,
    /// Since when the client waits.
    pub joined_at: DateTime<Utc>,
    /// By when the client was promised a number.
    pub promised_by: DateTime<Utc>,
    /// Until when a number is kept free for this client, if one is.
    pub held_until: Option<DateTime<Utc>>,
    /// The number of lapsed holds. An offer that the client ignored has kept the promise.
    pub lapsed: i32,
    /// Whether the client can be offered a number now: it has paid, and takes texts.
    pub reachable: bool,
    /// Whether the client was told that it will take longer.
    pub told_late: bool,
    /// The last of [`MARKS`] at which the operator was alerted about this client, in hours; 0 for none.
    pub alerted_hours: i32,
}

/// The status of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceStatus {
    /// A number is held for the client until then, and the client has been told.
    Held(DateTime<Utc>),
    /// The client waits, and cannot be offered a number: it has opted out, is unreachable, or has not paid.
    NotTextable,
    /// No number was offered within the promised time.
    Late,
    /// The promised time is nearly over, and no number was offered.
    Close,
    /// The client waits, and the promise can still be kept or has been kept.
    Waiting,
}

impl Place {
    /// Returns the status of the place at `now`.
    #[must_use]
    pub fn status(&self, now: DateTime<Utc>) -> PlaceStatus {
        match self.held_until {
            Some(until) => PlaceStatus::Held(until),
            None if !self.reachable => PlaceStatus::NotTextable,
            None if self.lapsed > 0 => PlaceStatus::Waiting,
            None if now >= self.promised_by => PlaceStatus::Late,
            None if now >= self.promised_by - CLOSE => PlaceStatus::Close,
            None => PlaceStatus::Waiting,
        }
    }

    /// Returns whether the promise is still to be kept, and we can keep it. For a client that cannot be offered a number, more
    /// numbers make no difference.
    fn is_owed(&self) -> bool {
        self.held_until.is_none() && self.lapsed == 0 && self.reachable
    }

    /// Returns the last mark that the client has passed, in hours. It stays passed, in case this clock is behind another.
    fn mark(&self, now: DateTime<Utc>) -> i32 {
        if !self.is_owed() {
            return 0;
        }
        let passed = MARKS.into_iter().filter(|(_, before)| now >= self.promised_by - *before);
        passed.map(|(hours, _)| hours).fold(self.alerted_hours, i32::max)
    }
}

/// The actions that the waiting list needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watch {
    /// Clients to be told that it will take longer, in the order of the list.
    pub tell: Vec<String>,
    /// Clients whose mark has changed, and the new mark in hours.
    pub marked: Vec<(String, i32)>,
    /// The marks, in hours, that a client has newly crossed. The operator is alerted about each.
    pub crossed: Vec<i32>,
    /// The marks, in hours, that no client is past any more.
    pub clear: Vec<i32>,
}

/// Finds the actions that `places`, the whole waiting list, needs at `now`.
#[must_use]
pub fn watch(places: &[Place], now: DateTime<Utc>) -> Watch {
    let is_late = |place: &&Place| place.is_owed() && !place.told_late && now >= place.promised_by - TOLD_BEFORE;
    let marks: Vec<(&Place, i32)> = places.iter().map(|place| (place, place.mark(now))).collect();
    let hours = || MARKS.into_iter().map(|(hours, _)| hours);
    let is_crossed = |hours: &i32| marks.iter().any(|(place, mark)| place.alerted_hours < *hours && *hours <= *mark);
    let is_over = |hours: &i32| !marks.iter().any(|(_, mark)| *hours <= *mark);
    Watch {
        tell: places.iter().filter(is_late).map(|place| place.client_id.clone()).collect(),
        marked: marks
            .iter()
            .filter(|(place, mark)| place.alerted_hours != *mark)
            .map(|(place, mark)| (place.client_id.clone(), *mark))
            .collect(),
        crossed: hours().filter(is_crossed).collect(),
        clear: hours().filter(is_over).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn waiting(id: &str, held_until: Option<i64>) -> WaitingClient {
        WaitingClient { client_id: id.to_owned(), held_until: held_until.map(at), reachable: true }
    }

    #[test]
    fn a_newcomer_gets_a_number_that_no_waiting_client_needs() {
        let line = [waiting("a", None), waiting("b", Some(9))];
        assert_eq!(serve(2, &line, &["new"]), [false]);
        assert_eq!(serve(3, &line, &["new"]), [true]);
        assert_eq!(serve(4, &line, &["new", "newer", "newest"]), [true, true, false]);
        assert_eq!(serve(1, &[], &["new", "newer"]), [true, false]);
    }

    #[test]
    fn a_client_with_a_hold_does_not_wait_for_others_in_line() {
        let line = [waiting("a", None), waiting("b", Some(9))];
        assert_eq!(serve(1, &line, &["b"]), [true]);
        assert_eq!(serve(1, &line, &["a"]), [false], "the one free number is b's");
        assert_eq!(serve(2, &line, &["a"]), [true]);
        assert_eq!(serve(0, &line, &["b"]), [false]);
    }

    #[test]
    fn with_more_holds_than_numbers_the_first_are_served_and_none_block_each_other() {
        let line = [waiting("a", Some(5)), waiting("b", Some(5)), waiting("c", None)];
        assert_eq!(serve(1, &line, &["b"]), [false]);
        assert_eq!(serve(1, &line, &["a"]), [true]);
        assert_eq!(offers(1, &line, at(4)), Offers::default());
        assert_eq!(offers(1, &line, at(5)), Offers { lapse: vec!["a".into(), "b".into()], offer: vec!["c".into()] });
    }

    #[test]
    fn a_client_further_back_does_not_overtake() {
        let line = [waiting("a", None), waiting("b", None)];
        assert_eq!(serve(1, &line, &["b", "a"]), [false, true]);
        assert_eq!(serve(2, &line, &["b", "a"]), [true, true]);
    }

    #[test]
    fn a_hold_lapses_only_when_another_client_can_take_the_number() {
        let alone = [waiting("a", Some(5))];
        assert_eq!(offers(1, &alone, at(6)), Offers::default());

        let line = [waiting("a", Some(5)), waiting("b", None), waiting("c", None)];
        assert_eq!(offers(1, &line, at(4)), Offers::default());
        assert_eq!(offers(1, &line, at(5)), Offers { lapse: vec!["a".into()], offer: vec!["b".into()] });
        assert_eq!(offers(3, &line, at(5)), Offers { lapse: vec![], offer: vec!["b".into(), "c".into()] });
        assert_eq!(offers(0, &line, at(5)), Offers::default(), "the operator took the number, so no hold can pass on");
    }

    #[test]
    fn an_unreachable_client_is_skipped_and_stays_on_the_list() {
        let line = [WaitingClient { reachable: false, ..waiting("a", None) }, waiting("b", None)];
        assert_eq!(offers(1, &line, at(0)).offer, ["b"]);
    }

    fn hours(hours: i64) -> DateTime<Utc> {
        at(hours * 3_600)
    }

    /// Returns a client that joined at hour 0.
    fn place(id: &str) -> Place {
        Place {
            client_id: id.to_owned(),
            region: "GB".to_owned(),
            joined_at: hours(0),
            promised_by: hours(24),
            held_until: None,
            lapsed: 0,
            reachable: true,
            told_late: false,
            alerted_hours: 0,
        }
    }

    #[test]
    fn a_waiting_client_is_told_once_two_hours_before_the_promise_runs_out() {
        let count_told = |place: Place, hour| watch(&[place], hours(hour)).tell.len();
        assert_eq!(count_told(place("a"), 21), 0);
        assert_eq!(count_told(place("a"), 22), 1);
        assert_eq!(count_told(place("a"), 40), 1, "late is better than never");
        assert_eq!(count_told(Place { told_late: true, ..place("a") }, 23), 0);
        assert_eq!(count_told(Place { held_until: Some(hours(60)), ..place("a") }, 23), 0, "has been offered one");
        assert_eq!(count_told(Place { lapsed: 1, ..place("a") }, 23), 0, "was offered one");
        assert_eq!(count_told(Place { reachable: false, ..place("a") }, 23), 0);
    }

    #[test]
    fn each_mark_is_crossed_once_and_cleared_when_no_client_is_past_it() {
        let marked = |hours| Place { alerted_hours: hours, ..place("a") };
        assert_eq!(watch(&[place("a")], hours(19)), Watch { clear: vec![20, 24], ..Watch::default() });
        let first = watch(&[place("a"), place("b")], hours(20));
        assert_eq!(first.marked, [("a".to_owned(), 20), ("b".to_owned(), 20)]);
        assert_eq!((first.crossed, first.clear), (vec![20], vec![24]));
        assert_eq!(watch(&[marked(20)], hours(21)), Watch { clear: vec![24], ..Watch::default() });
        assert_eq!(watch(&[marked(20)], hours(24)).crossed, [24]);
        assert_eq!(watch(&[place("a")], hours(30)).crossed, [20, 24], "no sweep ran for a while");
        assert_eq!(watch(&[marked(24), place("b")], hours(19)).clear, [0; 0], "by a clock that is behind");
        assert_eq!(watch(&[], hours(30)), Watch { clear: vec![20, 24], ..Watch::default() });
    }

    #[test]
    fn a_client_that_becomes_reachable_again_crosses_its_mark_anew() {
        let away = Place { alerted_hours: 20, reachable: false, ..place("a") };
        let gone = watch(std::slice::from_ref(&away), hours(21));
        assert_eq!((gone.marked, gone.clear), (vec![("a".to_owned(), 0)], vec![20, 24]));
        assert_eq!(watch(&[Place { alerted_hours: 0, reachable: true, ..away }], hours(21)).crossed, [20]);
    }

    #[test]
    fn the_status_of_a_place_follows_its_hold_and_its_promise() {
        assert_eq!(place("a").status(hours(19)), PlaceStatus::Waiting);
        assert_eq!(place("a").status(hours(20)), PlaceStatus::Close);
        assert_eq!(place("a").status(hours(24)), PlaceStatus::Late);
        assert_eq!(Place { lapsed: 1, ..place("a") }.status(hours(30)), PlaceStatus::Waiting);
        assert_eq!(Place { reachable: false, ..place("a") }.status(hours(30)), PlaceStatus::NotTextable);
        let held = Place { held_until: Some(hours(48)), reachable: false, ..place("a") };
        assert_eq!(held.status(hours(30)), PlaceStatus::Held(hours(48)));
    }

    prop_compose! {
        fn a_line()(holds in prop::collection::vec((prop::option::of(0i64..10), any::<bool>()), 0..8)) -> Vec<WaitingClient> {
            let each = holds.into_iter().enumerate();
            each.map(|(place, (held, reachable))| WaitingClient { reachable, ..waiting(&format!("w{place}"), held) }).collect()
        }
    }

    proptest! {
        #[test]
        fn served_clients_never_exceed_free_numbers(free in 0usize..10, line in a_line(), newcomers in 0usize..5) {
            let names: Vec<String> = line.iter().map(|it| it.client_id.clone())
                .chain((0..newcomers).map(|n| format!("n{n}"))).rev().collect();
            let client_ids: Vec<&str> = names.iter().map(String::as_str).collect();
            let served = serve(free, &line, &client_ids).into_iter().filter(|served| *served).count();
            prop_assert!(served <= free);
        }

        #[test]
        fn a_newcomer_never_takes_a_number_that_a_client_waits_for(free in 0usize..10, line in a_line()) {
            let waited_for = line.iter().filter(|it| it.reachable || it.held_until.is_some()).count();
            prop_assert_eq!(serve(free, &line, &["new"]), [free > waited_for]);
        }

        #[test]
        fn holds_never_exceed_numbers_and_no_number_is_kept_from_waiting_clients(free in 0usize..10, line in a_line()) {
            let held_before = line.iter().filter(|it| it.held_until.is_some()).count();
            let offers = offers(free, &line, at(5));
            let held_after = held_before - offers.lapse.len() + offers.offer.len();
            prop_assert!(held_after <= free.max(held_before));
            let unoffered = line.iter()
                .filter(|it| it.held_until.is_none() && it.reachable && !offers.offer.contains(&it.client_id)).count();
            prop_assert!(held_after >= free || unoffered == 0);
            prop_assert!(offers.lapse.iter().all(|id| !offers.offer.contains(id)));
        }
    }
}
