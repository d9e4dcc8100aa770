// Looks at the page in Debian's Chromium.
//
//   node browser.mjs company ADDRESS FOLDER   the made-up company of the test
//   node browser.mjs live ADDRESS FOLDER      the app app-1 of a demo, whose rotation it follows
//
// Pictures go to the folder. "live" prints "ready" when it looks, and the test then
// starts a rotation. What is wrong ends it with a message.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const [what, address, folder] = process.argv.slice(2);
const wide = { width: 1200, height: 780 };
const phone = { width: 360, height: 740 };
const patient = 300_000; // only a test that fails waits so long, in milliseconds
const browser = await chromium.launch({
  timeout: patient,
  executablePath: "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});

// visit opens a page, lets act look, and wants neither an error nor a violation of
// the content policy.
async function visit(path, options, act) {
  const context = await browser.newContext({ viewport: wide, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(patient);
  const page = await context.newPage();
  const errors = [];
  page.on("pageerror", (error) => errors.push(String(error)));
  page.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  page.on("request", (request) => assert.ok(request.url().startsWith(address), `asks elsewhere: ${request.url()}`));
  await page.goto(address + path);
  await act(page);
  assert.deepEqual(errors, [], path);
  await context.close();
}

const picture = (page, name, fullPage = true) => page.screenshot({ path: `${folder}/${name}.png`, fullPage });
const names = (page) => page.locator("tbody th.app a.name").allTextContents();
const heading = (page) => page.locator("h1").textContent();

// leads does what opens another page, and waits until that is there as a whole.
const leads = (page, to, act) => Promise.all([page.waitForURL(to), act]);

// accessible wants no finding of axe, which checks the rules of WCAG 2.2 AA. Its
// source is evaluated: the content policy lets no script element in.
async function accessible(page, name) {
  await page.evaluate(axe);
  const found = await page.evaluate(() =>
    axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  const said = found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(" ")).join(", ")}`);
  assert.deepEqual(said, [], `${name}: axe`);
  assert.ok(found.passes.length > 15, `${name}: axe looked at ${found.passes.length} rules only`);
}

// fits wants nothing to scroll sideways.
async function fits(page, name) {
  const [is, may] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  assert.ok(is <= may, `${name} is ${is} wide, ${may} fit`);
}

async function company() {
  const light = {};
  const dark = { colorScheme: "dark" };
  const onPhone = { viewport: phone, isMobile: true };
  const narrow = { viewport: { width: 320, height: 600 }, colorScheme: "dark" };
  const huge = { viewport: { width: 2400, height: 1300 } };
  for (const [name, path, kinds] of [
    ["overview", "/", { light, dark, onPhone, narrow, huge }],
    ["app", "/apps/mail-archive", { light, dark, onPhone }],
    ["needs", "/apps/hr-directory-sync", { narrow }],
    ["handoff", "/apps/cloudm-continuity/handoff", { light, narrow }],
  ]) {
    for (const [kind, options] of Object.entries(kinds)) {
      await visit(path, options, async (page) => {
        await accessible(page, `${name} ${kind}`);
        await fits(page, `${name} ${kind}`);
        await picture(page, `${name}-${kind}`);
        const paper = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
        const brightness = Number(paper.match(/\d+/)[0]);
        assert.ok(options.colorScheme === "dark" ? brightness < 60 : brightness > 200, `${name} ${kind}: paper ${paper}`);
      });
    }
  }

  await visit("/", {}, async (page) => {
    assert.equal(await heading(page), "2 apps need you today");
    const all = await names(page);
    assert.deepEqual(all.slice(0, 4), ["hr-directory-sync", "cloudm-continuity", "mail-archive", "teams-migration"], "needs you stand first, then rotating");
    assert.equal(all.length, 18);
    assert.ok((await page.locator("tbody").last().textContent()).includes("<b>Zero</b> touch 🦀"), "a name with HTML is text");
    assert.equal(await page.locator("b").count(), 0);
    await page.waitForFunction(() => document.documentElement.classList.contains("live"));
  });

  await visit("/", {}, async (page) => { // a filter, with the script
    await page.locator("#q").pressSequentially("backup");
    // Half of the word may find the same three.
    await page.waitForFunction(() => location.search === "?q=backup" && document.querySelectorAll("tbody th.app").length === 3);
    assert.deepEqual(await names(page), ["cloudm-continuity", "mail-archive", "onedrive-backup"]);
    assert.equal(await page.evaluate(() => document.activeElement.id), "q", "typing goes on");
    await page.locator("#q").fill("");
    await page.locator("#tenant").selectOption("northwind");
    await page.waitForFunction(() => document.querySelectorAll("tbody th.app").length === 5);
    await page.locator("#tag").selectOption("migration");
    await page.waitForFunction(() => document.querySelectorAll("tbody th.app").length === 1);
    assert.match(await page.locator(".tally").textContent(), /^1 of 18 apps/);
    await picture(page, "filter");
  });

  await visit("/", { javaScriptEnabled: false }, async (page) => { // and without
    await page.locator("#q").fill("backup");
    await page.locator("#tenant").selectOption("contoso");
    await leads(page, /[?&]q=backup/, page.getByRole("button", { name: "Filter" }).click());
    assert.deepEqual(await names(page), ["cloudm-continuity", "mail-archive", "onedrive-backup"]);
    await leads(page, "**/apps/mail-archive", page.getByRole("link", { name: "mail-archive" }).click());
    assert.equal(await heading(page), "mail-archive");
    assert.equal(await page.locator("ol.phases li.done").count(), 5);
    await leads(page, (url) => url.pathname === "/", page.getByRole("link", { name: "All apps" }).click());
    await leads(page, (url) => url.search !== "", page.getByRole("link", { name: /^Needs you/ }).click());
    assert.deepEqual(await names(page), ["hr-directory-sync", "cloudm-continuity"]);
    await picture(page, "no-script");
  });

  await visit("/", {}, async (page) => { // keyboard only
    const focus = () => page.evaluate(() => (document.activeElement.textContent || document.activeElement.id).trim());
    await page.keyboard.press("Tab");
    assert.equal(await focus(), "Skip to content");
    await page.keyboard.press("Enter");
    const seen = [];
    while (seen.at(-1) !== "hr-directory-sync" && seen.length < 20) {
      await page.keyboard.press("Tab");
      seen.push(await focus());
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      assert.notEqual(outline, "none", `focus on ${seen.at(-1)} can not be seen`);
    }
    assert.ok(!seen.includes("rotate"), "the skip link skips the head");
    assert.equal(seen.at(-1), "hr-directory-sync", `the keyboard reaches ${seen}`);
    await picture(page, "keyboard", false);
    await leads(page, "**/apps/hr-directory-sync", page.keyboard.press("Enter"));
    assert.equal(await heading(page), "hr-directory-sync");
  });

  // For the README.
  await visit("/", { viewport: { width: 1100, height: 860 } }, (page) => picture(page, "readme-overview", false));
  await visit("/apps/mail-archive", { viewport: { width: 1100, height: 800 }, colorScheme: "dark" }, (page) => picture(page, "readme-app", false));
  await visit("/", { viewport: { width: 390, height: 760 } }, (page) => picture(page, "readme-phone", false));
}

async function live() {
  await visit("/apps/app-1", {}, async (page) => {
    await page.waitForFunction(() => document.querySelectorAll("ol.phases li.done").length === 6);
    const before = await page.locator("#rotation code").first().textContent();
    await page.evaluate(() => {
      window.mark = "never loaded again";
      window.seen = [];
      const look = () => {
        const id = document.querySelector("#rotation code")?.textContent;
        const step = document.querySelector("ol.phases li[aria-current] h3")?.firstChild.textContent ?? "ended";
        if (window.seen.at(-1) !== `${id} ${step}`) window.seen.push(`${id} ${step}`);
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
    });
    console.log("ready");
    await page.waitForFunction((id) => document.querySelector("#rotation code").textContent !== id, before);
    await page.waitForFunction(() => document.querySelector("ol.phases li[aria-current] h3")?.textContent.startsWith("Proven"));
    await picture(page, "live-proving");
    await page.waitForFunction(() => document.querySelectorAll("ol.phases li.done").length === 6);
    await picture(page, "live-retired");
    const now = await page.locator("#rotation code").first().textContent();
    const steps = (await page.evaluate(() => window.seen)).filter((s) => s.startsWith(now)).map((s) => s.slice(now.length + 1));
    assert.deepEqual(steps.filter((s) => ["Proven", "Confirmed", "Retired", "ended"].includes(s)), ["Proven", "Confirmed", "Retired", "ended"], `steps that were seen: ${steps}`);
    assert.equal(await page.evaluate(() => window.mark), "never loaded again");
    await accessible(page, "after the rotation");
  });
  await visit("/", {}, async (page) => {
    assert.match(await heading(page), /^app-1 is safe until /);
    await accessible(page, "overview of the demo");
    await picture(page, "demo");
  });
}

await { company, live }[what]();
await browser.close();
