// Clients could attack a worker as a whole: keep it in one turn of its loop for ever, or take from everybody the buffers in
// which bytes arrive. Limits are small here, in the proportions of the defaults.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import readline from 'node:readline';
import { Readable } from 'node:stream';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { configuration, settled } from './lib/attack.mjs';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { metric, startConfigured } from './lib/plait.mjs';
import { defer, eventually, within } from './lib/process.mjs';

const unreadClients = fileURLToPath(new URL('lib/unread_clients.py', import.meta.url));
const piece = Buffer.alloc(64 << 10, 'b');

// /big sends 24 MB; /unread takes no byte of a body before readOn() is called, and does not answer; all else is answered
// at once.
async function startBackend(t) {
  const unread = new Set();
  let reads = false;
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':path'] === '/unread') {
      unread.add(stream);
      if (reads) stream.resume();
      return;
    }
    stream.respond({ ':status': 200 });
    if (headers[':path'] !== '/big') {
      stream.end('ok');
      return;
    }
    let left = 384;
    new Readable({ read() { this.push(left-- > 0 ? piece : null); } }).pipe(stream).on('error', () => {});
  });
  return Object.assign(backend, {
    readOn() {
      reads = true;
      for (const stream of unread) stream.resume();
    },
  });
}

const isServed = async (t, port, options) => {
  const session = connectH2(t, port, options);
  const answer = await request(session, { ':path': '/' }, { timeout: 5000 });
  session.destroy();
  assert.deepEqual([answer.status, answer.body], [200, 'ok']);
};

// Clients that do not read, until `enough` send blocks are in use or there are `most` of them.
async function startUnread(t, plait, { enough, most }) {
  const child = spawn('/usr/bin/python3', [unreadClients, String(plait.tlsPort)], { stdio: ['pipe', 'pipe', 'inherit'] });
  defer(t, () => child.kill('SIGKILL'));
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const used = () => metric(plait, 'plait_slab_used', { slab: 'send_blocks' });
  let count = 0;
  for (let blocks = 0; blocks < enough && count < most; count += 1) {
    child.stdin.write('one more\n');
    await within(10_000, lines.next(), 'a client asks');
    // Its response is with the kernel or in its blocks when these are as many at two looks.
    await eventually(async () => blocks === (blocks = await used()) && blocks > 0, 'its output waits');
  }
  return {
    count, used,
    async leave() {
      child.stdin.end();
      await within(10_000, once(child, 'exit'), 'they leave');
    },
  };
}

async function startSecure(t, limits) {
  const backend = await startBackend(t);
  const { cert, key, pem } = await certificate(t);
  const plait = await startConfigured(t, configuration([backend], `[timeouts]\ndrain_ms = 2000\n[limits]\n${limits}\n`,
    `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n`));
  return { plait, ca: pem.cert };
}

test('TLS clients that do not read leave a block to everybody else, and whoever leaves does not stop the worker', async (t) => {
  const { plait, ca } = await startSecure(t, 'client_connections = 64\nupstream_connections = 6\nsend_blocks = 104\n');
  const unread = await startUnread(t, plait, { enough: 92, most: 50 });
  t.diagnostic(`${unread.count} clients hold ${await unread.used()} of 104 send blocks`);
  for (let i = 0; i < 5; i += 1) {
    await isServed(t, plait.tlsPort, { ca });
    await isServed(t, plait.port);
  }
  await unread.leave();
  await isServed(t, plait.port);
  await settled(plait, { connections: Infinity });
});

test('clients of HTTP/1.1 get their 503, and are told why, beside TLS clients that do not read', async (t) => {
  const { plait, ca } = await startSecure(t, 'client_connections = 64\nupstream_connections = 6\nsend_blocks = 104\nexchanges = 50\n');
  const unread = await startUnread(t, plait, { enough: 92, most: 50 });
  t.diagnostic(`${unread.count} clients hold ${await unread.used()} of 104 send blocks`);
  for (const secure of [undefined, ca]) {
    const raw = await openRaw(t, secure ? plait.tlsPort : plait.port, { ca: secure });
    raw.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await raw.until(/^HTTP\/1\.1 503 [^]*\r\nretry-after: [^]*\r\n\r\nno room is left for a request\n$/);
  }
  await unread.leave();
  await settled(plait, { connections: Infinity });
});

test('uploads over HTTP/1.1 that wait for memory keep nobody from being read, and no backend is blamed', async (t) => {
  const backend = await startBackend(t);
  const plait = await startConfigured(t, configuration([backend], '[timeouts]\ndrain_ms = 2000\nping_ms = 300\nping_answer_ms = 700\n[limits]\nupload_pool_bytes = 4194304\nreceive_buffers = 32\n'));
  const uploads = await Promise.all(Array.from({ length: 120 }, () => openRaw(t, plait.port)));
  for (const raw of uploads) {
    raw.write('POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n');
    raw.socket.write(Buffer.alloc(64_000, 'a'));
  }
  await eventually(async () => (await metric(plait, 'plait_upload_pauses_total')) > 0, 'uploads wait for memory');
  for (let round = 0; round < 3; round += 1) {
    for (const raw of uploads) raw.socket.write(Buffer.alloc(30_000, 'a'));
    for (let i = 0; i < 5; i += 1) await isServed(t, plait.port);
  }
  // Longer than a backend may take to answer a PING.
  for (const end = Date.now() + 2000; Date.now() < end;) await isServed(t, plait.port);
  t.diagnostic(`${await metric(plait, 'plait_upload_pauses_total')} uploads wait`);
  assert.equal((await metric(plait, 'plait_upstream_connection_errors_total', { reason: 'ping_timeout' })) ?? 0, 0);
  assert.equal(backend.opened, backend.sessions.size, 'no connection to the backend has ended');
  // Their backend takes nothing: the longest stuck ones may be ended so that the others have room, and are told so.
  for (const raw of uploads) assert.ok(!raw.closed || raw.text.startsWith('HTTP/1.1 408 '), `an upload ended with ${JSON.stringify(raw.text.slice(0, 80))}`);
  for (const raw of uploads) raw.socket.destroy();
  backend.readOn();
  await settled(plait, { connections: Infinity });
});
