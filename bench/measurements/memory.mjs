// What a connection and a request hold of the proxy's resident memory: how much it grows by, for each of as many as there
// are. What earlier requests have touched anyhow is not counted.
import http2 from 'node:http2';
import { once } from 'node:events';
import { Load } from '../lib/clients.mjs';
import { residentBytes, stop } from '../lib/processes.mjs';
import { Rig } from '../lib/rig.mjs';
import { markdown, median } from '../lib/statistics.mjs';

const settle = () => new Promise((resolve) => setTimeout(resolve, 500));
const KiB = (bytes) => `${(bytes / 1024).toFixed(2)} KiB`;

export default async function measureMemory({ names, rounds, binary, tool, io, progress }) {
  const rig = new Rig({ binary, io });
  const rows = [];
  const add = async (title, count, measureOne) => {
    const cells = [];
    for (const name of names) {
      const values = [];
      for (let round = 0; round < Math.min(rounds, 3); round += 1) values.push(await measureOne(name, count));
      cells.push(KiB(median(values)));
    }
    rows.push([title, ...cells]);
    progress(rows.at(-1).join(' | '));
  };
  for (const tls of [false, true]) {
    await add(`an idle client, ${tls ? 'TLS' : 'plain'} (of 5,000)`, 5000, (name, count) => idleClients(rig, tool, name, count, tls));
  }
  const silent = await startBackends(1, () => {});
  const streaming = names.filter((name) => name !== 'nginx');
  const own = names.length;
  names = streaming;
  await add('a request that waits for its backend (of 2,000)', 2000, (name, count) => openRequests(rig, name, count, silent));
  silent.close();
  const many = await startBackends(129, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('x'.repeat(100));
  });
  await add('an idle connection to a backend (of 128)', 128, (name, count) => idleUpstream(rig, name, count, many));
  many.close();
  for (const row of rows.slice(-2)) row.push(...Array(own - streaming.length).fill('speaks no HTTP/2 to backends'));
  await rig.stopAll();
  return markdown(['resident memory for each', ...streaming, ...(own > streaming.length ? ['nginx'] : [])], rows);
}

async function warmedProxy(rig, tool, name, tls) {
  const proxy = await rig.freshProxy(name, 'h2c');
  const load = await Load.open(tool, tls ? proxy.tls : proxy.plain, { tls, connections: 64, streams: 4 });
  await load.command('closed 10000');
  await load.close();
  return proxy;
}

async function idleClients(rig, tool, name, count, tls) {
  const proxy = await warmedProxy(rig, tool, name, tls);
  const before = residentBytes(proxy.child.pid);
  const load = await Load.open(tool, tls ? proxy.tls : proxy.plain, { tls, connections: count });
  await settle();
  const bytes = (residentBytes(proxy.child.pid) - before) / count;
  await load.close();
  await stop(proxy.child);
  return bytes;
}

// So many backends, each of which hands its requests to `answer`.
async function startBackends(count, answer) {
  const servers = Array.from({ length: count }, () => http2.createServer({ settings: { maxConcurrentStreams: 10_000 } }));
  for (const server of servers) {
    server.on('session', (session) => session.on('error', () => {}));
    server.on('stream', (stream) => answer(stream.on('error', () => {})));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
  }
  return { origins: servers.map((server) => ({ port: server.address().port, tls: false })), close: () => servers.forEach((server) => server.close()) };
}

// One request after the other, each to the next backend, which has no connection yet.
async function idleUpstream(rig, name, count, { origins }) {
  const proxy = await rig.freshProxy(name, 'h2c', { origins, ...(name.startsWith('plait') ? { args: [] } : {}) });
  const session = http2.connect(`http://127.0.0.1:${proxy.plain}`);
  session.on('error', () => {});
  const ask = async () => {
    const stream = session.request({ ':path': '/' });
    stream.resume();
    await once(stream, 'close');
  };
  await ask();
  await settle();
  const before = residentBytes(proxy.child.pid);
  for (let i = 0; i < count; i += 1) await ask();
  await settle();
  const bytes = (residentBytes(proxy.child.pid) - before) / count;
  session.destroy();
  await stop(proxy.child);
  return bytes;
}

// Requests in flight over 100 connections, less what the connections hold by themselves.
async function openRequests(rig, name, count, { origins }) {
  const proxy = await rig.freshProxy(name, 'h2c', { origins, ...(name.startsWith('plait') ? { args: [] } : {}) });
  const sessions = [];
  for (let i = 0; i < 100; i += 1) {
    const session = http2.connect(`http://127.0.0.1:${proxy.plain}`);
    session.on('error', () => {});
    await once(session, 'remoteSettings');
    sessions.push(session);
  }
  const send = async (each) => {
    for (const session of sessions) {
      for (let i = 0; i < each; i += 1) session.request({ ':path': '/' }).on('error', () => {});
    }
    await settle();
  };
  await send(1);
  const before = residentBytes(proxy.child.pid);
  await send(count / sessions.length);
  const bytes = (residentBytes(proxy.child.pid) - before) / count;
  for (const session of sessions) session.destroy();
  await stop(proxy.child);
  return bytes;
}
