//! The people of a month, the expectations about each, and the rows of a client.

use jobrun_stand_in::stripe::Sale;
use jobrun_tests::phone;
use serde_json::{Value, json};

/// A person with a phone, from its first text on: whether it pays, and whether it wants texts.
pub(super) struct Person {
    /// E.164.
    pub(super) phone: String,
    /// The name of its business, and its own. No other person has a word of them.
    pub(super) business: String,
    pub(super) owner: String,
    pub(super) sale: Option<Sale>,
    pub(super) is_served: bool,
    /// Whether its renewal has failed and Stripe retries it.
    pub(super) is_late: bool,
    /// The number of texts that it had received when it opted out.
    pub(super) opted_out_after: Option<usize>,
    /// The number of automatic texts that were written to it when an operator took it over.
    pub(super) taken_over_after: Option<i64>,
}

impl Person {
    /// Returns the person with the `nth` phone, and with names that no other `life` has.
    pub(super) fn new(nth: usize, life: usize) -> Self {
        let word = word(life);
        Self {
            phone: phone(nth),
            business: format!("Vexel{word} Pipeworks"),
            owner: format!("Tamsin Orrin{word}"),
            sale: None,
            is_served: false,
            is_late: false,
            opted_out_after: None,
            taken_over_after: None,
        }
    }

    pub(super) fn digits(&self) -> &str {
        self.phone.trim_start_matches('+')
    }

    /// Returns words that are nowhere once it is erased, whether or not its phone has come back.
    pub(super) fn words(&self) -> [String; 2] {
        [&self.business, &self.owner].map(|name| name.split(' ').find(|word| word.len() > 7).unwrap().to_lowercase())
    }

    pub(super) fn may_be_texted(&self) -> bool {
        self.opted_out_after.is_none() && self.taken_over_after.is_none()
    }

    /// Adds the payer's name and e-mail to an event of Stripe's, where Stripe has them.
    pub(super) fn as_payer_of(&self, mut event: Value) -> Value {
        let email = format!("{}@example.com", self.words()[1]);
        let object = &mut event["data"]["object"];
        match object["object"].as_str() {
            Some("checkout.session") => {
                object["customer_details"] = json!({ "email": email, "name": self.owner, "phone": self.phone });
            }
            Some("invoice") => {
                object["customer_email"] = email.into();
                object["customer_name"] = self.owner.as_str().into();
            }
            Some("charge") => {
                object["billing_details"] = json!({ "email": email, "name": self.owner, "phone": self.phone });
            }
            _ => {}
        }
        event
    }
}

/// Returns three syllables that no other number has.
fn word(n: usize) -> String {
    let syllable = |n: usize| ["ba", "de", "fi", "go", "lu", "ma", "ne", "pi", "ro", "tu", "va", "ze"][n % 12];
    [n / 144, n / 12, n].map(syllable).concat()
}

/// A person that was erased.
pub(super) struct Erased {
    /// As it was, with the phone and the words that are nowhere any more.
    pub(super) person: Person,
    /// Which of the people it is.
    pub(super) nth: usize,
    /// Whether it had opted out.
    pub(super) opted_out: bool,
}

/// What the database says of a client.
#[derive(Clone, Debug, sqlx::FromRow)]
pub(super) struct Client {
    pub(super) id: String,
    pub(super) phone: String,
    pub(super) state: String,
    pub(super) number: Option<String>,
    pub(super) reference: String,
    pub(super) is_paid: bool,
}

impl Client {
    pub(super) const SELECT: &'static str = r#"SELECT c.id, c."phoneNumber" AS phone, coalesce(s.current_state, 'S1_BUSINESS_TYPE_LOCATION') AS state,
          c."twilioNumber" AS number, c."paymentReference" AS reference, c."paymentActive" AS is_paid
       FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id"#;

    pub(super) fn is_at(&self, states: &[&str]) -> bool {
        states.iter().any(|state| self.state.starts_with(state))
    }
}
