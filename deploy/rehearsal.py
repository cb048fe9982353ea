"""The parts that the rehearsals of ha, upgrade and backup share: a stand-in for Twilio, and small tools."""

import asyncio
import base64
import calendar
import collections
import dataclasses
import email.utils
import functools
import hashlib
import hmac
import itertools
import json
import re
import secrets
import subprocess
import sys
import threading
import time
import urllib.parse

ACCOUNT = "AC" + "1" * 32
TOKEN = secrets.token_hex(16)
PUBLIC = "https://onboarding.example.com"
ONBOARDING_NUMBER = "+447476955179"
CANNOT_RUN = 77

# The pauses before each of Twilio's six tries. Twilio does not say how long they are.
PAUSES = (0, 0.5, 1, 2, 3, 4)
GIVES_UP_AFTER = 15
# A text whose fate is unknown is looked for at Twilio twice, and then sent again.
LATEST_SECOND_TRY = 45
CONNECTS_WITHIN = 2
RESPONDS_WITHIN = 2.5


class Broken(Exception):
    """The rehearsal itself does not work."""


def say(line):
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def wait_for(what, seconds, condition):
    """Returns the first true result of `condition`."""
    until = time.monotonic() + seconds
    while True:
        try:
            result = condition()
        except (OSError, ValueError, KeyError, Broken):
            result = None
        if result:
            return result
        if time.monotonic() > until:
            raise Broken(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def run(*argv, env=None, check=True, timeout=60):
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise Broken(f"{' '.join(map(str, argv))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def skip(why):
    print(f"skipped: {why}")
    sys.exit(CANNOT_RUN)


def table(columns, rows):
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in [columns, ["---"] * len(columns), *rows])


@dataclasses.dataclass
class Webhook:
    kind: str
    external_id: str
    phone: str
    path: str
    form: dict
    created: float = dataclasses.field(default_factory=time.monotonic)
    tries: list = dataclasses.field(default_factory=list)
    acknowledged: float = None
    # The port of the ingress that acknowledged it.
    taken_by: int = None

    def signed(self):
        """Returns the headers and the body of a try. Twilio signs the public address and the sorted parameters."""
        signed = PUBLIC + self.path + "".join(name + self.form[name] for name in sorted(self.form))
        signature = base64.b64encode(hmac.new(TOKEN.encode(), signed.encode(), hashlib.sha1).digest()).decode()
        headers = f"X-Twilio-Signature: {signature}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        return headers, urllib.parse.urlencode(self.form)


class Twilio:
    """A stand-in: posts signed webhooks, to each ingress in turn, and serves what the workers use of the REST API."""

    def __init__(self, ingress_ports, api_ports):
        self.sending = False
        self.api_ports, self.ingress_ports = api_ports, itertools.cycle(ingress_ports)
        self.webhooks, self.replies = [], collections.defaultdict(list)
        self.listed, self.by_sid, self.problems = [], {}, collections.Counter()
        self.loop = asyncio.new_event_loop()
        self.tasks, self.servers = set(), []

    def start(self):
        self.serving = self.loop.create_task(self.serve())
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def close(self):
        """Ends what is under way, and gives the ports back."""
        for end in [self.serving.cancel, *(task.cancel for task in self.tasks), *(server.close for server in self.servers)]:
            self.loop.call_soon_threadsafe(end)
        self.loop.call_soon_threadsafe(self.loop.call_later, 0.1, self.loop.stop)
        self.thread.join()

    async def serve(self):
        for port in self.api_ports:
            self.servers.append(await asyncio.start_server(functools.partial(self.connection, port), "127.0.0.1", port))
        await self.load()

    async def load(self):
        """Sends webhooks as long as `sending` is set. Never returns."""
        raise NotImplementedError

    def replied(self, phone, body, port):
        """A worker sent a text, by this port of the API."""

    def spawn(self, work):
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.tasks.discard(task)
        if not task.cancelled() and task.exception():
            self.problems[f"the stand-in failed ({task.exception()!r})"] += 1

    async def at_rate(self, rate, begin):
        """Begins as often a second, as long as `sending` is set."""
        due = time.monotonic()
        while True:
            due = max(due + 1 / rate, time.monotonic() - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
            if self.sending:
                self.spawn(begin())

    def text(self, phone, body):
        sid = "SM" + secrets.token_hex(16)
        self.list(sid, phone, ONBOARDING_NUMBER, body, "inbound", "received")
        form = {"MessageSid": sid, "AccountSid": ACCOUNT, "From": phone, "To": ONBOARDING_NUMBER, "Body": body}
        return self.keep(Webhook("text", sid, phone, "/webhooks/twilio/sms", form))

    def report(self, sid, phone, callback):
        url = urllib.parse.urlsplit(callback)
        form = {"MessageSid": sid, "AccountSid": ACCOUNT, "MessageStatus": "delivered", "To": phone, "From": ONBOARDING_NUMBER}
        return self.keep(Webhook("report", f"{sid}:delivered", phone, f"{url.path}?{url.query}", form))

    def keep(self, webhook):
        self.webhooks.append(webhook)
        return webhook

    def list(self, sid, sender, to, body, direction, status):
        now = time.time()
        date = email.utils.formatdate(int(now))
        entry = json.dumps({
            "sid": sid, "account_sid": ACCOUNT, "status": status, "from": sender, "to": to, "body": body, "direction": direction,
            "date_created": date, "date_updated": date, "date_sent": date, "error_code": None, "num_segments": "1",
        })
        self.by_sid[sid] = entry
        self.listed.append((int(now), sender, to, entry))

    async def deliver_after(self, seconds, webhook):
        await asyncio.sleep(seconds)
        webhook.created = time.monotonic()
        await self.deliver(webhook)

    async def deliver(self, webhook):
        for pause in PAUSES:
            await asyncio.sleep(pause)
            began = time.monotonic()
            left = webhook.created + GIVES_UP_AFTER - began
            if left <= 0:
                return
            port = next(self.ingress_ports)
            try:
                status = await asyncio.wait_for(self.post(webhook, port), left)
            except (OSError, asyncio.TimeoutError, ValueError, IndexError):
                status = 0
            ended = time.monotonic()
            webhook.tries.append((began, ended, status))
            if 200 <= status < 300:
                webhook.acknowledged, webhook.taken_by = ended, port
            elif 400 <= status < 500:
                self.problems[f"a webhook was answered {status}"] += 1
            if 200 <= status < 500:
                return

    async def post(self, webhook, port):
        """As Twilio: a connection for each try."""
        headers, body = webhook.signed()
        request = (
            f"POST {webhook.path} HTTP/1.1\r\nHost: onboarding.example.com\r\n{headers}"
            f"Content-Length: {len(body.encode())}\r\nConnection: close\r\n\r\n{body}"
        )
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), CONNECTS_WITHIN)
        try:
            writer.write(request.encode())
            answer = await asyncio.wait_for(reader.read(), RESPONDS_WITHIN)
            return int(answer.split(b" ", 2)[1])
        finally:
            writer.close()

    async def connection(self, port, reader, writer):
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"(?im)^content-length: *(\d+)", head)
                body = (await reader.readexactly(int(length[1]))).decode() if length else ""
                method, target = head.split(" ", 2)[:2]
                status, answer = self.answer(port, method, urllib.parse.urlsplit(target), body)
                writer.write(
                    f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\nContent-Length: {len(answer.encode())}\r\n\r\n"
                    f"{answer}".encode()
                )
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def answer(self, port, method, url, body):
        folder = f"/2010-04-01/Accounts/{ACCOUNT}/Messages"
        if method == "POST" and url.path == folder + ".json":
            form = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
            sid = "SM" + secrets.token_hex(16)
            self.list(sid, form["From"], form["To"], form["Body"], "outbound-api", "delivered")
            self.replies[form["To"]].append(time.monotonic())
            self.replied(form["To"], form["Body"], port)
            report = self.report(sid, form["To"], form["StatusCallback"])
            self.spawn(self.deliver_after(0.3, report))
            return 201, self.by_sid[sid]
        if method == "GET" and url.path == folder + ".json":
            return 200, self.page(urllib.parse.parse_qs(url.query))
        sid = url.path.removeprefix(folder + "/").removesuffix(".json")
        return (200, self.by_sid[sid]) if method == "GET" and sid in self.by_sid else (404, '{"code": 20404}')

    def page(self, query):
        """A page of the list of texts, newest first. Later pages count from the oldest, so that new texts do not move them."""
        get = lambda name, otherwise: query.get(name, [otherwise])[0]
        since = get("DateSent>", None)
        since = calendar.timegm(time.strptime(since, "%Y-%m-%dT%H:%M:%SZ")) if since else 0
        end, size = int(get("PageToken", len(self.listed))), int(get("PageSize", 50))
        entries, position = [], end
        while position > 0 and len(entries) < size:
            position -= 1
            sent, sender, to, entry = self.listed[position]
            if sent < since:
                position = 0
            elif get("From", sender) == sender and get("To", to) == to:
                entries.append(entry)
        query = urllib.parse.urlencode({**{name: values[0] for name, values in query.items()}, "PageToken": position})
        path = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        following = json.dumps(f"{path}?{query}" if position > 0 else None)
        return f'{{"messages": [{", ".join(entries)}], "next_page_uri": {following}}}'


class Texts(Twilio):
    """Posts the first texts of new clients at a steady rate."""

    def __init__(self, rate, ingress_port, api_port):
        super().__init__([ingress_port], [api_port])
        self.rate, self.texts = rate, 0
        self.start()

    async def load(self):
        await self.at_rate(self.rate, self.begin)

    def begin(self):
        self.texts += 1
        return self.deliver(self.text(f"+4479{self.texts:08}", "Plumber from London"))
