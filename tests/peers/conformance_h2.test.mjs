// plait as an HTTP/2 server, held against RFC 9113 and RFC 7541 rule by rule, over h2c and over TLS. Each case says
// something with frames and names the one reaction that is right: a connection error with its code, which ends the
// connection; a stream error with its code, which leaves the connection as it was; or none.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectionError, ignored, isAlive, served, streamError } from './lib/h2_reactions.mjs';
import { startConfigured, startProxy } from './lib/plait.mjs';
import { defer, eventually } from './lib/process.mjs';
import { frame, headerBlock, uint32 } from './lib/raw_h2.mjs';
import {
  code, connectWire, continuation, data, fields, flag, goaway, greet, headers, ping, preface, priority, reset, setting, settings,
  startWireBackend, type, windowUpdate,
} from './lib/wire_h2.mjs';

const big = 'b'.repeat(200_000);
// '/' answers once the request is whole; '/wait' never answers.
function answer(stream, sent) {
  const path = sent[':path'];
  if (path.startsWith('/wait')) return stream.resume();
  let size = 0;
  stream.on('data', (chunk) => { size += chunk.length; });
  stream.on('end', () => {
    if (stream.destroyed) return;
    const long = path === '/fields' ? Array.from({ length: 7 }, (_, i) => [`x-${i}`, 'x'.repeat(4000)]) : [];
    stream.respond({ ':status': 200, 'x-size': String(size), ...Object.fromEntries(long) });
    stream.end(path === '/big' ? big : '0123456789');
  });
  return stream;
}

const get = (path = '/') => fields({ ':path': path });
const post = (changes = {}) => fields({ ':method': 'POST', ...changes });
const open = flag.endHeaders;
const end = flag.endStream;
const literal = (name, value) => Buffer.from([0, name.length, ...Buffer.from(name, 'latin1'), value.length, ...Buffer.from(value, 'latin1')]);
const block = (...parts) => Buffer.concat(parts.map((part) => Buffer.from(part)));
const getBlock = headerBlock(get());

// `said` is frames, or a function of the connection; without `greeting` nothing was said before.
const cases = [];
const rule = (section, name, said, reaction, options = {}) => cases.push({ section, name, said, reaction, ...options });
const bare = { greeting: false };

// -- §3.4: the connection preface

rule('3.4', 'a preface that breaks off into something else is PROTOCOL_ERROR', async (c) => {
  // In two parts: what does not begin as HTTP/2 does would be taken for HTTP/1.1 on a port without TLS.
  c.send('PRI * HTTP/2.0\r\n\r\n');
  await c.until((one) => one.type === type.settings, 'SETTINGS');
  c.send('XX\r\n\r\n');
}, connectionError(code.protocol), bare);
rule('3.4', 'a first frame that is not SETTINGS is PROTOCOL_ERROR', [preface, ping()], connectionError(code.protocol), bare);
rule('3.4', 'HEADERS before SETTINGS are PROTOCOL_ERROR', [preface, headers(1, get())], connectionError(code.protocol), bare);
rule('3.4', 'an ACK of SETTINGS as the first frame is PROTOCOL_ERROR',
  [preface, frame(type.settings, flag.ack, 0)], connectionError(code.protocol), bare);
rule('3.4', 'an unknown frame before SETTINGS is PROTOCOL_ERROR', [preface, frame(0x16, 0, 0)], connectionError(code.protocol), bare);
rule('3.4', 'the server’s preface is SETTINGS, its first frame', [preface, settings()], async (c) => {
  await c.until((one) => one.type === type.settings, 'SETTINGS');
  assert.equal(c.frames[0].type, type.settings);
  assert.equal(c.frames[0].flags, 0);
  await ignored(c);
}, bare);
rule('3.4', 'a preface that comes byte by byte is taken', async (c) => {
  for (const byte of [...preface, ...settings()]) c.send(Buffer.from([byte]));
}, ignored, bare);
rule('3.4', 'requests right behind the preface need not wait for the server’s SETTINGS', [preface, settings(), headers(1, get())], served(1), bare);

// -- §4.1: frame format

rule('4.1', 'an unknown frame type is ignored', [frame(0x16, 0, 0, Buffer.from('what'))], ignored);
rule('4.1', 'an empty unknown frame is ignored', [frame(0xff, 0, 0)], ignored);
rule('4.1', 'an unknown frame of the greatest size is ignored', [frame(0x16, 0xff, 0, Buffer.alloc(16_384))], ignored);
rule('4.1', 'an unknown frame on an idle stream is ignored', [frame(0x16, 0, 9, Buffer.from('what'))], ignored);
rule('4.1', 'an unknown frame on an open stream is ignored',
  [headers(1, post(), open), frame(0x16, 0xff, 1, Buffer.from('what')), data(1, 'x', end)], served(1));
rule('4.1', 'flags without a meaning for PING are ignored', async (c) => {
  c.send(ping('12345678', 0xfe));
  const pong = await c.until((one) => one.type === type.ping, 'PING’s ACK');
  assert.equal(pong.payload.toString(), '12345678');
  assert.equal(pong.flags, flag.ack);
}, ignored);
rule('4.1', 'flags without a meaning for DATA are ignored', [headers(1, post(), open), data(1, 'x', 0xf6), data(1, 'x', end | 0xf6)], served(1));
rule('4.1', 'flags without a meaning for HEADERS are ignored', [headers(1, get(), open | end | 0xd2)], served(1));
rule('4.1', 'flags without a meaning for CONTINUATION are ignored',
  [headers(1, getBlock.subarray(0, 3), end), continuation(1, getBlock.subarray(3), 0xff)], served(1));
rule('4.1', 'flags without a meaning for SETTINGS are ignored', async (c) => {
  c.send(frame(type.settings, 0xfe, 0));
  await c.until((one) => one.type === type.settings && one.flags === flag.ack, 'SETTINGS’ ACK');
}, ignored);
rule('4.1', 'flags without a meaning for WINDOW_UPDATE are ignored', [frame(type.windowUpdate, 0xff, 0, uint32(1))], ignored);
rule('4.1', 'flags without a meaning for PRIORITY are ignored', [frame(type.priority, 0xff, 1, Buffer.alloc(5))], ignored);
rule('4.1', 'flags without a meaning for RST_STREAM are ignored', [headers(1, get('/wait')), frame(type.reset, 0xff, 1, uint32(8))], ignored);
rule('4.1', 'flags without a meaning for GOAWAY are ignored', [frame(type.goaway, 0xff, 0, uint32(0, 0))], ignored);
rule('4.1', 'the reserved bit of a stream’s id is ignored', [headers(0x80000001, get())], served(1));
rule('4.1', 'the reserved bit of stream 0 is ignored', [ping('12345678', 0, 0x80000000)], ignored);

// -- §4.2: frame size

const sized = (kind, flags, stream, size) => frame(kind, flags, stream, Buffer.alloc(size));
rule('4.2', 'DATA of 16,384 bytes is taken', [headers(1, post(), open), data(1, Buffer.alloc(16_384), end)], served(1));
rule('4.2', 'HEADERS of 16,384 bytes with padding and priority are taken', async (c) => {
  const padded = Buffer.alloc(16_384);
  const pad = 255;
  const filler = block([0, 1, 0x61, 0x7f, ...varint(16_384 - 1 - 5 - getBlock.length - pad - 6 - 127)], Buffer.alloc(16_384 - 1 - 5 - getBlock.length - pad - 6, 'v'));
  padded[0] = pad;
  getBlock.copy(padded, 6);
  filler.copy(padded, 6 + getBlock.length);
  assert.equal(6 + getBlock.length + filler.length + pad, 16_384);
  c.send(frame(type.headers, open | end | flag.padded | flag.priority, 1, padded));
}, served(1));
rule('4.2', 'DATA of 16,385 bytes is FRAME_SIZE_ERROR', [headers(1, post(), open), sized(type.data, 0, 1, 16_385)], connectionError(code.frameSize));
rule('4.2', 'HEADERS of 16,385 bytes are FRAME_SIZE_ERROR', [sized(type.headers, open, 1, 16_385)], connectionError(code.frameSize));
rule('4.2', 'SETTINGS of 16,386 bytes are FRAME_SIZE_ERROR', [sized(type.settings, 0, 0, 16_386)], connectionError(code.frameSize));
rule('4.2', 'GOAWAY of 16,385 bytes is FRAME_SIZE_ERROR', [sized(type.goaway, 0, 0, 16_385)], connectionError(code.frameSize));
rule('4.2', 'an unknown frame of 16,385 bytes is FRAME_SIZE_ERROR', [sized(0x16, 0, 0, 16_385)], connectionError(code.frameSize));
rule('4.2', 'a CONTINUATION of 16,385 bytes is FRAME_SIZE_ERROR',
  [headers(1, getBlock, end), sized(type.continuation, open, 1, 16_385)], connectionError(code.frameSize));
rule('4.2', 'a frame whose length says 16 MiB is FRAME_SIZE_ERROR',
  [Buffer.from([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1])], connectionError(code.frameSize));

// -- §4.3: field section compression

rule('4.3', 'a header block that cannot be decoded is COMPRESSION_ERROR', [headers(1, [0x82, 0xff])], connectionError(code.compression));
rule('4.3', 'a header block that ends within a field is COMPRESSION_ERROR',
  [headers(1, getBlock.subarray(0, getBlock.length - 1))], connectionError(code.compression));
rule('4.3', 'PRIORITY within a header block is PROTOCOL_ERROR', [headers(1, getBlock, end), priority(1, 0)], connectionError(code.protocol));
rule('4.3', 'HEADERS of another stream within a header block are PROTOCOL_ERROR',
  [headers(1, getBlock, end), headers(3, get())], connectionError(code.protocol));
rule('4.3', 'DATA within a header block is PROTOCOL_ERROR', [headers(1, getBlock, 0), data(1, 'x', end)], connectionError(code.protocol));
rule('4.3', 'SETTINGS within a header block are PROTOCOL_ERROR', [headers(1, getBlock, end), settings()], connectionError(code.protocol));
rule('4.3', 'PING within a header block is PROTOCOL_ERROR', [headers(1, getBlock, end), ping()], connectionError(code.protocol));
rule('4.3', 'WINDOW_UPDATE within a header block is PROTOCOL_ERROR', [headers(1, getBlock, end), windowUpdate(0, 1)], connectionError(code.protocol));
rule('4.3', 'RST_STREAM within a header block is PROTOCOL_ERROR', [headers(1, getBlock, end), reset(1)], connectionError(code.protocol));
rule('4.3', 'a malformed request’s block still feeds the dynamic table', async (c) => {
  // The block adds x-kept to the table although its request has no :path; the next request refers to it.
  c.send(headers(1, block([0x82, 0x86, 0x40, 6], Buffer.from('x-kept'), [1, 0x31])));
  await c.untilReset(1);
  c.send(headers(3, block(getBlock, [0xbe])));
}, async (c) => {
  await c.untilEnd(3);
  await isAlive(c);
});
rule('4.3', 'a block cut after every byte is the same block', async (c) => {
  for (let at = 0; at <= getBlock.length; at += 1) {
    c.send(headers(2 * at + 1, getBlock.subarray(0, at), end), continuation(2 * at + 1, getBlock.subarray(at)));
    await c.untilEnd(2 * at + 1);
  }
}, ignored);

// -- §5.1: stream states

rule('5.1', 'idle: DATA is PROTOCOL_ERROR', [data(1, 'x', end)], connectionError(code.protocol));
rule('5.1', 'idle: RST_STREAM is PROTOCOL_ERROR', [reset(1)], connectionError(code.protocol));
rule('5.1', 'idle: WINDOW_UPDATE is PROTOCOL_ERROR', [windowUpdate(1, 100)], connectionError(code.protocol));
rule('5.1', 'idle: CONTINUATION is PROTOCOL_ERROR', [continuation(1, getBlock)], connectionError(code.protocol));
rule('5.1', 'idle: PRIORITY is taken', [priority(1, 0)], ignored);
rule('5.1', 'a stream of the server’s is idle: WINDOW_UPDATE on it is PROTOCOL_ERROR', [windowUpdate(2, 100)], connectionError(code.protocol));
rule('5.1', 'a stream of the server’s is idle: RST_STREAM on it is PROTOCOL_ERROR', [reset(2)], connectionError(code.protocol));
rule('5.1', 'half-closed (remote): DATA is STREAM_CLOSED', [headers(1, get('/wait')), data(1, 'x', end)], streamError(code.streamClosed));
rule('5.1', 'half-closed (remote): HEADERS are STREAM_CLOSED', [headers(1, get('/wait')), headers(1, get())], streamError(code.streamClosed));
rule('5.1', 'half-closed (remote): CONTINUATION is PROTOCOL_ERROR',
  [headers(1, get('/wait')), continuation(1, getBlock)], connectionError(code.protocol));
rule('5.1', 'half-closed (remote): WINDOW_UPDATE is taken',
  [settings([setting.window, 5]), headers(1, get()), windowUpdate(1, 100), settings([setting.window, 65_535])], served(1));
rule('5.1', 'half-closed (remote): PRIORITY is taken', [headers(1, get()), priority(1, 3)], served(1));
rule('5.1', 'half-closed (remote): RST_STREAM ends the request', [headers(1, get('/wait')), reset(1)], ignored);
const whole = (...frames) => async (c) => {
  c.send(headers(1, get()));
  await c.untilEnd(1);
  c.send(...frames);
};
rule('5.1', 'closed by END_STREAM: DATA is a connection error STREAM_CLOSED', whole(data(1, 'x', end)), connectionError(code.streamClosed));
rule('5.1', 'closed by END_STREAM: HEADERS are a connection error STREAM_CLOSED', whole(headers(1, get())), connectionError(code.streamClosed));
rule('5.1', 'closed by END_STREAM: CONTINUATION is PROTOCOL_ERROR', whole(continuation(1, getBlock)), connectionError(code.protocol));
rule('5.1', 'closed by END_STREAM: WINDOW_UPDATE is ignored', whole(windowUpdate(1, 5)), ignored);
rule('5.1', 'closed by END_STREAM: RST_STREAM is ignored', whole(reset(1)), ignored);
rule('5.1', 'closed by END_STREAM: PRIORITY is ignored', whole(priority(1, 3)), ignored);
rule('5.1', 'closed by the client’s RST_STREAM: DATA is STREAM_CLOSED',
  [headers(1, post({ ':path': '/wait' }), open), reset(1), data(1, 'x', end)], streamError(code.streamClosed));
rule('5.1', 'closed by the client’s RST_STREAM: HEADERS are STREAM_CLOSED',
  [headers(1, post({ ':path': '/wait' }), open), reset(1), headers(1, get())], streamError(code.streamClosed));
rule('5.1', 'closed by the client’s RST_STREAM: CONTINUATION is PROTOCOL_ERROR',
  [headers(1, post({ ':path': '/wait' }), open), reset(1), continuation(1, getBlock)], connectionError(code.protocol));
rule('5.1', 'closed by the client’s RST_STREAM: PRIORITY is ignored', [headers(1, get('/wait')), reset(1), priority(1, 0)], ignored);
rule('5.1', 'closed by our RST_STREAM: whatever crosses it is ignored', async (c) => {
  c.send(headers(1, fields({ ':method': 'POST', 'content-length': '1' }), open), data(1, 'xy'));
  assert.equal((await c.untilReset(1)).code, code.protocol);
  c.send(data(1, 'late'), windowUpdate(1, 1), headers(1, [['x-trailer', 'late']]), data(1, '', end), reset(1));
}, async (c) => {
  await c.settled();
  await isAlive(c);
  assert.equal(c.frames.filter((one) => one.type === type.reset).length, 1, c.heard());
});
rule('5.1', 'DATA that crosses our RST_STREAM is credited to the connection', async (c) => {
  for (let stream = 1; stream < 30; stream += 2) {
    c.send(headers(stream, post({ 'content-length': '1' }), open), data(stream, 'xy'));
    await c.untilReset(stream);
    for (let i = 0; i < 3; i += 1) c.send(data(stream, Buffer.alloc(16_384)));
    await c.settled();
  }
}, async (c) => {
  await c.settled();
  await isAlive(c);
});
rule('5.1', 'DATA that crosses our RST_STREAM beyond the stream’s window is FLOW_CONTROL_ERROR', async (c) => {
  c.send(headers(1, post({ 'content-length': '1' }), open), data(1, 'xy'));
  await c.untilReset(1);
  for (let i = 0; i < 3; i += 1) c.send(data(1, Buffer.alloc(16_384)));
  await c.settled();
  c.send(data(1, Buffer.alloc(16_382)));
}, async (c) => {
  assert.equal((await c.untilGoaway()).code, code.flowControl, c.heard());
  await c.untilClosed(2_000);
});

// -- §5.1.1 and §5.1.2: identifiers and concurrency

rule('5.1.1', 'a request on an even stream is PROTOCOL_ERROR', [headers(2, get())], connectionError(code.protocol));
rule('5.1.1', 'a request below an earlier one is PROTOCOL_ERROR', [headers(5, get('/wait')), headers(3, get())], connectionError(code.protocol));
rule('5.1.1', 'ids may leave gaps', [headers(1, get()), headers(0x7001, get())], served(0x7001));
rule('5.1.1', 'the greatest id is a stream like others', [headers(0x7fffffff, get())], async (c) => {
  await c.untilEnd(0x7fffffff);
  await c.settled();
  assert.ok(!c.frames.some((one) => one.type === type.goaway || one.type === type.reset), c.heard());
});
rule('5.1.2', 'SETTINGS announce a limit, and a stream beyond it is REFUSED_STREAM', async (c) => {
  const ours = c.frames.find((one) => one.type === type.settings && one.flags === 0);
  const announced = new Map(Array.from({ length: ours.payload.length / 6 }, (_, i) => [ours.payload.readUInt16BE(6 * i), ours.payload.readUInt32BE(6 * i + 2)]));
  const limit = announced.get(setting.streams);
  assert.ok(limit >= 100, 'at least 100 streams (§6.5.2)');
  for (let i = 0; i < limit; i += 1) c.send(headers(2 * i + 1, get('/wait')));
  c.send(headers(2 * limit + 1, get()));
  assert.equal((await c.untilReset(2 * limit + 1)).code, code.refused);
  assert.equal(c.frames.filter((one) => one.type === type.reset).length, 1, c.heard());
  // A stream that the client gives up counts until the work for it has ended.
  c.send(reset(1));
  await c.settled();
  await c.settled();
}, isAlive);

// -- §5.3: priority, which is gone but still to be understood

rule('5.3', 'HEADERS with a priority are taken', [frame(type.headers, open | end | flag.priority, 1, block(uint32(0), [15], getBlock))], served(1));
rule('5.3', 'HEADERS with an exclusive dependency on an idle stream are taken',
  [frame(type.headers, open | end | flag.priority, 1, block(uint32(0x80000063), [15], getBlock))], served(1));
rule('5.3', 'HEADERS that depend on themselves are PROTOCOL_ERROR',
  [frame(type.headers, open | end | flag.priority, 1, block(uint32(1), [15], getBlock))], streamError(code.protocol));
rule('5.3', 'PRIORITY of an idle stream on itself is PROTOCOL_ERROR', [priority(1, 1)], connectionError(code.protocol));
rule('5.3', 'PRIORITY of an open stream on itself is PROTOCOL_ERROR for that stream',
  [headers(1, get('/wait')), priority(1, 1)], streamError(code.protocol));

// -- §5.4: errors

rule('5.4.1', 'GOAWAY names the last stream that was taken, and the connection closes',
  [headers(1, get('/wait')), headers(5, get('/wait')), ping('12345678', 0, 3)], async (c) => {
  const said = await c.untilGoaway();
  assert.equal(said.code, code.protocol);
  assert.equal(said.last, 5);
  await c.untilClosed();
});
rule('5.4.1', 'nothing is taken behind what was a connection error', [ping('12345678', 0, 3), headers(1, get()), ping('87654321')], async (c) => {
  await connectionError(code.protocol)(c);
  assert.ok(!c.frames.some((one) => one.type === type.headers || one.type === type.ping), c.heard());
});
rule('5.4.2', 'RST_STREAM is not answered with RST_STREAM', [headers(1, get('/wait')), reset(1, code.protocol)], ignored);

// -- §5.5: extensions

rule('5.5', 'an unknown setting is ignored, and the others of its frame count',
  [settings([0xffff, 7], [setting.window, 3], [0x4242, 0]), headers(1, get())], async (c) => {
  const first = await c.until((one) => one.type === type.data && one.stream === 1, 'DATA');
  assert.equal(first.payload.length, 3);
  c.send(settings([setting.window, 65_535]));
  await c.untilEnd(1);
  await isAlive(c);
});
rule('5.5', 'an unknown frame within a header block is PROTOCOL_ERROR',
  [headers(1, getBlock, end), frame(0x16, 0, 0)], connectionError(code.protocol));
rule('5.5', 'an unknown frame of the same stream within a header block is PROTOCOL_ERROR',
  [headers(1, getBlock, end), frame(0x16, 0, 1)], connectionError(code.protocol));

// -- §6.1: DATA

const padded = (kind, flags, stream, pad, content, padding) => frame(kind, flags | flag.padded, stream, block([pad], content, Buffer.alloc(padding)));
rule('6.1', 'DATA on stream 0 is PROTOCOL_ERROR', [data(0, 'x')], connectionError(code.protocol));
rule('6.1', 'DATA in several frames, one of them empty, is taken',
  [headers(1, post(), open), data(1, 'a'), data(1, ''), data(1, 'b'), data(1, '', end)], served(1));
rule('6.1', 'padded DATA is taken without its padding',
  [headers(1, post({ 'content-length': '4' }), open), padded(type.data, end, 1, 100, Buffer.from('test'), 100)], served(1));
rule('6.1', 'DATA of padding alone is taken', [headers(1, post({ 'content-length': '0' }), open), padded(type.data, end, 1, 5, '', 5)], served(1));
rule('6.1', 'padding as long as DATA’s payload is PROTOCOL_ERROR',
  [headers(1, post(), open), padded(type.data, end, 1, 5, Buffer.from('test'), 0)], connectionError(code.protocol));
rule('6.1', 'padding longer than DATA’s payload is PROTOCOL_ERROR',
  [headers(1, post(), open), padded(type.data, end, 1, 255, Buffer.from('test'), 0)], connectionError(code.protocol));
rule('6.1', 'padded DATA without its padding’s length is FRAME_SIZE_ERROR',
  [headers(1, post(), open), data(1, '', flag.padded)], connectionError(code.frameSize));

// -- §6.2: HEADERS

rule('6.2', 'HEADERS on stream 0 are PROTOCOL_ERROR', [headers(0, get())], connectionError(code.protocol));
rule('6.2', 'padded HEADERS are taken', [padded(type.headers, open | end, 1, 100, getBlock, 100)], served(1));
rule('6.2', 'padding longer than HEADERS is PROTOCOL_ERROR',
  [padded(type.headers, open | end, 1, getBlock.length + 1, getBlock, 0)], connectionError(code.protocol));
rule('6.2', 'padding that reaches into HEADERS’ priority is PROTOCOL_ERROR',
  [frame(type.headers, open | end | flag.padded | flag.priority, 1, block([1], uint32(0), [15]))], connectionError(code.protocol));
rule('6.2', 'HEADERS too short for their priority are FRAME_SIZE_ERROR',
  [frame(type.headers, open | end | flag.priority, 1, Buffer.alloc(4))], connectionError(code.frameSize));
rule('6.2', 'padded HEADERS without their padding’s length are FRAME_SIZE_ERROR',
  [frame(type.headers, open | end | flag.padded, 1)], connectionError(code.frameSize));

// -- §6.3: PRIORITY

rule('6.3', 'PRIORITY on stream 0 is PROTOCOL_ERROR', [priority(0, 1)], connectionError(code.protocol));
rule('6.3', 'PRIORITY of 4 bytes is FRAME_SIZE_ERROR for its stream',
  [headers(1, get('/wait')), sized(type.priority, 0, 1, 4)], streamError(code.frameSize));
rule('6.3', 'PRIORITY of 6 bytes is FRAME_SIZE_ERROR for its stream',
  [headers(1, get('/wait')), sized(type.priority, 0, 1, 6)], streamError(code.frameSize));
rule('6.3', 'PRIORITY of 4 bytes on an idle stream is FRAME_SIZE_ERROR for the connection',
  [sized(type.priority, 0, 1, 4)], connectionError(code.frameSize));

// -- §6.4: RST_STREAM

rule('6.4', 'RST_STREAM on stream 0 is PROTOCOL_ERROR', [reset(0)], connectionError(code.protocol));
rule('6.4', 'RST_STREAM of 3 bytes is FRAME_SIZE_ERROR', [headers(1, get('/wait')), sized(type.reset, 0, 1, 3)], connectionError(code.frameSize));
rule('6.4', 'RST_STREAM of 5 bytes is FRAME_SIZE_ERROR', [headers(1, get('/wait')), sized(type.reset, 0, 1, 5)], connectionError(code.frameSize));
rule('6.4', 'nothing more is sent on a stream that the client has reset', async (c) => {
  c.send(settings([setting.window, 10]), headers(1, get('/big')));
  await c.until((one) => one.type === type.data && one.stream === 1, 'DATA');
  c.send(reset(1), settings([setting.window, 65_535]));
  await c.settled();
  assert.equal(c.frames.filter((one) => one.stream === 1 && one.type === type.data).length, 1, c.heard());
}, ignored);

// -- §6.5: SETTINGS

rule('6.5', 'SETTINGS are acknowledged, each of them once',
  [settings([setting.window, 100]), settings([setting.window, 65_535]), settings()], async (c) => {
  await c.settled();
  assert.equal(c.frames.filter((one) => one.type === type.settings && one.flags === flag.ack).length, 4, c.heard());
  await isAlive(c);
});
rule('6.5', 'an ACK with a payload is FRAME_SIZE_ERROR', [frame(type.settings, flag.ack, 0, Buffer.alloc(6))], connectionError(code.frameSize));
rule('6.5', 'an ACK that nobody asked for is ignored', [frame(type.settings, flag.ack, 0)], ignored);
rule('6.5', 'SETTINGS on a stream are PROTOCOL_ERROR', [frame(type.settings, 0, 1)], connectionError(code.protocol));
rule('6.5', 'an ACK of SETTINGS on a stream is PROTOCOL_ERROR', [frame(type.settings, flag.ack, 1)], connectionError(code.protocol));
rule('6.5', 'SETTINGS of 3 bytes are FRAME_SIZE_ERROR', [sized(type.settings, 0, 0, 3)], connectionError(code.frameSize));
rule('6.5', 'SETTINGS of 7 bytes are FRAME_SIZE_ERROR', [sized(type.settings, 0, 0, 7)], connectionError(code.frameSize));
rule('6.5.2', 'ENABLE_PUSH of 2 is PROTOCOL_ERROR', [settings([setting.push, 2])], connectionError(code.protocol));
rule('6.5.2', 'ENABLE_PUSH of 1 and of 0 are taken', [settings([setting.push, 1]), settings([setting.push, 0])], ignored);
rule('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31 is FLOW_CONTROL_ERROR', [settings([setting.window, 0x80000000])], connectionError(code.flowControl));
rule('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31-1 is taken', [settings([setting.window, 0x7fffffff])], ignored);
rule('6.5.2', 'MAX_FRAME_SIZE of 16,383 is PROTOCOL_ERROR', [settings([setting.frameSize, 16_383])], connectionError(code.protocol));
rule('6.5.2', 'MAX_FRAME_SIZE of 2^24 is PROTOCOL_ERROR', [settings([setting.frameSize, 1 << 24])], connectionError(code.protocol));
rule('6.5.2', 'MAX_FRAME_SIZE of 2^24-1 is taken', [settings([setting.frameSize, (1 << 24) - 1])], ignored);
rule('6.5.2', 'MAX_CONCURRENT_STREAMS of 0 does not concern requests', [settings([setting.streams, 0]), headers(1, get())], served(1));
rule('6.5.2', 'MAX_HEADER_LIST_SIZE is advice, and responses go on', [settings([setting.listSize, 1]), headers(1, get())], served(1));
rule('6.5.2', 'server push is not announced by a server', [], async (c) => {
  const ours = c.frames.find((one) => one.type === type.settings && one.flags === 0);
  for (let at = 0; at < ours.payload.length; at += 6) {
    if (ours.payload.readUInt16BE(at) === setting.push) assert.equal(ours.payload.readUInt32BE(at + 2), 0);
  }
  await ignored(c);
});
rule('6.5.3', 'the values of one frame count in their order',
  [settings([setting.window, 100], [setting.window, 1]), headers(1, get())], async (c) => {
  assert.equal((await c.until((one) => one.type === type.data && one.stream === 1, 'DATA')).payload.length, 1);
  c.send(settings([setting.window, 65_535]));
  await c.untilEnd(1);
  await isAlive(c);
});

// -- §6.6, §8.4: PUSH_PROMISE

rule('6.6', 'PUSH_PROMISE from a client is PROTOCOL_ERROR',
  [headers(1, get('/wait')), frame(type.push, open, 1, block(uint32(2), getBlock))], connectionError(code.protocol));
rule('6.6', 'PUSH_PROMISE on an idle stream is PROTOCOL_ERROR',
  [frame(type.push, open, 1, block(uint32(2), getBlock))], connectionError(code.protocol));

// -- §6.7: PING

rule('6.7', 'PING comes back with the same payload and ACK', async (c) => {
  c.send(ping('\x00\x01\x02\x03\xfc\xfd\xfe\xff'));
  const pong = await c.until((one) => one.type === type.ping, 'PING');
  assert.equal(pong.payload.toString('latin1'), '\x00\x01\x02\x03\xfc\xfd\xfe\xff');
  assert.equal(pong.flags, flag.ack);
  assert.equal(pong.stream, 0);
}, ignored);
rule('6.7', 'PING with ACK is not answered', [ping('12345678', flag.ack)], async (c) => {
  await c.settled();
  assert.ok(!c.frames.some((one) => one.type === type.ping && one.payload.toString() === '12345678'), c.heard());
  await isAlive(c);
});
rule('6.7', 'PING on a stream is PROTOCOL_ERROR', [ping('12345678', 0, 1)], connectionError(code.protocol));
rule('6.7', 'PING of 6 bytes is FRAME_SIZE_ERROR', [sized(type.ping, 0, 0, 6)], connectionError(code.frameSize));
rule('6.7', 'PING of 9 bytes is FRAME_SIZE_ERROR', [sized(type.ping, 0, 0, 9)], connectionError(code.frameSize));
rule('6.7', 'PING’s answer overtakes responses that wait for a window',
  [settings([setting.window, 0]), headers(1, get('/big')), ping('overtake')], async (c) => {
  await c.until((one) => one.type === type.ping && one.payload.toString() === 'overtake', 'PING’s ACK');
  c.send(reset(1), settings([setting.window, 65_535]));
  await isAlive(c);
});

// -- §6.8: GOAWAY

rule('6.8', 'GOAWAY on a stream is PROTOCOL_ERROR', [frame(type.goaway, 0, 1, uint32(0, 0))], connectionError(code.protocol));
rule('6.8', 'GOAWAY of 7 bytes is FRAME_SIZE_ERROR', [sized(type.goaway, 0, 0, 7)], connectionError(code.frameSize));
rule('6.8', 'requests under way are answered after the client’s GOAWAY', [headers(1, post(), open), goaway(0), data(1, 'x', end)], served(1));
rule('6.8', 'GOAWAY with debug data is taken', [goaway(0x80000000, code.internal, 'for whom it may concern')], ignored);

// -- §6.9: WINDOW_UPDATE and flow control

rule('6.9', 'WINDOW_UPDATE of 0 on the connection is PROTOCOL_ERROR', [windowUpdate(0, 0)], connectionError(code.protocol));
rule('6.9', 'WINDOW_UPDATE of 0 on a stream is PROTOCOL_ERROR for it', [headers(1, get('/wait')), windowUpdate(1, 0)], streamError(code.protocol));
rule('6.9', 'the reserved bit of an increment is ignored', [windowUpdate(0, 0x80000001)], ignored);
rule('6.9', 'WINDOW_UPDATE of 3 bytes is FRAME_SIZE_ERROR', [sized(type.windowUpdate, 0, 0, 3)], connectionError(code.frameSize));
rule('6.9', 'WINDOW_UPDATE of 5 bytes on a stream is FRAME_SIZE_ERROR',
  [headers(1, get('/wait')), sized(type.windowUpdate, 0, 1, 5)], connectionError(code.frameSize));
rule('6.9.1', 'a connection’s window above 2^31-1 is FLOW_CONTROL_ERROR', [windowUpdate(0, 0x7fffffff)], connectionError(code.flowControl));
rule('6.9.1', 'a connection’s window may be 2^31-1', [windowUpdate(0, 0x7fffffff - 65_535)], ignored);
rule('6.9.1', 'a stream’s window above 2^31-1 is FLOW_CONTROL_ERROR for it',
  [headers(1, get('/wait')), windowUpdate(1, 0x7fffffff)], streamError(code.flowControl));
rule('6.9.1', 'two updates that together exceed 2^31-1 are FLOW_CONTROL_ERROR',
  [headers(1, get('/wait')), windowUpdate(1, 0x70000000), windowUpdate(1, 0x70000000)], streamError(code.flowControl));
rule('6.9.1', 'DATA keeps within a window of one byte', [settings([setting.window, 1]), headers(1, get())], async (c) => {
  for (let i = 0; i < 10; i += 1) {
    assert.equal((await c.until((one) => one.type === type.data && one.stream === 1, 'DATA')).payload.length, 1);
    c.send(windowUpdate(1, 1));
  }
  c.send(settings([setting.window, 65_535]));
  await c.settled();
  await isAlive(c);
});
rule('6.9.1', 'a response’s end needs no window', [settings([setting.window, 10]), headers(1, get())], async (c) => {
  await c.untilEnd(1);
  c.send(settings([setting.window, 65_535]));
  await isAlive(c);
});
const received = (c, stream) => c.frames.filter((one) => one.type === type.data && one.stream === stream).reduce((sum, one) => sum + one.payload.length, 0);
rule('6.9.1', 'DATA keeps within the connection’s window', [settings([setting.window, 1 << 20]), headers(1, get('/big'))], async (c) => {
  await eventually(() => received(c, 1) >= 65_535, 'the window is used');
  await c.settled();
  assert.equal(received(c, 1), 65_535, c.heard());
  c.send(windowUpdate(0, 1000));
  await eventually(() => received(c, 1) >= 66_535, 'the window is used again');
  await c.settled();
  assert.equal(received(c, 1), 66_535, c.heard());
  c.send(windowUpdate(0, 1 << 20));
  await c.untilEnd(1);
  assert.equal(received(c, 1), big.length);
  await isAlive(c);
});
rule('6.9.2', 'a change of INITIAL_WINDOW_SIZE moves the windows of streams that exist', async (c) => {
  c.send(settings([setting.window, 0]), headers(1, get()));
  await c.untilHeaders(1);
  await c.settled();
  assert.equal(received(c, 1), 0);
  c.send(settings([setting.window, 1]));
  assert.equal((await c.until((one) => one.type === type.data, 'DATA')).payload.length, 1);
  c.send(settings([setting.window, 65_535]));
}, async (c) => {
  await c.untilEnd(1);
  await isAlive(c);
});
rule('6.9.2', 'a window that a setting made negative is made good first', async (c) => {
  c.send(settings([setting.window, 3]), headers(1, get()));
  await eventually(() => received(c, 1) === 3, 'three bytes');
  c.send(settings([setting.window, 1]), windowUpdate(1, 2));
  await c.settled();
  assert.equal(received(c, 1), 3, 'the window is 0');
  c.send(windowUpdate(1, 1));
  await eventually(() => received(c, 1) === 4, 'the fourth byte');
  c.send(settings([setting.window, 65_535]));
}, async (c) => {
  await c.untilEnd(1);
  await isAlive(c);
});
rule('6.9.2', 'a setting does not move the connection’s window',
  [settings([setting.window, 1 << 20]), settings([setting.window, 1 << 21]), headers(1, get('/big'))], async (c) => {
  await eventually(() => received(c, 1) >= 65_535, 'the window is used');
  await c.settled();
  assert.equal(received(c, 1), 65_535);
  c.send(windowUpdate(0, 1 << 20));
  await c.untilEnd(1);
});
rule('6.9.2', 'a setting that takes a stream’s window above 2^31-1 is FLOW_CONTROL_ERROR for the connection',
  [headers(1, get('/wait')), windowUpdate(1, 0x7fffffff - 65_535), settings([setting.window, 65_536])], connectionError(code.flowControl));

// -- §6.10: CONTINUATION

rule('6.10', 'HEADERS and several CONTINUATIONs are one block',
  [headers(1, getBlock.subarray(0, 2), end), continuation(1, getBlock.subarray(2, 5), 0), continuation(1, getBlock.subarray(5, 5), 0), continuation(1, getBlock.subarray(5))],
  served(1));
rule('6.10', 'HEADERS without a byte of the block are taken', [headers(1, [], end), continuation(1, getBlock)], served(1));
rule('6.10', 'CONTINUATION of another stream is PROTOCOL_ERROR',
  [headers(1, getBlock, end), continuation(3, getBlock)], connectionError(code.protocol));
rule('6.10', 'CONTINUATION on stream 0 is PROTOCOL_ERROR', [headers(1, getBlock, end), continuation(0, getBlock)], connectionError(code.protocol));
rule('6.10', 'CONTINUATION behind END_HEADERS is PROTOCOL_ERROR',
  [headers(1, get('/wait')), continuation(1, getBlock)], connectionError(code.protocol));
rule('6.10', 'CONTINUATION behind a CONTINUATION with END_HEADERS is PROTOCOL_ERROR',
  [headers(1, headerBlock(get('/wait')), end), continuation(1, []), continuation(1, [])], connectionError(code.protocol));
rule('6.10', 'CONTINUATION behind DATA is PROTOCOL_ERROR',
  [headers(1, post(), open), data(1, 'x'), continuation(1, getBlock)], connectionError(code.protocol));
rule('6.10', 'a response’s block that is larger than a frame is continued on its stream without a gap',
  [headers(1, get('/fields')), ping('between!')], async (c) => {
  await c.untilEnd(1);
  const first = c.frames.findIndex((one) => one.type === type.headers && one.stream === 1);
  assert.equal(c.frames[first].flags & open, 0, c.heard());
  assert.ok(c.frames[first].payload.length <= 16_384);
  assert.equal(c.frames[first + 1].type, type.continuation, c.heard());
  assert.equal(c.frames[first + 1].stream, 1);
  assert.equal(c.frames[first + 1].flags, open);
  await isAlive(c);
});

// -- §7: error codes

rule('7', 'RST_STREAM with an unknown code is taken', [headers(1, get('/wait')), reset(1, 0xff)], ignored);
rule('7', 'GOAWAY with an unknown code is taken', [goaway(0, 0xffffffff)], ignored);

// -- §8.1: messages

rule('8.1', 'a request with trailers is answered',
  [headers(1, post({ te: 'trailers' }), open), data(1, 'x'), headers(1, [['x-checksum', '1']])], served(1));
rule('8.1', 'a request of a head and trailers without DATA is answered', [headers(1, post(), open), headers(1, [['x-checksum', '1']])], served(1));
rule('8.1', 'trailers without END_STREAM are PROTOCOL_ERROR',
  [headers(1, post(), open), data(1, 'x'), headers(1, [['x-checksum', '1']], open)], streamError(code.protocol));
rule('8.1', 'a pseudo-header field in trailers is PROTOCOL_ERROR',
  [headers(1, post(), open), data(1, 'x'), headers(1, [[':method', 'GET']])], streamError(code.protocol));
rule('8.1', 'HEADERS behind trailers are STREAM_CLOSED',
  [headers(1, post({ ':path': '/wait' }), open), headers(1, [['x-checksum', '1']]), headers(1, [['x-more', '1']])], streamError(code.streamClosed));
rule('8.1', 'an early answer ends with RST_STREAM of NO_ERROR',
  [headers(1, post({ ':method': 'CONNECT', ':scheme': undefined, ':path': undefined, ':authority': 'a:1' }), open)], async (c) => {
  await c.untilEnd(1);
  assert.equal((await c.untilReset(1)).code, code.none);
  await isAlive(c);
});

rule('9110 §10.1.1', '100-continue is answered before the body is sent', [headers(1, post({ expect: '100-continue' }), open)], async (c) => {
  const interim = await c.untilHeaders(1);
  assert.ok(!interim.endStream);
  assert.ok(interim.payload.includes(Buffer.from([0x82, 0x08, 0x01])), ':status 100, in Huffman’s code');
  c.send(data(1, 'x', end));
  await c.untilEnd(1);
  await isAlive(c);
});

// -- §8.1.1: malformed messages

const withLength = (length) => post({ 'content-length': length });
rule('8.1.1', 'content-length above the DATA is PROTOCOL_ERROR',
  [headers(1, withLength('5'), open), data(1, 'test', end)], streamError(code.protocol));
rule('8.1.1', 'content-length below the DATA is PROTOCOL_ERROR',
  [headers(1, withLength('1'), open), data(1, 'test', end)], streamError(code.protocol));
rule('8.1.1', 'content-length above the sum of several DATA is PROTOCOL_ERROR',
  [headers(1, withLength('9'), open), data(1, 'test'), data(1, 'test', end)], streamError(code.protocol));
rule('8.1.1', 'content-length below the sum of several DATA is PROTOCOL_ERROR',
  [headers(1, withLength('5'), open), data(1, 'test'), data(1, 'test', end)], streamError(code.protocol));
rule('8.1.1', 'content-length with no DATA at all is PROTOCOL_ERROR', [headers(1, withLength('4'))], streamError(code.protocol));
rule('8.1.1', 'content-length with trailers instead of DATA is PROTOCOL_ERROR',
  [headers(1, withLength('4'), open), headers(1, [['x-checksum', '1']])], streamError(code.protocol));
rule('8.1.1', 'content-length that is no number is PROTOCOL_ERROR', [headers(1, withLength('4x'), open)], streamError(code.protocol));
rule('8.1.1', 'content-length twice with two values is PROTOCOL_ERROR',
  [headers(1, [...withLength('4'), ['content-length', '5']], open)], streamError(code.protocol));
rule('8.1.1', 'content-length that adds up is served', [headers(1, withLength('8'), open), data(1, 'test'), data(1, 'test', end)], served(1));
rule('8.1.1', 'content-length of 0 without DATA is served', [headers(1, withLength('0'))], served(1));

// -- §8.2: fields

const request = (...extra) => [headers(1, [...get(), ...extra])];
const malformed = streamError(code.protocol);
rule('8.2.1', 'an upper-case letter in a name is PROTOCOL_ERROR', request(['X-Test', 'ok']), malformed);
rule('8.2.1', 'an upper-case letter in a name of a trailer is PROTOCOL_ERROR', [headers(1, post(), open), headers(1, [['X-Test', 'ok']])], malformed);
rule('8.2.1', 'an empty name is PROTOCOL_ERROR', request(['', 'ok']), malformed);
rule('8.2.1', 'a space in a name is PROTOCOL_ERROR', request(['x test', 'ok']), malformed);
rule('8.2.1', 'a colon in a name is PROTOCOL_ERROR', request(['x:test', 'ok']), malformed);
rule('8.2.1', 'a line break in a name is PROTOCOL_ERROR', request(['x\r\ntest', 'ok']), malformed);
rule('8.2.1', 'NUL in a name is PROTOCOL_ERROR', request(['x\0test', 'ok']), malformed);
rule('8.2.1', 'DEL in a name is PROTOCOL_ERROR', request(['x\x7ftest', 'ok']), malformed);
rule('8.2.1', 'a byte above 127 in a name is PROTOCOL_ERROR', [headers(1, block(getBlock, literal('x\xe4', 'ok')))], malformed);
rule('8.2.1', 'NUL in a value is PROTOCOL_ERROR', request(['x-test', 'a\0b']), malformed);
rule('8.2.1', 'CR in a value is PROTOCOL_ERROR', request(['x-test', 'a\rb']), malformed);
rule('8.2.1', 'LF in a value is PROTOCOL_ERROR', request(['x-test', 'a\nb']), malformed);
rule('8.2.1', 'a space before a value is PROTOCOL_ERROR', request(['x-test', ' a']), malformed);
rule('8.2.1', 'a tab behind a value is PROTOCOL_ERROR', request(['x-test', 'a\t']), malformed);
rule('8.2.1', 'an empty value, a tab within one, and bytes above 127 are taken',
  [headers(1, block(getBlock, literal('x-empty', ''), literal('x-tab', 'a\tb'), literal('x-high', '\xe4\xf6')))], served(1));
rule('8.2.2', 'Connection is PROTOCOL_ERROR', request(['connection', 'keep-alive']), malformed);
rule('8.2.2', 'Proxy-Connection is PROTOCOL_ERROR', request(['proxy-connection', 'keep-alive']), malformed);
rule('8.2.2', 'Keep-Alive is PROTOCOL_ERROR', request(['keep-alive', 'timeout=5']), malformed);
rule('8.2.2', 'Transfer-Encoding is PROTOCOL_ERROR', request(['transfer-encoding', 'chunked']), malformed);
rule('8.2.2', 'Upgrade is PROTOCOL_ERROR', request(['upgrade', 'websocket']), malformed);
rule('8.2.2', 'TE of anything but trailers is PROTOCOL_ERROR', request(['te', 'trailers, deflate']), malformed);
rule('8.2.2', 'TE of trailers is taken', request(['te', 'trailers']), served(1));
rule('8.2.2', 'Connection in trailers is PROTOCOL_ERROR', [headers(1, post(), open), headers(1, [['connection', 'close']])], malformed);
rule('8.2.3', 'crumbs of a cookie are taken', request(['cookie', 'a=1'], ['cookie', 'b=2']), served(1));

// -- §8.3: control data

rule('8.3', 'an unknown pseudo-header field is PROTOCOL_ERROR', [headers(1, [...get(), [':test', 'ok']])], malformed);
rule('8.3', 'a response’s pseudo-header field is PROTOCOL_ERROR', [headers(1, [...get(), [':status', '200']])], malformed);
rule('8.3', 'a pseudo-header field behind a regular one is PROTOCOL_ERROR', [headers(1, [['x-test', 'ok'], ...get()])], malformed);
rule('8.3', 'one pseudo-header field behind a regular one is PROTOCOL_ERROR',
  [headers(1, [...get().slice(0, 3), ['x-test', 'ok'], [':authority', 'localhost']])], malformed);
for (const [name, changes] of [
  ['an empty :path is PROTOCOL_ERROR', { ':path': '' }],
  ['a request without :method is PROTOCOL_ERROR', { ':method': undefined }],
  ['a request without :scheme is PROTOCOL_ERROR', { ':scheme': undefined }],
  ['a request without :path is PROTOCOL_ERROR', { ':path': undefined }],
  ['an empty :method is PROTOCOL_ERROR', { ':method': '' }],
  ['a :method with a space is PROTOCOL_ERROR', { ':method': 'GET /x' }],
  ['a :path that does not start with a slash is PROTOCOL_ERROR', { ':path': 'index.html' }],
  ['a :path of an absolute URI is PROTOCOL_ERROR', { ':path': 'http://localhost/' }],
  ['a :path with a space is PROTOCOL_ERROR', { ':path': '/a b' }],
  ['a :path with a fragment is PROTOCOL_ERROR', { ':path': '/a#b' }],
  ['a :path of * with GET is PROTOCOL_ERROR', { ':path': '*' }],
  ['a :scheme that is none is PROTOCOL_ERROR', { ':scheme': 'ht tp' }],
  ['an :authority with userinfo is PROTOCOL_ERROR', { ':authority': 'user@localhost' }],
  ['an :authority with a space is PROTOCOL_ERROR', { ':authority': 'local host' }],
  ['an :authority with a path is PROTOCOL_ERROR', { ':authority': 'localhost/x' }],
  ['an :authority that differs from Host is PROTOCOL_ERROR', { host: 'example.com' }],
]) rule('8.3.1', name, [headers(1, fields(changes))], malformed);
for (const [name, extra] of [
  ['two :method are PROTOCOL_ERROR', [':method', 'GET']],
  ['two :scheme are PROTOCOL_ERROR', [':scheme', 'http']],
  ['two :path are PROTOCOL_ERROR', [':path', '/']],
  ['two :authority are PROTOCOL_ERROR', [':authority', 'localhost']],
]) rule('8.3.1', name, [headers(1, [...get(), extra])], malformed);
rule('8.3.1', 'Host that equals :authority is taken', [headers(1, fields({ host: 'localhost' }))], served(1));
rule('8.3.1', 'Host that equals :authority but for the scheme’s own port is taken', [headers(1, fields({ host: 'LOCALHOST:80' }))], served(1));
rule('8.3.1', 'Host with another scheme’s port is PROTOCOL_ERROR', [headers(1, fields({ host: 'localhost:443' }))], malformed);
rule('8.3.1', 'Host without :authority is taken', [headers(1, fields({ ':authority': undefined, host: 'localhost' }))], served(1));
rule('8.3.1', 'OPTIONS of * is taken', [headers(1, fields({ ':method': 'OPTIONS', ':path': '*' }))], served(1));
rule('8.5', 'CONNECT with :path is PROTOCOL_ERROR', [headers(1, fields({ ':method': 'CONNECT', ':scheme': undefined }))], malformed);
rule('8.5', 'CONNECT with :scheme is PROTOCOL_ERROR', [headers(1, fields({ ':method': 'CONNECT', ':path': undefined }))], malformed);
rule('8.5', 'CONNECT without :authority is PROTOCOL_ERROR', [headers(1, [[':method', 'CONNECT']])], malformed);
rule('8.5', ':protocol that no setting announced is PROTOCOL_ERROR',
  [headers(1, fields({ ':method': 'CONNECT', ':protocol': 'websocket' }))], malformed);

// -- RFC 7541

const broken = connectionError(code.compression);
const hpack = (section, name, bytes, reaction) => rule(`HPACK ${section}`, name, [headers(1, block(getBlock, bytes))], reaction);
function varint(value) {
  const bytes = [];
  for (; value >= 128; value = Math.floor(value / 128)) bytes.push(128 | value % 128);
  return [...bytes, value];
}
hpack('2.3.3', 'an index of 0 is COMPRESSION_ERROR', [0x80], broken);
hpack('2.3.3', 'an index beyond both tables is COMPRESSION_ERROR', [0xbe], broken);
hpack('2.3.3', 'a name’s index beyond both tables is COMPRESSION_ERROR', [0x7e, 1, 0x61], broken);
hpack('2.3.3', 'a name’s index beyond both tables in a field that is not indexed is COMPRESSION_ERROR', [0x0f, 0x2f, 1, 0x61], broken);
hpack('4.1', 'an entry larger than the table empties it and is a field all the same',
  block([0x40, 1, 0x61, 1, 0x62, 0x40, 1, 0x63, 0x7f, ...varint(5000 - 127)], Buffer.alloc(5000, 'v')), served(1));
rule('HPACK 4.4', 'an entry that an oversize one drove out is COMPRESSION_ERROR',
  [headers(1, block(getBlock, [0x40, 1, 0x61, 1, 0x62, 0x40, 1, 0x63, 0x7f, ...varint(5000 - 127)], Buffer.alloc(5000, 'v'), [0xbe]))], broken);
rule('HPACK 4.2', 'a table size update at the start of a block is taken',
  [headers(1, block([0x20], getBlock)), headers(3, block([0x3f, 0xe1, 0x1f], getBlock))], served(3));
rule('HPACK 4.2', 'two table size updates at the start of a block are taken', [headers(1, block([0x20, 0x3f, 0xe1, 0x1f], getBlock))], served(1));
hpack('4.2', 'a table size update at the end of a block is COMPRESSION_ERROR', [0x20], broken);
rule('HPACK 4.3', 'entries that a smaller size drove out are COMPRESSION_ERROR',
  [headers(1, block(getBlock, [0x40, 1, 0x61, 1, 0x62])), headers(3, block([0x20], getBlock, [0xbe]))], async (c) => {
  assert.equal((await c.untilGoaway()).code, code.compression);
  await c.untilClosed();
});
hpack('5.1', 'an integer that does not end is COMPRESSION_ERROR', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], broken);
hpack('5.1', 'an integer of 2^32 is COMPRESSION_ERROR', [0xff, 0x81, 0xff, 0xff, 0xff, 0x0f], broken);
hpack('5.1', 'an integer cut short is COMPRESSION_ERROR', [0xff], broken);
hpack('5.1', 'an integer with zeros ahead of its end is taken', [0x40, 1, 0x61, 0x7f, 0x80, 0x80, 0x00, ...Buffer.alloc(127, 'v')], served(1));
hpack('5.2', 'a string longer than its block is COMPRESSION_ERROR', [0x00, 1, 0x61, 9, 0x62], broken);
hpack('5.2', 'Huffman padding of more than seven bits is COMPRESSION_ERROR', [0x00, 1, 0x61, 0x82, 0x1f, 0xff], broken);
hpack('5.2', 'Huffman padding with zeros is COMPRESSION_ERROR', [0x00, 1, 0x61, 0x81, 0x18], broken);
hpack('5.2', 'EOS within a Huffman string is COMPRESSION_ERROR', [0x00, 1, 0x61, 0x84, 0xff, 0xff, 0xff, 0xff], broken);
hpack('5.2', 'Huffman padding of ones is taken', [0x00, 1, 0x62, 0x81, 0x1f], served(1));
hpack('6.2.3', 'a field never to be indexed is taken', [0x10, 1, 0x62, 1, 0x63], served(1));
hpack('6.1', 'an indexed field of the static table is taken', [0x90], served(1));
rule('HPACK 6.3', 'a table size above our SETTINGS is COMPRESSION_ERROR', [headers(1, block([0x3f, 0xe2, 0x1f], getBlock))], broken);
rule('HPACK 6.3', 'an empty block of a table size update alone is a request without anything, PROTOCOL_ERROR', [headers(1, [0x20])], malformed);
rule('HPACK 4.2', 'a table of 0 bytes for us is said first and not used', [settings([setting.tableSize, 0]), headers(1, get())], async (c) => {
  const first = await c.untilHeaders(1);
  assert.equal(first.payload[0], 0x20, 'a table size update to 0');
  await c.untilEnd(1);
  c.send(headers(3, get()));
  const second = await c.untilHeaders(3);
  assert.deepEqual(second.payload.subarray(0, 1), Buffer.from([0x88]));
  assert.ok(second.payload.length >= first.payload.length - 1, 'nothing was remembered');
});
rule('HPACK 4.2', 'a table that shrinks and grows again between two blocks is said with both sizes',
  [settings([setting.tableSize, 0]), settings([setting.tableSize, 4096]), headers(1, get())], async (c) => {
  const first = await c.untilHeaders(1);
  assert.equal(first.payload[0], 0x20, 'the smallest size comes first');
  assert.equal(first.payload[1] & 0xe0, 0x20, 'the final size follows');
  await c.untilEnd(1);
});

for (const [transport, secure] of [['h2c', false], ['TLS', true]]) {
  test(`as a server over ${transport}, plait reacts to every case as the RFCs say`, async (t) => {
    const backend = await startH2Backend(t, answer);
    const plait = await startProxy(t, [backend], { tls: true });
    const ca = readFileSync(plait.certificate.cert);
    for (const { section, name, said, reaction, greeting = true } of cases) {
      await t.test(`${section}: ${name}`, async () => {
        const c = await connectWire(secure ? plait.tlsPort : plait.port, secure ? { ca } : {});
        try {
          if (greeting) await greet(c);
          if (typeof said === 'function') await said(c);
          else c.send(...said);
          await reaction(c);
        } finally {
          c.socket.destroy();
        }
      });
    }
  });
}

// -- both sides at once: a client and a backend that speak in frames

// A client, a backend, and the connection between plait and the backend, on which one request was answered already.
async function between(t, { limits = '', window } = {}) {
  const backend = await startWireBackend(t);
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n${limits}`);
  const c = await connectWire(plait.port);
  defer(t, () => c.socket.destroy());
  await greet(c);
  c.send(headers(1, get()));
  const { peer, stream } = await backend.untilRequest();
  if (window !== undefined) peer.send(settings([setting.window, window]));
  peer.send(headers(stream, [[':status', '200']]));
  await c.untilEnd(1);
  await peer.settled();
  return { c, peer, backend };
}

test('DATA beyond a stream’s window is FLOW_CONTROL_ERROR for it', async (t) => {
  // The backend takes nothing, so plait gives no credit.
  const { c } = await between(t, { limits: '[limits]\nclient_stream_window = 16384\n', window: 0 });
  c.send(headers(3, post(), open), data(3, Buffer.alloc(16_384)));
  await c.settled();
  assert.ok(!c.frames.some((one) => one.type === type.reset), c.heard());
  c.send(data(3, 'x'));
  assert.equal((await c.untilReset(3)).code, code.flowControl);
  await c.settled();
});

test('a pseudo-header field that is never to be indexed stays so on its way, in both directions', async (t) => {
  const { c, backend } = await between(t);
  // By the names' indices in the static table: :path 4, :authority 1, :status 8.
  c.send(headers(3, block([0x82, 0x86], [0x14, 1], Buffer.from('/'), [0x11, 1], Buffer.from('a'))));
  const { peer, stream, head } = await backend.untilRequest();
  for (const [index, value] of [[4, '/'], [1, 'a']]) {
    const plain = Buffer.from([0x10 | index, 1, value.charCodeAt(0)]);
    const huffman = Buffer.from([0x10 | index, 0x81]);
    assert.ok(head.payload.includes(plain) || head.payload.includes(huffman), head.payload.toString('hex'));
  }
  peer.send(headers(stream, block([0x18, 3], Buffer.from('200'))));
  const answered = await c.untilHeaders(3);
  assert.equal(answered.payload[0], 0x18, answered.payload.toString('hex'));
});

test('the id of GOAWAY never rises, not with a connection error either', async (t) => {
  const backend = await startH2Backend(t, answer);
  const plait = await startProxy(t, [backend]);
  const c = await connectWire(plait.port);
  defer(t, () => c.socket.destroy());
  await greet(c);
  c.send(headers(1, get('/wait')));
  await c.settled();
  const ended = plait.stop();
  assert.equal((await c.untilGoaway()).last, 0x7fffffff);
  const asked = await c.until((one) => one.type === type.ping && !(one.flags & flag.ack), 'PING');
  c.send(ping(asked.payload, flag.ack));
  assert.equal((await c.untilGoaway()).last, 1);
  c.send(headers(3, get()));
  assert.equal((await c.untilReset(3)).code, code.refused);
  c.send(ping('pingpong', 0, 1));
  const said = await c.untilGoaway();
  assert.deepEqual([said.code, said.last], [code.protocol, 1]);
  await c.untilClosed();
  assert.equal(await ended, 0);
});

test('a field that is never to be indexed stays so on its way, in both directions', async (t) => {
  const { c, backend } = await between(t);
  const secret = block([0x10, 5], Buffer.from('x-sec'), [1, 0x76]);
  // Behind the mark of a literal never indexed (RFC 7541 §6.2.3) the name, which clients get in Huffman's code.
  const forwarded = Buffer.concat([Buffer.from([0x10, 5]), Buffer.from('x-sec')]);
  const returned = Buffer.from([0x10, 0x84, 0xf2, 0xb2, 0x0a, 0x4f]);
  c.send(headers(3, block(getBlock, secret)));
  const { peer, stream, head } = await backend.untilRequest();
  assert.ok(head.payload.includes(forwarded), head.payload.toString('hex'));
  peer.send(headers(stream, block([0x88], secret)));
  const answered = await c.untilHeaders(3);
  assert.ok(answered.payload.includes(returned), answered.payload.toString('hex'));
});

test('a request that is malformed is never forwarded', async (t) => {
  const { c, peer } = await between(t);
  const before = peer.frames.filter((one) => one.type === type.headers).length;
  c.send(headers(3, fields({ 'X-Test': '1' })), headers(5, fields({ ':path': 'x' })), headers(7, fields({ te: 'gzip' })));
  for (const stream of [3, 5, 7]) assert.equal((await c.untilReset(stream)).code, code.protocol);
  await c.settled();
  await peer.settled();
  assert.equal(peer.frames.filter((one) => one.type === type.headers).length, before, peer.heard());
});

test('no DATA frame is larger than the MAX_FRAME_SIZE of whom it goes to, by default 16,384', async (t) => {
  const { c, peer, backend } = await between(t);
  c.send(windowUpdate(0, 1 << 20), settings([setting.window, 1 << 20]), headers(3, get('/big')));
  const { stream } = await backend.untilRequest();
  peer.send(headers(stream, [[':status', '200']], open));
  // Within the stream's window of 32 KiB.
  peer.send(data(stream, Buffer.alloc(16_384)), data(stream, Buffer.alloc(16_000), end));
  await c.untilEnd(3);
  c.send(headers(5, post(), open), data(5, Buffer.alloc(16_384)), data(5, Buffer.alloc(16_384)), data(5, '', end));
  const next = await backend.untilRequest();
  await peer.untilEnd(next.stream);
  peer.send(headers(next.stream, [[':status', '200']]));
  await c.untilEnd(5);
  for (const one of [...c.frames, ...peer.frames]) assert.ok(one.payload.length <= 16_384);
});

test('crumbs of a cookie become one field where they leave HTTP/2', async (t) => {
  let seen;
  const backend = await startH1Backend(t, (incoming, response) => {
    seen = incoming.rawHeaders.filter((_, i) => i % 2 === 1 && incoming.rawHeaders[i - 1].toLowerCase() === 'cookie');
    response.end('ok');
  });
  const plait = await startProxy(t, [backend]);
  const c = await connectWire(plait.port);
  defer(t, () => c.socket.destroy());
  await greet(c);
  c.send(headers(1, [...get(), ['cookie', 'a=1'], ['cookie', 'b=2; c=3']]));
  await c.untilEnd(1);
  assert.deepEqual(seen, ['a=1; b=2; c=3']);
});
