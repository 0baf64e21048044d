// A module of the product's pages, in the test's own process: for what needs no page.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

/** Imports `name` of crates/web/page, bundled. */
export async function pageModule(name) {
  const source = fileURLToPath(new URL(`../../../web/page/${name}`, import.meta.url));
  const result = await build({ entryPoints: [source], bundle: true, format: 'esm', platform: 'neutral', write: false, logLevel: 'warning' });
  return import(`data:text/javascript;base64,${Buffer.from(result.outputFiles[0].text).toString('base64')}`);
}
