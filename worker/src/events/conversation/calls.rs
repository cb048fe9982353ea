//! Calls to the numbers of a batch of clients: those that were counted before, and those that are counted now.

use std::collections::{BTreeSet, HashMap, HashSet};

use jobrun_onboarding::calls::{CallHistory, CountedCall, Day, EARLIER_MAX, EarlierCall};
use jobrun_onboarding::{Call, E164, Event, caller, region_of};
use jobrun_shared::db::calls::ClientAndCaller;
use jobrun_shared::db::clients::Loaded;
use jobrun_shared::db::inbox::{Payload, PendingEvent};
use jobrun_shared::db::{self, calls};
use sqlx::PgConnection;

/// The calls to a client's number.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    /// The CallSids of which a report came before.
    known: HashSet<String>,
    /// The calls that are stored, by caller, oldest first.
    earlier: HashMap<Option<E164>, Vec<EarlierCall>>,
    /// The callers of the calls in which a message was left, by CallSid.
    callers: HashMap<String, Option<E164>>,
    /// The calls that are counted now.
    pub(super) counted: Vec<CountedCall>,
}

/// Loads the rows about the calls that are pending, by client. Does not query if there are none, as is usual.
pub(super) async fn load(
    conn: &mut PgConnection,
    loaded: &[Loaded],
    lanes: &[Vec<String>],
    pending: &HashMap<String, Vec<PendingEvent>>,
) -> Result<HashMap<String, Calls>, db::Error> {
    let mut sids: Vec<(&str, &str)> = Vec::new();
    let mut recorded: Vec<&str> = Vec::new();
    let mut callers: BTreeSet<ClientAndCaller> = BTreeSet::new();
    for (loaded, lanes) in loaded.iter().zip(lanes) {
        for event in lanes.iter().filter_map(|lane| pending.get(lane)).flatten() {
            if let Some(Payload::CallArrived { from, sid, .. } | Payload::CallEnded { from, sid, .. }) = &event.payload
            {
                sids.extend(sid.as_deref().map(|sid| (loaded.client.id.as_str(), sid)));
                callers.insert((loaded.client.id.clone(), caller(from)));
            }
            if let Some(Payload::RecordingMade { call_sid, .. }) = &event.payload {
                recorded.push(call_sid);
            }
        }
    }
    let mut of_clients = load_callers(conn, &recorded).await?;
    if callers.is_empty() {
        return Ok(of_clients);
    }
    let known = calls::list_known(conn, &sids.iter().map(|(_, sid)| *sid).collect::<Vec<_>>()).await?;
    for (client_id, sid) in sids.into_iter().filter(|(_, sid)| known.contains(*sid)) {
        of_clients.entry(client_id.to_owned()).or_default().known.insert(sid.to_owned());
    }
    let callers: Vec<ClientAndCaller> = callers.into_iter().collect();
    for ((client_id, caller), earlier) in calls::list_earlier(conn, &callers).await? {
        of_clients.entry(client_id).or_default().earlier.insert(caller, earlier);
    }
    Ok(of_clients)
}

async fn load_callers(conn: &mut PgConnection, sids: &[&str]) -> Result<HashMap<String, Calls>, db::Error> {
    let mut of_clients: HashMap<String, Calls> = HashMap::new();
    if !sids.is_empty() {
        for call in calls::list_callers(conn, sids).await? {
            of_clients.entry(call.client_id).or_default().callers.insert(call.sid, call.caller);
        }
    }
    Ok(of_clients)
}

impl Calls {
    /// Returns the caller of a call that counts, unless its number is withheld.
    pub(super) fn caller_of(&self, sid: &str) -> Option<E164> {
        let counted = self.counted.iter().find(|call| call.sid == sid).map(|call| call.caller.clone());
        counted.or_else(|| self.callers.get(sid).cloned()).flatten()
    }

    /// Returns the history of the caller of `event`, if that is a call.
    pub(super) fn history(&self, loaded: &Loaded, event: &Event) -> CallHistory {
        let (Event::CallArrived(Call { sid, caller, .. }) | Event::CallEnded(Call { sid, caller, .. })) = event else {
            return CallHistory::default();
        };
        let stored = self.earlier.get(caller).into_iter().flatten().copied();
        let counted = self.counted.iter().filter(|call| call.caller == *caller);
        let earlier: Vec<EarlierCall> = stored
            .chain(counted.map(|it| EarlierCall { at: it.at, told: it.told, texted_back: it.texted_back }))
            .collect();
        CallHistory {
            day: Day::of(&region_of(&loaded.region)),
            is_known: sid.as_ref().is_some_and(|sid| self.known.contains(sid)),
            earlier: earlier[earlier.len().saturating_sub(EARLIER_MAX)..].to_vec(),
        }
    }

    /// Notes that a report of a call has come: the other report of it is not counted, nor that of the test call.
    pub(super) fn saw(&mut self, event: &Event) {
        if let Event::CallArrived(Call { sid: Some(sid), .. }) | Event::CallEnded(Call { sid: Some(sid), .. }) = event {
            self.known.insert(sid.clone());
        }
    }
}
