//! The settings of payments.

use jobrun_stripe::api::Access;
use secrecy::{ExposeSecret, SecretString};

use super::reader::Reader;

/// The account at Stripe.
#[derive(Clone, Debug)]
pub struct Stripe {
    /// `STRIPE_WEBHOOK_SECRET`: several during rotation. May be empty only if no payment link is set.
    pub webhook_secrets: Vec<SecretString>,
    /// `STRIPE_LIVEMODE`: whether live events are taken (real money), or test events.
    pub livemode: bool,
}

/// What the list of events is read with.
#[derive(Clone, Debug)]
pub struct StripeAudit {
    /// `STRIPE_API_KEY` and `STRIPE_API_BASE_URL`.
    pub access: Access,
    /// `STRIPE_LIVEMODE`: the mode of the key, and of the events that are taken.
    pub livemode: bool,
}

impl Reader<'_> {
    /// Reads the address where clients pay. Each client's reference is added to its query.
    pub(super) fn payment_link(&mut self) -> Option<String> {
        self.address_in_texts("PAYMENT_LINK_URL")
    }

    /// Reads the address where clients cancel their subscriptions: Stripe's customer portal, by its login link.
    pub(super) fn payment_portal(&mut self) -> Option<String> {
        self.address_in_texts("PAYMENT_PORTAL_URL")
    }

    /// Reads an address that texts contain.
    fn address_in_texts(&mut self, name: &str) -> Option<String> {
        let link = self.get(name)?;
        let here = ["http://127.0.0.1:", "http://localhost:"].iter().any(|here| link.starts_with(here));
        if !here && !link.starts_with("https://") {
            self.add_problem(format!("{name} is not an https:// address"));
        }
        if link.contains('#') || link.contains(char::is_whitespace) {
            self.add_problem(format!("{name} has a # or white space in it"));
        }
        if link.chars().count() > 300 {
            self.add_problem(format!("{name} is longer than 300 characters"));
        }
        Some(link)
    }

    pub(super) fn webhook_secrets(&mut self) -> Vec<SecretString> {
        let webhook_secrets: Vec<SecretString> =
            self.list("STRIPE_WEBHOOK_SECRET").into_iter().map(SecretString::from).collect();
        if webhook_secrets.iter().any(|secret| !secret.expose_secret().starts_with("whsec_")) {
            self.add_problem(
                "STRIPE_WEBHOOK_SECRET does not begin with whsec_: it is the endpoint's secret, not an API key",
            );
        }
        webhook_secrets
    }

    pub(super) fn livemode_if_set(&mut self) -> Option<bool> {
        match self.get("STRIPE_LIVEMODE")?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.add_invalid("STRIPE_LIVEMODE", "neither true nor false");
                None
            }
        }
    }

    pub(super) fn stripe(&mut self) -> Stripe {
        let webhook_secrets = self.webhook_secrets();
        let link = self.payment_link();
        if link.is_some() && webhook_secrets.is_empty() && self.can_be_found("STRIPE_WEBHOOK_SECRET") {
            self.add_problem(
                "STRIPE_WEBHOOK_SECRET is not set, and PAYMENT_LINK_URL is: nobody would hear of the payments \
                 (example: whsec_…, comma separated during rotation)",
            );
        }
        Stripe { webhook_secrets, livemode: self.livemode(link.as_deref()) }
    }

    fn livemode(&mut self, link: Option<&str>) -> bool {
        // Without a link, clients are sent a placeholder for a test link.
        let is_test = link.is_none_or(is_test_link);
        let livemode = self.livemode_if_set().unwrap_or(!is_test);
        if livemode && link.is_some() && is_test {
            self.add_problem("STRIPE_LIVEMODE is true, and PAYMENT_LINK_URL is a test link");
        }
        livemode
    }

    /// Reads the restricted key, and says whether it is for live mode. A secret key may do everything, so none is taken.
    pub(super) fn stripe_key_if_set(&mut self) -> Option<(SecretString, bool)> {
        let key = self.get("STRIPE_API_KEY")?;
        let livemode = key.starts_with("rk_live_");
        if !livemode && !key.starts_with("rk_test_") {
            self.add_problem("STRIPE_API_KEY does not begin with rk_live_ or rk_test_: it is a restricted key");
            return None;
        }
        Some((SecretString::from(key), livemode))
    }

    /// Reads what the list of events is read with, if the key is set. `link` is the payment link.
    pub(super) fn stripe_audit(&mut self, link: Option<&str>) -> Option<StripeAudit> {
        let api_base_url = self.base_url("STRIPE_API_BASE_URL");
        let livemode = self.livemode(link);
        let (key, is_live) = self.stripe_key_if_set()?;
        if is_live != livemode {
            let (one, other) = if is_live { ("live", "test") } else { ("test", "live") };
            self.add_problem(format!(
                "STRIPE_API_KEY is a key of {one} mode, and {other} events are taken: see STRIPE_LIVEMODE and PAYMENT_LINK_URL"
            ));
        }
        Some(StripeAudit { access: Access { key, api_base_url: api_base_url? }, livemode })
    }
}

/// Returns whether a payment link is one of Stripe's test links, which end in `/test_…`.
fn is_test_link(link: &str) -> bool {
    let path = link.split('?').next().unwrap_or_default();
    path.rsplit('/').next().is_some_and(|last| last.starts_with("test_"))
}
