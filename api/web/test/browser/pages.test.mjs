// The pages in a real browser against a running Forewarn.
//
//   FOREWARN_URL=http://127.0.0.1:8080 FOREWARN_EMAIL=… FOREWARN_PASSWORD=… npm run test:browser
//
// FOREWARN_CHROMIUM names the browser (default /usr/bin/chromium); FOREWARN_SHOTS a folder for pictures of every page.
// Waits are for states, never for time.

import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';

const { FOREWARN_URL: BASE, FOREWARN_EMAIL: EMAIL, FOREWARN_PASSWORD: PASSWORD, FOREWARN_SHOTS: SHOTS } = process.env;
const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');
const WAIT = 15_000;
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];
const PAGES = ['/', '/alarms', '/cases', '/tickets', '/predictions', '/plans', '/ledger', '/ledger?tab=gaps', '/ledger?tab=dead'];

let browser;
let axe;
let state;
/** What the browser complained about, over all tests: errors, refused resources, violations of the policy. */
const complaints = [];

function watch(page) {
  page.setDefaultTimeout(WAIT);
  page.on('console', (message) => {
    if (message.type() === 'error') complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${page.url()}: ${error.stack ?? error.message}`));
  return page;
}

async function open({ width = 1280, height = 900, scheme = 'light', signedIn = true } = {}) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: 'reduce' });
  if (signedIn) {
    await context.addInitScript((text) => {
      if (!sessionStorage.getItem('forewarn.session')) sessionStorage.setItem('forewarn.session', text);
    }, state);
  }
  const page = watch(await context.newPage());
  return { page, close: () => context.close() };
}

/** The page has its heading and nothing on it is still being fetched for the first time. */
async function settled(page) {
  await page.waitForSelector('#main h1');
  await page.waitForFunction(() => !document.querySelector('#main .skeleton'));
}

async function go(page, path) {
  await page.goto(BASE + path);
  await settled(page);
}

async function shot(page, name) {
  if (!SHOTS) return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

const fileName = (path) => path.replace(/[^a-z]+/g, '-').replace(/^-|-$/g, '') || 'fleet';

/** The worst assessed asset: the first of the fleet list, which is sorted so. */
async function worstAsset(page) {
  await go(page, '/?view=list');
  const rows = await page.$$eval('.asset-table tbody tr', (all) => all.map((tr) => ({
    href: tr.querySelector('a.name').getAttribute('href'),
    name: tr.querySelector('a.name').textContent,
    health: Number(tr.querySelector('.health .value').textContent),
    itself: !/not assessed itself/.test(tr.textContent),
  })));
  const assessed = rows.filter((r) => r.itself && Number.isFinite(r.health)).sort((a, b) => a.health - b.health);
  assert.ok(assessed.length > 0, 'no asset has been assessed');
  return assessed[0];
}

async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const result = await window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] });
    return result.violations.map((v) => `${v.id} (${v.impact}): ${v.nodes.slice(0, 3).map((n) => `${n.target.join(' ')} – ${n.failureSummary?.split('\n')[1] ?? ''}`).join(' | ')}`);
  });
  return found;
}

before(async () => {
  const missing = Object.entries({ FOREWARN_URL: BASE, FOREWARN_EMAIL: EMAIL, FOREWARN_PASSWORD: PASSWORD }).filter(([, v]) => !v).map(([k]) => k);
  assert.equal(missing.length, 0, `the browser tests need a running Forewarn: set ${missing.join(', ')}`);
  browser = await chromium.launch({ executablePath: process.env.FOREWARN_CHROMIUM ?? '/usr/bin/chromium', args: ARGS });
  axe = await readFile(AXE, 'utf8');
  // One sign-in for all tests but the first: the server limits how often one may try.
  const { page, close } = await open({ signedIn: false });
  await page.goto(`${BASE}/sign-in`);
  await page.fill('input[type=email]', EMAIL);
  await page.fill('input[type=password]', PASSWORD);
  await page.click('button[type=submit]');
  await page.waitForSelector('nav[aria-label=Pages]');
  state = await page.evaluate(() => sessionStorage.getItem('forewarn.session') ?? localStorage.getItem('forewarn.session'));
  await close();
});

after(async () => {
  await browser?.close();
});

test('a stranger is sent to the sign-in, a wrong password is refused in words, and the way back is kept', async () => {
  const { page, close } = await open({ signedIn: false });
  await page.goto(`${BASE}/alarms?state=all`);
  await page.waitForURL(/\/sign-in\?back=/);
  assert.equal(await page.title(), 'Sign in · Forewarn');
  await shot(page, 'sign-in');
  const before = complaints.length;
  await page.fill('input[type=email]', 'nobody@forewarn.example');
  await page.fill('input[type=password]', 'certainly-not-this');
  await page.click('button[type=submit]');
  await page.waitForSelector('[role=alert]');
  assert.match(await page.textContent('[role=alert]'), /wrong/i);
  // The browser logs the refused request itself; that one line is expected.
  const logged = complaints.splice(before).filter((line) => !/status of 401/.test(line));
  assert.deepEqual(logged, []);
  await page.fill('input[type=email]', EMAIL);
  await page.fill('input[type=password]', PASSWORD);
  await page.click('button[type=submit]');
  await page.waitForURL(/\/alarms\?state=all/);
  await settled(page);
  assert.equal(await page.title(), 'Alarms · Forewarn');
  await close();
});

test('the fleet shows counts, and every asset with its health in number and word', async () => {
  const { page, close } = await open();
  await go(page, '/?view=list');
  await page.waitForSelector('.asset-table tbody tr');
  const counted = await page.$$eval('.strip .v', (cells) => cells.map((c) => c.textContent));
  assert.equal(counted.length, 5);
  assert.ok(counted.every((text) => /\d/.test(text)), `a count is missing: ${counted}`);
  const rows = await page.$$eval('.asset-table tbody tr', (all) => all.map((tr) => ({ health: tr.querySelector('.health')?.textContent ?? '', all: tr.textContent })));
  const inService = rows.filter((r) => !/In storage|Disposed/.test(r.all));
  assert.equal(inService.length, Number(counted[0]), 'the list and the count of assets in service differ');
  assert.ok(rows.every(({ health: text }) => /Good|Watch|Poor|Stale|Not assessed/.test(text)), 'a health has no word');
  await page.fill('input[type=search]', 'zzzz-no-such-asset');
  await page.waitForSelector('text=No asset fits the filters');
  await page.click('text=Clear the filters');
  await page.waitForSelector('.asset-table tbody tr');
  await page.click('button:has-text("Tiles")');
  await page.waitForSelector('.tile');
  await close();
});

test('an asset page has its health explained, its outlook, and a chart with readings', async () => {
  const { page, close } = await open();
  const worst = await worstAsset(page);
  await go(page, worst.href);
  assert.equal(await page.textContent('#main h1'), worst.name);
  await page.waitForSelector('.gauge svg[role=img]');
  const health = Number(/Health (\d+)/.exec(await page.getAttribute('.gauge svg[role=img]', 'aria-label'))?.[1]);
  assert.ok(health >= 0 && health <= 100);
  const penalties = await page.$$eval('.steps .line', (lines) => lines.map((l) => l.textContent.replace(/\s/g, '')));
  const parsed = penalties.slice(0, -1).map((text) => Number(/[−+]([\d.]+)$/.exec(text)?.[1]));
  const shownHealth = Number(/([\d.]+)$/.exec(penalties.at(-1))?.[1]);
  const sum = parsed.reduce((a, b) => a + b, 0);
  assert.ok(Math.abs(100 - sum - shownHealth) < 0.6, `penalties ${parsed} do not lead from 100 to ${shownHealth}`);
  const why = await page.$$eval('.steps .why', (all) => all.map((p) => p.textContent.trim()));
  assert.ok(why.length > 0 && why.every((text) => text.length > 5), 'a factor has no sentence');
  await page.waitForSelector('.panel canvas');
  await page.waitForFunction(() => [...document.querySelectorAll('.panel .say')].some((p) => / last /.test(p.textContent)));
  const inked = await page.$eval('.panel canvas', (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let n = 0;
    for (let i = 3; i < data.length; i += 4) if (data[i] > 0) n++;
    return n;
  });
  assert.ok(inked > 500, `the chart is empty (${inked} pixels)`);
  await page.click('.panel details summary');
  assert.ok((await page.$$('.panel details[open] tbody tr')).length > 1, 'the chart has no table');
  await page.click('.seg[aria-label=Range] button:has-text("1 h")');
  await page.waitForFunction(() => [...document.querySelectorAll('.panel .say, .panel .state')].some((p) => /the last hour/.test(p.textContent)));
  await page.click('.seg[aria-label=Range] button:has-text("24 h")');
  assert.match(await page.title(), new RegExp(`^${worst.name.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')} · Forewarn$`));
  await shot(page, 'asset');
  await close();
});

test('a machine says which of its parts is worst, in the list, on its tile and on its page', async () => {
  const { page, close } = await open();
  const says = /^(own \d+|not assessed itself), (worst part: .+ at \d+ \((low|medium|high|critical)(, silent since)?\)|no part assessed yet)/;
  for (const [view, row] of [['list', '.asset-table tbody tr'], ['tiles', '.tile']]) {
    await go(page, `/?view=${view}`);
    await page.waitForSelector(`${row} .parts-note`);
    const notes = await page.$$eval(`${row} .parts-note`, (all) => all.map((note) => note.textContent));
    for (const note of notes) assert.match(note, says);
  }
  await page.waitForSelector('.site-line .tag');
  assert.match(await page.textContent('.site-line'), /^Site (\d+|–)/);
  const machine = await page.$eval('.tile:has(.parts-note)', (tile) => tile.getAttribute('href'));
  await go(page, machine);
  await page.waitForSelector('section[aria-labelledby=h-parts]');
  const card = await page.textContent('section[aria-labelledby=h-parts]');
  assert.match(card, /\d+ of \d+ parts? assessed lately/);
  const worst = page.locator('section[aria-labelledby=h-parts] a').first();
  if (/worst part:/.test(card)) {
    const name = await worst.textContent();
    await worst.click();
    await page.waitForFunction((part) => document.querySelector('#main h1')?.textContent === part, name);
  }
  await close();
});

test('an alarm can be acknowledged', async (t) => {
  const { page, close } = await open();
  await go(page, '/alarms?state=all');
  const button = page.locator('tr[data-alarm] button:has-text("Acknowledge")').first();
  if ((await button.count()) === 0) {
    // A stack that has run for a while may have none left: the state must then say so.
    const states = await page.$$eval('tr[data-alarm]', (rows) => rows.map((r) => r.textContent));
    assert.ok(states.length > 0, 'no alarm at all');
    assert.ok(states.every((text) => !/Not acknowledged/.test(text)), 'an alarm is not acknowledged but has no button');
    t.diagnostic('every alarm was acknowledged already');
  } else {
    const id = await button.evaluate((el) => el.closest('tr').dataset.alarm);
    await button.click();
    await page.waitForFunction((alarm) => {
      const row = document.querySelector(`tr[data-alarm="${alarm}"]`);
      return row && !/Not acknowledged/.test(row.textContent) && /Acknowledged/.test(row.textContent);
    }, id);
    await go(page, `/alarms/${id}`);
    assert.match(await page.textContent('.timeline'), /acknowledged/i);
  }
  await close();
});

test('cases, tickets and dead letters open', async () => {
  const { page, close } = await open();
  for (const [list, detail] of [['/cases?which=all', 'case'], ['/tickets?which=all', 'ticket'], ['/ledger?tab=dead&letters=all', 'dead-letter']]) {
    await go(page, list);
    const first = await page.$('table a.strong');
    if (!first) {
      assert.ok(await page.$('.state h2, .state h3'), `${list} is empty and does not say so`);
      continue;
    }
    await first.click();
    await page.waitForSelector('.crumbs');
    await settled(page);
    assert.ok(!(await page.$('[role=alert]')), `${detail}: ${await page.textContent('#main')}`);
    await shot(page, detail);
  }
  await close();
});

test('everything is reachable from the keyboard', async () => {
  const { page, close } = await open();
  await go(page, '/');
  await page.keyboard.press('Tab');
  assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Skip to the content');
  await page.keyboard.press('Enter');
  assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('Escape');
  await page.waitForFunction(() => !document.querySelector('dialog[open]'));
  for (const [key, path, heading] of [['a', '/alarms', 'Alarms'], ['t', '/tickets', 'Tickets'], ['l', '/ledger', 'Ledger'], ['h', '/', 'Fleet']]) {
    await page.keyboard.press('g');
    await page.keyboard.press(key);
    await page.waitForFunction((p) => location.pathname === p, path);
    await page.waitForFunction((h) => document.activeElement?.tagName === 'H1' && document.activeElement.textContent === h, heading);
  }
  await page.keyboard.press('/');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('type')), 'search');
  // Typing is not a shortcut.
  await page.keyboard.type('ga');
  assert.equal(new URL(page.url()).pathname, '/');
  await close();
});

test('no page scrolls sideways at 360 px, and its targets are large enough', async () => {
  const { page, close } = await open({ width: 360, height: 740 });
  const worst = await worstAsset(page);
  for (const path of [...PAGES, worst.href]) {
    await go(page, path);
    if (path === worst.href) await page.waitForSelector('.panel canvas');
    const over = await page.evaluate(() => {
      const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
      const culprit = wide > 0 && [...document.querySelectorAll('#main *')].find((el) => el.getBoundingClientRect().right > innerWidth + 1 && !el.closest('.scroll'));
      return { wide, culprit: culprit ? culprit.outerHTML.slice(0, 160) : '' };
    });
    assert.equal(over.wide, 0, `${path} is ${over.wide} px too wide: ${over.culprit}`);
    const small = await page.$$eval('button, select, input:not([type=checkbox]), summary', (all) => all
      .filter((el) => el.offsetParent && el.getBoundingClientRect().height < 43.5)
      .map((el) => el.outerHTML.slice(0, 100)));
    assert.deepEqual(small, [], `${path} has targets under 44 px`);
    await shot(page, `${fileName(path)}-phone`);
  }
  await close();
});

test('dark and light follow the system, and the switch is kept', async () => {
  const { page, close } = await open({ scheme: 'dark' });
  await go(page, '/');
  const ground = () => page.evaluate(() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number);
    return (r + g + b) / 3;
  });
  assert.ok((await ground()) < 60, 'not dark in a dark system');
  await page.click('button[aria-label^="Colours: as the system"]');
  assert.ok((await ground()) > 200, 'light was chosen');
  await page.reload();
  await settled(page);
  assert.ok((await ground()) > 200, 'the choice was forgotten');
  await close();
});

for (const scheme of ['light', 'dark']) {
  test(`every page passes the accessibility rules in ${scheme} colours`, async () => {
    const { page, close } = await open({ scheme });
    const worst = await worstAsset(page);
    const all = [];
    for (const path of [...PAGES, worst.href]) {
      await go(page, path);
      if (path === worst.href) await page.waitForSelector('.panel canvas');
      for (const v of await violations(page)) all.push(`${path}: ${v}`);
      await shot(page, `${fileName(path)}-${scheme}`);
    }
    assert.deepEqual(all, []);
    await close();
  });
}

test('a change elsewhere appears without a reload', async () => {
  const { page, close } = await open();
  await go(page, '/');
  // "Live" by the stream, or "Every 15 s" by polling: never silently neither.
  await page.waitForFunction(() => /Live|Every/.test(document.querySelector('.live')?.textContent ?? ''));
  const before = await page.textContent('.page-head time');
  await page.waitForFunction((text) => document.querySelector('.page-head time')?.textContent !== text, before, { timeout: 40_000 });
  await go(page, '/tickets?which=all');
  const ticket = await page.getAttribute('table a.strong', 'href').catch(() => null);
  assert.ok(ticket, 'there is no ticket to comment on');
  await go(page, ticket);
  const other = await open();
  await go(other.page, ticket);
  const text = `Seen at ${new Date().toISOString()}`;
  await other.page.fill('textarea', text);
  await other.page.click('button:has-text("Add comment")');
  await page.waitForSelector(`.timeline >> text=${text}`, { timeout: 40_000 });
  await other.close();
  await close();
});

test('without the stream the pages poll, and a server out of reach is said in words with a way on', async () => {
  const { page, close } = await open();
  const before = complaints.length;
  await page.route('**/v1/stream', (route) => route.abort());
  await go(page, '/');
  await page.waitForFunction(() => /Every 15 s/.test(document.querySelector('.live')?.textContent ?? ''));
  await page.route('**/v1/alarms*', (route) => route.abort());
  await page.click('nav[aria-label=Pages] a[href="/alarms"]');
  await page.waitForSelector('[role=alert]');
  assert.match(await page.textContent('[role=alert]'), /cannot be reached/);
  await page.unroute('**/v1/alarms*');
  await page.click('[role=alert] button:has-text("Try again")');
  await page.waitForFunction(() => !document.querySelector('[role=alert]'));
  // The refused requests are logged by the browser; nothing else may be.
  assert.deepEqual(complaints.splice(before).filter((line) => !/net::ERR_FAILED/.test(line)), []);
  await close();
});

test('an address that leads nowhere and a thing that does not exist say so', async () => {
  const { page, close } = await open();
  const before = complaints.length;
  await page.goto(`${BASE}/no/such/page`);
  await page.waitForSelector('text=There is no such page');
  await page.goto(`${BASE}/tickets/tkt_0192f0c5000070008000000000000000`);
  await page.waitForSelector('[role=alert]');
  const logged = complaints.splice(before).filter((line) => !/status of 40[04]/.test(line));
  assert.deepEqual(logged, []);
  await close();
});

test('the browser had nothing to complain about: no errors, no violations of the content security policy', () => {
  assert.deepEqual(complaints, []);
});
