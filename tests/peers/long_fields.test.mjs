// Fields, names, lists and targets that are too long: a matter of the one request or response that has them, over both
// versions of HTTP alike. Nobody else's stream ends with them.
import assert from 'node:assert/strict';
import http from 'node:http';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { startConfigured, startProxy } from './lib/plait.mjs';
import { eventually, within } from './lib/process.mjs';

const limit = 32 * 1024;
const many = (count) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`x-${i}`, 'v']));

// What is too much by the default limits, and what is just not. Huffman's code makes 'x' seven bits long, '&' eight, and
// '~' thirteen, for which clients send the string as it is.
const heads = [
  ['a field of 29,000 bytes', { 'x-a': 'x'.repeat(29_000) }, 200],
  ['a field of 30,000 bytes', { 'x-a': 'x'.repeat(30_000) }, 200],
  ['a field of 30,000 bytes that no code makes shorter', { 'x-a': '~'.repeat(30_000) }, 200],
  ['a field of 33,000 bytes', { 'x-a': 'x'.repeat(33_000) }, 431],
  ['a field of 33,000 bytes that no code makes shorter', { 'x-a': '~'.repeat(33_000) }, 431],
  ['a field of 60,000 bytes', { 'x-a': 'a'.repeat(60_000) }, 431],
  ['a name of 33,000 bytes', { ['x'.repeat(33_000)]: 'v' }, 431],
  ['a name of 6,000 bytes', { ['x'.repeat(6_000)]: 'v' }, 200],
  ['fields that come to more than the limit together', { 'x-a': 'x'.repeat(20_000), 'x-b': 'x'.repeat(20_000) }, 431],
  ['120 fields', many(120), 431],
  ['80 fields', many(80), 200],
];

function askH1(port, { path = '/', method = 'GET', headers = {}, body }) {
  return within(20_000, new Promise((resolve) => {
    const sent = http.request({ port, path, method, headers, agent: false, maxHeaderSize: 1 << 18 }, (response) => {
      response.resume();
      response.on('end', () => resolve(response.statusCode));
      response.on('error', (error) => resolve(error.code));
    });
    sent.on('error', (error) => resolve(error.code));
    sent.end(body);
  }), `a response to ${method}`);
}

// A stream whose response runs as long as the test does.
async function running(t, session) {
  const stream = session.request({ ':path': '/runs' });
  const seen = { error: null, ended: false };
  stream.on('error', (error) => { seen.error = error; });
  stream.on('end', () => { seen.ended = true; });
  stream.resume();
  await within(10_000, new Promise((resolve) => { stream.on('response', resolve); }), 'the response that runs on');
  return seen;
}

async function startServing(t) {
  return startH1Backend(t, (incoming, response) => {
    incoming.resume();
    if (incoming.url === '/runs') return response.write('begun');
    incoming.on('end', () => response.end('ok'));
  }, { options: { maxHeaderSize: 1 << 18 } });
}

test('a head that is too large is 431, one with a target that is too long 414, and no other stream ends', async (t) => {
  const plait = await startProxy(t, [await startServing(t)]);
  const session = connectH2(t, plait.port);
  let goaways = 0;
  session.on('goaway', () => { goaways += 1; });
  const other = await running(t, session);
  for (const [what, headers, status] of heads) {
    assert.equal((await request(session, { ':path': '/', ...headers })).status, status, `${what}, HTTP/2`);
    assert.equal((await request(session, { ':path': '/', ':method': 'POST', ...headers }, { body: 'x' })).status, status, `${what}, HTTP/2 with a body`);
    assert.equal(await askH1(plait.port, { headers }), status, `${what}, HTTP/1.1`);
  }
  for (const [size, status] of [[8000, 200], [8191, 200], [8300, 414], [40_000, 414]]) {
    const path = `/${'p'.repeat(size)}`;
    assert.equal((await request(session, { ':path': path })).status, status, `a target of ${size} bytes, HTTP/2`);
    assert.equal(await askH1(plait.port, { path }), status, `a target of ${size} bytes, HTTP/1.1`);
  }
  assert.equal(goaways, 0);
  assert.deepEqual(other, { error: null, ended: false });
  assert.equal((await request(session, { ':path': '/', 'x-a': 'b' })).status, 200);
});

test('trailers that are too large are 431 while there is no response, and end no other stream', async (t) => {
  const plait = await startProxy(t, [await startServing(t)]);
  const session = connectH2(t, plait.port);
  const other = await running(t, session);
  for (const trailers of [{ 'x-a': 'x'.repeat(33_000) }, { ['x'.repeat(33_000)]: 'v' }, many(120)]) {
    const got = await request(session, { ':path': '/', ':method': 'POST' }, { body: 'x', trailers });
    assert.equal(got.status, 431);
  }
  assert.deepEqual(other, { error: null, ended: false });
  assert.equal((await request(session, { ':path': '/', ':method': 'POST' }, { body: 'x', trailers: { 'x-a': 'b' } })).status, 200);
});

test('a response that is too large is 502 for its request alone, which is not repeated', async (t) => {
  const asked = [];
  // What middleware for CORS does with Access-Control-Request-Headers.
  const mirror = (headers, respond) => {
    asked.push(headers['x-times'] ?? 'once');
    const times = Number(headers['x-times'] ?? 1);
    respond(Object.fromEntries(Array.from({ length: times }, (_, i) => [`x-mirrored-${i}`, headers['access-control-request-headers'] ?? ''])));
  };
  const h2 = await startH2Backend(t, (stream, headers) => {
    stream.resume();
    if (headers[':method'] === 'OPTIONS') {
      return mirror(headers, (fields) => {
        stream.respond({ ':status': 204, ...fields });
        stream.end();
      });
    }
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      setTimeout(() => stream.end('ok'), 50);
    });
  }, { settings: { maxHeaderListSize: 1 << 18 } });
  const h1 = await startH1Backend(t, (incoming, response) => {
    incoming.resume();
    if (incoming.method !== 'OPTIONS') return incoming.on('end', () => response.end('ok'));
    mirror(incoming.headers, (fields) => response.writeHead(204, fields).end());
  }, { options: { maxHeaderSize: 1 << 18 } });
  for (const backend of [h2, h1]) {
    const plait = await startProxy(t, [backend]);
    const session = connectH2(t, plait.port);
    const posts = [];
    const post = async () => {
      const got = await request(session, { ':path': '/', ':method': 'POST' }, { body: 'x' });
      posts.push(got.status);
    };
    const under = Array.from({ length: 8 }, async () => { for (let i = 0; i < 10; ++i) await post(); });
    const options = async (size, times) => (await request(session, {
      ':path': '/', ':method': 'OPTIONS', 'access-control-request-headers': 'Y'.repeat(size), 'x-times': String(times),
    })).status;
    asked.length = 0;
    for (let i = 0; i < 5; ++i) {
      assert.equal(await options(30_000, 1), 204, backend.url);
      assert.equal(await options(20_000, 2), 502, backend.url);
    }
    await Promise.all(under);
    assert.equal(asked.length, 10, 'none of them is asked twice');
    assert.deepEqual(posts, Array(80).fill(200), backend.url);
    if (backend === h2) assert.equal(backend.opened, 1, 'the shared connection lives');
  }
});

test('trailers of a response that are too large break off that response alone', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'x-a': 'x'.repeat(headers[':path'] === '/long' ? 40_000 : 4) }));
    stream.end('ok');
  }, { settings: { maxHeaderListSize: 1 << 18 } });
  const plait = await startProxy(t, [backend]);
  const session = connectH2(t, plait.port);
  const [long, short] = await Promise.all(['/long', '/short'].map((path) => request(session, { ':path': path })));
  assert.ok(long.error !== null || long.status === 502, 'it is not whole');
  assert.equal(short.body, 'ok');
  assert.equal(short.trailers['x-a'], 'xxxx');
  assert.equal(backend.opened, 1);
});

test('the limits are the configuration’s, the same for both versions, and announced', async (t) => {
  const backend = await startServing(t);
  const plait = await startConfigured(t, `[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
[limits]
header_bytes = 57344
header_fields = 20
target_bytes = 500
`);
  const session = connectH2(t, plait.port);
  await eventually(() => session.remoteSettings?.maxHeaderListSize === 57_344, 'the announced limit');
  const rows = [
    [{ headers: { 'x-a': 'x'.repeat(55_000) } }, 200],
    [{ headers: { 'x-a': 'x'.repeat(57_400) } }, 431],
    [{ headers: many(10) }, 200],
    [{ headers: many(24) }, 431],
    [{ path: `/${'p'.repeat(490)}` }, 200],
    [{ path: `/${'p'.repeat(500)}` }, 414],
  ];
  for (const [{ headers = {}, path = '/' }, status] of rows) {
    const what = `${path.length}, ${JSON.stringify(headers).length}`;
    assert.equal((await request(session, { ':path': path, ...headers })).status, status, `${what}, HTTP/2`);
    assert.equal(await askH1(plait.port, { path, headers }), status, `${what}, HTTP/1.1`);
  }
});

test('a 431 costs what a reset costs', async (t) => {
  const backend = await startServing(t);
  const plait = await startConfigured(t, `[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
[limits]
reset_burst = 40
resets_per_second = 0
`);
  const session = connectH2(t, plait.port);
  const codes = [];
  session.on('goaway', (code) => codes.push(code));
  let answered = 0;
  for (let i = 0; i < 60 && !session.closed && !session.destroyed; ++i) {
    const got = await request(session, { ':path': '/', ...many(120) }).catch(() => ({}));
    answered += got.status === 431 ? 1 : 0;
  }
  assert.ok(answered >= 10 && answered <= 40, `${answered} are answered`);
  assert.ok(codes.length > 0, 'the client is asked to come again on another connection, or ended');
});
