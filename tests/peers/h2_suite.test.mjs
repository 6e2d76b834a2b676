// plait as an HTTP/2 server, held against the table of lib/h2_suite.mjs as an independent suite of conformance would do
// it: over h2c and over TLS, in front of a backend that answers with some kilobytes. Each row is said in one write, and
// again piece by piece; where it must cost the connection, with more behind it than is read before the fault is found.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import test from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { startH2Backend } from './lib/backends.mjs';
import { connectionError } from './lib/h2_reactions.mjs';
import { bodySize, rows } from './lib/h2_suite.mjs';
import { startProxy } from './lib/plait.mjs';
import { defer, eventually, tcpStateOf } from './lib/process.mjs';
import { frame, headerBlock, uint32 } from './lib/raw_h2.mjs';
import { code, connectWire, data, flag, greet, ping, setting, settings, type, WirePeer } from './lib/wire_h2.mjs';

const body = Buffer.alloc(bodySize, 'b');
const closeWait = 8;  // as tcpStateOf says it
// More than one read takes, so that whoever closed at once would leave some of it unread, which is a reset.
const tail = Array(12).fill(data(1, Buffer.alloc(16_000)));

function answer(stream, sent) {
  const respond = () => {
    if (stream.destroyed) return;
    stream.respond({ ':status': 200 }, { endStream: sent[':method'] === 'HEAD' });
    if (sent[':method'] !== 'HEAD') stream.end(body);
  };
  stream.resume();
  if (sent[':path'] === '/early') respond();
  else stream.on('end', respond);
}

// How the frames of one row leave: in one write; cut behind each frame's header, with a turn of the loop in between, as
// long as they are few; or with a tail, while nothing is read.
const manners = {
  async together(c, frames) {
    c.send(...frames);
  },
  async apart(c, frames) {
    for (const one of frames.splice(0, 12)) {
      c.send(one.subarray(0, 9));
      await nextTurn();
      if (one.length > 9) c.send(one.subarray(9));
      await nextTurn();
    }
    c.send(...frames);
  },
  async withTail(c, frames) {
    c.socket.pause();
    await new Promise((resolve) => {
      c.socket.write(Buffer.concat([...frames, ...tail]), resolve);
    });
    await nextTurn();
    c.socket.resume();
  },
};

// What holds for every connection, whatever was said on it; a suite that looks for one kind of frame takes the first.
function keepsItsManners(c, { greeting }) {
  const [first] = c.frames;
  if (first !== undefined) assert.ok(first.type === type.settings && first.flags === 0, `SETTINGS come first; heard ${c.heard()}`);
  c.frames.forEach((one, i) => {
    assert.ok(one.type <= type.continuation && one.type !== type.push && one.type !== type.priority, `a server does not say this: ${c.heard()}`);
    assert.ok(one.payload.length <= 16_384);
    if (one.type === type.settings && i > 0) assert.equal(one.flags, flag.ack, `SETTINGS that nobody waits for: ${c.heard()}`);
    if (one.type === type.ping) assert.equal(one.flags, flag.ack, `PING that nobody waits for: ${c.heard()}`);
    if (one.type === type.data && !one.endStream) assert.notEqual(one.payload.length, 0, `DATA of nothing: ${c.heard()}`);
    if (one.type === type.goaway) assert.equal(i, c.frames.length - 1, `nothing follows GOAWAY; heard ${c.heard()}`);
  });
  assert.equal(c.buffered.length, 0, 'whole frames');
  if (greeting) assert.ok(c.frames.some((one) => one.type === type.settings && one.flags === flag.ack), c.heard());
  // A reset can destroy a GOAWAY on its way: the end of a connection is said, not forced.
  assert.equal(c.error, null, `${c.error}; heard ${c.heard()}`);
  if (c.closed) assert.ok(c.ended, c.heard());
}

async function hold(row, manner, connect) {
  const c = await connect();
  try {
    if (row.greeting) {
      await greet(c, [setting.window, 65_535]);
      const ours = c.frames[0].payload;
      c.settings = new Map(Array.from({ length: ours.length / 6 }, (_, i) => [ours.readUInt16BE(6 * i), ours.readUInt32BE(6 * i + 2)]));
    }
    let is_last = false;
    c.say = async (...frames) => manners[manner === 'withTail' && !is_last ? 'together' : manner](c, frames);
    const frames = await row.said(c);
    is_last = true;
    if (frames !== undefined) await c.say(...frames);
    await row.outcome(c);
    keepsItsManners(c, row);
  } catch (error) {
    error.message = `${manner}: ${error.message}`;
    throw error;
  } finally {
    c.socket.destroy();
  }
}

for (const [transport, secure] of [['h2c', false], ['TLS', true]]) {
  test(`over ${transport}, plait passes every row`, { concurrency: 16 }, async (t) => {
    const backend = await startH2Backend(t, answer);
    const plait = await startProxy(t, [backend], { tls: true });
    const ca = readFileSync(plait.certificate.cert);
    const port = secure ? plait.tlsPort : plait.port;
    const connect = async () => Object.assign(await connectWire(port, secure ? { ca } : {}), { port, secure });
    await Promise.all(rows.map((row) => t.test(`${row.section}: ${row.sentence}`, async () => {
      for (const manner of ['together', 'apart', ...(row.outcome.isFatal ? ['withTail'] : [])]) await hold(row, manner, connect);
    })));
  });
}

for (const [transport, secure] of [['h2c', false], ['TLS', true]]) {
  test(`over ${transport}, what a client still sends does not reset a connection whose GOAWAY it has not read`, async (t) => {
    const backend = await startH2Backend(t, answer);
    const plait = await startProxy(t, [backend], { tls: true });
    const c = await connectWire(secure ? plait.tlsPort : plait.port, secure ? { ca: readFileSync(plait.certificate.cert) } : {});
    defer(t, () => c.socket.destroy());
    await greet(c);
    c.socket.pause();
    c.send(ping('12345678', 0, 3));
    const { localPort, remotePort } = c.socket;
    const state = () => tcpStateOf({ localPort, remotePort });
    await eventually(() => state() === closeWait, 'plait says that it closes');
    for (let i = 0; i < 5; i += 1) {
      await new Promise((resolve) => { c.socket.write(tail[0], resolve); });
      await nextTurn();
      assert.equal(state(), closeWait, `after ${i} writes`);
    }
    c.socket.resume();
    await connectionError(code.protocol)(c);
    assert.equal(c.error, null);
  });
}

test('the table stands for all 147 cases of h2spec, its strict one among them', () => {
  assert.equal(rows.reduce((sum, { times }) => sum + times, 0), 147);
  assert.equal(new Set(rows.map(({ section, sentence }) => `${section}: ${sentence}`)).size, rows.length, 'no row is there twice');
});

// -- the table is held against servers that are wrong, so that no row passes whatever a server does

const wrongServers = {
  // Says SETTINGS and their ACK, and nothing else, ever.
  silent: () => {},
  // Has an answer to everything, and finds no fault with anything.
  agreeable: (peer, one) => {
    if (one.type === type.ping) peer.send(ping(one.payload, flag.ack));
    if (one.type !== type.headers) return;
    peer.send(frame(type.headers, flag.endHeaders, one.stream, Buffer.from([0x88])), data(one.stream, body, flag.endStream));
  },
  // Gives up at the first word, with a code that is right for nothing here.
  touchy: (peer, one) => {
    if (one.type === type.settings) return;
    peer.send(frame(type.goaway, 0, 0, uint32(0, 2)));
    peer.socket.end();
  },
  // Answers every request with an error, and is right about everything else that needs no decision.
  unwilling: (peer, one) => {
    if (one.type === type.ping && one.flags === 0) peer.send(ping(one.payload, flag.ack));
    if (one.type === type.headers) peer.send(frame(type.headers, flag.endHeaders | flag.endStream, one.stream, headerBlock([[':status', '500']])));
  },
};

for (const [name, react] of Object.entries(wrongServers)) {
  test(`a server that is ${name} does not pass`, { concurrency: 64 }, async (t) => {
    const server = net.createServer((socket) => {
      const peer = new WirePeer(socket, { isServer: true });
      const { push } = peer.frames;
      peer.frames.push = (one) => {
        push.call(peer.frames, one);
        react(peer, one);
      };
      peer.send(settings());
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    defer(t, () => server.close());
    const { port } = server.address();
    const connect = async () => Object.assign(await connectWire(port), { port, secure: false, patience_ms: 250 });
    const wanted = rows.filter((row) => name !== 'agreeable' || row.outcome.isError);
    const passed = await Promise.all(wanted.map((row) => hold(row, 'together', connect).then(() => [row.sentence], () => [])));
    assert.deepEqual(passed.flat(), []);
  });
}
