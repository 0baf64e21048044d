// Debian's Chromium by playwright-core, with the flags that WebRTC tests need.
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

/**
 * Starts Chromium. `replace` drops or changes flags by name (`{ '--use-fake-ui-for-media-stream': null }`).
 */
export function launchChromium({ extra = [], replace = {} } = {}) {
  const args = ARGS.flatMap((flag) => {
    const name = flag.split('=')[0];
    if (!(name in replace)) return [flag];
    return replace[name] === null ? [] : [`${name}=${replace[name]}`];
  });
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [...args, ...extra],
    ignoreDefaultArgs: ['--headless', '--mute-audio'],
    chromiumSandbox: false, // CI runs as root
  });
}
