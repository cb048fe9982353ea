-- Clients that do not get on by themselves: the most urgent reason first, and for each the longest.
--
-- $1: only clients that began after. $2: at most so many are looked at. $3: silent since before then. $4: now. $5: listed for a
-- reason at most. $6: counted for a reason at most.

WITH
newest AS MATERIALIZED (
    SELECT id, "businessName" AS business_name, "phoneNumber" AS phone, "paymentActive" AS paid, "twilioNumber" AS number,
           "optedOutAt" AS opted_out_at, "unreachableAt" AS unreachable_at
    FROM clients WHERE "createdAt" > $1 ORDER BY "createdAt" DESC LIMIT $2
),
-- A client whose number is late is looked at however long ago it began.
concerned AS MATERIALIZED (
    SELECT * FROM newest
    UNION
    SELECT c.id, c."businessName", c."phoneNumber", c."paymentActive", c."twilioNumber", c."optedOutAt", c."unreachableAt"
    FROM waiting_list JOIN clients c ON c.id = waiting_list.client_id WHERE promised_by < $4
),
-- The reasons are numbered as `StuckReason` is.
judged AS (
    SELECT n.id, n.business_name, n.phone, s.current_state AS state,
           CASE WHEN w.promised_by < $4 AND n.number IS NULL THEN w.joined_at
                ELSE COALESCE(CASE WHEN n.paid THEN COALESCE(n.unreachable_at, n.opted_out_at) END, s.updated_at) END AS since,
           CASE WHEN n.paid AND n.number IS NULL AND w.promised_by < $4 AND w.held_until IS NULL THEN 0
                WHEN n.paid AND n.unreachable_at IS NOT NULL THEN 1
                WHEN n.paid AND n.opted_out_at IS NOT NULL THEN 2
                WHEN s.updated_at >= $3 THEN NULL
                WHEN n.paid AND n.number IS NOT NULL THEN 3
                WHEN n.paid AND w.client_id IS NULL THEN 4
                WHEN NOT n.paid AND s.current_state = 'S5_CONFIRM_LIVE' AND n.opted_out_at IS NULL THEN 5
           END AS reason
    FROM concerned n JOIN onboarding_states s ON s.client_id = n.id LEFT JOIN waiting_list w ON w.client_id = n.id
    WHERE s.current_state <> 'COMPLETE'
),
-- Each reason has its own share of the list, so that one with many clients does not hide the others.
placed AS (
    SELECT *, row_number() OVER (PARTITION BY reason ORDER BY since, id) AS place, count(*) OVER (PARTITION BY reason) AS alike
    FROM judged WHERE reason IS NOT NULL
)
SELECT id AS "id!", business_name AS "business_name!", phone AS "phone!", state AS "state!", since AS "since!",
       reason AS "reason!", LEAST(alike, $6) AS "alike!"
FROM placed WHERE place <= $5 ORDER BY reason, place
