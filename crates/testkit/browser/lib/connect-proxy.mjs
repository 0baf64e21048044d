// A program: an office's HTTP proxy, which knows CONNECT to port 443 and nothing else (RFC 9110, 9.3.6). `node connect-proxy.mjs PORT`;
// says `ready` when it listens, and ends with its standard input.
import http from 'node:http';
import net from 'node:net';

const proxy = http.createServer((_, response) => response.writeHead(403).end());
proxy.on('connect', (request, client, head) => {
  const { hostname, port } = new URL(`http://${request.url}`);
  if (port !== '443') return void client.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  const upstream = net.connect(Number(port), hostname.replace(/^\[|\]$/g, ''), () => {
    client.write('HTTP/1.1 200 Connection established\r\n\r\n');
    upstream.write(head);
    upstream.pipe(client).pipe(upstream);
  });
  upstream.setNoDelay(true);
  client.setNoDelay(true);
  const end = () => [client, upstream].forEach((socket) => socket.destroy());
  for (const socket of [client, upstream]) socket.on('error', end).on('close', end);
});
proxy.listen(Number(process.argv[2]), '0.0.0.0', () => console.log('ready'));
process.stdin.on('end', () => process.exit(0)).resume();
