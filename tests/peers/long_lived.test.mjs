// Streams of events and tunnels go on for as long as their ends like, whatever befalls the connection that
// they run on, and clients that leave take nothing from anybody else.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { configuration } from './lib/attack.mjs';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { ask, assertAllAre200, tally } from './lib/outages.mjs';
import { startConfigured } from './lib/plait.mjs';
import { eventually, within } from './lib/process.mjs';
import { errorCode, frameType, startRawH2Backend } from './lib/raw_h2.mjs';

const drain_ms = 400;
const tick_ms = 100;
// So many ticks take ten times drain_ms.
const manyTicks = 10 * drain_ms / tick_ms;

const start = (t, backend, timeouts = '', limits = '') => startConfigured(t, configuration([backend], `[timeouts]\ndrain_ms = ${drain_ms}\n${timeouts}\n[limits]\n${limits}\n`));

// So many ticks, for openRaw's `until`.
const ticks = (count) => ({ test: (text) => text.split('data: x').length > count, toString: () => `${count} ticks` });

function ticking(write, emitter) {
  const timer = setInterval(() => write('data: x\n\n'), tick_ms);
  emitter.on('close', () => clearInterval(timer));
}

// /events ticks for ever, /never gets no answer, /held is answered when `release` is called, anything else at once.
async function startTicking(t, { onEvents = () => {} } = {}) {
  const state = { events: 0, never: [], resets: [], held: [] };
  const backend = await startH2Backend(t, (stream, fields) => {
    const path = fields[':path'];
    if (path === '/never') {
      state.never.push(stream);
      stream.on('close', () => state.resets.push(stream.rstCode));
      return;
    }
    if (path === '/held') return state.held.push(stream);
    stream.respond({ ':status': 200 });
    if (path !== '/events') return stream.end('ok');
    state.events += 1;
    ticking((text) => stream.write(text), stream);
    onEvents(stream);
  });
  state.release = () => {
    for (const stream of state.held.splice(0)) {
      if (stream.destroyed) continue;
      stream.respond({ ':status': 200 });
      stream.end('ok');
    }
  };
  return Object.assign(backend, state, { state });
}

// One client's stream of events; `ticks` counts them.
function watch(t, port) {
  const seen = { ticks: 0, ended: undefined };
  const stream = connectH2(t, port).request({ ':path': '/events' });
  seen.stream = stream;
  stream.on('data', () => { seen.ticks += 1; });
  stream.on('error', () => {});
  stream.on('close', () => { seen.ended = stream.rstCode; });
  return seen;
}

async function runsOn(streams, what) {
  const goal = streams.map(({ ticks }) => ticks + manyTicks);
  await eventually(() => {
    const ended = streams.find((one) => one.ended !== undefined);
    if (ended !== undefined) throw new Error(`${what}: a stream ended with code ${ended.ended} after ${ended.ticks} ticks`);
    return streams.every(({ ticks }, i) => ticks >= goal[i]);
  }, what, 30 * drain_ms);
}

async function begins(...streams) {
  await eventually(() => streams.every(({ ticks }) => ticks > 0), 'events come');
}

// One request over a connection that is closed before the answer.
async function leave(t, port, backend) {
  const before = backend.state.never.length;
  const client = await openRaw(t, port);
  client.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(() => backend.state.never.length > before, 'the request has come to the backend');
  client.socket.destroy();
}

const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';

// A backend that takes tunnels, says "tick" in each again and again, and answers everything else.
async function startTunnels(t, { silent = false } = {}) {
  const backend = await startH1Backend(t, (incoming, response) => {
    if (incoming.url === '/never') {
      backend.never += 1;
      incoming.socket.on('close', () => { backend.left += 1; });
      return;
    }
    response.end('ok');
  });
  Object.assign(backend, { tunnels: 0, never: 0, left: 0 });
  backend.server.on('upgrade', (incoming, socket) => {
    backend.tunnels += 1;
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    if (!silent) ticking((text) => socket.write(text), socket);
    socket.on('end', () => socket.end());
  });
  return backend;
}

describe('a stream of events runs on for many times drain_ms', { concurrency: 4 }, () => {
  test('when another client leaves its request on the same connection', async (t) => {
    const backend = await startTicking(t);
    const plait = await start(t, backend);
    const events = watch(t, plait.port);
    await begins(events);
    await leave(t, plait.port, backend);
    await eventually(() => backend.state.resets.length === 1, 'the backend hears that the client has left');
    await runsOn([events], 'after a client has left');
    assert.deepEqual(backend.state.resets, [errorCode.cancel]);
  });

  test('when a burst that made connections necessary is over, and they are looked at again', async (t) => {
    const backend = await startTicking(t);
    const plait = await start(t, backend, 'shrink_ms = 200', 'streams_per_upstream_connection = 8');
    const streams = [];
    for (let i = 0; i < 3; i += 1) {
      const client = connectH2(t, plait.port);
      const burst = Array.from({ length: 10 }, () => request(client, { ':path': '/held' }));
      await eventually(() => backend.state.held.length === 10, 'the backend holds the burst');
      streams.push(watch(t, plait.port));
      await begins(streams.at(-1));
      backend.state.release();
      assertAllAre200(await Promise.all(burst));
    }
    assert.ok(backend.opened > 1, 'there were several connections');
    await runsOn(streams, 'after the burst');
  });

  test('when it and another are spread over two connections, and one would do', async (t) => {
    const backend = await startTicking(t);
    const plait = await start(t, backend, 'shrink_ms = 200', 'streams_per_upstream_connection = 16');
    const first = watch(t, plait.port);
    await begins(first);
    const client = connectH2(t, plait.port);
    const burst = [];
    await eventually(() => {
      if (backend.opened > 1) return true;
      if (burst.length < 15) burst.push(request(client, { ':path': '/held' }));
      return false;
    }, 'a second connection is made');
    const second = watch(t, plait.port);
    await begins(second);
    await eventually(() => backend.state.held.length === burst.length, 'the backend holds the burst');
    backend.state.release();
    assertAllAre200(await Promise.all(burst));
    await runsOn([first, second], 'after the burst');
  });

  test('when the backend says GOAWAY, and new requests go by another connection', async (t) => {
    const backend = await startTicking(t, { onEvents: (stream) => setTimeout(() => stream.session?.goaway(0), 200) });
    const plait = await start(t, backend);
    const events = watch(t, plait.port);
    await begins(events);
    await eventually(async () => {
      assert.equal((await ask(plait.port)).status, 200);
      return backend.opened > 1;
    }, 'a new connection is made for new requests');
    await runsOn([events], 'after GOAWAY');
  });

  test('when its connection has reached its age', async (t) => {
    const backend = await startTicking(t);
    const plait = await start(t, backend, 'connection_age_ms = 300');
    const events = watch(t, plait.port);
    await begins(events);
    await eventually(async () => {
      assert.equal((await ask(plait.port)).status, 200);
      return backend.opened > 1;
    }, 'a new connection is made for new requests');
    await runsOn([events], 'after its age');
  });

  test('when another client resets hundreds of requests', async (t) => {
    const backend = await startTicking(t);
    const plait = await start(t, backend);
    const events = watch(t, plait.port);
    await begins(events);
    const other = connectH2(t, plait.port);
    for (let round = 0; round < 10; round += 1) {
      const streams = Array.from({ length: 50 }, () => other.request({ ':path': '/never' }));
      for (const stream of streams) stream.on('error', () => {});
      await eventually(() => backend.state.never.length >= 50 * (round + 1), 'the requests have come to the backend');
      for (const stream of streams) stream.close(errorCode.cancel);
    }
    await eventually(() => backend.state.resets.length === 500, 'the backend hears of each');
    await runsOn([events], 'after 500 resets');
  });

  test('over HTTP/1.1 on both sides, while others leave', async (t) => {
    const backend = await startH1Backend(t, (incoming, response) => {
      if (incoming.url !== '/events') return;
      response.writeHead(200);
      ticking((text) => response.write(text), response);
    });
    const plait = await start(t, backend);
    const client = await openRaw(t, plait.port);
    client.write('GET /events HTTP/1.1\r\nHost: a\r\n\r\n');
    await client.until(/data: x/);
    const leaving = await openRaw(t, plait.port);
    leaving.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually(() => backend.opened === 2, 'the request has come to the backend');
    leaving.socket.destroy();
    await eventually(() => backend.sockets.size === 1, 'the connection of the client that left is closed');
    await client.until(ticks(manyTicks));
  });
});

test('a tunnel runs on for many times drain_ms', async (t) => {
  const backend = await startTunnels(t);
  const plait = await start(t, backend);
  const client = await openRaw(t, plait.port);
  client.write(upgrade);
  await client.until(ticks(manyTicks));
  assert.match(client.text, /^HTTP\/1\.1 101 /);
});

test('a tunnel in which nothing is said lives on for many times drain_ms, and still carries what is said then', async (t) => {
  const backend = await startTunnels(t, { silent: true });
  let inside;
  backend.server.on('upgrade', (incoming, socket) => { inside = socket; });
  const plait = await start(t, backend);
  const [silent, timing] = [await openRaw(t, plait.port), await startTicking(t)];
  silent.write(upgrade);
  await silent.until(/101 Switching/);
  // A stream of another plait tells the time.
  const other = await start(t, timing);
  const events = watch(t, other.port);
  await begins(events);
  await eventually(() => silent.closed || events.ticks > manyTicks, 'time passes');
  assert.equal(silent.closed, false, 'the tunnel is still there');
  inside.write('hello');
  await silent.until(/hello/);
});

test('clients that leave take no connection to an HTTP/2 backend with them, however many they are', async (t) => {
  const backend = await startTicking(t);
  const plait = await startConfigured(t, configuration([backend], '[limits]\nupstream_connections = 8\n'));
  const events = watch(t, plait.port);
  await begins(events);
  for (let i = 0; i < 40; i += 1) await leave(t, plait.port, backend);
  await eventually(() => backend.state.resets.length === 40, 'the backend hears of each');
  assert.deepEqual(tally(backend.state.resets.map((status) => ({ status }))), { [errorCode.cancel]: 40 });
  assert.ok(backend.opened <= 2, `${backend.opened} connections were made`);
  assertAllAre200([await ask(plait.port), await ask(plait.port)]);
  const before = events.ticks;
  await eventually(() => events.ticks > before + 3, 'the events go on');
  assert.equal(events.ended, undefined);
});

test('a client that leaves closes the HTTP/1.1 connection that its request has, and no other', async (t) => {
  const backend = await startTunnels(t);
  const plait = await startConfigured(t, configuration([backend], '[limits]\nupstream_connections = 8\n'));
  for (let i = 0; i < 24; i += 1) {
    const client = await openRaw(t, plait.port);
    client.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\n');
    await eventually(() => backend.never === i + 1, 'the request has come to the backend');
    client.socket.destroy();
    await eventually(() => backend.left === i + 1, 'its connection is closed');
  }
  assertAllAre200([await ask(plait.port), await ask(plait.port)]);
});

test('idle tunnels hold at most half of the connections to backends: the next one is told so, and requests do not wait', async (t) => {
  const backend = await startTunnels(t, { silent: true });
  const plait = await startConfigured(t, configuration([backend], '[limits]\nupstream_connections = 8\n[timeouts]\nqueue_ms = 2000\n'));
  const answers = [];
  for (let i = 0; i < 8; i += 1) {
    const client = await openRaw(t, plait.port);
    client.write(upgrade);
    await client.until(/\r\n\r\n/);
    answers.push(client);
  }
  const gets = await Promise.all([0, 1, 2].map(() => ask(plait.port)));
  assertAllAre200(gets, 'a GET beside the tunnels is answered');
  assert.ok(gets.every(({ ms }) => ms < 1_000), `at once: ${gets.map(({ ms }) => Math.round(ms))} ms`);
  const opened = answers.filter(({ text }) => text.startsWith('HTTP/1.1 101 '));
  assert.equal(opened.length, 4);
  assert.equal(backend.tunnels, 4);
  for (const refused of answers.slice(4)) {
    assert.match(refused.text, /^HTTP\/1\.1 503 /);
    await refused.until(/\r\n\r\n[^]*tunnel/i);
  }
  opened[0].socket.destroy();
  await eventually(async () => {
    const client = await openRaw(t, plait.port);
    client.write(upgrade);
    await client.until(/\r\n\r\n/);
    return client.text.startsWith('HTTP/1.1 101 ');
  }, 'the place of a tunnel that has ended is given to the next');
});

for (const what of ['a stream of events', 'a tunnel']) {
  test(`at SIGTERM ${what} keeps the process for drain_ms and no longer`, async (t) => {
    const backend = what === 'a tunnel' ? await startTunnels(t) : await startTicking(t);
    const plait = await start(t, backend);
    let ended = false;
    if (what === 'a tunnel') {
      const client = await openRaw(t, plait.port);
      client.socket.on('close', () => { ended = true; });
      client.write(upgrade);
      await client.until(/data: x/);
    } else {
      const events = watch(t, plait.port);
      events.stream.on('close', () => { ended = true; });
      await begins(events);
    }
    assert.equal(await within(10 * drain_ms, plait.stop(), 'plait ends'), 0);
    await eventually(() => ended, 'the client sees the end');
  });
}

test('the only stream of a connection whose client leaves is cancelled, and the connection serves the next one; idle, it ends with GOAWAY', async (t) => {
  const seen = [];
  const backend = await startRawH2Backend(t, {
    request(connection, stream) {
      seen.push(`request on ${connection.id ??= backend.opened}`);
      if (seen.length > 1) connection.headers(stream, 200, [], true);
    },
    frame(connection, type, flags, stream, payload) {
      if (type === frameType.reset) seen.push(`reset ${payload.readUInt32BE(0)}`);
      if (type === frameType.goaway) seen.push(`goaway ${payload.readUInt32BE(4)}`);
    },
    open(connection) { connection.socket.on('end', () => seen.push('end')); },
  });
  const plait = await start(t, backend, 'upstream_idle_ms = 3000');
  const leaver = connectH2(t, plait.port);
  const gone = leaver.request({ ':path': '/' });
  gone.on('error', () => {});
  await eventually(() => seen.length === 1, 'the request has arrived');
  leaver.destroy();
  await eventually(() => seen.length === 2, 'it is taken back');
  assert.equal((await ask(plait.port)).status, 200);
  await eventually(() => seen.includes('end'), 'the connection is idle for too long');
  assert.deepEqual(seen, ['request on 1', `reset ${errorCode.cancel}`, 'request on 1', `goaway ${errorCode.none}`, 'end']);
});

test('a connection of HTTP/1.1 is given up before the backend closes it, as its Keep-Alive says', async (t) => {
  const ended = [];
  const backend = await startRawBackend(t, (socket, state) => {
    const number = state.opened;
    socket.on('error', () => {});
    socket.on('end', () => ended.push(number));
    socket.on('data', (chunk) => {
      const seconds = chunk.includes('/soon') ? 1 : 2;
      socket.write(`HTTP/1.1 200 OK\r\nKeep-Alive: max=100, timeout=${seconds}\r\nContent-Length: 2\r\n\r\nok`);
    });
  });
  const plait = await start(t, backend);
  const session = connectH2(t, plait.port);
  for (const path of ['/', '/', '/soon', '/']) assert.equal((await request(session, { ':path': path })).body, 'ok');
  assert.equal(backend.opened, 2, 'where no second is left over no further request is sent');
  await eventually(() => ended.length === 2, 'plait closes both');
});
