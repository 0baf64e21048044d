// What runs inside the browsers, bundled, and the blank page it runs in.
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { serve } from './static.mjs';

const source = (name) => fileURLToPath(new URL(`../page/${name}`, import.meta.url));

export async function bundle(name) {
  const result = await build({ entryPoints: [source(name)], bundle: true, format: 'iife', write: false, logLevel: 'warning' });
  return result.outputFiles[0].text;
}

/** Serves the blank page in which a participant lives: of a room of ours, or what else `script` makes of it. */
export async function serveClientPage(script = 'client.js') {
  return serve({
    files: {
      '/index.html': '<!doctype html><meta charset="utf-8"><title>client</title><body><script src="client.js"></script></body>',
      '/client.js': await bundle(script),
      ...(script === 'client.js' ? { '/e2ee-worker.js': await bundle('e2ee-worker.js') } : {}),
    },
  });
}
