//! The settings of payments.

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

impl Reader<'_> {
    /// Reads the address where clients pay. Each client's reference is added to its query.
    pub(super) fn payment_link(&mut self) -> Option<String> {
        let link = self.get("PAYMENT_LINK_URL")?;
        let here = ["http://127.0.0.1:", "http://localhost:"].iter().any(|here| link.starts_with(here));
        if !here && !link.starts_with("https://") {
            self.add_problem("PAYMENT_LINK_URL is not an https:// address");
        }
        if link.contains('#') || link.contains(char::is_whitespace) {
            self.add_problem("PAYMENT_LINK_URL has a # or white space in it");
        }
        if link.chars().count() > 300 {
            self.add_problem("PAYMENT_LINK_URL is longer than 300 characters");
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
        // Without a link, clients are sent a placeholder for a test link.
        let is_test = link.as_deref().is_none_or(is_test_link);
        let livemode = self.livemode_if_set().unwrap_or(!is_test);
        if livemode && link.is_some() && is_test {
            self.add_problem("STRIPE_LIVEMODE is true, and PAYMENT_LINK_URL is a test link");
        }
        Stripe { webhook_secrets, livemode }
    }
}

/// Returns whether a payment link is one of Stripe's test links, which end in `/test_…`.
fn is_test_link(link: &str) -> bool {
    let path = link.split('?').next().unwrap_or_default();
    path.rsplit('/').next().is_some_and(|last| last.starts_with("test_"))
}
