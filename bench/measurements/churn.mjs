// Resident memory over a long run: clients come, send a hundred requests each over HTTP/2 and go, with TLS and without,
// millions of requests long. After the warm-up it must not move. What is resident follows the highest peak so far, and of one
// load higher and higher ones come, only ever more rarely: so the warm-up is twice that load, and nothing behind it should
// reach as far.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { Load } from '../lib/clients.mjs';
import { residentBytes, stop } from '../lib/processes.mjs';
import { plaitMetric } from '../lib/proxies.mjs';
import { Rig } from '../lib/rig.mjs';
import { markdown } from '../lib/statistics.mjs';

// With `prefault` everything that is reserved is resident from the start, so that the least that moves is something else.
const touched = `[server]
prefault = true
[limits]
client_connections = 1000
send_blocks = 2048
upstream_connections = 256
record_blocks = 1024
upload_pool_bytes = 16777216
burst_pool_bytes = 16777216
`;

export default async function measureChurn({ churn, prefault, binary, tool, io, progress }) {
  const rig = new Rig({ binary, io });
  const file = path.join(rig.dir, 'touched.toml');
  writeFileSync(file, touched);
  const proxy = await rig.freshProxy('plait', 'h2c', prefault ? { args: ['-c', file] } : {});
  const open = async (times) => [
    await Load.open(tool, proxy.plain, { connections: 128 * times, streams: 16 }),
    await Load.open(tool, proxy.tls, { tls: true, connections: 32 * times, streams: 8, resume: true }),
  ];
  const run = (loads, count) => Promise.all([loads[0].command(`closed ${Math.ceil(count * 0.95)} 100`), loads[1].command(`closed ${Math.ceil(count * 0.05)} 100`)]);
  const warmUp = await open(2);
  await run(warmUp, 1e6);
  for (const load of warmUp) await load.close();
  const before = residentBytes(proxy.child.pid);
  progress(`warmed up: ${before / 1024} KiB`);
  const loads = await open(1);
  const total = churn * 1e6;
  const steps = 40;
  const each = Math.ceil(total / steps);
  const rows = [];
  let done = 0;
  for (let step = 0; step < steps; step += 1) {
    const results = await run(loads, each);
    done += results[0].requests + results[1].requests;
    rows.push({ done, resident: residentBytes(proxy.child.pid) });
    progress(`${done} requests: ${rows.at(-1).resident / 1024} KiB`);
  }
  const connections = await plaitMetric(proxy, 'plait_client_connections_total');
  const calls = await plaitMetric(proxy, 'plait_serving_allocations_total');
  for (const load of loads) await load.close();
  await stop(proxy.child);
  await rig.stopAll();
  const values = rows.map(({ resident }) => resident);
  return `${done} requests over ${connections} connections, those of the warm-up among them; malloc called ${calls} times. Resident after the warm-up ` +
    `${before / 1024} KiB; from then on between ${Math.min(...values) / 1024} and ${Math.max(...values) / 1024} KiB.\n\n` +
    markdown(['requests', 'resident'], rows.filter((_, i) => i % 4 === 3).map((row) => [String(row.done), `${row.resident / 1024} KiB`]));
}
