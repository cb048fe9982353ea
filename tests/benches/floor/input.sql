-- pgbench: reads the input of :batch texts, and writes nothing. Its cost is subtracted from that of the texts.
\set n :n + 1
\set first (:client_id * :each + :n - 1) * :batch
\set last :first + :batch - 1
SELECT count(sid), count(phone), count(is_new), count(payload), count(digest), count(reply_sid), count(sent), count(sent_digest),
       count(delivered), count(delivered_digest)
FROM floor.input WHERE n BETWEEN :first AND :last;
