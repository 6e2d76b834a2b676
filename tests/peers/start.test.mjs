// What plait does with what it finds when it starts: names that cannot be resolved, few file descriptors; and what a
// backend's GOAWAY tells the operator.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { startH1Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, request } from './lib/clients.mjs';
import { io, metric, plaitBin, runPlait, startPlait, startProxy, writeConfiguration } from './lib/plait.mjs';
import { defer, eventually, temporaryDirectory, within } from './lib/process.mjs';
import { errorCode, frame, frameType, startRawH2Backend, uint32 } from './lib/raw_h2.mjs';

const get = (port) => exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
const statusOf = (text) => Number(text.match(/^HTTP\/1\.1 (\d{3}) /)?.[1] ?? 0);

test('a name that cannot be resolved is a warning and a backend that is down', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const plait = await startProxy(t, ['http://no-such-name.invalid:80', backend.url], { admin: true });
  await eventually(() => /^\S+Z warning configuration: --backend http:\/\/no-such-name\.invalid:80: the name no-such-name\.invalid cannot be resolved: /m.test(plait.stderr()), 'the warning is there');
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: 'http://no-such-name.invalid:80' }), 0);
  for (let i = 0; i < 10; i += 1) assert.equal(statusOf(await get(plait.port)), 200);
  await eventually(() => /error backend http:\/\/no-such-name\.invalid:80: cannot be used: the backend's name cannot be resolved/.test(plait.stderr()), 'its state is told');
});

test('with no backend but one whose name cannot be resolved plait starts, and answers 502', async (t) => {
  const plait = await startProxy(t, ['no-such-name.invalid:80']);
  await eventually(() => /warning configuration: .*cannot be resolved/.test(plait.stderr()), 'the warning is there');
  assert.equal(statusOf(await get(plait.port)), 502);
});

test('a name that can be resolved later is used then', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  // What the resolver takes for another name, read anew for each lookup.
  const aliases = path.join(temporaryDirectory(t), 'aliases');
  writeFileSync(aliases, '');
  const url = `http://appears-later:${backend.port}`;
  const plait = await startPlait(t, ['-b', url, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'], { under: ['env', `HOSTALIASES=${aliases}`] });
  assert.equal(statusOf(await get(plait.port)), 502);
  writeFileSync(aliases, 'appears-later localhost\n');
  await eventually(async () => statusOf(await get(plait.port)) === 200, 'the backend is used', 20_000);
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: url }), 1);
  await eventually(() => plait.stderr().includes(`info backend ${url}: reached again`), 'that it is there is told');
});

test('plait check says which names cannot be resolved, and is content', async (t) => {
  const file = writeConfiguration(t, '[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "h2c://no-such-name.invalid:80"\n');
  const { code, stdout, stderr } = await runPlait(['check', file]);
  assert.equal(code, 0);
  assert.match(stderr, new RegExp(`^${file}:4:7: warning: the name no-such-name\\.invalid cannot be resolved: .*\\n$`));
  assert.match(stdout, /: ok$/m);
  // Beside a mistake it is one more.
  const wrong = writeConfiguration(t, '[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "h2c://no-such-name.invalid:80"\n[timeouts]\nconnect_ms = "3s"\n');
  const refused = await runPlait(['check', wrong]);
  assert.equal(refused.code, 2);
  assert.equal(refused.stderr.trim().split('\n').length, 2);
});

// HTTP/1.1 clients that keep their connection; resolves with the statuses, once all have one.
async function crowd(t, port, count) {
  const statuses = {};
  const answers = Array.from({ length: count }, () => new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n'));
    defer(t, () => socket.destroy());
    let text = '';
    const done = (what) => {
      statuses[what] = (statuses[what] ?? 0) + 1;
      resolve();
    };
    socket.setEncoding('latin1');
    socket.on('error', (error) => done(error.code));
    socket.on('data', (chunk) => {
      if (text === '' && /\r\n\r\n/.test(chunk)) done(statusOf(chunk));
      text += chunk;
    });
  }));
  await within(60_000, Promise.all(answers), `all are answered, and not only ${JSON.stringify(statuses)}`);
  return statuses;
}

test('with few file descriptors some are kept for backends: 296 clients at once are all served', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => setTimeout(() => response.end('ok'), 5));
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', '--admin', '127.0.0.1:0'], { under: ['prlimit', '--nofile=256:256'] });
  await eventually(() => plait.stderr().includes('ulimit'), 'the line is there');
  const [, allowed, clients, upstream] = plait.stderr().match(/^\S+Z warning plait: only (\d+) file descriptors are allowed: 1 worker\(s\) take (\d+) clients and (\d+) connections to backends each; .*ulimit/m) ?? [];
  assert.equal(Number(allowed), 256, plait.stderr());
  assert.equal(await metric(plait, 'plait_slab_capacity', { slab: 'client_connections' }), Number(clients));
  assert.equal(await metric(plait, 'plait_slab_capacity', { slab: 'upstream_connections' }), Number(upstream));
  assert.ok(Number(clients) + Number(upstream) > 190 && Number(upstream) >= 50, plait.stderr());
  assert.deepEqual(await crowd(t, plait.port, 296), { 200: 296 });
  assert.equal(await metric(plait, 'plait_upstream_connect_failures_total'), 0);
});

test('with descriptors for everybody nobody hears of them', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const plait = await startPlait(t, ['-c', writeConfiguration(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[limits]\nclient_connections = 50\nupstream_connections = 20\n`)], { under: ['prlimit', '--nofile=256:256'] });
  assert.doesNotMatch(plait.stderr(), / (warning|error) /);
  assert.equal(statusOf(await get(plait.port)), 200);
});

test('that defaults follow the descriptors that are allowed is no warning', async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const start = (...args) => startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', ...args], { under: ['prlimit', '--nofile=8000:8000'] });
  const plait = await start('--workers', '2');
  await eventually(() => /^\S+Z info plait: 8000 file descriptors are allowed: 2 worker\(s\) take \d+ clients .* For the defaults \d+ are needed/m.test(plait.stderr()), 'it is said');
  assert.doesNotMatch(plait.stderr(), / (warning|error) /);
  const wish = await startPlait(t, ['-c', writeConfiguration(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[limits]\nclient_connections = 9000\n`)], { under: ['prlimit', '--nofile=8000:8000'] });
  await eventually(() => /Z warning plait: only 8000 file descriptors are allowed: .* For all that is configured/.test(wish.stderr()), 'less than was asked for is one');
});

// AddressSanitizer takes more address space than any limit leaves.
const isInstrumented = plaitBin.includes('/asan/');

test('where the system gives less memory than plait reserves it says so and ends', { skip: isInstrumented }, async (t) => {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const file = writeConfiguration(t, `[server]\nworkers = 2\n[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[admin]\naddress = "127.0.0.1:0"\n`);
  let starts = 0;
  for (let mib = 60; starts === 0; mib += Math.ceil(mib / 8)) {
    assert.ok(mib < 8000, 'with enough it starts');
    const child = spawn('prlimit', [`--as=${mib << 20}`, plaitBin, '--io', io, '-c', file], { stdio: ['ignore', 'pipe', 'pipe'] });
    defer(t, () => child.kill('SIGKILL'));
    let said = '';
    child.stderr.on('data', (text) => { said += text; });
    child.stdout.on('data', (text) => {
      if (!/^ready$/m.test(String(text))) return;
      starts += 1;
      child.kill('SIGTERM');
    });
    const [code, signal] = await within(20_000, once(child, 'close'), `an end with ${mib} MiB`);
    assert.equal(signal, null, `with ${mib} MiB: ${said}`);
    if (starts !== 0) continue;
    assert.equal(code, 2, `with ${mib} MiB: ${said}`);
    assert.match(said, /^(plait: )?memory: .*(\[limits\]|thread)/m, `with ${mib} MiB`);
  }
});

test('a GOAWAY with an error or a text is a line and a counter, one in good order only counted', async (t) => {
  const goaways = [[errorCode.none, ''], [errorCode.enhanceYourCalm, 'too_many_pings'], [errorCode.none, 'max_age \x1b[31m\n"x"'], [errorCode.internal, '']];
  const backend = await startRawH2Backend(t, {
    request(connection, stream) {
      connection.respond(stream);
      const [code, text] = goaways.shift() ?? [errorCode.none, ''];
      connection.send(frame(frameType.goaway, 0, 0, Buffer.concat([uint32(stream, code), Buffer.from(text, 'latin1')])));
    },
  });
  const plait = await startProxy(t, [backend], { admin: true });
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 4; i += 1) assert.equal((await request(client, { ':path': '/' })).status, 200);
  const counted = (code) => metric(plait, 'plait_upstream_goaways_total', { backend: backend.url, code });
  assert.equal(await counted('NO_ERROR'), 2);
  assert.equal(await counted('ENHANCE_YOUR_CALM'), 1);
  assert.equal(await counted('INTERNAL_ERROR'), 1);
  const said = await eventually(() => {
    const lines = plait.stderr().split('\n').filter((line) => line.includes('GOAWAY'));
    return lines.length >= 3 && lines.map((line) => line.replace(/^\S+Z /, ''));
  }, 'the lines are there');
  assert.deepEqual(said, [
    `warning backend ${backend.url}: GOAWAY, ENHANCE_YOUR_CALM: "too_many_pings"`,
    `info backend ${backend.url}: GOAWAY, NO_ERROR: "max_age \\x1b[31m\\x0a\\"x\\""`,
    `warning backend ${backend.url}: GOAWAY, INTERNAL_ERROR`,
  ]);
});
