// Backends that hang, vanish, refuse, break off or fail, one of several or for one request alone: the others carry on, and
// nothing is done twice.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { configuration } from './lib/attack.mjs';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { answer, startH1WireBackend } from './lib/h1_wire.mjs';
import { ask, assertAllAre200, doubled, startChildBackend, startLoad, stopBackend, swallowSyns, tally } from './lib/outages.mjs';
import { startConfigured } from './lib/plait.mjs';
import { eventually, freePort } from './lib/process.mjs';
import { errorCode, startRawH2Backend } from './lib/raw_h2.mjs';

const start = (t, backends, lines = '') => startConfigured(t, configuration(backends, lines));
const startBackend = { h2c: startH2Backend, http: startH1Backend };

// A backend of either protocol whose `respond(path, fields, method)` says a status; it counts what it was asked.
async function startCounting(t, protocol, respond) {
  const state = { asked: 0, well: 0 };
  const note = (path, fields, method) => {
    const status = respond(path, fields, method, state);
    state.asked += 1;
    if (status === 200) state.well += 1;
    return status;
  };
  const backend = protocol === 'h2c'
    ? await startH2Backend(t, (stream, fields) => {
      stream.resume();
      stream.respond({ ':status': note(fields[':path'], fields, fields[':method']) });
      stream.end('ok');
    })
    : await startH1Backend(t, (incoming, response) => {
      incoming.resume();
      response.writeHead(note(incoming.url, incoming.headers, incoming.method));
      response.end('ok');
    });
  return Object.assign(state, { url: backend.url, backend });
}

// One request after the other, each on a connection of its own.
async function inTurn(count, port, options = {}) {
  const answers = [];
  for (let i = 0; i < count; i += 1) answers.push(await ask(port, options));
  return answers;
}

async function startIdle(t, protocol) {
  if (protocol === 'h2c') return startRawH2Backend(t, {});
  return startRawBackend(t, (socket) => socket.resume());
}

describe('one of several backends fails', { concurrency: 2 }, () => {
  for (const protocol of ['h2c', 'http']) {
    test(`a backend that stops (SIGSTOP) holds its clients up for a moment alone, and is used again when it goes on: ${protocol}`, async (t) => {
      const backends = await Promise.all([0, 1, 2].map(() => startChildBackend(t, protocol)));
      const plait = await start(t, backends, '[timeouts]\nresponse_head_ms = 1500\nconnect_ms = 1000\nping_ms = 1000\nping_answer_ms = 500\n');
      const load = startLoad(t, plait.port);
      await load.eachGets(10, 'all are well');
      await stopBackend(backends[1]);
      await load.eachGets(5, 'nobody is held by the stopped one for long', 15_000);
      await load.eachGets(50, 'the other two carry everything', 15_000);
      backends[1].child.kill('SIGCONT');
      const before = await backends[1].count();
      await eventually(async () => (await backends[1].count()) > before + 40, 'the backend that goes on is used again', 30_000);
      await load.stop();
      assertAllAre200(load.answers, 'no GET fails');
    });

    test(`a backend whose SYNs are swallowed from the start delays nobody, and is used when it can be reached: ${protocol}`, async (t) => {
      const [lost, well] = [await startChildBackend(t, protocol, { backlog: 1 }), await startChildBackend(t, protocol)];
      await swallowSyns(t, lost);
      // While its queue of one overflows, the kernel takes connections for open that it does not accept.
      const plait = await start(t, [lost, well], '[timeouts]\nresponse_head_ms = 5000\n');
      const load = startLoad(t, plait.port, { clients: 40, breath_ms: 20 });
      await load.eachGets(20, 'the other one carries everything', 6_000);
      assertAllAre200(load.answers);
      const slowest = Math.max(...load.answers.map(({ ms }) => ms));
      assert.ok(slowest < 2_000, `nobody waits for a connection that does not come while another backend is free; the slowest took ${slowest} ms`);
      lost.child.kill('SIGCONT');
      const before = await lost.count();
      await eventually(async () => (await lost.count()) > before + 20, 'the backend is used once it can be reached', 30_000);
      await load.stop();
      assertAllAre200(load.answers);
    });

    test(`a backend whose SYNs are swallowed after it has worked delays nobody for long, and comes back: ${protocol}`, async (t) => {
      const [lost, well] = [await startChildBackend(t, protocol, { backlog: 1 }), await startChildBackend(t, protocol)];
      const plait = await start(t, [lost, well], '[timeouts]\nresponse_head_ms = 1500\nping_ms = 1000\nping_answer_ms = 500\n');
      const load = startLoad(t, plait.port, { clients: 40, breath_ms: 20 });
      await load.eachGets(5, 'both are well');
      await swallowSyns(t, lost);
      await load.eachGets(3, 'nobody is held for long', 6_000);
      await load.eachGets(30, 'the other one carries everything', 6_000);
      lost.child.kill('SIGCONT');
      const before = await lost.count();
      await eventually(async () => (await lost.count()) > before + 20, 'the backend is used once it can be reached', 30_000);
      await load.stop();
      assertAllAre200(load.answers);
    });

    test(`a backend that answers 503 to everybody loses its share of the requests, and gets it back when it is well: ${protocol}`, async (t) => {
      let sick = false;
      const backends = [
        await startCounting(t, protocol, () => (sick ? 503 : 200)), await startCounting(t, protocol, () => 200), await startCounting(t, protocol, () => 200),
      ];
      const plait = await start(t, backends);
      const load = startLoad(t, plait.port);
      await load.eachGets(20, 'all are well');
      // One whose first answer was slow gets few requests at first.
      await eventually(() => backends.every(({ asked }) => asked > 50), 'each is used');
      sick = true;
      await load.eachGets(20, 'the first 503s are seen');
      const [asked, all] = [backends[0].asked, load.answers.length];
      await load.eachGets(60, 'the others go on');
      const share = (backends[0].asked - asked) / (load.answers.length - all);
      assert.ok(share < 0.05, `the failing one gets ${(100 * share).toFixed(1)} % of the requests`);
      sick = false;
      const [well, failed] = [backends[0].well, load.failed().length];
      await eventually(() => backends[0].well > well + 100, 'the backend that is well again gets requests again', 40_000);
      assert.equal(load.failed().length, failed, 'its return costs nobody an answer');
      await load.stop();
    });
  }

  test('a backend that answers 503 is asked again by few trials while it stays ill, and their failures are hidden', async (t) => {
    let sick = false;
    const backends = [await startCounting(t, 'h2c', () => (sick ? 503 : 200)), await startCounting(t, 'h2c', () => 200), await startCounting(t, 'h2c', () => 200)];
    const plait = await start(t, backends);
    const load = startLoad(t, plait.port, { clients: 8, breath_ms: 20 });
    await load.eachGets(10, 'all are well');
    sick = true;
    await load.eachGets(40, 'the first 503s are seen');
    const asked = backends[0].asked;
    await eventually(() => backends[0].asked > asked, 'it is asked again', 40_000);
    await load.eachGets(20, 'the others go on');
    assert.ok(backends[0].asked - asked <= 10, `it was asked ${backends[0].asked - asked} times`);
    // Five 503s in a row eject it; what was under way then may bring as many again.
    assert.ok(load.failed().length <= 5 + 8, `${load.failed().length} clients saw a 503`);
    await load.stop();
  });
});

for (const protocol of ['h2c', 'http']) {
  test(`requests at a backend that never answers are answered by the other one after their time limit, and nobody gets 503 beside a free backend: ${protocol}`, async (t) => {
    const hung = await startIdle(t, protocol);
    const well = await startCounting(t, protocol, () => 200);
    const plait = await start(t, [hung, well], `[timeouts]
response_head_ms = 1500
queue_ms = 700
[limits]
h1_connections_per_backend = 20
h2_connections_per_backend = 1
streams_per_upstream_connection = 20
`);
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(plait.port)));
    assertAllAre200(answers);
    const quick = answers.filter(({ ms }) => ms < 1_400).length;
    assert.ok(quick >= 50, `${quick} of 100 were not held by the one that hangs`);
  });
}

const refusals = {
  'REFUSED_STREAM': { head: (connection, stream) => connection.reset(stream, errorCode.refused) },
  'GOAWAY(0) as its first word': {
    open: (connection) => {
      connection.goaway(0);
      connection.end();
    },
  },
  'GOAWAY(0) in answer to a request': {
    head: (connection) => {
      connection.goaway(0);
      connection.end();
    },
  },
};
for (const [what, script] of Object.entries(refusals)) {
  test(`a request that one of two backends has refused with ${what} is taken by the other one, POSTs too`, async (t) => {
    const refusing = await startRawH2Backend(t, script);
    const well = await startCounting(t, 'h2c', () => 200);
    const plait = await start(t, [refusing, well]);
    assertAllAre200(await inTurn(40, plait.port, { method: 'POST', body: 'x' }));
    assertAllAre200(await inTurn(20, plait.port));
    assert.equal(well.asked, 60, 'each came once');
    assert.ok(refusing.opened > 0, 'the refusing one was asked');
  });
}

test('a GET that one backend has refused and the other one breaks off goes back to the first', async (t) => {
  let asked = 0;
  const refusing = await startRawH2Backend(t, {
    request: (connection, stream) => {
      asked += 1;
      if (asked % 2 === 1) connection.reset(stream, errorCode.refused);
      else connection.respond(stream);
    },
  });
  const breaking = await startRawH2Backend(t, { request: (connection) => connection.end() });
  const plait = await start(t, [refusing, breaking]);
  assertAllAre200(await inTurn(40, plait.port));
});

// Each takes requests and breaks off, by FIN or RST.
const breakers = {
  'HTTP/1.1, FIN': (t, note) => startH1WireBackend(t, { onRequest: (connection) => { note(); connection.end(); } }),
  'HTTP/1.1, RST': (t, note) => startH1WireBackend(t, { onRequest: (connection) => { note(); connection.reset(); } }),
  'HTTP/2, FIN': (t, note) => startRawH2Backend(t, { request: (connection) => { note(); connection.end(); } }),
  'HTTP/2, RST': (t, note) => startRawH2Backend(t, { request: (connection) => { note(); connection.destroy(); } }),
};
for (const [what, startBroken] of Object.entries(breakers)) {
  test(`a GET that one of two backends breaks off is repeated at the other one, and the broken one is asked a few times alone: ${what}`, async (t) => {
    let hits = 0;
    const broken = await startBroken(t, () => { hits += 1; });
    const well = await startCounting(t, what.startsWith('HTTP/2') ? 'h2c' : 'http', () => 200);
    const plait = await start(t, [broken, well]);
    assertAllAre200(await inTurn(40, plait.port));
    assert.ok(hits >= 1, 'the broken one was asked');
    assert.ok(hits <= 15, `the broken one was asked ${hits} times for 40 requests`);
  });
}

for (const open of ['at once', 'after its SETTINGS']) {
  test(`a backend that resets each connection ${open}, before any answer, costs no GET beside one that is well`, async (t) => {
    const broken = await startRawH2Backend(t, open === 'at once' ? { open: (connection) => connection.destroy() } : {
      head: (connection) => connection.destroy(),
    });
    const well = await startCounting(t, 'h2c', () => 200);
    const plait = await start(t, [broken, well]);
    assertAllAre200(await inTurn(40, plait.port));
    assert.ok(broken.opened >= 1, 'the broken one was asked');
    assert.ok(broken.opened <= 25, `the broken one was asked ${broken.opened} times`);
  });
}

for (const [method, body] of [['GET'], ['HEAD'], ['PUT', 'small'], ['DELETE', 'small']]) {
  test(`a pool of stale HTTP/1.1 connections costs no ${method}: its repetition goes by a new connection`, async (t) => {
    const old = new Set();
    const held = [];
    const say = (connection, message) => connection.say(message.method === 'HEAD' ? 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n' : answer('ok'));
    const backend = await startH1WireBackend(t, {
      onRequest: (connection, message) => {
        if (old.has(connection)) return connection.reset();
        if (message.target !== '/warm') return say(connection, message);
        held.push([connection, message]);
        // All at once, so that each has a connection of its own.
        if (held.length === 40) for (const one of held) say(...one);
      },
    });
    const plait = await start(t, [backend]);
    assertAllAre200(await Promise.all(Array.from({ length: 40 }, () => ask(plait.port, { path: '/warm' }))));
    for (const connection of backend.connections) old.add(connection);
    assertAllAre200(await Promise.all(Array.from({ length: 13 }, () => ask(plait.port, { method, body }))), `every ${method} is answered with 200`);
  });
}

test('a field that makes a backend close its shared connection ends the request that carries it, and no other', async (t) => {
  const held = new Set();
  let closed = false;
  const ok = (stream) => {
    if (stream.destroyed) return;
    stream.respond({ ':status': 200 });
    stream.end('ok');
  };
  const backend = await startH2Backend(t, (stream, fields) => {
    if (fields['x-evil'] !== undefined) {
      closed = true;
      const { session } = stream;
      setImmediate(() => {
        // The connection ends, and no stream is told why: session.destroy() would reset each.
        for (const socket of backend.sockets) if (socket.remotePort === session.socket.remotePort) socket.destroy();
        // Those on connections that the round before has made are no matter of this field.
        for (const other of held) if (other.session !== session) ok(other);
      });
    } else if (closed) {
      // Some work, so that a repetition that shared a connection with the culprit's would meet its end.
      setTimeout(() => ok(stream), 50);
    } else {
      held.add(stream);
    }
  });
  const plait = await start(t, [backend], '[limits]\nh2_connections_per_backend = 1\n');
  const client = connectH2(t, plait.port);
  for (let round = 0; round < 4; round += 1) {
    closed = false;
    held.clear();
    const others = Array.from({ length: 16 }, () => request(client, { ':path': '/held' }));
    await eventually(() => held.size === 16, 'the backend holds the requests of the others', 5_000);
    const culprit = await request(connectH2(t, plait.port), { ':path': '/', 'x-evil': 'yes' });
    assertAllAre200(await Promise.all(others), `round ${round}`);
    assert.notEqual(culprit.status, 200);
  }
});

for (const status of [503, 500]) {
  test(`one client that gets ${status} by what it asks for takes a backend from nobody else`, async (t) => {
    const backends = await Promise.all([0, 1].map(() => startCounting(t, 'h2c', (path) => (path === '/broken' ? status : 200))));
    const plait = await start(t, backends);
    const other = startLoad(t, plait.port, { clients: 1, breath_ms: 2 });
    await other.eachGets(10, 'the other one is there');
    const unlucky = startLoad(t, plait.port, { clients: 1, breath_ms: 2, request: () => ({ path: '/broken' }) });
    await unlucky.eachGets(100, 'the unlucky client asks');
    const before = backends.map(({ well }) => well);
    await eventually(() => backends.every(({ well }, i) => well >= before[i] + 20), 'both serve the other one still', 8_000).catch((error) => {
      throw new Error(`${error.message}: ${backends.map(({ well }, i) => well - before[i])}`);
    });
    assertAllAre200(other.answers);
    assert.deepEqual(tally(unlucky.answers), { [status]: unlucky.answers.length });
    await Promise.all([unlucky.stop(), other.stop()]);
  });
}

test('a tunnel goes to a backend that can take it, beside one that speaks HTTP/2 alone', async (t) => {
  const plain = await startCounting(t, 'h2c', () => 200);
  const taking = await startCounting(t, 'http', () => 200);
  let tunnels = 0;
  taking.backend.server.on('upgrade', (incoming, socket) => {
    tunnels += 1;
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello');
  });
  const plait = await start(t, [plain, taking]);
  for (let i = 0; i < 12; i += 1) {
    const client = await openRaw(t, plait.port);
    client.write('GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
    assert.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 101 /, `tunnel ${i}`);
    await client.until(/hello/);
  }
  assert.equal(tunnels, 12);
  assertAllAre200(await inTurn(20, plait.port));
  assert.ok(plain.asked > 0, 'requests without an upgrade go to both');
});

for (const protocol of ['h2c', 'http']) {
  test(`a backend that was down when plait started is used once it is up, with nobody asking for metrics: ${protocol}`, async (t) => {
    const port = await freePort();
    const well = await startCounting(t, protocol, () => 200);
    const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${protocol}://127.0.0.1:${port}"\n[[backend]]\nurl = "${well.url}"\n`);
    const load = startLoad(t, plait.port, { clients: 8 });
    await load.eachGets(30, 'the one that is up carries everything');
    const late = await startChildBackend(t, protocol, { port });
    await eventually(async () => (await late.count()) > 40, 'the backend that came up is used', 30_000);
    await load.stop();
    assertAllAre200(load.answers);
  });
}

test('the backend that was down when plait started is found by its first request after a silence', async (t) => {
  const port = await freePort();
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "http://127.0.0.1:${port}"\n[timeouts]\nqueue_ms = 1500\nbackoff_max_ms = 200\n`);
  assert.ok([502, 503].includes((await ask(plait.port)).status), 'nothing is there yet');
  await startChildBackend(t, 'http', { port });
  assert.equal((await ask(plait.port)).status, 200);
});

for (const protocol of ['h2c', 'http']) {
  test(`no POST is done twice, whether its backend stops, dies or breaks off: ${protocol}`, async (t) => {
    const backends = await Promise.all([0, 1, 2].map(() => startChildBackend(t, protocol)));
    const broken = new Map();
    const note = (id) => { broken.set(id, (broken.get(id) ?? 0) + 1); };
    const breaking = await startBackend[protocol](t, (first, second) => {
      note(protocol === 'h2c' ? second['x-id'] : first.headers['x-id']);
      const ending = protocol === 'h2c' ? first.session : first.socket;
      setImmediate(() => ending.destroy());
    });
    const plait = await start(t, [...backends, breaking], '[timeouts]\nresponse_head_ms = 800\nconnect_ms = 800\n');
    const load = startLoad(t, plait.port, { request: (n) => ({ method: 'POST', body: `order ${n}`, headers: { 'x-id': String(n) } }) });
    await load.eachGets(10, 'orders are taken');
    await stopBackend(backends[0]);
    await load.eachGets(10, 'orders are taken while one is stopped');
    backends[0].child.kill('SIGCONT');
    backends[1].child.kill('SIGKILL');
    await load.eachGets(20, 'orders are taken while one is dead');
    await load.stop();
    const alive = [backends[0], backends[2]];
    assert.deepEqual(await doubled(alive), []);
    const seen = new Map((await Promise.all(alive.map(({ asked }) => asked()))).flatMap(({ ids }) => [...ids]));
    assert.deepEqual([...broken].filter(([id, times]) => times > 1 || seen.has(id)), [], 'an order that was broken off was given to nobody else');
    assert.ok(load.failed().length < 0.5 * load.answers.length, JSON.stringify(tally(load.answers)));
  });
}
