// What every attack is measured by: an honest second client's latency, calm and under attack, and while the same attacker
// sends as much to a process that only drops it, which tells what is plait's doing and what is the machine's; the memory of
// the process; what plait answered, said on standard error and counted.
import assert from 'node:assert/strict';
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { connectH2, request } from './clients.mjs';
import { adminGet, metric, startConfigured, startPlait } from './plait.mjs';
import { MiB, defer, eventually, within } from './process.mjs';

const attacker = fileURLToPath(new URL('attacker.mjs', import.meta.url));
const sink = fileURLToPath(new URL('sink.mjs', import.meta.url));
const target = fileURLToPath(new URL('target.mjs', import.meta.url));
// On a busy machine with two cores a scheduler's slice is longer than any request: below this no factor is looked at.
const latencyFloorMs = 500;
// For figures: the median of so many readings of each.
const readings = Number(process.env.PLAIT_ATTACK_READINGS ?? 1);

// Attackers have machines of their own. For figures they, and backends that attack, have a core of their own here, and plait,
// other backends and honest clients the rest, calm and under attack: else what is felt is that an attacker takes a core away.
export const attackers = {};
const cores = readFileSync('/proc/self/status', 'utf8').match(/Cpus_allowed_list:\s+(\S+)/)[1].split(',').flatMap((range) => {
  const [first, last = first] = range.split('-').map(Number);
  return Array.from({ length: last - first + 1 }, (_, i) => first + i);
});
if (readings > 1 && cores.length > 1) {
  execFileSync('taskset', ['-a', '-p', '-c', cores.slice(1).join(','), String(process.pid)]);
  Object.assign(attackers, { execPath: 'taskset', execArgv: ['-c', String(cores[0]), process.execPath] });
}

export const residentBytes = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;

// A backend for attackers and honest clients (lib/target.mjs).
export async function startTarget(t) {
  const child = fork(target, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  defer(t, () => child.kill('SIGKILL'));
  const [port] = await within(10_000, once(child, 'message'), 'the backend listens');
  return { child, port, url: `h2c://127.0.0.1:${port}` };
}

// A backend that is quick enough for requests by the ten thousand: what an honest client waits for is plait then.
export async function startDemo(t) {
  const { port } = await startPlait(t, ['demo', '--port', '0']);
  return { port, url: `h2c://127.0.0.1:${port}` };
}

export const configuration = (backends, lines = '', listeners = '') => `[[listen]]
address = "127.0.0.1:0"
${listeners}
${backends.map((backend) => `[[backend]]\nurl = "${backend.url ?? backend}"\n`).join('')}
[admin]
address = "127.0.0.1:0"
${lines}
`;

export const startTargeted = (t, backends, lines, listeners) => startConfigured(t, configuration(backends, lines, listeners));

// Starts the attacker; stop() ends it and resolves with what it has seen.
export async function startAttack(t, plait, attack, { connections = 2 } = {}) {
  const child = fork(attacker, { ...attackers, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  defer(t, () => child.kill('SIGKILL'));
  child.send({ attack, connections, port: plait.port, tlsPort: plait.tlsPort });
  const [started] = await within(10_000, once(child, 'message'), 'the attacker starts');
  assert.equal(started, 'started');
  return {
    child,
    async stop() {
      child.send('stop');
      const [seen] = await within(10_000, once(child, 'message'), 'the attacker stops');
      return seen;
    },
  };
}

export async function median(read) {
  const values = [];
  for (let i = 0; i < readings; i += 1) values.push(await read());
  return values.sort((a, b) => a - b)[Math.floor(readings / 2)];
}

// The honest client's p99 while the attacker is busy with somebody else.
async function control(t, session, attack, { connections, ms, headers, bytes }) {
  const child = fork(sink, [String(bytes)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  defer(t, () => child.kill('SIGKILL'));
  const [port] = await within(10_000, once(child, 'message'), 'the sink listens');
  const running = await startAttack(t, { port, tlsPort: port }, attack, { connections });
  const measured = await median(() => latency(session, { ms, least: 100, headers }));
  await running.stop();
  child.kill('SIGKILL');
  return measured;
}

const p99 = (times) => times.slice().sort((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1];

// One request after the other, for at least `ms` and `least` of them.
export async function latency(session, { ms = 0, least = 150, headers = { ':path': '/honest' } } = {}) {
  const times = [];
  const end = Date.now() + ms;
  while (times.length < least || Date.now() < end) {
    const begun = performance.now();
    const answer = await request(session, headers, { timeout: 10_000 });
    assert.equal(answer.status, 200, `the honest client is served (${answer.status} ${answer.rstCode} ${answer.error?.message})`);
    times.push(performance.now() - begun);
  }
  return p99(times);
}

export async function peaks(plait) {
  const { body } = await adminGet(plait, '/metrics');
  const found = {};
  for (const [, slab, value] of body.matchAll(/^plait_slab_peak\{[^}]*slab="(\w+)"\} (\d+)/gm)) found[slab] = (found[slab] ?? 0) + Number(value);
  return found;
}

// Everything that clients' requests had taken is back. What belongs to open connections of tests may stay: `open`.
export async function settled(plait, { connections = 0 } = {}) {
  const none = ['exchanges_http1', 'exchanges_http2', 'stream_blocks', 'upload_blocks', 'header_blocks_small', 'header_blocks_medium', 'header_blocks_large', 'send_blocks', 'upstream_streams'];
  let used = {};
  await eventually(async () => {
    const { body } = await adminGet(plait, '/metrics');
    used = {};
    for (const [, slab, value] of body.matchAll(/^plait_slab_used\{[^}]*slab="(\w+)"\} (\d+)/gm)) used[slab] = (used[slab] ?? 0) + Number(value);
    return none.every((slab) => (used[slab] ?? 0) === 0) && used.client_connections <= connections;
  }, 'all slabs are empty again').catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(used)}`);
  });
}

// Runs one attack and asserts what must hold under each: bounded memory, an honest client that is served, the reason in a
// log line and a counter, and everything given back. `reason` is the fault's name; `counter` the metric that has it.
export async function endure(t, plait, attack, {
  connections = 2, ms = 1000, reason, counter = 'plait_client_connection_errors_total', labels, memory = 48 * MiB, honest, headers,
} = {}) {
  const session = honest ?? connectH2(t, plait.port);
  await latency(session, { least: 500, headers });
  const calm = await median(() => latency(session, { ms, least: 100, headers }));
  const name = labels ?? { reason };
  const counted = async () => (reason === undefined ? 0 : (await metric(plait, counter, name)));
  const countedBefore = await counted();
  const before = residentBytes(plait.pid);
  const running = await startAttack(t, plait, attack, { connections });
  const attacked = await median(() => latency(session, { ms, least: 100, headers }));
  if (reason !== undefined) {
    await eventually(async () => (await counted()) > countedBefore, `${counter} ${JSON.stringify(name)} counts ${attack}`);
    await eventually(() => plait.stderr().includes(`${reason}: `), `a line on standard error names ${reason}; it says: ${plait.stderr()}`);
  }
  const grown = residentBytes(plait.pid) - before;
  const seen = await running.stop();
  const elsewhere = await control(t, session, attack, { connections, ms, headers, bytes: Math.max(Math.ceil(seen.bytes / seen.connections), 1) });
  t.diagnostic(`${attack}: p99 ${calm.toFixed(1)} ms calm, ${elsewhere.toFixed(1)} ms with the attack elsewhere, ${attacked.toFixed(1)} ms under attack; memory +${(grown / MiB).toFixed(1)} MiB; `
    + `${seen.connections} connections, ${(seen.bytes / 1e6).toFixed(1)} MB sent, GOAWAY ${JSON.stringify(seen.goaways)}, RST_STREAM ${JSON.stringify(seen.resets)}, HTTP/1.1 ${JSON.stringify(seen.statuses)}`);
  assert.ok(attacked <= Math.max(5 * calm, 5 * elsewhere, latencyFloorMs), `the honest client's p99 stays near its calm one: ${attacked} ms instead of ${calm} ms, or ${elsewhere} ms with the attack elsewhere`);
  assert.ok(grown < memory, `memory grows by ${grown} bytes`);
  await settled(plait, { connections: Infinity });
  return seen;
}
