//! Who gets a number when there are fewer numbers than clients.
//!
//! The waiting list is passed in the order in which it is served: who let fewer holds lapse first, then who waited
//! longest. One rule covers newcomers, waiting clients and holds alike: a client may take a number when more are free than
//! are reserved for others who come before it.

use chrono::{DateTime, Utc};

/// A client on the waiting list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// `clients.id`.
    pub client_id: String,
    /// Until when a number is kept free for this client, if one is.
    pub held_until: Option<DateTime<Utc>>,
    /// Whether the client can be offered a number now: it has paid, and takes texts.
    pub reachable: bool,
}

/// Which of `seekers`, in the order in which they asked, may take one of `free` numbers.
///
/// A seeker who may not stands on the list from then on, behind everybody else.
#[must_use]
pub fn serve(free: usize, waiting: &[Waiting], seekers: &[&str]) -> Vec<bool> {
    let mut free = free;
    let mut line: Vec<Waiting> = waiting.to_vec();
    seekers
        .iter()
        .map(|seeker| {
            let place = line.iter().position(|other| other.client_id == *seeker);
            let served = free > reserved_for_others(&line, place);
            match (served, place) {
                (true, Some(place)) => {
                    line.remove(place);
                }
                (false, None) => {
                    line.push(Waiting { client_id: (*seeker).to_owned(), held_until: None, reachable: true });
                }
                (true, None) | (false, Some(_)) => {}
            }
            free -= usize::from(served);
            served
        })
        .collect()
}

/// How many numbers belong to others before the client at `place` in the line (nowhere, for a newcomer) may take one. To
/// somebody with a hold, the holds ahead; to everybody else all holds, and everybody ahead who could be offered one.
fn reserved_for_others(line: &[Waiting], place: Option<usize>) -> usize {
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

/// What a sweep does to the waiting list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// Holds that were not taken up and pass to somebody else. Their clients stay on the list, for the round after.
    pub lapse: Vec<String>,
    /// Clients to keep a number for, and to tell so, in this order.
    pub offer: Vec<String>,
}

/// Shares `free` numbers out among the waiting.
///
/// A hold past its time lapses only when somebody else is there to take the place: told twice about one number, nobody
/// gains.
#[must_use]
pub fn offers(free: usize, waiting: &[Waiting], now: DateTime<Utc>) -> Offers {
    let held = waiting.iter().filter(|it| it.held_until.is_some()).count();
    let overdue: Vec<&Waiting> = waiting.iter().filter(|it| it.held_until.is_some_and(|until| until <= now)).collect();
    let next: Vec<&Waiting> = waiting.iter().filter(|it| it.held_until.is_none() && it.reachable).collect();
    // As few holds lapse as let as many be served as can be. There may be more holds than numbers, after some went by hand.
    let served = |lapsing: usize| free.saturating_sub(held - lapsing).min(next.len());
    let lapsing = (0..=overdue.len()).find(|lapsing| served(*lapsing) == served(overdue.len())).unwrap_or(0);

    let ids = |clients: &[&Waiting]| clients.iter().map(|it| it.client_id.clone()).collect();
    let first = |clients: &[&Waiting], count: usize| ids(clients.get(..count).unwrap_or_default());
    Offers { lapse: first(&overdue, lapsing), offer: first(&next, served(lapsing)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn waiting(id: &str, held_until: Option<i64>) -> Waiting {
        Waiting { client_id: id.to_owned(), held_until: held_until.map(at), reachable: true }
    }

    #[test]
    fn a_newcomer_gets_what_is_left_after_everybody_who_waits() {
        let line = [waiting("a", None), waiting("b", Some(9))];
        assert_eq!(serve(2, &line, &["new"]), [false]);
        assert_eq!(serve(3, &line, &["new"]), [true]);
        assert_eq!(serve(4, &line, &["new", "newer", "newest"]), [true, true, false]);
        assert_eq!(serve(1, &[], &["new", "newer"]), [true, false]);
    }

    #[test]
    fn a_hold_waits_for_nobody_in_line() {
        let line = [waiting("a", None), waiting("b", Some(9))];
        assert_eq!(serve(1, &line, &["b"]), [true]);
        assert_eq!(serve(1, &line, &["a"]), [false], "the one free number is b's");
        assert_eq!(serve(2, &line, &["a"]), [true]);
        assert_eq!(serve(0, &line, &["b"]), [false]);
    }

    #[test]
    fn more_holds_than_numbers_serve_the_first_and_never_block_each_other() {
        let line = [waiting("a", Some(5)), waiting("b", Some(5)), waiting("c", None)];
        assert_eq!(serve(1, &line, &["b"]), [false]);
        assert_eq!(serve(1, &line, &["a"]), [true]);
        assert_eq!(offers(1, &line, at(4)), Offers::default());
        assert_eq!(offers(1, &line, at(5)), Offers { lapse: vec!["a".into(), "b".into()], offer: vec!["c".into()] });
    }

    #[test]
    fn who_is_behind_does_not_overtake() {
        let line = [waiting("a", None), waiting("b", None)];
        assert_eq!(serve(1, &line, &["b", "a"]), [false, true]);
        assert_eq!(serve(2, &line, &["b", "a"]), [true, true]);
    }

    #[test]
    fn a_hold_passes_on_only_when_somebody_is_there_to_take_it() {
        let alone = [waiting("a", Some(5))];
        assert_eq!(offers(1, &alone, at(6)), Offers::default());

        let line = [waiting("a", Some(5)), waiting("b", None), waiting("c", None)];
        assert_eq!(offers(1, &line, at(4)), Offers::default());
        assert_eq!(offers(1, &line, at(5)), Offers { lapse: vec!["a".into()], offer: vec!["b".into()] });
        assert_eq!(offers(3, &line, at(5)), Offers { lapse: vec![], offer: vec!["b".into(), "c".into()] });
        assert_eq!(offers(0, &line, at(5)), Offers::default(), "the number went by hand: there is nothing to pass on");
    }

    #[test]
    fn who_cannot_be_reached_is_passed_over_and_kept() {
        let line = [Waiting { reachable: false, ..waiting("a", None) }, waiting("b", None)];
        assert_eq!(offers(1, &line, at(0)).offer, ["b"]);
    }

    prop_compose! {
        fn a_line()(holds in prop::collection::vec((prop::option::of(0i64..10), any::<bool>()), 0..8)) -> Vec<Waiting> {
            let each = holds.into_iter().enumerate();
            each.map(|(place, (held, reachable))| Waiting { reachable, ..waiting(&format!("w{place}"), held) }).collect()
        }
    }

    proptest! {
        #[test]
        fn never_more_served_than_free(free in 0usize..10, line in a_line(), newcomers in 0usize..5) {
            let names: Vec<String> = line.iter().map(|it| it.client_id.clone())
                .chain((0..newcomers).map(|n| format!("n{n}"))).rev().collect();
            let seekers: Vec<&str> = names.iter().map(String::as_str).collect();
            let served = serve(free, &line, &seekers).into_iter().filter(|served| *served).count();
            prop_assert!(served <= free);
        }

        #[test]
        fn a_newcomer_never_takes_a_number_that_somebody_waits_for(free in 0usize..10, line in a_line()) {
            let waited_for = line.iter().filter(|it| it.reachable || it.held_until.is_some()).count();
            prop_assert_eq!(serve(free, &line, &["new"]), [free > waited_for]);
        }

        #[test]
        fn holds_never_exceed_the_numbers_and_no_number_is_kept_from_the_waiting(free in 0usize..10, line in a_line()) {
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
