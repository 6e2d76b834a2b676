// The backend of bench/reloads.mjs, over HTTP/1.1: short answers; a stream that goes on for ever at /stream; WebSockets that
// stay open. It is told "count" over IPC, and tells how many connections it has accepted so far.
import { createHash } from 'node:crypto';
import http from 'node:http';

const body = 'x'.repeat(100);
const streams = new Set();
let connections = 0;

const server = http.createServer({ keepAliveTimeout: 600_000 }, (incoming, response) => {
  response.on('error', () => {});
  if (incoming.url === '/stream') {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.write(': begun\n\n');
    streams.add(response);
    response.on('close', () => streams.delete(response));
    return;
  }
  incoming.resume();
  incoming.on('end', () => {
    response.writeHead(200, { 'content-length': body.length });
    response.end(body);
  });
});
server.on('connection', () => { connections += 1; });
server.on('upgrade', (incoming, socket) => {
  socket.on('error', () => {});
  const accept = createHash('sha1').update(`${incoming.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
  socket.resume();
});
setInterval(() => { for (const response of streams) response.write(': still here\n\n'); }, 1_000);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => process.send(server.address().port));
process.on('message', () => process.send(connections));
process.on('disconnect', () => process.exit());
