// The consultation's pages on a fake desk: journeys by keyboard, what is announced, axe, reflow, and nothing hostile executes.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launchChromium } from '../lib/chromium.mjs';
import { bundleWithFake, DIST as dist } from '../lib/fake-bundle.mjs';
import { fakeDesk } from '../lib/fake-desk.mjs';
import { look } from '../lib/look.mjs';
import { cancels, creates, decides, ends, replans, signsIn, talks } from '../lib/officials-journey.mjs';

const pictures = process.env.SCREENSHOTS;

const press = async (page, id) => {
  await page.waitForSelector(`#${id}`);
  await page.focus(`#${id}`);
  await page.keyboard.press('Enter');
};

describe('pages of the desk', { timeout: 180_000 }, () => {
  let browser;
  let script;
  before(async () => {
    script = await bundleWithFake();
    browser = await launchChromium();
  });
  after(() => browser?.close());

  for (const [language, scheme] of [['de', 'light'], ['en', 'dark'], ['de-leicht', 'light']]) {
    test(`both journeys by keyboard in ${language}, ${scheme}`, async () => {
      const desk = await fakeDesk({ dist, script });
      const context = await browser.newContext({ colorScheme: scheme, reducedMotion: 'reduce', viewport: { width: 1440, height: 800 } });
      await context.addInitScript((value) => localStorage.setItem('language', value), language);
      const citizen = await context.newPage();
      const errors = [];
      citizen.on('pageerror', (error) => errors.push(error.message));
      // A clock that is three hours off changes nothing: the desk's counts.
      if (language === 'en') await citizen.addInitScript(() => { const now = Date.now; Date.now = () => now.call(Date) + 3 * 3_600_000; });
      await citizen.goto(`${desk.url}/termin#good`);
      await citizen.waitForSelector('#open');
      assert.deepEqual(desk.calls.filter((call) => call.startsWith('POST')), [], 'opening the page spends nothing');
      await press(citizen, 'open');
      await citizen.waitForSelector('#check');
      assert.equal(new URL(citizen.url()).hash, '');
      await press(citizen, 'check');
      await citizen.waitForSelector('#prejoin-camera');
      await press(citizen, 'join'); // the third activation
      await citizen.waitForSelector('#position:not(:empty)');
      assert.deepEqual(await citizen.$$eval('#position, #since', (lines) => lines.map(({ dataset }) => dataset.text)), ['wait.at', 'wait.since.short']);

      const official = await context.newPage();
      official.on('pageerror', (error) => errors.push(error.message));
      await official.goto(`${desk.url}/amt`);
      await official.waitForSelector('#demo-0');
      await press(official, 'demo-0');
      await official.waitForSelector('#admit-per_kim');
      assert.match(await official.locator('#day-news').textContent(), /Kim Müller/);
      await press(official, 'admit-per_kim');
      await citizen.waitForSelector('[role=alert]#called .kern-alert');
      await citizen.waitForFunction(() => window.fakeRoom?.finishConnecting);
      await citizen.evaluate(() => window.fakeRoom.finishConnecting());
      await citizen.waitForSelector('html[data-state=connected]');
      await citizen.evaluate(() => window.fakeRoom.join('off', 'Frau Schröder', { hue: 200, speaking: true }));
      await press(citizen, 'toggle-text');
      const begun = await citizen.evaluate(() => performance.now());
      await citizen.keyboard.type('a');
      await citizen.waitForFunction(() => window.sentData?.length > 0);
      const sent = await citizen.evaluate(() => window.sentData[0]);
      assert.equal(sent.topic, 'rtt');
      // What is not sent is told to the eye as well, until something is.
      const send = (works) => citizen.evaluate((yes) => { const me = window.fakeRoom.localParticipant; me.kept ??= me.publishData; me.publishData = yes ? me.kept : async () => { throw new Error('gone'); }; }, works);
      await send(false);
      await citizen.keyboard.type('b');
      await citizen.waitForSelector('#unsent[data-text="talk.unsent"]:visible');
      await send(true);
      await citizen.keyboard.type('c');
      await citizen.waitForSelector('#unsent', { state: 'hidden' });
      assert.ok(sent.at - begun < 500, `the key went out after ${sent.at - begun} ms`);
      // An official asks for quiet: one press, and nobody else may ask.
      await citizen.evaluate(() => window.fakeRoom.join('stranger', 'Fremd', {}));
      await citizen.evaluate(() => window.fakeRoom.receive('stranger', 'ask-mute', [0]));
      assert.equal(await citizen.locator('#ask-mute-off').isVisible(), false);
      await citizen.evaluate(() => window.fakeRoom.receive('off', 'ask-mute', [0]));
      await citizen.waitForSelector('[role=status][data-text="lobby.mute.asked"]');
      if (language === 'de') await look(citizen, 'termin-asked', pictures, { brief: true });
      await press(citizen, 'ask-mute-off');
      assert.equal(await citizen.evaluate(() => window.fakeRoom.localParticipant.isMicrophoneEnabled), false);
      await citizen.evaluate(() => window.fakeRoom.part('stranger'));
      // Packet 1 is missing between 0 and 2: the loss is marked.
      for (const [number, letter] of [[0, 72], [2, 105]]) await citizen.evaluate(([n, l]) => window.fakeRoom.receive('off', 'rtt', [0, 0, 0, n, l]), [number, letter]);
      assert.match(await citizen.locator('#rtt-lines').textContent(), /H\ufffdi$/);
      await press(citizen, 'leave');
      await citizen.waitForSelector('html[data-state=ended]');
      assert.deepEqual(errors, []);
      await context.close();
      await desk.close();
    });
  }

  test('an official\'s day by keyboard, each screen in each language, light and dark, narrow and with large text', async () => {
    const desk = await fakeDesk({ dist, script, texts: { 'outcome.moved': 'an eine andere Stelle' } });
    const context = await browser.newContext({ reducedMotion: 'reduce', viewport: { width: 1440, height: 800 } });
    desk.replan({ late: true });
    desk.change({ link: 'bound', stage: 'waiting', waiting_since: new Date().toISOString(), devices: { camera: true, microphone: false, network: 'tcp', encryption: false }, needs: { signing: true, live_text: false, interpreter: true, companion: false } });
    const page = await context.newPage();
    const errors = [];
    page.on('pageerror', (error) => errors.push(error.message));
    const seen = (name) => look(page, name, pictures, { brief: true });
    await page.goto(`${desk.url}/amt`);
    await signsIn(page, seen);
    for (const key of ['day.late', 'lobby.camera.yes', 'lobby.microphone.no', 'tested.tcp', 'tested.encryption.no', 'linkstate.bound', 'lobby.need.signing', 'lobby.since']) await page.waitForSelector(`#day [data-text="${key}"]`);
    await creates(page, desk, seen);
    await replans(page, desk, seen);
    await decides(page, desk, seen);
    await talks(page, desk, seen);
    await cancels(page, desk);
    await ends(page, desk, seen);
    assert.deepEqual(errors, []);
    await context.close();
    await desk.close();
  });

  test('a wrong link and a spent sign-in link are told as alerts', async () => {
    const desk = await fakeDesk({ dist, script });
    const page = await browser.newPage({ reducedMotion: 'reduce' });
    await page.goto(`${desk.url}/termin#bad`);
    await press(page, 'open');
    await page.getByRole('alert').filter({ hasText: 'Dieser Link gilt nicht' }).waitFor();
    await page.goto(`${desk.url}/amt#login=x.y.z`);
    await page.getByRole('alert').filter({ hasText: 'abgelaufen' }).waitFor();
    await look(page, 'amt-login-error', pictures, { brief: true });
    await page.goto(`${desk.url}/amt#einladung=x`);
    await page.waitForSelector('#open');
    await page.waitForSelector('#help:not(:empty)'); // whom to call, before the link is opened
    await look(page, 'amt-colleague', pictures, { brief: true });
    await page.close();
    await desk.close();
    // Of several offices the page asks which, and says it of one that there is not.
    const offices = [{ id: 'sozial', name: 'Sozialamt', phone: '+49 30 116', text: '' }, { id: 'mitte', name: 'Bürgeramt Mitte', phone: '+49 30 115', text: '' }];
    const several = await fakeDesk({ dist, script, offices });
    const login = await browser.newPage({ reducedMotion: 'reduce' });
    await login.goto(`${several.url}/amt?authority=nowhere`);
    await login.getByRole('alert').filter({ hasText: 'Diese Behörde gibt es hier nicht' }).waitFor();
    await login.goto(`${several.url}/amt`);
    await login.waitForSelector('#offices a');
    assert.deepEqual(await login.locator('#offices a').allTextContents(), ['Bürgeramt Mitte', 'Sozialamt']);
    await look(login, 'amt-offices', pictures, { brief: true });
    await login.focus('#offices a');
    await login.keyboard.press('Enter');
    await login.waitForSelector('#demo-0');
    await login.close();
    await several.close();
  });

  test('hostile names and texts stay text, and what an office has not leaves no place', async () => {
    const hostile = '<img src=x onerror="window.hacked=1">';
    const desk = await fakeDesk({ dist, script, name: hostile, texts: { 'termin.title': hostile }, office: { name: hostile, links: { imprint: 'javascript:window.hacked=1' }, help: { phone: '', text: '' } } });
    const page = await browser.newPage();
    await page.goto(`${desk.url}/termin#good`);
    await press(page, 'open');
    await press(page, 'check-audio');
    await page.waitForSelector('#join');
    assert.equal(await page.locator('main img').count(), 0);
    assert.equal(await page.locator('#links a').count(), 0);
    assert.equal(await page.locator('#office-name').textContent(), hostile);
    assert.equal(await page.locator('aside.help').isVisible(), false, 'no title of a line that there is not');
    // Nor does a sentence end before a number that there is not: at the end, and in what people are sent.
    await press(page, 'join');
    await page.waitForSelector('#position:not(:empty)');
    desk.change({ stage: 'denied' });
    await page.waitForSelector('[data-text="over.denied"]');
    assert.equal(await page.locator('[data-text="over.next"]').count(), 0);
    const official = await browser.newPage();
    await official.goto(`${desk.url}/amt`);
    await press(official, 'demo-0');
    await press(official, 'edit-apt_1');
    await press(official, 'reissue-per_kim');
    await press(official, 'confirm-yes');
    const mail = await (await official.waitForSelector('#plan-apt_1-made [id^=mail-]')).inputValue();
    assert.match(mail, /https:[^]*kein Programm\.$/);
    await official.close();
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    await page.close();
    await desk.close();
  });
});
