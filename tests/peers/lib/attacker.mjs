// The attacking side, in a process of its own so that it takes no time from the honest client that is measured.
// lib/attack.mjs forks it with { attack, port, tlsPort, connections } and asks it to stop; it answers with what plait did
// to it. An attack that loses its connection comes back with a new one, as a persistent attacker would.
import net from 'node:net';
import tls from 'node:tls';
import { errorCode, frame, frameType, headerBlock, uint32 } from './raw_h2.mjs';

const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const seen = { connections: 0, closed: 0, goaways: {}, resets: {}, answers: 0, statuses: {}, bytes: 0 };
const count = (table, key) => { table[key] = (table[key] ?? 0) + 1; };
let stopped = false;
const live = new Set();

export const settings = (...pairs) => frame(frameType.settings, 0, 0, Buffer.concat(pairs.map(([id, value]) => {
  const entry = Buffer.alloc(6);
  entry.writeUInt16BE(id, 0);
  entry.writeUInt32BE(value, 2);
  return entry;
})));
const fields = (method, path) => [[':method', method], [':scheme', 'http'], [':path', path], [':authority', 'a']];
const get = (id, path = '/') => frame(frameType.headers, 5, id, headerBlock(fields('GET', path)));
const post = (id, path = '/sink') => frame(frameType.headers, 4, id, headerBlock(fields('POST', path)));
const reset = (id) => frame(frameType.reset, 0, id, uint32(errorCode.cancel));
const tick = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

class Connection {
  constructor(socket) {
    this.socket = socket;
    this.buffered = Buffer.alloc(0);
    this.over = false;
    this.acknowledges = true;
    seen.connections += 1;
    live.add(this);
    this.ended = new Promise((resolve) => {
      socket.on('close', () => {
        this.over = true;
        seen.closed += 1;
        live.delete(this);
        resolve();
      });
    });
    socket.on('error', () => {});
  }

  // Resolves when the kernel has taken it; false once the connection is over.
  async write(bytes) {
    if (this.over || stopped) return false;
    seen.bytes += bytes.length;
    if (!this.socket.write(bytes)) {
      await Promise.race([new Promise((resolve) => this.socket.once('drain', resolve)), this.ended, tick(200)]);
    } else {
      await new Promise((resolve) => setImmediate(resolve));
    }
    return !this.over && !stopped;
  }

  readFrames() {
    this.socket.on('data', (chunk) => {
      this.buffered = Buffer.concat([this.buffered, chunk]);
      while (this.buffered.length >= 9) {
        const length = this.buffered.readUIntBE(0, 3);
        if (this.buffered.length < 9 + length) return;
        const type = this.buffered[3];
        if (type === frameType.goaway) count(seen.goaways, this.buffered.readUInt32BE(13));
        if (type === frameType.headers) seen.answers += 1;
        if (type === frameType.reset) count(seen.resets, this.buffered.readUInt32BE(9));
        if (type === frameType.settings && !(this.buffered[4] & 1) && this.acknowledges) this.socket.write(frame(frameType.settings, 1, 0));
        this.buffered = this.buffered.subarray(9 + length);
      }
    });
  }

  readStatuses() {
    let text = '';
    this.socket.setEncoding('latin1');
    this.socket.on('data', (chunk) => {
      text = (text + chunk).slice(-4096);
      for (const [all, status] of text.matchAll(/HTTP\/1\.1 (\d{3}) [^\r]*\r\n/g)) {
        count(seen.statuses, status);
        text = text.slice(text.indexOf(all) + all.length);
      }
    });
  }
}

function opened(socket, event = 'connect') {
  const connection = new Connection(socket);
  return Promise.race([new Promise((resolve) => socket.once(event, resolve)), connection.ended]).then(() => connection);
}
const plain = ({ port }) => opened(net.connect(port, '127.0.0.1'));
async function h2(options, first = settings(), { reads = true } = {}) {
  const connection = await plain(options);
  if (reads) connection.readFrames();
  else connection.socket.pause();
  await connection.write(Buffer.concat([preface, first]));
  return connection;
}
// Sends what `make(i)` gives as fast as it is taken.
const flood = (make, { acknowledges = true } = {}) => async (options) => {
  const connection = await h2(options);
  connection.acknowledges = acknowledges;
  for (let i = 0; await connection.write(make(i)); i += 1);
};
const times = (n, make) => Buffer.concat(Array.from({ length: n }, (_, i) => make(i)));
const id = (i) => 2 * i + 1;
// A literal that enters the dynamic table (RFC 7541 §6.2.1); the value may be long.
function indexedLiteral(name, value) {
  const rest = value.length - 127;
  const length = [127];
  for (let left = rest; ; left >>= 7) {
    if (left < 128) {
      length.push(left);
      break;
    }
    length.push((left & 127) | 128);
  }
  return Buffer.concat([Buffer.from([0x40, name.length]), Buffer.from(name), Buffer.from(length), Buffer.from(value)]);
}

export // Requests that name with a byte each, 0xbe, a field of 3,900 bytes that the first one has put into the table.
const bombs = (make) => flood((i) => {
  const head = headerBlock(fields('GET', '/'));
  return i === 0 ? frame(frameType.headers, 5, 1, Buffer.concat([head, indexedLiteral('x-bomb', 'b'.repeat(3900))])) : make(i, head);
});

const attacks = {
  rapidReset: flood((i) => times(50, (k) => Buffer.concat([get(id(i * 50 + k)), reset(id(i * 50 + k))]))),
  // plait is made to reset: a WINDOW_UPDATE of 0, one that overflows, DATA behind the end, a PRIORITY of a wrong length.
  madeYouReset: flood((i) => times(50, (k) => {
    const stream = id(i * 50 + k);
    const wrong = [
      frame(frameType.windowUpdate, 0, stream, uint32(0)), frame(frameType.windowUpdate, 0, stream, uint32(0x7fffffff)),
      frame(frameType.priority, 0, stream, Buffer.alloc(4)),
    ][k % 3];
    return Buffer.concat([post(stream), wrong]);
  })),
  resetFlood: flood((i) => (i === 0 ? get(1) : times(500, () => reset(1)))),
  continuationFlood: flood((i) => (i === 0 ? frame(frameType.headers, 1, 1, headerBlock(fields('GET', '/')))
    : times(20, () => frame(frameType.continuation, 0, 1, headerBlock([['x-more', 'y'.repeat(100)]])))), { acknowledges: false }),
  emptyContinuations: flood((i) => (i === 0 ? frame(frameType.headers, 1, 1, headerBlock(fields('GET', '/')))
    : times(200, () => frame(frameType.continuation, 0, 1))), { acknowledges: false }),
  // One value of 3,900 bytes enters the table, then each byte names it again: 16 KB on the wire are 60 MB of fields.
  hpackBomb: bombs((i, head) => frame(frameType.headers, 5, id(i), Buffer.concat([head, Buffer.alloc(16_000, 0xbe)]))),
  // 236 KB each: too much for a request, too little to be worth the connection.
  hpackFirecrackers: bombs((i, head) => times(20, (k) => frame(frameType.headers, 5, id(i * 20 + k), Buffer.concat([head, Buffer.alloc(60, 0xbe)])))),
  // Requests within every limit, each of 30 KB out of 150 bytes, whose responses are not taken: they hold what they can.
  cookieBomb: async (options) => {
    const connection = await h2(options, settings([4, 0]));
    const head = (path) => headerBlock(fields('GET', path));
    const crumb = indexedLiteral('cookie', `a=${'c'.repeat(300)}`);
    await connection.write(frame(frameType.headers, 5, 1, Buffer.concat([head('/big'), crumb])));
    for (let i = 1; i < 100; i += 1) {
      if (!await connection.write(frame(frameType.headers, 5, id(i), Buffer.concat([head('/big'), Buffer.alloc(88, 0xbe)])))) return;
    }
    await connection.ended;
  },
  settingsFlood: flood(() => times(200, () => settings([4, 65535]))),
  fatSettingsFlood: flood(() => times(50, () => settings(...Array.from({ length: 30 }, (_, i) => [4, 65535 + i])))),
  tooManySettings: flood(() => settings(...Array.from({ length: 2000 }, () => [4, 65535]))),
  pingFlood: flood(() => times(500, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)))),
  priorityFlood: flood(() => times(500, (i) => frame(frameType.priority, 0, id(i), Buffer.concat([uint32(0), Buffer.from([9])])))),
  windowUpdateFlood: flood(() => times(500, () => frame(frameType.windowUpdate, 0, 0, uint32(1)))),
  unknownFrameFlood: flood(() => times(500, () => frame(0x42, 0, 0))),
  emptyDataFlood: flood((i) => (i === 0 ? post(1) : times(500, () => frame(frameType.data, 0, 1)))),
  emptyHeadersFlood: flood((i) => times(200, (k) => frame(frameType.headers, 5, id(i * 200 + k)))),
  // What plait answers is not read, so that its answers pile up.
  unreadPings: async (options) => {
    const connection = await h2(options, settings(), { reads: false });
    while (await connection.write(times(500, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)))));
    await connection.ended;
  },
  tooManyStreams: flood((i) => times(50, (k) => post(id(i * 50 + k), '/held'))),
  oversizeFrame: flood((i) => (i === 0 ? post(1) : frame(frameType.data, 0, 1, Buffer.alloc(16_385)))),
  oversizeHeaders: flood((i) => frame(frameType.headers, 5, id(i), headerBlock([
    ...fields('GET', '/'), ...Array.from({ length: 105 }, (_, k) => [`x-${k}`, 'v'.repeat(100)]),
  ]))),
  tinyFrames: flood((i) => (i === 0 ? post(1) : times(500, () => frame(frameType.data, 0, 1, Buffer.from('x'))))),
  // Every byte in a segment of its own.
  tinySegments: async (options) => {
    const connection = await h2(options);
    connection.socket.setNoDelay(true);
    const bytes = times(100, (i) => get(id(i)));
    for (let i = 0; i < bytes.length; i += 1) if (!await connection.write(bytes.subarray(i, i + 1))) return;
    connection.socket.destroy();
  },
  zeroWindow: async (options) => {
    const connection = await h2(options, settings([4, 0]));
    await connection.write(times(100, (i) => get(id(i), '/big')));
    await connection.ended;
  },
  // A byte now and then, so that there is always some progress.
  trickledWindow: async (options) => {
    const connection = await h2(options, settings([4, 0]));
    await connection.write(times(20, (i) => get(id(i), '/big')));
    do await tick(40); while (await connection.write(times(20, (i) => frame(frameType.windowUpdate, 0, id(i), uint32(1)))));
  },
  slowHeaders: async (options) => {
    const connection = await plain(options);
    connection.readStatuses();
    await connection.write(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n'));
    do await tick(40); while (await connection.write(Buffer.from('X-A: b\r\n')));
  },
  slowHeadersH2: async (options) => {
    const connection = await h2(options);
    connection.acknowledges = false;
    await connection.write(frame(frameType.headers, 1, 1, headerBlock(fields('GET', '/'))));
    const more = frame(frameType.continuation, 0, 1, headerBlock([['x', 'y'.repeat(100)]]));
    for (let i = 0; ; i += 1) {
      await tick(40);
      if (!await connection.write(more.subarray(i % more.length, (i % more.length) + 1))) return;
    }
  },
  slowBody: async (options) => {
    const connection = await plain(options);
    connection.readStatuses();
    await connection.write(Buffer.from('POST /sink HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n'));
    do await tick(40); while (await connection.write(Buffer.from('x')));
  },
  slowBodyH2: async (options) => {
    const connection = await h2(options);
    await connection.write(times(20, (i) => post(id(i))));
    do await tick(40); while (await connection.write(times(20, (i) => frame(frameType.data, 0, id(i), Buffer.from('x')))));
  },
  slowHandshake: async (options) => {
    const connection = await opened(net.connect(options.tlsPort, '127.0.0.1'));
    // The start of a ClientHello that says it has 512 bytes.
    await connection.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]));
    do await tick(40); while (await connection.write(Buffer.from([0])));
  },
  brokenHandshake: async (options) => {
    const connection = await opened(net.connect(options.tlsPort, '127.0.0.1'));
    connection.socket.resume();
    await connection.write(Buffer.from([22, 3, 1, 0, 4, 1, 2, 3, 4, 22, 3, 1, 0, 4, 1, 2, 3, 4]));
    await connection.ended;
  },
  tlsFlood: async (options) => {
    const connection = await opened(tls.connect({ port: options.tlsPort, host: '127.0.0.1', rejectUnauthorized: false, ALPNProtocols: ['h2'] }), 'secureConnect');
    connection.socket.destroy();
    await connection.ended;
  },
  // Nothing is sent at all.
  idle: async (options) => {
    const connection = await plain(options);
    connection.socket.resume();
    await connection.ended;
  },
  malformedHttp1: async (options) => {
    const connection = await plain(options);
    connection.readStatuses();
    await connection.write(Buffer.from('GET /bad path HTTP/1.1\r\nHost: a\r\n\r\n'));
    await connection.ended;
  },
  oversizeHttp1: async (options) => {
    const connection = await plain(options);
    connection.readStatuses();
    let open = await connection.write(Buffer.from('GET / HTTP/1.1\r\nHost: a\r\n'));
    while (open) open = await connection.write(Buffer.from(`X-${'a'.repeat(50)}: ${'b'.repeat(900)}\r\n`));
    await connection.ended;
  },
};

if (process.send) {
  process.on('message', async (message) => {
    if (message === 'stop') {
      stopped = true;
      for (const connection of live) connection.socket.destroy();
      process.send(seen, () => process.exit(0));
      return;
    }
    const { attack, connections } = message;
    process.send('started');
    await Promise.all(Array.from({ length: connections }, async () => {
      while (!stopped) {
        await attacks[attack](message);
        await tick(5);
      }
    }));
  });
}
