// Handshakes that are refused: the peer hears why, although it is still sending; and what is claimed for them comes back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import tls from 'node:tls';
import { startH1Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { exchangeRaw } from './lib/clients.mjs';
import { metric, startConfigured, startPlait, startProxy } from './lib/plait.mjs';
import { defer, eventually, run, within } from './lib/process.mjs';

const ok = (incoming, response) => response.end('ok');

test('a client without the certificate that is asked for hears so, each time', async (t) => {
  const backend = await startH1Backend(t, ok);
  const { cert, key } = await certificate(t);
  const plait = await startConfigured(t, `
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${cert}"
key = "${key}"
client_ca = "${cert}"
[[backend]]
url = "${backend.url}"
`);
  // With TLS 1.3 a client takes itself for connected, and sends its request, before the server has seen its certificate.
  for (const args of [[], ['--http1.1'], ['-d', 'x'.repeat(100_000)]]) {
    for (let i = 0; i < 4; i += 1) {
      await assert.rejects(run('curl', ['-sS', '-m', '20', '--cacert', cert, ...args, `https://localhost:${plait.port}/`]), /alert certificate required/);
    }
  }
  await assert.rejects(run('curl', ['-sS', '-m', '20', '--tls-max', '1.2', '--cacert', cert, `https://localhost:${plait.port}/`]), /alert handshake failure/);
  const s_client = run('openssl', ['s_client', '-connect', `127.0.0.1:${plait.port}`, '-CAfile', cert, '-ign_eof']);
  s_client.child.stdin.end('GET / HTTP/1.1\r\nhost: a\r\n\r\n'.repeat(5000));
  const { stdout, stderr } = await s_client.catch((error) => error);
  assert.match(stdout + stderr, /alert certificate required/);
  const plain = await run('curl', ['-sS', '-m', '20', '--cacert', cert, '--cert', cert, '--key', key, `https://localhost:${plait.port}/`]);
  assert.equal(plain.stdout, 'ok');
});

test('a backend whose certificate is refused hears why', async (t) => {
  const { cert, key, pem } = await certificate(t);
  const errors = [];
  const server = tls.createServer({ ...pem, ALPNProtocols: ['http/1.1'] }).on('tlsClientError', (error) => errors.push(error.code));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => server.close());
  const plait = await startPlait(t, ['-b', `https://localhost:${server.address().port}`, '--listen', '127.0.0.1:0']);
  assert.match(await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 50[23] /);
  await eventually(() => errors.length !== 0, 'the backend is told');
  assert.ok(errors.every((code) => /ALERT_(UNKNOWN_CA|BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)/.test(code)), errors.join());
  assert.ok(cert && key);
});

test('text on a port of TLS is answered with a sentence', async (t) => {
  const backend = await startH1Backend(t, ok);
  const plait = await startProxy(t, [backend.url], { tls: true, args: ['--access-log', '-', '--log-format', 'json'] });
  const requests = [
    'GET / HTTP/1.1\r\nHost: a\r\n\r\n',
    'DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    `POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n${'b'.repeat(200_000)}`,
  ];
  for (const text of requests) {
    const answer = await exchangeRaw(plait.tlsPort, text);
    assert.match(answer, /^HTTP\/1\.1 400 Bad Request\r\n/);
    assert.match(answer, /\r\nconnection: close\r\n/i);
    const [, head, body] = answer.match(/^([^]*?\r\n\r\n)([^]*)$/);
    assert.match(body, /^This is a TLS port: use https:\/\/ instead of http:\/\/\.\n$/);
    assert.equal(Number(head.match(/content-length: (\d+)/i)[1]), body.length);
    assert.match(head, /\r\nproxy-status: plait; error=http_request_error\r\n/i);
    const id = head.match(/\r\nx-request-id: ([0-9a-f]{16})\r\n/i)[1];
    const line = await eventually(() => plait.stdout().split('\n').find((one) => one.includes(id)), 'the access log has it');
    const { status, cause, reason, complete } = JSON.parse(line);
    assert.deepEqual([status, cause, reason, complete], [400, 'tls_failed', 'text was sent where TLS is spoken', true]);
  }
  // What is no text is no HTTP either.
  const socket = net.connect(plait.tlsPort, '127.0.0.1').on('error', () => {});
  socket.write(Buffer.from([0x80, 1, 2, 3, 4, 5, 6, 7]));
  const chunks = [];
  socket.on('data', (chunk) => chunks.push(chunk));
  await within(10_000, once(socket, 'close'), 'the connection ends');
  assert.doesNotMatch(Buffer.concat(chunks).toString('latin1'), /HTTP/);
});

test('memory that short hellos claim for long ones is there for honest clients', async (t) => {
  const backend = await startH1Backend(t, ok);
  const { cert, key, pem } = await certificate(t);
  const plait = await startConfigured(t, `
[server]
workers = 1
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${cert}"
key = "${key}"
[[backend]]
url = "${backend.url}"
[admin]
address = "127.0.0.1:0"
[limits]
client_connections = 300
`);
  const open = () => {
    const socket = net.connect(plait.port, '127.0.0.1').on('error', () => {}).resume();
    return within(10_000, once(socket, 'connect'), 'an attacker connects').then(() => socket);
  };
  // The longest that is waited for, and one that says it is as long as OpenSSL allows.
  for (const size of [16_384, 131_072 - 256]) {
    const attackers = await Promise.all(Array.from({ length: 280 }, open));
    const hello = Buffer.concat([Buffer.from([22, 3, 1, 0, 20, 1, size >> 16, size >> 8 & 255, size & 255]), Buffer.alloc(16)]);
    for (const socket of attackers) socket.write(hello);
    if (size > 16_384) {
      // These are refused at once, with an alert.
      await within(20_000, Promise.all(attackers.map((socket) => once(socket, 'end').catch(() => {}))), 'long hellos are refused');
    } else {
      await eventually(async () => await metric(plait, 'plait_tls_arena_used_bytes') > 280 * 16_384, 'memory is claimed');
    }
    for (const socket of attackers) socket.destroy();
  }
  const honest = Array.from({ length: 280 }, () => tls.connect({ port: plait.port, host: '127.0.0.1', servername: 'localhost', ca: pem.cert }));
  defer(t, () => honest.forEach((socket) => socket.destroy()));
  await within(60_000, Promise.all(honest.map((socket) => once(socket, 'secureConnect'))), 'everybody honest is served');
});
