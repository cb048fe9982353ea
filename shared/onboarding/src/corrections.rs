//! Corrections of earlier answers.

use super::decision::{Decision, Facts};
use super::open_question::{asked_again, end_misfits, repeat_question};
use crate::Client;
use crate::answer::{self, Field, Meaning};
use crate::wording;

/// Changes an earlier answer, and repeats the open question.
pub(crate) fn correct_answer(client: &Client, meaning: &Meaning, facts: &Facts<'_>) -> Option<Decision> {
    let changed = if let Meaning::Correction(field, text) = meaning {
        corrected_answer(client, *field, text)
    } else if let Meaning::Respelling { right, wrong } = meaning {
        respelt_answer(client, right, wrong)
    } else {
        return None;
    };
    // No earlier answer fits the correction, so the open question is repeated.
    let Some((field, text)) = changed else { return Some(repeat_question(client, &Meaning::Unclear, facts)) };
    let mut collected = client.collected.clone();
    *collected.answer_mut(field) = Some(text.clone());
    let changed = Decision::nothing(client).collect(collected);
    Some(end_misfits(changed.text(wording::corrected(field, &text, asked_again(client)))))
}

/// Returns the corrected answer and its field.
fn corrected_answer(client: &Client, field: Field, text: &str) -> Option<(Field, String)> {
    let collected = &client.collected;
    match field {
        Field::Trade => {
            let whole = answer::with_trade(collected.business_type_location.as_deref()?, text)?;
            Some((Field::TradeAndPlace, whole))
        }
        Field::Surname => Some((Field::OwnerName, answer::with_surname(collected.owner_name.as_deref(), text))),
        Field::TradeAndPlace | Field::BusinessName | Field::OwnerName => Some((field, text.to_owned())),
    }
}

/// Returns the latest answer that contains the wrong word, with the right word in its place.
fn respelt_answer(client: &Client, right: &str, wrong: &str) -> Option<(Field, String)> {
    let collected = &client.collected;
    let answers = [
        (Field::OwnerName, &collected.owner_name),
        (Field::BusinessName, &collected.business_name),
        (Field::TradeAndPlace, &collected.business_type_location),
    ];
    answers.into_iter().find_map(|(field, stored)| Some((field, answer::respelt(stored.as_deref()?, right, wrong)?)))
}
