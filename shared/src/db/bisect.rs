//! Bisects a batch that fails because of a row, so that one bad row costs only itself. Finding one among two hundred
//! takes about fifteen transactions, not two hundred.
//!
//! This module decides only which part is next. The caller processes the parts, and decides how to handle a failure.

/// The parts of a batch that still have to be processed, in order.
#[derive(Debug)]
pub struct Bisect<'a, T> {
    left: Vec<&'a [T]>,
    /// Whether any part has failed. After that, every remaining item has been part of a failed attempt.
    failed_before: bool,
}

impl<'a, T> Bisect<'a, T> {
    /// Returns all of `items` as one part, or no part if there are none.
    #[must_use]
    pub fn of(items: &'a [T]) -> Self {
        Self { left: if items.is_empty() { Vec::new() } else { vec![items] }, failed_before: false }
    }

    /// Returns the next part to process.
    #[must_use]
    pub fn next_part(&mut self) -> Option<&'a [T]> {
        self.left.pop()
    }

    /// Puts the two halves of a failed part in front of the remaining parts. Returns the item of a part of one that has
    /// failed for good. A failing batch of one is retried once: the failure may be a race.
    #[must_use]
    pub fn halve(&mut self, part: &'a [T]) -> Option<&'a T> {
        let failed_before = std::mem::replace(&mut self.failed_before, true);
        if let [alone] = part {
            if failed_before {
                return Some(alone);
            }
            self.left.push(part);
            return None;
        }
        let (first, second) = part.split_at(part.len() / 2);
        self.left.extend([second, first].into_iter().filter(|half| !half.is_empty()));
        None
    }

    /// Puts each item of a part in front of the remaining parts, as a part of its own. Returns the item of a part of
    /// one, which is not retried. For a part that timed out on a lock: its halves would each wait for it again.
    #[must_use]
    pub fn split(&mut self, part: &'a [T]) -> Option<&'a T> {
        if let [alone] = part {
            return Some(alone);
        }
        self.failed_before = true;
        self.left.extend(part.chunks(1).rev());
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes every part that has no bad item. Returns the processed items in order, the refused ones, and the
    /// number of steps.
    fn done(items: &[i32], is_bad: impl Fn(i32) -> bool) -> (Vec<i32>, Vec<i32>, usize) {
        let (mut done, mut refused, mut steps) = (Vec::new(), Vec::new(), 0);
        let mut parts = Bisect::of(items);
        while let Some(part) = parts.next_part() {
            steps += 1;
            if part.iter().any(|item| is_bad(*item)) {
                refused.extend(parts.halve(part));
            } else {
                done.extend(part);
            }
        }
        (done, refused, steps)
    }

    #[test]
    fn a_bad_row_costs_only_itself_and_order_is_kept() {
        let items: Vec<i32> = (0..200).collect();
        for bad in [0, 77, 199] {
            let (done, refused, steps) = done(&items, |item| item == bad);
            assert_eq!(refused, [bad]);
            assert_eq!(done, items.iter().copied().filter(|item| *item != bad).collect::<Vec<_>>());
            assert!(steps <= 17, "{steps} steps");
        }
    }

    #[test]
    fn a_good_batch_takes_one_step_and_a_bad_one_refuses_each_item() {
        assert_eq!(done(&[1, 2, 3], |_| false), (vec![1, 2, 3], vec![], 1));
        assert_eq!(done(&[1, 2, 3], |_| true), (vec![], vec![1, 2, 3], 5));
        assert_eq!(done(&[], |_| true), (vec![], vec![], 0));
        assert_eq!(done(&[1], |_| true), (vec![], vec![1], 2));
    }

    #[test]
    fn a_part_that_timed_out_on_a_lock_is_done_item_by_item() {
        let mut parts = Bisect::of(&[1, 2, 3]);
        let part = parts.next_part().unwrap();
        assert_eq!(parts.split(part), None);
        let mut each = Vec::new();
        while let Some(part) = parts.next_part() {
            each.push(part.to_vec());
            if part == [2] {
                assert_eq!(parts.split(part), Some(&2), "and is not done again");
            }
        }
        assert_eq!(each, [[1], [2], [3]]);
    }

    #[test]
    fn a_failing_batch_of_one_is_retried_once() {
        let mut parts = Bisect::of(&[1]);
        let part = parts.next_part().unwrap();
        assert_eq!(parts.halve(part), None);
        assert_eq!(parts.next_part(), Some(&[1][..]));
        assert_eq!(parts.next_part(), None);
    }
}
