// plait as an HTTP/2 client, held against RFC 9113 and RFC 7541: a backend says something with frames in answer to a
// request, and each case names what is right: which error the backend hears, and what becomes of plait's own client, who
// must never take a broken answer for a whole one.
import assert from 'node:assert/strict';
import test from 'node:test';
import { certificate } from './lib/certificate.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { eventually, within } from './lib/process.mjs';
import { frame, headerBlock, uint32 } from './lib/raw_h2.mjs';
import {
  code, continuation, data, flag, goaway, headers, ping, priority, reset, setting, settings, startWireBackend, type, windowUpdate,
} from './lib/wire_h2.mjs';

const open = flag.endHeaders;
const end = flag.endStream;
const ok = [[':status', '200']];
const block = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const okBlock = headerBlock(ok);
const sized = (kind, flags, stream, size) => frame(kind, flags, stream, Buffer.alloc(size));
const padded = (kind, flags, stream, pad, content, padding) => (
  frame(kind, flags | flag.padded, stream, block([pad], content, Buffer.alloc(padding))));

// -- what becomes of plait's client

const badGateway = (result) => assert.equal(result.status, 502);
// The head was forwarded already: only a reset says that what follows it is not whole.
const brokenOff = (result) => {
  assert.equal(result.status, 200);
  assert.ok(result.error !== null && result.rstCode !== 0, 'the client sees a reset');
};
// The head may have been forwarded before it was known; else the client gets nothing of such a response.
const foundWrong = (result) => (result.status === 502 ? badGateway : brokenOff)(result);
const whole = (text = '') => (result) => {
  assert.equal(result.error, null);
  assert.equal(result.status, 200);
  assert.equal(result.body, text);
};

// -- what the backend hears

const heard = (peer, kind) => peer.frames.some((one) => one.type === kind);
// The same connection takes another request.
async function isAlive({ peer, backend, ask }) {
  const result = ask();
  const next = await backend.untilRequest();
  assert.equal(next.peer, peer, 'the connection is used again');
  peer.send(headers(next.stream, ok, open), data(next.stream, 'fine', end));
  whole('fine')(await result);
}
const connectionError = (expected, outcome = badGateway) => async ({ peer, result }) => {
  const said = await peer.untilGoaway();
  assert.equal(said.code, expected, peer.heard());
  await peer.untilClosed();
  outcome(await result);
};
const streamError = (expected, outcome = badGateway) => async (world) => {
  const { peer, stream, result } = world;
  const said = await peer.untilReset(stream);
  assert.equal(said.code, expected, peer.heard());
  outcome(await result);
  await isAlive(world);
  assert.ok(!heard(peer, type.goaway), peer.heard());
};
const taken = (outcome = whole()) => async (world) => {
  outcome(await world.result);
  await isAlive(world);
  assert.ok(!heard(world.peer, type.goaway), world.peer.heard());
};
// The answer is whole; afterwards the stream alone is told that it was closed, and the connection goes on.
const closedStream = async (world) => {
  whole()(await world.result);
  assert.equal((await world.peer.untilReset(world.stream)).code, code.streamClosed);
  await isAlive(world);
  assert.ok(!heard(world.peer, type.goaway), world.peer.heard());
};

// `said(stream, world)` gives the frames of the answer, or says them itself.
const cases = [];
const rule = (section, name, said, reaction, options = {}) => cases.push({ section, name, said, reaction, ...options });

// -- §3.4: the server's preface

rule('3.4', 'a backend whose first frame is not SETTINGS gets PROTOCOL_ERROR', () => [], connectionError(code.protocol), { greeting: [ping()] });
rule('3.4', 'a backend that answers with an ACK of SETTINGS first gets PROTOCOL_ERROR',
  () => [], connectionError(code.protocol), { greeting: [frame(type.settings, flag.ack, 0)] });
rule('3.4', 'a backend that answers with HTTP/1.1 text gets an error, and the client 502', () => [], async ({ peer, result }) => {
  await peer.untilClosed();
  badGateway(await result);
}, { greeting: ['HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'] });
rule('3.4', 'the client’s preface begins the connection, and its SETTINGS forbid push', (stream) => [headers(stream, ok)], async (world) => {
  const [first] = world.peer.frames;
  assert.equal(first.type, type.settings);
  const values = new Map(Array.from({ length: first.payload.length / 6 }, (_, i) => [first.payload.readUInt16BE(6 * i), first.payload.readUInt32BE(6 * i + 2)]));
  assert.equal(values.get(setting.push), 0);
  await taken()(world);
}, { greeting: [settings()] });

// -- §4: frames

rule('4.1', 'unknown frames are ignored wherever they come', (stream) => [
  frame(0x16, 0xff, 0, Buffer.from('x')), headers(stream, ok, open), frame(0x16, 0xff, stream), data(stream, 'a', end)], taken(whole('a')));
rule('4.1', 'flags without a meaning are ignored', (stream) => [
  headers(stream, ok, open | 0xd2), data(stream, 'a', 0xf6), ping('12345678', 0xfe), data(stream, '', end | 0xf6)], taken(whole('a')));
rule('4.1', 'the reserved bit of a stream’s id is ignored', (stream) => [headers((0x80000000 + stream) >>> 0, ok)], taken());
rule('4.2', 'DATA of 16,384 bytes is taken',
  (stream) => [headers(stream, ok, open), data(stream, Buffer.alloc(16_384, 'd'), end)], taken(whole('d'.repeat(16_384))));
rule('4.2', 'DATA of 16,385 bytes is FRAME_SIZE_ERROR',
  (stream) => [headers(stream, ok, open), sized(type.data, 0, stream, 16_385)], connectionError(code.frameSize, () => {}));
rule('4.2', 'HEADERS of 16,385 bytes are FRAME_SIZE_ERROR', (stream) => [sized(type.headers, open, stream, 16_385)], connectionError(code.frameSize));
rule('4.3', 'a block that cannot be decoded is COMPRESSION_ERROR',
  (stream) => [headers(stream, [0xff, 0xff, 0xff])], connectionError(code.compression));
rule('4.3', 'DATA within a block is PROTOCOL_ERROR', (stream) => [headers(stream, okBlock, 0), data(stream, 'x')], connectionError(code.protocol));
rule('4.3', 'an unknown frame within a block is PROTOCOL_ERROR',
  (stream) => [headers(stream, okBlock, 0), frame(0x16, 0, 0)], connectionError(code.protocol));
rule('4.3', 'the block of an answer that nobody waits for still feeds the table', async (stream, { peer, ask, backend, world }) => {
  peer.send(headers(stream, block([0x88, 0x40, 6], Buffer.from('x-kept'), [1, 0x31]), open), headers(stream, block([0x88], [0x00, 1, 0x41, 1, 0x31])));
  assert.equal((await peer.untilReset(stream)).code, code.protocol);
  await world.result;
  world.result = ask();
  const next = await backend.untilRequest();
  peer.send(headers(next.stream, block([0x88, 0xbe])));
}, async (world) => {
  const result = await world.result;
  whole()(result);
  assert.equal(result.headers['x-kept'], '1');
});

// -- §5.1: states

rule('5.1', 'HEADERS on an idle stream are PROTOCOL_ERROR', (stream) => [headers(stream + 2, ok)], connectionError(code.protocol));
rule('5.1', 'DATA on an idle stream is PROTOCOL_ERROR', (stream) => [data(stream + 2, 'x')], connectionError(code.protocol));
rule('5.1', 'RST_STREAM on an idle stream is PROTOCOL_ERROR', (stream) => [reset(stream + 2)], connectionError(code.protocol));
rule('5.1', 'WINDOW_UPDATE on an idle stream is PROTOCOL_ERROR', (stream) => [windowUpdate(stream + 2, 1)], connectionError(code.protocol));
rule('5.1', 'HEADERS on a stream of the backend’s own are PROTOCOL_ERROR', () => [headers(2, ok)], connectionError(code.protocol));
rule('5.1', 'DATA on a stream of the backend’s own is PROTOCOL_ERROR', () => [data(2, 'x')], connectionError(code.protocol));
rule('5.1', 'CONTINUATION without HEADERS is PROTOCOL_ERROR', (stream) => [continuation(stream, okBlock)], connectionError(code.protocol));
rule('5.1', 'HEADERS behind END_STREAM are STREAM_CLOSED, and others’ streams go on',
  (stream) => [headers(stream, ok), headers(stream, ok)], closedStream);
rule('5.1', 'DATA behind END_STREAM is STREAM_CLOSED, and others’ streams go on', (stream) => [headers(stream, ok), data(stream, 'x')], closedStream);
rule('5.1', 'WINDOW_UPDATE and RST_STREAM behind END_STREAM are ignored',
  (stream) => [headers(stream, ok), windowUpdate(stream, 1), reset(stream)], taken());
rule('5.1', 'PRIORITY is ignored in every state',
  (stream) => [priority(stream + 2, 0), priority(stream, 0), headers(stream, ok), priority(stream, 0)], taken());
rule('5.1', 'what crosses plait’s RST_STREAM is ignored', async (stream, { peer }) => {
  peer.send(headers(stream, [...ok, ['X-Bad', '1']], open));
  assert.equal((await peer.untilReset(stream)).code, code.protocol);
  peer.send(data(stream, 'late'), headers(stream, [['x-trailer', '1']]), windowUpdate(stream, 1), reset(stream));
}, taken(badGateway));

// -- §6: frames by type

rule('6.1', 'DATA on stream 0 is PROTOCOL_ERROR', () => [data(0, 'x')], connectionError(code.protocol));
rule('6.1', 'padded DATA arrives without its padding',
  (stream) => [headers(stream, ok, open), padded(type.data, end, stream, 9, Buffer.from('text'), 9)], taken(whole('text')));
rule('6.1', 'padding longer than DATA is PROTOCOL_ERROR',
  (stream) => [headers(stream, ok, open), padded(type.data, end, stream, 9, Buffer.from('text'), 0)], connectionError(code.protocol, () => {}));
rule('6.2', 'HEADERS on stream 0 are PROTOCOL_ERROR', () => [headers(0, ok)], connectionError(code.protocol));
rule('6.2', 'padded HEADERS with a priority are taken', (stream) => [
  frame(type.headers, open | end | flag.padded | flag.priority, stream, block([3], uint32(0), [1], okBlock, Buffer.alloc(3)))], taken());
rule('6.2', 'padding longer than HEADERS is PROTOCOL_ERROR',
  (stream) => [padded(type.headers, open | end, stream, 99, okBlock, 0)], connectionError(code.protocol));
rule('6.3', 'PRIORITY of 4 bytes is FRAME_SIZE_ERROR for its stream', (stream) => [sized(type.priority, 0, stream, 4)], streamError(code.frameSize));
rule('6.4', 'RST_STREAM of 3 bytes is FRAME_SIZE_ERROR', (stream) => [sized(type.reset, 0, stream, 3)], connectionError(code.frameSize));
rule('6.4', 'RST_STREAM on stream 0 is PROTOCOL_ERROR', () => [reset(0)], connectionError(code.protocol));
rule('6.4', 'RST_STREAM before a head is 502', (stream) => [reset(stream, code.internal)], taken(badGateway));
rule('6.4', 'RST_STREAM within a body breaks the client’s answer off',
  (stream) => [headers(stream, ok, open), data(stream, 'half'), reset(stream, code.internal)], taken(brokenOff));
rule('6.4', 'RST_STREAM of NO_ERROR without a whole answer is no answer',
  (stream) => [headers(stream, ok, open), data(stream, 'half'), reset(stream, code.none)], taken(brokenOff));
rule('6.5', 'SETTINGS are acknowledged', async (stream, { peer }) => {
  await eventually(() => peer.frames.some((one) => one.type === type.settings && one.flags === flag.ack), 'the ACK');
  peer.send(headers(stream, ok));
}, taken());
rule('6.5', 'SETTINGS on a stream are PROTOCOL_ERROR', (stream) => [frame(type.settings, 0, stream)], connectionError(code.protocol));
rule('6.5', 'SETTINGS of 7 bytes are FRAME_SIZE_ERROR', () => [sized(type.settings, 0, 0, 7)], connectionError(code.frameSize));
rule('6.5', 'an ACK with a payload is FRAME_SIZE_ERROR', () => [sized(type.settings, flag.ack, 0, 6)], connectionError(code.frameSize));
rule('6.5.2', 'ENABLE_PUSH of 1 from a server is PROTOCOL_ERROR', () => [settings([setting.push, 1])], connectionError(code.protocol));
rule('6.5.2', 'ENABLE_PUSH of 0 from a server is taken', (stream) => [settings([setting.push, 0]), headers(stream, ok)], taken());
rule('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31 is FLOW_CONTROL_ERROR', () => [settings([setting.window, 0x80000000])], connectionError(code.flowControl));
rule('6.5.2', 'MAX_FRAME_SIZE of 100 is PROTOCOL_ERROR', () => [settings([setting.frameSize, 100])], connectionError(code.protocol));
rule('6.5.2', 'an unknown setting is ignored', (stream) => [settings([0xf000, 1]), headers(stream, ok)], taken());
rule('6.5.2', 'ENABLE_CONNECT_PROTOCOL of 2 is PROTOCOL_ERROR', () => [settings([8, 2])], connectionError(code.protocol));
rule('6.5.2', 'ENABLE_CONNECT_PROTOCOL taken back is PROTOCOL_ERROR', () => [settings([8, 1]), settings([8, 0])], connectionError(code.protocol));
rule('6.6', 'PUSH_PROMISE is PROTOCOL_ERROR, for it was forbidden',
  (stream) => [frame(type.push, open, stream, block(uint32(2), okBlock))], connectionError(code.protocol));
rule('6.7', 'PING is answered', async (stream, { peer }) => {
  peer.send(ping('question'));
  const pong = await peer.until((one) => one.type === type.ping && one.flags === flag.ack, 'the answer to PING');
  assert.equal(pong.payload.toString(), 'question');
  peer.send(headers(stream, ok));
}, taken());
rule('6.7', 'PING on a stream is PROTOCOL_ERROR', (stream) => [ping('12345678', 0, stream)], connectionError(code.protocol));
rule('6.7', 'PING of 7 bytes is FRAME_SIZE_ERROR', () => [sized(type.ping, 0, 0, 7)], connectionError(code.frameSize));
rule('6.8', 'GOAWAY on a stream is PROTOCOL_ERROR', (stream) => [frame(type.goaway, 0, stream, uint32(0, 0))], connectionError(code.protocol));
rule('6.8', 'GOAWAY of 7 bytes is FRAME_SIZE_ERROR', () => [sized(type.goaway, 0, 0, 7)], connectionError(code.frameSize));
rule('6.8', 'a request that GOAWAY covers is answered, and the next one comes on a new connection',
  (stream) => [goaway(stream), headers(stream, ok)], async ({ peer, backend, ask, result }) => {
  whole()(await result);
  const second = ask();
  const next = await backend.untilRequest();
  assert.notEqual(next.peer, peer);
  next.peer.send(headers(next.stream, ok));
  whole()(await second);
});
rule('6.8', 'a request above GOAWAY’s id is repeated on a new connection, whatever its method',
  (stream) => [goaway(stream - 1, code.internal)], async ({ peer, backend, result }) => {
  const next = await backend.untilRequest();
  assert.notEqual(next.peer, peer);
  next.peer.send(headers(next.stream, ok));
  whole()(await result);
});
rule('6.9', 'WINDOW_UPDATE of 0 on the connection is PROTOCOL_ERROR', () => [windowUpdate(0, 0)], connectionError(code.protocol));
rule('6.9', 'WINDOW_UPDATE of 0 on a stream is PROTOCOL_ERROR for it', (stream) => [windowUpdate(stream, 0)], streamError(code.protocol));
rule('6.9', 'WINDOW_UPDATE of 3 bytes is FRAME_SIZE_ERROR', () => [sized(type.windowUpdate, 0, 0, 3)], connectionError(code.frameSize));
rule('6.9.1', 'a connection’s window above 2^31-1 is FLOW_CONTROL_ERROR', () => [windowUpdate(0, 0x7fffffff)], connectionError(code.flowControl));
rule('6.9.1', 'a stream’s window above 2^31-1 is FLOW_CONTROL_ERROR for it',
  (stream) => [windowUpdate(stream, 0x7fffffff)], streamError(code.flowControl));
rule('6.9.2', 'a setting that takes a stream’s window above 2^31-1 is FLOW_CONTROL_ERROR',
  (stream) => [windowUpdate(stream, 0x7fffffff - 65_535), settings([setting.window, 65_536])], connectionError(code.flowControl));
rule('6.10', 'a head in three parts is one head',
  (stream) => [headers(stream, okBlock.subarray(0, 2), end), continuation(stream, okBlock.subarray(2, 3), 0), continuation(stream, okBlock.subarray(3))],
  taken());
rule('6.10', 'CONTINUATION of another stream is PROTOCOL_ERROR',
  (stream) => [headers(stream, okBlock, end), continuation(stream + 2, okBlock)], connectionError(code.protocol));

// -- §7 and §8.7

rule('7', 'an unknown error code is an error like others', (stream) => [reset(stream, 0x4242)], taken(badGateway));
rule('8.7', 'REFUSED_STREAM is repeated, whatever the method', (stream) => [reset(stream, code.refused)], async ({ backend, result }) => {
  const next = await backend.untilRequest();
  next.peer.send(headers(next.stream, ok));
  whole()(await result);
});

// -- §8.1: messages

const malformed = (name, answer, section = '8.1.1') => rule(section, name, (stream) => [headers(stream, answer)], streamError(code.protocol));
rule('8.1', 'DATA before a head is PROTOCOL_ERROR', (stream) => [data(stream, 'x', end)], streamError(code.protocol));
rule('8.1', 'interim responses and trailers pass', (stream) => [
  headers(stream, [[':status', '103'], ['link', '</a.css>']], open), headers(stream, ok, open), data(stream, 'a'), headers(stream, [['x-checksum', '1']])], async (world) => {
  const result = await world.result;
  whole('a')(result);
  assert.equal(result.interim[0][':status'], 103);
  assert.equal(result.trailers['x-checksum'], '1');
});
rule('8.1', 'an interim response with END_STREAM is PROTOCOL_ERROR', (stream) => [headers(stream, [[':status', '103']])], streamError(code.protocol));
rule('8.1', 'DATA behind an interim response is PROTOCOL_ERROR',
  (stream) => [headers(stream, [[':status', '103']], open), data(stream, 'x', end)], streamError(code.protocol));
rule('8.1', 'a second head behind the first is PROTOCOL_ERROR',
  (stream) => [headers(stream, ok, open), headers(stream, ok)], streamError(code.protocol, foundWrong));
rule('8.1', 'trailers without END_STREAM are PROTOCOL_ERROR',
  (stream) => [headers(stream, ok, open), headers(stream, [['x-trailer', '1']], open)], streamError(code.protocol, foundWrong));
rule('8.1', 'an answer to a request whose body is still under way, and RST_STREAM of NO_ERROR, is whole',
  (stream) => [headers(stream, ok, open), data(stream, 'early', end), reset(stream, code.none)], taken(whole('early')), { streaming: true });
rule('8.1.1', 'more DATA than content-length is PROTOCOL_ERROR',
  (stream) => [headers(stream, [...ok, ['content-length', '2']], open), data(stream, 'abc', end)], streamError(code.protocol, foundWrong));
rule('8.1.1', 'less DATA than content-length is PROTOCOL_ERROR',
  (stream) => [headers(stream, [...ok, ['content-length', '9']], open), data(stream, 'abc', end)], streamError(code.protocol, foundWrong));
rule('8.1.1', 'less DATA than content-length before trailers is PROTOCOL_ERROR',
  (stream) => [headers(stream, [...ok, ['content-length', '9']], open), data(stream, 'abc'), headers(stream, [['x-trailer', '1']])],
  streamError(code.protocol, foundWrong));
malformed('content-length without DATA is PROTOCOL_ERROR', [...ok, ['content-length', '9']]);
malformed('content-length that is no number is PROTOCOL_ERROR', [...ok, ['content-length', '-1']]);
malformed('two lengths that differ are PROTOCOL_ERROR', [...ok, ['content-length', '0'], ['content-length', '1']]);
rule('8.1.1', 'DATA in the answer to HEAD is PROTOCOL_ERROR',
  (stream) => [headers(stream, [...ok, ['content-length', '3']], open), data(stream, 'abc', end)], async ({ peer, stream, result }) => {
  assert.equal((await peer.untilReset(stream)).code, code.protocol);
  assert.equal((await result).body, '');
}, { method: 'HEAD' });
rule('8.1.1', 'the answer to HEAD has a length and no DATA', (stream) => [headers(stream, [...ok, ['content-length', '3']])], taken((result) => {
  whole()(result);
  assert.equal(result.headers['content-length'], '3');
}), { method: 'HEAD' });
rule('8.1.1', 'DATA in a response of 204 is PROTOCOL_ERROR',
  (stream) => [headers(stream, [[':status', '204']], open), data(stream, 'abc', end)], async ({ peer, stream, result }) => {
  assert.equal((await peer.untilReset(stream)).code, code.protocol);
  assert.equal((await result).body, '');
});
rule('8.1.1', 'a response of 304 may name a length without DATA',
  (stream) => [headers(stream, [[':status', '304'], ['content-length', '5']])], taken((result) => {
  assert.equal(result.error, null);
  assert.equal(result.status, 304);
}));

// -- §8.2 and §8.3: fields and control data

for (const [name, ...extra] of [
  ['an upper-case letter in a name is PROTOCOL_ERROR', ['X-Test', '1']],
  ['an empty name is PROTOCOL_ERROR', ['', '1']],
  ['a space in a name is PROTOCOL_ERROR', ['x test', '1']],
  ['a line break in a value is PROTOCOL_ERROR', ['x-test', 'a\r\nset-cookie: b']],
  ['NUL in a value is PROTOCOL_ERROR', ['x-test', 'a\0']],
  ['a space before a value is PROTOCOL_ERROR', ['x-test', ' a']],
]) malformed(name, [...ok, ...extra], '8.2.1');
for (const [name, ...extra] of [
  ['Connection is PROTOCOL_ERROR', ['connection', 'close']],
  ['Keep-Alive is PROTOCOL_ERROR', ['keep-alive', 'timeout=5']],
  ['Proxy-Connection is PROTOCOL_ERROR', ['proxy-connection', 'close']],
  ['Transfer-Encoding is PROTOCOL_ERROR', ['transfer-encoding', 'chunked']],
  ['TE, which is for requests, is PROTOCOL_ERROR', ['te', 'trailers']],
  ['Upgrade is PROTOCOL_ERROR', ['upgrade', 'h2c']],
]) malformed(name, [...ok, ...extra], '8.2.2');
for (const [name, answer] of [
  ['a response without :status is PROTOCOL_ERROR', [['x-test', '1']]],
  ['an empty block is PROTOCOL_ERROR', []],
  ['two :status are PROTOCOL_ERROR', [...ok, ...ok]],
  ['a :status of two digits is PROTOCOL_ERROR', [[':status', '20']]],
  ['a :status of four digits is PROTOCOL_ERROR', [[':status', '2000']]],
  ['a :status that is no number is PROTOCOL_ERROR', [[':status', '2x0']]],
  ['a :status of 600 is PROTOCOL_ERROR', [[':status', '600']]],
  ['a :status behind a field is PROTOCOL_ERROR', [['x-test', '1'], ...ok]],
  ['a request’s pseudo-header field is PROTOCOL_ERROR', [...ok, [':path', '/']]],
  ['an unknown pseudo-header field is PROTOCOL_ERROR', [...ok, [':test', '1']]],
]) malformed(name, answer, '8.3.2');
rule('8.3', ':status in trailers is PROTOCOL_ERROR',
  (stream) => [headers(stream, ok, open), data(stream, 'a'), headers(stream, ok)], streamError(code.protocol, foundWrong));
malformed('101 is PROTOCOL_ERROR', [[':status', '101']], '8.6');

// -- RFC 7541

const hpack = (section, name, bytes) => rule(`HPACK ${section}`, name, (stream) => [headers(stream, block([0x88], bytes))], connectionError(code.compression));
hpack('2.3.3', 'an index of 0 is COMPRESSION_ERROR', [0x80]);
hpack('2.3.3', 'an index beyond both tables is COMPRESSION_ERROR', [0xff, 0x10]);
hpack('4.2', 'a table size update behind a field is COMPRESSION_ERROR', [0x20]);
hpack('5.1', 'an integer that does not end is COMPRESSION_ERROR', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
hpack('5.2', 'a string longer than its block is COMPRESSION_ERROR', [0x00, 1, 0x61, 9]);
hpack('5.2', 'Huffman padding with zeros is COMPRESSION_ERROR', [0x00, 1, 0x61, 0x81, 0x18]);
hpack('5.2', 'EOS within a Huffman string is COMPRESSION_ERROR', [0x00, 1, 0x61, 0x84, 0xff, 0xff, 0xff, 0xff]);
rule('HPACK 6.3', 'a table size above plait’s SETTINGS is COMPRESSION_ERROR',
  (stream) => [headers(stream, block([0x3f, 0xe2, 0x1f, 0x88]))], connectionError(code.compression));
rule('HPACK 4.2', 'a backend’s table of 0 bytes is said first and not used',
  (stream) => [settings([setting.tableSize, 0]), headers(stream, ok)], async ({ backend, ask, result }) => {
  whole()(await result);
  for (const first of [0x20, 0x83]) {
    const second = ask();
    const next = await backend.untilRequest();
    assert.equal(next.head.payload[0], first, 'a table size update to 0, then :method POST');
    // Of the dynamic table nothing is used, and nothing is added to it.
    assert.ok(!next.head.payload.subarray(1, 8).some((byte) => (byte & 0xc0) === 0xc0), next.head.payload.toString('hex'));
    next.peer.send(headers(next.stream, ok));
    whole()(await second);
  }
});

// -- what plait sends

rule('6.9.1', 'a request’s DATA keeps within a stream’s window', (stream) => [settings([setting.window, 10]), headers(stream, ok)], async (world) => {
  const { peer, backend, ask, result } = world;
  whole()(await result);
  await peer.settled();
  const second = ask({}, { body: 'u'.repeat(1000) });
  const { stream } = await backend.untilRequest();
  const sum = () => peer.frames.filter((one) => one.type === type.data && one.stream === stream).reduce((total, one) => total + one.payload.length, 0);
  await eventually(() => sum() >= 10, 'ten bytes come');
  await peer.settled();
  assert.equal(sum(), 10);
  peer.send(windowUpdate(stream, 5));
  await eventually(() => sum() >= 15, 'five more');
  await peer.settled();
  assert.equal(sum(), 15);
  peer.send(settings([setting.window, 65_535]));
  await peer.untilEnd(stream);
  assert.equal(sum(), 1000);
  peer.send(headers(stream, ok));
  whole()(await second);
});
rule('5.1.2', 'no more streams are opened than MAX_CONCURRENT_STREAMS allows', async (stream, { peer, backend, ask }) => {
  await peer.settled();
  const second = ask();
  const third = ask();
  const opened = new Map([[peer, 1]]);
  const taken = await within(5_000, (async () => {
    const list = [];
    for (let i = 0; i < 2; i += 1) {
      const next = await backend.untilRequest();
      opened.set(next.peer, (opened.get(next.peer) ?? 0) + 1);
      list.push(next);
    }
    return list;
  })(), 'the others go to other connections');
  for (const count of opened.values()) assert.equal(count, 1);
  for (const next of taken) next.peer.send(headers(next.stream, ok));
  await Promise.all([second, third]);
  peer.send(headers(stream, ok));
}, async ({ result }) => whole()(await result), { greeting: [settings([setting.streams, 1])] });

for (const [transport, secure] of [['h2c', false], ['TLS', true]]) {
  test(`as a client over ${transport}, plait reacts to every answer as the RFCs say`, async (t) => {
    const files = secure ? await certificate(t) : undefined;
    const backend = await startWireBackend(t, { secure: files?.pem });
    const startClient = async () => {
      const plait = await startProxy(t, [backend], { args: secure ? ['--ca-file', files.cert] : [] });
      return connectH2(t, plait.port);
    };
    let client = await startClient();
    for (const { section, name, said, reaction, greeting, method = 'POST', body, streaming = false } of cases) {
      await t.test(`${section}: ${name}`, async () => {
        // A backend's greeting is heard on new connections only.
        backend.greeting = greeting ?? [settings()];
        backend.newest = undefined;
        if (greeting !== undefined) {
          backend.closeAll();
          await eventually(() => backend.peers.length === 0, 'the earlier connections end');
        }
        const ask = (headersToo = {}, options = {}) => request(client, { ':method': 'POST', ':path': '/', ...headersToo }, { timeout: 8_000, ...options });
        const world = { backend, ask };
        world.result = ask({ ':method': method }, { body, streaming });
        const hello = await (greeting !== undefined && said.length === 0 ? eventually(() => backend.newest, 'a connection') : undefined);
        const { peer, stream } = hello ? { peer: hello, stream: 1 } : await backend.untilRequest();
        Object.assign(world, { peer, stream });
        const frames = await said(stream, { ...world, world });
        if (Array.isArray(frames)) peer.send(...frames);
        await reaction(world);
        if (greeting !== undefined) backend.closeAll();
        await world.result;
      });
      // A backend that does not speak HTTP/2 is down.
      if (greeting !== undefined && said.length === 0) client = await startClient();
    }
  });
}
