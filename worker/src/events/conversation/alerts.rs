//! The alerts about a client, and when they end.

use jobrun_onboarding::{Client, Concern, TextKind};
use jobrun_shared::alerts::numbers::pool_empty;
use jobrun_shared::alerts::{Kind, cause_of_undelivered, clients as alert_of};
use jobrun_shared::cases;
use jobrun_shared::db::alerts::NewAlert;
use jobrun_shared::db::cases::NewCase;
use jobrun_shared::db::phone_changes::OldPhone;

use super::work::ClientWork;

impl ClientWork {
    /// Returns the causes of the alerts that end now, because the client can be reached again, or has gone on without the text.
    pub(super) fn resolved_causes(&self) -> impl Iterator<Item = String> {
        let client = &self.loaded.client;
        let missed = TextKind::ALL.into_iter().filter(|kind| self.went_on && kind.matters());
        let missed = missed.map(|kind| cause_of_undelivered(kind, &client.id));
        let missed = missed.chain((self.went_on && !self.missed_service_notice).then(|| Kind::Untold.of(&client.id)));
        let missed = missed.chain((self.went_on && !self.stuck).then(|| Kind::Stuck.of(&client.id)));
        let missed = missed.chain(self.went_on.then(|| Kind::Unfinished.of(&client.id)));
        // The operator has answered the client. A wish to cancel stays until the service ends.
        let answered = [Kind::Stuck, Kind::PersonWanted].map(|kind| kind.of(&client.id));
        let missed = missed.chain(answered.into_iter().filter(|_| self.handed_back_by.is_some()));
        // The service has ended: alerts about a client who pays end, and nothing is left to cancel.
        let ended = self.payment_updated && !client.payment_active;
        let reached = (self.reach_changed && !client.unreachable) || ended;
        let opted_in = (!self.opt_changes.is_empty() && !client.opted_out) || ended;
        missed
            .chain(ended.then(|| Kind::CancelAsked.of(&client.id)))
            .chain(ended.then(|| cause_of_undelivered(TextKind::CancelAtPortal, &client.id)))
            .chain(reached.then(|| Kind::Unreachable.of(&client.id)))
            .chain(opted_in.then(|| Kind::OptedOut.of(&client.id)))
    }

    /// Returns the cases to open. A misunderstanding that is over by now is none.
    pub(super) fn new_cases(&self) -> impl Iterator<Item = NewCase> {
        self.cases.iter().filter(|case| self.stuck || case.kind != Concern::Stuck.case()).cloned()
    }

    /// Returns the alert about a client who cannot be texted that its service has begun or ended, or that its number has changed.
    /// The operator has to tell it, because its callers may soon reach another client.
    pub(super) fn missed_service_alert(&self) -> Option<NewAlert> {
        self.missed_service_notice.then(|| alert_of::untold(&self.loaded.client.id))
    }

    /// Returns the alerts about a client who pays, and who has opted out or is unreachable.
    pub(super) fn unreachable_payer_alerts(&self) -> Vec<NewAlert> {
        let Client { id, payment_active, opted_out, unreachable, .. } = &self.loaded.client;
        let unreachable = self.reach_changed && *unreachable && *payment_active;
        let is_news = !self.opt_changes.is_empty() || self.payment_updated;
        let opted_out = is_news && *opted_out && *payment_active;
        let unreachable = unreachable.then(|| alert_of::unreachable(id));
        unreachable.into_iter().chain(opted_out.then(|| alert_of::opted_out(id))).collect()
    }

    /// Returns the alert that the pool is empty for a client who paid.
    pub(super) fn pool_empty_alert(&self) -> Option<NewAlert> {
        self.found_pool_empty.then(|| pool_empty(&self.loaded.region))
    }

    /// Returns the alerts about a client whom the conversation does not understand, or who needs a person, or asked to cancel, or for
    /// its money back.
    pub(super) fn concern_alerts(&self) -> Vec<NewAlert> {
        let Client { id, state, .. } = &self.loaded.client;
        let stuck = self.stuck.then(|| alert_of::stuck(id, *state));
        let cancels = self.cancel_asked.then(|| alert_of::cancel_asked(id));
        let wants_person = self.person_wanted.then(|| match &self.old_phone {
            Some(OldPhone { has_moved: false, .. }) => alert_of::may_not_have_asked(id),
            Some(OldPhone { client_id, has_moved: true }) => alert_of::may_not_have_moved(id, client_id),
            None => alert_of::person_wanted(id),
        });
        let guessed = self.guessed_at.iter().map(|client_id| alert_of::code_guesses(client_id));
        stuck.into_iter().chain(cancels).chain(wants_person).chain(guessed).collect()
    }

    /// Notes that the client's phone was, or may soon be, the old one of a client that moves. The cases say it, because an operator has
    /// to find the client that they are about.
    pub(super) fn add_old_phone(&mut self, old: OldPhone) {
        let is_own = old.client_id == self.loaded.client.id;
        if is_own == old.has_moved {
            return;
        }
        let remark = if old.has_moved {
            format!("(with the phone that client {} had until it moved to a new one)", old.client_id)
        } else {
            "(after a code was asked for that moves it to a new phone)".to_owned()
        };
        let about_it = |case: &&mut NewCase| cases::alert_kind(case.kind) == Kind::PersonWanted;
        // A remark is no text of the client's, which are counted.
        let texts = self.cases.iter_mut().filter(about_it).filter_map(|case| case.said.last_mut());
        texts.for_each(|said| *said = format!("{said}\n{remark}"));
        self.old_phone = Some(old);
    }
}
