// Four times as many clients as there are places for. All are served, since those that have been idle longest make room; who
// is busy keeps its connection; memory stays what was reserved; and afterwards nothing is left.
import assert from 'node:assert/strict';
import { startH2Backend } from '../../peers/lib/backends.mjs';
import { connectH2, request } from '../../peers/lib/clients.mjs';
import { metric, reservedBytes, startConfigured } from '../../peers/lib/plait.mjs';
import { MiB, eventually, peakResidentBytes } from '../../peers/lib/process.mjs';
import { startReporting } from '../reporting.mjs';

export default async function crowd(t, size) {
  const places = size(5000, 200);
  const offered = 4 * places;
  let release;
  const backend = await startH2Backend(t, (stream, headers) => {
    const answer = () => {
      stream.respond({ ':status': 200 });
      stream.end('small');
    };
    if (headers[':path'] === '/held') release = answer;
    else answer();
  });
  const plait = await startConfigured(t, `[server]
workers = 1
[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
[admin]
address = "127.0.0.1:0"
[limits]
client_connections = ${places}
[timeouts]
response_head_ms = 600000
`);
  const neighbour = connectH2(t, plait.port);
  const ask = async () => assert.equal((await request(neighbour, { ':path': '/small' })).body, 'small', 'who is busy is served');
  // As long as this is not answered the neighbour is not idle, however slow the machine.
  const held = request(neighbour, { ':path': '/held' }, { timeout: 600_000 });
  await ask();
  const crowds = [2, 3, 4, 5].map((last) => startReporting(t, 'crowd.mjs', [plait.port, offered / 4, `127.0.0.${last}`], { served: 0, open: 0, failed: 0 }));
  const sum = (key) => crowds.reduce((total, { seen }) => total + seen[key], 0);
  let asked = 0;
  const begun = Date.now();
  await eventually(async () => {
    await ask();
    asked += 1;
    return sum('served') + sum('failed') === offered;
  }, 'everybody has been served', 240_000);
  const seconds = (Date.now() - begun) / 1000;
  assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 0, 'nobody was closed unheard');
  assert.equal(sum('failed'), 0, `nobody was sent away: ${JSON.stringify(crowds.map(({ seen }) => seen))}`);
  const peak = await metric(plait, 'plait_slab_peak', { slab: 'client_connections' });
  assert.ok(peak <= places, `${peak} connections at once`);
  const evicted = await metric(plait, 'plait_client_connections_evicted_total');
  const pauses = await metric(plait, 'plait_accept_pauses_total');
  assert.ok(evicted >= offered - places, `${evicted} idle ones made room`);
  const [resident, reserved] = [peakResidentBytes(plait.pid), reservedBytes(plait)];
  assert.ok(resident <= reserved, `${resident} bytes resident, ${reserved} reserved`);
  for (const one of crowds) one.say('leave');
  await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'client_connections' })) === 1, 'only the neighbour is left', 30_000);
  release();
  assert.equal((await held).body, 'small', 'what took so long is complete');
  await ask();
  for (const slab of ['exchanges_http1', 'exchanges_http2', 'send_blocks', 'header_blocks_small']) {
    await eventually(async () => (await metric(plait, 'plait_slab_used', { slab })) === 0, `no ${slab} is left`);
  }
  return `${offered} connections offered to ${places} places: all served in ${seconds.toFixed(1)} s, ${evicted} idle ones made room, accepting paused ${pauses} times, `
    + `${asked} requests of a busy neighbour; resident at most ${Math.round(resident / MiB)} of ${Math.round(reserved / MiB)} MiB reserved`;
}
