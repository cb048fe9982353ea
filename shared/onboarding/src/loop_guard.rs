//! The loop guard: two machines that answer each other are stopped after a few texts.
//!
//! Somebody's auto-reply answers our text, we answer it, and so on without end; Twilio itself only steps in after thirty. A
//! person in a hurry stays well below these limits, and can go on as soon as the window has passed.

use std::collections::HashMap;

use chrono::TimeDelta;

use crate::{E164, Text};

/// How far back texts are counted.
pub const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// How many texts one person gets within the window, whatever they say. A conversation from the first text to the last takes
/// ten.
const TEXTS_MAX: u32 = 20;

/// What people were sent within the window, by us.
#[derive(Clone, Debug, Default)]
pub struct LoopGuard {
    texts: HashMap<E164, u32>,
    alike: HashMap<(E164, String), u32>,
}

impl LoopGuard {
    /// Takes note of texts that somebody was sent within the window.
    pub fn saw(&mut self, to: &E164, body: &str, times: u32) {
        *self.texts.entry(to.clone()).or_default() += times;
        *self.alike.entry((to.clone(), body.to_owned())).or_default() += times;
    }

    /// Whether another text may go out; if so, takes note of it.
    pub fn admits(&mut self, to: &E164, text: &Text) -> bool {
        let texts = self.texts.get(to).copied().unwrap_or_default();
        let alike = self.alike.get(&(to.clone(), text.body.clone())).copied().unwrap_or_default();
        let admitted = texts < TEXTS_MAX && alike < text.kind.alike_max();
        if admitted {
            self.saw(to, &text.body, 1);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wording;

    fn phone(digits: &str) -> E164 {
        E164::from_digits(digits).unwrap()
    }

    fn admitted(guard: &mut LoopGuard, to: &E164, text: &Text, times: usize) -> usize {
        (0..times).filter(|_| guard.admits(to, text)).count()
    }

    #[test]
    fn the_same_words_go_to_the_same_person_a_few_times() {
        let mut guard = LoopGuard::default();
        let (ann, ben) = (phone("447900000001"), phone("447900000002"));
        guard.saw(&ann, &wording::welcome().body, 3);
        assert_eq!(admitted(&mut guard, &ann, &wording::welcome(), 30), 5);
        assert_eq!(admitted(&mut guard, &ann, &wording::no_hurry(), 1), 1, "other words still go");
        assert_eq!(admitted(&mut guard, &ben, &wording::welcome(), 30), 8, "and so do the same to others");
    }

    #[test]
    fn nobody_gets_many_texts_whatever_they_say() {
        let mut guard = LoopGuard::default();
        let ann = phone("447900000001");
        let calls = (0..30).map(|n| wording::missed_call(&phone(&format!("4477009001{n:02}"))));
        assert_eq!(calls.filter(|text| guard.admits(&ann, text)).count(), 20);
    }

    #[test]
    fn one_caller_who_rings_again_and_again_is_one_piece_of_news() {
        let mut guard = LoopGuard::default();
        assert_eq!(admitted(&mut guard, &phone("447900000001"), &wording::missed_call(&phone("447700900123")), 9), 2);
    }
}
