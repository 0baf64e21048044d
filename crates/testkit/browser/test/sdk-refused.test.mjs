// A token that is not accepted is an error an application can show: it names the cause and not the token.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { figure, newRoom } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

describe('a refused token', { timeout: 90_000 }, () => {
  const stage = setStage({ client: false, chromium: false });

  for (const kind of ['python', 'node']) {
    test(`${VERSIONS[kind]} says why, and never shows the token`, { timeout: 40_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('refused');
      const good = server.token({ room, identity: 'eve' });
      const participant = await untilEnd(t, startSdk(kind));
      for (const [what, token] of [
        ['expired', server.token({ room, identity: 'eve', ttl: -600 })],
        ['wrong signature', `${good.slice(0, -6)}AAAAAA`],
        ['not a token', 'this-is-not-a-token'],
        ['may not join', server.token({ room, identity: 'eve', video: { roomJoin: false } })],
      ]) {
        const start = Date.now();
        const error = await participant.ask('join', { url: server.wsUrl, token }).then(() => assert.fail(`${what}: joined`), (e) => e.message);
        figure('refused', `${participant.sdk}, ${what}`, `${error} (${Date.now() - start} ms)`);
        assert.match(error, /^ConnectError: .*401/s, what);
        const signature = token.split('.').at(-1);
        assert.ok(!error.includes(token) && !error.includes(signature), `${what}: the error shows the token`);
        assert.ok(!server.log().includes(signature), `${what}: the log shows the token`);
      }
      await participant.ask('join', { url: server.wsUrl, token: good });
      await participant.ask('leave');
    });
  }
});
