// What HTTP means must be the same on both sides of the proxy (RFC 9110, RFC 9113 §8, RFC 9112).
import assert from 'node:assert/strict';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, curl, exchangeRaw, request } from './lib/clients.mjs';
import { startConfigured, startPlait, startProxy } from './lib/plait.mjs';
import { eventually, freePort, within } from './lib/process.mjs';
import { errorCode, startRawH2Backend } from './lib/raw_h2.mjs';

const echo = (stream, headers) => {
  stream.respond({ ':status': 200 });
  stream.end(JSON.stringify(headers));
};

test('request fields pass, each cookie and each repeated field too', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startProxy(t, [backend]);
  const got = JSON.parse((await request(connectH2(t, plait.port), {
    ':path': '/a%20b?c=d&e', cookie: ['a=1', 'b=2'], authorization: 'Bearer secret', 'x-list': ['one', 'two'], 'x-empty': '', te: 'trailers',
    'user-agent': 'peer', 'content-type': 'text/plain', 'accept-language': 'de',
  })).body);
  assert.equal(got[':path'], '/a%20b?c=d&e');
  assert.equal(got.cookie, 'a=1; b=2');
  assert.equal(got.authorization, 'Bearer secret');
  assert.equal(got['x-list'], 'one, two');
  assert.equal(got['x-empty'], '');
  assert.equal(got.te, 'trailers');
  assert.equal(got['user-agent'], 'peer');
  assert.equal(got['accept-language'], 'de');
});

test('response fields pass, repeated Set-Cookie too, and those of one hop do not', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(200, [
      ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['X-Kept', 'yes'], ['Connection', 'X-Hop'], ['X-Hop', 'secret'],
      ['Keep-Alive', 'timeout=5'], ['Proxy-Connection', 'keep-alive'],
    ].flat());
    response.end('body');
  });
  const plait = await startProxy(t, [backend]);
  const { headers, body } = await request(connectH2(t, plait.port), { ':path': '/' });
  assert.equal(body, 'body');
  assert.deepEqual(headers['set-cookie'], ['a=1', 'b=2']);
  assert.equal(headers['x-kept'], 'yes');
  for (const name of ['connection', 'x-hop', 'keep-alive', 'proxy-connection', 'transfer-encoding']) assert.equal(headers[name], undefined, name);
  const text = await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.doesNotMatch(text, /x-hop: secret/i);
  assert.doesNotMatch(text, /timeout=5/);
});

test('a proxy that is its own backend answers 508 instead of asking itself for ever', async (t) => {
  for (const scheme of ['h2c', 'http']) {
    const port = await freePort();
    const plait = await startPlait(t, ['-b', `${scheme}://127.0.0.1:${port}`, '--listen', `127.0.0.1:${port}`]);
    const { status } = await request(connectH2(t, plait.port), { ':path': '/' });
    assert.equal(status, 508);
  }
});

test('an HTTP/1.1 backend gets Host from :authority, and the fields that say who asked', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end(JSON.stringify({ ...incoming.headers, version: incoming.httpVersion })));
  const plait = await startProxy(t, [backend], { tls: true });
  const client = connectH2(t, plait.tlsPort, { ca: plait.certificate.pem.cert });
  const got = JSON.parse((await request(client, { ':path': '/', ':authority': 'shop.example:8443' })).body);
  assert.equal(got.host, 'shop.example:8443');
  assert.equal(got.version, '1.1');
  assert.equal(got['x-forwarded-for'], '127.0.0.1');
  assert.equal(got['x-forwarded-proto'], 'https');
  assert.equal(got['x-forwarded-host'], 'shop.example:8443');
  assert.match(got.via, /^2(\.0)? /);
});

test('a field that a client forges about who asked does not reach the backend', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startProxy(t, [backend]);
  const got = JSON.parse((await request(connectH2(t, plait.port), {
    ':path': '/', 'x-forwarded-for': '6.6.6.6', 'x-forwarded-proto': 'https', 'x-forwarded-host': 'bank.example', forwarded: 'for=6.6.6.6',
  })).body);
  assert.doesNotMatch(JSON.stringify(got), /6\.6\.6\.6|bank\.example/);
  assert.equal(got['x-forwarded-proto'], 'http');
});

for (const [kind, start] of [
  ['HTTP/2', (t, statusOf) => startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': statusOf(headers[':path']), 'x-path': headers[':path'] }, { endStream: statusOf(headers[':path']) !== 200 || headers[':method'] === 'HEAD' });
    if (!stream.writableEnded) stream.end('body');
  })],
  ['HTTP/1.1', (t, statusOf) => startH1Backend(t, (incoming, response) => {
    const status = statusOf(incoming.url);
    response.writeHead(status, { 'x-path': incoming.url, ...(status === 200 ? { 'content-length': 4 } : {}) });
    response.end(status === 200 && incoming.method !== 'HEAD' ? 'body' : undefined);
  })],
]) {
  test(`responses without a body (HEAD, 204, 304) from an ${kind} backend leave the client's connection usable`, async (t) => {
    const backend = await start(t, (path) => Number(path.slice(1)));
    const plait = await startProxy(t, [backend]);
    const text = await exchangeRaw(plait.port, 'HEAD /200 HTTP/1.1\r\nHost: a\r\n\r\nGET /204 HTTP/1.1\r\nHost: a\r\n\r\n' +
      'GET /304 HTTP/1.1\r\nHost: a\r\n\r\nGET /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    const heads = [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((m) => m[1]);
    assert.deepEqual(heads, ['200', '204', '304', '200'], text);
    assert.equal(text.match(/body/g).length, 1, 'only the last has a body');
    assert.doesNotMatch(text.split('HTTP/1.1 304')[0].split('HTTP/1.1 204')[1], /content-length|transfer-encoding/i, 'RFC 9110 §8.6');
    const client = connectH2(t, plait.port);
    for (const [method, path, status] of [['HEAD', '/200', 200], ['GET', '/204', 204], ['GET', '/304', 304]]) {
      const got = await request(client, { ':path': path, ':method': method });
      assert.equal(got.status, status);
      assert.equal(got.body, '');
      assert.equal(got.error, null);
    }
  });
}

test('trailers of a request reach HTTP/2 and HTTP/1.1 backends, from both kinds of clients', async (t) => {
  const modern = await startH2Backend(t, (stream) => {
    let sum = null;
    stream.on('trailers', (trailers) => { sum = trailers['x-sum']; });
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(`sum=${sum}`);
    });
  });
  const old = await startH1Backend(t, (incoming, response) => {
    incoming.resume();
    incoming.on('end', () => response.end(`sum=${incoming.trailers['x-sum'] ?? null}`));
  });
  for (const backend of [modern, old]) {
    const plait = await startProxy(t, [backend]);
    const h2 = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { body: 'abc', trailers: { 'x-sum': '42' } });
    assert.equal(h2.body, 'sum=42', backend.url);
    const h1 = await exchangeRaw(plait.port, 'POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nConnection: close\r\n\r\n' +
      '3\r\nabc\r\n0\r\nX-Sum: 43\r\n\r\n');
    assert.match(h1, /sum=43/, backend.url);
  }
});

test('trailers of an HTTP/1.1 backend reach HTTP/2 clients', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(200, { Trailer: 'X-Sum' });
    response.write('part');
    response.addTrailers({ 'X-Sum': '44' });
    response.end();
  });
  const plait = await startProxy(t, [backend]);
  const got = await request(connectH2(t, plait.port), { ':path': '/', te: 'trailers' });
  assert.equal(got.body, 'part');
  assert.equal(got.trailers?.['x-sum'], '44');
});

test('103 Early Hints from an HTTP/1.1 backend reach the client before the response', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeEarlyHints({ link: '</style.css>; rel=preload' }, () => response.end('done'));
  });
  const plait = await startProxy(t, [backend]);
  const got = await request(connectH2(t, plait.port), { ':path': '/' });
  assert.equal(got.interim[0]?.[':status'], 103);
  assert.match(got.interim[0].link, /style\.css/);
  assert.equal(got.body, 'done');
});

test('an upload is answered before it ends, and the answer arrives', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 413 });
    stream.end('too large');
  });
  const plait = await startProxy(t, [backend]);
  const got = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, {
    streaming: true,
    onStream: (stream) => stream.write('the first bytes of many'),
    onHeaders: (stream) => stream.end(),
  });
  assert.equal(got.status, 413);
  assert.equal(got.body, 'too large');
});

test('a body flows while the other direction still runs', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const plait = await startProxy(t, [backend]);
  let heard = 0;
  const got = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, {
    streaming: true,
    onStream: (stream) => {
      stream.write('ping');
      stream.on('data', () => {
        heard += 1;
        if (heard < 10) stream.write('ping');
        else stream.end();
      });
    },
  });
  assert.equal(got.body, 'ping'.repeat(10));
});

test('a request with 24 KiB of fields passes, and one with more than the limit is refused without harm to the next', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    stream.end(String((headers['x-big'] ?? '').length));
  }, { settings: { maxHeaderListSize: 1 << 20 } });
  const plait = await startProxy(t, [backend]);
  const client = connectH2(t, plait.port, { maxSendHeaderBlockLength: 1 << 20 });
  const fits = await request(client, { ':path': '/', 'x-big': 'x'.repeat(24 << 10) });
  assert.equal(fits.body, String(24 << 10));
  const exceeds = await request(client, { ':path': '/', 'x-big': 'x'.repeat(60 << 10) });
  assert.notEqual(exceeds.status, 200);
  const h1 = await exchangeRaw(plait.port, `GET / HTTP/1.1\r\nHost: a\r\nX-Big: ${'x'.repeat(60 << 10)}\r\n\r\n`).catch((error) => error.code);
  assert.match(h1, /^HTTP\/1\.1 4\d\d |ECONNRESET/);
  assert.equal((await request(connectH2(t, plait.port), { ':path': '/' })).status, 200);
});

test('a client that cancels an HTTP/1.1 backend’s response ends the backend’s connection', async (t) => {
  let gone;
  const seen = new Promise((resolve) => { gone = resolve; });
  const backend = await startH1Backend(t, (incoming, response) => {
    response.on('close', () => gone(response.writableFinished));
    response.write('first');
  });
  const plait = await startProxy(t, [backend]);
  await request(connectH2(t, plait.port), { ':path': '/' }, { onHeaders: (stream) => stream.close(8) });
  assert.equal(await within(10_000, seen, 'the backend sees its client go'), false);
});

test('an HTTP/1.1 client that hangs up cancels its request at the backend', async (t) => {
  let cancelled;
  const seen = new Promise((resolve) => { cancelled = resolve; });
  const backend = await startH2Backend(t, (stream) => {
    stream.on('close', () => cancelled(stream.rstCode));
    stream.respond({ ':status': 200 });
    stream.write('first');
  });
  const plait = await startProxy(t, [backend]);
  await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n', (text) => text.includes('first'));
  assert.equal(await within(10_000, seen, 'the backend sees the stream end'), 8);
});

for (const [kind, makeBackend] of [
  ['an HTTP/2 backend resets the stream', (t) => startRawH2Backend(t, {
    request: (connection, stream) => {
      connection.headers(stream, 200);
      connection.data(stream, 'part');
      connection.reset(stream, errorCode.internal);
    },
  })],
  ['an HTTP/1.1 backend breaks off in a chunked body', (t) => startH1Backend(t, (incoming, response) => {
    response.write('part', () => response.socket.destroy());
  })],
  ['an HTTP/1.1 backend sends less than its Content-Length', (t) => startH1Backend(t, (incoming, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('part', () => response.socket.destroy());
  })],
]) {
  test(`when ${kind} in the middle of a body, no client takes the response for complete`, async (t) => {
    const plait = await startProxy(t, [await makeBackend(t)]);
    const url = `http://127.0.0.1:${plait.port}/`;
    const h1 = await curl(['--http1.1', url]);
    assert.ok([18, 52, 56].includes(h1.exit), `curl over HTTP/1.1 says that the transfer broke (exit code ${h1.exit})`);
    const h2 = await curl(['--http2-prior-knowledge', url]);
    assert.ok([18, 56, 92].includes(h2.exit), `curl over HTTP/2 says that the stream was reset (exit code ${h2.exit})`);
    const node = await request(connectH2(t, plait.port), { ':path': '/' });
    assert.notEqual(node.rstCode, 0);
  });
}

test('a backend that refuses connections gives 502 with a short body, over HTTP/1.1 and HTTP/2', async (t) => {
  const plait = await startProxy(t, [`h2c://127.0.0.1:${await freePort()}`]);
  for (const version of ['--http1.1', '--http2-prior-knowledge']) {
    const got = await curl([version, `http://127.0.0.1:${plait.port}/`]);
    assert.equal(got.status, 502);
    assert.ok(got.body.length > 0 && got.body.length < 200, 'a short body');
  }
});

test('an HTTP/1.1 backend that refuses passes its requests to the second one', async (t) => {
  const alive = await startH1Backend(t, (incoming, response) => response.end('alive'));
  const plait = await startProxy(t, [`http://127.0.0.1:${await freePort()}`, alive]);
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 10; i += 1) {
    const got = await request(client, { ':path': '/', ':method': 'POST' }, { body: 'x' });
    assert.equal(got.body, 'alive');
  }
});

test('a backend that comes back is used again', async (t) => {
  const one = await startH2Backend(t, (stream) => { stream.respond({ ':status': 200 }); stream.end('one'); });
  const two = await startH2Backend(t, (stream) => { stream.respond({ ':status': 200 }); stream.end('two'); });
  const plait = await startProxy(t, [one, two]);
  const client = connectH2(t, plait.port);
  const get = async () => (await request(client, { ':path': '/' })).body;
  await eventually(async () => (await get()) === 'one', 'the first backend answers');
  await one.kill();
  for (let i = 0; i < 10; i += 1) assert.equal(await get(), 'two');
  await startH2Backend(t, (stream) => { stream.respond({ ':status': 200 }); stream.end('one again'); }, { port: one.port });
  await eventually(async () => (await get()) === 'one again', 'the first backend is tried again');
});

test('a backend that does not answer in time gives 504, and the next request is served', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':path'] === '/never') return;
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const plait = await startConfigured(t, `[[listen]]
address = "127.0.0.1:0"

[[backend]]
url = "${backend.url}"

[timeouts]
response_head_ms = 200
`);
  const client = connectH2(t, plait.port);
  const late = await request(client, { ':path': '/never' });
  assert.equal(late.status, 504);
  assert.equal((await request(client, { ':path': '/' })).status, 200);
  const grpc = await request(client, { ':path': '/never', ':method': 'POST', 'content-type': 'application/grpc', te: 'trailers' }, { body: '' });
  assert.equal(grpc.headers['grpc-status'], '4', 'gRPC says DEADLINE_EXCEEDED');
});

test('an idle connection costs the client nothing: PING is answered', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startProxy(t, [backend]);
  const client = connectH2(t, plait.port);
  const payload = Buffer.from('abcdefgh');
  const echoed = await within(10_000, new Promise((resolve, reject) => {
    client.on('connect', () => client.ping(payload, (error, _, bytes) => (error ? reject(error) : resolve(bytes))));
  }), 'PING is answered');
  assert.deepEqual(echoed, payload);
});
