// What plait says to an HTTP/1.1 backend, read by a strict reader of bytes, and what a backend may say that only shows between two
// messages, or between two versions of HTTP (RFC 9112, RFC 9110 §5 to §9). docs/conformance.md names these cases; those that
// one answer alone decides are in conformance_h1.test.mjs.
import assert from 'node:assert/strict';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { answer, cutMessages, startH1WireBackend } from './lib/h1_wire.mjs';
import { startProxy } from './lib/plait.mjs';
import { defer, eventually } from './lib/process.mjs';
import { connectWire, data, fields, flag, greet, headers } from './lib/wire_h2.mjs';

const get = (lines = [], target = '/', version = 'HTTP/1.1') => `GET ${target} ${version}\r\nHost: a\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n`;
const closing = ['Connection: close'];

// A backend that answers `reply.bytes`, or what it makes of the request, and plait in front of it.
async function start(t, reply) {
  const backend = await startH1WireBackend(t, {
    onRequest(c, message) {
      const bytes = typeof reply.bytes === 'function' ? reply.bytes(message, c) : reply.bytes;
      if (bytes) c.say(bytes);
      if (reply.end) c.end();
    },
  });
  return { backend, plait: await startProxy(t, [backend]) };
}

test('requests of HTTP/2 become requests of HTTP/1.1 that one strict reader reads', async (t) => {
  const { backend, plait } = await start(t, { bytes: answer('fine') });
  const session = connectH2(t, plait.port);
  const through = async (head, options) => {
    const before = backend.requests.length;
    const result = await request(session, { ':path': '/', ...head }, options);
    assert.deepEqual([result.status, result.body], [200, 'fine']);
    assert.equal(backend.requests.length, before + 1);
    return backend.requests[before];
  };
  await t.test('9112 §3.2: Host is :authority, comes first, and no pseudo-header field does', async () => {
    const seen = await through({ ':authority': 'front.test:81', ':path': '/p?q=1' });
    assert.equal(seen.start, 'GET /p?q=1 HTTP/1.1');
    assert.deepEqual(seen.fields[0], ['host', 'front.test:81']);
    assert.equal(seen.values('host').length, 1);
    assert.equal(seen.fields.some(([name]) => name.startsWith(':')), false);
  });
  await t.test('9112 §3.2.4: OPTIONS of * stays so', async () => {
    assert.equal((await through({ ':method': 'OPTIONS', ':path': '*' })).start, 'OPTIONS * HTTP/1.1');
  });
  await t.test('9113 §8.2.3: the crumbs of a cookie are joined', async () => {
    const seen = await through({ cookie: ['a=1', 'b=2'], 'x-a': 'b' });
    assert.deepEqual(seen.values('cookie'), ['a=1; b=2']);
  });
  await t.test('9112 §6.1: a body of unknown length is chunked', async () => {
    const seen = await through({ ':method': 'POST' }, { streaming: true, onStream: (stream) => { stream.write('te'); stream.end('st'); } });
    assert.deepEqual([seen.framing, seen.body, seen.value('content-length')], ['chunked', 'test', undefined]);
  });
  await t.test('9112 §6.2: a body of known length is not chunked', async () => {
    const seen = await through({ ':method': 'POST', 'content-length': 4 }, { body: 'test' });
    assert.deepEqual([seen.framing, seen.body, seen.value('transfer-encoding')], ['length', 'test', undefined]);
  });
  await t.test('9110 §8.6: a POST without content says so, a GET does not', async () => {
    assert.equal((await through({ ':method': 'POST' })).value('content-length'), '0');
    assert.equal((await through({})).value('content-length'), undefined);
  });
  await t.test('9112 §7.1.2: trailers follow a chunked body', async () => {
    const seen = await through({ ':method': 'POST' }, { body: 'test', trailers: { 'x-sum': '1' } });
    assert.deepEqual([seen.body, seen.trailers], ['test', ['x-sum: 1']]);
  });
  await t.test('9112 §7.4: "te: trailers" comes with its connection option', async () => {
    const seen = await through({ te: 'trailers' });
    assert.equal(seen.value('te'), 'trailers');
    assert.match(seen.value('connection'), /^te$/i);
  });
  await t.test('9110 §7.6.3: Via names HTTP/2', async () => {
    assert.match((await through({})).value('via'), /^2(\.0)? \S+$/);
  });
  await t.test('9110 §10.1.1: Expect is answered here', async () => {
    const seen = await through({ ':method': 'POST', expect: '100-continue', 'content-length': 4 },
      { streaming: true, onStream: (stream) => stream.on('continue', () => stream.end('test')) });
    assert.deepEqual([seen.body, seen.value('expect')], ['test', undefined]);
  });
  await t.test('9112 §2.2: a large head has lines as a small one has', async () => {
    const seen = await through(Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, 'v'.repeat(300)])));
    assert.equal(seen.fields.filter(([name, value]) => /^x-\d+$/.test(name) && value.length === 300).length, 60);
  });
});

test('requests of HTTP/1.1 keep what is theirs and lose what was for plait', async (t) => {
  const { backend, plait } = await start(t, { bytes: answer('fine') });
  const through = async (bytes) => {
    const before = backend.requests.length;
    const text = await exchangeRaw(plait.port, bytes);
    assert.match(text, /^HTTP\/1\.1 (100|200) /, text);
    return backend.requests[before];
  };
  const chunked = (lines, body) => `POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n${lines.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
  await t.test('9110 §7.6.1: a trailer that Connection nominates goes', async () => {
    const seen = await through(chunked(['Connection: close, X-Hop'], '4\r\ntest\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n'));
    assert.deepEqual([seen.body, seen.trailers], ['test', ['x-sum: 2']]);
  });
  await t.test('9110 §7.6.1: empty elements of Connection are ignored', async () => {
    const seen = await through(get(['Connection: , close ,,X-Hop,', 'X-Hop: 1', 'X-End: 2']));
    assert.deepEqual([seen.value('x-hop'), seen.value('x-end')], [undefined, '2']);
  });
  await t.test('9112 §7.1: a body is chunked anew, extensions and sizes are not the client’s', async () => {
    const before = backend.requests.length;
    await through(chunked(closing, '0004;a=b\r\ntest\r\n1;c\r\n!\r\n000;d=e\r\n\r\n'));
    assert.deepEqual([backend.requests[before].framing, backend.requests[before].body], ['chunked', 'test!']);
  });
  await t.test('9110 §6.4: a GET with content keeps it, and its length', async () => {
    const seen = await through(`${get(['Content-Length: 4', ...closing])}test`);
    assert.deepEqual([seen.framing, seen.body], ['length', 'test']);
  });
});

test('answers of a backend do not run into each other, nor past the one that they are for', async (t) => {
  const reply = { bytes: answer('fine') };
  const { backend, plait } = await start(t, reply);
  const ask = async (bytes, options) => cutMessages(await exchangeRaw(plait.port, bytes), { atEnd: true, ...options }).messages;
  const fine = async () => {
    Object.assign(reply, { bytes: answer('fine'), end: false });
    assert.deepEqual((await ask(get(closing))).map(({ status, body }) => [status, body]), [[200, 'fine']]);
  };
  await t.test('9112 §11.1: bytes that come before they are asked for are nobody’s answer', async () => {
    await fine();
    const idle = backend.connections.at(-1);
    idle.say(answer('poison'));
    await eventually(() => idle.ended, 'plait drops the connection');
    await fine();
  });
  await t.test('9110 §15.2.1: 100 that nobody waits for is not forwarded', async () => {
    reply.bytes = `HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n${answer('fine')}`;
    assert.deepEqual((await ask(get(closing))).map(({ status, body }) => [status, body]), [[200, 'fine']]);
  });
  await t.test('9110 §15.2: an interim response goes to HTTP/1.1, not to HTTP/1.0', async () => {
    reply.bytes = `HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n${answer('fine')}`;
    assert.deepEqual((await ask(get(closing))).map(({ status }) => status), [103, 200]);
    assert.deepEqual((await ask(get([], '/', 'HTTP/1.0'))).map(({ status }) => status), [200]);
  });
  await t.test('9112 §6.1: a client of HTTP/1.0 gets a chunked answer unchunked, without trailers', async () => {
    reply.bytes = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ntest\r\n0\r\nX-Sum: 1\r\n\r\n';
    const [message] = await ask(get(['Connection: keep-alive'], '/', 'HTTP/1.0'));
    assert.deepEqual([message.framing, message.body, message.value('transfer-encoding')], ['close', 'test', undefined]);
  });
  await t.test('9112 §6.3: the answer to HEAD ends with its head, chunked or not', async () => {
    for (const framing of ['Transfer-Encoding: chunked', 'Content-Length: 4']) {
      reply.bytes = ({ method }) => `HTTP/1.1 200 OK\r\n${framing}\r\n\r\n${method === 'HEAD' ? '' : { T: '4\r\ntest\r\n0\r\n\r\n', C: 'test' }[framing[0]]}`;
      const messages = await ask(get().replace('GET', 'HEAD') + get(closing), { methods: ['HEAD', 'GET'] });
      assert.deepEqual(messages.map(({ status, body }) => [status, body]), [[200, ''], [200, 'test']]);
    }
  });
  await t.test('9112 §2.3: an answer of HTTP/1.0 is forwarded as one of HTTP/1.1, with a reason of plait’s', async () => {
    reply.bytes = 'HTTP/1.0 200 Whatever: it says\r\nContent-Length: 4\r\n\r\ntest';
    const [message] = await ask(get(closing));
    assert.deepEqual([message.start, message.body], ['HTTP/1.1 200 OK', 'test']);
  });
  await t.test('9110 §5.3: lines of one field keep their order, and Set-Cookie its lines', async () => {
    reply.bytes = answer('fine', ['Set-Cookie: a=1', 'X-L: 1', 'Set-Cookie: b=2', 'X-L: 2']);
    const [message] = await ask(get(closing));
    assert.deepEqual(message.values('set-cookie'), ['a=1', 'b=2']);
    assert.deepEqual(message.values('x-l'), ['1', '2']);
  });
  await t.test('9110 §7.6.1: a trailer that the answer’s Connection nominates goes', async () => {
    reply.bytes = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: X-Hop\r\n\r\n4\r\ntest\r\n0\r\nX-Hop: 1\r\nX-Sum: 2\r\n\r\n';
    const [message] = await ask(get(closing));
    assert.deepEqual([message.body, message.trailers], ['test', ['x-sum: 2']]);
  });
  await t.test('9110 §7.8: 101 to another protocol than was offered is 502, as is one that names none', async () => {
    for (const bytes of ['HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: upgrade\r\n\r\n', 'HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n']) {
      reply.bytes = bytes;
      const [message] = await ask(get(['Connection: close, upgrade', 'Upgrade: websocket']));
      assert.equal(message.status, 502);
    }
    await fine();
  });
  await t.test('9110 §7.8: 101 to what was offered opens a tunnel, and answers nobody else', async () => {
    reply.bytes = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\r\nfrom behind';
    const raw = await openRaw(t, plait.port);
    raw.write(get(['Connection: upgrade', 'Upgrade: websocket']));
    await raw.until(/^HTTP\/1\.1 101 [\s\S]*\r\nupgrade: websocket\r\n[\s\S]*\r\n\r\nfrom behind$/i);
    await fine();
    raw.socket.destroy();
  });
  await t.test('9110 §7.8: 426 names the protocol that is asked for, to HTTP/1.1 alone', async () => {
    const wants = (protocols) => answer('fine', [`Upgrade: ${protocols}`, 'Connection: upgrade']).replace('200 OK', '426 Upgrade Required');
    reply.bytes = wants('h2c, websocket');
    const [message] = await ask(get(closing));
    assert.deepEqual([message.status, message.value('upgrade'), message.value('connection'), message.body], [426, 'websocket', 'upgrade, close', 'fine']);
    const [kept] = await ask(get() + get(closing));
    assert.equal(kept.value('connection'), 'upgrade');
    const { status, headers: { upgrade } } = await request(connectH2(t, plait.port), { ':path': '/' });
    assert.deepEqual([status, upgrade], [426, undefined]);
    // What plait would not tunnel it does not ask for.
    reply.bytes = wants('TLS/1.3, h2c');
    assert.equal((await ask(get(closing)))[0].value('upgrade'), undefined);
    await fine();
  });
  await t.test('9112 §9.5: a connection that the backend closes while it is idle is not used', async () => {
    await fine();
    const idle = backend.connections.at(-1);
    idle.end();
    await eventually(() => idle.ended, 'plait closes its side');
    await fine();
  });
});

test('what goes on in HTTP/2 has one length', async (t) => {
  const seen = [];
  const backend = await startH2Backend(t, (stream, headers) => {
    seen.push(headers);
    stream.respond({ ':status': 200 }, { endStream: true });
  });
  const plait = await startProxy(t, [backend]);
  await t.test('9110 §8.6: identical values of Content-Length become one towards HTTP/2', async () => {
    const text = await exchangeRaw(plait.port, 'POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\nConnection: close\r\n\r\ntest');
    assert.match(text, /^HTTP\/1\.1 200 /);
    const peer = await greet(await connectWire(plait.port));
    defer(t, () => peer.socket.destroy());
    peer.send(headers(1, fields({ ':method': 'POST', 'content-length': '4, 4' }), flag.endHeaders), data(1, 'test', flag.endStream));
    await peer.untilEnd(1);
    assert.deepEqual(seen.map((one) => one['content-length']), ['4', '4']);
  });
});
