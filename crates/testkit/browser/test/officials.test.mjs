// What officials plan on the built server, in its own pages: two who belong together, another time, two officials at once, links that
// replace each other, and the end of it. No media: what calls do is the consultation's test.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { violations } from '../lib/axe.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { startServer } from '../lib/server.mjs';

/** A name that would act if it were markup. */
const HOSTILE = '<img src=x onerror="document.title=1">';

describe('officials plan', { timeout: 60_000 }, () => {
  let server, browser;
  before(async () => {
    const demo = [{ id: 'schroeder', name: 'Frau Schröder' }, { id: 'oez', name: 'Herr Öz' }];
    [server, browser] = await Promise.all([startServer({ desk: { authorities: [{ id: 'ulm', name: 'Stadt Ulm', officials: { demo } }] } }), launchChromium()]);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  /** `hours` is how far the clock of its machine is off. */
  async function window(path, hours = 0) {
    const context = await browser.newContext({ timezoneId: 'Europe/Berlin' });
    if (hours) await context.addInitScript((off) => { const now = Date.now; Date.now = () => now.call(Date) + off; }, hours * 3_600_000);
    const page = await context.newPage();
    const failures = [];
    page.on('pageerror', (error) => failures.push(error.message));
    await page.goto(path.startsWith('http') ? path : `${server.url}${path}`);
    return Object.assign(page, { failures });
  }

  async function press(page, selector) {
    await page.waitForSelector(`${selector}:visible`);
    await page.focus(selector);
    await page.keyboard.press('Enter');
  }

  const says = (page, key) => page.waitForSelector(`[data-text="${key}"]`);

  /** What a citizen who opens a link reads: the text's key. */
  async function opens(link) {
    const page = await window(link);
    await press(page, '#open');
    await page.waitForSelector('[data-text^="problem."], #check');
    return Object.assign(page, { read: await page.evaluate(() => document.querySelector('[role=alert] [data-text^="problem."]')?.dataset.text ?? 'open') });
  }

  test('an appointment is made, moved by one of two, given other links and called off', async () => {
    // A clock that is three hours ahead makes nothing past: the office's counts.
    const one = await window('/amt', 3);
    await press(one, '#demo-0');
    await press(one, '#create > summary');
    // Around now, so that the links open: the start may be past, the end may not.
    const soon = new Date(Date.now() - 60_000);
    const [day, time] = [soon.toLocaleDateString('sv-SE', { timeZone: 'Europe/Berlin' }), soon.toLocaleTimeString('sv-SE', { timeZone: 'Europe/Berlin', hour: '2-digit', minute: '2-digit' })];
    await one.fill('#new-subject', 'Wohngeld');
    await one.fill('#new-day', day);
    await one.fill('#new-from', time);
    await one.fill('#new-0-name', 'Toni Muster');
    await one.selectOption('#new-0-language', 'en');
    await press(one, '#new-person');
    await one.fill('#new-1-name', HOSTILE);
    await one.selectOption('#new-1-partner', { label: 'Toni Muster' });
    await press(one, '#new-create');
    await one.waitForSelector('#made [id^=link-]');
    const links = await one.$$eval('#made input[id^=link-]', (fields) => fields.map(({ value }) => value));
    assert.equal(links.length, 2);
    assert.match(await one.inputValue('#made [id^=mail-]'), /Your video appointment with Stadt Ulm/);
    const [id, toni, pair] = await one.evaluate(async () => {
      const { appointments: [card] } = await (await fetch('/desk/v1/appointments')).json();
      return [card.id, card.people[0].id, card.people[1].linked_to];
    });
    assert.equal(pair, toni, 'the interpreter belongs to the citizen');

    // Two officials have the same appointment open. Whoever saves second is told, and writes nobody over.
    const other = await window('/amt');
    await press(other, '#demo-1');
    for (const page of [one, other]) await press(page, `#edit-${id}`);
    await one.fill(`#plan-${id}-minutes`, '45');
    await other.fill(`#plan-${id}-minutes`, '60');
    await press(one, `#plan-${id}-save`);
    await says(one, 'edit.saved');
    await press(other, `#plan-${id}-save`);
    await says(other, 'edit.conflict');
    assert.equal(await other.inputValue(`#plan-${id}-minutes`), '45');
    await other.fill(`#plan-${id}-minutes`, '60');
    await press(other, `#plan-${id}-save`);
    await says(other, 'edit.saved');

    // A name that was written wrong, and a language that was: of the citizen alone, by the real desk.
    await press(one, `#change-${toni}`);
    await one.fill(`#change-${toni}-name`, 'Tony Muster');
    await one.selectOption(`#change-${toni}-language`, 'de');
    await press(one, '#confirm-yes');
    await says(one, 'day.did.change');
    await one.waitForFunction((id) => document.querySelector(`#person-${id}`)?.textContent.includes('Tony Muster'), toni);
    await press(one, `#change-${toni}`);
    await one.selectOption(`#change-${toni}-language`, 'en');
    // It says the same as before: what counts is that it is said anew.
    await one.evaluate(() => delete document.querySelector('[data-text="day.did.change"]').dataset.text);
    await press(one, '#confirm-yes');
    await says(one, 'day.did.change');

    // The old link dies with the new one, which speaks the language that the office wrote in; a revoked one opens nothing.
    await press(one, `#reissue-${toni}`);
    const fresh = await (await one.waitForSelector(`#plan-${id}-made #link-${toni}`)).inputValue();
    const [old, now] = await Promise.all([opens(links[0]), opens(fresh)]);
    assert.match(old.read, /^problem\.link-(unknown|revoked)$/);
    assert.equal(now.read, 'open');
    await now.waitForSelector('html[lang=en]');
    await one.waitForSelector(`[data-person=${toni}] [data-text="linkstate.bound"]`);
    await press(one, `#revoke-${toni}`);
    await press(one, '#confirm-yes');
    await says(one, 'day.did.revoke');
    assert.match((await opens(fresh)).read, /^problem\.link-(unknown|revoked)$/);

    await press(one, `#cancel-${id}`);
    await press(one, '#confirm-yes');
    await says(one, 'day.did.cancel');
    await other.waitForSelector(`[data-id=${id}] [data-text="state.cancelled"]`);
    assert.equal(await other.isVisible(`#cancel-${id}`), false);

    // What was is a document; what somebody called themselves is text in it.
    const [record] = await Promise.all([one.context().waitForEvent('page'), press(one, `#record-${id}`)]);
    await record.waitForSelector('h1');
    const read = await record.evaluate(() => ({ lang: document.documentElement.lang, state: document.body.innerText.includes('abgesagt'), names: [...document.querySelectorAll('tbody th bdi')].map(({ textContent }) => textContent), markup: document.querySelectorAll('img, script').length, styled: getComputedStyle(document.querySelector('table')).borderCollapse, tables: [...document.querySelectorAll('table')].every((table) => table.caption && table.querySelector('th[scope=col]')) }));
    assert.deepEqual(read, { lang: 'de', state: true, names: ['Tony Muster', HOSTILE], markup: 0, styled: 'collapse', tables: true });
    // No script runs in it (`sandbox`), axe's neither: a copy without the policy is read.
    const copy = await record.context().newPage();
    await copy.setContent(await record.content());
    for (const colorScheme of ['light', 'dark']) {
      await copy.emulateMedia({ colorScheme });
      assert.deepEqual(await violations(copy), [], `axe on the record, ${colorScheme}`);
    }
    assert.deepEqual([one, other, old, now].flatMap(({ failures }) => failures), []);
  });
});
