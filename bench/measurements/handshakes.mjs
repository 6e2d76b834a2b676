// TLS handshakes for each second of the proxy's CPU. Clients' side: connections that come, ask once, and go, over TLS and
// in plain text; the difference in CPU is the handshake's (and a record's or two). Backends' side: an origin that ends each
// connection after one request, with tickets and without, against one that keeps it, both over TLS.
import { Load } from '../lib/clients.mjs';
import { stop } from '../lib/processes.mjs';
import { Rig } from '../lib/rig.mjs';
import { interleave, markdown, median } from '../lib/statistics.mjs';

export default async function measureHandshakes({ names, rounds, requests, binary, tool, io, progress }) {
  const rig = new Rig({ binary, io });
  const rows = [];
  const perSecond = (figures, base) => `${Math.round(median(figures.map((value, round) => 1e6 / (value - base[round]))))}`;
  const count = Math.max(100, Math.ceil(requests / 50));

  const share = {};
  const proxies = {};
  for (const name of names) proxies[name] = await rig.freshProxy(name, 'h2c');
  const measureClients = (options) => interleave(names, rounds, async (name) => {
    const load = await Load.open(tool, options.tls ? proxies[name].tls : proxies[name].plain, { connections: 4, ...options });
    const result = await load.measure(proxies[name].child.pid, `closed ${count} 1`);
    await load.close();
    // Not every server gives whoever resumes a ticket for the next time.
    if (options.tls && (options.resume ? result.resumed === 0 : result.resumed !== 0)) {
      throw new Error(`${name}: ${result.resumed} of ${result.handshakes} handshakes were resumed`);
    }
    if (options.resume) share[name] = Math.round(100 * result.resumed / result.handshakes);
    return result.cpuUs;
  });
  const plain = await measureClients({});
  const full = await measureClients({ tls: true });
  const resumed = await measureClients({ tls: true, resume: true });
  rows.push(['from clients, full', ...names.map((name) => perSecond(full[name], plain[name]))]);
  rows.push(['from clients, resumed', ...names.map((name) => `${perSecond(resumed[name], plain[name])} (${share[name]} % resumed)`)]);
  progress(rows.map((row) => row.join(' | ')).join('\n'));
  for (const proxy of Object.values(proxies)) await stop(proxy.child);

  // Over HTTP/1.1, which every one of them speaks to a backend.
  const upstream = names.filter((name) => !name.startsWith('nghttpx'));
  const kept = await rig.origin('HTTP/1.1 over TLS');
  const measureBackends = async (origin) => {
    const made = {};
    const loads = {};
    for (const name of upstream) {
      made[name] = await rig.freshProxy(name, 'HTTP/1.1 over TLS', { origins: [origin], h1Origins: [origin] });
      loads[name] = await Load.open(tool, made[name].plain, { connections: 1, streams: 4 });
    }
    const figures = await interleave(upstream, rounds, async (name) => (await loads[name].measure(made[name].child.pid, `closed ${count}`)).cpuUs);
    for (const load of Object.values(loads)) await load.close();
    for (const proxy of Object.values(made)) await stop(proxy.child);
    return figures;
  };
  const base = await measureBackends(kept);
  const fullUp = await measureBackends(await rig.origin('HTTP/1.1 over TLS', { requestsEach: 1, tickets: false }));
  const resumedUp = await measureBackends(await rig.origin('HTTP/1.1 over TLS', { requestsEach: 1, tickets: true }));
  const cell = (figures, name) => (upstream.includes(name) ? perSecond(figures[name], base[name]) : 'HTTP/2 alone');
  rows.push(['to backends, full', ...names.map((name) => cell(fullUp, name))]);
  rows.push(['to backends, resumed', ...names.map((name) => cell(resumedUp, name))]);
  await rig.stopAll();
  return markdown(['handshakes for each second of CPU', ...names], rows);
}
