// Every backend that plait promises to get on with, by the URL that names it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import test from 'node:test';
import {
  documentRoot, startH1Backend, startH2Backend, startH2o, startNghttpd, startNginx,
} from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, curl, request } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';

const sumOf = (bytes) => createHash('sha256').update(bytes).digest('hex');
const small = Buffer.alloc(100, 's');
const large = Buffer.alloc(1 << 20, 'l');

// What any file server answers, over HTTP/2 and over HTTP/1.1 in front.
async function checkFiles(t, url, args = []) {
  const plait = await startProxy(t, [url], { args });
  const client = connectH2(t, plait.port);
  for (const [path, content] of [['/small', small], ['/large', large], ['/small', small]]) {
    const got = await request(client, { ':path': path });
    assert.equal(got.status, 200, path);
    assert.equal(got.body, content.toString(), `${path} is whole`);
  }
  const head = await request(client, { ':path': '/large', ':method': 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal(head.body, '');
  assert.equal((await request(client, { ':path': '/not-there' })).status, 404);
  const many = await Promise.all(Array.from({ length: 50 }, () => request(client, { ':path': '/small' })));
  assert.ok(many.every((one) => one.status === 200 && one.body === small.toString()), '50 at once');
  const h1 = await curl(['--http1.1', `http://127.0.0.1:${plait.port}/large`]);
  assert.equal(h1.status, 200);
  assert.equal(sumOf(h1.body), sumOf(large));
}

// What a program answers: it echoes the body of a POST.
async function checkEcho(t, url, args = []) {
  const plait = await startProxy(t, [url], { args });
  const client = connectH2(t, plait.port);
  for (const body of ['short', 'x'.repeat(300_000)]) {
    const got = await request(client, { ':path': '/echo', ':method': 'POST' }, { body });
    assert.equal(got.status, 200);
    assert.equal(got.body, body);
  }
  const many = await Promise.all(Array.from({ length: 50 }, (_, i) => (
    request(client, { ':path': '/echo', ':method': 'POST' }, { body: `body ${i}` }))));
  many.forEach((one, i) => assert.equal(one.body, `body ${i}`));
}

const echoH1 = (incoming, response) => incoming.pipe(response);
const echoH2 = (stream) => {
  stream.respond({ ':status': 200 });
  stream.pipe(stream);
};

test('nghttpd over h2c serves files', async (t) => checkFiles(t, (await startNghttpd(t, documentRoot(t))).url));

test('nghttpd over TLS serves files', async (t) => {
  const secure = await certificate(t);
  await checkFiles(t, (await startNghttpd(t, documentRoot(t), { secure })).url, ['--ca-file', secure.cert]);
});

test('nginx over HTTP/1.1 serves files', async (t) => checkFiles(t, (await startNginx(t, documentRoot(t))).url));

test('nginx over TLS with ALPN h2 serves files', async (t) => {
  const secure = await certificate(t);
  await checkFiles(t, (await startNginx(t, documentRoot(t), { secure, h2: true })).url, ['--insecure']);
});

test('nginx over TLS with HTTP/1.1 alone serves files', async (t) => {
  const secure = await certificate(t);
  await checkFiles(t, (await startNginx(t, documentRoot(t), { secure })).url, ['--insecure']);
});

test('h2o over h2c serves files', async (t) => checkFiles(t, (await startH2o(t, documentRoot(t))).url));

test('h2o over TLS serves files', async (t) => {
  const secure = await certificate(t);
  await checkFiles(t, (await startH2o(t, documentRoot(t), { secure })).url, ['--insecure']);
});

test('node http2 over h2c echoes bodies', async (t) => checkEcho(t, (await startH2Backend(t, echoH2)).url));

test('node http2 over TLS echoes bodies', async (t) => {
  const { pem: secure } = await certificate(t);
  await checkEcho(t, (await startH2Backend(t, echoH2, { secure })).url, ['--insecure']);
});

test('an HTTP/1.1 backend echoes bodies', async (t) => checkEcho(t, (await startH1Backend(t, echoH1)).url));

test('an https backend whose ALPN knows HTTP/1.1 alone echoes bodies', async (t) => {
  const { pem: secure } = await certificate(t);
  await checkEcho(t, (await startH1Backend(t, echoH1, { secure })).url, ['--insecure']);
});

test('an https backend without any ALPN echoes bodies over HTTP/1.1', async (t) => {
  const { pem: secure } = await certificate(t);
  await checkEcho(t, (await startH1Backend(t, echoH1, { secure, noAlpn: true })).url, ['--insecure']);
});

test('a bare host:port finds out that a backend speaks HTTP/2', async (t) => {
  const backend = await startH2Backend(t, echoH2);
  await checkEcho(t, backend.address);
  assert.ok(backend.opened <= 8, `${backend.opened} connections: the requests were multiplexed`);
});

test('a bare host:port finds out that a backend speaks HTTP/1.1, and asks it only once', async (t) => {
  const backend = await startH1Backend(t, echoH1);
  let malformed = 0;
  backend.http.on('clientError', (error, socket) => {
    malformed += 1;
    socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  });
  await checkEcho(t, backend.address);
  assert.ok(malformed <= 2, `the HTTP/2 preface was sent ${malformed} times; what was learnt is remembered`);
});

test('a bare host:port gets on with nginx, which speaks HTTP/1.1 without TLS', async (t) => (
  checkFiles(t, (await startNginx(t, documentRoot(t))).address)));

test('one proxy speaks HTTP/2 to one backend and HTTP/1.1 to another', async (t) => {
  const modern = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('h2');
  });
  const old = await startH1Backend(t, (incoming, response) => response.end('h1'));
  const plait = await startProxy(t, [modern, old]);
  const client = connectH2(t, plait.port);
  const bodies = new Set();
  for (let i = 0; i < 20; i += 1) bodies.add((await request(client, { ':path': '/' })).body);
  assert.deepEqual([...bodies].sort(), ['h1', 'h2']);
});
