// A thousand reloads, ten a second, half of which change the routes and endpoints of others, beside a load, WebSockets,
// streams and uploads: no request fails, nothing is cut, nobody is dialled anew, memory stays.
import assert from 'node:assert/strict';
import { renameSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { startH1Backend, startH2Backend } from '../../peers/lib/backends.mjs';
import { connectH2, openRaw } from '../../peers/lib/clients.mjs';
import { assertAllAre200, startLoad } from '../../peers/lib/outages.mjs';
import { startPlait, writeConfiguration } from '../../peers/lib/plait.mjs';
import { eventually } from '../../peers/lib/process.mjs';

const residentBytes = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+) kB/)[1]) * 1024;
const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';

// The answer of the admin socket to one command.
const command = (socket, text) => new Promise((resolve, reject) => {
  let answer = '';
  net.connect(socket).on('data', (data) => { answer += data; }).on('end', () => resolve(answer)).on('error', reject).end(`${text}\n`);
});

export default async function reloads(t, size) {
  const [count, tunnels, streams, uploads] = [size(1000, 30), size(200, 10), size(200, 10), size(50, 5)];
  const main = await startH2Backend(t, (stream, fields) => {
    stream.respond({ ':status': 200 });
    if (fields[':path'] === '/events') {
      const timer = setInterval(() => stream.write('.'), 500);
      stream.on('close', () => clearInterval(timer));
      return;
    }
    stream.on('data', () => {});
    stream.on('end', () => stream.end('ok'));
  });
  const sockets = await startH1Backend(t, (incoming, response) => response.end('ok'));
  sockets.server.on('upgrade', (incoming, socket) => {
    socket.on('error', () => {}).on('end', () => socket.end());
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
    socket.on('data', (data) => socket.write(data));
  });
  const others = [];
  for (let i = 0; i < 3; i += 1) others.push(await startH2Backend(t, (stream) => { stream.respond({ ':status': 200 }); stream.end('other'); }));
  const cluster = (name, backend) => `[[cluster]]\nname = "${name}"\n[[cluster.backend]]\nurl = "${backend.url}"\n`;
  const route = (name, prefix, to) => `[[route]]\nname = "${name}"\npath = "${prefix}"\ncluster = "${to}"\n`;
  const toml = (n) => `[[listen]]\naddress = "127.0.0.1:0"\n[admin]\nsocket = "plait.sock"\n[limits]\nupstream_connections = 4096\n` +
    cluster('main', main) + cluster('sockets', sockets) + cluster('other', others[n % 3]) +
    route('main', '/', 'main') + route('ws', '/ws', 'sockets') + route('other', `/other-${n % 5}`, 'other');
  const file = writeConfiguration(t, toml(0));
  const plait = await startPlait(t, ['-c', file]);
  const socket = path.join(path.dirname(file), 'plait.sock');

  const cut = [];
  const open = [];
  for (let i = 0; i < tunnels; i += 1) {
    const client = await openRaw(t, plait.port);
    client.write(upgrade);
    await client.until(/ 101 /);
    client.socket.on('close', () => cut.push(`tunnel ${i}`));
    open.push(client);
  }
  const session = [connectH2(t, plait.port), connectH2(t, plait.port), connectH2(t, plait.port)];
  const begin = (i, headers) => {
    const stream = session[i % session.length].request(headers, { endStream: false });
    stream.on('error', () => {}).on('close', () => cut.push(headers[':path']));
    stream.on('data', () => {});
    return stream;
  };
  const events = Array.from({ length: streams }, (_, i) => begin(i, { ':path': '/events' }));
  const bodies = Array.from({ length: uploads }, (_, i) => begin(i, { ':method': 'POST', ':path': '/upload' }));
  for (const stream of events) stream.end();
  for (const stream of bodies) stream.write('begun');
  const load = startLoad(t, plait.port, { clients: 8, breath_ms: 5 });
  await load.eachGets(10, 'the load runs');
  const opened = main.opened + sockets.opened;
  await command(socket, 'reload');
  let resident = 0;
  const start = Date.now();
  for (let n = 1; n <= count; n += 1) {
    // Every second one changes something.
    writeFileSync(`${file}.new`, toml(n >> 1));
    renameSync(`${file}.new`, file);
    const answer = await command(socket, 'reload');
    assert.match(answer, new RegExp(`^generation ${n + 2}\n`));
    if (n === Math.ceil(count / 4)) resident = residentBytes(plait.pid);
    const wait = start + n * 100 - Date.now();
    if (wait > 0) await new Promise((resolve) => { setTimeout(resolve, wait); });
  }
  const grown = residentBytes(plait.pid) - resident;
  await load.eachGets(3, 'the load goes on');
  await load.stop();
  assertAllAre200(load.answers);
  assert.deepEqual(cut, [], 'nothing was cut');
  assert.equal(main.opened + sockets.opened - opened, 0, 'no dial to endpoints that did not change');
  for (const stream of bodies) stream.end();
  await eventually(() => cut.length === bodies.length, 'the uploads end well', 30_000);
  // plait waits for none of them at its end.
  for (const client of open) client.socket.destroy();
  for (const one of session) one.destroy();
  // A short run still touches memory for the first time in its last three quarters.
  const allowed = (count < 1000 ? 16 : 4) << 20;
  assert.ok(grown < allowed, `resident memory grew by ${grown >> 10} KiB over the last three quarters`);
  return `${count} reloads in ${((Date.now() - start) / 1000).toFixed(1)} s beside ${tunnels} tunnels, ${streams} streams, ${uploads} uploads and ${load.answers.length} requests: none failed, none cut, no dial, resident memory ${grown >= 0 ? '+' : ''}${grown >> 10} KiB`;
}
