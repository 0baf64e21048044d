// People at the product's pages, in Chromium by playwright and in Firefox by puppeteer alike: their devices are recognisable, and what they
// see and hear is measured where the page shows and plays it.
import { sleep } from './call.mjs';
import { bundle } from './pages.mjs';

/** As small and slow a picture as says who it is: several people share two cores. */
const CAMERA = { width: 320, height: 180, fps: 15 };
/** A tone that is heard may differ by so much: one line of the spectrum. */
const HZ = 6;
const POLL_MS = 50;
const WINDOW = { width: 1280, height: 800 };
/** A browser that lacks what encryption between browsers takes. */
const OLD = 'delete RTCRtpSender.prototype.createEncodedStreams; delete window.RTCRtpScriptTransform;';
let script;

/**
 * Opens `url` in a window of its own, where the browser has such; `devices` are those of page/devices.js. In an `old` one nothing can be encrypted
 * between browsers; with `recorded` (Chromium) `framesOf` answers what is sent.
 */
export async function visit(browser, url, devices, { locale = 'de-DE', old = false, recorded = false } = {}) {
  script ??= await bundle('devices.js');
  const source = `${old ? OLD : ''}window.TEST_DEVICES = ${JSON.stringify({ ...CAMERA, ...devices })};\n${script}`;
  const context = browser.newContext ? await browser.newContext({ locale, viewport: WINDOW }) : browser;
  if (recorded) await context.route('**/assets/e2ee-worker.js', async (route) => route.fulfill({ contentType: 'text/javascript', body: await bundle('e2ee-worker.js') }));
  const page = await context.newPage();
  if (context === browser) await page.setViewport(WINDOW);
  const failures = [];
  page.on('pageerror', (error) => failures.push(error.message));
  page.on('console', (message) => /Content.Security.Policy|Refused to/.test(message.text()) && failures.push(message.text()));
  await (page.addInitScript ? page.addInitScript(source) : page.evaluateOnNewDocument(source));
  await page.goto(url);
  return Object.assign(page, { failures, closeAll: () => (context === browser ? page.close() : context.close()) });
}

/** Waits until `probe`, called in the page with `argument`, answers something; answers that. */
export async function until(page, what, probe, argument, ms = 15_000) {
  for (const end = Date.now() + ms; ; await sleep(POLL_MS)) {
    const found = await page.evaluate(probe, argument);
    if (found) return found;
    if (Date.now() > end && process.env.SCREENSHOTS) await page.screenshot({ path: `${process.env.SCREENSHOTS}/failed.png` });
    if (Date.now() > end) throw new Error(`${what}: not within ${ms} ms at ${await page.evaluate(() => `${document.documentElement.dataset.state}: ${document.querySelector('main').innerText.slice(0, 600)}`)}`);
  }
}

/** Waits until the element is there and shown, puts the focus on it and presses Enter: as somebody does without a mouse. */
export async function press(page, selector) {
  await until(page, selector, (wanted) => document.querySelector(wanted)?.checkVisibility(), selector);
  await page.focus(selector);
  await page.keyboard.press('Enter');
}

/** Gets to an element by Tab alone, and presses Enter there. */
export async function reach(page, selector, most = 80) {
  await until(page, selector, (wanted) => document.querySelector(wanted)?.checkVisibility(), selector);
  for (let i = 0; i < most; i++) {
    if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return page.keyboard.press('Enter');
    await page.keyboard.press('Tab');
  }
  throw new Error(`${selector} can't be reached by keyboard`);
}

/** Frames that the page's encoders make within `ms`, and with `first` their first ones, as they are before they are encrypted. */
export const framesOf = (page, ms, { first = false } = {}) => page.evaluate(async ([ms, first]) => {
  const channel = new BroadcastChannel('e2ee');
  const stop = () => new Promise((done) => {
    channel.onmessage = ({ data }) => done(data);
    channel.postMessage('stop');
  });
  const before = first ? await stop() : [];
  channel.postMessage('record');
  await new Promise((over) => setTimeout(over, ms));
  const base64 = (bytes) => btoa(Array.from(new Uint8Array(bytes), (byte) => String.fromCharCode(byte)).join(''));
  return [...before, ...(await stop())].map(({ type, data }) => ({ type, data: base64(data) }));
}, [ms, first]);

/** Waits until the page says this of encryption: `end`, `transport` or what else layer.ts knows. */
export const says = (page, layer, ms) => until(page, `the layer ${layer}`, (wanted) => document.querySelector('.shield')?.dataset.layer === wanted, layer, ms);

/** The number that the page shows for somebody, by the id of their seat. */
export const codeOf = (page, person) => until(page, `the number of ${person}`, (id) => document.querySelector(`#present [data-person="${id}"] .codes__number`)?.dataset.code, person);

/** Waits until the page shows ten frames in a row that come from camera or screen `id`. */
export const sees = (page, id, ms) => until(page, `the picture of ${id}`, (wanted) => {
  const meters = (window.meters ??= new Map());
  for (const video of document.querySelectorAll('.tile video:not([hidden])')) if (!meters.has(video)) meters.set(video, window.testRig.watch(video));
  for (const [video, meter] of meters) {
    const { ids } = meter.report();
    if (video.isConnected && Object.keys(ids).join() === String(wanted) && ids[wanted] >= 10) return true;
    if (Object.keys(ids).length > 1) meter.reset(); // a tile that showed somebody else before
  }
  return false;
}, id, ms);

/** Waits until the page plays a tone of `hz`; answers what it hears. */
export const hears = (page, hz, ms) => until(page, `a tone of ${hz} Hz`, ([wanted, most]) => {
  const meters = (window.ears ??= new Map());
  for (const { srcObject } of document.querySelectorAll('main audio')) {
    for (const track of srcObject?.getAudioTracks() ?? []) if (!meters.has(track)) meters.set(track, window.testRig.listen(track));
  }
  for (const listen of meters.values()) {
    const { hz: heard, rms } = listen();
    if (Math.abs(heard - wanted) <= most && rms > 0.01) return heard;
  }
  return undefined;
}, [hz, HZ], ms);

/**
 * Types each of `letters` and waits until it is to be read over there, in `lines`. Answers how long each took in ms, from the key's event
 * in one page to the change of the other: the machine's clock is one.
 */
export async function keystrokes(from, to, field, lines, letters) {
  await from.evaluate((selector) => {
    window.keyAt = undefined;
    document.querySelector(selector).addEventListener('keydown', () => (window.keyAt = Date.now()), true);
  }, field);
  await to.evaluate((selector) => {
    window.readAt = new Map();
    const place = document.querySelector(selector);
    new MutationObserver(() => {
      // Names stand there, too: only what somebody wrote counts.
      for (const words of place.querySelectorAll('.lines__words')) for (const letter of words.textContent) if (!window.readAt.has(letter)) window.readAt.set(letter, Date.now());
    }).observe(place, { childList: true, characterData: true, subtree: true });
  }, lines);
  await from.focus(field);
  const took = [];
  for (const letter of letters) {
    await from.keyboard.type(letter);
    const read = await until(to, `the letter ${letter}`, (wanted) => window.readAt.get(wanted), letter, 5_000);
    took.push(read - (await from.evaluate(() => window.keyAt)));
  }
  return took;
}
