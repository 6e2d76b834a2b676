// Guards must not kill honest clients, however much they cancel, however slowly they read, however long they wait.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { residentBytes, startTargeted } from './lib/attack.mjs';
import { documentRoot, startH1Backend, startH2Backend, startNghttpd } from './lib/backends.mjs';
import { connectH2, exchangeRaw, h2load, request } from './lib/clients.mjs';
import { connectGrpc, grpc, startGrpcBackend } from './lib/grpc.mjs';
import { assertNoFault, metric } from './lib/plait.mjs';
import { MiB, eventually, run, within } from './lib/process.mjs';

// Timeouts so short that what lasts two seconds lasts for several of each.
const hasty = '[timeouts]\nclient_header_ms = 300\nclient_idle_ms = 300\nstall_ms = 300\nping_ms = 200\n';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

test('gRPC with many cancellations: every second of 3,000 calls on one connection', async (t) => {
  let reached = 0;
  const backend = await startGrpcBackend(t, {
    Unary: (call, done) => {
      if (call.request.never) call.on('cancelled', () => { reached += 1; });
      else done(null, { echo: call.request.i });
    },
  });
  const plait = await startTargeted(t, [backend]);
  const client = connectGrpc(t, plait.port);
  let answered = 0;
  let cancelled = 0;
  for (let wave = 0; wave < 30; wave += 1) {
    await within(20_000, Promise.all(Array.from({ length: 100 }, (_, i) => new Promise((resolve, reject) => {
      const never = i % 2 === 0;
      const call = client.unary({ i, never }, (error, value) => {
        if (never && error?.code === grpc.status.CANCELLED) cancelled += 1;
        else if (!error && value.echo === i) answered += 1;
        else return reject(error ?? new Error('a wrong answer'));
        return resolve();
      });
      if (never) setImmediate(() => call.cancel());
    }))), 'a wave of calls');
  }
  assert.deepEqual([answered, cancelled], [1500, 1500]);
  await eventually(() => reached >= 1300, `the cancellations went all the way: ${reached}`);
  assert.equal(await metric(plait, 'plait_client_connections_total'), 1);
  await assertNoFault(plait);
});

test('a browser that cancels page loads half way', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':path'].startsWith('/slow')) stream.write('begun');
    else stream.end('x'.repeat(2000));
  });
  const plait = await startTargeted(t, [backend]);
  const session = connectH2(t, plait.port);
  for (let page = 0; page < 20; page += 1) {
    const running = [];
    for (let i = 0; i < 60; i += 1) running.push(request(session, { ':path': i < 20 ? `/quick${i}` : `/slow${i}` }, { onHeaders: (stream) => { if (i >= 20) stream.close(8); } }));
    const answers = await Promise.all(running);
    assert.equal(answers.filter(({ status }) => status === 200).length, 60, `page ${page}`);
  }
  assert.equal(session.destroyed, false);
  const last = await request(session, { ':path': '/quick' });
  assert.equal(last.body.length, 2000);
  await assertNoFault(plait);
});

test('slow mobile readers get all of a large response over HTTP/2', async (t) => {
  const size = 60_000;
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200, 'content-length': size });
    stream.end(Buffer.alloc(size, 'm'));
  });
  const plait = await startTargeted(t, [backend], hasty);
  const slow = connectH2(t, plait.port, { settings: { initialWindowSize: 2000 } });
  const answer = await request(slow, { ':path': '/' }, {
    onStream: (stream) => {
      // One piece at a time, with a pause after each, so that the window opens as slowly.
      stream.on('data', () => {
        stream.pause();
        setTimeout(() => stream.resume(), 60);
      });
    },
  });
  assert.equal(answer.body.length, size);
  await assertNoFault(plait);
});

test('slow mobile readers get all of a large response over HTTP/1.1, however much of it the kernel holds', async (t) => {
  const size = 4 * MiB;
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(200, { 'content-length': size });
    response.end(Buffer.alloc(size, 'm'));
  });
  const plait = await startTargeted(t, [backend], hasty);
  // It reads some 20 KB at a time. The kernel takes more from plait only when it has got rid of a third of its megabytes,
  // which is later than any timeout.
  const reader = run('python3', [fileURLToPath(new URL('lib/slow_reader.py', import.meta.url)), String(plait.port), '20000', '20'], { timeout: 60_000 });
  await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'send_blocks' })) > 0, 'output waits for the reader');
  const { stdout } = await reader;
  assert.match(stdout.slice(0, 100), /^HTTP\/1\.1 200 /);
  assert.equal(stdout.length - stdout.indexOf('\r\n\r\n') - 4, size);
  await assertNoFault(plait);
});

test('big cookies: one of 16 KB, and as many crumbs as a browser has cookies', async (t) => {
  const backends = [
    await startH1Backend(t, (incoming, response) => response.end(incoming.headers.cookie), { options: { maxHeaderSize: 65_536 } }),
    // It refuses more than 128 fields, as node does by default.
    await startH2Backend(t, (stream, headers) => {
      stream.respond({ ':status': 200, 'content-length': headers.cookie.length });
      stream.end(headers.cookie);
    }),
  ];
  const big = `a=${'c'.repeat(16_000)}`;
  // node makes a field of each, as browsers do.
  const crumbs = Array.from({ length: 180 }, (_, i) => `crumb${i}=${'v'.repeat(80)}`);
  for (const backend of backends) {
    const plait = await startTargeted(t, [backend]);
    const session = connectH2(t, plait.port);
    for (const [cookie, joined] of [[big, big], [crumbs, crumbs.join('; ')], [crumbs.slice(0, 3), crumbs.slice(0, 3).join('; ')]]) {
      const answers = await Promise.all(Array.from({ length: 30 }, () => request(session, { ':path': '/', cookie })));
      for (const answer of answers) assert.equal(answer.body, joined);
      const text = await exchangeRaw(plait.port, `GET / HTTP/1.1\r\nHost: a\r\nCookie: ${joined}\r\nConnection: close\r\n\r\n`);
      assert.ok(text.endsWith(`\r\n\r\n${joined}`));
    }
    await assertNoFault(plait);
  }
});

test('a long poll is answered after several times every timeout of the client', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    setTimeout(() => {
      if (stream.destroyed) return;
      stream.respond({ ':status': 200 });
      stream.end('at last');
    }, 2000);
  });
  const plait = await startTargeted(t, [backend], hasty);
  const [h2, h1] = await Promise.all([
    request(connectH2(t, plait.port), { ':path': '/' }),
    exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'),
  ]);
  assert.equal(h2.body, 'at last');
  assert.match(h1, /\r\nat last\r\n/);
  await assertNoFault(plait);
});

// The timeouts that concern whoever is idle, as they are by default, but 100 times shorter: six seconds are ten minutes.
const byDefault = (key) => Number(readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8').match(new RegExp(`^\\| \`${key}\` \\| (\\d+) \\|`, 'm'))[1]);
const hurried = `[timeouts]\n${['client_idle_ms', 'upstream_idle_ms', 'stall_ms', 'stream_idle_ms', 'ping_ms'].map((key) => `${key} = ${Math.round(byDefault(key) / 100)}\n`).join('')}`;

test('a stream that is idle for ten minutes goes on, with PINGs and without', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('open');
    stream.on('data', (chunk) => stream.write(chunk));
    stream.on('end', () => stream.end());
  });
  const plait = await startTargeted(t, [backend], hurried);
  await Promise.all([true, false].map(async (pings) => {
    const session = connectH2(t, plait.port);
    const stream = session.request({ ':path': '/', ':method': 'POST' });
    stream.setEncoding('utf8');
    stream.on('error', () => {});
    let text = '';
    stream.on('data', (chunk) => { text += chunk; });
    await eventually(() => text === 'open', 'the stream is open');
    for (let i = 0; i < 40; i += 1) {
      if (pings) session.ping(() => {});
      await pause(150);
    }
    stream.end('later');
    await eventually(() => text === 'openlater' && stream.closed, `the stream goes on: ${text}`);
    assert.equal(stream.rstCode, 0);
  }));
  await assertNoFault(plait);
});

test('one connection with 100,000 requests', async (t) => {
  const backend = await startNghttpd(t, documentRoot(t));
  const plait = await startTargeted(t, [backend]);
  await h2load(['-n', '1000', '-c', '1', '-m', '100', `http://127.0.0.1:${plait.port}/small`]);
  const before = residentBytes(plait.pid);
  const load = await h2load(['-n', '100000', '-c', '1', '-m', '100', `http://127.0.0.1:${plait.port}/small`]);
  assert.deepEqual([load.succeeded, load.failed, load.ok], [100_000, 0, 100_000]);
  assert.ok(residentBytes(plait.pid) - before < 8 * MiB);
  await assertNoFault(plait);
});
