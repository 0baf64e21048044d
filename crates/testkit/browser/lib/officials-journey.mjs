// What an official does in a day, by keyboard alone, on a fake desk: plan, look, decide, talk. `seen` looks at a screen.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import ICAL from 'ical.js';
import { outOfOrder } from './look.mjs';

const focused = (page) => page.evaluate(() => document.activeElement?.id);
const says = (page, key) => page.waitForSelector(`[data-text="${key}"]`);
const last = (desk, call) => desk.requests.findLast(([name]) => name === call)?.[1];

async function press(page, id) {
  await page.waitForSelector(`#${id}:visible`);
  await page.focus(`#${id}`);
  await page.keyboard.press('Enter');
}

/** Types into a field as people do, in place of what is there. */
async function type(page, id, text) {
  await page.focus(`#${id}`);
  await page.keyboard.press('Control+A');
  await page.keyboard.type(text);
}

const open = async (page, selector) => {
  await page.focus(`${selector} > summary`);
  await page.keyboard.press('Enter');
};

/** What a screen reader is told in `role` (aria-live), as it stands in the accessibility tree. */
const announced = async (page, role, words) => assert.match(await page.locator('main').ariaSnapshot(), new RegExp(`- ${role}: .*${words}`));

/** Each screen begins at its heading. */
const begins = async (page, words) => assert.equal(await page.evaluate(() => document.activeElement?.matches('h1') && document.activeElement.textContent), words);

/** From the door to the list of the day, where somebody waits. */
export async function signsIn(page, seen) {
  await page.waitForSelector('#demo-0');
  await begins(page, 'Anmelden');
  await seen('amt-login');
  await press(page, 'demo-0');
  await page.waitForSelector('#admit-per_kim');
  await begins(page, 'Termine');
  await announced(page, 'status', 'Kim Müller wartet, mit der Taste F8');
  await goesToWhoWaits(page, 'per_kim', 'admit-per_kim');
  await seen('amt-day');
}

/** From wherever one is to the row of who waits, by key and by button; one further `Tab` decides. */
async function goesToWhoWaits(page, id, decision) {
  assert.equal(await page.getAttribute('#to-waiting', 'aria-keyshortcuts'), 'F8');
  await page.keyboard.press('F8');
  assert.equal(await focused(page), `person-${id}`);
  await page.keyboard.press('Tab');
  assert.equal(await focused(page), decision);
  await press(page, 'to-waiting');
  assert.equal(await focused(page), `person-${id}`);
}

/** An appointment for two who belong together; errors are told at the field, and links in the language of each. */
export async function creates(page, desk, seen) {
  await open(page, '#create');
  await press(page, 'new-create');
  assert.equal(await focused(page), 'new-errors', 'the list of errors has the focus');
  assert.equal(await page.getAttribute('#new-subject', 'aria-invalid'), 'true');
  assert.match(await page.getAttribute('#new-subject', 'aria-describedby'), /new-subject-error/);
  await seen('amt-create-errors');
  await page.focus('#new-errors a');
  await page.keyboard.press('Enter');
  assert.equal(await focused(page), 'new-subject', 'an error leads to its field');
  await page.keyboard.type('Wohngeld; Antrag, Teil 1');
  await page.fill('#new-day', '2027-05-04');
  await page.fill('#new-from', '09:30');
  await type(page, 'new-minutes', '45');
  await type(page, 'new-0-name', 'Toni Muster');
  await page.selectOption('#new-0-language', 'en');
  await page.focus('#new-0-need-signing');
  await page.keyboard.press('Space');
  await press(page, 'new-person');
  assert.equal(await focused(page), 'new-1-role');
  await type(page, 'new-1-name', 'Uli Beispiel');
  await page.selectOption('#new-1-partner', { label: 'Toni Muster' });
  await seen('amt-create');
  await press(page, 'new-create');
  await page.waitForSelector('#made [id^=link-]');
  await seen('amt-links');
  const { people, ...plan } = last(desk, 'POST appointments');
  assert.deepEqual(plan, { subject: 'Wohngeld; Antrag, Teil 1', starts_at: '2027-05-04T07:30:00.000Z', ends_at: '2027-05-04T08:15:00.000Z' }, 'read in the time of the office');
  assert.deepEqual(people.map(({ role, linked_to, language }) => [role, linked_to, language]), [['citizen', null, 'en'], ['interpreter', 0, 'de']]);
  assert.equal(people[0].needs.signing, true);
  assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H3', 'the links have the focus');
  assert.match(await page.inputValue('#made [id^=mail-]'), /Tuesday, 4 May 2027 at 09:30[^]*https:/, 'the mail is in the language of its reader');
  assert.match(decodeURIComponent(await page.getAttribute('#made [id^=mailto-]', 'href')), /^mailto:\?subject=[^]*https:/);
  for (const { id } of await page.$$eval('#made [id^=ics-]', (links) => links.map(({ id }) => ({ id })))) {
    const [file] = await Promise.all([page.waitForEvent('download'), press(page, id)]);
    assert.equal(file.suggestedFilename(), 'termin.ics');
    holdsCalendar(fs.readFileSync(await file.path(), 'utf8'));
  }
}

/** RFC 5545, as a parser that is not ours reads it. */
function holdsCalendar(file) {
  assert.ok(file.split('\r\n').every((text) => Buffer.byteLength(text) <= 75), 'no line is longer than 75 octets');
  assert.ok(!/[^\r]\n/.test(file), 'lines end with CR and LF');
  const calendar = new ICAL.Component(ICAL.parse(file));
  assert.equal(calendar.getFirstPropertyValue('version'), '2.0');
  const event = new ICAL.Event(calendar.getFirstSubcomponent('vevent'));
  assert.equal(event.startDate.toJSDate().toISOString(), '2027-05-04T07:30:00.000Z');
  assert.equal(event.duration.toSeconds(), 45 * 60);
  assert.ok(event.uid && event.summary);
  const url = event.component.getFirstPropertyValue('url');
  assert.ok(event.description.includes(url));
  assert.match(url, /^https:/);
}

/** Another plan, two officials at once, people and links. */
export async function replans(page, desk, seen) {
  await press(page, 'edit-apt_1');
  assert.equal(await focused(page), 'plan-apt_1-subject');
  assert.equal(await page.getAttribute('#edit-apt_1', 'aria-expanded'), 'true');
  await type(page, 'plan-apt_1-subject', 'Reisepass');
  desk.change({}); // somebody else's appointment moved on, and not the plan
  await press(page, 'plan-apt_1-save');
  await says(page, 'edit.saved');
  assert.equal(desk.apt.subject, 'Reisepass');
  await page.waitForFunction(() => document.querySelector('[data-id=apt_1] h2')?.textContent.includes('Reisepass'));

  desk.replan({ subject: 'Führerschein' }); // by a colleague, and the socket is slow
  await type(page, 'plan-apt_1-subject', 'Meldung');
  await press(page, 'plan-apt_1-save');
  await says(page, 'edit.conflict');
  assert.equal(desk.apt.subject, 'Führerschein', 'nobody is written over');
  assert.equal(await page.inputValue('#plan-apt_1-subject'), 'Führerschein');
  await seen('amt-plan');

  await open(page, '#plan-apt_1-more');
  await type(page, 'plan-apt_1-new-name', 'Sam Beispiel');
  await page.selectOption('#plan-apt_1-new-partner', { index: 1 });
  await press(page, 'plan-apt_1-add');
  await page.waitForSelector('#plan-apt_1-made [id^=link-]');
  const sam = desk.apt.people.at(-1);
  assert.deepEqual([sam.role, sam.linked_to], ['interpreter', 'per_kim']);

  await press(page, `change-${sam.id}`);
  await type(page, `change-${sam.id}-name`, 'Sam Neu');
  await page.selectOption(`#change-${sam.id}-role`, 'companion');
  await press(page, 'confirm-yes');
  await says(page, 'day.did.change');
  assert.deepEqual([sam.name, sam.role], ['Sam Neu', 'companion']);
  await press(page, 'change-per_kim');
  assert.equal(await page.isVisible('#change-per_kim-role'), false, 'the link was used');
  await page.keyboard.press('Escape');

  await press(page, 'reissue-per_kim'); // the link is in use: that is asked
  await page.waitForSelector('dialog[open]');
  await seen('amt-confirm');
  await page.keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  assert.equal(await focused(page), 'reissue-per_kim', 'the focus comes back');
  assert.ok(!desk.calls.includes('POST appointments/apt_1/people/per_kim/link'));
  await press(page, `reissue-${sam.id}`);
  await page.waitForFunction((id) => document.querySelector(`#plan-apt_1-made [data-person="${id}"]`), sam.id);
  desk.change({}); // only other things moved on
  await confirmed(page, `revoke-${sam.id}`, 'day.did.revoke');
  assert.equal(sam.link, 'revoked');
  // A colleague gives them a new link while it is asked whether they go: that is not what was asked about.
  await press(page, `remove-${sam.id}`);
  desk.replan({ people: desk.apt.people.map((one) => (one === sam ? Object.assign(one, { link: 'unused' }) : one)) });
  await press(page, 'confirm-yes');
  await says(page, 'amt.problem.stale');
  assert.ok(desk.apt.people.includes(sam), 'nothing is done to what nobody saw');
  desk.change({});
  await page.waitForFunction((id) => document.querySelector(`#plan-apt_1-people #revoke-${id}`), sam.id);
  await confirmed(page, `remove-${sam.id}`, 'day.did.remove');
  assert.ok(!desk.apt.people.includes(sam));
  await press(page, 'edit-apt_1');
}

async function confirmed(page, id, key) {
  await press(page, id);
  await press(page, 'confirm-yes');
  await says(page, key);
}

/** A message, a refusal with its reason, and admission after all. */
export async function decides(page, desk, seen) {
  await press(page, 'send-per_kim');
  assert.equal(await page.evaluate(() => document.getElementById(document.getElementById('send-per_kim').getAttribute('aria-describedby'))?.textContent), 'Nachricht an Kim Müller', 'of several buttons to send each says to whom');
  assert.equal(await focused(page), 'text-per_kim', 'an empty message is none');
  await page.keyboard.type('Gleich');
  await page.keyboard.press('Enter');
  await says(page, 'day.did.message');
  assert.deepEqual(last(desk, 'POST appointments/apt_1/people/per_kim/message'), { text: 'Gleich' });
  await press(page, 'deny-per_kim');
  await type(page, 'why-per_kim', 'Bitte mit Ausweis');
  await seen('amt-deny');
  await press(page, 'confirm-yes');
  await says(page, 'day.did.deny');
  assert.deepEqual(last(desk, 'POST appointments/apt_1/people/per_kim/deny'), { text: 'Bitte mit Ausweis' });
  await press(page, 'admit-per_kim');
  await says(page, 'day.did.admit');
  await announced(page, 'status', 'Kim Müller ist eingelassen');
  await page.waitForFunction(() => document.activeElement?.id === 'person-per_kim', undefined, { timeout: 5_000 });
}

/** No seat, then the check of devices, then the call with somebody to be asked; the second call takes the devices as chosen. */
export async function talks(page, desk, seen) {
  const seat = 'POST appointments/apt_1/seat';
  desk.refusals.set(seat, [503, 'room']);
  await press(page, 'enter-apt_1');
  await checksDevices(page, seen);
  await page.waitForSelector('[role=alert] [data-text="amt.problem.room"]');
  await begins(page, 'Das geht gerade nicht');
  await announced(page, 'alert', 'Der Raum für die Beratung ist gerade nicht erreichbar');
  await seen('amt-no-seat');
  desk.refusals.delete(seat);
  await press(page, 'back');
  await press(page, 'enter-apt_1');
  await page.waitForFunction(() => window.fakeRoom?.finishConnecting); // nothing is asked again
  await page.evaluate(() => window.fakeRoom.finishConnecting());
  await page.waitForSelector('html[data-state=connected]');
  await begins(page, 'Beratung');
  await press(page, 'ask-mute-per_kim');
  await says(page, 'lobby.askmute.absent');
  await page.evaluate(() => window.fakeRoom.join('per_kim.2', 'Kim Müller', { hue: 40 }));
  await press(page, 'ask-mute-per_kim');
  await says(page, 'lobby.askmute.asked');
  assert.deepEqual(await page.evaluate(() => window.sentData.map(({ topic, to }) => [topic, to])), [['ask-mute', ['per_kim.2']]]);
  // Who only watches has no microphone that one could ask to be turned off.
  desk.change({ role: 'observer' });
  await page.waitForSelector('#ask-mute-per_kim', { state: 'detached' });
  desk.change({ role: 'citizen' });
  await page.waitForSelector('#ask-mute-per_kim:visible');
  desk.replan({ people: [...desk.apt.people, ...['Ada', 'Bo'].map((name) => ({ ...desk.kim, id: `per_${name}`, name, stage: 'waiting' }))] });
  desk.change({});
  await page.getByRole('status').filter({ hasText: 'Ada, Bo warten' }).waitFor();
  desk.replan({ people: desk.apt.people.slice(0, -2) });
  desk.change({});
  desk.change({ stage: 'waiting', waiting_since: new Date().toISOString() });
  await page.waitForSelector('#lobby #admit-per_kim:visible');
  await announced(page, 'status', 'Kim Müller wartet, mit der Taste F8');
  await page.focus('#leave');
  await goesToWhoWaits(page, 'per_kim', 'admit-per_kim');
  // Of several, first whoever came last, then one after the other; a question has to be answered first.
  const toni = { ...desk.kim, id: 'per_toni', name: 'Toni Muster' };
  desk.replan({ people: [...desk.apt.people, toni] });
  desk.change({});
  await page.waitForSelector('#to-waiting:has-text("Zu Toni Muster")');
  await page.focus('#leave');
  for (const id of ['per_toni', 'per_kim', 'per_toni']) {
    await page.keyboard.press('F8');
    assert.equal(await focused(page), `person-${id}`);
  }
  await press(page, 'deny-per_toni');
  await page.waitForSelector('dialog[open]');
  await page.keyboard.press('F8');
  assert.ok(await page.evaluate(() => document.querySelector('dialog:modal').contains(document.activeElement)), 'the question keeps the focus');
  await page.keyboard.press('Escape');
  await page.focus('#to-waiting');
  desk.replan({ people: desk.apt.people.filter((one) => one !== toni) });
  desk.change({});
  await page.waitForSelector('#to-waiting:has-text("Zu Kim Müller")');
  await page.evaluate(() => window.fakeRoom.speak(['per_kim.2']));
  await announced(page, 'status', 'Kim Müller spricht');
  await seen('amt-call');
  await staysInSight(page, seen);
  await page.focus('#to-waiting');
  desk.change({ stage: 'admitted' });
  await page.waitForFunction(() => document.activeElement?.id === 'lobby', undefined, { timeout: 5_000 });
  desk.change({ stage: 'waiting' });
  await press(page, 'admit-per_kim');
  await confirmed(page, 'expel-per_kim', 'lobby.did.remove');
  await open(page, '#colleague-open');
  await type(page, 'colleague-name', 'Herr Öz');
  await press(page, 'colleague');
  await page.waitForFunction(() => document.activeElement?.id === 'colleague-link');
  assert.deepEqual(last(desk, 'POST appointments/apt_1/colleague'), { name: 'Herr Öz' });
  await press(page, 'leave');
  await page.waitForSelector('html[data-state=day]');
}

/** Who waits stands beside the faces where there is room, and below them elsewhere; the faces are in sight wherever one has scrolled to. */
async function staysInSight(page, seen) {
  const places = () => page.evaluate(() => {
    const box = (element) => element.getBoundingClientRect();
    const [faces, lobby] = ['.faces', '.call__lobby'].map((one) => box(document.querySelector(one)));
    const seen = [...document.querySelectorAll('.tile')].every((tile) => box(tile).bottom > 0 && box(tile).top < innerHeight && box(tile).width > 0);
    return { beside: lobby.left >= faces.right - 1 && lobby.top < faces.bottom, below: lobby.top >= faces.bottom - 1, seen };
  });
  assert.deepEqual(await places(), { beside: true, below: false, seen: true });
  for (const [width, height] of [[1440, 600], [800, 600], [360, 640]]) {
    await page.setViewportSize({ width, height });
    if (width < 960) assert.equal((await places()).below, true, `the lobby is below at ${width}`);
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await page.waitForFunction(() => [...document.querySelectorAll('.tile')].every((tile) => tile.getBoundingClientRect().bottom > 0), undefined, { timeout: 2_000 });
    await page.evaluate(() => window.scrollTo(0, 0));
    await page.waitForFunction(() => !document.querySelector('.faces[data-docked]'), undefined, { timeout: 2_000 });
  }
  // With the text open as well there are three: people, who waits, what is written. Whoever is read to meets them in the order of the screen.
  await press(page, 'toggle-text');
  await page.waitForSelector('#panes:visible');
  for (const width of [1440, 960, 800, 700, 360]) {
    await page.setViewportSize({ width, height: 800 });
    // The faces stick to the top: only where nothing is scrolled away do they stand where they are read.
    await page.evaluate(() => window.scrollTo(0, 0));
    assert.deepEqual(await outOfOrder(page), [], `people, lobby and text at ${width}`);
  }
  // Whoever reads along signs, maybe: the faces stay as large, wherever one has scrolled to when the window changes.
  const faceWidths = [];
  for (const [width, scroll] of [[1300, 0], [1299, 120]]) {
    await page.evaluate((y) => window.scrollTo(0, y), scroll);
    await page.setViewportSize({ width, height: 800 });
    await page.waitForFunction(() => !document.querySelector('.faces[data-docked]'));
    faceWidths.push(await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(document.querySelector('.tile').offsetWidth))))));
  }
  assert.ok(Math.abs(faceWidths[0] - faceWidths[1]) <= 4, `faces are ${faceWidths} wide`);
  await seen('amt-call-text');
  await press(page, 'toggle-text');
}

/** The end with what came of it. */
export async function ends(page, desk, seen) {
  desk.replan({ state: 'running' });
  desk.change({ stage: 'in_call' });
  await page.evaluate(() => delete window.fakeRoom); // the call before had one
  await press(page, 'enter-apt_1');
  await page.waitForFunction(() => window.fakeRoom?.finishConnecting);
  await page.evaluate(() => window.fakeRoom.finishConnecting());
  await page.waitForSelector('html[data-state=connected]');
  // A code of the office's own has the name that stands among its texts.
  assert.deepEqual(await page.$$eval('#outcome option', (options) => options.map(({ textContent }) => textContent)), ['erledigt', 'nicht erschienen', 'an eine andere Stelle']);
  await page.selectOption('#outcome', 'no_show');
  await seen('amt-end');
  await press(page, 'end-call');
  await page.waitForSelector('html[data-state=day]');
  assert.deepEqual(last(desk, 'POST appointments/apt_1/end'), { outcome: 'no_show' });
  await page.waitForSelector('#day [data-text="state.ended"]');
}

async function checksDevices(page, seen) {
  await page.waitForSelector('#ask:visible, #join:visible');
  await begins(page, 'Kamera und Mikrofon prüfen');
  if (await page.$('#ask')) await press(page, 'ask');
  await page.waitForSelector('#prejoin-microphone');
  await press(page, 'check-back');
  await page.waitForSelector('html[data-state=day]');
  await press(page, 'enter-apt_1');
  if (await page.waitForSelector('#ask:visible, #join:visible').then((one) => one.getAttribute('id')) === 'ask') await press(page, 'ask');
  await page.waitForSelector('#prejoin-microphone');
  await seen('amt-check');
  await press(page, 'join');
}

/** Called off, after a question. */
export async function cancels(page, desk) {
  await confirmed(page, 'cancel-apt_1', 'day.did.cancel');
  assert.equal(desk.apt.state, 'cancelled');
  await page.waitForSelector('#cancel-apt_1', { state: 'hidden' });
}
