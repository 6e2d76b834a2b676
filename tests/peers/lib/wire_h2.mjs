// An HTTP/2 client that speaks in frames, right or wrong, and keeps every frame that it hears: for saying what no
// well-behaved library will say. Header blocks are written without compression (raw_h2.mjs) or given as bytes.
import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { defer, eventually, within } from './process.mjs';
import { frame, headerBlock, uint32 } from './raw_h2.mjs';

export const type = {
  data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9,
};
export const flag = { ack: 1, endStream: 1, endHeaders: 4, padded: 8, priority: 32 };
export const code = {
  none: 0, protocol: 1, internal: 2, flowControl: 3, streamClosed: 5, frameSize: 6, refused: 7, cancel: 8, compression: 9,
  calm: 11,
};
const codeNames = Object.fromEntries(Object.entries(code).map(([name, value]) => [value, name]));
const typeNames = Object.fromEntries(Object.entries(type).map(([name, value]) => [value, name]));
export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
export const setting = { tableSize: 1, push: 2, streams: 3, window: 4, frameSize: 5, listSize: 6 };

const bytes = (content) => (typeof content === 'string' ? Buffer.from(content, 'latin1') : Buffer.from(content ?? []));
export const data = (stream, content = '', flags = 0) => frame(type.data, flags, stream, bytes(content));
export const headers = (stream, block, flags = flag.endHeaders | flag.endStream) => (
  frame(type.headers, flags, stream, Array.isArray(block) && Array.isArray(block[0]) ? headerBlock(block) : bytes(block)));
export const continuation = (stream, block, flags = flag.endHeaders) => (
  frame(type.continuation, flags, stream, Array.isArray(block) && Array.isArray(block[0]) ? headerBlock(block) : bytes(block)));
export const priority = (stream, dependency, weight = 15) => (
  frame(type.priority, 0, stream, Buffer.concat([uint32(dependency), Buffer.from([weight])])));
export const reset = (stream, value = code.cancel) => frame(type.reset, 0, stream, uint32(value));
export const settings = (...pairs) => frame(type.settings, 0, 0, Buffer.concat(pairs.map(([id, value]) => {
  const entry = Buffer.alloc(6);
  entry.writeUInt16BE(id);
  entry.writeUInt32BE(value, 2);
  return entry;
})));
export const ping = (content = 'pingpong', flags = 0, stream = 0) => frame(type.ping, flags, stream, bytes(content));
export const goaway = (last, value = code.none, debug = '') => (
  frame(type.goaway, 0, 0, Buffer.concat([uint32(last, value), bytes(debug)])));
export const windowUpdate = (stream, increment) => frame(type.windowUpdate, 0, stream, uint32(increment));

// The fields of a request; what `changes` maps to undefined is left out, and its other keys replace or follow.
export function fields(changes = {}) {
  const all = { ':method': 'GET', ':scheme': 'http', ':path': '/', ':authority': 'localhost', ...changes };
  return Object.entries(all).filter(([, value]) => value !== undefined);
}

function show(one) {
  const value = one.code === undefined ? '' : ` ${codeNames[one.code] ?? one.code}`;
  return `${typeNames[one.type] ?? one.type}(${one.stream}, flags ${one.flags}, ${one.payload.length} bytes${value})`;
}

export class WirePeer {
  constructor(socket, { isServer = false } = {}) {
    this.socket = socket;
    this.isServer = isServer;
    this.prefaceLeft = isServer ? preface.length : 0;
    this.frames = [];
    this.buffered = Buffer.alloc(0);
    this.closed = false;
    this.ended = false;  // the peer said that it will send no more
    this.error = null;   // what broke the connection, if anything did
    this.patience_ms = 5_000;
    this.pings = 0;
    this.waiting = null;
    socket.on('data', (chunk) => this.receive(chunk));
    socket.on('end', () => { this.ended = true; });
    socket.on('error', (error) => { this.error = error; });
    socket.on('close', () => {
      this.closed = true;
      this.waiting?.();
    });
  }

  receive(chunk) {
    this.buffered = Buffer.concat([this.buffered, chunk]);
    if (this.buffered.length < this.prefaceLeft) return;
    this.buffered = this.buffered.subarray(this.prefaceLeft);
    this.prefaceLeft = 0;
    while (this.buffered.length >= 9) {
      const length = this.buffered.readUIntBE(0, 3);
      if (this.buffered.length < 9 + length) break;
      const one = { type: this.buffered[3], flags: this.buffered[4], stream: this.buffered.readUInt32BE(5) & 0x7fffffff };
      one.payload = Buffer.from(this.buffered.subarray(9, 9 + length));
      this.buffered = this.buffered.subarray(9 + length);
      if (one.type === type.reset && length >= 4) one.code = one.payload.readUInt32BE(0);
      if (one.type === type.goaway && length >= 8) {
        one.last = one.payload.readUInt32BE(0) & 0x7fffffff;
        one.code = one.payload.readUInt32BE(4);
      }
      one.endStream = (one.type === type.data || one.type === type.headers) && (one.flags & flag.endStream) !== 0;
      this.frames.push(one);
      if (this.isServer && one.type === type.settings && !(one.flags & flag.ack)) this.send(frame(type.settings, flag.ack, 0));
    }
    this.waiting?.();
  }

  send(...frames) {
    if (this.closed || this.ended) return;
    this.socket.write(Buffer.concat(frames.flat(Infinity).map(bytes)));
  }

  heard() {
    return this.frames.map(show).join(', ') || 'nothing';
  }

  // The first frame that `matches` and was not waited for before, come or to come.
  async until(matches, what, ms = this.patience_ms) {
    const end = Date.now() + ms;
    for (;;) {
      const one = this.frames.find((candidate) => !candidate.taken && matches(candidate));
      if (one !== undefined) {
        one.taken = true;
        return one;
      }
      if (this.closed) throw new Error(`the connection closed before ${what}; heard ${this.heard()}`);
      await within(Math.max(end - Date.now(), 1), new Promise((resolve) => { this.waiting = resolve; }), what).catch((error) => {
        throw new Error(`${error.message}; heard ${this.heard()}`);
      });
    }
  }

  untilReset(stream) {
    return this.until((one) => one.type === type.reset && one.stream === stream, `RST_STREAM on ${stream}`);
  }

  untilGoaway() {
    return this.until((one) => one.type === type.goaway, 'GOAWAY');
  }

  untilHeaders(stream) {
    return this.until((one) => one.type === type.headers && one.stream === stream, `HEADERS on ${stream}`);
  }

  untilEnd(stream) {
    return this.until((one) => one.endStream && one.stream === stream, `END_STREAM on ${stream}`);
  }

  // Everything sent before has been taken: a PING's answer comes after what it provoked (RFC 9113 §6.7).
  async settled() {
    const content = String(++this.pings).padStart(8, '0');
    this.send(ping(content));
    await this.until((one) => one.type === type.ping && (one.flags & flag.ack) && one.payload.toString() === content, 'the answer to PING');
  }

  async untilClosed(ms = this.patience_ms) {
    if (!this.closed) await within(ms, once(this.socket, 'close'), `the connection closes; heard ${this.heard()}`);
  }
}

// A connection, without a word said yet. With `ca` it is one of TLS, and ALPN says h2.
export async function connectWire(port, { ca } = {}) {
  const socket = ca
    ? tls.connect({ port, host: '127.0.0.1', servername: 'localhost', ca, ALPNProtocols: ['h2'] })
    : net.connect(port, '127.0.0.1');
  const peer = new WirePeer(socket);
  await within(5_000, once(socket, ca ? 'secureConnect' : 'connect'), 'the connection opens');
  socket.setNoDelay?.(true);
  return peer;
}

// Preface and SETTINGS both ways, each acknowledged.
export async function greet(peer, ...pairs) {
  peer.send(preface, settings(...pairs));
  await peer.until((one) => one.type === type.settings && !(one.flags & flag.ack), 'SETTINGS');
  peer.send(frame(type.settings, flag.ack, 0));
  await peer.until((one) => one.type === type.settings && (one.flags & flag.ack), 'the ACK of SETTINGS');
  return peer;
}

// A backend that accepts connections, says SETTINGS on each of them, or what `state.greeting` holds, acknowledges plait's,
// and leaves everything else to the test. `secure` is { cert, key }.
export async function startWireBackend(t, { secure } = {}) {
  const state = { peers: [], newest: undefined, opened: 0, greeting: [settings()] };
  const onSocket = (socket) => {
    const peer = new WirePeer(socket, { isServer: true });
    state.opened += 1;
    state.peers.push(peer);
    state.newest = peer;
    socket.on('close', () => { state.peers = state.peers.filter((other) => other !== peer); });
    peer.send(...state.greeting);
  };
  const server = secure ? tls.createServer({ ...secure, ALPNProtocols: ['h2'] }, onSocket) : net.createServer(onSocket);
  server.on('tlsClientError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  state.url = `${secure ? 'https' : 'h2c'}://127.0.0.1:${server.address().port}`;
  // The next request that nobody has taken yet, and the connection that it came on.
  state.untilRequest = () => eventually(() => {
    for (const peer of state.peers) {
      const one = peer.frames.find((candidate) => candidate.type === type.headers && !candidate.taken);
      if (one === undefined) continue;
      one.taken = true;
      return { peer, stream: one.stream, head: one };
    }
    return undefined;
  }, 'a request reaches the backend', 5_000);
  state.closeAll = () => {
    for (const peer of state.peers) peer.socket.destroy();
  };
  defer(t, () => {
    state.closeAll();
    server.close();
  });
  return state;
}
