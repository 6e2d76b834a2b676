// A malicious backend in a process of its own. It answers GET honestly and does its worst to whoever sends a body; its
// first argument names what. HTTP/2 by prior knowledge, or HTTP/1.1 where the name begins with "h1".
import net from 'node:net';
import { frame, frameType, headerBlock, uint32 } from './raw_h2.mjs';

const attack = process.argv[2];
const preface = 24;
const times = (n, make) => Buffer.concat(Array.from({ length: n }, (_, i) => make(i)));
const head = (stream, status, end = false, fields = []) => frame(frameType.headers, end ? 5 : 4, stream, headerBlock([[':status', String(status)], ...fields]));
const setting = (id, value) => Buffer.concat([Buffer.from([id >> 8, id & 255]), uint32(value)]);

// Written again and again, as fast as it is taken, until the connection is over. Between two pieces everything else has
// its turn: a flood that keeps its own backend from accepting would be taken for plait's slowness.
function forever(socket, piece) {
  const more = () => {
    if (!socket.destroyed && socket.write(piece)) setImmediate(more);
  };
  socket.on('drain', () => setImmediate(more));
  more();
}

const attacks = {
  pushPromise: (socket, id) => socket.write(frame(5, 4, id, Buffer.concat([uint32(2), headerBlock([[':method', 'GET']])]))),
  endlessInterim: (socket, id) => forever(socket, times(50, () => head(id, 103, false, [['link', '</a>']]))),
  endlessHeaders: (socket, id) => {
    socket.write(frame(frameType.headers, 0, id, headerBlock([[':status', '200']])));
    forever(socket, times(10, () => frame(frameType.continuation, 0, id, headerBlock([['x-more', 'y'.repeat(100)]]))));
  },
  hugeHeaders: (socket, id) => socket.write(head(id, 200, true, Array.from({ length: 110 }, (_, i) => [`x-${i}`, 'v'.repeat(110)]))),
  connectionWindow: (socket, id) => {
    socket.write(head(id, 200));
    forever(socket, times(8, () => frame(frameType.data, 0, id, Buffer.alloc(16_000))));
  },
  windowOverflow: (socket, id) => socket.write(Buffer.concat([frame(frameType.windowUpdate, 0, 0, uint32(0x7fffffff)), frame(frameType.windowUpdate, 0, id, uint32(0x7fffffff))])),
  unknownStream: (socket, id) => socket.write(head(id + 100, 200, true)),
  evenStream: (socket) => socket.write(head(2, 200, true)),
  afterEnd: (socket, id) => socket.write(Buffer.concat([head(id, 200), frame(frameType.data, 1, id, Buffer.from('ok')), frame(frameType.data, 0, id, Buffer.from('more'))])),
  settingsFlood: (socket) => forever(socket, times(200, () => frame(frameType.settings, 0, 0, setting(4, 65535)))),
  // It drops the answers: else reading them is what keeps it from everybody else.
  pingFlood: (socket) => forever(socket.removeAllListeners('data').resume(), times(500, () => frame(frameType.ping, 0, 0, Buffer.alloc(8)))),
  windowUpdateFlood: (socket) => forever(socket, times(500, () => frame(frameType.windowUpdate, 0, 0, uint32(1)))),
  goawayFlood: (socket) => forever(socket, times(500, () => frame(frameType.goaway, 0, 0, uint32(0x7fffffff, 0)))),
  resetFlood: (socket, id) => forever(socket, times(500, () => frame(frameType.reset, 0, id, uint32(8)))),
  emptyDataFlood: (socket, id) => {
    socket.write(head(id, 200));
    forever(socket, times(500, () => frame(frameType.data, 0, id)));
  },
  oversizeFrame: (socket, id) => socket.write(frame(frameType.data, 0, id, Buffer.alloc(20_000))),
  malformedHead: (socket, id) => socket.write(head(id, 200, true, [['connection', 'close']])),
  wrongLength: (socket, id) => socket.write(Buffer.concat([head(id, 200, false, [['content-length', '5']]), frame(frameType.data, 1, id, Buffer.from('toomuch'))])),
  garbage: (socket) => socket.write(Buffer.alloc(100, 0xff)),
  h1EndlessInterim: (socket) => forever(socket, Buffer.from('HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(50))),
  h1EndlessHeaders: (socket) => {
    socket.write('HTTP/1.1 200 OK\r\n');
    forever(socket, Buffer.from(`X-More: ${'y'.repeat(500)}\r\n`));
  },
  h1AfterEnd: (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong'),
  h1Garbage: (socket) => socket.write(Buffer.concat([Buffer.alloc(100, 0xff), Buffer.from('\r\n\r\n')])),
  h1ChunkGarbage: (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnothing\r\n'),
};

function serveH2(socket) {
  let buffered = Buffer.alloc(0);
  let opened = false;
  socket.write(frame(frameType.settings, 0, 0));
  socket.on('data', (chunk) => {
    buffered = Buffer.concat([buffered, chunk]);
    if (!opened) {
      if (buffered.length < preface) return;
      opened = true;
      buffered = buffered.subarray(preface);
    }
    while (buffered.length >= 9) {
      const length = buffered.readUIntBE(0, 3);
      if (buffered.length < 9 + length) return;
      const [type, flags] = [buffered[3], buffered[4]];
      const stream = buffered.readUInt32BE(5);
      const payload = buffered.subarray(9, 9 + length);
      buffered = buffered.subarray(9 + length);
      if (type === frameType.settings && !(flags & 1)) socket.write(frame(frameType.settings, 1, 0));
      if (type === frameType.ping && !(flags & 1)) socket.write(frame(frameType.ping, 1, 0, payload));
      if (type !== frameType.headers || stream === 0) continue;
      if (flags & 1) {
        socket.write(Buffer.concat([head(stream, 200), frame(frameType.data, 1, stream, Buffer.from('ok'))]));
      } else {
        attacks[attack](socket, stream);
      }
    }
  });
}

function serveH1(socket) {
  socket.on('data', (chunk) => {
    const text = chunk.toString('latin1');
    if (text.startsWith('GET')) socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    if (text.startsWith('POST')) attacks[attack](socket);
  });
}

// Without Nagle’s algorithm, as servers of HTTP/2 are: else what is written behind an acknowledgement of SETTINGS waits for a
// delayed ACK, some 40 ms, and that would be all that is measured.
const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('error', () => {});
  (attack.startsWith('h1') ? serveH1 : serveH2)(socket);
});
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
