// Whoever is removed stays out: what the client libraries make of a token that was withdrawn.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { startBackend } from '../lib/backends.mjs';
import { ask, figure, join, newRoom } from '../lib/call.mjs';
import { VERSIONS, startSdk } from '../lib/sdk.mjs';
import { setStage, untilEnd } from '../lib/stage.mjs';

const REMOVED = 4; // DisconnectReason.PARTICIPANT_REMOVED
/** What a person would wait for an error; retries of the libraries take longer. */
const AT_ONCE_MS = 3_000;

describe('a removed participant', { timeout: 120_000 }, () => {
  const stage = setStage();

  const now = () => Math.floor(Date.now() / 1000);

  test(`${VERSIONS.browser} in Chromium is out until a later token, and doesn't try again (${VERSIONS.nodeApi})`, { timeout: 60_000 }, async (t) => {
    const { server } = stage;
    const room = newRoom('removed');
    const api = await untilEnd(t, startBackend('node', server));
    const [anna, ben] = [await stage.page(t), await stage.page(t)];
    const token = server.token({ room, identity: 'anna' });
    const enter = (token) => anna.evaluate((wish) => window.client.join(wish), { url: server.wsUrl, token });
    await enter(token);
    await join(ben, server, { room, identity: 'ben' });
    await ask(anna, 'publish', { id: 1 });
    await ask(ben, 'seen', 'anna', 15_000);
    await api.call('remove_participant', { room, identity: 'anna' });
    await ask(anna, 'happened', 'disconnected', { reason: REMOVED }, 5_000);
    await ask(ben, 'happened', 'left', { identity: 'anna' }, 5_000);

    const sockets = [];
    anna.on('websocket', (socket) => sockets.push(socket.url()));
    const begun = Date.now();
    const error = await enter(token).then(() => assert.fail('joined'), (failure) => failure.message);
    figure('revoked', 'error of livekit-client', `${error.split('\n')[0]} (${Date.now() - begun} ms, ${sockets.length} connection(s))`);
    assert.match(error, /token has been revoked/);
    assert.ok(Date.now() - begun < AT_ONCE_MS, 'it is told at once');
    assert.equal(sockets.length, 1, 'and tried once');
    assert.ok(!error.includes(token.split('.').at(-1)), 'no token is shown');

    await enter(server.token({ room, identity: 'anna', claims: { iat: now() + 61 } }));
    await ask(anna, 'publish', { id: 2 });
    await ask(ben, 'seen', 'anna', 15_000);
    assert.ok((await server.metrics()).get('schalter_tokens_revoked_refused_total') >= 1);
  });

  for (const kind of ['python', 'node']) {
    test(`${VERSIONS[kind]} is out with the one token that was withdrawn (${VERSIONS.api})`, { timeout: 60_000 }, async (t) => {
      const { server } = stage;
      const room = newRoom('withdrawn');
      const api = await untilEnd(t, startBackend('python', server));
      const who = await untilEnd(t, startSdk(kind));
      const [first, second] = ['a', 'b'].map((jti) => server.token({ room, identity: 'pia', claims: { jti: `${room}-${jti}` } }));
      await who.ask('join', { url: server.wsUrl, token: first });
      await api.call('remove_participant', { room, identity: 'pia', revokeTokenTs: '-1' });
      await who.happened('disconnected', 'PARTICIPANT_REMOVED');
      const again = await untilEnd(t, startSdk(kind));
      const begun = Date.now();
      const error = await again.ask('join', { url: server.wsUrl, token: first }).then(() => assert.fail('joined'), (failure) => failure.message);
      figure('revoked', `error of ${again.sdk}`, `${error} (${Date.now() - begun} ms)`);
      assert.match(error, /^ConnectError: .*401/s);
      assert.ok(Date.now() - begun < AT_ONCE_MS, 'it is told at once');
      await again.ask('join', { url: server.wsUrl, token: second });
      await again.ask('leave');
    });
  }
});
