//! What operators do: they speak with clients, take numbers, and give people their data or erase it.

use jobrun_tests::{numbers, texts};

use super::month::{Month, NUMBERS};
use super::people::{Erased, LeftPhone, Person};

/// The most tries of an erasure: a text or a payment of the person may be on its way.
const ERASURE_TRIES: usize = 5;

impl Month {
    pub(super) async fn operator(&self, arguments: &[&str]) -> (i32, String, String) {
        self.system.operator(arguments).await.unwrap()
    }

    pub(super) async fn an_operator_interferes(&mut self) {
        let held = r#"SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL ORDER BY 1"#;
        let held = texts(&self.system.pool, held).await;
        if held.is_empty() {
            return;
        }
        let number = &held[self.random.below(held.len())];
        let any = &numbers(NUMBERS)[self.random.below(NUMBERS)];
        let command: &[&str] = match self.random.below(4) {
            0 => &["pool", "release", number, "--yes"],
            1 => &["pool", "drain", number],
            _ => &["pool", "drain", "--undo", any],
        };
        let (code, _, stderr) = self.operator(command).await;
        // The client may have left meanwhile.
        assert!(code == 0 || stderr.contains("no client holds the number"), "{command:?}: {stderr}");
    }

    pub(super) async fn an_operator_closes_a_case(&mut self) {
        let open = texts(&self.system.pool, "SELECT id::TEXT FROM cases WHERE closed_at IS NULL ORDER BY id").await;
        if open.is_empty() {
            return;
        }
        let id = &open[self.random.below(open.len())];
        let (code, _, stderr) = self.operator(&["cases", "--close", id, "--why", "answered"]).await;
        // The client may have gone on meanwhile.
        assert!(code == 0 || stderr.contains("no open case"), "{id}: {stderr}");
    }

    /// From now on the person gets no automatic text but the news of missed calls.
    pub(super) async fn a_person_is_taken_over(&mut self) {
        let Some(place) = self.choose(|person, _| person.taken_over_after.is_none()).await else { return };
        self.settle().await;
        let phone = self.people[place].phone.clone();
        // The words of operators go with an erasure as well.
        let why = format!("a chat with {}", self.people[place].owner);
        let (code, stdout, stderr) = self.operator(&["client", "take-over", &phone, "--why", &why]).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        self.settle().await;
        self.people[place].taken_over_after = Some(self.automatic_texts(place).await);
        self.texts_in(place, "are you a real person?").await;
        if self.people[place].opted_out_after.is_none() && self.random.chance(50) {
            self.settle().await;
            // The phone may be out of reach, and then the reply is refused.
            self.operator(&["client", "reply", &phone, "Yes, it's Ada from JobRun"]).await;
        }
    }

    pub(super) async fn a_person_is_handed_back(&mut self) {
        let Some(place) = self.choose(|person, _| person.taken_over_after.is_some()).await else { return };
        self.settle().await;
        assert_eq!(self.people[place].taken_over_after, Some(self.automatic_texts(place).await), "during a takeover");
        let phone = self.people[place].phone.clone();
        let mut command = vec!["client", "hand-back", &phone];
        if self.random.chance(60) {
            command.push("--ask-again");
        }
        let (code, stdout, stderr) = self.operator(&command).await;
        assert_eq!(code, 0, "{stdout}{stderr}");
        self.people[place].taken_over_after = None;
    }

    /// Returns the number of texts to a person that are not sent in a takeover. Those to a client that had the phone before do not count.
    pub(super) async fn automatic_texts(&self, place: usize) -> i64 {
        let automatic = r#"SELECT count(*) FROM messages JOIN clients ON clients.id = client_id AND '+' || "phoneNumber" = to_phone
                           WHERE to_phone = $1 AND kind NOT IN ('missed_call', 'voicemail', 'operator_reply', 'phone_code',
                                                                'phone_moved', 'phone_moved_away')"#;
        let phone = &self.people[place].phone;
        sqlx::query_scalar(automatic).bind(phone).fetch_one(&self.system.pool).await.unwrap()
    }

    pub(super) async fn a_person_is_exported(&mut self) {
        let Some(place) = self.choose(|_, _| true).await else { return };
        let phone = self.people[place].phone.clone();
        let (code, stdout, stderr) = self.operator(&["client", "export", &phone, "--json", "--why", "it asked"]).await;
        assert_eq!(code, 0, "{stderr}");
        let exported = &self.people[place];
        for (other, person) in self.people.iter().enumerate() {
            let names_it =
                |one: &Person, another: &Person| one.phones().any(|phone| another.phones().any(|it| it == phone));
            if other == place || !names_it(exported, person) {
                let told: Vec<&str> = stdout.lines().filter(|line| line.contains(person.digits())).collect();
                assert_eq!(told.is_empty(), other != place, "{} in the export of {phone}: {told:#?}", person.phone);
            }
            for word in person.words().into_iter().filter(|_| other != place) {
                let told = stdout.lines().find(|line| line.to_lowercase().contains(&word));
                assert_eq!(told, None, "{word} of {} in the export of {phone}", person.phone);
            }
        }
    }

    /// A person who does not pay any more is erased.
    pub(super) async fn a_person_is_erased(&mut self) {
        let Some(place) = self.choose(|_, _| true).await else { return };
        if self.people[place].is_served {
            self.cancel(place).await;
        }
        let phone = self.people[place].phone.clone();
        let command = ["client", "erase", &phone, "--yes", "--why", "it asked"];
        for tries in 1.. {
            self.settle().await;
            let (code, stdout, stderr) = self.operator(&command).await;
            if code == 0 {
                break;
            }
            let goes_on_later = ["waits to be processed", "on its way"].iter().any(|words| stderr.contains(words));
            assert!(goes_on_later && tries < ERASURE_TRIES, "{phone}: {stdout}{stderr}");
        }
        let person = self.people.swap_remove(place);
        self.left_phones.push(LeftPhone { phone: phone.clone(), opted_out: person.opted_out_after.is_some() });
        let former_phones = person.former_phones.clone();
        self.erased.push(Erased { person });
        self.assert_erased("right after an erasure").await;
        for phone in former_phones.into_iter().chain([phone]).filter(|phone| self.is_nobodys(phone)) {
            let left = self.system.stand_in.bodies_to(&phone).into_iter().filter(|body| !body.is_empty()).count();
            assert_eq!(left, 0, "texts to {phone} that Twilio still has");
        }
    }
}
