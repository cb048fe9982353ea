-- The subscriptions that newly recorded facts concern, by id.
--
-- $1: subscriptions that the facts name. $2: payers that they name. $3: their Stripe ids.

WITH RECURSIVE
-- The facts themselves, and those that name the same payment, invoice or charge: from a refund to its payment, from there to the
-- invoice, and so to the subscription. One query for each name, because no index answers an OR.
related AS (
    SELECT id, subscription_id, payment_intent_id, invoice_id, charge_id
    FROM payment_events WHERE stripe_id = ANY($3)
    UNION
    SELECT same.* FROM related CROSS JOIN LATERAL (
        SELECT id, subscription_id, payment_intent_id, invoice_id, charge_id
        FROM payment_events WHERE payment_intent_id = related.payment_intent_id
        UNION ALL
        SELECT id, subscription_id, payment_intent_id, invoice_id, charge_id
        FROM payment_events WHERE invoice_id = related.invoice_id
        UNION ALL
        SELECT id, subscription_id, payment_intent_id, invoice_id, charge_id
        FROM payment_events WHERE charge_id = related.charge_id
    ) AS same
)
SELECT s.id, s.client_id, s.standing,
       -- From the beginning of an erasure on, under the lock on subscriptions that both take.
       s.erased_at IS NOT NULL
           OR EXISTS (SELECT FROM erasures WHERE erasures.client_id = s.client_id AND finished_at IS NULL) AS "is_erased!",
       -- By its own reference, or by that of a phone that became its own.
       (SELECT named.id FROM payment_events e
        JOIN LATERAL (SELECT id FROM clients WHERE "paymentReference" = e.reference
                      UNION ALL SELECT client_id FROM former_payment_references WHERE reference = e.reference) AS named ON TRUE
        WHERE e.subscription_id = s.id ORDER BY e.happened_at, e.stripe_id LIMIT 1) AS named_client_id
FROM subscriptions s
-- One array of ids, and not three conditions with OR, which no index answers together.
WHERE s.id = ANY(ARRAY(SELECT unnest($1::TEXT[])
                       UNION SELECT subscription_id FROM payment_events WHERE customer_id = ANY($2)
                       UNION SELECT subscription_id FROM related))
ORDER BY s.id
