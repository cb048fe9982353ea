//! Alerts about texts that Twilio refuses or does not deliver.

use jobrun_onboarding::TextKind;
use jobrun_twilio::errors;

use super::{Kind, cause_of_code, cause_of_undelivered};
use crate::db::alerts::NewAlert;

/// Twilio refuses the account: sending has stopped.
#[must_use]
pub fn account(code: Option<i32>) -> NewAlert {
    refusal(Kind::Account, code, "Nothing is sent until the account is accepted again")
}

/// Twilio refuses texts because of a setting there.
#[must_use]
pub fn configuration(code: Option<i32>) -> NewAlert {
    refusal(Kind::Configuration, code, "Mend the settings at Twilio")
}

/// Twilio refuses texts for their content, or for a reason that has no rule.
#[must_use]
pub fn refused(code: Option<i32>) -> NewAlert {
    refusal(Kind::Refused, code, "Look at the texts in `messages` with this code")
}

fn refusal(kind: Kind, code: Option<i32>, advice: &str) -> NewAlert {
    NewAlert {
        cause: cause_of_code(kind, code),
        about: format!("Twilio refuses texts (error {}): {}. {advice}.", shown(code), errors::meaning(code)),
    }
}

pub(super) fn shown(code: Option<i32>) -> String {
    code.map_or_else(|| "without a code".to_owned(), |code| code.to_string())
}

/// A text that matters did not reach its client.
#[must_use]
pub fn undelivered(kind: TextKind, client_id: Option<&str>, why: &str) -> NewAlert {
    let client = client_id.unwrap_or("nobody");
    NewAlert {
        cause: cause_of_undelivered(kind, client),
        about: format!("The text {} did not reach client {client}: {why}. Get in touch another way.", kind.name()),
    }
}

/// A client had too many texts: a machine may be answering.
#[must_use]
pub fn too_many(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::Loop.of(client_id),
        about: format!(
            "Client {client_id} had too many texts in a few minutes, and further ones were held back, or are sent later if they \
             matter: a machine may be answering. Read its last texts in `messages`."
        ),
    }
}
