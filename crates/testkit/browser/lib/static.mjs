// A static server on 127.0.0.1, which is a secure context in both browsers.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.css': 'text/css', '.json': 'application/json', '.svg': 'image/svg+xml', '.woff2': 'font/woff2' };

/** Serves `files` (path to text, text wins) and then the folders `roots`; `headers` go with every HTML page. */
export async function serve({ roots = [], files = {}, headers = {} }) {
  const find = (name) => {
    if (name in files) return Buffer.from(files[name]);
    for (const root of roots) {
      const file = path.join(root, path.normalize(name));
      if (file.startsWith(root) && fs.existsSync(file) && fs.statSync(file).isFile()) return fs.readFileSync(file);
    }
    return undefined;
  };
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://127.0.0.1');
    const name = pathname === '/' ? '/index.html' : pathname;
    const body = find(name);
    if (!body) return void response.writeHead(404).end();
    const type = TYPES[path.extname(name)] ?? 'application/octet-stream';
    response.writeHead(200, { 'content-type': type, 'cache-control': 'no-store', ...(type.startsWith('text/html') ? headers : {}) }).end(body);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    url: `http://127.0.0.1:${server.address().port}/`,
    close: () => new Promise((closed) => {
      server.closeAllConnections();
      server.close(closed);
    }),
  };
}
