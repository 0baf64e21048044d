// The citizen's pages on a fake desk and a fake room: every screen as people of many kinds have it, what is announced, and what the page does
// about a poor network.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium } from '../lib/chromium.mjs';
import { fakeDesk } from '../lib/fake-desk.mjs';
import { bundleWithFake, DIST } from '../lib/fake-bundle.mjs';
import { look } from '../lib/look.mjs';
import { untilEnd } from '../lib/stage.mjs';

const pictures = process.env.SCREENSHOTS;

describe('pages of the citizen', { timeout: 300_000 }, () => {
  let browser, script;
  before(async () => {
    [script, browser] = await Promise.all([bundleWithFake(), launchChromium()]);
  });
  after(() => browser?.close());

  const press = async (page, id) => {
    await page.waitForSelector(`#${id}`);
    await page.focus(`#${id}`);
    await page.keyboard.press('Enter');
  };

  /** A window in which less motion is wanted, at the landing. */
  async function open(t, options = {}, { init, token = 'good', clock = false } = {}) {
    const desk = await untilEnd(t, fakeDesk({ dist: DIST, script, ...options }));
    const context = await untilEnd(t, browser.newContext({ reducedMotion: 'reduce', viewport: { width: 1440, height: 800 } }));
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(error.message));
    if (clock) await page.clock.install();
    if (init) await page.addInitScript(init);
    await page.goto(`${desk.url}/termin#${token}`);
    await page.waitForSelector('#open');
    return Object.assign(page, { desk, errors });
  }

  /** From the landing into the call. */
  async function enter(page) {
    await press(page, 'open');
    await press(page, 'check');
    await page.waitForSelector('#prejoin-camera'); // with the camera on
    await press(page, 'join');
    await page.waitForSelector('#position:not(:empty)');
    page.desk.change({ stage: 'admitted' });
    await page.waitForFunction(() => window.fakeRoom?.finishConnecting);
    await page.evaluate(() => window.fakeRoom.finishConnecting());
    await page.waitForSelector('html[data-state=connected]');
    await page.evaluate(() => window.fakeRoom.join('off', 'Frau Schröder', { hue: 200, speaking: true }));
  }

  /** On a small phone, whichever field one writes in. */
  async function facesAndField(page) {
    await page.setViewportSize({ width: 360, height: 640 });
    await page.waitForSelector('.faces[data-strip]');
    for (const field of ['rtt', 'chat']) {
      await page.evaluate(() => (document.activeElement.blur(), window.scrollTo(0, 0)));
      await page.focus(`#${field}`);
      const { tiles, top, bottom, controls } = await page.evaluate((id) => {
        const box = (element) => element.getBoundingClientRect();
        const { top, bottom } = box(document.getElementById(id));
        return { top, bottom, controls: box(document.querySelector('.controls')).top, tiles: [...document.querySelectorAll('.tile')].map(box).map((one) => [one.top, one.bottom, one.width]) };
      }, field);
      for (const [above, below, width] of tiles) assert.ok(above >= 0 && below <= top && width >= 100, `a face from ${above} to ${below}, ${width} wide, and ${field} from ${top}`);
      assert.ok(bottom <= controls && controls < 640, `${field} ends at ${bottom}, the controls begin at ${controls}`);
    }
    await page.setViewportSize({ width: 1440, height: 800 });
  }

  test('every screen in each language, light and dark, narrow and with large text', async (t) => {
    const page = await open(t, { office: { end_to_end: 'possible' } });
    const shown = (name) => look(page, `termin-${name}`, pictures);
    await page.waitForSelector('#help:not(:empty)'); // there is one office: its help line stands there before the link is spent
    await shown('landing');
    await press(page, 'open');
    await page.waitForSelector('#check');
    await shown('notice');
    await press(page, 'check');
    await page.waitForSelector('#prejoin-camera');
    await shown('check');
    await page.emulateMedia({ forcedColors: 'active' });
    await page.keyboard.press('Tab'); // so that what is focused next is focused visibly
    await page.focus('#need-signing');
    await page.keyboard.press('Space');
    const drawn = await page.evaluate(() => { const { outlineColor, outlineStyle, outlineWidth, borderStyle } = getComputedStyle(document.activeElement); return { outlineColor, outlineStyle, outlineWidth, borderStyle }; });
    assert.ok(drawn.outlineStyle === 'solid' && parseFloat(drawn.outlineWidth) >= 2 && !/, 0\)$/.test(drawn.outlineColor) && drawn.borderStyle === 'solid', `in colours of one's own: ${JSON.stringify(drawn)}`);
    await page.keyboard.press('Space');
    await page.emulateMedia({ forcedColors: 'none' });
    await press(page, 'join');
    await page.waitForSelector('#position:not(:empty)');
    page.desk.change({ message: { text: 'Es dauert noch fünf Minuten.', at: new Date().toISOString() } });
    await page.waitForSelector('#message-text');
    await shown('waiting');
    page.desk.change({ stage: 'admitted' });
    await page.waitForSelector('#called .kern-alert');
    assert.match(await page.locator('main').ariaSnapshot(), /- alert: Sie sind eingelassen\. Die Beratung beginnt\./);
    await page.waitForFunction(() => window.fakeRoom?.finishConnecting);
    await page.evaluate(() => window.fakeRoom.finishConnecting());
    await page.waitForSelector('html[data-state=connected]');
    await page.evaluate(() => {
      window.fakeRoom.join('off', 'Frau Schröder', { hue: 200, speaking: true, encrypts: true });
      window.fakeRoom.speak(['off']);
    });
    await page.waitForSelector('.shield[data-layer=end]');
    await page.focus('.talk__who summary');
    await page.keyboard.press('Enter');
    const snapshot = await page.locator('main').ariaSnapshot();
    assert.match(snapshot, /- status: Frau Schröder spricht/);
    assert.match(snapshot, /- 'button "Anheften: Frau Schröder"'/);
    // What is on is a status, and the number is read one digit after the other.
    assert.match(snapshot, /- status: Von Gerät zu Gerät verschlüsselt\. Zahlen noch nicht verglichen\./);
    const digits = [...(await page.getAttribute('.codes__number', 'data-code'))].join(' ').replace(/^(.{5}) /, '$1, ');
    assert.match(snapshot, new RegExp(`Zahl: ${digits}`));
    assert.match(snapshot, /- checkbox "Gleiche Zahl bei Frau Schröder"/);
    await shown('call');
    // With text twice as large faces don't become stamps, under names and buttons that have grown.
    await page.setViewportSize({ width: 1280, height: 800 });
    await page.evaluate(() => (document.documentElement.style.fontSize = '32px'));
    await page.waitForFunction(() => [...document.querySelectorAll('.tile')].every((tile) => tile.clientWidth >= 288));
    await page.evaluate(() => (document.documentElement.style.fontSize = ''));
    await page.setViewportSize({ width: 1440, height: 800 });
    await page.emulateMedia({ forcedColors: 'active' });
    const alike = await page.$$eval('.controls button, .tile__pin', (buttons) => buttons.filter((one) => one.checkVisibility() && getComputedStyle(one.querySelector('.icon')).color === getComputedStyle(one).backgroundColor).map(({ id }) => id));
    assert.deepEqual(alike, [], "in colours of one's own no symbol is lost in its button");
    await page.emulateMedia({ forcedColors: 'none' });
    await press(page, 'toggle-text');
    await page.evaluate(() => window.fakeRoom.receive('off', 'rtt', [0, 0, 0, 0, ...new TextEncoder().encode('Guten Tag, hören Sie mich?')]));
    await shown('call-text');
    // What somebody in between writes in another's name is not shown: it is not sealed.
    await page.evaluate(() => { const { fakeRoom } = window; fakeRoom.emit('dataReceived', new TextEncoder().encode('Bitte überweisen Sie'), fakeRoom.remoteParticipants.get('off'), undefined, 'chat'); });
    await page.evaluate(() => window.fakeRoom.receive('off', 'chat', [...new TextEncoder().encode('Guten Morgen')]));
    await page.waitForSelector('#chat-lines p');
    assert.equal(await page.textContent('#chat-lines'), 'Frau Schröder: Guten Morgen');
    // Somebody comes whose browser can't: it is announced, and no number stands where there is nothing to compare.
    await page.evaluate(() => window.fakeRoom.join('old', 'Herr Öz', { hue: 90, encrypts: false }));
    await page.waitForSelector('.shield[data-layer=transport]');
    assert.match(await page.locator('main').ariaSnapshot(), /- status: Verschlüsselt bis zum Server der Behörde\./);
    assert.match(await page.textContent('#encryption'), /Nicht von Gerät zu Gerät verschlüsselt ist es bei: Herr Öz\.$/);
    assert.equal(await page.isVisible('.codes__number'), false);
    await page.evaluate(() => window.fakeRoom.part('old'));
    await page.waitForSelector('.shield[data-layer=end]');
    await facesAndField(page);
    await press(page, 'toggle-screen');
    await page.waitForSelector('#share-hint[open]');
    await shown('share');
    await page.keyboard.press('Escape');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'toggle-screen', 'the focus is back where it was');
    await press(page, 'leave');
    await page.waitForSelector('html[data-state=ended]');
    await shown('end');
    assert.deepEqual(page.errors, []);
  });

  test('a poor network takes the pictures and not the sound, and the person has the last word', async (t) => {
    const page = await open(t, {}, { clock: true });
    await enter(page);
    assert.equal(await page.evaluate(() => window.fakeRoom.localParticipant.isCameraEnabled), true);
    const state = () => page.evaluate(() => ({ received: window.fakeRoom.remoteParticipants.get('off').subscribed, sent: window.fakeRoom.localParticipant.isCameraEnabled, said: document.querySelector('#quality').textContent }));
    const be = (quality, ms) => page.evaluate((how) => window.fakeRoom.quality(how), quality).then(() => page.clock.fastForward(ms));

    await be('poor', 5_000);
    await be('good', 5_000); // it was for a moment only
    await be('poor', 5_000);
    assert.deepEqual(await state(), { received: undefined, sent: true, said: '' });
    await be('poor', 6_000);
    assert.deepEqual(await state(), { received: false, sent: false, said: 'Die Verbindung ist schlecht. Damit Sie sich weiter hören, sind die Bilder aus.' });
    assert.match(await page.locator('main').ariaSnapshot(), /- status: Die Verbindung ist schlecht/);
    await look(page, 'termin-audio', pictures);
    await be('excellent', 11_000);
    assert.deepEqual(await state(), { received: false, sent: false, said: 'Die Verbindung ist wieder gut. Sie können die Bilder wieder einschalten.' }, 'no camera turns itself on');
    await press(page, 'pictures');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'audio-only', 'the focus goes where the way back is');
    assert.deepEqual(await state(), { received: true, sent: true, said: '' });
    await be('lost', 11_000);
    const { received, sent, said } = await state();
    assert.deepEqual([received, sent], [true, true], 'who wanted the pictures back keeps them');
    assert.match(said, /Nur Ton/);
    await page.evaluate(() => window.fakeRoom.change('kim', { isScreenShareEnabled: true }));
    assert.equal(await page.isVisible('#stop-sharing'), false, 'with pictures the control says it');
    await press(page, 'audio-only');
    assert.deepEqual(await state(), { received: false, sent: false, said: 'Nur Ton: Sie sehen keine Bilder, und Ihre Kamera ist aus.' });
    // A screen that one shares is not taken from the others, and does not go on unnoticed either.
    assert.match(await page.locator('main').ariaSnapshot(), /- status: "?Ihr Bildschirm wird weiter geteilt: Die anderen sehen ihn\.[^]*- button "Teilen beenden"/);
    await look(page, 'termin-audio-sharing', pictures);
    await press(page, 'stop-sharing');
    await page.waitForFunction(() => document.activeElement.id === 'pictures');
    assert.equal(await page.evaluate(() => window.fakeRoom.localParticipant.isScreenShareEnabled), false);
    assert.equal(await page.isVisible('#still-shared:not(:empty)'), false);

    // What does not come back says whom to call, in the page and to a screen reader.
    await page.evaluate(() => window.fakeRoom.reconnecting(true));
    assert.equal(await page.locator('.call__connection').textContent(), 'Verbindung wird wiederhergestellt');
    await page.clock.fastForward(11_000);
    assert.match(await page.locator('main').ariaSnapshot(), /- status: "?Verbindung wird wiederhergestellt\. Wenn es nicht klappt, rufen Sie an: \+49 30 115/);
    await look(page, 'termin-reconnecting', pictures);
    await page.evaluate(() => window.fakeRoom.reconnecting(false));
    assert.equal(await page.locator('.call__connection').textContent(), 'Verbindung ist wieder da');
    // The library keeps some of what happens then to itself: who came is heard and seen all the same, and who went is gone.
    await page.evaluate(() => window.fakeRoom.exchange('new', 'Herr Weber'));
    await page.clock.fastForward(500);
    await page.clock.fastForward(500);
    const tiles = await page.evaluate(() => [...document.querySelectorAll('.tile')].map((tile) => tile.dataset.identity));
    assert.deepEqual(tiles.sort(), ['kim', 'new']);
    assert.equal(await page.evaluate(() => window.fakeRoom.remoteParticipants.get('new').sound.attachedElements.filter((element) => element.isConnected).length), 1, 'heard once');
    assert.equal(await page.evaluate(() => window.fakeRoom.remoteParticipants.get('new').subscribed), false, 'pictures stay off');
    assert.deepEqual(page.errors, []);
  });

  test('pictures are never taken while somebody signs', async (t) => {
    const page = await open(t, { office: { end_to_end: 'required' } }, { clock: true });
    await enter(page);
    await page.evaluate(() => window.fakeRoom.change('off', { trackName: 'signing' }));
    await page.evaluate(() => window.fakeRoom.quality('poor'));
    await page.clock.fastForward(11_000);
    assert.equal(await page.evaluate(() => window.fakeRoom.remoteParticipants.get('off').subscribed), undefined);
    assert.match(await page.locator('#quality').textContent(), /Nur Ton/, 'it is said, and left to the person');
    // Of whom nothing is encrypted nothing is received here, whenever they came and whether or not it was told.
    const wanted = await page.evaluate(() => {
      const publication = (isEncrypted) => ({ isEncrypted, isDesired: true, setSubscribed(yes) { this.isDesired = yes; } });
      const publications = { clear: publication(false), encrypted: publication(true) };
      window.fakeRoom.remoteParticipants.get('off').trackPublications = new Map(Object.entries(publications));
      window.fakeRoom.speak(['off']);
      return Object.entries(publications).filter(([, { isDesired }]) => isDesired).map(([name]) => name);
    });
    assert.deepEqual(wanted, ['encrypted']);
    // Whoever sends such is named as somebody who gets nothing; nobody is told that the server could see anything.
    await page.waitForSelector('#layer[data-text="shield.without"]');
    assert.match(await page.locator('#encryption').textContent(), /Das geht nicht mit: Frau Schröder\./);
    if (pictures) for (const width of [1440, 768, 360]) {
      await page.setViewportSize({ width, height: 800 });
      await page.screenshot({ path: `${pictures}/termin-without-${width}.jpg`, quality: 80 });
    }
    assert.deepEqual(page.errors, []);
  });

  test('consent is to what was read, in the language in which it was read', async (t) => {
    const notices = { en: { kind: 'consent', hash: 'english', title: 'Consent', text: 'We process your data.', details: '' } };
    const page = await open(t, { notice: { kind: 'consent' }, notices });
    await press(page, 'open');
    await page.getByRole('button', { name: 'Ich stimme zu: weiter mit Kamera und Mikrofon' }).waitFor();
    await page.selectOption('#language', 'en');
    await page.getByText('We process your data.').waitFor();
    assert.equal(await page.locator('#notice details').isVisible(), false);
    await look(page, 'termin-consent', pictures);
    await page.selectOption('#language', 'en');
    await page.getByRole('button', { name: 'I agree: continue without camera' }).press('Enter');
    await page.waitForSelector('#join');
    assert.deepEqual(page.desk.bodies['me/notice'], { hash: 'english', agreed: true });
    assert.deepEqual(page.errors, []);
  });

  test('who only watches is asked for no camera, and nobody for what is not theirs', async (t) => {
    const counted = () => { window.asked = 0; navigator.mediaDevices.getUserMedia = () => { window.asked++; return Promise.reject(new DOMException('', 'NotAllowedError')); }; };
    const needs = { signing: false, live_text: true, interpreter: true, companion: false };
    const page = await open(t, { notice: { kind: 'consent' }, me: { role: 'observer', needs } }, { init: counted });
    await press(page, 'open');
    await page.getByText('Kamera und Mikrofon brauchen Sie nicht.').waitFor();
    assert.equal(await page.locator('main button').count(), 1);
    await page.getByRole('button', { name: 'Ich stimme zu: weiter' }).press('Enter');
    await page.waitForSelector('#network-said');
    assert.deepEqual(await page.$$eval('main input', (inputs) => inputs.map(({ id }) => id)), ['need-live_text']);
    await look(page, 'termin-watch', pictures, { brief: true });
    await press(page, 'join');
    await page.waitForSelector('#position:not(:empty)');
    assert.deepEqual([page.desk.bodies['me/devices'].camera, page.desk.bodies['me/devices'].microphone], [false, false]);
    assert.deepEqual(page.desk.bodies['me/needs'], needs, 'what the office knew stays');
    page.desk.change({ stage: 'admitted' });
    await page.waitForFunction(() => window.fakeRoom?.finishConnecting);
    await page.evaluate(() => window.fakeRoom.finishConnecting());
    await page.waitForSelector('html[data-state=connected]');
    assert.equal(await page.evaluate(() => window.asked), 0);
    assert.deepEqual(page.errors, []);

    const interpreter = await open(t, { me: { role: 'interpreter' } });
    await press(interpreter, 'open');
    await press(interpreter, 'check');
    await interpreter.waitForSelector('#join');
    assert.deepEqual(await interpreter.$$eval('main input', (inputs) => inputs.map(({ id }) => id)), ['need-signing', 'need-live_text']);
  });

  test('a camera that may not be used and a link that is too early are told as alerts', async (t) => {
    const denied = () => (navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotAllowedError')));
    const page = await open(t, {}, { init: denied });
    await press(page, 'open');
    await press(page, 'check');
    await page.waitForSelector('.problems .kern-alert');
    assert.match(await page.locator('main').ariaSnapshot(), /- alert:\s+- text: Mikrofon\s+- paragraph: Der Browser darf das Mikrofon nicht benutzen/);
    await look(page, 'termin-denied', pictures);
    assert.deepEqual(page.errors, []);

    // Where nothing but encryption between browsers will do, who can't is told before anything else is asked.
    const old = await open(t, { office: { end_to_end: 'required' } }, { init: () => { delete RTCRtpSender.prototype.createEncodedStreams; delete window.RTCRtpScriptTransform; } });
    await press(old, 'open');
    await old.getByRole('alert').filter({ hasText: 'Gespräche von Gerät zu Gerät verschlüsselt. Ihr Browser kann das nicht.' }).waitFor();
    assert.ok(!old.desk.calls.some((call) => /wait|seat|notice/.test(call)), 'nobody waits for what can not be');
    assert.deepEqual(old.desk.bodies['me/devices'], { camera: false, microphone: false, network: 'none', encryption: false }, 'the office is told why');
    await look(old, 'termin-no-encryption', pictures, { brief: true });
    assert.deepEqual(old.errors, []);

    // Of several offices nobody knows yet whose link it is: each of their lines stands there, before it is opened and when it can't be.
    const offices = [{ name: 'Bürgeramt Mitte', phone: '+49 30 115', text: '' }, { name: 'Sozialamt', phone: '+49 30 116', text: '' }];
    const early = await open(t, { offices }, { token: 'early' });
    await early.getByRole('complementary').getByText('Sozialamt: +49 30 116').waitFor();
    await look(early, 'termin-landing-offices', pictures);
    await press(early, 'open');
    const alert = early.getByRole('alert');
    await alert.filter({ hasText: 'Geöffnet ab Montag, 7. Dezember 2026 um' }).waitFor();
    await early.selectOption('#language', 'en');
    await alert.filter({ hasText: 'Monday, 7 December 2026 at' }).waitFor();
    assert.equal(await early.locator('aside.help a').count(), 2);
    await look(early, 'termin-problem', pictures);
    assert.deepEqual(early.errors, []);
  });
});
