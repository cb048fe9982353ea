//! The loop guard: two machines that answer each other are stopped after a few texts.
//!
//! Somebody's auto-reply answers our text, we answer it, and so on without end; Twilio itself only steps in after thirty. A
//! person in a hurry stays well below these limits, and can go on as soon as the window has passed.
//!
//! News of callers has a budget of its own, so that a burst of calls costs the conversation nothing. A text that matters and
//! would be one too many is deferred until the window has room for it. All others are held back.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{E164, Text, TextKind};

/// How far back texts are counted.
pub const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// How many texts of one budget one person gets within the window. A conversation from the first text to the last takes ten.
const TEXTS_MAX: usize = 20;

/// What a text is counted with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Budget {
    /// The texts of the conversation.
    Conversation,
    /// News of callers.
    Callers,
}

impl Budget {
    fn of(kind: Option<TextKind>) -> Self {
        if kind == Some(TextKind::MissedCall) { Self::Callers } else { Self::Conversation }
    }
}

/// Whether and when a text may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Now,
    /// It matters, and leaves at this time, when the window has room for it.
    Deferred(DateTime<Utc>),
    /// Not at all.
    HeldBack,
}

/// What people were sent within the window, by us.
#[derive(Clone, Debug, Default)]
pub struct LoopGuard {
    times: HashMap<(E164, Budget), Vec<DateTime<Utc>>>,
    alike: HashMap<(E164, String), u32>,
}

impl LoopGuard {
    /// Takes note of a text that was written or deferred to `at`. Its kind is empty if this version does not know it.
    pub fn saw(&mut self, to: &E164, kind: Option<TextKind>, body: &str, at: DateTime<Utc>) {
        self.times.entry((to.clone(), Budget::of(kind))).or_default().push(at);
        *self.alike.entry((to.clone(), body.to_owned())).or_default() += 1;
    }

    /// Decides whether and when another text may leave, and takes note of it unless it is held back.
    ///
    /// The same words too often are held back even if they matter: the person has just been sent them.
    pub fn admit(&mut self, to: &E164, text: &Text, now: DateTime<Utc>) -> Admission {
        let alike = self.alike.get(&(to.clone(), text.body.clone())).copied().unwrap_or_default();
        let room_at = self.room_at(to, Budget::of(Some(text.kind)), now);
        let admission = match room_at {
            _ if alike >= text.kind.alike_max() => Admission::HeldBack,
            None => Admission::Now,
            Some(at) if text.kind.matters() => Admission::Deferred(at),
            Some(_) => Admission::HeldBack,
        };
        match admission {
            Admission::Now => self.saw(to, Some(text.kind), &text.body, now),
            Admission::Deferred(at) => self.saw(to, Some(text.kind), &text.body, at),
            Admission::HeldBack => {}
        }
        admission
    }

    /// Returns when the window has room for one more text; nothing if it has room now.
    fn room_at(&self, to: &E164, budget: Budget, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut times: Vec<DateTime<Utc>> = self.times.get(&(to.clone(), budget)).cloned().unwrap_or_default();
        times.retain(|at| *at > now - WINDOW);
        times.sort_unstable();
        let last_in_the_way = times.len().checked_sub(TEXTS_MAX)?;
        times.get(last_in_the_way).map(|at| *at + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wording;

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn phone(digits: &str) -> E164 {
        E164::from_digits(digits).unwrap()
    }

    fn admitted(guard: &mut LoopGuard, to: &E164, text: &Text, times: usize) -> usize {
        (0..times).filter(|_| guard.admit(to, text, NOW) == Admission::Now).count()
    }

    fn missed_calls(callers: usize) -> impl Iterator<Item = Text> {
        (0..callers).map(|n| wording::missed_call(&phone(&format!("4477009001{n:02}"))))
    }

    fn number_changed(digit: usize) -> Text {
        wording::number_changed(&phone(&format!("44711111110{digit}")))
    }

    /// A guard that has seen `count` different texts of the conversation, one a second until now.
    fn after_texts(to: &E164, count: i32) -> LoopGuard {
        let mut guard = LoopGuard::default();
        for n in 1..=count {
            guard.saw(to, Some(TextKind::NoHurry), &n.to_string(), NOW - TimeDelta::seconds(i64::from(count - n)));
        }
        guard
    }

    #[test]
    fn the_same_words_go_to_the_same_person_a_few_times() {
        let mut guard = LoopGuard::default();
        let (ann, ben) = (phone("447900000001"), phone("447900000002"));
        for _ in 0..3 {
            guard.saw(&ann, Some(TextKind::Welcome), &wording::welcome().body, NOW);
        }
        assert_eq!(admitted(&mut guard, &ann, &wording::welcome(), 30), 5);
        assert_eq!(admitted(&mut guard, &ann, &wording::no_hurry(), 1), 1, "other words still go");
        assert_eq!(admitted(&mut guard, &ben, &wording::welcome(), 30), 8, "and so do the same to others");
    }

    #[test]
    fn nobody_gets_many_texts_whatever_they_say() {
        let mut guard = LoopGuard::default();
        let ann = phone("447900000001");
        let admitted = missed_calls(30).filter(|text| guard.admit(&ann, text, NOW) == Admission::Now).count();
        assert_eq!(admitted, 20);
    }

    #[test]
    fn one_caller_who_rings_again_and_again_is_one_piece_of_news() {
        let mut guard = LoopGuard::default();
        assert_eq!(admitted(&mut guard, &phone("447900000001"), &wording::missed_call(&phone("447700900123")), 9), 2);
    }

    #[test]
    fn calls_and_the_conversation_cost_each_other_nothing() {
        let ann = phone("447900000001");
        let mut guard = LoopGuard::default();
        missed_calls(25).for_each(|text| assert_ne!(guard.admit(&ann, &text, NOW), Admission::Deferred(NOW)));
        assert_eq!(guard.admit(&ann, &wording::no_hurry(), NOW), Admission::Now);
        let mut guard = after_texts(&ann, 20);
        assert_eq!(missed_calls(1).map(|text| guard.admit(&ann, &text, NOW)).last(), Some(Admission::Now));
    }

    #[test]
    fn a_text_that_matters_is_deferred_until_there_is_room_and_others_are_held_back() {
        let ann = phone("447900000001");
        let mut guard = after_texts(&ann, 20);
        let room_at = |n: i64| NOW + WINDOW - TimeDelta::seconds(19 - n);
        assert_eq!(guard.admit(&ann, &wording::no_hurry(), NOW), Admission::HeldBack);
        assert_eq!(guard.admit(&ann, &number_changed(1), NOW), Admission::Deferred(room_at(0)));
        assert_eq!(guard.admit(&ann, &number_changed(2), NOW), Admission::Deferred(room_at(1)), "after the first");
        let before = room_at(0) - TimeDelta::milliseconds(1);
        assert_eq!(guard.admit(&ann, &wording::no_hurry(), before), Admission::HeldBack, "nothing overtakes them");
        assert_eq!(guard.admit(&ann, &number_changed(3), room_at(5)), Admission::Now, "the window has passed on");
    }

    #[test]
    fn words_that_were_just_said_often_are_not_kept_for_later() {
        let ann = phone("447900000001");
        let mut guard = LoopGuard::default();
        assert_eq!(admitted(&mut guard, &ann, &number_changed(1), 9), 8);
        assert_eq!(guard.admit(&ann, &number_changed(1), NOW), Admission::HeldBack);
    }
}
