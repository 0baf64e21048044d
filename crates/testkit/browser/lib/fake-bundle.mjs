// The desk's pages with a room that needs no server (fake-livekit.mjs): everything else is what is delivered.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const web = fileURLToPath(new URL('../../../web', import.meta.url));
const kit = fileURLToPath(new URL('..', import.meta.url));

/** What the server delivers. */
export const DIST = path.join(web, 'dist');

/** The pages' script with the fake room in it. */
export async function bundleWithFake() {
  const result = await build({ absWorkingDir: web, entryPoints: ['page/desk.ts'], bundle: true, format: 'esm', write: false, plugins: [{ name: 'fake-livekit', setup(b) {
    b.onResolve({ filter: /^livekit-client$/ }, ({ importer }) => ({ path: importer.startsWith(path.join(web, 'page')) ? path.join(kit, 'lib/fake-livekit.mjs') : path.join(web, 'node_modules/livekit-client/dist/livekit-client.esm.mjs') }));
  } }] });
  return result.outputFiles[0].text;
}
