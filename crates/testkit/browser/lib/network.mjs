// A network that can be made worse: a TCP relay whose connections can be cut, and a UDP relay that is slow, has a queue,
// and loses packets by a seeded draw, so that a run can be repeated.
import dgram from 'node:dgram';
import net from 'node:net';

/**
 * Relays TCP to `port`; `cut(ms)` drops all connections and refuses new ones for a while. `paths` are those of the HTTP
 * requests that opened a connection, without their queries.
 */
export async function tcpRelay(port) {
  const pairs = new Set();
  const paths = [];
  let blocked = false;
  const server = net.createServer((client) => {
    if (blocked) return client.resetAndDestroy();
    const upstream = net.connect(port, '127.0.0.1');
    const pair = { end: () => [client, upstream].forEach((socket) => socket.destroy()) };
    pairs.add(pair);
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true).on('error', pair.end).on('close', () => {
        pair.end();
        pairs.delete(pair);
      });
    }
    client.once('data', (data) => paths.push(/^[A-Z]+ ([^ ?]+)/.exec(data.toString('latin1'))?.[1]));
    client.pipe(upstream).pipe(client);
  });
  await new Promise((ready) => server.listen(0, '127.0.0.1', ready));
  return {
    port: server.address().port,
    paths,
    async cut(ms) {
      blocked = true;
      const count = pairs.size;
      for (const pair of pairs) pair.end();
      await new Promise((later) => setTimeout(later, ms));
      blocked = false;
      return count;
    },
    close() {
      for (const pair of pairs) pair.end();
      return new Promise((closed) => server.close(closed));
    },
  };
}

/** Xorshift, 0 ≤ x < 1. */
function random(seed) {
  let state = seed >>> 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

/** A link that was idle takes so much at once, for the timers that come late. */
const IDLE_CREDIT_MS = 5;

/**
 * One client's way down: a rate and the queue in front of it. While something waits the link is never idle, however late this
 * process is: on a busy machine packets come late then, but the link does not get narrower.
 */
function bottleneck(relay, deliver) {
  const queue = [];
  let bytes = 0;
  let freeAt = 0;
  let timer;
  const run = () => {
    clearTimeout(timer);
    timer = undefined;
    while (queue.length > 0) {
      const late = freeAt - performance.now();
      if (late > 0 && relay.downBps > 0) return void (timer = setTimeout(run, Math.max(1, late)));
      const data = queue.shift();
      bytes -= data.length;
      freeAt += relay.downBps > 0 ? ((data.length + 28) * 8_000) / relay.downBps : 0;
      deliver(data);
    }
  };
  return {
    push(data) {
      // What is due has left before this one came.
      run();
      if (relay.downBps > 0 && bytes + data.length > relay.queueBytes) return void relay.count.downOverflowed++;
      if (queue.length === 0) freeAt = Math.max(freeAt, performance.now() - IDLE_CREDIT_MS);
      queue.push(data);
      bytes += data.length;
      run();
    },
    close: () => clearTimeout(timer),
  };
}

/**
 * Relays UDP to `port` of `host`, with one upstream socket per client, itself at an address of `host`. Can be changed at any time: `loss`, a share per direction;
 * `downBps`, the bits per second of each client's way down (0: no limit), with `queueBytes` that may wait for it. `observe`
 * is told of each datagram before it may be lost: client, `up` or `down`, and the bytes.
 */
export async function udpRelay(port, { host = '127.0.0.1', seed = 1, observe } = {}) {
  // A generator for each direction: how the two interleave depends on the machine, and must not change a draw.
  const draws = { up: random(seed), down: random(seed + 1) };
  const front = dgram.createSocket('udp4');
  const upstreams = new Map();
  const count = { up: 0, upLost: 0, down: 0, downLost: 0, downOverflowed: 0 };
  const relay = { loss: 0, downBps: 0, queueBytes: 60_000, count };
  const passes = (direction) => {
    count[direction]++;
    if (draws[direction]() >= relay.loss) return true;
    count[`${direction}Lost`]++;
    return false;
  };
  front.on('message', (data, from) => {
    const name = `${from.address}:${from.port}`;
    let upstream = upstreams.get(name);
    if (!upstream) {
      const socket = dgram.createSocket({ type: 'udp4', recvBufferSize: 1 << 20, sendBufferSize: 1 << 20 });
      const down = bottleneck(relay, (answer) => front.send(answer, from.port, from.address));
      socket.on('message', (answer) => {
        observe?.(name, 'down', answer);
        if (passes('down')) down.push(answer);
      });
      upstream = { socket, down };
      upstreams.set(name, upstream);
    }
    observe?.(name, 'up', data);
    if (passes('up')) upstream.socket.send(data, port, host);
  });
  await new Promise((ready) => front.bind(0, host, ready));
  front.setRecvBufferSize(1 << 20);
  return Object.assign(relay, {
    port: front.address().port,
    close() {
      for (const { socket, down } of upstreams.values()) {
        down.close();
        socket.close();
      }
      return new Promise((closed) => front.close(closed));
    },
  });
}
