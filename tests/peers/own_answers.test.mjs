// What plait answers by itself tells people and machines why, and the access log has the same cause and the same id.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import tls from 'node:tls';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { metric, startConfigured, startProxy } from './lib/plait.mjs';
import { defer, eventually, freePort, run, temporaryDirectory } from './lib/process.mjs';

const ok = (stream) => {
  stream.respond({ ':status': 200 });
  stream.end('ok');
};
const get = (port, path = '/', fields = '') => exchangeRaw(port, `GET ${path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`);
const fieldOf = (text, name) => text.match(new RegExp(`^${name}: (.*)\r$`, 'mi'))?.[1];
const bodyOf = (text) => text.slice(text.indexOf('\r\n\r\n') + 4);

// The objects of an access log in JSON on standard output, once there are `count`.
async function logged(plait, count) {
  const lines = () => plait.stdout().split('\n').filter((line) => line.startsWith('{'));
  await eventually(() => lines().length >= count, `${count} lines are logged`);
  assert.equal(lines().length, count);
  return lines().map((line) => JSON.parse(line));
}

const json = ['--access-log', '-', '--log-format', 'json'];

// A backend that takes a request and closes.
const closing = (t) => startRawBackend(t, (socket) => socket.on('data', () => socket.destroy()));

test('a backend that closes before it answers is named as the cause in the answer, the log, the metrics and a line', async (t) => {
  const backend = await closing(t);
  const plait = await startProxy(t, [backend], { admin: true, args: json });
  const text = await exchangeRaw(plait.port, 'POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\nX-Request-ID: mine\r\n\r\nhi');
  assert.match(text, /^HTTP\/1\.1 502 /);
  assert.equal(bodyOf(text), 'the backend could not be reached or broke off\n');
  assert.equal(fieldOf(text, 'proxy-status'), 'plait; error=connection_terminated', 'strangers learn nothing of the way behind plait');
  const id = fieldOf(text, 'x-request-id');
  assert.match(id, /^[0-9a-f]{16}$/, 'an id that a stranger has sent is not taken');
  assert.equal(fieldOf(text, 'retry-after'), undefined);
  const [line] = await logged(plait, 1);
  assert.deepEqual([line.status, line.cause, line.request_id, line.bytes, line.complete], [502, 'connection_lost', id, 46, true]);
  assert.equal(line.reason, "the backend closed before the response's head");
  assert.ok(line.cause_after_ms > 0 && line.cause_after_ms <= line.duration_ms);
  assert.ok(Date.parse(line.ended) >= Date.parse(line.time));
  assert.equal(await metric(plait, 'plait_upstream_failures_total', { backend: backend.url, cause: 'connection_lost' }), 1);
  assert.equal(await metric(plait, 'plait_upstream_responses_total', { backend: backend.url, class: 'none' }), 1);
  assert.equal(await metric(plait, 'plait_body_bytes_total', { direction: 'out' }), 46);
  await eventually(() => new RegExp(`error backend ${backend.url}: a request was answered with 502, connection_lost: the backend closed before the response's head, after \\d+ ms \\(request ${id}\\)$`, 'm').test(plait.stderr()), 'a line says why');
});

test('the time that a cause names is that of the try, and not that of the line in which its request stood', async (t) => {
  // The first request holds the only connection; the second is closed at once when it comes.
  let first;
  const backend = await startRawBackend(t, (socket) => socket.on('data', () => {
    if (first) socket.destroy();
    else first = socket;
  }));
  const toml = `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[limits]\nh1_connections_per_backend = 1\n[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n[admin]\naddress = "127.0.0.1:0"\n`;
  const plait = await startConfigured(t, toml, json);
  const holding = get(plait.port, '/first');
  await eventually(() => first, 'the first is with the backend');
  const waiting = exchangeRaw(plait.port, 'POST /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi');
  await eventually(async () => await metric(plait, 'plait_upstream_waiting') === 1, 'the second stands in line');
  const since = Date.now();
  await eventually(() => Date.now() - since > 600, 'it has done so for a while');
  first.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  assert.match(await holding, /^HTTP\/1\.1 200 /);
  const text = await waiting;
  assert.match(text, /^HTTP\/1\.1 502 /);
  const line = (await logged(plait, 2)).find((one) => one.path === '/second');
  assert.ok(line.duration_ms > 500 && line.cause_after_ms < 500, JSON.stringify(line));
  assert.ok(Number(fieldOf(text, 'proxy-status').match(/details=".*, after (\d+) ms"$/)[1]) < 500);
  await eventually(() => /closed before the response's head, after (\d+) ms/.test(plait.stderr()), 'a line says so');
  assert.ok(Number(plait.stderr().match(/closed before the response's head, after (\d+) ms/)[1]) < 500);
});

test('a trusted peer learns where it was and what happened there, and its id is used', async (t) => {
  const port = await freePort();
  const plait = await startProxy(t, [`http://127.0.0.1:${port}`], { args: [...json, '--trusted-proxy', '127.0.0.1'] });
  const text = await get(plait.port, '/', 'X-Request-ID: Root=1-abc\r\nX-Forwarded-For: 192.0.2.9, 203.0.113.5\r\n');
  assert.match(text, /^HTTP\/1\.1 502 /);
  assert.match(fieldOf(text, 'proxy-status'), new RegExp(`^plait; error=connection_refused; (next-hop="http://127\\.0\\.0\\.1:${port}"; )?details="connect_failed: .*, after \\d+ ms"$`));
  assert.equal(fieldOf(text, 'x-request-id'), 'Root=1-abc');
  const again = await get(plait.port, '/', 'X-Request-ID: two words\r\n');
  assert.match(fieldOf(again, 'x-request-id'), /^[0-9a-f]{16}$/, 'what is no id is replaced');
  const [line] = await logged(plait, 2);
  assert.deepEqual([line.client, line.real_client, line.request_id, line.cause], ['127.0.0.1', '203.0.113.5', 'Root=1-abc', 'connect_failed']);
});

test('a lone backend with which no TLS is possible is answered for at once, with the reason', async (t) => {
  const { cert, key } = await certificate(t);
  const old = path.join(temporaryDirectory(t), 'old.pem');
  await run('openssl', ['req', '-new', '-key', key, '-subj', '/CN=localhost', '-out', `${old}.csr`]);
  await run('openssl', ['x509', '-req', '-in', `${old}.csr`, '-signkey', key, '-days', '-1', '-out', old]);
  const start = async (options) => {
    const server = tls.createServer({ key: readFileSync(key), cert: readFileSync(cert), ...options });
    server.on('tlsClientError', () => {}).on('secureConnection', (socket) => socket.on('error', () => {})).listen(0, '127.0.0.1');
    await once(server, 'listening');
    defer(t, () => server.close());
    return server.address().port;
  };
  for (const [name, ca, url, error, reason] of [
    ['expired', old, `https://localhost:${await start({ cert: readFileSync(old) })}`, 'tls_certificate_error', /certificate has expired/],
    ['another name', cert, `https://localhost:${await start({})}`, 'tls_certificate_error', /hostname mismatch/i],
    ['no protocol in common', cert, `https://localhost:${await start({ ALPNProtocols: ['something-else'] })}`, 'tls_protocol_error', /no application protocol/],
    ['not TLS', cert, `https://localhost:${(await startRawBackend(t, (socket) => socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')))).port}`, 'tls_protocol_error', /wrong version number/],
  ]) {
    const other = name === 'another name' ? 'server_name = "elsewhere.test"\n' : '';
    const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${url}"\nca_file = "${ca}"\n${other}[timeouts]\nqueue_ms = 600000\n[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n`);
    for (let i = 0; i < 3; i += 1) {
      const text = await get(plait.port);
      assert.match(text, /^HTTP\/1\.1 502 /, name);
      assert.ok(fieldOf(text, 'proxy-status').startsWith(`plait; error=${error}; `) && reason.test(fieldOf(text, 'proxy-status')), `${name}: ${text}`);
    }
  }
});

for (const [limits, protocol, named] of [
  ['h1_connections_per_backend = 1', 'http', 'limits.h1_connections_per_backend is used up'],
  ['upstream_connections = 4', 'http', 'limits.upstream_connections is used up'],
  ['h2_connections_per_backend = 1\nstreams_per_upstream_connection = 1', 'h2c', 'limits.h2_connections_per_backend times limits.streams_per_upstream_connection is used up'],
  ['h2_connections_per_backend = 1', 'h2c', 'limits.h2_connections_per_backend is used up, with fewer streams on each than limits.streams_per_upstream_connection, as the backend wants it'],
]) {
  test(`a request for which there is no room is told that ${named}`, async (t) => {
    const held = [];
    const backend = protocol === 'http' ? await startH1Backend(t, (incoming, response) => held.push(response))
      : await startH2Backend(t, (stream) => held.push(stream), { settings: { maxConcurrentStreams: 2 } });
    const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[timeouts]\nqueue_ms = 200\ndrain_ms = 100\n[limits]\n${limits}\n`, json);
    for (let i = 0; i < 6; i += 1) (await openRaw(t, plait.port)).write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    const line = await eventually(() => plait.stdout().split('\n').filter((one) => one.startsWith('{')).map((one) => JSON.parse(one)).find((one) => one.status === 503), 'one is refused');
    assert.deepEqual([line.cause, line.reason], ['pool_exhausted', `no backend has room: ${named}`]);
    await eventually(() => plait.stderr().includes(`a request was answered with 503, pool_exhausted: no backend has room: ${named}, after `), 'a line says so');
  });
}

test('a browser gets a page, whatever version of HTTP it speaks', async (t) => {
  const plait = await startProxy(t, [await closing(t)]);
  const accept = 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8';
  const text = await get(plait.port, '/', `Accept: ${accept}\r\n`);
  assert.equal(fieldOf(text, 'content-type'), 'text/html; charset=utf-8');
  assert.match(bodyOf(text), /^<!doctype html>[\s\S]*<h1>502 Bad Gateway<\/h1>\n<p>the backend could not be reached or broke off<\/p>\n<p>Request <code>[0-9a-f]{16}<\/code><\/p>\n$/);
  const page = await request(connectH2(t, plait.port), { ':path': '/', accept });
  assert.equal(page.status, 502);
  assert.match(page.body, /<h1>502 Bad Gateway<\/h1>/);
  assert.equal(Number(page.headers['content-length']), page.body.length);
  const plain = await request(connectH2(t, plait.port), { ':path': '/', accept: 'text/html;q=0.1, text/plain' });
  assert.equal(plain.headers['content-type'], 'text/plain; charset=utf-8');
  const head = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'HEAD' });
  assert.equal(head.body, '');
  assert.equal(head.headers['content-length'], '46');
});

test('a client whose window has no room for a text gets the status all the same', async (t) => {
  const plait = await startProxy(t, [await closing(t)]);
  const answer = await request(connectH2(t, plait.port, { settings: { initialWindowSize: 0 } }), { ':path': '/' });
  assert.equal(answer.status, 502);
  assert.equal(answer.body, '');
  assert.equal(answer.rstCode, 0);
});

test('where there is no room the client is told when to come again', async (t) => {
  const backend = await startH1Backend(t, () => {});
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[limits]\nh1_connections_per_backend = 1\n[timeouts]\nqueue_ms = 100\n`, json);
  const first = await openRaw(t, plait.port);
  first.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(() => backend.opened === 1, 'the only connection is taken');
  const text = await get(plait.port);
  assert.match(text, /^HTTP\/1\.1 503 /);
  assert.equal(fieldOf(text, 'retry-after'), '1');
  assert.equal(fieldOf(text, 'proxy-status'), 'plait; error=connection_limit_reached');
  assert.equal((await logged(plait, 1))[0].cause, 'pool_exhausted');
});

test('what plait refuses by itself has a text, a type of error and a cause', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend], { args: json });
  const seen = [];
  for (const [bytes, status, error, cause] of [
    ['GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n', 400, 'http_request_error', 'malformed_message'],
    ['TRACE /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n', 501, 'http_request_denied', 'not_served'],
    [`GET /x HTTP/1.1\r\nHost: a\r\nVia: ${Array.from({ length: 16 }, () => '1.1 plait').join(', ')}\r\nConnection: close\r\n\r\n`, 508, 'proxy_loop_detected', 'forwarding_loop'],
    ['OPTIONS /x HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nConnection: close\r\n\r\n', 200, 'proxy_internal_response', undefined],
  ]) {
    const text = await exchangeRaw(plait.port, bytes);
    assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert.equal(fieldOf(text, 'proxy-status'), `plait; error=${error}`);
    assert.equal(bodyOf(text).length, Number(fieldOf(text, 'content-length')));
    if (status !== 200) assert.match(bodyOf(text), /^[^\n]{10,}\n$/);
    seen.push([status, cause, fieldOf(text, 'x-request-id')]);
  }
  const large = await request(connectH2(t, plait.port), { ':path': '/x', 'x-large': 'x'.repeat(33_000) });
  assert.equal(large.headers['proxy-status'], 'plait; error=http_request_error');
  seen.push([431, 'message_too_large', large.headers['x-request-id']]);
  const lines = await logged(plait, seen.length);
  assert.deepEqual(lines.map((line) => [line.status, line.cause, line.request_id]), seen);
  const head = await exchangeRaw(plait.port, 'HEAD /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
  assert.match(head, /^HTTP\/1\.1 400 /);
  assert.equal(bodyOf(head), '', 'an answer to HEAD has no content');
});

for (const format of ['json', 'combined']) {
  test(`a response that is cut short is not logged like any other, in ${format}`, async (t) => {
    const backend = await startRawBackend(t, (socket) => socket.once('data', () => {
      socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it');
    }));
    const plait = await startProxy(t, [backend], { args: ['--access-log', '-', '--log-format', format] });
    const text = await get(plait.port);
    assert.match(text, /^HTTP\/1\.1 200 [\s\S]*half of it$/);
    if (format === 'json') {
      const [line] = await logged(plait, 1);
      assert.deepEqual([line.status, line.complete, line.cause], [200, false, 'connection_lost']);
    } else {
      await eventually(() => /"GET \/ HTTP\/1\.1" 200 10 .* "connection_lost: [^"]+" "-" [0-9a-f]{16}$/m.test(plait.stdout()), 'the line has the cause');
    }
    await eventually(() => /a request ended without a whole response, connection_lost: .*, after \d+ ms/.test(plait.stderr()), 'a line says so');
  });
}

test('that a client has left is the cause of its line, and no failure of the backend', async (t) => {
  const held = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const plait = await startProxy(t, [backend], { admin: true, args: json });
  const raw = await openRaw(t, plait.port);
  raw.write('GET /left HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(() => held.length === 1, 'the backend has the request');
  raw.socket.destroy();
  const [line] = await logged(plait, 1);
  assert.deepEqual([line.status, line.complete, line.cause], [0, false, 'cancelled']);
  assert.equal(await metric(plait, 'plait_upstream_failures_total'), undefined);
});

test('a request keeps its id on the way to its backend where ids are used, and its fields are left alone where not', async (t) => {
  const seen = [];
  const backend = await startH2Backend(t, (stream, headers) => {
    seen.push(headers['x-request-id']);
    ok(stream);
  });
  const field = 'X-Request-ID: theirs\r\n';
  const silent = await startProxy(t, [backend]);
  await get(silent.port, '/', field);
  const withLog = await startProxy(t, [backend], { args: json });
  await get(withLog.port, '/', field);
  const [line] = await logged(withLog, 1);
  const section = (value) => `[[listen]]\naddress = "127.0.0.1:0"\n[forwarding]\nrequest_id = ${value}\n[[backend]]\nurl = "${backend.url}"\n`;
  const always = await startConfigured(t, section(true));
  await get(always.port, '/', 'Connection: X-Request-ID\r\n');
  const never = await startConfigured(t, section(false), json);
  await get(never.port, '/', field);
  assert.equal(seen[0], 'theirs');
  assert.equal(seen[1], line.request_id);
  assert.match(seen[1], /^[0-9a-f]{16}$/);
  assert.match(seen[2], /^[0-9a-f]{16}$/, 'no client can have it removed');
  assert.equal(seen[3], 'theirs');
  assert.equal((await logged(never, 1))[0].request_id, undefined);
});

test('requests, codes and times are counted by backend', async (t) => {
  const fine = await startH2Backend(t, ok);
  const plait = await startProxy(t, [fine], { admin: true });
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 3; i += 1) assert.equal((await request(client, { ':path': '/' })).status, 200);
  assert.equal(await metric(plait, 'plait_upstream_responses_total', { backend: fine.url, class: '2xx' }), 3);
  assert.equal(await metric(plait, 'plait_upstream_responses_total', { backend: fine.url, class: 'none' }), 0);
  assert.equal(await metric(plait, 'plait_upstream_request_duration_seconds_count', { backend: fine.url }), 3);
  assert.equal(await metric(plait, 'plait_request_duration_seconds_count'), 3);
  assert.equal(await metric(plait, 'plait_request_duration_seconds_bucket', { le: '60' }), 3);
});
