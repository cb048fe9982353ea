//! The rows and the history of the clients that a failing rule names, for the output of the test.

use super::month::Month;

/// The clients that a text names by their ids, phones or numbers.
const NAMED: &str = r#"SELECT id FROM clients
                       WHERE $1 ~ ('(^|[^[:alnum:]])' || id || '([^[:alnum:]]|$)')
                          OR position("phoneNumber" IN $1) > 0 OR position("twilioNumber" IN $1) > 0
                       ORDER BY id LIMIT 3"#;

/// The rows of a client as they are now.
const ROWS: &str = "SELECT 'client        ' || to_jsonb(c)::TEXT FROM clients c WHERE id = $1
                    UNION ALL SELECT 'state         ' || to_jsonb(s)::TEXT FROM onboarding_states s WHERE client_id = $1
                    UNION ALL SELECT 'subscription  ' || to_jsonb(s)::TEXT FROM subscriptions s WHERE client_id = $1
                    UNION ALL SELECT 'waits         ' || to_jsonb(w)::TEXT FROM waiting_list w WHERE client_id = $1
                    UNION ALL SELECT 'pool          ' || to_jsonb(p)::TEXT FROM twilio_number_pool p WHERE client_id = $1";

/// Everything that happened to a client, in order.
const HISTORY: &str = r#"
    SELECT to_char(at, 'DD HH24:MI:SS.MS  ') || line
    FROM (SELECT received_at AS at, format('event %s %s: %s at %s  %s', id, kind, coalesce(outcome, 'waits'), state, payload) AS line
          FROM events WHERE client_id = $1
          UNION ALL SELECT created_at, format('text %s %s to %s: %s%s  %s', id, kind, to_phone, status, ' ' || error_message, body)
          FROM messages WHERE client_id = $1
          UNION ALL SELECT opened_at, format('case %s %s, closed at %s  %s', id, kind, closed_at, said) FROM cases WHERE client_id = $1
          UNION ALL SELECT raised_at, format('alert %s, cleared at %s  %s', cause, cleared_at, about)
          FROM alerts WHERE split_part(cause, ':', 2) = $1
          UNION ALL SELECT changed_at, format('number %s %s of %s: %s', number, change, client_id, why) FROM number_changes
          WHERE client_id = $1 OR number = (SELECT "twilioNumber" FROM clients WHERE id = $1)
          UNION ALL SELECT called_at, format('call %s of %s, told: %s', sid, caller, told) FROM calls WHERE client_id = $1
          UNION ALL SELECT recorded_at, 'message ' || to_jsonb(v)::TEXT FROM voicemails v WHERE client_id = $1
          UNION ALL SELECT asked_at, 'change of phone ' || to_jsonb(p)::TEXT FROM phone_changes p WHERE client_id = $1 OR newcomer_id = $1
         ) AS happened
    ORDER BY at"#;

impl Month {
    /// Prints the clients that are named in what was found.
    pub(super) async fn explain(&self, found: &[String]) {
        for id in self.lines(NAMED, &found.join("\n")).await {
            eprintln!("\n--- {id}");
            for lines in [self.lines(ROWS, &id).await, self.lines(HISTORY, &id).await] {
                lines.iter().for_each(|line| eprintln!("{line}"));
            }
        }
        eprintln!("\n--- workers\n{}", self.system.last_lines());
    }

    async fn lines(&self, query: &'static str, about: &str) -> Vec<String> {
        sqlx::query_scalar(query).bind(about).fetch_all(&self.system.pool).await.unwrap()
    }
}
