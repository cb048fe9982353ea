"""Asks every page of a running console again and again, and prints how long each takes: p50, p95 and the slowest, in milliseconds.

    measure.py CONSOLE DATABASE_URL [CONSOLE DATABASE_URL]    two consoles are asked in turn, and shown beside each other

Each round asks for another client, text or page, so that what one round reads does not help the next. `ROUNDS` (50) is how many
there are, and `ONLY` (a name below) limits them to one page. The person of the environment's `CONSOLE_NAME` and `CONSOLE_PASSWORD` logs in. Exit status 1 if a page of the last
console takes over `LIMIT_MS` (200) at p95, or if its p50 is over `FLAT` (3) times the first console's and 50 ms longer. Where no
index serves a filter, a page looks through 5,000 rows, of which few rows have fewer.
"""

import html
import http.client
import os
import re
import subprocess
import sys
import time
import urllib.parse

ROUNDS = int(os.environ.get("ROUNDS", "50"))
LIMIT_MS = float(os.environ.get("LIMIT_MS", "200"))
FLAT = float(os.environ.get("FLAT", "3"))
ONLY = os.environ.get("ONLY")
STATES = "S1_BUSINESS_TYPE_LOCATION S5_CONFIRM_LIVE S9_TEST_CALL COMPLETE".split()
KINDS = "text call_ended delivery_report stripe opted_out".split()

# A name, and the address. `{…}` is replaced by a row's value, another in each round. "on from" follows the link to the next page,
# from one round to the next.
PAGES = [
    ("today", "/"),
    ("clients", "/clients"),
    ("clients, a later page", "/clients?before={micros}"),
    *[(f"clients in {state}", f"/clients?state={state}") for state in STATES],
    *[(f"clients, {flag}", f"/clients?flag={flag}") for flag in "paid unpaid waiting optedout unreachable".split()],
    ("clients, two filters, a later page", "/clients?state=S9_TEST_CALL&flag=unreachable&before={micros}"),
    ("search: a phone", "/clients?q=%2B{phone}"),
    ("search: a name", "/clients?q={name}"),
    ("search: a number", "/clients?q={number}"),
    ("search: a text's SID", "/clients?q={sid}"),
    ("search: a subscription", "/clients?q={subscription}"),
    ("search: a payment", "/clients?q={payment}"),
    ("search: a common word", "/clients?q=plumbing"),
    ("search: a letter", "/clients?q=s"),
    ("search: two common words", "/clients?q=smith+sons"),
    ("search: an owner", "/clients?q=priya"),
    ("search: no hit", "/clients?q=zebra{micros}"),
    ("a client", "/clients/{client}"),
    ("a client that waits", "/clients/{waiting}"),
    ("a busy client", "/clients/{busy}"),
    ("a busy client, page after page", "on from /clients/{busy}"),
    ("waiting list", "/waiting"),
    ("numbers", "/numbers"),
    ("numbers, a later page", "/numbers?after=%2B{pool}"),
    *[(f"numbers, {state}", f"/numbers?state={state}") for state in "free held cooling drained reserved".split()],
    ("a number", "/numbers/%2B{pool}"),
    ("purchases", "/purchases"),
    ("purchases, a later page", "/purchases?before={purchase}"),
    ("payments", "/payments"),
    ("texts", "/texts"),
    ("texts, a later page", "/texts?before={message}"),
    *[(f"texts, {status}", f"/texts?status={status}") for status in "queued underway failed sent delivered undelivered held".split()],
    ("texts, failed, a later page", "/texts?status=failed&before={message}"),
    ("texts, sent, a later page", "/texts?status=sent&before={message}"),
    ("texts with an error", "/texts?code=30006"),
    ("texts with an unknown error", "/texts?code=11111"),
    ("texts, older than a day", "/texts?age=1d"),
    ("many texts: what would happen", "/texts/bulk?action=replay&which=all&status=failed"),
    ("many texts: the queued", "/texts/bulk?action=drop&which=all&status=queued"),
    ("many texts: an action", "/texts/bulk/1"),
    ("events", "/events"),
    ("events, a later page", "/events?before={event}"),
    ("events that wait", "/events?show=waiting"),
    *[(f"events, {kind}", f"/events?kind={kind}") for kind in KINDS],
    ("events, an outcome", "/events?outcome=not_understood"),
    ("events, a kind, a later page", "/events?kind=stripe&before={event}"),
    ("events, older than a day", "/events?age=1d"),
    ("alerts", "/alerts"),
    ("alerts, a later page", "/alerts?before={alert}"),
    ("stops", "/stops"),
    ("audit log", "/audit"),
    ("audit log, a later page", "/audit?before={entry}"),
    ("audit log of a client", "/audit?subject={client}"),
    ("people", "/people"),
    ("account", "/account"),
    ("the page to log in at", "/login"),
    ("the live stream begins", "/live"),
    ("healthz", "/healthz"),
]

BUSY = "(SELECT client_id FROM events WHERE client_id IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC LIMIT 1)"
ROWS = {
    "client": "SELECT id FROM clients ORDER BY md5(id || 'a') LIMIT {n}",
    "phone": 'SELECT "phoneNumber" FROM clients ORDER BY md5(id || \'b\') LIMIT {n}',
    "name": 'SELECT "businessName" FROM clients ORDER BY md5(id || \'c\') LIMIT {n}',
    "number": 'SELECT "twilioNumber" FROM clients WHERE "twilioNumber" IS NOT NULL ORDER BY md5(id) LIMIT {n}',
    "waiting": "SELECT client_id FROM waiting_list ORDER BY md5(client_id) LIMIT {n}",
    "busy": f"SELECT {BUSY}",
    "pool": "SELECT substr(phone_e164, 2) FROM twilio_number_pool ORDER BY md5(phone_e164) LIMIT {n}",
    "subscription": "SELECT id FROM subscriptions WHERE client_id IS NOT NULL ORDER BY md5(id) LIMIT {n}",
    "payment": "SELECT stripe_id FROM payment_events ORDER BY md5(stripe_id) LIMIT {n}",
    "sid": "SELECT twilio_sid FROM messages JOIN (SELECT max(id) AS last FROM messages) m ON TRUE,"
           " generate_series(1, {n}) AS k WHERE id = m.last * k / {n} - 300 AND twilio_sid IS NOT NULL",
    "micros": "SELECT (extract(epoch FROM now() - k * INTERVAL '7 days') * 1000000)::BIGINT FROM generate_series(1, {n}) AS k",
    **{name: f"SELECT (SELECT max(id) FROM {table}) * k / {{n}} FROM generate_series(1, {{n}}) AS k"
       for name, table in [("message", "messages"), ("event", "events"), ("alert", "alerts"), ("entry", "audit_log"),
                           ("purchase", "number_purchases")]},
}


class Console:
    """A console, a person who is logged in, and the values of rows to ask for."""

    def __init__(self, address, database):
        self.host = urllib.parse.urlsplit(address).netloc
        self.database = database
        self.rows = {name: self.read(query.replace("{n}", str(ROUNDS))) for name, query in ROWS.items()}
        self.http = http.client.HTTPConnection(self.host, timeout=60)
        form = {"name": os.environ["CONSOLE_NAME"], "password": os.environ["CONSOLE_PASSWORD"]}
        headers = {"content-type": "application/x-www-form-urlencoded", "sec-fetch-site": "same-origin"}
        self.http.request("POST", "/login", urllib.parse.urlencode(form), headers)
        answer = self.http.getresponse()
        answer.read()
        if answer.status != 303:
            sys.exit(f"{address}: nobody can log in: {answer.status}")
        self.followed = {}
        self.cookie = answer.getheader("set-cookie").split(";")[0]

    def read(self, query):
        found = subprocess.run(["psql", "-qAtX", "-v", "ON_ERROR_STOP=1", "-d", self.database, "-c", query],
                               check=True, capture_output=True, text=True)
        return found.stdout.split("\n")[:-1]

    def ask(self, page, number):
        """Returns the milliseconds until the whole page has come; of a stream, until it has begun."""
        def value(name):
            rows = self.rows[name.group(1)]
            return urllib.parse.quote(rows[number % len(rows)], safe="")
        path = re.sub(r"\{(\w+)\}", value, page.removeprefix("on from "))
        path = self.followed.get(page, path)
        begun = time.perf_counter()
        self.http.request("GET", path, headers={"cookie": self.cookie})
        answer = self.http.getresponse()
        if page == "/live":
            self.http.close()
        else:
            body = answer.read()
        took = (time.perf_counter() - begun) * 1000
        if answer.status not in (200, 303):
            sys.exit(f"{path} on {self.host}: status {answer.status}")
        if page.startswith("on from "):
            link = re.search(r'class="next"><a href="([^"]+)">Earlier', body.decode())
            self.followed.update({page: html.unescape(link.group(1))} if link else {})
        return took


def percentile(took, part):
    return sorted(took)[min(len(took) - 1, int(len(took) * part))]


def main():
    pairs = list(zip(sys.argv[1::2], sys.argv[2::2]))
    if not pairs or len(pairs) > 2:
        sys.exit(__doc__)
    consoles = [Console(*pair) for pair in pairs]
    print(f"{'milliseconds, ' + str(ROUNDS) + ' rounds':36}" + "".join(f"{'p50':>9}{'p95':>8}{'max':>8}" for _ in consoles))
    wrong = []
    for name, page in [it for it in PAGES if ONLY in (None, it[0])]:
        took = [[] for _ in consoles]
        for number in range(ROUNDS):
            for console, times in zip(consoles, took):
                times.append(console.ask(page, number))
        figures = [(percentile(it, 0.5), percentile(it, 0.95), max(it)) for it in took]
        first, last = figures[0], figures[-1]
        is_flat = last[0] <= first[0] * FLAT or last[0] <= first[0] + 50
        is_wrong = last[1] > LIMIT_MS or not is_flat
        wrong += [name] if is_wrong else []
        print(f"{name:36}" + "".join(f"{p50:9.1f}{p95:8.1f}{most:8.1f}" for p50, p95, most in figures)
              + ("  <<<" if is_wrong else ""), flush=True)
    if wrong:
        sys.exit(f"over {LIMIT_MS:.0f} ms at p95, or not flat: {'; '.join(wrong)}")


main()
