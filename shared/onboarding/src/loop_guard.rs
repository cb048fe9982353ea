//! The loop guard stops two machines that reply to each other after a few texts.
//!
//! A phone's automatic reply replies to our text, we reply to it, and so on without end. Twilio itself stops this only after thirty
//! texts. A person in a hurry stays well below the limits here, and can go on as soon as the window has passed.
//!
//! Texts about callers have a budget of their own, so that a burst of calls does not block the conversation. A text over the limit
//! is deferred until the window has room for it if it matters ([`TextKind::matters`]) or has a link to a message, and held back
//! otherwise.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

use crate::{E164, TextKind, WrittenText};

/// Texts count for this long.
pub const WINDOW: TimeDelta = TimeDelta::minutes(5);

/// The most texts of one budget that one phone gets within the window. A whole conversation takes ten.
const TEXTS_MAX: usize = 20;

/// The budget that a text counts towards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Budget {
    /// The texts of the conversation.
    Conversation,
    /// Texts about callers.
    Callers,
}

impl Budget {
    fn of(kind: Option<TextKind>) -> Self {
        let is_of_callers = matches!(kind, Some(TextKind::MissedCall | TextKind::Voicemail));
        if is_of_callers { Self::Callers } else { Self::Conversation }
    }
}

/// Whether and when a text may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Now,
    /// At this time, when the window has room for it. The text matters.
    Deferred(DateTime<Utc>),
    /// Not at all.
    HeldBack,
}

/// The texts that we sent within the window, by phone.
#[derive(Clone, Debug, Default)]
pub struct LoopGuard {
    times: HashMap<(E164, Budget), Vec<DateTime<Utc>>>,
    alike: HashMap<(E164, String), u32>,
}

impl LoopGuard {
    /// Counts a text that was written at `at` or deferred to it. `kind` is `None` if this version does not know it.
    pub fn saw(&mut self, to: &E164, kind: Option<TextKind>, body: &str, at: DateTime<Utc>) {
        self.times.entry((to.clone(), Budget::of(kind))).or_default().push(at);
        *self.alike.entry((to.clone(), body.to_owned())).or_default() += 1;
    }

    /// Decides whether and when another text may be sent, and counts it unless it is held back.
    ///
    /// A text with the same words as too many others is held back even if it matters, because the phone has just received them.
    pub fn admit(&mut self, to: &E164, text: &WrittenText, now: DateTime<Utc>) -> Admission {
        // The link in the news of a message stands nowhere else.
        let may_be_deferred = text.kind.matters() || text.kind == TextKind::Voicemail;
        self.admit_as(to, text, may_be_deferred, now)
    }

    /// As [`LoopGuard::admit`], for a text that an operator asks for: it is deferred even if it does not matter.
    pub fn admit_asked_for(&mut self, to: &E164, text: &WrittenText, now: DateTime<Utc>) -> Admission {
        self.admit_as(to, text, true, now)
    }

    fn admit_as(&mut self, to: &E164, text: &WrittenText, may_be_deferred: bool, now: DateTime<Utc>) -> Admission {
        let alike = self.alike.get(&(to.clone(), text.body.clone())).copied().unwrap_or_default();
        let room_at = self.room_at(to, Budget::of(Some(text.kind)), now);
        let admission = match room_at {
            _ if alike >= text.kind.alike_max() => Admission::HeldBack,
            None => Admission::Now,
            Some(at) if may_be_deferred => Admission::Deferred(at),
            Some(_) => Admission::HeldBack,
        };
        match admission {
            Admission::Now => self.saw(to, Some(text.kind), &text.body, now),
            Admission::Deferred(at) => self.saw(to, Some(text.kind), &text.body, at),
            Admission::HeldBack => {}
        }
        admission
    }

    /// Returns when the window has room for one more text, or `None` if it has room now.
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
    use crate::calls::CallsToday;
    use crate::{Text, Wordings, wording};

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn written(text: &Text) -> WrittenText {
        text.write(Wordings::built_in().of_region("UK"))
    }

    fn phone(digits: &str) -> E164 {
        E164::from_digits(digits).unwrap()
    }

    fn admitted(guard: &mut LoopGuard, to: &E164, text: &WrittenText, times: usize) -> usize {
        (0..times).filter(|_| guard.admit(to, text, NOW) == Admission::Now).count()
    }

    fn missed_calls(callers: usize) -> impl Iterator<Item = WrittenText> {
        (0..callers).map(|n| written(&wording::missed_call(&phone(&format!("4477009001{n:02}")), &CallsToday::one())))
    }

    fn number_changed(digit: usize) -> WrittenText {
        written(&wording::number_changed(&phone(&format!("44711111110{digit}"))))
    }

    /// Returns a guard that has counted `count` different texts of the conversation, one a second until now.
    fn after_texts(to: &E164, count: i32) -> LoopGuard {
        let mut guard = LoopGuard::default();
        for n in 1..=count {
            guard.saw(to, Some(TextKind::NoHurry), &n.to_string(), NOW - TimeDelta::seconds(i64::from(count - n)));
        }
        guard
    }

    #[test]
    fn the_same_words_go_to_the_same_phone_at_most_eight_times() {
        let mut guard = LoopGuard::default();
        let (ann, ben) = (phone("447900000001"), phone("447900000002"));
        for _ in 0..3 {
            guard.saw(&ann, Some(TextKind::Welcome), &written(&wording::welcome()).body, NOW);
        }
        assert_eq!(admitted(&mut guard, &ann, &written(&wording::welcome()), 30), 5);
        assert_eq!(admitted(&mut guard, &ann, &written(&wording::no_hurry()), 1), 1, "other words still go");
        assert_eq!(
            admitted(&mut guard, &ben, &written(&wording::welcome()), 30),
            8,
            "the same words still go to another phone"
        );
    }

    #[test]
    fn a_phone_gets_at_most_twenty_texts_even_if_all_differ() {
        let mut guard = LoopGuard::default();
        let ann = phone("447900000001");
        let admitted = missed_calls(30).filter(|text| guard.admit(&ann, text, NOW) == Admission::Now).count();
        assert_eq!(admitted, 20);
    }

    #[test]
    fn one_caller_who_rings_again_and_again_is_reported_twice_at_most() {
        let mut guard = LoopGuard::default();
        assert_eq!(
            admitted(
                &mut guard,
                &phone("447900000001"),
                &written(&wording::missed_call(&phone("447700900123"), &CallsToday::one())),
                9
            ),
            2
        );
    }

    #[test]
    fn calls_and_the_conversation_have_separate_budgets() {
        let ann = phone("447900000001");
        let mut guard = LoopGuard::default();
        missed_calls(25).for_each(|text| assert_ne!(guard.admit(&ann, &text, NOW), Admission::Deferred(NOW)));
        assert_eq!(guard.admit(&ann, &written(&wording::no_hurry()), NOW), Admission::Now);
        let mut guard = after_texts(&ann, 20);
        assert_eq!(missed_calls(1).map(|text| guard.admit(&ann, &text, NOW)).last(), Some(Admission::Now));
    }

    #[test]
    fn a_text_that_matters_is_deferred_until_there_is_room_and_others_are_held_back() {
        let ann = phone("447900000001");
        let mut guard = after_texts(&ann, 20);
        let room_at = |n: i64| NOW + WINDOW - TimeDelta::seconds(19 - n);
        assert_eq!(guard.admit(&ann, &written(&wording::no_hurry()), NOW), Admission::HeldBack);
        assert_eq!(guard.admit(&ann, &number_changed(1), NOW), Admission::Deferred(room_at(0)));
        assert_eq!(guard.admit(&ann, &number_changed(2), NOW), Admission::Deferred(room_at(1)), "after the first");
        assert_eq!(
            guard.admit_asked_for(&ann, &written(&wording::no_hurry()), NOW),
            Admission::Deferred(room_at(2)),
            "asked for"
        );
        let before = room_at(0) - TimeDelta::milliseconds(1);
        assert_eq!(
            guard.admit(&ann, &written(&wording::no_hurry()), before),
            Admission::HeldBack,
            "no text overtakes them"
        );
        assert_eq!(guard.admit(&ann, &number_changed(3), room_at(5)), Admission::Now, "the window has passed on");
    }

    #[test]
    fn the_same_words_too_often_are_held_back_and_not_deferred() {
        let ann = phone("447900000001");
        let mut guard = LoopGuard::default();
        assert_eq!(admitted(&mut guard, &ann, &number_changed(1), 9), 8);
        assert_eq!(guard.admit(&ann, &number_changed(1), NOW), Admission::HeldBack);
    }
}
