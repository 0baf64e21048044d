// Builds page/ into dist/. The result depends on the sources and the lockfile alone, so that it can be committed and
// compared byte by byte.
import { build } from 'esbuild';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = path.dirname(fileURLToPath(import.meta.url));
const from = (...p) => path.join(root, ...p);
const dist = from('dist');
const packages = from('node_modules');

fs.rmSync(dist, { recursive: true, force: true });
fs.mkdirSync(path.join(dist, 'assets/texts'), { recursive: true });
fs.mkdirSync(path.join(dist, 'assets/fonts'), { recursive: true });

const languages = checkTexts();

const bundle = await build({
  absWorkingDir: root,
  entryPoints: { 'assets/app': 'page/main.ts', 'assets/check': 'page/check.ts', 'assets/desk': 'page/desk.ts' },
  bundle: true,
  minify: true,
  format: 'esm',
  target: ['es2022'],
  charset: 'utf8',
  legalComments: 'none', // every licence is in NOTICE.txt, in full
  outdir: dist,
  metafile: true,
  logLevel: 'warning',
});
// The client library's worker, which encrypts frames: workers load from a file of their own.
await build({
  absWorkingDir: root,
  entryPoints: { 'assets/e2ee-worker': 'node_modules/livekit-client/dist/livekit-client.e2ee.worker.mjs' },
  bundle: true,
  minify: true,
  format: 'iife',
  target: ['es2022'],
  charset: 'utf8',
  legalComments: 'none',
  outdir: dist,
  logLevel: 'warning',
});
await build({
  absWorkingDir: root,
  entryPoints: { 'assets/app': 'page/app.css', 'assets/desk': 'page/desk.css' },
  minify: true,
  bundle: true,
  external: ['*.woff2', '*.svg'],
  outdir: dist,
  logLevel: 'warning',
});

copy('page/index.html', 'index.html');
copy('page/check.html', 'check.html');
copy('page/termin.html', 'termin.html');
copy('page/amt.html', 'amt.html');
copy('page/icon.svg', 'assets/icon.svg');
for (const language of languages) {
  const texts = readTexts(`${language}.json`);
  fs.writeFileSync(path.join(dist, 'assets/texts', `${language}.json`), JSON.stringify(texts));
}

// KERN UX is under EUPL-1.2: its stylesheet stays a file of its own, unchanged, with its licence next to it.
copy('node_modules/@kern-ux/native/dist/kern.min.css', 'assets/kern.css');
copy('node_modules/@kern-ux/native/LICENSE.md', 'assets/kern.LICENSE.md');
for (const weight of [400, 500, 600])
  for (const subset of ['latin', 'latin-ext'])
    copy(`node_modules/@fontsource/fira-sans/files/fira-sans-${subset}-${weight}-normal.woff2`, `assets/fonts/fira-sans-${subset}-${weight}.woff2`);
copy('node_modules/@fontsource/fira-sans/LICENSE', 'assets/fonts/LICENSE');
fs.writeFileSync(path.join(dist, 'assets/NOTICE.txt'), notice(bundle.metafile));

function copy(source, target) {
  fs.writeFileSync(path.join(dist, target), fs.readFileSync(from(source)));
}

// Leichte Sprache says in other words what citizens read most; the rest is plain German.
function readTexts(file) {
  const read = (f) => JSON.parse(fs.readFileSync(from('page/texts', f), 'utf8'));
  return file === 'de-leicht.json' ? { ...read('de.json'), ...read(file) } : read(file);
}

// A language that lacks a text, or a placeholder of one, is a build error and not a hole in a page.
function checkTexts() {
  const files = fs.readdirSync(from('page/texts')).filter((f) => f.endsWith('.json')).sort();
  const read = readTexts;
  const shape = (texts) => Object.keys(texts).sort().map((k) => `${k} ${(texts[k].match(/\{\w+\}/g) ?? []).sort().join()}`);
  const expected = shape(read('de.json'));
  for (const file of files) {
    const actual = shape(read(file));
    const wrong = [...expected.filter((k) => !actual.includes(k)), ...actual.filter((k) => !expected.includes(k))];
    if (wrong.length) throw new Error(`${file} differs from de.json in: ${wrong.join('; ')}`);
  }
  return files.map((f) => path.basename(f, '.json'));
}

// The packages whose code is in app.js, each with its licence.
function notice(metafile) {
  const folders = new Set();
  for (const input of Object.keys(metafile.inputs)) {
    const match = /^(node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match) folders.add(match[1]);
  }
  const parts = [...folders].sort().map((folder) => {
    const meta = JSON.parse(fs.readFileSync(from(folder, 'package.json'), 'utf8'));
    const file = fs.readdirSync(from(folder)).find((f) => /^licen[cs]e/i.test(f));
    const text = file ? fs.readFileSync(from(folder, file), 'utf8').trim() : '(the package carries no licence file)';
    return `${meta.name} ${meta.version}\nLicence: ${meta.license}\n\n${text}\n`;
  });
  const kern = JSON.parse(fs.readFileSync(path.join(packages, '@kern-ux/native/package.json'), 'utf8'));
  const fira = JSON.parse(fs.readFileSync(path.join(packages, '@fontsource/fira-sans/package.json'), 'utf8'));
  const head = `Third-party works in this folder\n
kern.css: ${kern.name} ${kern.version}, unchanged. Licence: ${kern.license}, see kern.LICENSE.md. Source: ${kern.homepage}
fonts/: Fira Sans (${fira.name} ${fira.version}), unchanged. Licence: OFL-1.1, see fonts/LICENSE
app.js, desk.js and e2ee-worker.js contain:\n`;
  return [head, ...parts].join(`\n${'-'.repeat(78)}\n\n`);
}
