// What a proxy adds to a request's latency, at shares of what it can take at most: an open loop, whose requests fall due
// at random whatever comes back, and count from when they were due (bench/load/main.cc). "Added" is the quantile through
// the proxy less the same quantile straight to the origin at the same rate.
import { Load } from '../lib/clients.mjs';
import { stop } from '../lib/processes.mjs';
import { Rig } from '../lib/rig.mjs';
import { interleave, markdown, median, short } from '../lib/statistics.mjs';

const shares = [0.1, 0.5, 0.8];
const quantiles = [['p50', 'p50'], ['p99', 'p99'], ['p999', 'p99.9']];

export default async function measureLatency({ names, rounds, requests, seconds, binary, tool, io, progress }) {
  const rig = new Rig({ binary, io });
  const origin = await rig.origin('h2c');
  const proxies = {};
  const loads = { direct: await Load.open(tool, origin.port, { connections: 32, streams: 32 }) };
  const most = {};
  for (const name of names) {
    proxies[name] = await rig.freshProxy(name, 'h2c');
    loads[name] = await Load.open(tool, proxies[name].plain, { connections: 32, streams: 32 });
  }
  const saturated = await interleave(names, rounds, async (name) => {
    const { requests: answered, seconds: taken } = await loads[name].command(`closed ${requests}`);
    return answered / taken;
  });
  for (const name of names) most[name] = median(saturated[name]);
  // All are asked at the rate of the first, so that the figures compare; a peer that takes less is nearer its limit there.
  const saturation = most[names[0]];
  const rows = [];
  for (const share of shares) {
    const rate = Math.floor(saturation * share);
    const figures = await interleave(['direct', ...names], rounds, async (name) => loads[name].command(`open ${rate} ${seconds}`, { mayFail: true }));
    const of = (name, key) => median(figures[name].map((result) => result[key]));
    for (const [key, title] of quantiles) {
      const cells = names.map((name) => (figures[name].some(({ failed }) => failed > 0) ? 'does not keep up' : `${short(of(name, key) - of('direct', key))} µs`));
      rows.push([`${Math.round(share * 100)} %, ${rate} a second`, title, `${short(of('direct', key))} µs`, ...cells]);
      progress(rows.at(-1).join(' | '));
    }
  }
  for (const load of Object.values(loads)) await load.close();
  for (const proxy of Object.values(proxies)) await stop(proxy.child);
  await rig.stopAll();
  return `Saturation with 32 × 32 in flight: ${names.map((name) => `${name} ${Math.round(most[name])}`).join(', ')} requests a second. The rates are shares of ${names[0]}'s.\n\n` +
    markdown(['rate', 'quantile', 'without a proxy', ...names.map((name) => `${name} adds`)], rows);
}
