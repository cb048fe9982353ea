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
    /// The phones that it had before, E.164. Other people may have them now.
    pub(super) former_phones: Vec<String>,
    /// The phones that it has called its old ones, E.164, whether or not they were.
    pub(super) named_phones: Vec<String>,
    /// Words of its own from before it moved to a phone that it had begun a sign-up with.
    pub(super) former_words: Vec<String>,
    /// The recordings of the messages of its callers.
    pub(super) recordings: Vec<String>,
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
            former_phones: Vec::new(),
            named_phones: Vec::new(),
            former_words: Vec::new(),
            recordings: Vec::new(),
        }
    }

    pub(super) fn digits(&self) -> &str {
        self.phone.trim_start_matches('+')
    }

    /// Returns words that are nowhere once it is erased, whether or not its phone has come back.
    pub(super) fn words(&self) -> Vec<String> {
        let names = [&self.business, &self.owner].into_iter();
        let own = names.map(|name| name.split(' ').find(|word| word.len() > 7).unwrap().to_lowercase());
        own.chain(self.former_words.iter().cloned()).collect()
    }

    /// Returns every phone in the rows about it.
    pub(super) fn phones(&self) -> impl Iterator<Item = &String> {
        [&self.phone].into_iter().chain(&self.former_phones).chain(&self.named_phones)
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
    /// As it was, with the phones and the words that are nowhere any more.
    pub(super) person: Person,
}

/// A phone that is no client's any more: of a person that was erased, or has moved to another one.
pub(super) struct LeftPhone {
    /// E.164.
    pub(super) phone: String,
    /// Whether it has opted out.
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
    /// Whether it may be charged or holds a number, so that no other client can move to its phone.
    pub(super) has_service: bool,
    /// Whether there is something that can move to a new phone by a code.
    pub(super) is_signed_up: bool,
    pub(super) can_be_texted: bool,
    /// Whether its next call is the test call that it asked for.
    pub(super) is_testing: bool,
}

impl Client {
    pub(super) const SELECT: &'static str = r#"
        SELECT c.id, c."phoneNumber" AS phone, state, c."twilioNumber" AS number, c."paymentReference" AS reference,
               c."paymentActive" AS is_paid, has_service,
               has_service OR "paymentStanding" <> 'none' OR left(state, 2) NOT IN ('S1', 'S2', 'S3', 'S4', 'S5') AS is_signed_up,
               c."optedOutAt" IS NULL AND c."unreachableAt" IS NULL AS can_be_texted, c."testAskedAt" IS NOT NULL AS is_testing
        FROM clients c LEFT JOIN onboarding_states s ON s.client_id = c.id
        CROSS JOIN LATERAL (SELECT coalesce(s.current_state, 'S1_BUSINESS_TYPE_LOCATION') AS state,
                                   "paymentActive" OR "paymentStanding" = 'awaited' OR "twilioNumber" IS NOT NULL AS has_service) AS derived"#;

    pub(super) fn is_at(&self, states: &[&str]) -> bool {
        states.iter().any(|state| self.state.starts_with(state))
    }
}
