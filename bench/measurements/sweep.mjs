// Cost as work grows, one axis at a time: the proxy's CPU time for each request, without what connecting costs. Each axis
// gives a table and a plot.
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Load } from '../lib/clients.mjs';
import { stop } from '../lib/processes.mjs';
import { startOrigin } from '../lib/origins.mjs';
import { plot } from '../lib/plot.mjs';
import { Rig } from '../lib/rig.mjs';
import { interleave, markdown, median, short } from '../lib/statistics.mjs';

const KiB = 1024;
const MiB = KiB * KiB;
const bodySizes = [0, 100, KiB, 10 * KiB, 100 * KiB, MiB, 8 * MiB, 64 * MiB];
const sizeText = (bytes) => (bytes >= MiB ? `${bytes / MiB} MiB` : bytes >= KiB ? `${bytes / KiB} KiB` : `${bytes} B`);

// `load`: how plait_load is started; `line`: its command; `backends`: how many the proxy has.
const axes = {
  clients: {
    title: 'Cost for a request as clients grow', x: 'connections of clients, 100 requests in flight over all', unit: 'connections',
    values: [1, 10, 100, 1000, 9500], at: (count, requests) => ({ load: { connections: count, streams: 100 }, line: `spread ${Math.max(requests, 2 * count)} 100` }),
  },
  streams: {
    title: 'Cost for a request as streams grow', x: 'requests at once on each of 8 connections', unit: 'streams',
    values: [1, 2, 4, 8, 16, 32, 64, 128], at: (count, requests) => ({ load: { connections: 8, streams: count }, line: `closed ${requests}` }),
  },
  backends: {
    title: 'Cost for a request as backends grow', x: 'backends, 32 × 32 requests in flight', unit: 'backends',
    values: [1, 2, 4, 8, 16, 32, 64], at: (count, requests) => ({ load: { connections: 32, streams: 32 }, line: `closed ${requests}`, backends: count }),
  },
  fields: {
    title: 'Cost for a request as its fields grow', x: 'fields of each request, 32 × 32 requests in flight', unit: 'fields', logX: false,
    values: [5, 10, 20, 40, 60, 80], at: (count, requests) => ({ load: { connections: 32, streams: 32, fields: count - 5 }, line: `closed ${requests}` }),
  },
  bodies: {
    title: 'Cost for a request as bodies grow', x: 'bytes of each response’s body, 4 × 4 requests in flight', unit: 'body', logY: true, xLabel: sizeText,
    values: bodySizes, at: (size, requests) => ({ load: { connections: 4, streams: 4, path: `body-${size}` },
      line: `closed ${Math.max(16, Math.min(requests, Math.ceil(256 * MiB / Math.max(size, 1))))}` }),
  },
};

export default async function measureSweep({ sweep, names, rounds, requests, binary, tool, io, plots, progress }) {
  const rig = new Rig({ binary, io, files: Object.fromEntries(bodySizes.map((size) => [`body-${size}`, size])) });
  const parts = [];
  for (const name of sweep.split(',')) {
    const axis = axes[name];
    if (axis === undefined) throw new Error(`--sweep takes some of ${Object.keys(axes).join(', ')}`);
    const series = Object.fromEntries(names.map((proxy) => [proxy, []]));
    for (const value of axis.values) {
      const figures = await measurePoint(rig, names, rounds, tool, axis.at(value, requests));
      for (const proxy of names) series[proxy].push({ x: value, y: median(figures[proxy]) });
      progress(`${name} ${value}: ${names.map((proxy) => `${proxy} ${short(series[proxy].at(-1).y)}`).join(', ')}`);
    }
    mkdirSync(plots, { recursive: true });
    const file = path.join(plots, `${name}.svg`);
    writeFileSync(file, plot({ title: axis.title, xTitle: axis.x, yTitle: 'CPU of the proxy, µs for each request', series, logX: axis.logX ?? true, logY: axis.logY ?? false, xLabel: axis.xLabel }));
    const rows = axis.values.map((value, i) => [(axis.xLabel ?? String)(value), ...names.map((proxy) => short(series[proxy][i].y))]);
    parts.push(`${axis.title} (µs; ${file})\n\n${markdown([axis.unit, ...names], rows)}`);
  }
  await rig.stopAll();
  return parts.join('\n\n');
}

// The proxies of a point are made for it and are all there at once, each with its own clients, which wait their turn.
async function measurePoint(rig, names, rounds, tool, { load: options, line, backends = 1 }) {
  const origins = [];
  const h1Origins = [];
  const fresh = { dir: rig.dir, root: rig.root, certificate: rig.certificate };
  for (let i = 0; i < backends; i += 1) {
    origins.push(await startOrigin({ ...fresh, kind: 'h2c' }));
    if (names.includes('nginx')) h1Origins.push(await startOrigin({ ...fresh, kind: 'HTTP/1.1' }));
  }
  const proxies = {};
  const loads = {};
  for (const name of names) {
    proxies[name] = await rig.freshProxy(name, 'h2c', { origins, h1Origins });
    loads[name] = await Load.open(tool, proxies[name].plain, options);
  }
  const figures = await interleave(names, rounds, async (name) => (await loads[name].measure(proxies[name].child.pid, line)).cpuUs);
  for (const load of Object.values(loads)) await load.close();
  await Promise.all([...Object.values(proxies), ...origins, ...h1Origins].map(({ child }) => stop(child)));
  return figures;
}
