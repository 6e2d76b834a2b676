// An HTTP/2 backend that speaks in frames, for what no well-behaved library will do: refuse, say GOAWAY at a chosen
// request, reset in the middle of a body, close without a word. It never decodes HPACK: a test tells requests apart by
// END_STREAM on their HEADERS (no body: a GET) and by what their bodies say.
import { once } from 'node:events';
import net from 'node:net';
import { defer } from './process.mjs';

export const frameType = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 };
export const errorCode = { none: 0, protocol: 1, internal: 2, refused: 7, cancel: 8, frameSize: 6, enhanceYourCalm: 11, http11Required: 13 };
const preface = 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n';

export function frame(type, flags, stream, payload = Buffer.alloc(0)) {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

export function uint32(...values) {
  const bytes = Buffer.alloc(4 * values.length);
  values.forEach((value, i) => bytes.writeUInt32BE(value, 4 * i));
  return bytes;
}

// A header block of literals that enter no table, without Huffman coding (RFC 7541 §6.2.2). Names and values are shorter
// than 127 bytes, so that each length is one byte.
export function headerBlock(fields) {
  return Buffer.concat(fields.map(([name, value]) => Buffer.concat([
    Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([value.length]), Buffer.from(value),
  ])));
}

class RawConnection {
  constructor(socket, script) {
    this.socket = socket;
    this.script = script;
    this.buffered = Buffer.alloc(0);
    this.seenPreface = false;
    this.requests = 0;
    this.lastStream = 0;
    this.bodies = new Map();
    this.closed = false;
  }

  // Nothing goes after end(): a write would end in an error, which destroys the socket, and the RST for what it has not
  // read takes the last frames away from plait.
  send(...frames) {
    if (!this.closed && this.socket.writable) this.socket.write(Buffer.concat(frames));
  }

  headers(stream, status, fields = [], endStream = false) {
    this.send(frame(frameType.headers, endStream ? 5 : 4, stream, headerBlock([[':status', String(status)], ...fields])));
  }

  data(stream, text, endStream = false) {
    this.send(frame(frameType.data, endStream ? 1 : 0, stream, Buffer.from(text)));
  }

  respond(stream, text = 'ok', status = 200) {
    this.headers(stream, status);
    this.data(stream, text, true);
  }

  reset(stream, code) {
    this.send(frame(frameType.reset, 0, stream, uint32(code)));
  }

  goaway(last, code = errorCode.none) {
    this.send(frame(frameType.goaway, 0, 0, uint32(last, code)));
  }

  // The connection ends in good order, with FIN after all that was sent.
  end() {
    this.socket.end();
  }

  // The connection breaks: RST on the wire.
  destroy() {
    this.socket.resetAndDestroy();
  }

  receive(chunk) {
    this.buffered = Buffer.concat([this.buffered, chunk]);
    if (!this.seenPreface) {
      if (this.buffered.length < preface.length) return;
      this.seenPreface = true;
      this.buffered = this.buffered.subarray(preface.length);
    }
    while (this.buffered.length >= 9) {
      const length = this.buffered.readUIntBE(0, 3);
      if (this.buffered.length < 9 + length) return;
      const [type, flags] = [this.buffered[3], this.buffered[4]];
      const stream = this.buffered.readUInt32BE(5) & 0x7fffffff;
      const payload = this.buffered.subarray(9, 9 + length);
      this.buffered = this.buffered.subarray(9 + length);
      this.onFrame(type, flags, stream, payload);
    }
  }

  onFrame(type, flags, stream, payload) {
    this.script.frame?.(this, type, flags, stream, payload);
    if (type === frameType.settings && !(flags & 1)) this.send(frame(frameType.settings, 1, 0));
    if (type === frameType.ping && !(flags & 1)) this.send(frame(frameType.ping, 1, 0, payload));
    if (type === frameType.headers && stream > this.lastStream) {
      this.requests += 1;
      this.lastStream = stream;
      const hasBody = !(flags & 1);
      if (hasBody) this.bodies.set(stream, '');
      this.script.head?.(this, stream, { hasBody });
      if (!hasBody) this.script.request?.(this, stream, { method: 'GET', body: '' });
    }
    if (type === frameType.data && this.bodies.has(stream)) {
      const padding = flags & 8 ? payload[0] + 1 : 0;
      const text = payload.subarray(flags & 8 ? 1 : 0, payload.length - Math.max(padding - 1, 0)).toString('latin1');
      this.bodies.set(stream, this.bodies.get(stream) + text);
      if (payload.length > 0) this.send(frame(frameType.windowUpdate, 0, 0, uint32(payload.length)));
      if (flags & 1) {
        const body = this.bodies.get(stream);
        this.bodies.delete(stream);
        this.script.request?.(this, stream, { method: 'POST', body });
      }
    }
  }
}

// `script` may have open(connection), head(connection, stream, { hasBody }), request(connection, stream, { method, body })
// once the request is whole, `settings` (the payload of its first SETTINGS), and frame(connection, type, flags, stream, payload) for every frame.
export async function startRawH2Backend(t, script) {
  const state = { connections: new Set(), opened: 0 };
  const server = net.createServer((socket) => {
    const connection = new RawConnection(socket, script);
    state.opened += 1;
    state.connections.add(connection);
    socket.on('data', (chunk) => connection.receive(chunk));
    socket.on('error', () => {});
    socket.on('close', () => {
      connection.closed = true;
      state.connections.delete(connection);
    });
    connection.send(frame(frameType.settings, 0, 0, script.settings));
    script.open?.(connection);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => {
    for (const connection of state.connections) connection.socket.destroy();
    server.close();
  });
  return Object.assign(state, { port: server.address().port, url: `h2c://127.0.0.1:${server.address().port}` });
}
