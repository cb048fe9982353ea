// The console, as operators use it, with clients on the phone page.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Browser, Phone, Up, assertAccessible, assertFits, picture } from "./harness.mjs";

const ANN = "+447900000001";
const BEN = "+447900000002";
const CAT = "+447900000003";
const PEOPLE = { ada: "operator", bob: "operator", vic: "viewer" };

let up;
let browser;
const passwords = {};

before(async () => {
  browser = await Browser.start();
  up = await Up.start({ TWILIO_POOL_NUMBERS: "+447111111111", TWILIO_SEGMENTS_PER_SECOND: "1000" });
  for (const [name, role] of Object.entries(PEOPLE)) {
    const said = await up.jobrun("console", "user", "add", name, "--role", role, "--json");
    passwords[name] = JSON.parse(said).password;
  }
});

after(async () => {
  await browser?.chromium.close();
  await up?.remove();
});

afterEach(() => browser.assertWell());

/** Opens the console as a person. */
async function logIn(name, options) {
  const page = await browser.open(`${up.consoleUrl}/login`, options);
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Password", { exact: true }).fill(passwords[name]);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.getByRole("heading", { name: "Today" }).waitFor();
  return page;
}

/** Signs a phone up as far as the third question. */
async function begin(number, business) {
  await up.jobrun("text", number, "Plumber from London");
  await until(async () => (await up.stateOf(number)) === "S2_BUSINESS_NAME", "S2");
  await up.jobrun("text", number, business);
  await until(async () => (await up.stateOf(number)) === "S3_OWNER_NAME", "S3");
}

async function until(condition, what) {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Waits until the page shows these words. Without scripts, it is loaded again meanwhile. */
async function shows(page, words, scripts = true) {
  const deadline = Date.now() + 30_000;
  while (!(await page.locator("body").innerText()).includes(words)) {
    assert.ok(Date.now() < deadline, `${words} is not in ${await page.locator("body").innerText()}`);
    if (scripts) await page.waitForTimeout(50);
    else await page.goto(page.url().split("#")[0]);
  }
}

/** Finds a client by its business. The search leads to the page of the only one that it finds. */
async function open(page, business) {
  await page.getByLabel("Find a client").fill(business);
  await page.getByLabel("Find a client").press("Enter");
  await page.getByRole("heading", { name: business }).waitFor();
}

async function reply(page, words) {
  await page.getByLabel("Reply by text").fill(words);
  await page.getByRole("button", { name: "Send" }).click();
}

test("an operator finds a client, takes over, replies, and hands back", async () => {
  await begin(ANN, "ABC Plumbing");
  const phone = new Phone(await browser.open(`${up.url}/phones/${ANN}`), ANN);
  const page = await logIn("ada");
  await open(page, "ABC Plumbing");
  await page.getByRole("button", { name: "Take over" }).click();
  await shows(page, "You have taken over");
  await phone.says("I don't understand the question");
  await shows(page, "I don't understand the question");
  await reply(page, "Hi, Ada from JobRun here. We only need your own name.");
  await phone.hears("Ada from JobRun here");
  await shows(page, "ada replied");
  await picture(page, "console-1440-light-taken-over");
  assert.equal(await phone.card.locator(".received").count(), 3, "no automatic text came in between");
  await page.getByRole("button", { name: "Hand back" }).click();
  await phone.hears("your own name?");
  await phone.says("Ann Smith");
  await phone.hears("Reply SMS");
  await shows(page, "ada handed the client back");
  await page.context().close();
  await phone.page.context().close();
});

test("of two operators who reply at once one is told so, and neither loses a word", async () => {
  await begin(BEN, "Ben's Boilers");
  const [ada, bob] = [await logIn("ada"), await logIn("bob")];
  await open(ada, "Ben's Boilers");
  await open(bob, "Ben's Boilers");
  await bob.getByLabel("Reply by text").fill("Hello from Bob");
  await reply(ada, "Hello from Ada");
  await shows(ada, "You have taken over");
  await bob.getByRole("button", { name: "Send" }).click();
  await shows(bob, "ada has taken this client over. Nothing was done.");
  assert.equal(await bob.getByLabel("Reply by text").inputValue(), "Hello from Bob");
  await picture(bob, "console-1440-light-collision");
  // The browser reports the refusal, as it should.
  browser.faults = browser.faults.filter((fault) => !fault.includes("409 (Conflict)"));
  await bob.getByRole("button", { name: "Take over from ada" }).click();
  await shows(bob, "You have taken over");
  await reply(bob, "Hello from Bob");
  const phone = new Phone(await browser.open(`${up.url}/phones/${BEN}`), BEN);
  await phone.hears("Hello from Bob");
  const heard = (await phone.card.locator(".received .words").allTextContents()).map((words) => words.trim());
  assert.deepEqual(heard.slice(-2), ["Hello from Ada", "Hello from Bob"]);
  for (const page of [ada, bob, phone.page]) await page.context().close();
});

test("without scripts, in a window of 360 pixels", async () => {
  await begin(CAT, "Cat Carpets");
  const page = await logIn("ada", { width: 360, height: 740, scripts: false });
  await open(page, "Cat Carpets");
  await reply(page, "Hi Cat, Ada here");
  await shows(page, "You have taken over", false);
  await shows(page, "Hi Cat, Ada here", false);
  await page.getByText("More actions").click();
  await page.getByLabel("Correct").selectOption("business_name");
  await page.getByLabel("to", { exact: true }).fill("Cat's Carpets");
  await page.locator("form", { hasText: "Correct" }).getByLabel("Reason").fill("she said so");
  await page.getByRole("button", { name: "Correct" }).click();
  await shows(page, "corrected the name of the business to Cat's Carpets, because: she said so", false);
  await page.getByRole("button", { name: "Hand back" }).click();
  await shows(page, "ada handed the client back", false);
  await page.context().close();
});

test("an open page says when it was made, and follows changes", async () => {
  const page = await logIn("ada");
  const made = page.locator("#live .made time");
  const before = await made.getAttribute("datetime");
  await up.jobrun("text", BEN, "Are you there?");
  await until(async () => (await made.getAttribute("datetime")) !== before, "the page says that it is newer");
  assert.equal(await page.getByText("Made ").count(), 1, "nowhere else");
  await page.context().close();
});

test("the number check shows what the command has found, and to viewers no number", async () => {
  const page = await logIn("ada");
  await page.goto(`${up.consoleUrl}/numbers/check`);
  await shows(page, "No check has been kept yet");
  assert.match(await up.checkNumbers(`http://127.0.0.1:${up.port}`), /2 numbers: all is well/);
  await shows(page, "all is well", false);
  assert.match(await up.checkNumbers("https://onboarding.example.com"), /2 with 4 problems/);
  await page.getByRole("navigation").getByRole("link", { name: "Number check" }).click();
  await shows(page, "+447111111111");
  await page.getByLabel("Show").selectOption("problems");
  await page.waitForURL(/show=problems/);
  await shows(page, "a call comes in: the address is not ours");
  await shows(page, "https://onboarding.example.com/webhooks/twilio/voice");
  await page.context().close();
  const viewer = await logIn("vic");
  await viewer.goto(`${up.consoleUrl}/numbers/check`);
  await shows(viewer, "2 with problems");
  assert.ok(!(await viewer.content()).includes("447111111111"), "viewers see no number");
  await viewer.context().close();
});

test("axe finds nothing on any page, light and dark, wide and narrow", async () => {
  for (const scheme of ["light", "dark"]) {
    for (const width of [360, 1440]) {
      const page = await logIn("ada", { width, scheme });
      await open(page, "Ben's Boilers");
      const client = new URL(page.url()).pathname;
      for (const path of ["/", "/alerts", "/clients", client, "/waiting", "/payments", "/numbers", "/numbers/+447111111111", "/numbers/check",
        "/purchases", "/texts", "/texts/bulk?action=replay&which=all", "/cases", "/stops", "/events", "/audit", "/account"]) {
        const response = await page.goto(`${up.consoleUrl}${path}`);
        assert.equal(response.status(), 200, path);
        await page.locator("details").evaluateAll((all) => all.forEach((it) => { it.open = true; }));
        const name = `console-${width}-${scheme}-${path.startsWith("/clients/") ? "client" : path.replaceAll(/[/?].*/g, (it) => it.replaceAll(/[^a-z]/g, "")) || "today"}`;
        await assertAccessible(page, name);
        await assertFits(page, name);
        await picture(page, name);
      }
      await page.context().close();
    }
  }
});

/** Asks the stand-in for the texts to these phones: how often each was sent to, and how often one was delivered. */
async function sentTo(phones) {
  const all = await (await fetch(`${up.url}/messages`)).text();
  const to = new Map(phones.map((phone) => [phone, { sent: 0, delivered: 0 }]));
  for (const [, phone, status] of all.matchAll(/ -> (\+\d+) {2}\(([a-z]+),/g)) {
    const counts = to.get(phone);
    if (!counts) continue;
    counts.sent += 1;
    if (status === "delivered") counts.delivered += 1;
  }
  return [...to.values()];
}

const order = (faults) => fetch(`${up.url}/faults`, { method: "POST", body: new URLSearchParams(faults) });

test("five hundred failed texts are sent again, each once, and the page follows to the end", async (t) => {
  const began = Date.now();
  const did = (what) => t.diagnostic(`${((Date.now() - began) / 1000).toFixed(1).padStart(5)} s  ${what}`);
  const phones = Array.from({ length: 500 }, (_, n) => `+447900${String(100_000 + n)}`);
  await order({ end: "failed-30001" });
  for (let from = 0; from < phones.length; from += 50) {
    await Promise.all(phones.slice(from, from + 50).map((phone) =>
      fetch(`${up.url}/texts`, { method: "POST", body: new URLSearchParams({ from: phone, body: "Plumber from London" }) })));
  }
  const page = await logIn("ada");
  const list = `${up.consoleUrl}/texts?status=failed&code=30001`;
  const check = `${up.consoleUrl}/texts/bulk?action=replay&which=all&status=failed&code=30001`;
  await until(async () => {
    await page.goto(check);
    return (await page.locator("body").innerText()).includes("500 of 500 texts would be sent again");
  }, "all have failed");
  assert.deepEqual(new Set((await sentTo(phones)).map(({ sent, delivered }) => `${sent} ${delivered}`)), new Set(["1 0"]));
  await order({ end: "delivered" });
  did("500 texts have failed");

  await page.goto(list);
  await page.getByLabel("All that match the filter").check();
  await page.getByRole("button", { name: "Send failed ones again" }).click();
  await shows(page, "500 of 500 texts would be sent again. Nothing is changed yet.");
  await picture(page, "console-1440-light-replay-check");
  assert.ok((await sentTo(phones)).every(({ sent }) => sent === 1), "a dry run sends nothing");
  await page.getByLabel("Why, for the audit log").fill("Twilio's queue overflowed");
  await page.getByRole("button", { name: "Send again: 500 texts" }).click();
  const progress = page.locator("#h-progress");
  await progress.waitFor();
  did("the action has begun");
  const seen = [];
  await until(async () => {
    const now = (await progress.innerText()).trim();
    if (seen.at(-1) !== now) seen.push(now);
    return now.startsWith("Finished");
  }, "the page follows to the end");
  did(`the page has shown: ${seen.join(", ")}`);
  assert.match(await page.locator("#live dl").innerText(), /Chosen\s+500\s+sent again\s+500/i);
  await picture(page, "console-1440-light-replayed");
  await until(async () => (await sentTo(phones)).every(({ delivered }) => delivered === 1), "all are delivered");
  assert.deepEqual(new Set((await sentTo(phones)).map(({ sent }) => sent)), new Set([2]), "each failed one and one more");
  did("every text was sent once more, and delivered");
  await page.goto(list);
  await shows(page, "30001");
  await page.context().close();
});
