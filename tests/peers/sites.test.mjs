// Several sites on one port, as clients of OpenSSL see them.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import path from 'node:path';
import test from 'node:test';
import tls from 'node:tls';
import { startH1Backend } from './lib/backends.mjs';
import { plaitBin, startConfigured } from './lib/plait.mjs';
import { defer, eventually, run, temporaryDirectory, within } from './lib/process.mjs';
import { ask, issue } from './lib/sites.mjs';

async function start(t, certificates) {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  return startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n${certificates}[[backend]]\nurl = "${backend.url}"\n`);
}

test('each client gets the certificate of the site that it names', async (t) => {
  const directory = await temporaryDirectory(t);
  const plait = await start(t, [
    await issue(directory, 'first', ['first.test']),
    await issue(directory, 'wild', ['*.shop.test', 'shop.test']),
    await issue(directory, 'exact', ['api.shop.test']),
  ].map((one) => one.toml).join(''));
  for (const [servername, name] of [['first.test', 'first'], ['shop.test', 'wild'], ['www.shop.test', 'wild'], ['api.shop.test', 'exact'],
    ['a.b.shop.test', 'first'], ['elsewhere.test', 'first'], ['', 'first']]) {
    const seen = await ask(plait.port, servername);
    assert.equal(seen.name, name, servername);
    assert.match(seen.answer, /^HTTP\/1\.1 200 /);
  }
});

test('RSA and ECDSA stand side by side, and tickets are for their name', async (t) => {
  const directory = await temporaryDirectory(t);
  const ec = await issue(directory, 'ec', ['both.test', 'one.test']);
  const rsa = await issue(directory, 'rsa', ['both.test', 'one.test'], 'rsa');
  const plait = await start(t, ec.toml + rsa.toml);
  assert.equal((await ask(plait.port, 'both.test')).kind, 'ec');
  assert.equal((await ask(plait.port, 'both.test', { sigalgs: 'rsa_pss_rsae_sha256:RSA+SHA256' })).kind, 'rsa');
  assert.equal((await ask(plait.port, 'both.test', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-RSA-AES128-GCM-SHA256' })).kind, 'rsa');
  for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
    const { ticket } = await ask(plait.port, 'both.test', { maxVersion });
    assert.equal((await ask(plait.port, 'both.test', { maxVersion, session: ticket })).resumed, true);
    assert.equal((await ask(plait.port, 'one.test', { maxVersion, session: ticket })).resumed, false);
  }
});

test('a site asks its clients for a certificate, and another does not', async (t) => {
  const directory = await temporaryDirectory(t);
  const client = await issue(directory, 'client', ['client.test']);
  const open = await issue(directory, 'open', ['open.test']);
  const closed = await issue(directory, 'closed', ['closed.test']);
  const asking = await issue(directory, 'asking', ['asking.test']);
  const plait = await start(t, `${open.toml}${closed.toml}client_ca = "${client.cert}"\n${asking.toml}client_ca = "${client.cert}"\nclient_auth = "request"\n`);
  const known = { cert: readFileSync(client.cert), key: readFileSync(client.key) };
  assert.match((await ask(plait.port, 'open.test')).answer, /^HTTP\/1\.1 200 /);
  assert.match((await ask(plait.port, 'asking.test')).answer, /^HTTP\/1\.1 200 /);
  assert.match((await ask(plait.port, 'asking.test', known)).answer, /^HTTP\/1\.1 200 /);
  assert.match((await ask(plait.port, 'closed.test', known)).answer, /^HTTP\/1\.1 200 /);
  await assert.rejects(ask(plait.port, 'closed.test'), /certificate required/);
});

// Answers to requests for these hosts, over one connection that was made for `servername`.
async function overOneConnection(t, port, servername, hosts, options = {}) {
  const session = http2.connect(`https://127.0.0.1:${port}`, { servername, rejectUnauthorized: false, ...options });
  defer(t, () => session.destroy());
  const answers = [];
  for (const host of hosts) {
    const stream = session.request({ ':authority': host, ':path': '/' });
    const [headers] = await within(10_000, once(stream, 'response'), `an answer for ${host}`);
    stream.resume();
    answers.push(headers[':status']);
  }
  return answers;
}

async function overOneHttp1Connection(port, servername, hosts) {
  const socket = tls.connect({ port, host: '127.0.0.1', servername, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
  await within(10_000, once(socket, 'secureConnect'), 'a connection');
  let text = '';
  socket.on('data', (chunk) => { text += chunk; });
  const statuses = () => [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status));
  for (const [i, host] of hosts.entries()) {
    socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
    await eventually(() => statuses().length === i + 1, `an answer for ${host}`);
  }
  socket.destroy();
  return statuses();
}

test('a request for a site that asks for more than the one of the handshake gets 421', async (t) => {
  const directory = await temporaryDirectory(t);
  const client = await issue(directory, 'client', ['client.test']);
  const open = await issue(directory, 'open', ['open.test']);
  const also = await issue(directory, 'also', ['also.test']);
  const closed = await issue(directory, 'closed', ['closed.test']);
  const plait = await start(t, `${open.toml}${also.toml}${closed.toml}client_ca = "${client.cert}"\n`);
  const hosts = ['open.test', 'ALSO.test:443', 'closed.test', 'Closed.Test.:8443', 'elsewhere.test', 'open.test'];
  assert.deepEqual(await overOneConnection(t, plait.port, 'open.test', hosts), [200, 200, 421, 421, 200, 200]);
  assert.deepEqual(await overOneHttp1Connection(plait.port, 'open.test', hosts), [200, 200, 421, 421, 200, 200]);
  const known = { cert: readFileSync(client.cert), key: readFileSync(client.key) };
  assert.deepEqual(await overOneConnection(t, plait.port, 'closed.test', hosts, known), [421, 421, 200, 200, 421, 421]);
});

test('of many certificates each key is loaded for its first client, and one that is missing is said', async (t) => {
  const directory = await temporaryDirectory(t);
  const sites = await Promise.all(Array.from({ length: 80 }, (_, i) => issue(directory, `site${i}`, [`site${i}.test`])));
  const file = path.join(directory, 'plait.toml');
  const config = sites.map((one) => one.toml).join('');
  const plait = await start(t, config);
  renameSync(sites[7].key, `${sites[7].key}.away`);
  for (const i of [79, 0, 42]) assert.equal((await ask(plait.port, `site${i}.test`)).name, `site${i}`);
  await Promise.all(Array.from({ length: 60 }, (_, i) => i + 8).map(async (i) => assert.equal((await ask(plait.port, `site${i}.test`)).name, `site${i}`)));
  await assert.rejects(ask(plait.port, 'site7.test'), /internal error/);
  await eventually(() => /error certificate: cannot read the private key .*site7\.key: No such file or directory/.test(plait.stderr()), 'the log says so');
  // A key that has come back is used at once.
  renameSync(`${sites[7].key}.away`, sites[7].key);
  assert.equal((await ask(plait.port, 'site7.test')).name, 'site7');
  // plait check reads all of them.
  const listen = '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n[[backend]]\nurl = "h2c://127.0.0.1:9"\n';
  writeFileSync(file, config + listen);
  assert.match((await run(plaitBin, ['check', file])).stdout, /: ok/);
  writeFileSync(sites[50].key, 'no key');
  const line = config.slice(0, config.indexOf(sites[50].key)).split('\n').length;
  await assert.rejects(run(plaitBin, ['check', file]), (error) => {
    assert.match(error.stderr, new RegExp(`plait\\.toml:${line}:7: cannot read the private key .*site50\\.key: it is no PEM file`));
    return true;
  });
});

test('mistakes about sites are said with their lines', async (t) => {
  const directory = await temporaryDirectory(t);
  const one = await issue(directory, 'one', ['one.test'], 'rsa');
  const two = await issue(directory, 'two', ['one.test']);
  const soon = await issue(directory, 'soon', ['soon.test'], 'ec', 10);
  const file = path.join(directory, 'plait.toml');
  const check = async (text) => {
    writeFileSync(file, `${text}[[backend]]\nurl = "h2c://127.0.0.1:9"\n`);
    const { stdout, stderr } = await run(plaitBin, ['check', file]).catch((error) => error);
    return stdout + stderr;
  };
  const listen = '[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n';
  assert.match(await check(`${listen}cert = "${one.cert}"\nkey = "${one.key}"\n${two.toml}`), /plait\.toml:4:8: a listener has a certificate of its own, or those of \[\[certificate\]\]/);
  assert.match(await check(`[[listen]]\naddress = "127.0.0.1:0"\n${two.toml}`), /plait\.toml:3:1: no listener uses it/);
  assert.match(await check(`${listen}${one.toml}client_auth = "request"\n`), /plait\.toml:7:15: client_auth: without client_ca/);
  assert.match(await check(`${listen}${one.toml}${two.toml}client_ca = "${soon.cert}"\n`), /plait\.toml:8:8: the certificates .* are both for one\.test, and differ in their client_ca or TLS settings/);
  assert.match(await check(`${listen}${one.toml}ciphers = ["ECDHE-RSA-AES128-SHA256"]\n`), /plait\.toml:4:1: the cipher ECDHE-RSA-AES128-SHA256 is forbidden for HTTP\/2/);
  assert.match(await check(`${listen}[[certificate]]\ncert = "${one.cert}"\n`), /plait\.toml:4:1: \[\[certificate\]\] needs key = "FILE"/);
  const warned = await check(`${listen}${soon.toml}`);
  assert.match(warned, /plait\.toml:5:8: warning: the certificate .*soon\.pem expires in (9|10) days, at \d{4}-/);
  assert.match(warned, /: ok/);
});
