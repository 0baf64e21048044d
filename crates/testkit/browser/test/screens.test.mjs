// Every screen of the page, without a server: axe finds nothing, nothing overflows, targets are large enough. The call
// itself is a fake here; page.test.mjs has the real one. Pictures go to $SCREENSHOTS, or a temporary folder.
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { violations } from '../lib/axe.mjs';
import { LONG } from '../lib/call.mjs';
import { launchChromium } from '../lib/chromium.mjs';
import { serve } from '../lib/static.mjs';
import { token } from '../lib/token.mjs';

const web = fileURLToPath(new URL('../../../web', import.meta.url));
const kit = fileURLToPath(new URL('..', import.meta.url));
const pictures = process.env.SCREENSHOTS ?? fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-screens-'));
const link = (options) => `#room=r&token=${token({ key: 'k', secret: 's'.repeat(32), room: 'r', identity: 'kim', name: 'Kim Müller', ...options })}`;

/** The page's own sources with the library exchanged for the fake. */
async function bundleWithFake() {
  const result = await build({
    absWorkingDir: web,
    entryPoints: ['page/main.ts'],
    bundle: true,
    format: 'esm',
    write: false,
    plugins: [{
      name: 'fake-livekit',
      setup(b) {
        b.onResolve({ filter: /^livekit-client$/ }, ({ importer }) => {
          if (importer.startsWith(path.join(web, 'page'))) return { path: path.join(kit, 'lib/fake-livekit.mjs') };
          return { path: path.join(web, 'node_modules/livekit-client/dist/livekit-client.esm.mjs') };
        });
      },
    }],
  });
  return result.outputFiles[0].text;
}

/** How to get to each screen from a fresh page. */
const SCREENS = {
  'start': async (page, go) => go(''),
  'start-expired': async (page, go) => go(link({ ttl: -60 })),
  'prejoin-ask': async (page, go) => {
    // A granted permission skips this screen, so the browser is made to say that it would ask.
    await page.addInitScript(() => { navigator.permissions.query = async () => ({ state: 'prompt' }); });
    await go(link());
  },
  'prejoin': async (page, go) => {
    await go(link({ video: { canUpdateOwnMetadata: true } }));
    await page.waitForSelector('video:not([hidden])');
    await page.waitForSelector('#prejoin-camera');
    await page.waitForTimeout(600);
  },
  'prejoin-denied': async (page, go) => {
    await page.addInitScript(() => { navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); }; });
    await go(link());
    await page.waitForSelector('#retry-camera');
  },
  'connecting': async (page, go) => {
    await go(link());
    await page.waitForSelector('video:not([hidden])');
    await page.click('#join');
    await page.waitForSelector('html[data-state=connecting]');
  },
  'call-alone': (page, go) => call(page, go),
  'call-two': async (page, go) => {
    await call(page, go);
    await page.evaluate(() => window.fakeRoom.join('amt', 'Frau Schröder, Bürgeramt Mitte', { hue: 200, speaking: true }));
  },
  'call-five-screen': async (page, go) => {
    await call(page, go);
    await page.evaluate(() => {
      window.fakeRoom.join('amt', 'Frau Schröder, Bürgeramt Mitte', { hue: 200, screen: true });
      window.fakeRoom.join('dolm', 'Dolmetscherin', { hue: 120, speaking: true });
      window.fakeRoom.join('leise', '', { hue: 90, camera: false, microphone: false });
      window.fakeRoom.join('lang', 'Donaudampfschifffahrtsgesellschaftskapitänswitwe-Verwaltungsangestellte', { hue: 300, microphone: false });
      window.fakeRoom.change('kim', { isMicrophoneEnabled: false, isCameraEnabled: false });
    });
  },
  'call-reconnecting': async (page, go) => {
    await call(page, go);
    await page.evaluate(() => {
      window.fakeRoom.join('amt', 'Frau Schröder', { hue: 200 });
      window.fakeRoom.reconnecting(true);
      window.fakeRoom.blockAudio(true);
    });
  },
  'end': async (page, go) => {
    await call(page, go);
    await page.click('#leave');
    await page.waitForSelector('#rejoin');
  },
  'end-removed': async (page, go) => {
    await call(page, go);
    await page.evaluate(() => window.fakeRoom.disconnect(4));
    await page.waitForSelector('html[data-state=ended]');
  },
  'end-encryption': async (page, go) => {
    await call(page, go);
    await page.evaluate(() => window.fakeRoom.disconnect(15));
    await page.waitForSelector('text=/Verschlüsselung|encryption/');
  },
};

async function call(page, go) {
  await SCREENS.connecting(page, go);
  await page.evaluate(() => window.fakeRoom.finishConnecting());
  await page.waitForSelector('html[data-state=connected]');
}

const WIDTHS = process.env.WIDTHS?.split(',').map(Number) ?? [1440, 768, 360, 320];
/** Between the widest and the narrowest the same elements stand in other places: axe, which takes most of the time, looks at all of them with `--long`. */
const AXE_WIDTHS = LONG ? WIDTHS : [Math.max(...WIDTHS), Math.min(...WIDTHS)];
const SCHEMES = ['light', 'dark'];
const LANGUAGES = ['de', 'en'];

// axe computes on one core at a time: as many screens at once as there are cores.
describe('screens', { timeout: 600_000, concurrency: os.availableParallelism() }, () => {
  let browser;
  let server;
  before(async () => {
    browser = await launchChromium();
    server = await serve({ roots: [path.join(web, 'dist')], files: { '/assets/app.js': await bundleWithFake() } });
  });
  after(async () => {
    await browser?.close();
    await server?.close();
    console.log(`pictures: ${pictures}`);
  });

  for (const [name, reach] of Object.entries(SCREENS).filter(([name]) => name.startsWith(process.env.SCREEN ?? ''))) {
    test(`${name} is accessible and fits`, { timeout: 120_000 }, async () => {
      for (const language of LANGUAGES) {
        // Colours know nothing of language: the dark ones are looked at in one.
        for (const scheme of SCHEMES.filter((scheme) => LONG || language === 'de' || scheme === 'light')) {
          const context = await browser.newContext({ colorScheme: scheme, viewport: { width: 1440, height: 900 }, reducedMotion: 'reduce' });
          const page = await context.newPage();
          const errors = [];
          page.on('pageerror', (error) => errors.push(error.message));
          await page.addInitScript((value) => localStorage.setItem('language', value), language);
          await reach(page, async (fragment) => {
            await page.goto(server.url + fragment);
            await page.waitForSelector('h1');
          });
          assert.equal(await page.locator('html').getAttribute('lang'), language);
          for (const width of WIDTHS) {
            await page.setViewportSize({ width, height: width < 700 ? 740 : 900 });
            await page.waitForTimeout(80);
            if (language === 'de') await page.screenshot({ path: path.join(pictures, `${name}-${width}-${scheme}.png`) });
            const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
            assert.ok(overflow <= 0, `${name} overflows by ${overflow} px at ${width}`);
            assert.deepEqual(await smallTargets(page), [], `targets of ${name} at ${width}`);
            if (AXE_WIDTHS.includes(width)) assert.deepEqual(await violations(page), [], `axe on ${name} at ${width} ${scheme} ${language}`);
          }
          assert.deepEqual(errors, []);
          await context.close();
        }
      }
    });
  }

  test('a name is text, not markup', { timeout: 30_000 }, async () => {
    const page = await browser.newPage();
    const hostile = '<img src=x onerror="window.hacked=1">';
    await call(page, async () => page.goto(server.url + link({ name: hostile })).then(() => page.waitForSelector('h1')));
    await page.evaluate((name) => window.fakeRoom.join('x', name), hostile);
    await page.waitForTimeout(300);
    assert.equal(await page.evaluate(() => window.hacked), undefined);
    assert.equal(await page.locator('article[data-identity=x] .tile__name').textContent(), hostile);
    assert.equal(await page.locator('img').count(), 0);
    await page.close();
  });

  test('joining and leaving are announced, and follow the language', { timeout: 30_000 }, async () => {
    const page = await browser.newPage();
    await call(page, async (fragment) => page.goto(server.url + fragment).then(() => page.waitForSelector('h1')));
    await page.evaluate(() => window.fakeRoom.join('amt', 'Frau Schröder'));
    const said = async () => (await page.getByRole('status').allTextContents()).filter((words) => words !== ''); // nothing is said of the network
    assert.deepEqual(await said(), ['Verbunden', 'Frau Schröder ist dazugekommen']);
    await page.click('#language');
    await page.waitForSelector('html[lang=en]');
    assert.deepEqual(await said(), ['Connected', 'Frau Schröder has joined']);
    await page.evaluate(() => window.fakeRoom.part('amt'));
    await page.evaluate(() => window.fakeRoom.reconnecting(true));
    assert.deepEqual(await said(), ['Restoring the connection', 'Frau Schröder has left']);
    await page.close();
  });
});

/** Targets under 24 × 24 CSS pixels (WCAG 2.2, 2.5.8). */
function smallTargets(page) {
  return page.evaluate(() => [...document.querySelectorAll('button, select, input, a[href]')]
    .filter((element) => element.checkVisibility() && !element.classList.contains('skip'))
    .map((element) => [element.id, element.getBoundingClientRect()])
    .filter(([, box]) => box.width < 24 || box.height < 24)
    .map(([id, box]) => `${id} ${box.width}×${box.height}`));
}
