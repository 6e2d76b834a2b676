// Peers that do little and hold much: slow heads, bodies, handshakes and readers, and those who only take up room.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import test from 'node:test';
import { endure, startAttack, startTarget, startTargeted, latency, settled } from './lib/attack.mjs';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { metric } from './lib/plait.mjs';
import { connectionsTo, eventually } from './lib/process.mjs';
import { errorCode, frame, frameType, startRawH2Backend } from './lib/raw_h2.mjs';

const hasty = '[timeouts]\nclient_header_ms = 400\nstall_ms = 400\n';
const streams = 'plait_client_stream_errors_total';

test('slow clients', async (t) => {
  const backend = await startTarget(t);
  const { cert, key } = await certificate(t);
  const plait = await startTargeted(t, [backend], hasty, `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n`);
  const honest = connectH2(t, plait.port);
  const cases = [
    ['heads of HTTP/1.1 that never end get 408', 'slowHeaders', { reason: 'header_timeout', counter: 'plait_requests_rejected_total' }, (seen) => seen.statuses[408] > 0],
    ['header blocks of HTTP/2 that never end lose the connection', 'slowHeadersH2', { reason: 'header_timeout' }, (seen) => seen.closed > 0],
    ['bodies of HTTP/1.1 that trickle get 408', 'slowBody', { reason: 'body_timeout', counter: streams }, (seen) => seen.statuses[408] > 0],
    ['bodies of HTTP/2 that trickle are reset', 'slowBodyH2', { reason: 'body_timeout', counter: streams }, (seen) => seen.resets[errorCode.cancel] > 0],
    ['windows that stay closed cost the streams', 'zeroWindow', { reason: 'window_timeout', counter: streams }, (seen) => seen.resets[errorCode.cancel] > 0],
    ['windows that open by a trickle cost the streams', 'trickledWindow', { reason: 'window_timeout', counter: streams }, (seen) => seen.resets[errorCode.cancel] > 0],
    ['requests that grow out of few bytes and are not taken (cookie bomb) cost the streams', 'cookieBomb', { reason: 'window_timeout', counter: streams }, (seen) => seen.resets[errorCode.cancel] > 0],
    ['answers to PING that are not read cost the connection', 'unreadPings', { reason: 'frame_flood' }, (seen) => seen.bytes > 0],
    ['TLS handshakes that never end are closed', 'slowHandshake', { reason: 'handshake_timeout' }, (seen) => seen.closed > 0],
    ['TLS handshakes that are none are closed', 'brokenHandshake', { reason: 'tls_failed' }, (seen) => seen.closed > 0],
  ];
  for (const [name, attack, options, holds] of cases) {
    await t.test(name, async (sub) => {
      const seen = await endure(sub, plait, attack, { connections: 4, ms: 900, honest, ...options });
      assert.ok(holds(seen), JSON.stringify(seen));
    });
  }
});

test('a client that does not read a backend’s response over HTTP/1.1 is blamed for it, and the backend is not', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end(Buffer.alloc(24 << 20)));
  const plait = await startTargeted(t, [backend], hasty);
  const raw = await openRaw(t, plait.port);
  raw.socket.pause();
  raw.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(async () => (await metric(plait, 'plait_client_connection_errors_total', { reason: 'not_reading' })) === 1, 'the client is blamed', 30_000);
  await settled(plait, { connections: 0 });
  assert.equal(await metric(plait, 'plait_upstream_connection_errors_total'), 0);
  assert.doesNotMatch(plait.stderr(), / backend /);
});

test('a backend that could not go on while its client did not read gets its time anew when the client does', async (t) => {
  const sent = Buffer.alloc(256 << 10, 'x');
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    // More than the client's window, less than what plait takes besides.
    stream.write(sent.subarray(0, 80 << 10));
    setTimeout(() => stream.end(sent.subarray(80 << 10)), 1400);
  });
  const plait = await startTargeted(t, [backend], '[timeouts]\nstream_idle_ms = 1000\n');
  const stream = connectH2(t, plait.port).request({ ':path': '/' });
  const chunks = [];
  await once(stream, 'response');
  // Some of it waits in plait for most of the time that a backend may be silent.
  await new Promise((resolve) => setTimeout(resolve, 900));
  for await (const chunk of stream) chunks.push(chunk);
  assert.equal(stream.rstCode, 0);
  assert.ok(Buffer.concat(chunks).equals(sent));
  assert.equal(await metric(plait, 'plait_upstream_stream_errors_total'), 0);
});

test('idle connections that take up every place make way for a client that comes', async (t) => {
  const backend = await startTarget(t);
  const plait = await startTargeted(t, [backend], '[limits]\nclient_connections = 200\n');
  const running = await startAttack(t, plait, 'idle', { connections: 300 });
  await eventually(() => connectionsTo(plait.port) >= 300, 'the hoarders have connected');
  await eventually(async () => (await metric(plait, 'plait_client_connections_evicted_total')) > 0, 'idle ones are evicted');
  const p99 = await latency(connectH2(t, plait.port), { least: 100 });
  t.diagnostic(`a new client's p99 among 300 hoarders of 200 places: ${p99.toFixed(1)} ms`);
  const raw = await openRaw(t, plait.port);
  raw.write('GET /honest HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(await raw.ended(), /200 OK/);
  assert.match(plait.stderr(), /evicted: /);
  assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 0, 'those that came too late have waited');
  await running.stop();
  await settled(plait, { connections: 1 });
});

// A backend at the end of a slow wire: it answers each GET by one frame that comes in pieces, and what else it has to say, as
// the answers to PINGs, waits until the frame has gone. `stops` after so many pieces.
async function startSlowWire(t, { pieces, pauseMs, stops = pieces }) {
  const content = Buffer.alloc(1000 * pieces, 'x');
  const state = { content, pings: 0 };
  const backend = await startRawH2Backend(t, {
    open(connection) {
      const send = connection.send.bind(connection);
      connection.send = (...frames) => (connection.waiting ? connection.waiting.push(...frames) : send(...frames));
    },
    frame(connection, type, flags) {
      if (type === frameType.ping && !(flags & 1)) state.pings += 1;
    },
    async request(connection, stream) {
      connection.headers(stream, 200);
      const whole = frame(frameType.data, 1, stream, content);
      connection.waiting = [];
      for (let i = 0; i < stops; ++i) {
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        const end = i + 1 === pieces ? whole.length : 1000 * (i + 1);
        connection.socket.write(whole.subarray(1000 * i, end));
      }
      if (stops !== pieces) return;
      const late = connection.waiting;
      connection.waiting = null;
      connection.send(...late);
    },
  });
  return Object.assign(state, { url: backend.url });
}

const watchful = '[timeouts]\nping_ms = 150\nping_answer_ms = 1000\n';

test('a backend whose answer to a PING waits behind a frame that takes long on its wire is alive', async (t) => {
  const backend = await startSlowWire(t, { pieces: 10, pauseMs: 300 });
  const plait = await startTargeted(t, [backend], watchful);
  const session = connectH2(t, plait.port);
  for (let i = 0; i < 2; ++i) {
    const { status, body } = await request(session, { ':path': '/' });
    assert.equal(status, 200);
    assert.equal(body.length, backend.content.length);
  }
  assert.ok(backend.pings >= 1, 'plait has asked');
  assert.equal(await metric(plait, 'plait_upstream_connection_errors_total'), 0);
  assert.doesNotMatch(plait.stderr(), / backend /);
});

test('a backend whose wire stands still in the middle of a frame is given up', async (t) => {
  const backend = await startSlowWire(t, { pieces: 10, pauseMs: 300, stops: 5 });
  const plait = await startTargeted(t, [backend], watchful);
  const { rstCode } = await request(connectH2(t, plait.port), { ':path': '/' });
  assert.equal(rstCode, errorCode.internal);
  assert.ok(backend.pings >= 1, 'plait has asked');
  assert.equal(await metric(plait, 'plait_upstream_connection_errors_total', { reason: 'ping_timeout' }), 1);
});
