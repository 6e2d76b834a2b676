// Ports: nobody takes one that another process has, unless it says so; and [::] takes the clients of IPv4, who are IPv4's
// everywhere.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, request } from './lib/clients.mjs';
import { adminGet, io, metric, runPlait, startConfigured, startPlait, startProxy } from './lib/plait.mjs';
import { defer, eventually, isListening, temporaryDirectory, within } from './lib/process.mjs';

const echo = (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(headers));
};
const get = (port) => exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
const inUse = 'cannot listen: Address already in use; if another plait of this user has it, share_port = true or --share-port listens beside it';

test('a port that another plait has is refused, for clients and for the admin, and the way to share it is named', async (t) => {
  const backend = await startH2Backend(t, echo);
  const first = await startProxy(t, [backend], { admin: true, args: ['--workers', '2'] });
  const start = (...args) => runPlait(['-b', backend.url, '--io', io, ...args]);
  const refused = await start('--listen', `127.0.0.1:${first.port}`);
  assert.deepEqual([refused.code, refused.stderr], [2, `plait: --listen 127.0.0.1:${first.port}: ${inUse}\n`]);
  const admin = await start('--listen', '127.0.0.1:0', '--admin', `127.0.0.1:${first.admin}`);
  assert.deepEqual([admin.code, admin.stderr.split('\n').at(-2)], [2, `plait: --admin 127.0.0.1:${first.admin}: ${inUse}`]);
  const all = await start('-p', `${first.port}`);
  assert.deepEqual([all.code, all.stderr], [2, `plait: --port ${first.port}: ${inUse}\n`]);
  assert.match(await get(first.port), /^HTTP\/1\.1 200 /, 'the first serves on');
  // A program that does not share its port has it alone in any case.
  const alone = net.createServer().listen(0, '127.0.0.1');
  await eventually(() => alone.listening, 'another program listens');
  defer(t, () => alone.close());
  const { port } = alone.address();
  const beside = await start('--listen', `127.0.0.1:${port}`, '--share-port');
  assert.deepEqual([beside.code, beside.stderr], [2, `plait: --listen 127.0.0.1:${port}: cannot listen: Address already in use\n`]);
});

test('of many that start on one port at once one has it', async (t) => {
  const backend = await startH2Backend(t, echo);
  const placeholder = net.createServer().listen(0, '127.0.0.1');
  await eventually(() => placeholder.listening, 'a port is chosen');
  const { port } = placeholder.address();
  await new Promise((resolve) => placeholder.close(resolve));
  const starts = await Promise.allSettled(Array.from({ length: 6 }, () => startPlait(t, ['-b', backend.url, '--listen', `127.0.0.1:${port}`, '--workers', '2'])));
  assert.equal(starts.filter((one) => one.status === 'fulfilled').length, 1);
  for (const one of starts) if (one.status === 'rejected') assert.match(one.reason.message, /cannot listen: Address already in use/);
  assert.match(await get(port), /^HTTP\/1\.1 200 /);
});

test('workers share the port of their process', async (t) => {
  const backend = await startH2Backend(t, echo);
  const plait = await startProxy(t, [backend], { admin: true, args: ['--workers', '2'] });
  const sockets = Array.from({ length: 64 }, () => net.connect(plait.port, '127.0.0.1'));
  defer(t, () => sockets.forEach((socket) => socket.destroy()));
  const used = (worker) => metric(plait, 'plait_slab_used', { worker, slab: 'client_connections' });
  await eventually(async () => (await used(0)) + (await used(1)) === 64, 'all are accepted');
  assert.ok((await used(0)) > 8 && (await used(1)) > 8, 'by both');
});

// Requests one after the other, each on a connection of its own and on one that is kept; counts what came of them.
function startLoad(t, port) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const counts = { answered: 0, failed: [] };
  let isOn = true;
  const ask = (options) => new Promise((resolve) => {
    const one = http.get({ host: '127.0.0.1', port, ...options }, (response) => {
      response.resume().on('end', () => {
        if (response.statusCode === 200) counts.answered += 1;
        else counts.failed.push(response.statusCode);
        resolve();
      }).on('error', (error) => resolve(counts.failed.push(error.code)));
    }).on('error', (error) => resolve(counts.failed.push(error.code)));
    one.setTimeout(20_000, () => one.destroy(new Error('no answer')));
  });
  const run = async (options) => {
    while (isOn) await ask(options);
  };
  const done = Promise.all([run({ agent: false }), run({ agent })]).then(() => agent.destroy());
  const stop = async () => {
    isOn = false;
    await within(30_000, done, 'the load ends');
    return counts;
  };
  defer(t, stop);
  return { counts, stop };
}

test('a plait that shares the port relieves the one before it, and clients notice nothing', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const toml = (port, admin) => `[server]\nworkers = 2\nshare_port = true\n[[listen]]\naddress = "127.0.0.1:${port}"\n[[backend]]\nurl = "${backend.url}"\n[admin]\naddress = "127.0.0.1:${admin}"\n`;
  const first = await startConfigured(t, toml(0, 0));
  const load = startLoad(t, first.port);
  await eventually(() => load.counts.answered > 50, 'the first answers');
  const second = await startConfigured(t, toml(first.port, first.admin));
  assert.deepEqual([second.port, second.admin], [first.port, first.admin]);
  assert.equal(await first.stop(), 0);
  const before = load.counts.answered;
  await eventually(() => load.counts.answered > before + 50, 'the second answers alone');
  const { failed } = await load.stop();
  // Between its last accept and the close of its socket the kernel may complete one more handshake for the first.
  assert.ok(failed.length <= 1 && failed.every((what) => what === 'ECONNRESET'), `no request fails: ${failed}`);
  assert.equal((await adminGet(second, '/ready')).status, 200);
});

test('[::] takes IPv4, and such a client is one of IPv4 in logs, fields and among trusted proxies', async (t) => {
  const backend = await startH2Backend(t, echo);
  const log = path.join(temporaryDirectory(t), 'a.log');
  const toml = (more) => `[[listen]]\naddress = "[::]:0"\n[[backend]]\nurl = "${backend.url}"\n[access_log]\nfile = "${log}"\nformat = "json"\n[forwarding]\nforwarded = true\n${more}`;
  const line = (find) => eventually(() => readFileSync(log, 'utf8').split('\n').filter((one) => one !== '').map((one) => JSON.parse(one)).find((one) => one.path === find), 'the line is there');
  const plait = await startConfigured(t, toml(''));
  assert.equal(plait.listeners[0].host, '[::]');
  const seen = JSON.parse((await request(connectH2(t, plait.port), { ':path': '/plain', 'x-forwarded-for': '203.0.113.7' })).body);
  assert.equal(seen['x-forwarded-for'], '127.0.0.1');
  assert.match(seen.forwarded, /^for=127\.0\.0\.1;/);
  assert.equal((await line('/plain')).client, '127.0.0.1');
  const trusting = await startConfigured(t, toml('trusted_proxies = ["127.0.0.0/8"]\n'));
  const kept = JSON.parse((await request(connectH2(t, trusting.port), { ':path': '/trusted', 'x-forwarded-for': '::ffff:203.0.113.7' })).body);
  assert.equal(kept['x-forwarded-for'], '::ffff:203.0.113.7, 127.0.0.1', 'what a trusted proxy says goes on as it said it');
  assert.deepEqual([(await line('/trusted')).client, (await line('/trusted')).real_client], ['127.0.0.1', '203.0.113.7']);
});

test('only_v6 leaves IPv4 to others', async (t) => {
  const backend = await startH2Backend(t, echo);
  const only = await startConfigured(t, `[[listen]]\naddress = "[::]:0"\nonly_v6 = true\n[[backend]]\nurl = "${backend.url}"\n`);
  assert.equal(await isListening(only.port), false);
  const { stdout, code } = await runPlait(['check', '-b', backend.url, '--listen', '[::]:8080', '-p', '8080']);
  assert.deepEqual([stdout, code], ['', 2]);
});
