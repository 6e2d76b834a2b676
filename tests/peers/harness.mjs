// Starts plait and its peers on ports that the kernel chose, and waits on conditions with a bound, never by sleeping.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';

export const run = promisify(execFile);
const plaitBin = process.env.PLAIT_BIN ?? path.resolve('build/release/plait');
const io = process.env.PLAIT_IO ?? 'auto';

export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export function temporaryDirectory(t) {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-test-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

export async function certificate(t) {
  const dir = temporaryDirectory(t);
  const cert = path.join(dir, 'cert.pem');
  const key = path.join(dir, 'key.pem');
  await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert]);
  return { cert, key };
}

// Starts plait and resolves once it is ready. `stop` sends SIGTERM and resolves with the exit code.
export async function startPlait(t, args) {
  const child = spawn(plaitBin, [...args, '--io', io], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  const exited = once(child, 'exit').then(([code, signal]) => code ?? signal);
  child.stderr.on('data', (chunk) => { err += chunk; });
  await within(20_000, new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      out += chunk;
      if (/^ready$/m.test(out)) resolve();
    });
    exited.then((code) => reject(new Error(`plait ended with ${code}: ${err}`)));
  }), 'plait is ready');
  const listeners = [...out.matchAll(/^listening on (\S+):(\d+) \((\w+)\)$/gm)].map(([, host, port, kind]) => ({ host, port: Number(port), kind }));
  const stop = async () => {
    child.kill('SIGTERM');
    return within(40_000, exited, 'plait drains after SIGTERM');
  };
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await exited;
  });
  return { child, listeners, port: listeners[0].port, stop, exited, stderr: () => err, stdout: () => out };
}

export async function runPlait(args) {
  try {
    const { stdout, stderr } = await run(plaitBin, args, { timeout: 20_000 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

// An HTTP/2 backend in this process. `handler(stream, headers)`; sessions are counted.
export async function startH2Backend(t, handler, { settings, secure } = {}) {
  const server = secure ? http2.createSecureServer({ ...secure, settings }) : http2.createServer({ settings });
  const sessions = new Set();
  const sockets = new Set();
  const state = { server, sessions, sockets, opened: 0 };
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
  });
  server.on('session', (session) => {
    state.opened += 1;
    sessions.add(session);
    session.on('close', () => sessions.delete(session));
    session.on('error', () => {});
  });
  server.on('stream', (stream, headers, flags) => {
    stream.on('error', () => {});
    handler(stream, headers, flags);
  });
  server.on('sessionError', () => {});
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  state.port = server.address().port;
  state.url = `${secure ? 'https' : 'h2c'}://127.0.0.1:${state.port}`;
  t.after(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return state;
}

export function connectH2(t, port, options = {}) {
  const session = http2.connect(`${options.ca ? 'https://localhost' : 'http://127.0.0.1'}:${port}`, options);
  session.on('error', () => {});
  t.after(() => session.destroy());
  return session;
}

// One request; resolves with everything the client saw.
export function request(session, headers, { body, onHeaders } = {}) {
  return within(30_000, new Promise((resolve) => {
    const stream = session.request(headers, { endStream: body === undefined });
    const result = { stream, interim: [], chunks: [], trailers: null, error: null };
    stream.on('headers', (h) => result.interim.push(h));
    stream.on('response', (h) => {
      result.headers = h;
      onHeaders?.(stream, h);
    });
    stream.on('trailers', (h) => { result.trailers = h; });
    stream.on('data', (chunk) => result.chunks.push(chunk));
    stream.on('error', (error) => { result.error = error; });
    stream.on('close', () => {
      result.body = Buffer.concat(result.chunks).toString();
      result.rstCode = stream.rstCode;
      resolve(result);
    });
    if (body !== undefined) stream.end(body);
  }), `a response to ${headers[':method'] ?? 'GET'} ${headers[':path']}`);
}

// Sends raw bytes and resolves with all that comes back until `until(text)` holds or the peer closes.
export function exchangeRaw(port, bytes, until = () => false) {
  return within(20_000, new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      text += chunk;
      if (until(text)) {
        socket.destroy();
        resolve(text);
      }
    });
    socket.on('close', () => resolve(text));
    socket.on('error', reject);
  }), 'an answer to raw bytes');
}
