// Every client that people have, on every protocol that it can speak, in front of one HTTP/2 backend.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import http from 'node:http';
import test from 'node:test';
import tls from 'node:tls';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, curl, h2load, openRaw, request } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { run, within } from './lib/process.mjs';

const answer = (stream, headers) => {
  const hash = createHash('sha256');
  stream.on('data', (chunk) => hash.update(chunk));
  stream.on('end', () => {
    const body = JSON.stringify({ method: headers[':method'], path: headers[':path'], sum: hash.digest('hex') });
    stream.respond({ ':status': 200, 'content-length': body.length });
    stream.end(headers[':method'] === 'HEAD' ? undefined : body);
  });
};
const sumOf = (text) => createHash('sha256').update(text).digest('hex');

for (const [name, flags, scheme, version] of [
  ['HTTP/1.1', ['--http1.1'], 'http', '1.1'],
  ['HTTP/1.0', ['--http1.0'], 'http', null],
  ['h2c by prior knowledge', ['--http2-prior-knowledge'], 'http', '2'],
  ['HTTP/1.1 that offers an upgrade to h2c', ['--http2'], 'http', '1.1'],
  ['HTTP/1.1 over TLS', ['--http1.1'], 'https', '1.1'],
  ['h2 over TLS', ['--http2'], 'https', '2'],
]) {
  test(`curl over ${name}: GET, POST, PUT, HEAD and DELETE are answered`, async (t) => {
    const backend = await startH2Backend(t, answer);
    const plait = await startProxy(t, [backend], { tls: scheme === 'https' });
    const url = scheme === 'https' ? `https://localhost:${plait.tlsPort}/p?q=1` : `http://127.0.0.1:${plait.port}/p?q=1`;
    const common = [...flags, ...(scheme === 'https' ? ['--cacert', plait.certificate.cert] : [])];
    for (const [method, extra, body] of [
      ['GET', [], ''], ['DELETE', ['-X', 'DELETE'], ''], ['POST', ['-d', 'some data'], 'some data'],
      ['PUT', ['-X', 'PUT', '-d', 'x'.repeat(5000)], 'x'.repeat(5000)],
    ]) {
      const got = await curl([...common, ...extra, url]);
      assert.equal(got.exit, 0, `${method}: curl's exit code`);
      assert.equal(got.status, 200, method);
      if (version) assert.equal(got.version, version);
      assert.deepEqual(JSON.parse(got.body), { method, path: '/p?q=1', sum: sumOf(body) });
    }
    const head = await curl([...common, '-I', url]);
    assert.equal(head.status, 200);
    assert.match(head.body, /content-length: \d\d/i);
  });
}

test('nghttp fetches over h2c and over TLS', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend], { tls: true });
  for (const url of [`http://127.0.0.1:${plait.port}/n`, `https://127.0.0.1:${plait.tlsPort}/n`]) {
    const { stdout } = await run('nghttp', ['--timeout=10', `${url}1`, `${url}2`, `${url}3`]);
    assert.equal(stdout.match(/"path":"\/n[123]"/g).length, 3, `${url} is fetched three times over one connection`);
  }
});

test('h2load sees nothing but 2xx over h2c, h2 over TLS, and HTTP/1.1 plain and over TLS', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend], { tls: true });
  for (const [args, url] of [
    [['-m', '8'], `http://127.0.0.1:${plait.port}/`],
    [['-m', '8'], `https://127.0.0.1:${plait.tlsPort}/`],
    [['--h1'], `http://127.0.0.1:${plait.port}/`],
    [['--h1'], `https://127.0.0.1:${plait.tlsPort}/`],
  ]) {
    const figures = await h2load(['-n', '500', '-c', '5', ...args, url]);
    assert.equal(figures.ok, 500, figures.stdout);
  }
});

test('node’s http2 client runs 200 requests at once over one connection, plain and over TLS', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend], { tls: true });
  for (const session of [connectH2(t, plait.port), connectH2(t, plait.tlsPort, { ca: plait.certificate.pem.cert })]) {
    const answers = await Promise.all(Array.from({ length: 200 }, (_, i) => (
      request(session, { ':path': `/${i}`, ':method': 'POST' }, { body: `body ${i}` }))));
    answers.forEach(({ status, body }, i) => {
      assert.equal(status, 200);
      assert.deepEqual(JSON.parse(body), { method: 'POST', path: `/${i}`, sum: sumOf(`body ${i}`) });
    });
  }
});

test('node’s http client keeps one HTTP/1.1 connection for many requests', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend]);
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const ports = new Set();
  for (let i = 0; i < 20; i += 1) {
    const body = await within(10_000, new Promise((resolve, reject) => {
      const outgoing = http.request({ port: plait.port, host: '127.0.0.1', path: `/${i}`, agent, method: 'POST' }, (response) => {
        ports.add(response.socket.localPort);
        let text = '';
        response.on('data', (chunk) => { text += chunk; });
        response.on('end', () => resolve(text));
      });
      outgoing.on('error', reject);
      outgoing.end(`n${i}`);
    }), 'an answer over HTTP/1.1');
    assert.equal(JSON.parse(body).sum, sumOf(`n${i}`));
  }
  assert.equal(ports.size, 1, 'the connection was kept');
});

test('a TLS client without ALPN gets HTTP/1.1, and one that knows neither protocol is refused', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend], { tls: true });
  const { cert: ca } = plait.certificate.pem;
  const plain = await openRaw(t, plait.tlsPort, { ca });
  plain.write('GET /no-alpn HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  assert.match(await plain.ended(), /^HTTP\/1\.1 200 [\s\S]*\/no-alpn/);
  const other = await openRaw(t, plait.tlsPort, { ca, ALPNProtocols: ['acme/1'] });
  await other.ended();
  assert.equal(other.text, '');
  assert.notEqual(other.error, null, 'RFC 7301 §3.2: no_application_protocol');
});

for (const version of ['TLSv1.3', 'TLSv1.2']) {
  test(`whoever comes back over ${version} resumes its session, again and again, with any worker`, async (t) => {
    const backend = await startH2Backend(t, answer);
    const plait = await startProxy(t, [backend], { tls: true, args: ['--workers', '2'] });
    const { cert: ca } = plait.certificate.pem;
    let session;
    for (let i = 0; i < 6; ++i) {
      const socket = tls.connect({ port: plait.tlsPort, host: '127.0.0.1', servername: 'localhost', ca, session, minVersion: version, maxVersion: version });
      t.after(() => socket.destroy());
      socket.on('session', (ticket) => { session = ticket; });
      let isResumed;
      socket.on('secureConnect', () => {
        isResumed = socket.isSessionReused();
        socket.write('GET /again HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
      });
      const text = (await within(10_000, socket.setEncoding('utf8').toArray(), `answer ${i}`)).join('');
      assert.match(text, /^HTTP\/1\.1 200 [\s\S]*\/again/);
      assert.equal(isResumed, i !== 0, `connection ${i}`);
    }
  });
}
