//! A subscription after new facts: its client, its status, and whether that is in doubt. It saves nothing.

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::Payment;
use jobrun_onboarding::payment::{FactKind, is_in_doubt, standing};
use jobrun_shared::db::subscriptions::{Saved, Subscription};
use jobrun_stripe::facts::StripeFact;

/// The delay before Stripe is asked about a status in doubt. Webhooks that are on their way may settle it, and the answer has to be
/// of a later second than the events.
const ASK_AFTER: TimeDelta = TimeDelta::minutes(1);

/// A subscription, its client, and its status now.
pub(crate) struct SubscriptionChange {
    pub(crate) subscription: Subscription,
    pub(crate) client_id: Option<String>,
    pub(crate) standing: Payment,
}

impl SubscriptionChange {
    /// A subscription belongs to the client that its checkout names, and for good: no other checkout can take it away.
    pub(super) fn new(subscription: Subscription) -> Self {
        let client_id = subscription.client_id.clone().or_else(|| subscription.named_client_id.clone());
        let standing = standing(&subscription.facts);
        Self { subscription, client_id, standing }
    }

    /// Returns the row of the subscription. Stripe is asked about a status in doubt only if the worker has a key.
    pub(super) fn as_row(&self, now: DateTime<Utc>) -> Saved<'_> {
        Saved {
            id: &self.subscription.id,
            client_id: self.client_id.as_deref(),
            standing: self.standing,
            ask_at: is_in_doubt(&self.subscription.facts).then(|| now + ASK_AFTER),
        }
    }

    /// Returns the client whose conversation has to be told, because its payment changed, if there is one.
    pub(crate) fn client_to_notify(&self) -> Option<&str> {
        let Subscription { client_id: before, standing, .. } = &self.subscription;
        let changed = *before != self.client_id || *standing != self.standing;
        self.client_id.as_deref().filter(|_| changed)
    }

    /// Returns whether an event (Stripe's id) is about one of its payments.
    pub(crate) fn has_fact(&self, event: &str) -> bool {
        self.subscription.facts.iter().any(|fact| fact.id == event)
    }

    /// Returns whether a fact is about it, or about one of its payments.
    pub(crate) fn is_named_by(&self, fact: &StripeFact) -> bool {
        fact.subscription_id.as_deref() == Some(self.subscription.id.as_str()) || self.has_fact(&fact.id)
    }

    /// Returns whether its checkout is among the `facts`, and names no client.
    pub(crate) fn has_checkout_without_client(&self, facts: &[(i64, StripeFact)]) -> bool {
        let is_own = |fact: &StripeFact| fact.subscription_id.as_deref() == Some(self.subscription.id.as_str());
        let is_checkout =
            |fact: &StripeFact| matches!(fact.what, Some(FactKind::Checkout { .. } | FactKind::UnclearCheckout));
        self.client_id.is_none() && facts.iter().any(|(_, fact)| is_own(fact) && is_checkout(fact))
    }
}
