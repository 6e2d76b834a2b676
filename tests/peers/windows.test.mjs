// Flow-control windows over a long wire, counted in what is granted: how far ahead a peer may send.
import assert from 'node:assert/strict';
import test from 'node:test';
import { connectH2, request } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { startH2Backend } from './lib/backends.mjs';
import { connectWire, data, fields, flag, greet, headers, ping, setting, startWireBackend, type } from './lib/wire_h2.mjs';
import { eventually } from './lib/process.mjs';

const KiB = 1 << 10;
const ok = [[':status', '200']];
const frameSize = 16_384;

// What the peer's frames are worth, each so many milliseconds after it has come: windows by stream, and answers to PING.
function farAway(peer, delay_ms, windows) {
  const state = { pings: 0, largest: 0 };
  const seen = new Set();
  state.look = () => {
    for (const one of peer.frames) {
      if (seen.has(one)) continue;
      seen.add(one);
      if (one.type === type.ping && !(one.flags & flag.ack)) {
        state.pings += 1;
        setTimeout(() => peer.send(ping(one.payload, flag.ack)), delay_ms);
      } else if (one.type === type.windowUpdate) {
        const increment = one.payload.readUInt32BE(0);
        setTimeout(() => { windows.set(one.stream, (windows.get(one.stream) ?? 0) + increment); }, delay_ms);
      }
    }
  };
  // All of `size` bytes on a stream, as its windows allow.
  state.send = async (stream, size) => {
    for (let left = size; left > 0;) {
      state.look();
      const room = Math.min(windows.get(0), windows.get(stream));
      state.largest = Math.max(state.largest, windows.get(stream));
      const count = Math.min(left, room, frameSize);
      if (count <= 0) {
        await new Promise((resolve) => { setTimeout(resolve, 1); });
        continue;
      }
      left -= count;
      for (const id of [0, stream]) windows.set(id, windows.get(id) - count);
      peer.send(data(stream, Buffer.alloc(count, 'w'), left === 0 ? flag.endStream : 0));
    }
  };
  return state;
}

// The windows of a backend's new stream.
const granted = (peer) => {
  const own = peer.frames.find((one) => one.type === type.settings && !(one.flags & flag.ack)).payload;
  for (let at = 0; at < own.length; at += 6) if (own.readUInt16BE(at) === setting.window) return own.readUInt32BE(at + 2);
  return 65_535;
};

const client = (t, plait) => {
  const session = connectH2(t, plait.port, { settings: { initialWindowSize: 64 << 20 } });
  session.on('connect', () => session.setLocalWindowSize(64 << 20));
  return session;
};

test('a backend that is far away is granted more with each round trip, and the next stream begins with some of it', async (t) => {
  const backend = await startWireBackend(t);
  const plait = await startProxy(t, [backend]);
  const session = client(t, plait);
  const long = request(session, { ':path': '/long' });
  const { peer, stream } = await backend.untilRequest();
  const windows = new Map([[0, 65_535], [stream, granted(peer)]]);
  const wire = farAway(peer, 20, windows);
  assert.equal(windows.get(stream), 32 * KiB);
  peer.send(headers(stream, ok, flag.endHeaders));
  await wire.send(stream, 20_000_000);
  assert.equal((await long).body.length, 20_000_000);
  assert.ok(wire.largest >= 256 * KiB, `at most ${wire.largest} bytes were granted to one stream`);
  assert.ok(wire.largest <= (8 << 20) + 64 * KiB, `${wire.largest} bytes are more than an eighth of the pool`);
  assert.ok(wire.pings > 0 && wire.pings < 100, `${wire.pings} PINGs`);
  const next = request(session, { ':path': '/next' });
  const again = await backend.untilRequest();
  const update = await again.peer.until((one) => one.type === type.windowUpdate && one.stream === again.stream, 'a WINDOW_UPDATE beside the request');
  assert.ok(update.payload.readUInt32BE(0) >= 128 * KiB, `${update.payload.readUInt32BE(0)} bytes more`);
  again.peer.send(headers(again.stream, ok, flag.endHeaders | flag.endStream));
  assert.equal((await next).status, 200);
});

test('a backend whose client reads slowly is granted no more', async (t) => {
  const backend = await startWireBackend(t);
  const plait = await startProxy(t, [backend]);
  const slow = await greet(await connectWire(plait.port));
  slow.send(headers(1, fields({ ':path': '/' })));
  const { peer, stream } = await backend.untilRequest();
  const windows = new Map([[0, 65_535], [stream, granted(peer)]]);
  const wire = farAway(peer, 5, windows);
  peer.send(headers(stream, ok, flag.endHeaders));
  const sent = wire.send(stream, 400_000);
  // 65,535 bytes are granted at first; from then on a little every now and then, which takes many round trips.
  let taken = 0;
  let over = false;
  sent.then(() => { over = true; });
  await eventually(() => {
    wire.look();
    const come = slow.frames.filter((one) => one.type === type.data).reduce((sum, one) => sum + one.payload.length, 0);
    if (come >= taken) {
      taken = come + 2_000;
      slow.send(Buffer.concat([0, 1].map((id) => {
        const update = Buffer.from([0, 0, 4, type.windowUpdate, 0, 0, 0, 0, id, 0, 0, 0, 0]);
        update.writeUInt32BE(2_000, 9);
        return update;
      })));
    }
    return over;
  }, 'all of it is sent', 60_000);
  assert.ok(wire.largest <= 128 * KiB, `${wire.largest} bytes were granted`);
});

test('no PING measures anything where bodies fit into their windows', async (t) => {
  const backend = await startWireBackend(t);
  const plait = await startProxy(t, [backend]);
  const session = client(t, plait);
  for (let i = 0; i < 20; i += 1) {
    const answer = request(session, { ':path': '/' });
    const { peer, stream } = await backend.untilRequest();
    const length = 30_000;
    peer.send(headers(stream, [...ok, ['content-length', String(length)]], flag.endHeaders));
    peer.send(data(stream, Buffer.alloc(frameSize)), data(stream, Buffer.alloc(length - frameSize), flag.endStream));
    assert.equal((await answer).body.length, length);
    assert.deepEqual(peer.frames.filter((one) => one.type === type.ping && !(one.flags & flag.ack)), []);
  }
});

test('a client that is far away may send more with each round trip', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    let size = 0;
    stream.on('data', (chunk) => { size += chunk.length; });
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(String(size));
    });
  }, { settings: { initialWindowSize: 16 << 20 } });
  backend.server.on('session', (session) => session.setLocalWindowSize(64 << 20));
  const plait = await startProxy(t, [backend]);
  const far = await greet(await connectWire(plait.port));
  const windows = new Map([[0, 65_535], [1, granted(far)]]);
  const wire = farAway(far, 20, windows);
  far.send(headers(1, fields({ ':method': 'POST', ':path': '/' }), flag.endHeaders));
  await wire.send(1, 20_000_000);
  await far.untilEnd(1);
  assert.equal(Buffer.concat(far.frames.filter((one) => one.type === type.data).map((one) => one.payload)).toString(), '20000000');
  assert.ok(wire.largest >= 256 * KiB, `at most ${wire.largest} bytes were granted`);
  assert.ok(wire.pings > 0 && wire.pings < 100, `${wire.pings} PINGs`);
});
