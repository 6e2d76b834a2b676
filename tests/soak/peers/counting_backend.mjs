// A backend of its own process, so that it can be killed: `node counting_backend.mjs PORT FILE`. It appends the id of each
// request that it executes to FILE before it answers. SIGTERM ends it in good order: GOAWAY, then what was begun.
import { appendFileSync } from 'node:fs';
import http2 from 'node:http2';

const [port, file] = process.argv.slice(2);
const sessions = new Set();
const server = http2.createServer();
server.on('stream', (stream, headers) => {
  stream.on('error', () => {});
  stream.resume();
  stream.on('end', () => {
    appendFileSync(file, `${headers['x-id']}\n`);
    if (stream.destroyed) return;
    stream.respond({ ':status': 200 });
    stream.end(headers['x-id']);
  });
});
server.on('session', (session) => {
  sessions.add(session);
  session.on('error', () => {});
  session.on('close', () => sessions.delete(session));
});
server.on('sessionError', () => {});
server.listen(Number(port), '127.0.0.1');
process.on('SIGTERM', () => {
  server.close(() => process.exit(0));
  for (const session of sessions) session.close();
});
