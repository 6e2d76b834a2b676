// Every limit driven to its end. Whoever comes too late is refused or waits, each with a counter; nobody else notices,
// nothing breaks, everything comes back.
import assert from 'node:assert/strict';
import net from 'node:net';
import { Readable } from 'node:stream';
import test from 'node:test';
import { configuration, peaks, settled } from './lib/attack.mjs';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { metric, startConfigured } from './lib/plait.mjs';
import { defer, eventually, within } from './lib/process.mjs';
import { errorCode, frame, frameType, headerBlock, uint32 } from './lib/raw_h2.mjs';

const get = (path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
const piece = Buffer.alloc(64 << 10, 'b');
const count = (list, property) => list.reduce((table, item) => ({ ...table, [property(item)]: (table[property(item)] ?? 0) + 1 }), {});

// /held answers when release() is called; /big sends 24 MB; /echo says how long cookie and body were.
async function startHolding(t, settings) {
  const held = new Set();
  const backend = await startH2Backend(t, (stream, headers) => {
    const respond = (text) => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end(text);
    };
    const path = headers[':path'];
    if (path === '/held') {
      stream.resume();
      held.add(respond);
      stream.on('close', () => held.delete(respond));
    } else if (path === '/unread') {
      held.add(respond);
      stream.on('close', () => held.delete(respond));
    } else if (path === '/big') {
      // More than the kernel's buffers take, in pieces, since node holds no more than ten megabytes for a session.
      stream.respond({ ':status': 200 });
      let left = 384;
      new Readable({ read() { this.push(left-- > 0 ? piece : null); } }).pipe(stream).on('error', () => {});
    } else {
      let size = 0;
      stream.on('data', (chunk) => { size += chunk.length; });
      stream.on('end', () => respond(`${(headers.cookie ?? '').length} ${size}`));
    }
  }, { settings });
  return Object.assign(backend, { held, release: () => { for (const respond of [...held]) respond('released'); } });
}

async function start(t, limits, { settings, timeouts = '', listeners = '', rest = '', under } = {}) {
  const backend = await startHolding(t, settings);
  const plait = await startConfigured(t, configuration([backend], `[timeouts]\ndrain_ms = 2000\n${timeouts}\n[limits]\n${limits}\n${rest}`, listeners), [], { under });
  return { backend, plait };
}

const hold = (session, n, headers = {}) => Array.from({ length: n }, () => request(session, { ':path': '/held', ...headers }));
const works = async (t, plait) => {
  const answer = await request(connectH2(t, plait.port), { ':path': '/echo', ':method': 'POST' }, { body: 'x'.repeat(10_000) });
  assert.equal(answer.body, '0 10000', 'a new client is served afterwards');
};

test('exchanges: REFUSED_STREAM and 503', async (t) => {
  const { backend, plait } = await start(t, 'exchanges = 8\nmedium_header_blocks = 64\n');
  const session = connectH2(t, plait.port);
  const held = hold(session, 8);
  await eventually(() => backend.held.size === 8, 'all are held');
  const late = await request(session, { ':path': '/echo' });
  assert.equal(late.rstCode, errorCode.refused);
  backend.release();
  for (const answer of await Promise.all(held)) assert.equal(answer.body, 'released');
  const sockets = await Promise.all(Array.from({ length: 9 }, () => openRaw(t, plait.port)));
  for (const raw of sockets.slice(0, 8)) raw.write(get('/held'));
  await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'exchanges_http1' })) === 8, 'eight of HTTP/1.1');
  sockets[8].write(get('/echo'));
  await sockets[8].until(/^HTTP\/1\.1 503 /);
  assert.equal(await metric(plait, 'plait_requests_refused_total'), 2);
  assert.equal(await metric(plait, 'plait_requests_rejected_total', { reason: 'no_memory' }), 2);
  await eventually(() => {
    backend.release();
    return sockets.slice(0, 8).every((raw) => /released/.test(raw.text));
  }, 'HTTP/1.1 clients are answered');
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

// A client at one of the loopback network's addresses.
function connectH2From(t, plait, localAddress) {
  return connectH2(t, plait.port, { createConnection: () => net.connect({ port: plait.port, host: '127.0.0.1', localAddress }) });
}

test('exchanges, all that one address may hold: others are served, and get their share', async (t) => {
  const { backend, plait } = await start(t, 'exchanges = 128\nmedium_header_blocks = 256\n');
  const first = connectH2From(t, plait, '127.0.0.2');
  const greedy = hold(first, 126).concat(hold(connectH2From(t, plait, '127.0.0.2'), 20));
  await eventually(() => backend.held.size === 126, 'one address holds all but a sixty-fourth');
  assert.equal((await request(first, { ':path': '/echo' })).rstCode, errorCode.refused);
  for (let i = 3; i < 6; i += 1) {
    assert.equal((await request(connectH2From(t, plait, `127.0.0.${i}`), { ':path': '/echo' })).status, 200);
  }
  const http1 = await openRaw(t, plait.port);
  http1.write(get('/echo'));
  await http1.until(/^HTTP\/1\.1 200 /);
  backend.release();
  const answers = await Promise.all(greedy);
  assert.deepEqual(count(answers, (answer) => answer.status ?? 'refused'), { 200: 126, refused: 20 });
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

test('exchanges over HTTP/1.1, all that one client of a trusted proxy may hold: 503 for it alone', async (t) => {
  const { backend, plait } = await start(t, 'exchanges = 64\nmedium_header_blocks = 256\n', { rest: '[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n' });
  const from = (client, path) => `GET ${path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: ${client}\r\n\r\n`;
  const greedy = await Promise.all(Array.from({ length: 63 }, () => openRaw(t, plait.port)));
  for (const raw of greedy) raw.write(from('203.0.113.7', '/held'));
  await eventually(() => backend.held.size === 63, 'one client holds all but one');
  const late = await openRaw(t, plait.port);
  late.write(from('203.0.113.7', '/echo'));
  await late.until(/^HTTP\/1\.1 503 /);
  const other = await openRaw(t, plait.port);
  other.write(from('203.0.113.8', '/echo'));
  await other.until(/^HTTP\/1\.1 200 /);
  backend.release();
  for (const raw of greedy) await raw.until(/released/);
  await settled(plait, { connections: Infinity });
});

test('client connections, all of them busy: accepting pauses and goes on', async (t) => {
  const { backend, plait } = await start(t, 'client_connections = 4\nexchanges = 32\n');
  const busy = Array.from({ length: 4 }, () => connectH2(t, plait.port));
  const held = busy.flatMap((session) => hold(session, 1));
  await eventually(() => backend.held.size === 4, 'all connections are busy');
  const waiting = request(connectH2(t, plait.port), { ':path': '/echo' });
  await eventually(async () => (await metric(plait, 'plait_accept_pauses_total')) > 0, 'accepting pauses');
  assert.equal(await Promise.race([waiting, new Promise((resolve) => setTimeout(resolve, 300, 'waits'))]), 'waits');
  backend.release();
  await Promise.all(held);
  busy[0].close();
  assert.equal((await waiting).status, 200);
  assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 0);
});

test('client connections, all that one address may hold, and busy: others get one, and its next ones when some end', async (t) => {
  const { backend, plait } = await start(t, 'client_connections = 64\nexchanges = 128\n');
  const from = (last) => openRaw(t, plait.port, { localAddress: `127.0.1.${last}` });
  const greedy = await Promise.all(Array.from({ length: 80 }, () => from(1)));
  for (const raw of greedy) raw.write(get('/held'));
  await eventually(() => backend.held.size === 63, 'one address holds all but a sixty-fourth');
  // Now that there is another one its share is a half; that one's is what it can get.
  const other = await from(2);
  other.write(get('/echo'));
  await other.until(/^HTTP\/1\.1 200 /);
  other.socket.destroy();
  for (let i = 3; i < 10; i += 1) {
    const raw = await from(i);
    raw.write(get('/echo'));
    await raw.until(/^HTTP\/1\.1 200 /);
    raw.socket.destroy();
    await eventually(async () => (await metric(plait, 'plait_client_connections')) === 63, 'it has left');
  }
  assert.equal(await metric(plait, 'plait_accept_pauses_total'), 8, 'each was the last place');
  await eventually(() => {
    backend.release();
    for (const raw of greedy) if (/released/.test(raw.text)) raw.socket.destroy();
    return greedy.every((raw) => /released/.test(raw.text));
  }, 'those that waited are served when others of their address have left');
  assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 0);
  await settled(plait, { connections: Infinity });
});

test('client connections, most of them idle at one address: its idle ones leave for its next one, and nobody else’s', async (t) => {
  const { plait } = await start(t, 'client_connections = 64\nexchanges = 128\n');
  const from = async (last) => {
    const raw = await openRaw(t, plait.port, { localAddress: `127.0.1.${last}` });
    raw.write(get('/echo'));
    await raw.until(/0 0/);
    return raw;
  };
  const others = await Promise.all(Array.from({ length: 6 }, () => from(2)));
  const greedy = await Promise.all(Array.from({ length: 50 }, () => from(1)));
  assert.equal(await metric(plait, 'plait_client_connections_evicted_total'), 0);
  // The last eighth: each further one waits until an idle one has been so for a second, and has left.
  for (let i = 0; i < 5; i += 1) greedy.push(await from(1));
  assert.equal(await metric(plait, 'plait_client_connection_errors_total', { reason: 'evicted' }), 5);
  assert.equal(greedy.filter((raw) => raw.closed).length, 5);
  assert.equal(others.filter((raw) => raw.closed).length, 0);
  await settled(plait, { connections: Infinity });
});

test('client connections of a trusted proxy are not one address’s', async (t) => {
  const { backend, plait } = await start(t, 'client_connections = 64\nexchanges = 128\n', { rest: '[forwarding]\ntrusted_proxies = ["127.0.1.1"]\n' });
  const raws = await Promise.all(Array.from({ length: 63 }, () => openRaw(t, plait.port, { localAddress: '127.0.1.1' })));
  for (const raw of raws) raw.write(get('/held'));
  const other = await openRaw(t, plait.port, { localAddress: '127.0.1.2' });
  other.write(get('/held'));
  await eventually(() => backend.held.size === 64, 'all are in use');
  for (const raw of [...raws, other]) {
    backend.release();
    await raw.until(/released/);
  }
  assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 0);
  await settled(plait, { connections: Infinity });
});

test('streams to a backend: the queue, then 503', async (t) => {
  const { backend, plait } = await start(t, 'h2_connections_per_backend = 1\nstreams_per_upstream_connection = 4\n', { timeouts: 'queue_ms = 400' });
  const session = connectH2(t, plait.port);
  const held = hold(session, 4);
  await eventually(() => backend.held.size === 4, 'all streams are held');
  const late = await Promise.all(Array.from({ length: 20 }, () => request(session, { ':path': '/echo' })));
  assert.deepEqual(count(late, (answer) => answer.status), { 503: 20 });
  assert.ok(await metric(plait, 'plait_upstream_queue_waits_total') >= 20);
  backend.release();
  for (const answer of await Promise.all(held)) assert.equal(answer.body, 'released');
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

test('connections to backends: 503, and the place is taken by whoever needs it next', async (t) => {
  const backends = [await startHolding(t), await startHolding(t), await startHolding(t)];
  const plait = await startConfigured(t, configuration(backends, '[timeouts]\nqueue_ms = 300\n[limits]\nupstream_connections = 2\n'));
  const session = connectH2(t, plait.port);
  const answers = await Promise.all(Array.from({ length: 30 }, () => request(session, { ':path': '/echo' })));
  const seen = count(answers, (answer) => answer.status);
  assert.equal((seen[200] ?? 0) + (seen[503] ?? 0), 30, JSON.stringify(seen));
  assert.ok(seen[200] >= 10, JSON.stringify(seen));
  assert.equal((await peaks(plait)).upstream_connections, 2);
  await settled(plait, { connections: Infinity });
});

test('connections of HTTP/1.1 to one backend: the queue, then 503', async (t) => {
  const held = [];
  const backend = await startH1Backend(t, (incoming, response) => {
    if (incoming.url === '/held') held.push(response);
    else response.end('ok');
  });
  const plait = await startConfigured(t, configuration([backend], '[timeouts]\nqueue_ms = 400\n[limits]\nh1_connections_per_backend = 2\n'));
  const session = connectH2(t, plait.port);
  const waiting = hold(session, 2);
  await eventually(() => held.length === 2, 'both connections are in use');
  const late = await Promise.all(Array.from({ length: 10 }, () => request(session, { ':path': '/' })));
  assert.deepEqual(count(late, (answer) => answer.status), { 503: 10 });
  assert.ok(await metric(plait, 'plait_upstream_queue_waits_total') >= 10);
  assert.equal((await peaks(plait)).upstream_connections, 2);
  for (const response of held) response.end('released');
  for (const answer of await Promise.all(waiting)) assert.equal(answer.body, 'released');
  assert.equal((await request(session, { ':path': '/' })).body, 'ok');
  await settled(plait, { connections: Infinity });
});

test('memory for repeating: who has none left for its body is not repeated, and nothing else changes', async (t) => {
  // What is kept of a body is too little for any: a refusal reaches the client then, and the same request without a body is repeated.
  const refusals = { left: 0 };
  const backend = await startH2Backend(t, (stream) => {
    if (refusals.left > 0) {
      refusals.left -= 1;
      stream.on('error', () => {});
      stream.close(errorCode.refused);
      return;
    }
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
  });
  const plait = await startConfigured(t, configuration([backend], '[limits]\nreplay_bytes = 0\n'));
  const session = connectH2(t, plait.port);
  assert.equal((await request(session, { ':path': '/' })).body, 'ok');
  refusals.left = 1;
  assert.equal((await request(session, { ':path': '/' })).body, 'ok', 'what has no body needs no memory');
  assert.equal(await metric(plait, 'plait_retries_total', { class: 'unprocessed' }), 1);
  refusals.left = 1;
  const refused = await request(session, { ':path': '/', ':method': 'POST' }, { body: 'x'.repeat(5000) });
  assert.deepEqual([refused.status, refused.rstCode], [undefined, errorCode.refused], 'the refusal is told, so that the client may repeat it');
  assert.equal(await metric(plait, 'plait_retries_total', { class: 'unprocessed' }), 1);
  assert.equal((await request(session, { ':path': '/', ':method': 'POST' }, { body: 'x'.repeat(5000) })).body, 'ok');
  await settled(plait, { connections: Infinity });
});

// Clients that ask for /big and read nothing of it, two responses each.
function readNothing(t, plait, count) {
  const open = frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(32 << 20)]));
  const block = headerBlock([[':method', 'GET'], [':scheme', 'http'], [':path', '/big'], [':authority', 'a']]);
  return Array.from({ length: count }, () => {
    const socket = net.connect(plait.port, '127.0.0.1');
    defer(t, () => socket.destroy());
    socket.on('error', () => {});
    socket.pause();
    socket.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), open, frame(frameType.windowUpdate, 0, 0, uint32(64 << 20)), ...[1, 3].map((id) => frame(frameType.headers, 5, id, block))]));
    return socket;
  });
}

test('stream blocks: where windows towards backends are large nobody is cut short by those who do not read', async (t) => {
  const { plait } = await start(t, 'exchanges = 64\nburst_pool_bytes = 0\nupstream_stream_window = 1048576\n');
  const slow = readNothing(t, plait, 12);
  const used = () => metric(plait, 'plait_slab_used', { slab: 'stream_blocks' });
  let seen = 0;
  await eventually(async () => seen === (seen = await used()) && seen > 24 * 100, 'the slow ones fill their windows and stand still');
  const answers = await Promise.all(Array.from({ length: 4 }, () => request(connectH2(t, plait.port), { ':path': '/big' })));
  assert.deepEqual(answers.map((answer) => answer.body.length), Array(4).fill(384 << 16));
  for (const socket of slow) socket.destroy();
  await settled(plait, { connections: Infinity });
});

test('send blocks and stream blocks: who does not read waits, others go on', async (t) => {
  const { plait } = await start(t, 'send_blocks = 64\nexchanges = 64\nburst_pool_bytes = 0\nclient_connections = 38\nupstream_connections = 4\n');
  const slow = readNothing(t, plait, 24);
  const used = (slab) => metric(plait, 'plait_slab_used', { slab });
  // The last ones are the backends'.
  await eventually(async () => (await used('send_blocks')) >= 24, 'the slow ones hold a block each');
  const session = connectH2(t, plait.port);
  for (let i = 0; i < 20; i += 1) {
    const answer = await request(session, { ':path': '/echo', ':method': 'POST' }, { body: 'x'.repeat(3000) });
    assert.equal(answer.body, '0 3000');
  }
  for (const socket of slow) socket.destroy();
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

test('memory for uploads: their clients wait, others go on', async (t) => {
  const { backend, plait } = await start(t, 'upload_pool_bytes = 1048576\nexchanges = 128\n', { settings: { initialWindowSize: 0 } });
  const piece = 'u'.repeat(60_000);
  const uploads = Array.from({ length: 40 }, () => request(connectH2(t, plait.port), { ':path': '/unread', ':method': 'POST' }, { body: piece }));
  await eventually(async () => (await metric(plait, 'plait_upload_pauses_total')) > 0, 'uploads pause');
  const answer = await request(connectH2(t, plait.port), { ':path': '/echo' });
  assert.equal(answer.body, '0 0', 'who uploads nothing is served');
  await eventually(() => {
    backend.release();
    return metric(plait, 'plait_slab_used', { slab: 'exchanges_http2' }).then((used) => used === 0);
  }, 'all uploads end');
  const ended = await metric(plait, 'plait_client_stream_errors_total', { reason: 'stuck_upload' });
  const statuses = count(await Promise.all(uploads), (one) => one.status);
  assert.deepEqual({ ...statuses, 408: statuses[408] ?? 0 }, { 200: 40 - ended, 408: ended }, 'those that were stuck for a second may be ended, and no others');
  await settled(plait, { connections: Infinity });
});

test('header blocks: requests with large heads are refused, small and fragmented ones go on', async (t) => {
  const { backend, plait } = await start(t, 'exchanges = 256\nmedium_header_blocks = 16\nlarge_header_blocks = 16\n');
  const hoarders = Array.from({ length: 4 }, () => connectH2(t, plait.port));
  const held = [...hoarders.flatMap((session) => hold(session, 15, { cookie: 'c'.repeat(20_000) })), ...hoarders.flatMap((session) => hold(session, 15, { cookie: 'c'.repeat(4000) }))];
  const ended = Promise.all(held);
  await eventually(async () => (await metric(plait, 'plait_requests_refused_total')) > 0 && backend.held.size > 0, 'some are refused');
  const small = await request(connectH2(t, plait.port), { ':path': '/echo' });
  assert.equal(small.body, '0 0');
  // A head that comes in two parts needs memory while it is not whole.
  const raw = net.connect(plait.port, '127.0.0.1');
  defer(t, () => raw.destroy());
  raw.on('error', () => {});
  let received = Buffer.alloc(0);
  raw.on('data', (chunk) => { received = Buffer.concat([received, chunk]); });
  const head = frame(frameType.headers, 5, 1, headerBlock([[':method', 'GET'], [':scheme', 'http'], [':path', '/echo'], [':authority', 'a'], ['x-long', 'v'.repeat(120)], ['y-long', 'v'.repeat(120)]]));
  raw.setNoDelay(true);
  raw.write(Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(frameType.settings, 0, 0), head.subarray(0, 100)]));
  await eventually(() => received.length > 0, 'plait greets');
  await new Promise((resolve) => setTimeout(resolve, 100));
  raw.write(head.subarray(100));
  await eventually(() => received.includes('0 0'), `the fragmented request is answered: ${received.toString('latin1')}`);
  await eventually(() => {
    backend.release();
    return Promise.race([ended.then(() => true), new Promise((resolve) => setTimeout(resolve, 10, false))]);
  }, 'all have ended');
  const outcomes = count(await ended, (answer) => (answer.status ?? `RST ${answer.rstCode}`));
  assert.deepEqual(Object.keys(outcomes).filter((key) => !['200', '503', 'RST 7'].includes(key)), [], JSON.stringify(outcomes));
  raw.destroy();
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

test('records, receive buffers and memory for TLS: handshakes fail or wait, and plait recovers', async (t) => {
  const { cert, key, pem } = await certificate(t);
  const { plait } = await start(t, 'record_blocks = 16\nreceive_buffers = 16\ntls_bytes_per_connection = 16384\ntls_handshakes = 100\nclient_connections = 250\nexchanges = 300\n', {
    listeners: `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n`, timeouts: 'client_header_ms = 1500',
  });
  const ca = pem.cert;
  // Handshakes that stop half way hold their memory.
  const stopped = Array.from({ length: 200 }, () => {
    const socket = net.connect(plait.tlsPort, '127.0.0.1');
    defer(t, () => socket.destroy());
    socket.on('error', () => {});
    socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]));
    return socket;
  });
  const sessions = Array.from({ length: 40 }, () => connectH2(t, plait.tlsPort, { ca }));
  const answers = await Promise.all(sessions.map((session) => request(session, { ':path': '/echo', ':method': 'POST' }, { body: 'y'.repeat(30_000) })));
  const good = answers.filter((answer) => answer.body === '0 30000').length;
  t.diagnostic(`${good} of 40 were served among 200 handshakes that stopped; ${await metric(plait, 'plait_tls_arena_refusals_total')} allocations were refused`);
  for (const socket of stopped) socket.destroy();
  for (const session of sessions) session.destroy();
  await eventually(async () => (await request(connectH2(t, plait.tlsPort, { ca }), { ':path': '/echo' })).status === 200, 'TLS is served afterwards');
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});

test('places for TLS handshakes: clients wait for theirs, and handshakes that stop make way', async (t) => {
  const { cert, key, pem } = await certificate(t);
  const { plait } = await start(t, 'tls_handshakes = 8\n', { listeners: `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n` });
  for (let i = 0; i < 20; i += 1) {
    const socket = net.connect(plait.tlsPort, '127.0.0.1');
    defer(t, () => socket.destroy());
    socket.on('error', () => {});
    socket.write(Buffer.from([22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]));
  }
  await eventually(async () => (await metric(plait, 'plait_tls_handshake_waits_total')) === 12, 'twelve of them wait');
  const sessions = Array.from({ length: 40 }, () => connectH2(t, plait.tlsPort, { ca: pem.cert }));
  const answers = await Promise.all(sessions.map((session) => request(session, { ':path': '/echo' })));
  assert.deepEqual([...new Set(answers.map((answer) => answer.status))], [200]);
  assert.equal(await metric(plait, 'plait_tls_handshake_waits_total'), 52);
  assert.ok((await metric(plait, 'plait_client_connection_errors_total', { reason: 'handshake_timeout' })) >= 16, 'those that stopped have made way');
  assert.equal(await metric(plait, 'plait_client_connection_errors_total', { reason: 'no_memory' }), 0, 'nobody was refused');
});

test('receive buffers: clients of HTTP/1.1 that wait for an answer hold none', async (t) => {
  const { cert, key, pem } = await certificate(t);
  const { backend, plait } = await start(t, 'receive_buffers = 16\nclient_connections = 250\nexchanges = 300\n', {
    listeners: `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n`,
  });
  // Over TLS and in the clear, and with a second request behind the first.
  const waiting = await Promise.all([plait.tlsPort, plait.port].flatMap((port) => Array.from({ length: 40 }, () => openRaw(t, port, port === plait.tlsPort ? { ca: pem.cert } : {}))));
  for (const raw of waiting) {
    raw.write(get('/held'));
    raw.write(get('/held'));
  }
  await eventually(() => backend.held.size === 80, 'all requests have arrived');
  await works(t, plait);
  for (const raw of waiting) raw.write(get('/held'));
  await works(t, plait);
  await eventually(() => {
    backend.release();
    return waiting.every((raw) => (raw.text.match(/released/g) ?? []).length === 3);
  }, 'all requests are answered');
  await settled(plait, { connections: Infinity });
});

test('the ring of the access log: lines are dropped and counted, requests are not', async (t) => {
  const { plait } = await start(t, 'access_ring_bytes = 65536\n', { rest: '[access_log]\nfile = "/dev/null"\n' });
  const session = connectH2(t, plait.port);
  let served = 0;
  await eventually(async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => request(session, { ':path': `/echo${i}?${'q'.repeat(3500)}` })));
    served += answers.filter((answer) => answer.status === 200).length;
    return (await metric(plait, 'plait_access_log_dropped_total', { reason: 'ring_full' })) > 0;
  }, 'lines are dropped');
  assert.equal(served % 100, 0);
  await settled(plait, { connections: 1 });
});

test('file descriptors: accepting pauses, who is connected is served, and all is well afterwards', async (t) => {
  // io_uring remembers the limit of the time when accepting began, so it holds from the start.
  const { plait } = await start(t, 'client_connections = 500\n', { under: ['prlimit', '--nofile=40:40'] });
  const session = connectH2(t, plait.port);
  assert.equal((await request(session, { ':path': '/echo' })).status, 200);
  const sockets = Array.from({ length: 60 }, () => {
    const socket = net.connect(plait.port, '127.0.0.1');
    defer(t, () => socket.destroy());
    socket.on('error', () => {});
    socket.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n');
    return socket;
  });
  // The admin listener has no descriptor left either, so the honest client is asked first.
  await new Promise((resolve) => setTimeout(resolve, 300));
  for (let i = 0; i < 20; i += 1) assert.equal((await request(session, { ':path': '/echo' })).status, 200);
  for (const socket of sockets) socket.destroy();
  await eventually(async () => (await metric(plait, 'plait_accept_pauses_total').catch(() => 0)) > 0, 'accepting had paused');
  await works(t, plait);
  await settled(plait, { connections: Infinity });
});
