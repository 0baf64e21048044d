// Reads along with DTLS 1.2 handshakes on a relay, as far as they are in plaintext (RFC 6347 §4.2, RFC 5246 §7.4).

const [CHANGE_CIPHER_SPEC, HANDSHAKE] = [20, 22];
const [CLIENT_HELLO, SERVER_HELLO, CERTIFICATE] = [1, 2, 11];
const USE_SRTP = 14;
const SUITES = { 0xc02b: 'ECDHE-ECDSA-AES128-GCM-SHA256', 0xc02f: 'ECDHE-RSA-AES128-GCM-SHA256', 0xcca9: 'ECDHE-ECDSA-CHACHA20-POLY1305', 0xcca8: 'ECDHE-RSA-CHACHA20-POLY1305' };
const PROFILES = { 1: 'SRTP_AES128_CM_SHA1_80', 7: 'SRTP_AEAD_AES_128_GCM', 8: 'SRTP_AEAD_AES_256_GCM' };
/** Object identifiers of public keys, DER. */
const KEYS = { RSA: '06092a864886f70d010101', ECDSA: '06072a8648ce3d0201' };

function* records(datagram) {
  for (let at = 0; at + 13 <= datagram.length; ) {
    const end = at + 13 + datagram.readUInt16BE(at + 11);
    yield { type: datagram[at], epoch: datagram.readUInt16BE(at + 3), body: datagram.subarray(at + 13, end) };
    at = end;
  }
}

/** The handshake messages of one side, put together. */
class Messages {
  parts = new Map();

  take(body) {
    for (let at = 0; at + 12 <= body.length; ) {
      const [type, whole, seq, offset, length] = [body[at], body.readUIntBE(at + 1, 3), body.readUInt16BE(at + 4), body.readUIntBE(at + 6, 3), body.readUIntBE(at + 9, 3)];
      const message = this.parts.get(seq) ?? { type, data: Buffer.alloc(whole) };
      body.copy(message.data, offset, at + 12, at + 12 + length);
      this.parts.set(seq, message);
      at += 12 + length;
    }
  }

  last(type) {
    return [...this.parts.values()].findLast((message) => message.type === type)?.data;
  }

  /** Kind of the key in the certificate that was shown. */
  certificate() {
    const text = this.last(CERTIFICATE)?.toString('hex') ?? '';
    return Object.keys(KEYS).find((kind) => text.includes(KEYS[kind]));
  }
}

function chosen(hello) {
  let at = 35 + hello[34];
  const suite = hello.readUInt16BE(at);
  let profile;
  for (at += 5; at + 4 <= hello.length; at += 4 + hello.readUInt16BE(at + 2)) {
    if (hello.readUInt16BE(at) === USE_SRTP) profile = hello.readUInt16BE(at + 6);
  }
  return { suite: SUITES[suite] ?? suite, profile: PROFILES[profile] ?? profile };
}

/** An observer for a relay's datagrams; `report()` has one entry for each handshake, in their order. */
export function dtlsObserver() {
  const seen = new Map();
  return {
    /** `client` names the client's address; `direction` is `up` from it or `down` to it. */
    observe(client, direction, datagram) {
      if (datagram[0] < 20 || datagram[0] > 63) return; // no DTLS (RFC 7983 §7)
      if (!seen.has(client)) seen.set(client, { start: performance.now(), up: new Messages(), down: new Messages(), hello: [], bytes: { up: 0, down: 0 }, datagrams: { up: 0, down: 0 } });
      const handshake = seen.get(client);
      if (handshake.ms !== undefined) return;
      handshake.bytes[direction] += datagram.length;
      handshake.datagrams[direction]++;
      if (handshake.datagrams.down === 0) handshake.hello.push(Buffer.from(datagram));
      for (const { type, epoch, body } of records(datagram)) {
        if (type === HANDSHAKE && epoch === 0) handshake[direction].take(body);
        if (type === CHANGE_CIPHER_SPEC && direction === 'down') handshake.ms = performance.now() - handshake.start;
      }
    },
    report: () => [...seen.values()].map(({ up, down, ms, bytes, datagrams, hello }) => {
      const answer = down.last(SERVER_HELLO);
      return { ...(answer && chosen(answer)), serverKey: down.certificate(), clientKey: up.certificate(), helloBytes: up.last(CLIENT_HELLO)?.length, ms, bytes, datagrams, hello };
    }),
  };
}
