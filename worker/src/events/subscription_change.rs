//! A subscription after new facts, and the client it belongs to.

use jobrun_onboarding::Payment;
use jobrun_onboarding::payment::{FactKind, standing};
use jobrun_shared::db::subscriptions::Subscription;
use jobrun_stripe::facts::StripeFact;

/// A subscription, its client, and its status now.
pub(crate) struct Changed {
    pub(crate) subscription: Subscription,
    pub(crate) client_id: Option<String>,
    pub(crate) standing: Payment,
}

impl Changed {
    /// A subscription belongs to the client that its checkout names, and for good: no other checkout can take it away.
    pub(super) fn of(subscription: Subscription) -> Self {
        let client_id = subscription.client_id.clone().or_else(|| subscription.named_client_id.clone());
        let standing = standing(&subscription.facts);
        Self { subscription, client_id, standing }
    }

    pub(super) fn as_saved(&self) -> (&str, Option<&str>, Payment) {
        (&self.subscription.id, self.client_id.as_deref(), self.standing)
    }

    /// Returns the client whose conversation has to be told, if there is one.
    pub(crate) fn client_with_news(&self) -> Option<&str> {
        let Subscription { client_id: before, standing, .. } = &self.subscription;
        let is_news = *before != self.client_id || *standing != self.standing;
        self.client_id.as_deref().filter(|_| is_news)
    }

    /// Returns whether an event (Stripe's id) is about one of its payments.
    pub(crate) fn knows_of(&self, event: &str) -> bool {
        self.subscription.facts.iter().any(|fact| fact.id == event)
    }

    /// Returns whether its checkout is among the facts in `told`, and names no client.
    pub(crate) fn turns_out_to_be_nobodys(&self, told: &[(i64, StripeFact)]) -> bool {
        let is_own = |told: &StripeFact| told.subscription_id.as_deref() == Some(self.subscription.id.as_str());
        let is_checkout =
            |told: &StripeFact| matches!(told.what, Some(FactKind::Checkout { .. } | FactKind::UnclearCheckout));
        self.client_id.is_none() && told.iter().any(|(_, told)| is_own(told) && is_checkout(told))
    }
}
