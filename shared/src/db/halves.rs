//! Slices that fail because of a row, taken again in halves: one bad row costs only itself, and finding it among two hundred
//! takes some fifteen transactions and not two hundred.
//!
//! Only which part is next is decided here. What is done with it, and what a failure means, is for whoever takes the parts.

/// The parts of a slice that are still to be done, in order.
#[derive(Debug)]
pub struct Halves<'a, T> {
    left: Vec<&'a [T]>,
    /// Whether anything has failed before: then what is left has, as a part of something larger or by itself.
    failed_before: bool,
}

impl<'a, T> Halves<'a, T> {
    /// All of `items`, as one part. No part, if there are none.
    #[must_use]
    pub fn of(items: &'a [T]) -> Self {
        Self { left: if items.is_empty() { Vec::new() } else { vec![items] }, failed_before: false }
    }

    /// The next part to be done.
    #[must_use]
    pub fn next_part(&mut self) -> Option<&'a [T]> {
        self.left.pop()
    }

    /// Puts the two halves of a part that failed in front of what is left. A part of one cannot be halved: it is answered, and
    /// is not to be done again, unless it was all there is. Then it is done once more, as every other part has been: what
    /// looks like a bad row may be two who met.
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

    /// Puts each item of a part in front of what is left, as a part of its own. Returns the only item of a part of one, which
    /// is not to be done again. For a part that waited in vain for a lock: halved, it would wait once for each half.
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

    /// Does every part that has no bad item in it. Answers what was done, in order, what was not, and in how many steps.
    fn done(items: &[i32], is_bad: impl Fn(i32) -> bool) -> (Vec<i32>, Vec<i32>, usize) {
        let (mut done, mut refused, mut steps) = (Vec::new(), Vec::new(), 0);
        let mut parts = Halves::of(items);
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
    fn where_all_is_well_or_nothing_is_it_is_one_step_or_each() {
        assert_eq!(done(&[1, 2, 3], |_| false), (vec![1, 2, 3], vec![], 1));
        assert_eq!(done(&[1, 2, 3], |_| true), (vec![], vec![1, 2, 3], 5));
        assert_eq!(done(&[], |_| true), (vec![], vec![], 0));
        assert_eq!(done(&[1], |_| true), (vec![], vec![1], 2));
    }

    #[test]
    fn a_part_that_waited_in_vain_is_done_item_by_item() {
        let mut parts = Halves::of(&[1, 2, 3]);
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
    fn what_fails_once_alone_is_done_once_more() {
        let mut parts = Halves::of(&[1]);
        let part = parts.next_part().unwrap();
        assert_eq!(parts.halve(part), None);
        assert_eq!(parts.next_part(), Some(&[1][..]));
        assert_eq!(parts.next_part(), None);
    }
}
