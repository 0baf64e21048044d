// Debian's Firefox ESR over WebDriver BiDi by puppeteer-core: no geckodriver.
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import puppeteer from 'puppeteer-core';

const PREFS = {
  'media.navigator.streams.fake': true,
  // Granted rather than not asked: only a page with the permission gathers other addresses than the default route's.
  'permissions.default.camera': 1,
  'permissions.default.microphone': 1,
  'media.peerconnection.ice.loopback': true, // candidates on 127.0.0.1
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.autoplay.blocking_policy': 0,
  'media.gmp-manager.updateEnabled': false,
  'media.gmp-manager.url': '',
  'media.gmp-gmpopenh264.enabled': false,
  // Nothing leaves the machine.
  'network.captive-portal-service.enabled': false,
  'network.connectivity-service.enabled': false,
  'app.update.enabled': false,
  'app.normandy.enabled': false,
  'browser.safebrowsing.malware.enabled': false,
  'browser.safebrowsing.phishing.enabled': false,
  'browser.safebrowsing.downloads.enabled': false,
  'services.settings.server': 'data:,',
  'toolkit.telemetry.enabled': false,
  'datareporting.policy.dataSubmissionEnabled': false,
  'extensions.getAddons.cache.enabled': false,
  'browser.region.network.url': '',
  'browser.aboutwelcome.enabled': false,
  'dom.push.connection.enabled': false,
};

export async function launchFirefox({ prefs = {}, acceptInsecureCerts = false } = {}) {
  const sound = await nullSink();
  const starting = puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    headless: true,
    acceptInsecureCerts,
    extraPrefsFirefox: { ...PREFS, ...prefs },
    env: { ...process.env, MOZ_HEADLESS: '1', ...sound.env },
    protocolTimeout: 120_000,
  });
  starting.catch(sound.stop);
  const browser = await starting;
  browser.on('disconnected', sound.stop);
  return browser;
}

/** Whether audio can be measured in Firefox: its AudioContext has no clock without a sound server. */
export const hasSound = fs.existsSync('/usr/bin/pulseaudio');

/** A private PulseAudio whose only sink goes nowhere. */
async function nullSink() {
  if (!hasSound) return { env: {}, stop() {} };
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'pulse-'));
  fs.chmodSync(folder, 0o700);
  const socket = path.join(folder, 'socket');
  const env = { XDG_RUNTIME_DIR: folder, HOME: folder };
  const daemon = spawn('/usr/bin/pulseaudio', ['--daemonize=no', '--exit-idle-time=-1', '--disable-shm=yes', '-n',
    `--load=module-native-protocol-unix socket=${socket} auth-anonymous=1`, '--load=module-null-sink sink_name=nul'], { env: { ...process.env, ...env }, stdio: 'ignore' });
  for (let i = 0; i < 50 && !fs.existsSync(socket); i++) await new Promise((later) => setTimeout(later, 100));
  return {
    env: { PULSE_SERVER: `unix:${socket}` },
    stop() {
      daemon.kill();
      fs.rmSync(folder, { recursive: true, force: true });
    },
  };
}
