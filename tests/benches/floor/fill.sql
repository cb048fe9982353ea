-- Makes a text from each phone of $1 (E.164), with the body $2. SIDs and digests are random, as Twilio's are. A report names a
-- message by a number of about as many digits as it will have.
INSERT INTO floor.input (n, sid, phone, is_new, payload, digest, reply_sid, sent, sent_digest, delivered, delivered_digest)
SELECT place - 1, 'SM' || md5('floor' || place), digits, clients.id IS NULL,
       jsonb_build_object('kind', 'text', 'from', phone, 'to', '+447476955179', 'body', $2::TEXT),
       decode(md5('digest of floor' || place), 'hex'), reply_sid,
       report || '{"status": "sent"}', decode(md5('sent' || place), 'hex'),
       report || '{"status": "delivered"}', decode(md5('delivered' || place), 'hex')
FROM unnest($1::TEXT[]) WITH ORDINALITY AS texts (phone, place)
CROSS JOIN LATERAL (SELECT ltrim(phone, '+') AS digits, 'SM' || md5('reply of floor' || place) AS reply_sid) AS named
CROSS JOIN LATERAL (SELECT jsonb_build_object('kind', 'delivery_report', 'message_id', 100000 + place, 'sid', reply_sid,
                                              'error_code', NULL, 'to', phone) AS report) AS reported
LEFT JOIN clients ON clients."phoneNumber" = digits
