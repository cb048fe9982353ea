//! The reasons that operators gave for what they did to many clients or to none: one may name a person.

use jobrun_onboarding::E164;
use sqlx::PgConnection;

use super::Error;

/// The most places that are listed.
const PLACES_MAX: i64 = 100;

/// The last digits of a phone, which every spelling of it has: 07900 123456 and +44 7900 123456.
const DIGITS: usize = 9;

/// Removes the reasons that hold a phone. Reads every reason.
pub(crate) async fn remove_with_phone(conn: &mut PgConnection, phone: &E164) -> Result<(), Error> {
    let digits = phone.digits();
    let digits = digits.get(digits.len().saturating_sub(DIGITS)..).unwrap_or(digits);
    sqlx::query!(
        "UPDATE audit_log SET why = NULL WHERE strpos(regexp_replace(why, '[^0-9]', '', 'g'), $1) > 0",
        digits
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE bulk_actions SET why = '(erased)' WHERE strpos(regexp_replace(why, '[^0-9]', '', 'g'), $1) > 0",
        digits
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!("UPDATE cases SET why = NULL WHERE strpos(regexp_replace(why, '[^0-9]', '', 'g'), $1) > 0", digits)
        .execute(&mut *conn)
        .await?;
    sqlx::query!(
        "UPDATE erasures SET why = '(erased)' WHERE strpos(regexp_replace(why, '[^0-9]', '', 'g'), $1) > 0",
        digits
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "UPDATE stops SET why = '(erased)' WHERE strpos(regexp_replace(why, '[^0-9]', '', 'g'), $1) > 0",
        digits
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Returns the places of reasons that may name a client, because they have its business's name or a part of its owner's name of
/// three letters or more: "bulk_actions 7". Only a person can tell. Reads every reason.
pub(crate) async fn list_with_names(conn: &mut PgConnection, client_id: &str) -> Result<Vec<String>, Error> {
    let places = sqlx::query_scalar!(
        r#"WITH name AS (
               SELECT lower(collected_fields ->> 'businessName') AS name FROM onboarding_states WHERE client_id = $1
               UNION SELECT lower("businessName") FROM clients WHERE id = $1
               UNION SELECT unnest(string_to_array(lower(collected_fields ->> 'ownerName'), ' '))
                     FROM onboarding_states WHERE client_id = $1
           ),
           reason AS (
               SELECT 'audit_log ' || id AS place, lower(why) AS why FROM audit_log WHERE why IS NOT NULL
               UNION ALL SELECT 'bulk_actions ' || id, lower(why) FROM bulk_actions
               UNION ALL SELECT 'cases ' || id, lower(why) FROM cases WHERE why IS NOT NULL
               UNION ALL SELECT 'erasures ' || id, lower(why) FROM erasures
               UNION ALL SELECT 'stops ' || what, lower(why) FROM stops WHERE why IS NOT NULL
           )
           SELECT place AS "place!" FROM reason
           WHERE EXISTS (SELECT FROM name WHERE char_length(name) >= 3 AND strpos(why, name) > 0)
           ORDER BY place LIMIT $2"#,
        client_id,
        PLACES_MAX
    );
    Ok(places.fetch_all(conn).await?)
}
