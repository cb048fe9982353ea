//! The callers of a batch of clients that may be texted back.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use jobrun_onboarding::text_back::{self, CallerFacts, TextBackFacts};
use jobrun_onboarding::{Call, E164, Event, caller, region_of};
use jobrun_shared::db;
use jobrun_shared::db::clients::Loaded;
use jobrun_shared::db::inbox::{Payload, PendingEvent};
use sqlx::PgConnection;

use super::calls::Calls;
use crate::context::JobContext;

/// The callers of a client that may be texted back, as the rows tell them.
#[derive(Clone, Debug, Default)]
pub(super) struct Callers {
    /// The callers that no row speaks against.
    may_be_texted: HashSet<E164>,
    /// The callers whom rows speak against.
    others: HashSet<E164>,
    /// How many callers were texted back in the last 24 hours.
    texted: usize,
}

/// Loads the rows about the callers of pending calls, by client. Does not query unless a client has a mobile caller and wants its
/// callers texted back.
pub(super) async fn load(
    conn: &mut PgConnection,
    context: &JobContext,
    loaded: &[Loaded],
    lanes: &[Vec<String>],
    pending: &HashMap<String, Vec<PendingEvent>>,
    now: DateTime<Utc>,
) -> Result<HashMap<String, Callers>, db::Error> {
    let mut callers: Vec<(&str, E164)> = Vec::new();
    for (loaded, lanes) in loaded.iter().zip(lanes).filter(|(loaded, _)| context.text_back && loaded.client.text_back) {
        let region = region_of(&loaded.region);
        let of_calls = lanes.iter().filter_map(|lane| pending.get(lane)).flatten().filter_map(caller_of);
        let own = of_calls.filter(|caller| text_back::may_concern(&loaded.client, &region, caller));
        callers.extend(own.map(|caller| (loaded.client.id.as_str(), caller)));
    }
    if callers.is_empty() {
        return Ok(HashMap::new());
    }
    let phones: Vec<&E164> = callers.iter().map(|(_, caller)| caller).collect();
    let ids: Vec<&str> = callers.iter().map(|(id, _)| *id).collect();
    let not_to_text = db::text_back::list_not_to_text(conn, &phones, context.erasure_key.as_ref()).await?;
    let texted = db::text_back::count_callers(conn, &ids, now - TimeDelta::hours(24)).await?;
    let mut of_clients: HashMap<String, Callers> = HashMap::new();
    for (id, caller) in callers {
        let own = of_clients.entry(id.to_owned()).or_default();
        own.texted = texted.get(id).copied().unwrap_or_default();
        let may = !not_to_text.contains(&caller) && caller != context.onboarding_number;
        if may { &mut own.may_be_texted } else { &mut own.others }.insert(caller);
    }
    Ok(of_clients)
}

fn caller_of(event: &PendingEvent) -> Option<E164> {
    match &event.payload {
        Some(Payload::CallArrived { from, .. } | Payload::CallEnded { from, .. }) => caller(from),
        _ => None,
    }
}

impl Callers {
    /// Returns the facts about an event of the client, if callers are texted back here. `calls` has those that are counted now.
    pub(super) fn facts(
        &self,
        context: &JobContext,
        loaded: &Loaded,
        calls: &Calls,
        event: &Event,
    ) -> Option<TextBackFacts> {
        let rows = |caller: &E164| {
            let may_be_texted = self.may_be_texted.contains(caller);
            let is_known = may_be_texted || self.others.contains(caller);
            let now = calls.counted.iter().filter(|call| call.texted_back).count();
            is_known.then_some(CallerFacts { may_be_texted, texted_callers: self.texted + now })
        };
        let caller = match event {
            Event::CallArrived(Call { caller, .. }) | Event::CallEnded(Call { caller, .. }) => {
                caller.as_ref().and_then(rows)
            }
            _ => None,
        };
        context.text_back.then(|| TextBackFacts {
            region: region_of(&loaded.region),
            business: loaded.business_name.clone(),
            quiet: context.reminders.quiet,
            caller,
        })
    }
}
