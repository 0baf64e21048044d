// Debian's Chromium by playwright-core, with the flags that WebRTC tests need.
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { chromium } from 'playwright-core';

/** Where the browser is. */
export const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';

const ARGS = [
  '--headless=new', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-quic', '--disable-gpu',
  '--use-fake-ui-for-media-stream', '--use-fake-device-for-media-stream',
  '--autoplay-policy=no-user-gesture-required',
  '--allow-loopback-in-peer-connection', // candidates on 127.0.0.1
  // No *.local candidates, and pages may reach 127.0.0.1. A second --disable-features would replace this one.
  '--disable-features=WebRtcHideLocalIpsWithMdns,LocalNetworkAccessChecks,LocalNetworkAccessChecksWebTransport,LocalNetworkAccessChecksWebSockets,LocalNetworkAccessChecksWebRTC',
  '--disable-renderer-backgrounding', '--disable-background-timer-throttling', '--disable-backgrounding-occluded-windows',
];

/** A program that runs the browser in a namespace: its driver speaks to it by pipes, which reach there. */
function enteringProgram(inside) {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-chromium-')), 'chromium.sh');
  const [program, words] = inside.command(CHROMIUM, []);
  fs.writeFileSync(file, `#!/bin/sh\nrm -r ${path.dirname(file)}\nexec ${[program, ...words].join(' ')} "$@"\n`, { mode: 0o755 });
  return file;
}

/**
 * Starts Chromium. `replace` drops or changes flags by name (`{ '--use-fake-ui-for-media-stream': null }`); with `inside` in
 * that network namespace.
 */
export function launchChromium({ extra = [], replace = {}, inside } = {}) {
  const args = ARGS.flatMap((flag) => {
    const name = flag.split('=')[0];
    if (!(name in replace)) return [flag];
    return replace[name] === null ? [] : [`${name}=${replace[name]}`];
  });
  return chromium.launch({
    executablePath: inside ? enteringProgram(inside) : CHROMIUM,
    headless: true,
    args: [...args, ...extra],
    ignoreDefaultArgs: ['--headless', '--mute-audio'],
    chromiumSandbox: false, // CI runs as root
  });
}
