import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { runPlait, startConfigured, startPlait } from './lib/plait.mjs';
import { run, temporaryDirectory, within } from './lib/process.mjs';
import { frameType, startRawH2Backend } from './lib/raw_h2.mjs';

const echo = (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(headers));
};

test('curl gets its answer over HTTP/1.1, h2c and h2 with TLS', async (t) => {
  const backend = await startH2Backend(t, echo);
  const { cert, key } = await certificate(t);
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', '--listen', 'tls:127.0.0.1:0', '--tls-cert', cert, '--tls-key', key]);
  const [plain, tls] = plait.listeners.map((l) => l.port);
  for (const [version, args] of [
    ['1.1', ['--http1.1', `http://127.0.0.1:${plain}/a?b=c`]],
    ['2', ['--http2-prior-knowledge', `http://127.0.0.1:${plain}/a?b=c`]],
    ['2', ['--cacert', cert, `https://localhost:${tls}/a?b=c`]],
    ['1.1', ['--http1.1', '--cacert', cert, `https://localhost:${tls}/a?b=c`]],
  ]) {
    const { stdout } = await run('curl', ['-s', '-m', '10', '-w', '\n%{http_version} %{http_code}', ...args]);
    const [body, info] = stdout.split('\n');
    assert.equal(info, `${version} 200`);
    assert.equal(JSON.parse(body)[':path'], '/a?b=c');
  }
});

test('the backend learns who asked, and gets no field that concerns one hop only', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const text = await exchangeRaw(plait.port, 'GET /x HTTP/1.1\r\nHost: example.test:99\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n' +
    'Keep-Alive: timeout=5\r\nTE: gzip\r\nX-Forwarded-For: 6.6.6.6\r\nX-Kept: yes\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 /);
  const seen = JSON.parse(text.match(/\{.*\}/)[0]);
  assert.equal(seen[':authority'], 'example.test:99');
  assert.equal(seen['x-kept'], 'yes');
  assert.equal(seen['x-forwarded-for'], '127.0.0.1');
  assert.equal(seen['x-forwarded-proto'], 'http');
  assert.equal(seen['x-forwarded-host'], 'example.test:99');
  assert.match(seen.via, /plait/);
  for (const name of ['connection', 'x-secret', 'keep-alive', 'te']) assert.equal(seen[name], undefined, name);
});

const claims = ['X-Forwarded-For', 'X_Forwarded_For', 'X.Forwarded.For', 'X-Forwarded-Host', 'X-Forwarded-Port', 'X-Forwarded-Prefix', 'X-Forwarded-Scheme', 'X-Forwarded-Ssl',
  'X-Forwarded-Server', 'X-Forwarded-Client-Cert', 'Forwarded', 'X-Real-IP', 'X_Real_IP', 'True-Client-IP', 'Client-Cert', 'CF-Connecting-IP', 'cf_connecting_ip'];

// Sends a head and trailers full of claims over HTTP/1.1 and HTTP/2; the backend tells which values of both arrived.
async function arrivedClaims(t, trusted) {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.resume();
    const answer = (trailers) => {
      stream.respond({ ':status': 200 });
      stream.end(JSON.stringify({ headers, trailers }));
    };
    stream.on('trailers', answer);
    stream.on('end', () => setImmediate(() => !stream.headersSent && answer({})));
  });
  const plait = await startConfigured(t, `[forwarding]\nidentity_fields = ["CF-Connecting-IP"]\n${trusted ? 'trusted_proxies = ["127.0.0.1"]\n' : ''}`,
    ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const raw = await exchangeRaw(plait.port, 'POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Forwarded-For, X-Forwarded-Proto, Via\r\nTransfer-Encoding: chunked\r\n' +
    `${claims.map((name) => `${name}: claimed ${name}\r\n`).join('')}X-Kept: head\r\n\r\n1\r\na\r\n0\r\n${claims.map((name) => `${name}: late ${name}\r\n`).join('')}X-Kept: trailer\r\n\r\n`);
  assert.match(raw, /^HTTP\/1\.1 200 /);
  const client = await connectH2(t, plait.port);
  const lower = (word) => Object.fromEntries(claims.map((name) => [name.toLowerCase(), `${word} ${name}`]));
  const stream = client.request({ ':method': 'POST', ':path': '/', ...lower('claimed'), 'x-kept': 'head' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ ...lower('late'), 'x-kept': 'trailer' }));
  stream.end('a');
  let text = '';
  for await (const chunk of stream) text += chunk;
  return [JSON.parse(raw.match(/\{.*\}/)[0]), JSON.parse(text)];
}

test('nobody but a trusted proxy can say who a client is, in a head or in trailers', async (t) => {
  for (const seen of await arrivedClaims(t, false)) {
    assert.doesNotMatch(JSON.stringify(seen), /claimed|late/);
    assert.equal(seen.headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(seen.headers['x-forwarded-proto'], 'http');
    assert.match(seen.headers.via, /plait/);
    assert.equal(seen.headers['x-kept'], 'head');
    assert.deepEqual(Object.entries(seen.trailers), [['x-kept', 'trailer']]);
  }
});

test('what a trusted proxy says about its client arrives', async (t) => {
  for (const seen of await arrivedClaims(t, true)) {
    const heads = JSON.stringify(seen.headers);
    for (const name of claims.filter((one) => one !== 'Forwarded')) assert.ok(heads.includes(`claimed ${name}`), `${name} in ${heads}`);
    assert.match(seen.headers['x-forwarded-for'], /^claimed X-Forwarded-For, 127\.0\.0\.1$/);
    assert.deepEqual(Object.entries(seen.trailers), [['x-kept', 'trailer']]);
  }
});

// With `Forwarded` more is added than there is always room for: where its memory lies full, the head moves.
function verbose(t) {
  const file = path.join(temporaryDirectory(t), 'verbose.toml');
  writeFileSync(file, '[forwarding]\nforwarded = true\n');
  return ['-c', file];
}

test('a head of any size arrives whole, with what is added to it', async (t) => {
  const backend = await startH2Backend(t, echo, { settings: { maxHeaderListSize: 65_536 } });
  const plait = await startPlait(t, [...verbose(t), '-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = await connectH2(t, plait.port);
  const sizes = [];
  for (const around of [2048, 8192]) {
    for (let size = around - 600; size <= around + 40; size += 8) sizes.push(size);
  }
  for (const size of sizes) {
    const filler = 'f'.repeat(size);
    const { status, body } = await request(client, { ':path': `/${size}`, 'x-filler': filler, 'x-last': 'l', 'x-forwarded-for': '6.6.6.6' });
    assert.equal(status, 200, `${size}`);
    const seen = JSON.parse(body);
    assert.equal(seen[':path'], `/${size}`);
    assert.equal(seen[':authority'], `127.0.0.1:${plait.port}`);
    assert.equal(seen['x-filler'], filler);
    assert.equal(seen['x-last'], 'l');
    assert.equal(seen['x-forwarded-for'], '127.0.0.1');
    assert.match(seen.via, /plait/);
  }
});

test('what Connection names is known in the trailers of a head that has moved', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    const answer = (trailers) => {
      stream.respond({ ':status': 200, 'content-type': 'application/json' });
      stream.end(JSON.stringify(trailers));
    };
    if (headers[':method'] === 'GET') return answer({});
    stream.resume();
    stream.on('trailers', answer);
  });
  const plait = await startPlait(t, [...verbose(t), '-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = await connectH2(t, plait.port);
  for (let size = 1740; size <= 1840; size += 4) {
    const raw = await openRaw(t, plait.port);
    raw.write('POST /x HTTP/1.1\r\nHost: a.test\r\nConnection: close, X-Hidden\r\nTransfer-Encoding: chunked\r\n' +
      `X-Filler: ${'f'.repeat(size)}\r\n\r\n5\r\nhello\r\n`);
    // What its memory would be used for by now, if it had been given back.
    for (let i = 0; i < 3; ++i) assert.equal((await request(client, { ':path': `/${'q'.repeat(900)}` })).status, 200);
    raw.write('0\r\nX-Hidden: 1\r\nX-Shown: 2\r\n\r\n');
    await raw.ended();
    assert.match(raw.text, /^HTTP\/1\.1 200 /, `${size}`);
    const seen = JSON.parse(raw.text.match(/\{.*\}/)[0]);
    assert.equal(seen['x-hidden'], undefined, `${size}`);
    assert.equal(seen['x-shown'], '2', `${size}`);
  }
});

test('trailers, interim responses and empty responses pass', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':path'] === '/trailers') {
      stream.additionalHeaders({ ':status': 103, link: '</style.css>' });
      stream.respond({ ':status': 200 }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'x-sum': '42' }));
      stream.end('body');
    } else {
      stream.respond({ ':status': 204 }, { endStream: true });
    }
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  const full = await request(client, { ':path': '/trailers' });
  assert.equal(full.body, 'body');
  assert.equal(full.trailers['x-sum'], '42');
  assert.equal(full.interim[0][':status'], 103);
  const empty = await request(client, { ':path': '/empty' });
  assert.equal(empty.headers[':status'], 204);
  assert.equal(empty.body, '');
  const h1 = await exchangeRaw(plait.port, 'GET /trailers HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(h1, /^HTTP\/1\.1 103 [\s\S]*HTTP\/1\.1 200 [\s\S]*\r\n4\r\nbody\r\n0\r\nx-sum: 42\r\n\r\n$/);
});

test('bodies arrive unchanged in both directions', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const { cert, key } = await certificate(t);
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', '--listen', 'tls:127.0.0.1:0', '--tls-cert', cert, '--tls-key', key]);
  const dir = temporaryDirectory(t);
  const file = path.join(dir, 'body');
  const bytes = randomBytes(24 << 20);
  writeFileSync(file, bytes);
  const sum = createHash('sha256').update(bytes).digest('hex');
  for (const args of [
    ['--http1.1', `http://127.0.0.1:${plait.listeners[0].port}/`],
    ['--http2-prior-knowledge', `http://127.0.0.1:${plait.listeners[0].port}/`],
    ['--cacert', cert, `https://localhost:${plait.listeners[1].port}/`],
  ]) {
    const out = path.join(dir, 'out');
    await run('curl', ['-s', '-m', '60', '-H', 'Expect:', '--data-binary', `@${file}`, '-o', out, ...args]);
    assert.equal(createHash('sha256').update(readFileSync(out)).digest('hex'), sum, args[0]);
  }
});

test('a slow reader does not hold up another client of the same upstream connection', async (t) => {
  const chunk = Buffer.alloc(64 << 10, 'x');
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':path'] !== '/endless') return stream.end('quick');
    const more = () => {
      while (!stream.destroyed && stream.write(chunk));
    };
    stream.on('drain', more);
    more();
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  for (let i = 0; i < 20; i += 1) {
    const slow = connectH2(t, plait.port).request({ ':path': '/endless' });
    slow.on('error', () => {});
    await within(10_000, new Promise((resolve) => slow.once('response', resolve)), 'the slow reader has its head');
    slow.pause();
  }
  const quick = connectH2(t, plait.port);
  for (let i = 0; i < 50; i += 1) assert.equal((await request(quick, { ':path': '/quick' })).body, 'quick');
});

test('pipelined requests are answered in order, and a malformed one gets 400', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200, 'content-length': headers[':path'].length });
    stream.end(headers[':path']);
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const text = await exchangeRaw(plait.port, 'GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /22 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc' +
    'GET /333 HTTP/1.1\r\nHost: a\r\n\r\nGET /4 HTTP/1.1\r\nHost : a\r\n\r\n');
  assert.deepEqual([...text.matchAll(/HTTP\/1\.1 (\d+)/g)].map((m) => m[1]), ['200', '200', '200', '400']);
  assert.ok(text.indexOf('/1') < text.indexOf('/22') && text.indexOf('/22') < text.indexOf('/333'));
});

test('a client that cancels ends the request at the backend', async (t) => {
  let cancelled;
  const seen = new Promise((resolve) => { cancelled = resolve; });
  const backend = await startH2Backend(t, (stream) => {
    stream.on('close', () => cancelled(stream.rstCode));
    stream.respond({ ':status': 200 });
    stream.write('first');
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  await request(connectH2(t, plait.port), { ':path': '/' }, { onHeaders: (stream) => stream.close(8) });
  assert.equal(await within(10_000, seen, 'the backend sees the stream end'), 8);
});

test('a response that breaks off upstream looks broken to the client, never complete', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('part', () => stream.session.destroy());
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const h2 = await request(connectH2(t, plait.port), { ':path': '/' });
  assert.notEqual(h2.rstCode, 0);
  const h1 = await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\n\r\n').catch((error) => error.code);
  assert.ok(!String(h1).includes('\r\n0\r\n\r\n'), 'no last chunk');
});

test('an https backend is verified, unless told otherwise', async (t) => {
  const { cert, key } = await certificate(t);
  const backend = await startH2Backend(t, echo, { secure: { cert: readFileSync(cert), key: readFileSync(key) } });
  const get = async (args) => {
    const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', ...args]);
    const { stdout } = await run('curl', ['-s', '-m', '20', '-o', '/dev/null', '-w', '%{http_code}', `http://127.0.0.1:${plait.port}/`]);
    return stdout;
  };
  assert.equal(await get(['--ca-file', cert]), '200');
  assert.equal(await get(['--insecure']), '200');
  assert.equal(await get([]), '502');
});

test('mistakes on the command line are named in one line, with exit code 2', async () => {
  for (const [args, sentence] of [
    [['-b', 'ftp://x:1', '-p', '0'], /--backend ftp:\/\/x:1/],
    [['-p', '0'], /no backend/],
    [['-b', '127.0.0.1:1'], /nowhere to listen/],
    [['-b', '127.0.0.1:1', '-b', 'no such name:80', '-p', '0'], /--backend no such name:80/],
    [['-b', '127.0.0.1:1', '-p', 'tls:0', '--tls-cert', '/nonexistent.pem', '--tls-key', '/nonexistent.pem'], /\/nonexistent\.pem/],
    [['-b', '127.0.0.1:1', '-p', '70000'], /--port/],
    [['-b', '127.0.0.1:1', '--nonsense'], /--nonsense/],
  ]) {
    const { code, stderr } = await runPlait(args);
    assert.equal(code, 2, args.join(' '));
    assert.match(stderr, sentence);
    assert.equal(stderr.trim().split('\n').length, 1);
  }
  assert.match((await runPlait(['--version'])).stdout, /^plait \d/);
  assert.match((await runPlait(['--help'])).stdout, /--backend/);
});

test('what may belong to one client stays out of the table that all share on a backend’s connection', async (t) => {
  const blocks = [];
  const backend = await startRawH2Backend(t, {
    frame: (connection, type, flags, stream, payload) => { if (type === frameType.headers) blocks.push(payload.toString('latin1')); },
    request: (connection, stream) => connection.respond(stream),
  });
  const plait = await startConfigured(t, `[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
[forwarding]
trusted_proxies = ["127.0.0.0/8"]
`);
  const own = { 'x-tenant': 'tenant-alpha', 'client-cert': ':Y2VydA==:', 'x-forwarded-client-cert': 'Hash=abc', 'x-request-id': 'id-4711' };
  for (let i = 0; i < 3; i += 1) {
    const answer = await request(connectH2(t, plait.port), { ':path': '/', 'user-agent': 'everybody', ...own });
    assert.equal(answer.status, 200);
  }
  assert.equal(backend.opened, 1);
  assert.equal(blocks.length, 3);
  // Strings go to backends as they are. A literal begins with 0x00 where it is not indexed, and with 0x10 where it never
  // may be, on no hop (RFC 7541 §6.2.2, §6.2.3); then come the name, since no table has it, and the value.
  const text = (value) => String.fromCharCode(value.length) + value;
  for (const block of blocks) {
    for (const [name, value] of Object.entries(own)) {
      const literal = String.fromCharCode(name === 'x-tenant' ? 0 : 0x10) + text(name) + text(value);
      assert.ok(block.includes(literal), `${name} in ${JSON.stringify(block)}`);
    }
  }
  assert.ok(blocks[0].includes('everybody') && !blocks[2].includes('everybody'), 'what is the same for many is indexed');
});
