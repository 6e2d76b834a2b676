// What only shows in the long run. In the test suite each scenario runs small; `./dev soak` runs them at full size.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, h2load, request } from './lib/clients.mjs';
import { reservedBytes, startPlait, startProxy } from './lib/plait.mjs';
import {
  MiB, connectionsTo, defer, eventually, freePort, isListening, isLong, peakResidentBytes, run, temporaryDirectory, within,
} from './lib/process.mjs';

const scaled = (full, small) => (isLong ? full : small);
const startDemo = (t) => startPlait(t, ['demo', '--listen', '127.0.0.1:0']);
const mebibytes = (bytes) => `${Math.round(bytes / MiB)} MiB`;

for (const [name, args] of [['h2c, 64 connections of 16 streams', ['-c', '64', '-m', '16']], ['HTTP/1.1, 256 connections', ['--h1', '-c', '256']]]) {
  test(`${name}: every request is answered over at most eight upstream connections`, async (t) => {
    const demo = await startDemo(t);
    const plait = await startProxy(t, [`h2c://127.0.0.1:${demo.port}`]);
    let most = 0;
    const watch = setInterval(() => { most = Math.max(most, connectionsTo(demo.port)); }, 20);
    const n = scaled(200_000, 10_000);
    const { ok, stdout } = await h2load(['-n', String(n), ...args, `http://127.0.0.1:${plait.port}/`]);
    clearInterval(watch);
    assert.equal(ok, n);
    assert.ok(most >= 1 && most <= 8, `${most} upstream connections`);
    t.diagnostic(`${n} of ${n} 2xx, ${stdout.match(/([\d.]+) req\/s/)[1]} req/s, ${most} upstream connections`);
  });
}

test('large bodies arrive whole in both directions', async (t) => {
  const size = scaled(1024, 24) * MiB;
  const piece = randomBytes(MiB);
  const expected = createHash('sha256');
  const file = path.join(temporaryDirectory(t), 'body');
  const out = openSync(file, 'w');
  for (let written = 0; written < size; written += MiB) {
    piece.writeUInt32BE(written / MiB);
    expected.update(piece);
    writeSync(out, piece);
  }
  closeSync(out);
  const sum = expected.digest('hex');
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':method'] === 'GET') {
      stream.respondWithFile(file);
      return;
    }
    const hash = createHash('sha256');
    stream.on('data', (chunk) => hash.update(chunk));
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(hash.digest('hex'));
    });
  });
  const plait = await startProxy(t, [backend]);
  const url = `http://127.0.0.1:${plait.port}/body`;
  for (const version of ['--http1.1', '--http2-prior-knowledge']) {
    const down = await run('sh', ['-c', `curl -sf ${version} ${url} | sha256sum`], { timeout: 280_000 });
    assert.equal(down.stdout.split(' ')[0], sum, `${version} down`);
    const up = await run('curl', ['-sf', version, '-H', 'Expect:', '-T', file, url], { timeout: 280_000 });
    assert.equal(up.stdout, sum, `${version} up`);
  }
  t.diagnostic(`${mebibytes(size)} up and down with equal hashes; resident at most ${mebibytes(peakResidentBytes(plait.pid))}`);
});

test('slow readers keep to the memory that was reserved, and a neighbour keeps its latency', async (t) => {
  const chunk = Buffer.alloc(64 * 1024, 'x');
  const size = scaled(100, 8) * MiB;
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200, 'content-type': 'text/plain' });
    if (headers[':path'] === '/small') {
      stream.end('small');
      return;
    }
    let left = size;
    const more = () => {
      while (left > 0 && !stream.destroyed) {
        left -= chunk.length;
        if (!stream.write(chunk)) return;
      }
      stream.end();
    };
    stream.on('drain', more);
    more();
  });
  const plait = await startProxy(t, [backend]);
  const neighbour = connectH2(t, plait.port);
  const measure = async () => {
    const times = [];
    for (let i = 0; i < 200; i += 1) {
      const start = performance.now();
      assert.equal((await request(neighbour, { ':path': '/small' })).body, 'small');
      times.push(performance.now() - start);
    }
    times.sort((a, b) => a - b);
    return { median: times[100], p99: times[198] };
  };
  await measure();
  const before = await measure();
  const readers = scaled(200, 40);
  const seen = new Set();
  for (let i = 0; i < readers / 2; i += 1) {
    // Half of them over HTTP/1.1, a connection each: they read once and then no more.
    const socket = net.connect(plait.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.write('GET /big HTTP/1.1\r\nHost: a\r\n\r\n');
    socket.once('data', () => {
      seen.add(socket);
      socket.pause();
    });
    defer(t, () => socket.destroy());
  }
  const sessions = Array.from({ length: 10 }, () => connectH2(t, plait.port, { settings: { initialWindowSize: 65_535 } }));
  for (let i = 0; i < readers / 2; i += 1) {
    const stream = sessions[i % sessions.length].request({ ':path': '/big' });
    stream.on('error', () => {});
    stream.once('data', () => {
      seen.add(stream);
      stream.pause();
    });
  }
  // The streams of one HTTP/2 client share its connection's window, which those that do not read use up: at least one of
  // each session, and everyone over HTTP/1.1, has begun.
  await eventually(() => seen.size >= readers / 2 + sessions.length, 'the readers have begun', 60_000);
  const during = await measure();
  const peak = peakResidentBytes(plait.pid);
  const reserved = reservedBytes(plait);
  assert.ok(peak <= reserved, `${mebibytes(peak)} resident, ${mebibytes(reserved)} reserved`);
  assert.ok(during.median < 1000, 'the neighbour is served');
  t.diagnostic(`${readers} slow readers of ${mebibytes(size)}: ${mebibytes(peak)} resident of ${mebibytes(reserved)} reserved; `
    + `the neighbour's median ${before.median.toFixed(2)} → ${during.median.toFixed(2)} ms, p99 ${before.p99.toFixed(2)} → ${during.p99.toFixed(2)} ms`);
});

test('after the start nothing calls malloc on the way of a request', async (t) => {
  const demo = await startDemo(t);
  const { PLAIT_ALLOC_GUARD } = process.env;
  process.env.PLAIT_ALLOC_GUARD = 'abort';
  defer(t, () => {
    if (PLAIT_ALLOC_GUARD === undefined) delete process.env.PLAIT_ALLOC_GUARD;
  });
  const plait = await startProxy(t, [`h2c://127.0.0.1:${demo.port}`], { tls: true });
  const n = scaled(1_000_000, 20_000);
  for (const [share, args, url] of [
    [0.7, ['-c', '64', '-m', '16'], `http://127.0.0.1:${plait.port}/`],
    [0.3, ['--h1', '-c', '64'], `http://127.0.0.1:${plait.port}/`],
    [0.1, ['-c', '16', '-m', '16'], `https://127.0.0.1:${plait.tlsPort}/`],
  ]) {
    const count = Math.round(n * share);
    assert.equal((await h2load(['-n', String(count), ...args, url])).ok, count);
  }
  assert.equal(await plait.stop(), 0, plait.stderr());
  assert.match(plait.stdout(), /^malloc calls while serving: 0$/m);
  t.diagnostic(`${n} plaintext requests and ${n / 10} over TLS, malloc called 0 times; ${plait.stdout().match(/^tls.*$/mi)?.[0] ?? ''}`);
});

test('a backend that is killed and started every two seconds: no GET fails, no POST runs twice', async (t) => {
  const file = path.join(temporaryDirectory(t), 'ids');
  writeFileSync(file, '');
  const port = await freePort();
  const script = fileURLToPath(new URL('lib/counting_backend.mjs', import.meta.url));
  let child;
  const start = async () => {
    child = spawn(process.execPath, [script, String(port), file], { stdio: 'ignore' });
    await eventually(() => isListening(port), 'the backend listens');
  };
  const kill = async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  };
  await start();
  defer(t, () => child.kill('SIGKILL'));
  const plait = await startProxy(t, [`h2c://127.0.0.1:${port}`]);
  let running = true;
  const restarts = (async () => {
    const rounds = scaled(15, 2);
    for (let i = 0; i < rounds; i += 1) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      await kill();
      await start();
    }
    running = false;
    return rounds;
  })();
  const answered = { GET: 0, POST: 0 };
  const unknown = [];
  const done = [];
  const worker = async (index) => {
    const client = connectH2(t, plait.port);
    for (let i = 0; running; i += 1) {
      const id = `${index}-${i}`;
      const method = i % 3 === 0 ? 'POST' : 'GET';
      const answer = await request(client, { ':path': '/', ':method': method, 'x-id': id }, method === 'POST' ? { body: 'x' } : {});
      if (answer.status === 200) {
        answered[method] += 1;
        if (method === 'POST') done.push(id);
      } else {
        assert.equal(method, 'POST', `GET ${id} was answered with ${answer.status}`);
        assert.equal(answer.status, 502);
        unknown.push(id);
      }
    }
  };
  await within(280_000, Promise.all([restarts, ...Array.from({ length: 8 }, (_, i) => worker(i))]), 'the load ends');
  const executed = new Map();
  for (const id of readFileSync(file, 'utf8').split('\n').filter(Boolean)) executed.set(id, (executed.get(id) ?? 0) + 1);
  for (const id of done) assert.equal(executed.get(id), 1, `POST ${id}`);
  for (const id of unknown) assert.ok((executed.get(id) ?? 0) <= 1, `POST ${id}, whose fate is unknown`);
  t.diagnostic(`${await restarts} restarts, ${answered.GET} GETs and ${answered.POST} POSTs answered, ${unknown.length} POSTs of unknown fate got 502`);
});

test('a backend that says GOAWAY every 100 requests fails nothing and gets nothing twice', async (t) => {
  const seen = new Map();
  const backend = await startH2Backend(t, (stream, headers) => {
    seen.set(headers['x-id'], (seen.get(headers['x-id']) ?? 0) + 1);
    const { session } = stream;
    session.served = (session.served ?? 0) + 1;
    if (session.served === 100) session.close();
    stream.respond({ ':status': 200 });
    stream.end(headers['x-id']);
  });
  const plait = await startProxy(t, [backend]);
  const clients = Array.from({ length: 4 }, () => connectH2(t, plait.port));
  const rounds = scaled(100, 10);
  for (let round = 0; round < rounds; round += 1) {
    const answers = await Promise.all(Array.from({ length: 100 }, async (_, i) => {
      const id = `${round}-${i}`;
      const method = i % 2 ? 'POST' : 'GET';
      return { id, ...await request(clients[i % 4], { ':path': '/', ':method': method, 'x-id': id }, method === 'POST' ? { body: 'x' } : {}) };
    }));
    for (const { id, body } of answers) assert.equal(body, id);
  }
  assert.equal(Math.max(...seen.values()), 1);
  t.diagnostic(`${rounds * 100} requests over ${backend.opened} upstream connections, each executed once`);
});
