// Clients of every kind; each resolves with everything that it saw, failures too, and never waits without a bound.
import http2 from 'node:http2';
import net from 'node:net';
import tls from 'node:tls';
import { defer, run, within } from './process.mjs';

export function connectH2(t, port, options = {}) {
  const session = http2.connect(`${options.ca ? 'https://localhost' : 'http://127.0.0.1'}:${port}`, options);
  session.on('error', () => {});
  defer(t, () => session.destroy());
  return session;
}

// One request; resolves with everything the client saw. `body` is sent whole; with `streaming` the caller writes through
// onStream. `trailers` follow the body.
export function request(session, headers, { body, trailers, streaming = false, onHeaders, onStream, timeout = 30_000 } = {}) {
  return within(timeout, new Promise((resolve) => {
    const endStream = body === undefined && !streaming && trailers === undefined;
    const stream = session.request(headers, { endStream, waitForTrailers: trailers !== undefined });
    const result = { stream, interim: [], chunks: [], trailers: null, error: null };
    stream.on('headers', (h) => result.interim.push(h));
    stream.on('continue', () => result.interim.push({ ':status': 100 }));
    stream.on('response', (h) => {
      result.headers = h;
      result.status = h[':status'];
      onHeaders?.(stream, h);
    });
    stream.on('trailers', (h) => { result.trailers = h; });
    stream.on('data', (chunk) => result.chunks.push(chunk));
    stream.on('error', (error) => { result.error = error; });
    stream.on('aborted', () => { result.aborted = true; });
    stream.on('close', () => {
      result.body = Buffer.concat(result.chunks).toString();
      result.rstCode = stream.rstCode;
      resolve(result);
    });
    if (trailers) stream.on('wantTrailers', () => stream.sendTrailers(trailers));
    onStream?.(stream);
    if (!streaming && !endStream) stream.end(body ?? '');
  }), `a response to ${headers[':method'] ?? 'GET'} ${headers[':path']}`);
}

// A connection of bytes: `text` is all that came so far, `until` waits for a pattern in it, `ended` for the peer's end.
export async function openRaw(t, port, { ca, ALPNProtocols, localAddress } = {}) {
  const at = { port, host: '127.0.0.1', localAddress };
  const socket = ca ? tls.connect({ ...at, servername: 'localhost', ca, ALPNProtocols }) : net.connect(at);
  const raw = { socket, text: '', closed: false, error: null };
  const waiting = new Set();
  const check = () => { for (const waiter of [...waiting]) waiter(); };
  socket.setEncoding('latin1');
  socket.on('data', (chunk) => { raw.text += chunk; check(); });
  socket.on('error', (error) => { raw.error = error; });
  socket.on('close', () => { raw.closed = true; check(); });
  const wait = (condition, what) => within(20_000, new Promise((resolve, reject) => {
    const waiter = () => {
      if (condition()) {
        waiting.delete(waiter);
        resolve(raw.text);
      } else if (raw.closed) {
        waiting.delete(waiter);
        reject(new Error(`the connection closed (${raw.error?.code ?? 'no error'}) before ${what}; it had sent: ${raw.text.slice(0, 500)}`));
      }
    };
    waiting.add(waiter);
    waiter();
  }), what);
  raw.until = (pattern) => wait(() => pattern.test(raw.text), `the peer sends ${pattern}`);
  raw.ended = () => wait(() => raw.closed, 'the peer ends the connection');
  raw.write = (bytes) => socket.write(bytes, 'latin1');
  defer(t, () => socket.destroy());
  return raw;
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

// curl, once: { code, body, status, version, exit } where `exit` is curl's own code, 18 for a body cut short, 92 for a
// stream that was reset.
export async function curl(args, options = {}) {
  try {
    const { stdout } = await run('curl', ['-s', '-m', '60', '-w', '\n%{http_code} %{http_version}', ...args], options);
    const cut = stdout.lastIndexOf('\n');
    const [status, version] = stdout.slice(cut + 1).split(' ');
    return { exit: 0, body: stdout.slice(0, cut), status: Number(status), version };
  } catch (error) {
    const cut = error.stdout?.lastIndexOf('\n') ?? -1;
    return { exit: error.code, body: error.stdout?.slice(0, Math.max(cut, 0)) ?? '', status: Number(error.stdout?.slice(cut + 1).split(' ')[0] ?? 0) };
  }
}

// h2load; resolves with its figures.
export async function h2load(args, { timeout = 300_000 } = {}) {
  const { stdout } = await run('h2load', args, { timeout });
  const [, total, succeeded, failed] = stdout.match(/requests: (\d+) total.* (\d+) succeeded, (\d+) failed/) ?? [];
  return {
    stdout,
    total: Number(total), succeeded: Number(succeeded), failed: Number(failed),
    ok: Number(stdout.match(/status codes: (\d+) 2xx/)?.[1] ?? 0),
  };
}
