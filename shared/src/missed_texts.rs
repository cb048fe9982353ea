//! Texts in Twilio's list that the inbox lacks.

use jobrun_json::storable;
use jobrun_onboarding::E164;
use jobrun_twilio::lists::Inbound;
use sqlx::PgPool;

use crate::db::inbox::{NewEvent, Payload, Source};
use crate::db::{self, numbers};

/// Returns those of `texts` that came to our numbers. The account may have other numbers, whose texts do not concern us.
///
/// # Errors
/// When the database does not answer.
pub async fn of_our_numbers(pool: &PgPool, onboarding: &E164, texts: Vec<Inbound>) -> Result<Vec<Inbound>, db::Error> {
    let numbers: Vec<&str> = texts.iter().map(|text| text.to.as_str()).collect();
    let mut ours = numbers::list_known(&mut *pool.acquire().await?, &numbers).await?;
    ours.insert(onboarding.as_str().to_owned());
    Ok(texts.into_iter().filter(|text| ours.contains(&text.to)).collect())
}

/// Returns the event that the webhook would have recorded.
#[must_use]
pub fn as_event(text: &Inbound) -> NewEvent {
    NewEvent::new(
        Source::Twilio,
        text.sid.clone(),
        Payload::Text {
            from: storable(&text.from),
            to: storable(&text.to),
            body: storable(&text.body),
            opt_out_type: None,
            answered_at: None,
        },
    )
}
