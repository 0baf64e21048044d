// The stage of a test file: a server, the page of a participant and browsers, set before its tests and cleared after
// them; and what one test opens for itself. Whatever was opened is closed, also when setting up fails half way.
import { after, afterEach, before, beforeEach } from 'node:test';
import { ask, figure, join, newRoom, openPage, pictures } from './call.mjs';
import { launchChromium } from './chromium.mjs';
import { launchFirefox } from './firefox.mjs';
import { watchMachine } from './machine.mjs';
import { Opened } from './opened.mjs';
import { serveClientPage } from './pages.mjs';
import { startServer } from './server.mjs';

const openedByTest = new WeakMap();

/**
 * Waits for what is being opened, and closes it when the test `t` (its context) ends, by `close` or the thing's own
 * method of that name. What was opened last is closed first.
 */
export function untilEnd(t, opening, close = (thing) => thing.close()) {
  if (!openedByTest.has(t)) {
    const opened = new Opened();
    openedByTest.set(t, opened);
    t.after(() => opened.close());
  }
  return openedByTest.get(t).add(opening, close);
}

/** A page that doesn't answer any more is closed all the same. */
const ANSWER_MS = 2_000;

/** Prints what a page of a failed test says of its pictures, and when the server paused or resumed them. */
async function tellPictures(t, page) {
  const asked = async () => {
    const streams = (await ask(page, 'events').catch(() => [])).filter(({ name }) => name === 'stream');
    return [...(await pictures(page)), ...streams.map(({ at, identity, state }) => `${Math.round(at)}: ${identity} ${state}`)];
  };
  const late = new Promise((answer) => setTimeout(answer, ANSWER_MS, ['no answer']).unref());
  const lines = await Promise.race([asked().catch((failure) => [failure.message]), late]);
  for (const line of lines) figure(t.name, 'failed, with', line);
}

/**
 * Sets the stage for the tests of the `describe` that calls this. `server` is merged into the server's configuration,
 * `chromium` and `firefox` are options of their launchers; `false` leaves one out, as it leaves out the `client` page.
 * The properties of the same names are there when the first test begins. After each test it is printed what the machine did meanwhile, and
 * of one that failed what its pages say of their pictures.
 */
export function setStage({ server = {}, client = true, chromium = {}, firefox = false } = {}) {
  const opened = new Opened();
  const stage = {
    server: undefined,
    client: undefined,
    chromium: undefined,
    firefox: undefined,

    /** Opens the page of a participant in a window of its own, for as long as the test `t` runs. */
    page: (t, browser = stage.chromium) => untilEnd(t, openPage(browser, stage.client.url), async (page) => {
      if (!t.passed) await tellPictures(t, page);
      return page.closeAll();
    }),

    /**
     * Somebody who sends to somebody who receives, both in a new room named after `name`: answers their pages once the
     * receiver sees what was published. `sending` and `receiving` are options of `join`, and may name a `browser`.
     */
    async oneWay(t, name, publish, { sending = {}, receiving = {}, seenMs = 15_000 } = {}) {
      const room = newRoom(name);
      const sender = await stage.page(t, sending.browser);
      const receiver = await stage.page(t, receiving.browser);
      await join(receiver, stage.server, { room, identity: 'receiver', ...receiving });
      await join(sender, stage.server, { room, identity: 'sender', ...sending });
      await ask(sender, 'publish', publish);
      await ask(receiver, 'seen', 'sender', seenMs);
      return { sender, receiver };
    },
  };

  before(async () => {
    try {
      if (server) stage.server = await opened.add(startServer(server), (it) => it.stop());
      if (client) stage.client = await opened.add(serveClientPage(), (it) => it.close());
      if (chromium) stage.chromium = await opened.add(launchChromium(chromium), (it) => it.close());
      if (firefox) stage.firefox = await opened.add(launchFirefox(firefox), (it) => it.close());
    } catch (failure) {
      await opened.close().catch((later) => console.error(later));
      throw failure;
    }
  });
  let watched;
  beforeEach(() => void (watched = watchMachine()));
  afterEach((t) => {
    const { busy, stolen, stallMs } = watched();
    figure(t.name, 'the whole test: machine busy/stolen %, longest stall of this process, ms', `${Math.round(busy * 100)}/${Math.round(stolen * 100)}, ${Math.round(stallMs)}`);
  });
  after(() => opened.close());
  return stage;
}
