// The phone page, as its users see it.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { Browser, Phone, Up, assertAccessible, assertFits, picture } from "./harness.mjs";

const FIRST = "+447900000001";
const SECOND = "+447900000002";
const DEBTOR = "+447900000003";
const HOSTILE = "+447900000004";
const WAITING = "+447900000005";

/** Enough for the sign-ups of this file but the last, who waits. */
const NUMBERS = ["+447111111111", "+447111111112", "+447111111113"];

let up;
let browser;
/** The steps from the start of the programs to the end of the first sign-up, each with its time since then. */
const steps = [];
let began;
const did = (what) => steps.push([Date.now() - began, what]);

before(async () => {
  browser = await Browser.start();
  began = Date.now();
  up = await Up.start({ TWILIO_POOL_NUMBERS: NUMBERS.join(",") });
  did("jobrun up: the database, the programs and the stand-in are up");
});

after(async () => {
  await browser?.chromium.close();
  await up?.remove();
});

afterEach(() => browser.assertWell());

/** Signs up with only what the page shows. Calls `step` after each action. */
async function signUp(phone, business, step) {
  await step("the page is open");
  await phone.picks("Plumber from London");
  await phone.hears("name of your business");
  await step("texts the trade and the place");
  await phone.says(business);
  await phone.hears("own name");
  await step("texts the name of the business");
  await phone.says("John Smith");
  await phone.hears("Reply SMS");
  await step("texts the own name");
  await phone.picks("SMS");
  await phone.hears("Reply YES");
  await step("chooses SMS");
  await phone.picks("YES");
  await phone.hears("confirm payment here");
  await step("chooses YES");
  await phone.card.locator('a[href^="/pay?"]').last().click();
  await phone.page.getByRole("button", { name: "Pay by card" }).click();
  await phone.page.getByRole("link", { name: "Back to the phone" }).click();
  await phone.hears("Your JobRun number is");
  await step("opens the payment link, pays, and goes back");
  await phone.picks("1 iPhone");
  await phone.hears("Reply DONE");
  await step("chooses iPhone");
  await phone.card.locator(".received").last().getByRole("link").click();
  await phone.card.getByRole("button", { name: "Forward calls here" }).click();
  await phone.until(async () => (await phone.card.innerText()).includes("are forwarded to"), "forwards");
  await step("opens the number, and forwards unanswered calls to it");
  await phone.picks("DONE");
  await phone.hears("ring your usual number from another phone");
  await step("chooses DONE");
  await phone.card.locator(".ring").getByRole("button", { name: "Ring" }).click();
  await phone.hears("You're live!");
  await step("rings the phone");
}

test("a newcomer signs up on the phone page, from the first text to the end", async (t) => {
  const page = await browser.open(up.url);
  const phone = new Phone(page, FIRST);
  await picture(page, "1440-light-begin");
  await signUp(phone, "ABC Plumbing", async (what) => did(what));
  assert.equal(await up.stateOf(FIRST), "COMPLETE");
  await phone.until(async () => (await phone.card.innerText()).includes("The caller heard: Thank you for calling."), "heard");
  did("the page shows what the caller heard: the sign-up is finished");
  steps.forEach(([ms, what], place) => {
    const took = ms - (steps[place - 1]?.[0] ?? 0);
    t.diagnostic(`${(ms / 1000).toFixed(2).padStart(6)} s (+${(took / 1000).toFixed(2)} s)  ${what}`);
  });
  await picture(page, "1440-light-complete");
  await page.context().close();
});

test("a newcomer signs up without scripts, in a window of 360 pixels", async () => {
  const page = await browser.open(up.url, { width: 360, height: 740, scripts: false });
  await page.getByLabel("Its number").fill("07900 000002");
  await page.getByRole("button", { name: "Add phone" }).click();
  await signUp(new Phone(page, SECOND), "Smith & Sons", async () => {});
  assert.equal(await up.stateOf(SECOND), "COMPLETE");
  await page.context().close();
});

test("phones beside each other, also those texted from elsewhere, show their own texts at once", async () => {
  const page = await browser.open(up.url);
  await up.jobrun("text", DEBTOR, "Electrician from Leeds");
  // A page that is open does not add phones by itself, because that would disturb what is typed.
  await page.goto(`${up.url}/`);
  const debtor = new Phone(page, DEBTOR);
  await debtor.hears("name of your business");
  const typed = new Phone(page, FIRST).card.getByRole("textbox", { name: "Text from" });
  await typed.fill("half a sentence");
  await up.jobrun("text", DEBTOR, "Bright Sparks");
  await debtor.hears("own name");
  await up.jobrun("text", FIRST, "Hello?");
  await new Phone(page, FIRST).hears("all set");
  assert.equal(await typed.inputValue(), "half a sentence", "new texts do not disturb what is being typed");
  assert.equal(await debtor.card.locator(".sent").count(), 2);
  await debtor.says("Ann Jones");
  await debtor.hears("Reply SMS");
  const own = await browser.open(`${up.url}/phones/${DEBTOR}`, { width: 360, height: 740 });
  assert.equal(await own.locator(".phone").count(), 1);
  assert.equal(await own.locator(".sent").count(), 3);
  await own.context().close();
  await page.context().close();
});

test("a debit arrives when four days have passed, and a declined card pays nothing", async () => {
  const page = await browser.open(up.url);
  const phone = new Phone(page, DEBTOR);
  await phone.picks("SMS");
  await phone.hears("Reply YES");
  await phone.picks("YES");
  await phone.hears("confirm payment here");
  await phone.card.locator('a[href^="/pay?"]').click();
  await page.getByRole("button", { name: "Try a card that is declined" }).click();
  await page.getByText("Your card was declined").waitFor();
  await picture(page, "1440-light-declined");
  await page.getByRole("button", { name: "Pay by Direct Debit" }).click();
  await page.getByRole("link", { name: "Back to the phone" }).click();
  await phone.hears("still confirming your payment");
  assert.match(await page.locator("#payments").innerText(), /debit is under way/);
  await page.getByRole("button", { name: "4 days" }).click();
  await page.getByText("96 hours have passed").waitFor();
  await phone.hears("Your JobRun number is");
  await page.context().close();
});

test("a client who waits for a number hears that it takes longer, once the time has passed", async () => {
  const page = await browser.open(`${up.url}/phones/${WAITING}`);
  const phone = new Phone(page, WAITING);
  await phone.picks("Plumber from London");
  await phone.hears("name of your business");
  for (const [words, answer] of [["ABC Drains", "own name"], ["Eve Brown", "Reply SMS"], ["SMS", "YES"], ["YES", "payment here"]]) {
    await phone.says(words);
    await phone.hears(answer);
  }
  await phone.card.locator('a[href^="/pay?"]').click();
  await page.getByRole("button", { name: "Pay by card" }).click();
  await page.getByRole("link", { name: "Back to the phone" }).click();
  await phone.hears("currently at capacity");
  const front = await browser.open(up.url);
  await front.getByRole("button", { name: "24 hours" }).click();
  await front.getByText("24 hours have passed").waitFor();
  await phone.hears("will take longer than the 24 hours");
  await picture(page, "1440-light-waiting");
  await front.context().close();
  await page.context().close();
});

test("hostile and long texts are shown as they are, and harm nothing", async () => {
  const texts = [
    "<script>alert(1)</script><img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)> &lt;b&gt; {{ 7 * 7 }} \' onfocus=alert(4) autofocus=',
    "\u202egnp.exe\u202c and \u2066\u202eabc",
    "\u0645\u0631\u062d\u0628\u0627 https://example.com/pay? +44",
    "\u{1f44d}\u{1f3fd} \u{1f468}\u200d\u{1f469}\u200d\u{1f467} caf\u00e9\nand a second line",
    "W".repeat(1600),
  ];
  for (const text of texts) await up.jobrun("text", HOSTILE, text);
  for (const width of [360, 1440]) {
    const page = await browser.open(`${up.url}/phones/${HOSTILE}`, { width, height: 740 });
    const shown = await page.locator(".sent .words").allTextContents();
    assert.deepEqual(shown, texts);
    assert.equal(await page.locator(".words :is(script, img, svg, b)").count(), 0);
    assert.equal(await page.locator(".sent a").count(), 0, "only texts from JobRun have links");
    await assertFits(page, `hostile texts at ${width}`);
    await picture(page, `${width}-light-hostile`);
    await page.context().close();
  }
});

test("the panel makes Twilio go wrong, and the phone shows what became of each text", async () => {
  const page = await browser.open(up.url);
  await page.getByLabel("Texts end").selectOption("undelivered-30003");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("Texts end: 30003, the phone is off").waitFor();
  const phone = new Phone(page, WAITING);
  await phone.says("Any news?");
  await phone.until(async () => (await phone.card.locator(".lost").count()) > 0, "the text is lost");
  assert.match(await phone.card.locator(".lost").last().innerText(), /did not arrive: undelivered \(30003\)/);
  await page.getByRole("button", { name: "All works again" }).click();
  await page.getByText("Twilio works.").waitFor();
  await page.getByLabel("The next text of JobRun's").selectOption("500-before");
  await page.getByRole("button", { name: "Apply" }).click();
  await page.getByText("Next text: 500, nothing accepted").waitFor();
  await phone.says("And now?");
  await phone.until(async () => (await phone.card.locator(".sent").last().innerText()).includes("sent"), "is taken");
  await phone.card.locator(".sent").last().getByText("200 <Response/>").waitFor({ state: "attached" });
  await picture(page, "1440-light-lost");
  await page.context().close();
});

test("a phone that forwards to no number, and numbers that are not the account's, are told apart", async () => {
  const page = await browser.open(`${up.url}/phones/${WAITING}`);
  const phone = new Phone(page, WAITING);
  await phone.card.locator(".ring").getByRole("button", { name: "Ring" }).click();
  await page.getByText("this phone forwards its calls to no number").waitFor();
  await page.goto(`${up.url}/phones/${WAITING}?number=%2B447111111111`);
  await page.getByRole("button", { name: "Ring it as a stranger" }).click();
  await page.getByText("The caller heard").waitFor();
  await page.goto(`${up.url}/phones/${WAITING}?number=%2B442071234567`);
  await page.getByRole("button", { name: "Ring it from this phone" }).click();
  await page.getByText("no number of the account").waitFor();
  await page.context().close();
});

test("axe finds nothing on any page, light and dark, wide and narrow", async () => {
  for (const scheme of ["light", "dark"]) {
    for (const width of [360, 1440]) {
      const page = await browser.open(up.url, { width, height: 900, scheme });
      const look = async (name) => {
        await assertAccessible(page, `${name}, ${scheme}, ${width}`);
        await assertFits(page, `${name}, ${scheme}, ${width}`);
        await picture(page, `${width}-${scheme}-${name}`);
      };
      await look("phones");
      const first = new Phone(page, FIRST);
      await first.card.locator(".received").getByRole("link").last().click();
      await first.card.locator(".sheet").waitFor();
      await look("sheet");
      for (const [path, name] of [
        [`/phones/${FIRST}`, "phone"], ["/phones/+447900000099", "new-phone"], [`/phones/${HOSTILE}`, "hostile"],
        [`/pay?client_reference_id=abc&phone=${FIRST}`, "pay"], ["/pay?result=card", "paid"],
        ["/pay?result=declined", "declined"], ["/reset", "reset"],
      ]) {
        await page.goto(`${up.url}${path}`);
        await look(name);
      }
      await page.context().close();
    }
  }
});

test("texts, phones and forwarding survive a restart, and an open page goes on by itself", async () => {
  const page = await browser.open(up.url);
  const shown = async () => {
    const cards = await page.locator(".phone").all();
    const wordsOf = async (card) => [await card.getAttribute("id"), await card.locator(".words").allTextContents()];
    return Promise.all(cards.map(wordsOf));
  };
  const before = await shown();
  assert.equal(before.length, 5);
  assert.equal(await up.stop(), 0);
  await up.begin();
  // The browser reports that the stream broke off, as it should.
  browser.faults = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE/.test(fault));
  await up.jobrun("text", FIRST, "Still there?");
  const first = new Phone(page, FIRST);
  await first.until(async () => (await first.card.innerText()).includes("Still there?"), "the open page goes on");
  browser.faults = browser.faults.filter((fault) => !/ERR_CONNECTION_REFUSED|ERR_INCOMPLETE|ERR_EMPTY_RESPONSE/.test(fault));
  await page.goto(up.url);
  const now = await shown();
  assert.deepEqual(now.map(([id]) => id), before.map(([id]) => id));
  before.forEach(([id, words], n) => assert.deepEqual(now[n][1].slice(0, words.length), words, id));
  await page.goto(`${up.url}/phones/${FIRST}?number=%2B447111111111`);
  await page.getByRole("button", { name: "Stop forwarding" }).waitFor();
  await page.context().close();
});

test("a form on a page of another site is refused", async () => {
  const form = { method: "POST", body: new URLSearchParams({ number: "+447900000077" }), redirect: "manual" };
  const post = async (site) => (await fetch(`${up.url}/phones`, { ...form, headers: { "sec-fetch-site": site } })).status;
  assert.equal(await post("cross-site"), 403);
  assert.equal(await post("same-site"), 403);
  assert.equal(await post("same-origin"), 303);
});

test("a reset leaves one phone without texts, and a sign-up begins anew", async () => {
  const page = await browser.open(up.url);
  await page.getByRole("link", { name: "Reset" }).click();
  await page.getByRole("button", { name: "Delete everything" }).click();
  await page.locator(".phone, .problem").first().waitFor();
  assert.deepEqual(await page.locator(".problem").allInnerTexts(), []);
  const phone = new Phone(page, FIRST);
  await phone.picks("Plumber from London");
  await phone.hears("name of your business");
  assert.equal(await page.locator(".phone").count(), 1);
  assert.equal(await up.stateOf(FIRST), "S2_BUSINESS_NAME");
  const pool = JSON.parse(await up.jobrun("pool", "status", "--json"));
  assert.equal(JSON.stringify(pool).includes("ASSIGNED\""), false, JSON.stringify(pool));
  await page.context().close();
});
