//! Matches free numbers with clients. A number that the operator took from a client does not go back to that client.

use crate::E164;
use crate::waiting::{WaitingClient, serve};

/// A number of the pool that can be assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeNumber {
    /// The number.
    pub number: E164,
    /// The client from whom the operator took it, if any: `clients.id`.
    pub taken_from: Option<String>,
}

impl FreeNumber {
    fn suits(&self, client_id: &str) -> bool {
        self.taken_from.as_deref() != Some(client_id)
    }
}

/// Returns the waiting list as far as `free` can serve it. A client for whom no free number is suitable is skipped, as if it were
/// unreachable.
#[must_use]
pub fn can_be_offered(free: &[FreeNumber], waiting: &[WaitingClient]) -> Vec<WaitingClient> {
    let look = |it: &WaitingClient| {
        let suited = free.iter().any(|number| number.suits(&it.client_id));
        let held_until = it.held_until.filter(|_| suited);
        WaitingClient { client_id: it.client_id.clone(), held_until, reachable: it.reachable && suited }
    };
    waiting.iter().map(look).collect()
}

/// Assigns `free`, in the order in which the numbers were seeded, to `client_ids`, in the order in which they asked. Returns each
/// served client with its number. The other clients have to wait.
#[must_use]
pub fn hand_out<'a>(free: &[FreeNumber], waiting: &[WaitingClient], client_ids: &[&'a str]) -> Vec<(&'a str, E164)> {
    let waiting = can_be_offered(free, waiting);
    let mut remaining = client_ids.to_vec();
    loop {
        let served = serve(free.len(), &waiting, &remaining);
        let served: Vec<&str> = remaining.iter().zip(served).filter(|(_, served)| *served).map(|(id, _)| *id).collect();
        match assign(free, &served) {
            Ok(assigned) => return assigned,
            // A number that is unsuitable for one client is left to the next.
            Err(unsuited) => remaining.retain(|id| *id != unsuited),
        }
    }
}

/// Assigns a number to each client. Clients from whom a free number was taken choose first, and prefer numbers that were taken
/// from other clients.
///
/// # Errors
/// A client for whom no suitable number is left.
fn assign<'a>(free: &[FreeNumber], clients: &[&'a str]) -> Result<Vec<(&'a str, E164)>, &'a str> {
    let mut left: Vec<&FreeNumber> = free.iter().collect();
    let lost_one = |id: &&&str| free.iter().any(|number| !number.suits(id));
    let (choosy, easy): (Vec<&&str>, Vec<&&str>) = clients.iter().partition(lost_one);
    let mut assigned = Vec::new();
    for (client_id, is_choosy) in
        choosy.into_iter().map(|id| (*id, true)).chain(easy.into_iter().map(|id| (*id, false)))
    {
        let suits = |number: &&FreeNumber| number.suits(client_id);
        let of_others = |number: &&FreeNumber| is_choosy && suits(number) && number.taken_from.is_some();
        let place = left.iter().position(of_others).or_else(|| left.iter().position(suits)).ok_or(client_id)?;
        assigned.push((client_id, left.remove(place).number.clone()));
    }
    Ok(assigned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(n: u8, taken_from: Option<&str>) -> FreeNumber {
        let number = E164::parse(&format!("+4471000000{n:02}")).unwrap();
        FreeNumber { number, taken_from: taken_from.map(str::to_owned) }
    }

    fn waits(client_id: &str) -> WaitingClient {
        WaitingClient { client_id: client_id.to_owned(), held_until: None, reachable: true }
    }

    /// Returns each served client with the last digits of its number.
    fn assignments(free: &[FreeNumber], waiting: &[WaitingClient], client_ids: &[&str]) -> Vec<(String, String)> {
        let assignments = hand_out(free, waiting, client_ids).into_iter();
        assignments.map(|(id, number)| (id.to_owned(), number.as_str()[11..].to_owned())).collect()
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(id, number)| ((*id).to_owned(), (*number).to_owned())).collect()
    }

    #[test]
    fn numbers_are_assigned_in_the_order_in_which_they_were_seeded() {
        let numbers = [free(9, None), free(1, None), free(5, None)];
        assert_eq!(assignments(&numbers, &[], &["a", "b"]), pairs(&[("a", "09"), ("b", "01")]));
    }

    #[test]
    fn a_number_does_not_go_back_to_the_client_from_whom_it_was_taken() {
        let one = [free(1, Some("a"))];
        assert_eq!(assignments(&one, &[], &["a"]), pairs(&[]));
        assert_eq!(assignments(&one, &[], &["a", "b"]), pairs(&[("b", "01")]), "the number is left to the next client");
        let two = [free(1, Some("a")), free(2, None)];
        assert_eq!(assignments(&two, &[], &["b", "a"]), pairs(&[("a", "02"), ("b", "01")]), "both are served");
        let swapped = [free(1, Some("a")), free(2, Some("b"))];
        assert_eq!(assignments(&swapped, &[], &["a", "b"]), pairs(&[("a", "02"), ("b", "01")]));
        let three = [free(1, Some("a")), free(2, None), free(3, None)];
        assert_eq!(assignments(&three, &[], &["b", "c", "a"]).len(), 3);
    }

    #[test]
    fn a_number_is_not_reserved_for_a_waiting_client_for_whom_it_is_unsuitable() {
        let one = [free(1, Some("a"))];
        assert_eq!(assignments(&one, &[waits("a")], &["b"]), pairs(&[("b", "01")]));
        assert_eq!(
            assignments(&one, &[waits("c")], &["b"]),
            pairs(&[]),
            "but it is for a client for whom it is suitable"
        );
        assert!(can_be_offered(&one, &[waits("a"), waits("b")]).iter().map(|it| it.reachable).eq([false, true]));
        assert!(can_be_offered(&[], &[waits("a")]).iter().all(|it| !it.reachable));
    }
}
