// Backends of every kind that plait must get on with. Each has { url, port } and, where it counts, what it has seen.
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import tls from 'node:tls';
import { defer, startServer, temporaryDirectory } from './process.mjs';

function track(t, server, state) {
  const sockets = new Set();
  state.sockets = sockets;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
  });
  defer(t, () => {
    for (const session of state.sessions ?? []) session.destroy();
    for (const socket of sockets) socket.destroy();
    server.close();
  });
}

async function listen(server, state, scheme) {
  const host = state.host ?? '127.0.0.1';
  server.listen(state.port ?? 0, host);
  await once(server, 'listening');
  state.port = server.address().port;
  state.address = `${host}:${state.port}`;
  state.url = `${scheme}://${state.address}`;
}

// An HTTP/2 backend in this process. `handler(stream, headers, flags, raw_headers)`; sessions are counted. `secure` is { cert, key }.
export async function startH2Backend(t, handler, { settings, secure, host, port, allowHTTP1 = false } = {}) {
  const server = secure ? http2.createSecureServer({ ...secure, settings, allowHTTP1 }) : http2.createServer({ settings });
  const state = { server, sessions: new Set(), opened: 0, host, port };
  track(t, server, state);
  server.on('session', (session) => {
    state.opened += 1;
    state.sessions.add(session);
    session.on('close', () => state.sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers, flags, raw) => {
    stream.on('error', () => {});
    handler(stream, headers, flags, raw);
  });
  server.on('sessionError', () => {});
  await listen(server, state, secure ? 'https' : 'h2c');
  // Ends it as a crash would; its port can be taken again.
  state.kill = async () => {
    for (const session of state.sessions) session.destroy();
    for (const socket of state.sockets) socket.destroy();
    if (server.listening) await new Promise((resolve) => server.close(resolve));
  };
  return state;
}

// A session of node says GOAWAY and ends when what it began is done. Called from within the event of one of its streams,
// session.close() would make node answer the requests that cross the GOAWAY while it is still reading, and use streams that
// it has freed: the process then ends with "corrupted size vs. prev_size", whoever the client is.
export const endInOrder = (session) => setImmediate(() => session.close());

// An HTTP/1.1 backend in this process. With `secure` it speaks TLS and offers ALPN http/1.1; with `noAlpn` it has no ALPN
// at all.
export async function startH1Backend(t, handler, { secure, noAlpn = false, options = {} } = {}) {
  const listener = (incoming, response) => {
    incoming.on('error', () => {});
    response.on('error', () => {});
    handler(incoming, response);
  };
  const state = { opened: 0 };
  let server;
  if (secure && noAlpn) {
    const inner = http.createServer(options, listener);
    server = tls.createServer({ ...secure }, (socket) => inner.emit('connection', socket));
    server.on('tlsClientError', () => {});
    state.http = inner;
  } else {
    server = secure ? https.createServer({ ...secure, ...options }, listener) : http.createServer(options, listener);
    state.http = server;
  }
  state.server = server;
  server.on('connection', () => { state.opened += 1; });
  track(t, server, state);
  await listen(server, state, secure ? 'https' : 'http');
  return state;
}

// A backend that speaks bytes: `handler(socket, state)` for each connection.
export async function startRawBackend(t, handler) {
  const state = { opened: 0 };
  const server = net.createServer((socket) => {
    state.opened += 1;
    handler(socket, state);
  });
  track(t, server, state);
  await listen(server, state, 'http');
  return state;
}

// A folder for file servers: small (100 bytes), large (1 MiB) and what `files` adds.
export function documentRoot(t, files = {}) {
  const dir = path.join(temporaryDirectory(t), 'www');
  mkdirSync(dir);
  const all = { small: Buffer.alloc(100, 's'), large: Buffer.alloc(1 << 20, 'l'), ...files };
  for (const [name, content] of Object.entries(all)) writeFileSync(path.join(dir, name), content);
  return dir;
}

export async function startNghttpd(t, dir, { secure, args = [] } = {}) {
  const tlsArgs = secure ? [] : ['--no-tls'];
  const files = secure ? [secure.key, secure.cert] : [];
  const server = await startServer(t, (port) => ['nghttpd', [...tlsArgs, '-a', '127.0.0.1', '-d', dir, ...args, String(port), ...files]]);
  return { ...server, url: `${secure ? 'https' : 'h2c'}://127.0.0.1:${server.port}`, address: `127.0.0.1:${server.port}` };
}

// nginx speaks HTTP/1.1 on a plain port, and over TLS what ALPN says: with `http2`, h2 or http/1.1, else http/1.1 alone.
export async function startNginx(t, dir, { secure, h2 = false } = {}) {
  const work = temporaryDirectory(t);
  const server = await startServer(t, (port) => {
    const file = path.join(work, 'nginx.conf');
    writeFileSync(file, `daemon off;
master_process off;
pid ${work}/nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path ${work}/body;
  proxy_temp_path ${work}/proxy;
  fastcgi_temp_path ${work}/fastcgi;
  uwsgi_temp_path ${work}/uwsgi;
  scgi_temp_path ${work}/scgi;
  server {
    listen 127.0.0.1:${port}${secure ? ' ssl' : ''}${h2 ? ' http2' : ''};
    ${secure ? `ssl_certificate ${secure.cert};\n    ssl_certificate_key ${secure.key};` : ''}
    root ${dir};
  }
}
`);
    return ['nginx', ['-p', work, '-e', 'stderr', '-c', file]];
  });
  return { ...server, url: `${secure ? 'https' : 'http'}://127.0.0.1:${server.port}`, address: `127.0.0.1:${server.port}` };
}

export async function startH2o(t, dir, { secure } = {}) {
  const work = temporaryDirectory(t);
  const server = await startServer(t, (port) => {
    const file = path.join(work, 'h2o.yaml');
    writeFileSync(file, `num-threads: 1
user: ${os.userInfo().username}
listen:
  host: 127.0.0.1
  port: ${port}
${secure ? `  ssl:\n    certificate-file: ${secure.cert}\n    key-file: ${secure.key}\n` : ''}hosts:
  default:
    paths:
      "/":
        file.dir: ${dir}
`);
    return ['h2o', ['-c', file]];
  });
  return { ...server, url: `${secure ? 'https' : 'h2c'}://127.0.0.1:${server.port}`, address: `127.0.0.1:${server.port}` };
}
