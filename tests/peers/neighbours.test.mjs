// What one client or one backend does, and what it must not cost its neighbours: connections that are shared, endpoints
// that are well, places that are few.
import assert from 'node:assert/strict';
import http2 from 'node:http2';
import { test } from 'node:test';
import { configuration } from './lib/attack.mjs';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { ask, assertAllAre200, startChildBackend, startLoad, stopBackend, tally } from './lib/outages.mjs';
import { adminGet, metric, startConfigured } from './lib/plait.mjs';
import { eventually } from './lib/process.mjs';
import { errorCode, startRawH2Backend } from './lib/raw_h2.mjs';

const start = (t, backends, lines) => startConfigured(t, configuration(backends, lines));
const stateOf = (plait, backend, state) => metric(plait, 'plait_upstream_state', { backend: backend.url, state });

// Each begins an upload, and leaves in its middle.
const leavers = {
  'HTTP/1.1, FIN': async (t, port) => {
    const raw = await openRaw(t, port);
    raw.write('POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc');
    return () => raw.socket.destroy();
  },
  'HTTP/1.1 in chunks, RST': async (t, port) => {
    const raw = await openRaw(t, port);
    raw.write('POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    return () => raw.socket.resetAndDestroy();
  },
  'HTTP/1.1, a chunk that is none': async (t, port) => {
    const raw = await openRaw(t, port);
    raw.write('POST /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n');
    return () => raw.write('zz\r\n');
  },
  'HTTP/2': async (t, port) => {
    const session = connectH2(t, port);
    const upload = session.request({ ':method': 'POST', ':path': '/up' });
    upload.on('error', () => {});
    upload.write('abc');
    return () => session.destroy();
  },
};
for (const [how, begin] of Object.entries(leavers)) {
  test(`clients that break off their uploads leave a backend's shared connection to the others: ${how}`, async (t) => {
    let uploads = 0;
    let cut = 0;
    const backend = await startH2Backend(t, (stream, fields) => {
      if (fields[':path'] === '/up') uploads += 1;
      if (fields[':path'] === '/up') return stream.resume();
      stream.on('close', () => { cut += fields[':path'] === '/hold' && stream.rstCode !== 0 ? 1 : 0; });
      stream.respond({ ':status': 200 });
      if (fields[':path'] === '/hold') stream.write('x');
      else stream.end('ok');
      return undefined;
    });
    const plait = await start(t, [backend]);
    const held = connectH2(t, plait.port);
    const stays = held.request({ ':path': '/hold' });
    await eventually(() => new Promise((resolve) => { stays.once('data', () => resolve(true)); stays.resume(); }), 'a stream is held');
    const connections = await metric(plait, 'plait_upstream_connects_total');
    for (let i = 1; i <= 20; i += 1) {
      const leave = await begin(t, plait.port);
      await eventually(() => uploads === i, 'the upload has begun');
      leave();
    }
    await eventually(async () => (await metric(plait, 'plait_upstream_requests', { backend: backend.url })) === 1, 'the uploads are over');
    assertAllAre200(await Promise.all([0, 1, 2].map(() => ask(plait.port))));
    assert.equal(await metric(plait, 'plait_upstream_connects_total'), connections, 'no further connection');
    assert.equal(await metric(plait, 'plait_upstream_places', { held_by: 'retired' }), 0);
    assert.equal(cut, 0);
  });
}

test('a request that makes a backend close its shared connection ejects no backend, however many it hurts', async (t) => {
  const broken = (backend, session) => {
    // No stream is told why, as session.destroy() would do.
    for (const socket of backend.sockets) if (socket.remotePort === session.socket.remotePort) socket.destroy();
  };
  const backends = await Promise.all([0, 1, 2].map((i) => startH2Backend(t, (stream, fields) => {
    if (fields['x-evil'] !== undefined) return broken(backends[i], stream.session);
    // Long enough that several are under way.
    setTimeout(() => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end('ok');
    }, 20);
    return undefined;
  })));
  const plait = await start(t, backends);
  const load = startLoad(t, plait.port, { clients: 24, addresses: true, breath_ms: 2 });
  await load.eachGets(3, 'all are well');
  for (let i = 0; i < 4; i += 1) {
    await ask(plait.port, { headers: { 'x-evil': 'yes' } });
    await load.eachGets(3, 'others are served meanwhile');
  }
  assertAllAre200(load.answers);
  assert.equal(await metric(plait, 'plait_upstream_ejections_total'), 0);
  await load.stop();
});

test('where places for connections are few, idle ones are used and not exchanged for others', async (t) => {
  const backends = await Promise.all([0, 1, 2].map(() => startH1Backend(t, (incoming, response) => {
    setTimeout(() => response.end('ok'), 5);
  })));
  const plait = await start(t, backends, '[limits]\nupstream_connections = 4\n');
  assertAllAre200(await Promise.all(Array.from({ length: 24 }, () => ask(plait.port))), 'a burst');
  const load = startLoad(t, plait.port, { clients: 24, breath_ms: 2 });
  await load.eachGets(20, 'all go on');
  assertAllAre200(load.answers);
  const made = await metric(plait, 'plait_upstream_connects_total');
  assert.ok(made < 100, `${made} connections were made for ${load.answers.length} requests`);
  await load.stop();
});

const wrong = {
  'more DATA than Content-Length': (connection, stream) => {
    connection.headers(stream, 200, [['content-length', '2']]);
    connection.data(stream, 'longer', true);
  },
  'less DATA than Content-Length': (connection, stream) => {
    connection.headers(stream, 200, [['content-length', '9']]);
    connection.data(stream, '', true);
  },
  'a pseudo-field in trailers': (connection, stream) => {
    connection.headers(stream, 200);
    connection.headers(stream, 200, [], true);
  },
};
for (const [what, respond] of Object.entries(wrong)) {
  test(`a response that is found wrong before anything of it left for the client is a 502: ${what}`, async (t) => {
    const backend = await startRawH2Backend(t, {
      head: (connection, stream) => {
        connection.socket.cork();
        respond(connection, stream);
        connection.socket.uncork();
      },
    });
    const plait = await start(t, [backend]);
    for (let i = 0; i < 3; i += 1) {
      const answer = await ask(plait.port, { method: 'POST', body: 'x' });
      assert.deepEqual([answer.status, answer.error], [502, undefined], answer.body);
    }
    const overH2 = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { body: 'x' });
    assert.equal(overH2.status, 502);
  });
}

for (const [what, script] of Object.entries({
  'REFUSED_STREAM': { head: (connection, stream) => connection.reset(stream, errorCode.refused) },
  'GOAWAY(0) in answer': { head: (connection) => { connection.goaway(0); connection.end(); } },
})) {
  test(`a backend that refuses everything attracts nobody whose request cannot be repeated: ${what}`, async (t) => {
    const refusing = await startRawH2Backend(t, script);
    const well = await startH2Backend(t, (stream) => {
      stream.resume();
      stream.on('end', () => { stream.respond({ ':status': 200 }); stream.end('ok'); });
    });
    const plait = await start(t, [refusing, well]);
    const load = startLoad(t, plait.port, { clients: 8, breath_ms: 4, request: () => ({ method: 'POST', body: 'x'.repeat(40_000) }) });
    await load.eachGets(60, 'all go on', 20_000);
    const failed = load.failed().length;
    assert.ok(failed < 0.15 * load.answers.length, `${failed} of ${load.answers.length} met it: ${JSON.stringify(tally(load.answers))}`);
    await load.stop();
  });
}

for (const [what, greeting] of [['a line', 'SSH-2.0-OpenSSH_9.2p1\r\n'], ['no line', 'greetings']]) {
  test(`requests to a lone backend that speaks no HTTP/2 are answered at once, and it is down: ${what}`, async (t) => {
    const backend = await startRawBackend(t, (socket) => { socket.write(greeting); });
    const plait = await start(t, [{ url: backend.url.replace('http:', 'h2c:') }], '[timeouts]\nqueue_ms = 20000\n');
    for (let i = 0; i < 5; i += 1) {
      const answer = await ask(plait.port);
      assert.equal(answer.status, 502, answer.body);
      assert.ok(answer.ms < 10_000, `it took ${answer.ms} ms`);
    }
    const text = (await adminGet(plait, '/metrics')).body;
    assert.match(text, /plait_upstream_state\{[^}]*state="(?:down|trial)"\} 1/);
    await eventually(() => /does not speak HTTP\/2/.test(plait.stderr()), 'the line says why');
  });
}

test('a bare backend that has spoken HTTP/2 and hangs is not taken for one of HTTP/1.1, and comes back', async (t) => {
  const [hung, well] = [await startChildBackend(t, 'h2c'), await startChildBackend(t, 'h2c')];
  const backends = [hung, well].map(({ port }) => ({ url: `127.0.0.1:${port}` }));
  const plait = await start(t, backends, '[timeouts]\nresponse_head_ms = 2000\nping_ms = 500\nping_answer_ms = 500\nprobe_ms = 200\n');
  const load = startLoad(t, plait.port, { clients: 8, breath_ms: 10 });
  await load.eachGets(20, 'both are well');
  await stopBackend(hung);
  await eventually(async () => (await metric(plait, 'plait_upstream_trials_total')) >= 4, 'it is tried again and again', 30_000);
  assert.doesNotMatch(plait.stderr(), /reached again/);
  assert.equal(await stateOf(plait, backends[0], 'up'), 0);
  hung.child.kill('SIGCONT');
  const before = await hung.count();
  await eventually(async () => (await hung.count()) > before + 20, 'it is used again', 40_000);
  await load.stop();
  assertAllAre200(load.answers);
});

test('long streams behind the GOAWAYs of one backend leave places to the other one', async (t) => {
  const makeBackend = (says_goaway) => startH2Backend(t, (stream, fields) => {
    stream.respond({ ':status': 200 });
    if (fields[':path'] !== '/events') return stream.end('ok');
    stream.write('x');
    if (says_goaway) stream.session.goaway(http2.constants.NGHTTP2_NO_ERROR);
    return undefined;
  });
  const backends = [await makeBackend(true), await makeBackend(false)];
  const plait = await start(t, backends, '[limits]\nupstream_connections = 24\n[timeouts]\nconnection_age_ms = 1000\nshrink_ms = 500\n');
  const session = connectH2(t, plait.port);
  for (let i = 0; i < 48; i += 1) {
    const stream = session.request({ ':path': '/events' });
    stream.on('error', () => {});
    await eventually(() => new Promise((resolve) => { stream.once('response', () => resolve(true)); }), 'a stream begins', 20_000);
  }
  const age = Date.now();
  await eventually(() => Date.now() - age > 2_500, 'connections are past their age');
  assertAllAre200(await Promise.all([0, 1, 2, 3].map(() => ask(plait.port))));
});

test('where ejected backends are used since too few are up, plait is ready', async (t) => {
  let sick = false;
  const one = await startH1Backend(t, (incoming, response) => { response.writeHead(sick ? 503 : 200).end(); });
  const other = await startChildBackend(t, 'http');
  const plait = await start(t, [one, other], '[timeouts]\nconnect_ms = 500\n');
  const load = startLoad(t, plait.port, { clients: 6 });
  await load.eachGets(5, 'both are well');
  other.child.kill('SIGKILL');
  await eventually(async () => (await stateOf(plait, other, 'up')) === 0, 'one is down');
  sick = true;
  await eventually(async () => (await metric(plait, 'plait_upstream_panic')) === 1, 'the other one is ejected, and used all the same');
  assert.equal((await adminGet(plait, '/ready')).status, 200);
  sick = false;
  await load.eachGets(5, 'requests are served');
  await load.stop();
});
