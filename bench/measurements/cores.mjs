// Two workers against one: requests a second and CPU for each, with clients spread over many connections, and with one
// client connection that sends most of the load beside them. Both cores serve and ask, so what counts is CPU for each
// request: where it stays the same, workers do not stand in each other's way.
import { Load } from '../lib/clients.mjs';
import { cpuNs, stop } from '../lib/processes.mjs';
import { Rig } from '../lib/rig.mjs';
import { interleave, markdown, median } from '../lib/statistics.mjs';

export default async function measureCores({ rounds, requests, binary, tool, io, progress }) {
  const rig = new Rig({ binary, io });
  const both = { core: '0,1' };
  const proxies = {};
  for (const workers of [1, 2]) proxies[workers] = await rig.freshProxy('plait', 'h2c', { workers, ...both });
  const keys = ['1', '2'];
  const rows = [];
  const measure = async (title, open, run) => {
    const loads = {};
    for (const key of keys) loads[key] = await open(proxies[key].plain);
    const results = await interleave(keys, rounds, async (key) => {
      const before = cpuNs(proxies[key].child.pid);
      const start = process.hrtime.bigint();
      const answered = await run(loads[key]);
      const seconds = Number(process.hrtime.bigint() - start) / 1e9;
      return { rate: answered / seconds, cpuUs: (cpuNs(proxies[key].child.pid) - before) / 1000 / answered };
    });
    for (const load of Object.values(loads).flat()) await load.close();
    const ratio = (field) => median(results[2].map((result, round) => result[field] / results[1][round][field])).toFixed(2);
    const cells = keys.map((key) => `${Math.round(median(results[key].map(({ rate }) => rate)))} a second, ${median(results[key].map(({ cpuUs }) => cpuUs)).toFixed(2)} µs`);
    rows.push([title, ...cells, ratio('rate'), ratio('cpuUs')]);
    progress(rows.at(-1).join(' | '));
  };
  await measure('32 connections × 32', async (port) => [await Load.open(tool, port, { connections: 32, streams: 32, ...both })],
    async ([load]) => (await load.command(`closed ${requests}`)).requests);
  await measure('one connection × 100, beside 16 × 1', async (port) => [await Load.open(tool, port, { connections: 1, streams: 100, ...both }),
    await Load.open(tool, port, { connections: 16, streams: 1, ...both })],
  async ([busy, calm]) => {
    const results = await Promise.all([busy.command(`closed ${requests}`), calm.command(`closed ${Math.ceil(requests / 10)}`)]);
    return results[0].requests + results[1].requests;
  });
  for (const proxy of Object.values(proxies)) await stop(proxy.child);
  await rig.stopAll();
  return markdown(['load', 'one worker', 'two workers', 'rate, two / one', 'CPU for a request, two / one'], rows);
}
