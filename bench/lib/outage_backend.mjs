// A backend of bench/outages.mjs: it works for some milliseconds on each request, writes the id of each POST to a file before
// anything else, so that no id is lost with the process, and plays the outage that it is told over IPC.
import { openSync, writeSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import net from 'node:net';

const [, , protocol, port, file, first] = process.argv;
const work_ms = 5;
const slow_ms = 500;
const log = openSync(file, 'a');
const sockets = new Set();
const sessions = new Set();
const body = 'x'.repeat(64);
let outage = first;

function breakOff(response) {
  const socket = protocol === 'h2c' ? response.stream.session?.underlying : response.socket;
  socket?.resetAndDestroy();
}

function finish(response) {
  if (response.destroyed || response.stream?.destroyed) return;
  if (outage === 'rst_head') return breakOff(response);
  response.writeHead(outage === '503' ? 503 : 200, { 'content-length': body.length, ...(outage === 'drain' && protocol === 'http' ? { connection: 'close' } : {}) });
  if (outage !== 'rst_body') return response.end(body);
  response.write(body.slice(0, 1));
  // So that the byte has arrived: a reset overtakes what lies before it.
  setTimeout(breakOff, 5, response);
}

function serve(incoming, response) {
  if (incoming.method === 'POST') writeSync(log, `${incoming.headers['x-id']}\n`);
  incoming.on('error', () => {});
  response.on('error', () => {});
  incoming.resume();
  incoming.on('end', () => setTimeout(finish, outage === 'slow' ? slow_ms : work_ms, response));
}

function makeServer() {
  if (outage === 'no_settings') return net.createServer((socket) => socket.resume());
  return protocol === 'h2c' ? http2.createServer(serve) : http.createServer({ keepAliveTimeout: 600_000 }, serve);
}

const server = makeServer();
let newest;
server.prependListener('connection', (socket) => {
  newest = socket;
  // As servers of HTTP/2 do: else what is written behind other frames waits for a delayed ACK.
  socket.setNoDelay(true);
  sockets.add(socket);
  socket.on('error', () => {});
  socket.on('close', () => sockets.delete(socket));
});
server.on('session', (session) => {
  session.underlying = newest;
  sessions.add(session);
  session.on('error', () => {});
  session.on('close', () => sessions.delete(session));
});
server.on('sessionError', () => {});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: 128 }, () => process.send(server.address().port));

process.on('message', (wanted) => {
  outage = wanted;
  if (outage === 'swallow') {
    for (const socket of sockets) socket.resetAndDestroy();
    process.kill(process.pid, 'SIGSTOP');
  }
  if (outage === 'drain') {
    server.close(() => process.exit());
    for (const session of sessions) session.close();
    server.closeIdleConnections?.();
    setTimeout(() => process.exit(), 3_000);
  }
});
process.on('disconnect', () => process.exit());
