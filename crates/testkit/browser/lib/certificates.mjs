// A certificate authority of the tests, by openssl, and what browsers need to trust it.
import { execFileSync } from 'node:child_process';
import crypto from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });
const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];

/** Makes an authority in a folder of its own, for certificates of `names`; `close` removes it. */
export function makeAuthority(names = ['localhost']) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'schalter-ca-'));
  const file = (name) => path.join(folder, name);
  openssl('req', '-x509', ...EC, '-keyout', file('ca.key'), '-out', file('ca.pem'), '-days', '365', '-subj', '/CN=Authority of tests');
  fs.writeFileSync(file('extensions'), `subjectAltName=${names.map((name) => `DNS:${name}`)}\nextendedKeyUsage=serverAuth\nbasicConstraints=critical,CA:FALSE\n`);
  const ca = fs.readFileSync(file('ca.pem'), 'utf8');
  const spki = crypto.createPublicKey(ca).export({ type: 'spki', format: 'der' });
  return {
    folder,
    ca,
    caFile: file('ca.pem'),
    /** The flag by which Chromium trusts chains with this authority in them, and no others. */
    chromium: `--ignore-certificate-errors-spki-list=${crypto.createHash('sha256').update(spki).digest('base64')}`,
    /** Writes a new certificate with its chain and key; answers the configuration's keys. */
    issue() {
      openssl('req', ...EC, '-keyout', file('key.pem'), '-out', file('request.pem'), '-subj', `/CN=${names[0]}`);
      openssl('x509', '-req', '-in', file('request.pem'), '-CA', file('ca.pem'), '-CAkey', file('ca.key'), '-CAcreateserial', '-days', '365', '-extfile', file('extensions'), '-out', file('own.pem'));
      fs.writeFileSync(file('chain.pem'), fs.readFileSync(file('own.pem'), 'utf8') + ca);
      return { cert_file: file('chain.pem'), key_file: file('key.pem') };
    },
    /** The serial number of the newest. */
    serial: () => new crypto.X509Certificate(fs.readFileSync(file('own.pem'))).serialNumber,
    close: () => fs.rmSync(folder, { recursive: true, force: true }),
  };
}
