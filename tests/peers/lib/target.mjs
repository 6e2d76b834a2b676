// The backend of the attack tests, in a process of its own: /big sends without end, /held never answers, /sink takes all
// of a body before it does, anything else answers at once.
import http2 from 'node:http2';
import { Readable } from 'node:stream';

const piece = Buffer.alloc(16 << 10, 'b');
const server = http2.createServer();
server.on('sessionError', () => {});
server.on('session', (session) => session.on('error', () => {}));
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  const path = headers[':path'];
  if (path === '/held') {
    stream.resume();
  } else if (path === '/sink') {
    stream.resume();
    stream.on('end', () => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end('taken');
    });
  } else if (!stream.destroyed) {
    stream.respond({ ':status': 200 });
    if (path === '/big') new Readable({ read() { this.push(piece); } }).pipe(stream).on('error', () => {});
    else stream.end('ok');
  }
});
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
