//! Calls: a phone rings a number, or is rung and forwards the call.

use super::in_words;
use super::markup::heard;
use crate::State;

/// The caller that no phone of the page has.
pub(super) const STRANGER: &str = "+447700900123";

impl State {
    /// A phone rings a number of the account, or another phone of the page.
    pub(super) async fn ring_from(&self, phone: &str, number: &str) {
        if self.phones().places.contains_key(number) {
            self.note(phone, format!("You rang {number}."), None, Vec::new());
            return self.ring(number, phone).await;
        }
        let (words, heard, answers) = self.place(phone, number).await;
        self.note(phone, format!("You rang {number}.{words}"), heard, answers);
    }

    /// A phone is rung. Its owner does not pick up, so the call goes to the number that it forwards to.
    pub(super) async fn ring(&self, phone: &str, caller: &str) {
        let forwards_to = self.phones().find(phone).forwards_to;
        let rang = format!("{caller} rang. Nobody picked up");
        let Some(number) = forwards_to else {
            let words = format!("{rang}, and this phone forwards its calls to no number. The caller hung up.");
            return self.note(phone, words, None, Vec::new());
        };
        let (words, heard, answers) = self.place(caller, &number).await;
        self.note(phone, format!("{rang}, and the call was forwarded to {number}.{words}"), heard, answers);
    }

    /// Places a call to a number. Returns what to add to the note, what the caller heard, and the responses to the webhooks.
    pub(super) async fn place(&self, from: &str, to: &str) -> (String, Option<String>, Vec<String>) {
        self.add_new_numbers().await;
        if !self.numbers().iter().any(|number| number.phone_number == to && number.voice) {
            return (
                " It is no number of the account, so Twilio knows nothing of this call.".to_owned(),
                None,
                Vec::new(),
            );
        }
        match self.call(from, to).await {
            Ok((arrived, ended)) => {
                let answers =
                    vec![format!("Call arrived: {}", in_words(&arrived)), format!("Call ended: {}", in_words(&ended))];
                (String::new(), Some(heard(&arrived)), answers)
            }
            Err(error) => {
                let heard = "We are sorry, an application error has occurred. Goodbye.".to_owned();
                (" The webhook was not delivered.".to_owned(), Some(heard), vec![error.to_string()])
            }
        }
    }
}
