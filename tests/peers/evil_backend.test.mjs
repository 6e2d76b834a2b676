// Backends that break the protocol, flood, or never end. Their fault is named in a log line and a counter; memory stays
// bounded; who sends a request to such a backend gets an answer or a visible end, and requests that are not concerned are
// answered.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { attackers, latency, median, residentBytes, settled, startTargeted } from './lib/attack.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { metric } from './lib/plait.mjs';
import { MiB, defer, eventually, within } from './lib/process.mjs';

const script = fileURLToPath(new URL('lib/evil_backend.mjs', import.meta.url));
const connection = 'plait_upstream_connection_errors_total';
const stream = 'plait_upstream_stream_errors_total';

async function startEvil(t, attack) {
  const child = fork(script, [attack], { ...attackers, stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  defer(t, () => child.kill('SIGKILL'));
  const [port] = await within(10_000, once(child, 'message'), 'the backend listens');
  return { url: `${attack.startsWith('h1') ? 'http' : 'h2c'}://127.0.0.1:${port}` };
}

// [attack, reason, counter, whether the response may be complete all the same]
const cases = [
  ['pushPromise', 'protocol_error', connection],
  ['endlessInterim', 'interim_flood', stream],
  ['endlessHeaders', 'continuation_flood', connection],
  ['hugeHeaders', 'message_too_large', stream],
  ['connectionWindow', 'flow_control_error', stream],
  ['windowOverflow', 'flow_control_error', connection],
  ['unknownStream', 'protocol_error', connection],
  ['evenStream', 'protocol_error', connection],
  ['afterEnd', 'stream_closed', stream, true],
  ['settingsFlood', 'frame_flood', connection],
  ['pingFlood', 'frame_flood', connection],
  ['windowUpdateFlood', 'frame_flood', connection],
  ['goawayFlood', 'frame_flood', connection],
  ['resetFlood', 'frame_flood', connection],
  ['emptyDataFlood', 'frame_flood', connection],
  ['oversizeFrame', 'frame_size_error', connection],
  ['malformedHead', 'malformed_message', stream],
  ['wrongLength', 'malformed_message', stream],
  ['garbage', 'frame_size_error', connection],
  ['h1EndlessInterim', 'interim_flood', connection],
  ['h1EndlessHeaders', 'message_too_large', connection],
  ['h1AfterEnd', 'protocol_error', connection, true],
  ['h1Garbage', 'protocol_error', connection],
  ['h1ChunkGarbage', 'protocol_error', connection],
];

for (const [attack, reason, counter, mayComplete] of cases) {
  test(attack, async (t) => {
    const plait = await startTargeted(t, [await startEvil(t, attack)], '[timeouts]\nstall_ms = 1000\nresponse_head_ms = 3000\ndrain_ms = 1000\n[limits]\nunprocessed_retries = 2\n');
    const honest = connectH2(t, plait.port);
    const victim = connectH2(t, plait.port);
    const provoke = () => request(victim, { ':path': '/', ':method': 'POST' }, { body: 'x', timeout: 10_000 });
    await latency(honest, { least: 500 });
    const calm = await median(() => latency(honest, { ms: 500 }));
    const before = residentBytes(plait.pid);
    // The backend is provoked again and again while the others are measured. A connection that must end takes the answers of
    // others with it; GET is repeated, so they see nothing of it.
    const answer = await provoke();
    let measured = false;
    let provoked = 1;
    const provoking = (async () => {
      for (; !measured; provoked += 1) await Promise.all([provoke(), delay(5)]);
    })();
    const attacked = await median(() => latency(honest, { ms: 500 })).finally(() => { measured = true; });
    await provoking;
    await eventually(async () => (await metric(plait, counter, { reason })) > 0, `${counter} counts ${reason}`);
    await eventually(() => plait.stderr().includes(`ended, ${reason}: `), `a line names ${reason}; it says: ${plait.stderr()}`);
    const grown = residentBytes(plait.pid) - before;
    t.diagnostic(`${attack}: client got ${answer.status ?? '-'} (RST_STREAM ${answer.rstCode}); p99 ${calm.toFixed(1)} ms calm, ${attacked.toFixed(1)} ms under ${provoked} attacks; memory +${(grown / MiB).toFixed(1)} MiB; ${plait.stderr().split('\n').find((line) => line.includes(reason))}`);
    if (attack === 'connectionWindow') {
      await eventually(async () => (await metric(plait, connection, { reason })) > 0, 'a backend that goes on loses the connection');
    }
    if (!mayComplete) assert.ok(answer.status !== 200 || answer.rstCode !== 0, `no complete answer is made of it: ${answer.status}`);
    assert.ok(attacked < Math.max(5 * calm, 2000), `the others wait ${attacked} ms`);
    assert.ok(grown < 24 * MiB, `memory grows by ${grown} bytes`);
    await settled(plait, { connections: Infinity });
  });
}
