// What plait does with the memory that it may have.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { configuration } from './lib/attack.mjs';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { metric, runPlait, startConfigured, writeConfiguration } from './lib/plait.mjs';
import { eventually } from './lib/process.mjs';

const residentMib = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+) kB/m)[1]) / 1024;
const all = (plait, name, labels) => Promise.all([0, 1].map((worker) => metric(plait, name, { ...labels, worker: String(worker) })));

test('256 MiB, TLS and two workers: 500 clients for each and 400 requests at once, and a quarter is left', async (t) => {
  const held = new Set();
  const backend = await startH2Backend(t, (stream) => {
    stream.resume();
    held.add(stream);
    stream.on('error', () => {});
    stream.on('close', () => held.delete(stream));
  });
  const { cert, key, pem } = await certificate(t);
  const plait = await startConfigured(t, configuration([backend], '[server]\nworkers = 2\nmemory = "256M"\n', `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${cert}"\nkey = "${key}"\n`));
  const [, most, control] = plait.stdout().match(/^memory: \d+ MiB resident now, (\d+) MiB at most for each of 2 worker\(s\), (\d+) for the control thread/m);
  assert.ok(2 * Number(most) + Number(control) <= 192, plait.stdout());
  // The kernel spreads them over the workers, not evenly.
  const sessions = [];
  const clients = async () => all(plait, 'plait_slab_used', { slab: 'client_connections' });
  for (let used = [0, 0]; Math.min(...used) < 500; used = await clients()) {
    assert.ok(sessions.length < 1400, `${used} clients`);
    const some = Array.from({ length: 50 }, () => connectH2(t, plait.tlsPort, { ca: pem.cert }));
    await Promise.all(some.map((session) => new Promise((resolve, reject) => {
      session.once('connect', resolve);
      session.once('error', reject);
    })));
    sessions.push(...some);
  }
  // Where one worker has nearly all that it takes, those that came to it first may have had to leave.
  const alive = sessions.filter((session) => !session.destroyed && !session.closed);
  assert.ok(alive.length >= 1000, `${alive.length} clients are there`);
  // One worker may have all that it takes before the other has 400: what it refuses by then came in excess.
  const pending = [];
  const turned_away = [];
  const exchanges = () => all(plait, 'plait_slab_used', { slab: 'exchanges_http2' });
  for (let used = [0, 0], i = 0; Math.min(...used) < 400; used = await exchanges()) {
    assert.ok(pending.length < 2 * alive.length, `${used} requests`);
    assert.ok(turned_away.length === 0 || Math.max(...used) >= 400, `${turned_away.length} turned away at ${used} requests`);
    const before = pending.length;
    for (; pending.length < before + 20; i += 1) {
      pending.push(request(alive[i % alive.length], { ':path': '/held' }, { timeout: 150_000 }).then((answer) => {
        if (answer.rstCode === 7) turned_away.push(answer);  // REFUSED_STREAM
        return answer;
      }));
    }
await eventually(() => held.size + turned_away.length === pending.length, 'all requests are with the backend or were turned away', 60_000);
  }
  for (const stream of held) {
    stream.respond({ ':status': 200 });
    stream.end('released');
  }
  const answers = await Promise.all(pending);
  assert.deepEqual([...new Set(answers.filter((answer) => !turned_away.includes(answer)).map((answer) => `${answer.status} ${answer.body}`))], ['200 released']);
  assert.deepEqual(await Promise.all(['plait_requests_refused_total', 'plait_client_connections_refused_total', 'plait_tls_arena_refusals_total', 'plait_frame_refusals_total'].map((name) => metric(plait, name))), [turned_away.length, 0, 0, 0]);
  const resident = residentMib(plait.pid);
  t.diagnostic(`${alive.length} clients, ${pending.length} requests at once, ${resident.toFixed(0)} MiB resident`);
  assert.ok(resident < 192, `${resident} MiB are resident`);
});

test('memory that does not suffice for the limits that were set is a mistake at its place, and one without a unit too', async (t) => {
  const base = '[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n';
  const check = async (server, limits = '') => {
    const file = writeConfiguration(t, `[server]\nworkers = 1\n${server}\n${base}[limits]\n${limits}\n`);
    const { code, stderr } = await runPlait(['check', file]);
    return [code, stderr.replaceAll(file, 'FILE')];
  };
  assert.deepEqual(await check('memory = "256M"'), [0, '']);
  const [code, said] = await check('memory = "256M"', 'client_connections = 100000');
  assert.equal(code, 2);
  assert.match(said, /^FILE:3:10: 1 worker\(s\) reserve \d+ MiB at the least, more than the 192 MiB that "memory" leaves: .*\n$/);
  assert.deepEqual(await check('memory = "256"'), [2, 'FILE:3:10: memory: expected a number of K, M or G, as in "256M", found "256"\n']);
  assert.deepEqual(await check('memory = "1M"'), [2, 'FILE:3:10: memory: 1M is less than 32M\n']);
});
