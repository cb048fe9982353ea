//! Alerts about a client who needs a person.

use jobrun_onboarding::State;

use super::Kind;
use crate::db::alerts::NewAlert;

/// The conversation does not understand the client.
#[must_use]
pub fn stuck(client_id: &str, state: State) -> NewAlert {
    NewAlert {
        cause: Kind::Stuck.of(client_id),
        about: format!(
            "Client {client_id} and the conversation do not understand each other at {}. The client was told that our team will get \
             in touch: see `jobrun client {client_id}`.",
            state.name()
        ),
    }
}

/// The client has a number, did not finish its sign-up, and is silent after all reminders, or gets none.
#[must_use]
pub fn unfinished(client_id: &str, state: State) -> NewAlert {
    NewAlert {
        cause: Kind::Unfinished.of(client_id),
        about: format!(
            "Client {client_id} has a number, and has been silent at {} for days. No reminder follows: see `jobrun client \
             {client_id}`. Get in touch, or end the subscription at Stripe.",
            state.name()
        ),
    }
}

/// The client asked for a person, for help, or something that only a person can answer.
#[must_use]
pub fn person_wanted(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::PersonWanted.of(client_id),
        about: format!(
            "Client {client_id} needs a person, and was told that our team will get in touch: see `jobrun client \
             {client_id}`. Get in touch, then close its case, which ends this; if it has none, clear this."
        ),
    }
}

/// A new phone asks to take over a client's service, and the client cannot prove by a code that it is its own.
#[must_use]
pub fn cannot_prove_old_phone(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::PersonWanted.of(client_id),
        about: format!(
            "Client {client_id} says that it has a new phone, and no code can be sent to the old one, or the move failed: see `jobrun client \
             {client_id}`. Find out who it is, move it with `jobrun client change-phone`, and close its case. If it has \
             none, clear this."
        ),
    }
}

/// The client asked for a person after a code was asked for, which moves it to a new phone.
#[must_use]
pub fn may_not_have_asked(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::PersonWanted.of(client_id),
        about: format!(
            "Needs a person: client {client_id}, for whom a code was asked for that moves it to a new phone. Perhaps it did not ask: see `jobrun cases` and `jobrun client {client_id}`. Get in touch, then close the case, which ends this."
        ),
    }
}

/// The old phone of a client that has moved asked for a person.
#[must_use]
pub fn may_not_have_moved(sender_id: &str, client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::PersonWanted.of(sender_id),
        about: format!(
            "The old phone of client {client_id}, which has moved to a new phone, needs a person. Perhaps the move was a theft: see `jobrun cases` and `jobrun client {client_id}`. Find out who it is. `jobrun client change-phone` moves the client back. Then close the case, which ends this."
        ),
    }
}

/// Codes that move a client to a new phone were guessed, or asked for too often.
#[must_use]
pub fn code_guesses(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::CodeGuesses.of(client_id),
        about: format!(
            "Codes that move client {client_id} to a new phone were guessed, or all codes of a day were asked for. Perhaps another person tries to take its service: see `jobrun client {client_id}`, and ask the client. Over once a day passes without."
        ),
    }
}

/// The client asked to cancel, or for its money back.
#[must_use]
pub fn cancel_asked(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::CancelAsked.of(client_id),
        about: format!(
            "Client {client_id} asked to cancel, or for its money back. Cancel or refund in Stripe, or get in touch."
        ),
    }
}

/// The service of a client began, ended or changed its number, and no text can tell the client.
#[must_use]
pub fn untold(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::Untold.of(client_id),
        about: format!(
            "Something happened to the service of client {client_id}, who takes no texts, or whom none reaches: see `jobrun client \
             {client_id}`, and get in touch another way. Then clear this."
        ),
    }
}

/// No text reaches a client who pays.
#[must_use]
pub fn unreachable(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::Unreachable.of(client_id),
        about: format!("No text reaches client {client_id}, who pays. Get in touch another way."),
    }
}

/// A client who pays has opted out of texts.
#[must_use]
pub fn opted_out(client_id: &str) -> NewAlert {
    NewAlert {
        cause: Kind::OptedOut.of(client_id),
        about: format!(
            "Client {client_id} pays, and has opted out of texts: it hears of no missed call and of no change. Get in touch another \
             way. This is over when it texts START, or stops paying."
        ),
    }
}
