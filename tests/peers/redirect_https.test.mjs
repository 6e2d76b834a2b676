// A plain listener that sends everybody to HTTPS: the method stays, nothing reaches a backend, and nobody is sent in
// circles.
import assert from 'node:assert/strict';
import { renameSync, writeFileSync } from 'node:fs';
import test from 'node:test';
import { startH1Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, request } from './lib/clients.mjs';
import { plaitBin, runPlait, startPlait, writeConfiguration } from './lib/plait.mjs';
import { eventually, run } from './lib/process.mjs';

async function start(t, { listen = 'redirect_https = true', more = '' } = {}) {
  const backend = await startH1Backend(t, (incoming, response) => incoming.resume().on('end', () => response.end('served')));
  const toml = (keys) => `[[listen]]\naddress = "127.0.0.1:0"\n${keys}\n[[backend]]\nurl = "${backend.url}"\n`
    + `[admin]\nsocket = "plait.sock"\n[forwarding]\ntrusted_proxies = ["127.0.0.0/8"]\n${more}`;
  const file = writeConfiguration(t, toml(listen));
  const plait = await startPlait(t, ['-c', file, '--access-log', '-', '--log-format', 'json']);
  const reload = async (keys) => {
    writeFileSync(`${file}.new`, toml(keys));
    renameSync(`${file}.new`, file);
    return (await run(plaitBin, ['reload', '-c', file])).stdout;
  };
  return Object.assign(plait, { file, backend, reload });
}

// [status, location] over a connection of its own.
async function ask(plait, { method = 'GET', target = '/', host = 'shop.example', fields = '', version = '1.1', body = '' } = {}) {
  const head = `${method} ${target} HTTP/${version}\r\n${host ? `Host: ${host}\r\n` : ''}Connection: close\r\n${fields}\r\n${body}`;
  const answer = await exchangeRaw(plait.port, head);
  return [Number(answer.match(/^HTTP\/1\.1 (\d+)/)[1]), answer.match(/^location: (.*)\r$/im)?.[1]];
}

test('every request is answered with 308 and its URL over HTTPS', async (t) => {
  const plait = await start(t);
  for (const [asked, location] of [
    [{}, 'https://shop.example/'],
    [{ target: '/a%2Fb//c;d?q=1&r=/..', host: 'shop.example:8080' }, 'https://shop.example/a%2Fb//c;d?q=1&r=/..'],
    [{ target: '/.well-known/acme-challenge/x' }, 'https://shop.example/.well-known/acme-challenge/x'],
    [{ host: '[::1]:80' }, 'https://[::1]/'],
    [{ method: 'OPTIONS', target: '*' }, 'https://shop.example/'],
    [{ method: 'POST', target: '/form', fields: 'Content-Length: 4\r\n', body: 'body' }, 'https://shop.example/form'],
    [{ target: 'http://other.example:81/x' }, 'https://other.example/x'],
    [{ fields: 'X-Forwarded-Proto: http\r\n' }, 'https://shop.example/'],
    [{ fields: 'Upgrade: websocket\r\nConnection: upgrade\r\n' }, 'https://shop.example/'],
  ]) assert.deepEqual(await ask(plait, asked), [308, location], JSON.stringify(asked));
  assert.equal((await ask(plait, { host: '', version: '1.0' }))[0], 400, 'a request without a host');
  const { headers } = await request(connectH2(t, plait.port), { ':method': 'HEAD', ':path': '/h2?a', ':authority': 'shop.example:1' });
  assert.deepEqual([headers[':status'], headers.location], [308, 'https://shop.example/h2?a']);
  assert.equal(plait.backend.opened ?? 0, 0, 'no backend has heard of any');
  await eventually(() => plait.stdout().includes('"/h2?a"'), 'the request is logged');
  const line = plait.stdout().split('\n').filter((one) => one.startsWith('{')).map((one) => JSON.parse(one)).find((one) => one.path === '/h2?a');
  assert.deepEqual([line.status, line.route, line.complete, line.upstream], [308, '(redirect_https)', true, '']);
});

test('a client of a trusted proxy that speaks TLS there is served', async (t) => {
  const plait = await start(t);
  assert.deepEqual(await ask(plait, { fields: 'X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n' }), [200, undefined]);
  assert.deepEqual(await ask(plait, { fields: 'X-Forwarded-Proto: HTTPS, http\r\n' }), [200, undefined]);
});

test('nobody who is no trusted proxy gets round it by a field, and a PROXY header changes nothing', async (t) => {
  const listen = 'redirect_https = true\nproxy_protocol = "require"\nproxy_trusted = ["127.0.0.1"]';
  const plait = await start(t, { listen });
  const answer = await exchangeRaw(plait.port, 'PROXY TCP4 192.0.2.1 192.0.2.2 1 80\r\n'
    + 'GET / HTTP/1.1\r\nHost: shop.example\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 308 [^]*location: https:\/\/shop\.example\/\r\n/i);
});

test('a reload begins and ends it, on the same port', async (t) => {
  const plait = await start(t, { listen: '' });
  assert.deepEqual(await ask(plait), [200, undefined]);
  assert.match(await plait.reload('redirect_https = true'), /^generation 2\nredirecting to HTTPS: 127\.0\.0\.1:\d+\n$/);
  assert.deepEqual(await ask(plait), [308, 'https://shop.example/']);
  const { stdout } = await run(plaitBin, ['status', '-c', plait.file]);
  assert.match(stdout, /^listener 127\.0\.0\.1:\d+ plain, redirects to HTTPS$/m);
  assert.match(await plait.reload(''), /^generation 3\nnot redirecting any more to HTTPS: 127\.0\.0\.1:\d+\n$/);
  assert.deepEqual(await ask(plait), [200, undefined]);
});

test('explain says it, and check refuses it where there is TLS', async (t) => {
  const toml = (keys) => writeConfiguration(t, `[[listen]]\naddress = "127.0.0.1:8080"\n${keys}\n[[listen]]\naddress = "127.0.0.1:8081"\n`
    + '[[backend]]\nurl = "h2c://127.0.0.1:1"\n');
  const file = toml('redirect_https = true');
  const redirected = await runPlait(['explain', file, 'http://shop.example:8080/x?y']);
  assert.match(redirected.stdout, /^listener: 127\.0\.0\.1:8080, which redirects to HTTPS\nanswer: 308 to https:\/\/shop\.example\/x\?y\n$/m);
  for (const url of ['http://shop.example:8081/', 'https://shop.example/'])
    assert.match((await runPlait(['explain', file, url])).stdout, /^cluster: default$/m);
  const { code, stderr } = await runPlait(['check', toml('tls = "auto"\nredirect_https = true\ncert = "a"\nkey = "b"')]);
  assert.equal(code, 2);
  assert.match(stderr, /plait\.toml:4:18: redirect_https: this listener speaks TLS: it is for a plain one beside it/);
});
