// Streams of events and WebSockets go on for as long as their ends like, while everything happens that retires the
// connections to the backends under them: age, calm after a burst, hundreds of resets, GOAWAY.
import assert from 'node:assert/strict';
import { startH1Backend, startH2Backend } from '../../peers/lib/backends.mjs';
import { connectH2, openRaw, request } from '../../peers/lib/clients.mjs';
import { metric, startConfigured } from '../../peers/lib/plait.mjs';
import { eventually } from '../../peers/lib/process.mjs';

const streams = 24;
const tick_ms = 500;
const upgrade = 'GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n';

function tickInto(write, emitter) {
  const timer = setInterval(() => write('data: x\n\n'), tick_ms);
  emitter.on('close', () => clearInterval(timer));
}

// /events ticks for ever, /never gets no answer, all else is answered after a breath, so that a burst takes room.
function startEvents(t) {
  return startH2Backend(t, (stream, fields) => {
    stream.on('error', () => {});
    if (fields[':path'] === '/never') return;
    if (fields[':path'] !== '/events') {
      setTimeout(() => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200 });
        stream.end('ok');
      }, 50);
      return;
    }
    stream.respond({ ':status': 200 });
    tickInto((text) => stream.write(text), stream);
  });
}

async function startTunnels(t) {
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  backend.server.on('upgrade', (incoming, socket) => {
    socket.on('error', () => {});
    socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n');
    tickInto((text) => socket.write(text), socket);
  });
  return backend;
}

// A plait whose connections to backends grow old within seconds, and whose drain_ms would show at once.
const start = (t, backend) => startConfigured(t, `[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
[admin]
address = "127.0.0.1:0"
[limits]
streams_per_upstream_connection = 32
[timeouts]
drain_ms = 1000
shrink_ms = 2000
connection_age_ms = 3000
`);

export default async function longLived(t, size) {
  const seconds = size(600, 10);
  const [eventsBackend, tunnelsBackend] = [await startEvents(t), await startTunnels(t)];
  const [events, tunnels] = [await start(t, eventsBackend), await start(t, tunnelsBackend)];
  const seen = [];
  // A few at a time, so that they run on connections of many rounds.
  const openMore = async (count) => {
    for (let i = 0; i < count && seen.length < 2 * streams; i += 1) {
      const number = seen.length / 2;
      const stream = connectH2(t, events.port).request({ ':path': '/events' });
      const one = { what: `stream ${number}`, ticks: 0, ended: undefined };
      stream.on('data', () => { one.ticks += 1; });
      stream.on('error', () => {});
      stream.on('close', () => { one.ended = `code ${stream.rstCode}`; });
      const socket = await openRaw(t, tunnels.port);
      socket.write(upgrade);
      await socket.until(/ 101 /);
      const tunnel = { what: `tunnel ${number}`, ticks: 0, ended: undefined };
      socket.socket.on('data', () => { tunnel.ticks += 1; });
      socket.socket.on('close', () => { tunnel.ended = 'closed'; });
      seen.push(one, tunnel);
    }
  };
  const crowd = connectH2(t, events.port);
  const beside = connectH2(t, tunnels.port);
  let rounds = 0;
  const until = Date.now() + seconds * 1000;
  while (Date.now() < until) {
    await openMore(streams / 6);
    // A burst, which makes connections that are superfluous afterwards; and resets in numbers.
    await Promise.all(Array.from({ length: 100 }, () => request(crowd, { ':path': '/' })));
    assert.equal((await request(beside, { ':path': '/' })).status, 200);
    const given = Array.from({ length: 50 }, () => crowd.request({ ':path': '/never' }));
    for (const stream of given) stream.on('error', () => {});
    await request(crowd, { ':path': '/' });
    for (const stream of given) stream.close(8);
    rounds += 1;
    // Every now and then the backend asks for new connections, and ends none.
    if (rounds % 5 === 0) for (const session of eventsBackend.sessions) session.goaway(0);
    const goal = seen.map(({ ticks }) => ticks + 1);
    await eventually(() => {
      const cut = seen.find(({ ended }) => ended !== undefined);
      if (cut !== undefined) throw new Error(`${cut.what} was cut after ${cut.ticks} ticks: ${cut.ended}`);
      return seen.every(({ ticks }, i) => ticks >= goal[i]);
    }, 'every stream and every tunnel goes on', 20_000);
  }
  assert.ok(eventsBackend.opened > seconds / 10, `the streams' backend saw ${eventsBackend.opened} connections`);
  assert.equal(seen.length, 2 * streams);
  const retired = await metric(events, 'plait_upstream_places', { held_by: 'retired' });
  return `${streams} streams and ${streams} tunnels for ${seconds} s over ${eventsBackend.opened} connections in ${rounds} rounds, none cut; ${retired} retired ones at the end`;
}
