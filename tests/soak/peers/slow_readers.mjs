// Readers of one large body that take 16 KiB in each quarter of a second, in a process of their own:
//   node slow_readers.mjs PORT COUNT
// Half of them have an HTTP/1.1 connection each; the others are streams of HTTP/2 connections, ten on each. Prints a line
// of JSON four times a second: how many readers have begun, how many have ended, and the fewest bytes that any has read.
import http2 from 'node:http2';
import net from 'node:net';

const [port, count] = process.argv.slice(2).map(Number);
const [share, pause_ms] = [16 << 10, 250];
const readers = [];

function slowDown(readable) {
  const reader = { bytes: 0, ended: false };
  readers.push(reader);
  readable.on('error', () => {});
  readable.on('close', () => { reader.ended = true; });
  readable.on('readable', () => { readable.available = true; });
  setInterval(() => {
    if (!readable.available) return;
    const chunk = readable.read(Math.min(share, readable.readableLength || share));
    if (chunk) reader.bytes += chunk.length;
  }, pause_ms);
}

for (let i = 0; i < count / 2; i += 1) {
  const socket = net.connect(port, '127.0.0.1');
  socket.write('GET /large HTTP/1.1\r\nHost: a\r\n\r\n');
  slowDown(socket);
}
for (let left = count - readers.length; left > 0; left -= 10) {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on('error', () => {});
  // Room for all its streams, which otherwise wait for each other.
  session.on('connect', () => session.setLocalWindowSize(10 << 16));
  for (let i = 0; i < Math.min(left, 10); i += 1) slowDown(session.request({ ':path': '/large' }));
}

setInterval(() => {
  console.log(JSON.stringify({
    begun: readers.filter(({ bytes }) => bytes > 0).length,
    ended: readers.filter(({ ended }) => ended).length,
    least: Math.min(...readers.map(({ bytes }) => bytes)),
  }));
}, pause_ms);
