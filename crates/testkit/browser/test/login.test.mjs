// Officials log in by OpenID Connect: the built server against a provider of its own kind, in a browser. The provider is at
// another site (127.0.0.1) than the pages (localhost), as it is in an office.
import assert from 'node:assert/strict';
import http from 'node:http';
import { after, before, describe, test } from 'node:test';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import Provider from 'oidc-provider';
import { launchChromium } from '../lib/chromium.mjs';
import { freeTcpPorts, startServer } from '../lib/server.mjs';

const SECRET = 'a-client-secret-for-tests-0123456789';
/** Who works where, by the name they type. */
const PEOPLE = {
  kim: { name: 'Kim Beispiel', groups: ['staff', 'video'], acr: 'substantial' },
  lou: { name: 'Lou Beispiel', groups: ['staff'], acr: 'substantial' },
  may: { name: 'May Beispiel', groups: ['video'], acr: 'low' },
};

/** A provider with one page that asks for a name and nothing else. */
async function startProvider(port, redirect) {
  const provider = new Provider(`http://127.0.0.1:${port}`, {
    clients: [{ client_id: 'schalter', client_secret: SECRET, redirect_uris: [redirect], response_types: ['code'], grant_types: ['authorization_code'] }],
    claims: { openid: ['sub', 'acr'], profile: ['name'], groups: ['groups'] },
    scopes: ['openid', 'profile', 'groups'],
    acrValues: ['low', 'substantial'],
    pkce: { required: () => true },
    features: { devInteractions: { enabled: false } },
    interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_, sub) => ({ accountId: sub, claims: () => ({ sub, ...PEOPLE[sub] }) }),
    async loadExistingGrant(ctx) {
      const grant = new ctx.oidc.provider.Grant({ clientId: ctx.oidc.client.clientId, accountId: ctx.oidc.session.accountId });
      grant.addOIDCScope('openid profile groups');
      await grant.save();
      return grant;
    },
    cookies: { keys: ['a key for the cookies of a test'] },
  });
  const asked = [];
  const oidc = provider.callback();
  const server = http.createServer(async (request, response) => {
    const url = new URL(request.url, 'http://127.0.0.1');
    if (url.pathname === '/auth' && url.searchParams.has('client_id')) asked.push(url.searchParams);
    if (!url.pathname.startsWith('/interaction/')) return oidc(request, response);
    if (request.method === 'GET') {
      response.setHeader('content-type', 'text/html');
      return response.end('<form method="post"><input name="who"><button name="do" value="in">in</button><button name="do" value="out">out</button></form>');
    }
    let body = '';
    for await (const part of request) body += part;
    const form = new URLSearchParams(body);
    const who = form.get('who');
    const result = form.get('do') === 'in' ? { login: { accountId: who, acr: PEOPLE[who].acr } } : { error: 'access_denied' };
    return provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
  });
  await new Promise((ready) => server.listen(port, '127.0.0.1', ready));
  return { asked, close: () => new Promise((closed) => (server.closeAllConnections(), server.close(closed))) };
}

describe('officials log in at a provider', () => {
  let server, provider, chromium, url;

  before(async () => {
    const [port] = await freeTcpPorts(1);
    const secretFile = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-login-')), 'secret');
    fs.writeFileSync(secretFile, SECRET, { mode: 0o600 });
    const oidc = {
      issuer: `http://127.0.0.1:${port}`, client_id: 'schalter', client_secret_file: secretFile, scopes: ['profile', 'groups'],
      acr_values: ['substantial'], allow: { claim: 'groups', values: ['video'] },
    };
    server = await startServer({ desk: { authorities: [{ id: 'ulm', name: 'Stadt Ulm', officials: { oidc } }] } });
    url = `http://localhost:${server.port}`;
    provider = await startProvider(port, `${url}/desk/v1/login/oidc/callback`);
    chromium = await launchChromium();
  });

  after(async () => {
    await chromium?.close();
    await provider?.close();
    await server?.stop();
  });

  /** Logs in as somebody in a fresh browser; answers the page and where it ended. */
  async function logIn(who, button = 'in') {
    const context = await chromium.newContext();
    const page = await context.newPage();
    await page.goto(`${url}/desk/v1/login/oidc?authority=ulm`);
    await page.fill('input', who);
    const [back] = await Promise.all([page.waitForResponse(/oidc\/callback/), page.click(`button[value=${button}]`)]);
    assert.equal(back.status(), 302);
    const location = new URL(back.headers().location, url);
    assert.equal(location.pathname, '/amt');
    // Any page of the server: what the officials' own page makes of it is another test's.
    await page.waitForURL((at) => at.pathname === '/amt' || at.protocol === 'chrome-error:');
    await page.goto(`${url}/openapi.json`);
    return { context, page, hash: location.hash };
  }

  /** What the page's own script gets. */
  const ask = (page, way, how) => page.evaluate(async ([way, how]) => {
    const answer = await fetch(`/desk/v1${way}`, how);
    const text = await answer.text();
    return { status: answer.status, body: text ? JSON.parse(text) : null };
  }, [way, how]);

  test('whoever has the group and the level of assurance is in, until they log out', { timeout: 60_000 }, async () => {
    const { context, page, hash } = await logIn('kim');
    assert.equal(hash, '');
    const who = await ask(page, '/official');
    assert.equal(who.status, 200);
    assert.deepEqual(who.body.official, { id: 'kim', name: 'Kim Beispiel', acr: 'substantial' });
    const request = provider.asked.at(-1);
    assert.equal(request.get('code_challenge_method'), 'S256');
    assert.ok(request.get('nonce') && request.get('state'));
    assert.equal(request.get('acr_values'), 'substantial');
    const cookies = await context.cookies(url);
    assert.deepEqual(cookies.map((cookie) => [cookie.name, cookie.httpOnly, cookie.sameSite]), [['schalter-desk-official', true, 'Strict']]);
    assert.equal((await ask(page, '/logout', { method: 'POST' })).status, 204);
    assert.equal((await ask(page, '/official')).status, 401);
    await context.close();
  });

  test('who is no official, not sure enough, or changes their mind is told and not let in', { timeout: 60_000 }, async () => {
    for (const [who, button, code] of [['lou', 'in', 'login-not-admitted'], ['may', 'in', 'login-assurance'], ['kim', 'out', 'login-declined']]) {
      const { context, page, hash } = await logIn(who, button);
      assert.equal(hash, `#login-error=${code}`, who);
      assert.equal((await ask(page, '/official')).status, 401);
      assert.deepEqual(await context.cookies(url), []);
      await context.close();
    }
  });

  test('an address of the way back is of no use in another browser', { timeout: 60_000 }, async () => {
    const context = await chromium.newContext();
    const once = { maxRedirects: 0 };
    const next = async (answer) => new URL((await answer).headers().location, (await answer).url()).href;
    const asking = await next(context.request.get(`${url}/desk/v1/login/oidc?authority=ulm`, once));
    const form = await next(context.request.get(asking, once));
    const done = await next(context.request.post(form, { ...once, form: { who: 'kim', do: 'in' } }));
    const stolen = await next(context.request.get(done, once));
    assert.match(stolen, /callback\?code=/);
    const other = await chromium.newContext();
    // With a login of their own under way, too.
    await other.request.get(`${url}/desk/v1/login/oidc?authority=ulm`, once);
    for (const thief of [await chromium.newContext(), other]) {
      assert.equal(await next(thief.request.get(stolen, once)), `${url}/amt#login-error=login-expired`);
      assert.equal((await thief.request.get(`${url}/desk/v1/official`)).status(), 401);
      await thief.close();
    }
    assert.equal(await next(context.request.get(stolen, once)), `${url}/amt`);
    assert.equal((await context.request.get(`${url}/desk/v1/official`)).status(), 200);
    await context.close();
    assert.doesNotMatch(server.logged(), /Beispiel|code=|127\.0\.0\.1/);
  });
});
