// HTTP/1.1 as bytes: pipelining, old clients, chunked uploads, Expect, and tunnels.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import http2 from 'node:http2';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { certificate } from './lib/certificate.mjs';
import { startConfigured, startProxy } from './lib/plait.mjs';
import { eventually, within } from './lib/process.mjs';

const echo = (stream) => {
  stream.respond({ ':status': 200 });
  stream.pipe(stream);
};

test('a client of HTTP/1.0 gets a body that ends with the connection, never a chunked one', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('no length ');
    stream.end('known');
  });
  const plait = await startProxy(t, [backend]);
  const text = await exchangeRaw(plait.port, 'GET / HTTP/1.0\r\nHost: a\r\n\r\n');
  assert.match(text, /^HTTP\/1\.[01] 200 /);
  assert.doesNotMatch(text, /transfer-encoding/i);
  assert.ok(text.endsWith('\r\n\r\nno length known'), text);
});

test('a chunked upload reaches HTTP/2 and HTTP/1.1 backends whole', async (t) => {
  const body = Array.from({ length: 3000 }, (_, i) => `line ${i}\n`).join('');
  const chunked = body.match(/[\s\S]{1,777}/g).map((part) => `${part.length.toString(16)};ext=1\r\n${part}\r\n`).join('');
  const old = await startH1Backend(t, (incoming, response) => incoming.pipe(response));
  const modern = await startH2Backend(t, (stream) => {
    const hash = createHash('sha256');
    stream.on('data', (chunk) => hash.update(chunk));
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(hash.digest('hex'));
    });
  });
  const head = 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n';
  const one = await startProxy(t, [modern]);
  const expected = createHash('sha256').update(body).digest('hex');
  assert.ok((await exchangeRaw(one.port, `${head}${chunked}0\r\n\r\n`)).includes(expected));
  const two = await startProxy(t, [old]);
  const text = await exchangeRaw(two.port, `${head}${chunked}0\r\n\r\n`);
  const received = text.slice(text.indexOf('\r\n\r\n') + 4).replace(/^[0-9a-f]+\r\n|\r\n[0-9a-f]+\r\n(\r\n)?/gm, '');
  assert.equal(received, body);
});

test('Expect: 100-continue gets 100 before the body is sent', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  raw.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n');
  await raw.until(/^HTTP\/1\.1 100 [^\r]*\r\n(?:[^\r]+\r\n)*\r\n/);
  raw.write('hello');
  assert.match(await raw.ended(), /HTTP\/1\.1 200 [\s\S]*hello/);
});

test('a refusal reaches a client that is still sending its body', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(413, { connection: 'close' });
    response.end('no');
  });
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  raw.write('POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n');
  assert.match(await raw.until(/HTTP\/1\.1 413 /), /413/);
});

test('100 pipelined requests are answered in order, whatever order the backend finishes in', async (t) => {
  const held = [];
  const backend = await startH2Backend(t, (stream, headers) => {
    const finish = () => {
      stream.respond({ ':status': 200, 'x-order': headers[':path'] });
      stream.end();
    };
    // Every second request waits for its successor, if there is one at the same time.
    while (held.length > 0) held.pop()();
    if (Number(headers[':path'].slice(1)) % 10 === 9) finish();
    else setImmediate(finish);
  });
  const plait = await startProxy(t, [backend]);
  const requests = Array.from({ length: 100 }, (_, i) => `GET /${i} HTTP/1.1\r\nHost: a\r\n${i === 99 ? 'Connection: close\r\n' : ''}\r\n`).join('');
  const text = await exchangeRaw(plait.port, requests);
  assert.deepEqual([...text.matchAll(/x-order: \/(\d+)/g)].map((m) => Number(m[1])), Array.from({ length: 100 }, (_, i) => i));
});

for (const [what, bytes] of [
  ['two lengths that differ', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd'],
  ['a length beside chunked', 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
  ['a folded field line', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n c\r\n\r\n'],
  ['a bare CR in a field', 'GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rc\r\n\r\n'],
  ['no Host', 'GET / HTTP/1.1\r\nX-A: b\r\n\r\n'],
  ['two Hosts', 'GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'],
  ['a chunk size that is no number', 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n'],
]) {
  test(`a request with ${what} gets 400 and the connection closes, so that nothing can be smuggled`, async (t) => {
    const paths = [];
    const backend = await startH2Backend(t, (stream, headers) => {
      paths.push(headers[':path']);
      echo(stream);
    });
    const plait = await startProxy(t, [backend]);
    const text = await exchangeRaw(plait.port, `${bytes}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n`);
    // A request whose body turns out to be malformed may have been answered before; then the connection just ends.
    assert.ok(/^HTTP\/1\.1 (400|501) /.test(text) || text === '' || what.startsWith('a chunk size'), text);
    assert.ok(!paths.includes('/smuggled'));
  });
}

// A WebSocket-like protocol: after 101 both sides talk bytes.
async function startUpgradeBackend(t) {
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(426, { connection: 'upgrade', upgrade: 'echo' });
    response.end('upgrade required');
  });
  backend.tunnels = 0;
  backend.http.on('upgrade', (incoming, socket, head) => {
    backend.tunnels += 1;
    backend.upgradeFields = incoming.headers;
    backend.tunnelClosed = new Promise((resolve) => socket.on('close', resolve));
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Accept: yes\r\n\r\nwelcome:');
    socket.write(head);
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('end', () => socket.end());
    socket.on('error', () => {});
  });
  return backend;
}
const upgrade = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nSec-WebSocket-Key: abc\r\n\r\n';

test('Upgrade opens a tunnel to an HTTP/1.1 backend, with bytes both ways and a clean end', async (t) => {
  const backend = await startUpgradeBackend(t);
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  raw.write(`${upgrade}early`);
  await raw.until(/^HTTP\/1\.1 101 [\s\S]*\r\n\r\nwelcome:early/);
  assert.match(raw.text, /upgrade: echo/i);
  assert.match(raw.text, /x-accept: yes/i);
  assert.equal(backend.upgradeFields['sec-websocket-key'], 'abc');
  assert.equal(backend.upgradeFields.upgrade, 'echo');
  const big = 'b'.repeat(500_000);
  raw.write(big);
  await raw.until({ test: (text) => text.endsWith(big) });
  raw.socket.end();
  await raw.ended();
  await within(10_000, backend.tunnelClosed, 'the backend’s side of the tunnel ends too');
});

test('an Upgrade that the backend declines is an ordinary response', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('plain answer'));
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  raw.write(upgrade);
  await raw.until(/^HTTP\/1\.1 200 [\s\S]*plain answer/);
  raw.write('GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.equal((await raw.ended()).match(/plain answer/g).length, 2);
});

test('while tunnels are open, other requests are served', async (t) => {
  const backend = await startUpgradeBackend(t);
  const plait = await startProxy(t, [backend]);
  const tunnels = await Promise.all(Array.from({ length: 20 }, () => openRaw(t, plait.port)));
  for (const raw of tunnels) raw.write(upgrade);
  for (const raw of tunnels) await raw.until(/welcome:/);
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 10; i += 1) assert.equal((await request(client, { ':path': '/' })).status, 426);
  for (const [i, raw] of tunnels.entries()) {
    raw.write(`only ${i};`);
    await raw.until(new RegExp(`only ${i};`));
    assert.equal(raw.text.match(/only /g).length, 1, 'nobody else’s bytes');
  }
});

for (const scheme of ['https', 'a bare address']) {
  test(`an Upgrade to a backend at ${scheme} that speaks HTTP/2 alone is a request without one`, async (t) => {
    const secure = scheme === 'https' ? (await certificate(t)).pem : undefined;
    const backend = await startH2Backend(t, (stream) => {
      stream.respond({ ':status': 200 });
      stream.end('plain answer');
    }, { secure });
    const plait = await startProxy(t, [secure ? backend : backend.address], { args: secure ? ['--insecure'] : [] });
    for (let i = 0; i < 3; i += 1) {
      const raw = await openRaw(t, plait.port);
      raw.write(upgrade);
      await raw.until(/^HTTP\/1\.1 200 [\s\S]*plain answer/);
      raw.socket.destroy();
    }
    assert.equal((await request(connectH2(t, plait.port), { ':path': '/' })).body, 'plain answer');
    assert.doesNotMatch(plait.stderr(), /reached again|not reach/);
  });
}

test('a client that resets its connection is noticed although it has sent another request', async (t) => {
  let gone;
  const ended = new Promise((resolve) => { gone = resolve; });
  const backend = await startH2Backend(t, (stream) => stream.on('close', () => gone(stream.rstCode)));
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  const arrived = once(backend.server, 'stream');
  raw.write('GET /never HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n');
  await within(10_000, arrived, 'the request arrives');
  raw.socket.resetAndDestroy();
  assert.notEqual(await within(10_000, ended, 'the backend hears that nobody waits'), http2.constants.NGHTTP2_NO_ERROR);
});

test('a response that nobody reads any more ends after stall_ms, and the worker goes on', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => {
    if (incoming.url !== '/big') return response.end('small');
    return response.end(Buffer.alloc(16 << 20, 'b'));
  });
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[timeouts]\nstall_ms = 1000\n`);
  const stream = connectH2(t, plait.port).request({ ':path': '/big' });
  const ended = new Promise((resolve) => stream.on('close', resolve));
  stream.on('error', () => {});
  await within(10_000, once(stream, 'response'), 'the response begins');
  // What had come is read only when nothing more can come.
  await eventually(() => backend.sockets.size === 0, 'the backend’s connection ends');
  assert.equal((await request(connectH2(t, plait.port), { ':path': '/' })).body, 'small');
  stream.resume();
  await within(10_000, ended, 'the response breaks off');
  assert.notEqual(stream.rstCode, 0);
});
