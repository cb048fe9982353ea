// Runs the real programs with `jobrun up`, in a folder of its own and on free ports, and Chromium in front of them.
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { mkdir, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import Axe from "@axe-core/playwright";

const AxeBuilder = Axe.default ?? Axe;
const run = promisify(execFile);

/** How long a condition may take on a busy machine. */
export const PATIENCE = 30_000;

/** The programs, as deploy/test has built them. */
const JOBRUN = process.env.JOBRUN;

/** The folder for pictures of pages; none are taken unless it is set. */
const PICTURES = process.env.SCREENSHOTS;

/** Settings of the tests' own environment that would redirect `jobrun up`. An empty variable counts as not set. */
const NOT_SET = ["DATABASE_URL", "TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_BASE_URL", "INGRESS_ADDR", "STAND_IN_ADDR",
  "CONSOLE_ADDR",
  "JOBRUN_DATA", "PAYMENT_LINK_URL", "OPS_ADDR"];

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A `jobrun up`. */
export class Up {
  static async start(settings = {}) {
    const up = new Up();
    up.data = join(tmpdir(), `jobrun-browser-${process.pid}`);
    [up.port, up.standInPort, up.consolePort] = [await freePort(), await freePort(), await freePort()];
    up.consoleUrl = `http://127.0.0.1:${up.consolePort}`;
    up.url = `http://127.0.0.1:${up.standInPort}`;
    up.settings = settings;
    await up.begin();
    return up;
  }

  async begin() {
    const unset = Object.fromEntries(NOT_SET.map((name) => [name, ""]));
    const environment = { ...process.env, ...unset, STOP_WITH_STDIN: "", ...this.settings };
    const ports = ["--port", this.port, "--stand-in-port", this.standInPort, "--console-port", this.consolePort];
    const places = ["--data", this.data, ...ports.map(String)];
    this.child = spawn(JOBRUN, ["up", ...places], { env: environment, stdio: ["ignore", "pipe", "pipe"] });
    this.output = "";
    this.ended = new Promise((resolve) => this.child.once("exit", resolve));
    const isUp = new Promise((resolve, reject) => {
      const read = (chunk) => {
        this.output += chunk;
        // The last line about where to look.
        if (this.output.includes("make things go wrong")) resolve();
      };
      this.child.stdout.on("data", read);
      this.child.stderr.on("data", read);
      this.ended.then((code) => reject(new Error(`jobrun up ended with ${code}: ${this.output}`)));
    });
    await within(120_000, isUp, () => `jobrun up is not up: ${this.output}`);
    this.database = this.output.match(/psql (postgres:\S+)/)[1];
  }

  /** Stops it as an operator does. */
  async stop() {
    this.child.kill("SIGINT");
    return within(PATIENCE, this.ended, () => "jobrun up does not stop");
  }

  async remove() {
    if (this.child.exitCode === null && this.child.signalCode === null) await this.stop();
    await rm(this.data, { recursive: true, force: true });
  }

  /** Runs a command of jobrun's on its database and its stand-in. */
  async jobrun(...args) {
    const environment = { ...process.env, DATABASE_URL: this.database, STAND_IN_ADDR: `127.0.0.1:${this.standInPort}` };
    const { stdout } = await run(JOBRUN, args, { env: environment, timeout: PATIENCE });
    return stdout;
  }

  /** Runs `jobrun numbers check` on the stand-in's account, as if it were reached at `publicUrl`. */
  async checkNumbers(publicUrl) {
    const environment = {
      ...process.env,
      DATABASE_URL: this.database,
      // The account that `jobrun up` gives the stand-in.
      TWILIO_ACCOUNT_SID: `AC${"0".repeat(32)}`,
      TWILIO_AUTH_TOKEN_FILE: join(this.data, "stand-in-auth-token"),
      TWILIO_API_BASE_URL: this.url,
      PUBLIC_BASE_URL: publicUrl,
    };
    const checked = await run(JOBRUN, ["numbers", "check"], { env: environment, timeout: PATIENCE }).catch((error) => error);
    return checked.stdout + checked.stderr;
  }

  /** The state of a client's sign-up, as the database has it. */
  /** Returns the state of a client, or nothing until a worker has processed its first text. */
  async stateOf(phone) {
    try {
      return JSON.parse(await this.jobrun("client", phone, "--json")).client.state;
    } catch (error) {
      if (error.code === 1 && error.stderr.includes("no client has this id or phone")) return undefined;
      throw error;
    }
  }
}

async function within(ms, promise, why) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(why())), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Chromium, and all that it must not do: run into the policy, report an error, ask another host. */
export class Browser {
  static async start() {
    const browser = new Browser();
    browser.chromium = await chromium.launch({
      executablePath: process.env.CHROMIUM,
      // Chromium's sandbox does not work for root.
      args: process.getuid() === 0 ? ["--no-sandbox"] : [],
    });
    browser.faults = [];
    return browser;
  }

  /** Opens a page in a context of its own. */
  async open(url, { width = 1440, height = 900, scheme = "light", scripts = true } = {}) {
    const context = await this.chromium.newContext({
      viewport: { width, height }, colorScheme: scheme, javaScriptEnabled: scripts, reducedMotion: "reduce", locale: "en-GB",
    });
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const { host } = new URL(url);
    page.on("request", (request) => {
      if (new URL(request.url()).host !== host) this.faults.push(`asked another host: ${request.url()}`);
    });
    page.on("console", (message) => {
      // htmx reports in this way that the stream of changes has ended, as it does when a page is left.
      if (message.type() === "error" && message.text() !== "[object Event]") this.faults.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => this.faults.push(`${page.url()}: ${error}`));
    page.on("dialog", (dialog) => {
      this.faults.push(`a dialog opened: ${dialog.message()}`);
      dialog.dismiss();
    });
    const response = await page.goto(url);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'; script-src 'self'; style-src 'self'/);
    return page;
  }

  assertWell() {
    assert.deepEqual(this.faults, []);
  }
}

/** Fails if axe finds anything on the page. */
export async function assertAccessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const found = violations.map((it) => `${it.id} (${it.help}): ${it.nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(found, [], what);
}

/** Fails if the page is wider than the window. */
export async function assertFits(page, what) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(wide <= window, `${what}: ${wide} pixels wide in a window of ${window}`);
}

/** Takes a picture of the whole page, if they are wanted. */
export async function picture(page, name) {
  if (!PICTURES) return;
  await mkdir(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`), fullPage: true });
}

/** One phone on a page. */
export class Phone {
  constructor(page, number) {
    this.page = page;
    this.card = page.locator(`#phone-${number.replace("+", "")}`);
  }

  async says(words) {
    await this.card.getByRole("textbox", { name: "Text from" }).fill(words);
    await this.card.locator(".composer").getByRole("button", { name: "Send" }).click();
  }

  /** Uses a suggestion. */
  async picks(label) {
    await this.card.locator(".chips").getByRole("button", { name: label, exact: true }).click();
  }

  /** Waits until the last text from JobRun contains these words. */
  async hears(words) {
    const last = this.card.locator(".received").last().locator(".words");
    await this.until(async () => (await last.count()) > 0 && (await last.innerText()).includes(words), `hears ${words}`);
  }

  /** Waits for a condition. A page without scripts is loaded again meanwhile. */
  async until(condition, what) {
    const deadline = Date.now() + PATIENCE;
    while (!(await condition())) {
      assert.ok(Date.now() < deadline, `${what}: ${await this.card.innerText()}`);
      const again = this.card.getByRole("link", { name: "Look for new texts" });
      if (await again.isVisible()) await again.click();
      else await this.page.waitForTimeout(50);
    }
  }
}
