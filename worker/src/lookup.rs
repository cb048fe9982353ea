//! Looks for texts that Twilio may have taken, because creating a message is not idempotent. Never sends one.

use jobrun_shared::db::outbox::{self, Outgoing, SendResult};
use jobrun_shared::{clock, db};

use crate::claim::LOOK_AGAIN_AFTER;
use crate::context::JobContext;

/// The number of looks in vain after which a text counts as never sent.
const LOOKS_MAX: i32 = 2;

/// Looks for a text in Twilio's list. Returns nothing if the list cannot be read: that look does not count.
pub(crate) async fn find(context: &JobContext, message: &Outgoing) -> Result<Option<SendResult>, db::Error> {
    let listed = match context.twilio.list_messages(&message.from, &message.to).await {
        Ok(listed) => listed,
        Err(error) => {
            tracing::warn!(message_id = message.id, %error, "cannot look for a text, and will try again");
            return Ok(None);
        }
    };
    let alike: Vec<String> = listed
        .into_iter()
        .filter(|listed| listed.is_attempt(&message.body, message.attempted_at))
        .map(|listed| listed.sid)
        .collect();
    // Another text of ours may have had the same words and the same recipient.
    let known = outbox::list_known_sids(&context.pool, &alike).await?;
    let now = clock::now();
    let result = match alike.into_iter().find(|sid| !known.contains(sid)) {
        Some(sid) => SendResult::Sent { sid },
        None if message.looks + 1 >= LOOKS_MAX => {
            SendResult::NotSent { retry_at: now, why: "Twilio's list does not show the text".to_owned() }
        }
        None => SendResult::NotFound { look_at: now + LOOK_AGAIN_AFTER },
    };
    Ok(Some(result))
}
