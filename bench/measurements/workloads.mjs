// W1 to W8, how many connections to the backend W1 needs, and whether plait called malloc for any of it.
import { Load, measureH2load } from '../lib/clients.mjs';
import { connectionsTo, proxyCore, residentBytes, stop } from '../lib/processes.mjs';
import { isPlait, plaitMetric } from '../lib/proxies.mjs';
import { Rig } from '../lib/rig.mjs';
import { interleave, markdown, median, ratioToBest } from '../lib/statistics.mjs';
import { countOf, workloads } from '../lib/workloads.mjs';

const idleClients = 5000;

export default async function measureWorkloads({ only, names, rounds, requests, binary, pgo, tool, io, progress }) {
  const wanted = only?.split(',');
  const isWanted = (id) => wanted === undefined || wanted.includes(id);
  const rig = new Rig({ binary, pgo, io });
  const rows = [];
  const proxies = async (kind) => Object.fromEntries(await Promise.all(names.map(async (name) => [name, await rig.proxy(name, kind)])));
  const peers = names.filter((name) => !isPlait(name));
  const ours = names.filter(isPlait);

  const add = (title, figures, format) => {
    const ratio = (name) => (figures[name] && peers.length > 0 ? ratioToBest(figures, name, peers).toFixed(2) : '–');
    rows.push([title, ...names.map((name) => format(figures[name])), ...ours.map(ratio)]);
    progress(rows.at(-1).join(' | '));
  };
  const microseconds = (values) => (values ? `${median(values).toFixed(2)} µs` : '–');

  let connections;
  for (const workload of workloads.filter(({ id }) => isWanted(id))) {
    const made = await proxies(workload.origin);
    const figures = await interleave(names, rounds, (name) => measureH2load(made[name], { ...workload, count: countOf(workload, requests) }));
    add(`${workload.id} ${workload.title}`, figures, microseconds);
    if (workload.id === 'W1') connections = await countConnections(rig, made, workload, requests);
  }
  if (isWanted('W6')) {
    const figures = await measureAlone(rig, names, rounds, tool, Math.max(1000, Math.ceil(requests / 10)));
    add('W6 one connection, one stream, all on one core: added p50', figures, microseconds);
  }
  if (isWanted('W8')) {
    for (const tls of [false, true]) {
      const figures = await measureIdle(rig, names, Math.min(rounds, 3), tool, tls);
      add(`W8 5,000 idle ${tls ? 'h2+TLS' : 'h2c'} clients after one request each: resident for each client`, figures,
        (values) => `${(median(values) / 1024).toFixed(2)} KiB`);
    }
  }
  if (connections) rows.push(['Connections to the backend in W1 (1,024 requests in flight)', ...names.map((name) => String(connections[name])), ...ours.map(() => '')]);
  const calls = {};
  for (const [key, proxy] of rig.made) {
    const { name } = await proxy;
    if (key.startsWith('proxy plait')) calls[name] = (calls[name] ?? 0) + await plaitMetric(await proxy, 'plait_serving_allocations_total');
  }
  if (Object.keys(calls).length > 0) rows.push(['malloc calls while serving all of that', ...names.map((name) => (name in calls ? String(calls[name]) : '')), ...ours.map(() => '')]);
  await rig.stopAll();
  return markdown(['workload', ...names.map((name) => (name === 'nginx' ? 'nginx, HTTP/1.1 to the backend' : name)), ...ours.map((name) => `${name} / best peer`)], rows);
}

// The most connections that each proxy had to its backend during one run.
async function countConnections(rig, made, workload, requests) {
  const most = {};
  const { origins, h1Origins } = await rig.origins(workload.origin);
  for (const [name, proxy] of Object.entries(made)) {
    const { port } = (name === 'nginx' ? h1Origins : origins)[0];
    const run = measureH2load(proxy, { ...workload, count: countOf(workload, requests) });
    let running = true;
    const ended = run.then(() => { running = false; });
    most[name] = 0;
    while (running) {
      most[name] = Math.max(most[name], connectionsTo(proxy.child.pid, port));
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    await ended;
  }
  return most;
}

// What a request takes through the proxy longer than without, with one request in flight and everything on one core.
async function measureAlone(rig, names, rounds, tool, count) {
  const here = { core: proxyCore };
  const [h2, h1] = [await rig.origin('h2c', here), await rig.origin('HTTP/1.1', here)];
  const proxies = {};
  for (const name of names) proxies[name] = await rig.freshProxy(name, 'h2c', { origins: [h2], h1Origins: [h1] });
  const ports = { direct: h2.port, ...Object.fromEntries(names.map((name) => [name, proxies[name].plain])) };
  const loads = {};
  for (const [name, port] of Object.entries(ports)) loads[name] = await Load.open(tool, port, here);
  const figures = await interleave(Object.keys(ports), rounds, async (name) => (await loads[name].command(`closed ${count}`)).p50);
  for (const load of Object.values(loads)) await load.close();
  for (const proxy of Object.values(proxies)) await stop(proxy.child);
  return Object.fromEntries(names.map((name) => [name, figures[name].map((value, round) => value - figures.direct[round])]));
}

// Bytes that the proxy's resident memory grows by for each of many clients that have had one request answered and stay.
// What the first thousands of requests touch anyhow is not counted.
async function measureIdle(rig, names, rounds, tool, tls) {
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const name of names) {
      const proxy = await rig.freshProxy(name, 'h2c');
      const port = tls ? proxy.tls : proxy.plain;
      const warm = await Load.open(tool, port, { tls, connections: 64, streams: 4 });
      await warm.command('closed 10000');
      await warm.close();
      const before = residentBytes(proxy.child.pid);
      const load = await Load.open(tool, port, { tls, connections: idleClients });
      await new Promise((resolve) => setTimeout(resolve, 500));
      figures[name].push((residentBytes(proxy.child.pid) - before) / idleClients);
      await load.close();
      await stop(proxy.child);
    }
  }
  return figures;
}
