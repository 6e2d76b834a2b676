// What an HTTP/2 server has to do about a client that keeps the rules or breaks one, a row each: the section of RFC 9113
// (or of RFC 7541, HPACK), a sentence, what the client says, and what must come of it. What is said is a function of the
// connection, which knows its scheme and authority: it returns frames, or says them itself where it must listen meanwhile.
import assert from 'node:assert/strict';
import { connectionError, ignored, isAlive, served, streamError } from './h2_reactions.mjs';
import { frame, uint32 } from './raw_h2.mjs';
import {
  code, continuation, data, flag, goaway, headers, ping, preface, priority, reset, setting, settings, type, windowUpdate,
} from './wire_h2.mjs';

export const bodySize = 5_000;  // of each answer
const open = flag.endHeaders;
const end = flag.endStream;
const whole = open | end;
const zeros = '\0'.repeat(8);

// -- header blocks as clients write them: what the static table has by its index, everything else enters the table

const wholeEntries = { ':method GET': 2, ':method POST': 3, ':path /': 4, ':scheme http': 6, ':scheme https': 7 };
const knownNames = { ':authority': 1, ':method': 2, ':path': 4, ':scheme': 6, ':status': 8, 'content-length': 28 };

function integer(value, bits, mark) {
  const most = (1 << bits) - 1;
  if (value < most) return [mark | value];
  const bytes = [mark | most];
  for (value -= most; value >= 128; value = Math.floor(value / 128)) bytes.push(128 | value % 128);
  return [...bytes, value];
}

const text = (value) => Buffer.from([...integer(value.length, 7, 0), ...Buffer.from(value, 'latin1')]);

function field([name, value]) {
  const entry = wholeEntries[`${name} ${value}`];
  if (entry !== undefined) return Buffer.from([0x80 | entry]);
  const known = knownNames[name];
  return Buffer.concat([Buffer.from([0x40 | (known ?? 0)]), known === undefined ? text(name) : Buffer.alloc(0), text(value)]);
}

const block = (...parts) => Buffer.concat(parts.map((part) => (typeof part[0] === 'string' ? field(part) : Buffer.from(part))));

// x-dummyN with 4,000 bytes of x in Huffman's code: seven bits each, 1111001, so that eight of them are seven bytes.
const eight = Buffer.from([0xf3, 0xe7, 0xcf, 0x9f, 0x3e, 0x7c, 0xf9]);
const dummy = (n = 0) => Buffer.concat([
  Buffer.from([0x40]), text(`x-dummy${n}`), Buffer.from(integer(3_500, 7, 0x80)), ...Array(500).fill(eight)]);
const dummyAgain = [0xbe];  // the newest entry of the table

const request = (c, changes = {}) => Object.entries({
  ':method': 'GET', ':scheme': c.secure ? 'https' : 'http', ':path': '/', ':authority': `127.0.0.1:${c.port}`, ...changes,
}).filter(([, value]) => value !== undefined);
const get = (c, ...more) => block(...request(c), ...more);
const post = (c, ...more) => block(...request(c, { ':method': 'POST' }), ...more);
const padded = (kind, flags, stream, pad, content, padding) => (
  frame(kind, flags | flag.padded, stream, Buffer.concat([Buffer.from([pad]), Buffer.from(content), Buffer.from(padding)])));
const bare = (kind, flags, stream, size) => frame(kind, flags, stream, Buffer.alloc(size));

// -- what must come of it, beyond what h2_reactions.mjs has

const failed = connectionError(code.protocol);
const malformed = streamError(code.protocol);
const undecodable = connectionError(code.compression);

// The stream ends with this code, or the connection does: which of them may depend on how far the answer is.
const eitherError = (expected, stream = 1) => Object.assign(async (c) => {
  const said = await c.until((one) => one.type === type.reset || one.type === type.goaway, 'RST_STREAM or GOAWAY');
  assert.equal(said.code, expected, c.heard());
  if (said.type === type.goaway) return c.untilClosed();
  assert.equal(said.stream, stream, c.heard());
  return isAlive(c);
}, { isError: true });

// The next PING that is heard is the ACK of this one.
const pong = (content) => async (c) => {
  const heard = await c.until((one) => one.type === type.ping, 'PING');
  assert.equal(heard.payload.toString('latin1'), content, c.heard());
  assert.equal(heard.flags, flag.ack);
  assert.equal(heard.stream, 0);
  await ignored(c);
};

// What was never HTTP/2 gets nothing but the end of the connection, or GOAWAY before it (§3.4).
const turnedAway = Object.assign(async (c) => {
  await c.untilClosed();
  for (const one of c.frames.filter(({ type: kind }) => kind === type.goaway)) assert.equal(one.code, code.protocol, c.heard());
  assert.ok(c.frames.every((one) => one.type === type.settings || one.type === type.goaway), c.heard());
  assert.equal(c.buffered.length, 0, `nothing that is no frame: ${c.buffered.toString('latin1')}`);
}, { isError: true });

const untilAck = (c) => c.until((one) => one.type === type.settings && (one.flags & flag.ack), 'SETTINGS’ ACK');
const untilData = (c) => c.until((one) => one.type === type.data, 'DATA');

// The next DATA is of so many bytes; when the window opens all of the answer comes.
const dataOf = (size) => async (c) => {
  const first = await untilData(c);
  assert.equal(first.stream, 1);
  assert.equal(first.payload.length, size, c.heard());
  await c.say(settings([setting.window, 65_535]));
  await c.untilEnd(1);
  await isAlive(c);
  const all = c.frames.filter((one) => one.type === type.data && one.stream === 1);
  assert.equal(all.reduce((sum, one) => sum + one.payload.length, 0), bodySize, c.heard());
};

// The request on stream 1 is answered to its end before these frames are said.
const answeredThen = (...frames) => async (c) => {
  await c.say(headers(1, get(c), whole));
  await c.untilEnd(1);
  await c.say(...frames);
};

const withWindow = (size) => async (c) => {
  await c.say(settings([setting.window, size]));
  await untilAck(c);
};

// -- the table

export const rows = [];
// `times`: for how many cases of h2spec the row stands, which repeats some of them under another section.
const row = (section, sentence, said, outcome, { times = 1, greeting = true } = {}) => {
  rows.push({ section, sentence, said, outcome, times, greeting });
};
const unspoken = { greeting: false };

row('3.4', 'the first frame that a server says is SETTINGS', () => [preface, settings([setting.window, 65_535])], async (c) => {
  await c.until((one) => one.type === type.settings, 'SETTINGS');
  assert.equal(c.frames[0].type, type.settings);
  assert.equal(c.frames[0].flags & flag.ack, 0);
  await ignored(c);
}, { ...unspoken, times: 2 });
row('3.4', 'a preface that is none ends the connection', () => [Buffer.from('INVALID CONNECTION PREFACE\r\n\r\n')], turnedAway, unspoken);

row('4.1', 'a frame of an unknown type is ignored', () => [bare(0x16, 0, 0, 8), ping(zeros)], pong(zeros), { times: 2 });
row('4.1', 'flags that PING does not have are ignored', () => [ping(zeros, 0x16)], pong(zeros));
row('4.1', 'the reserved bit of a stream’s id is ignored', () => [ping(zeros, 0x16, 0x80000000)], pong(zeros));

row('4.2', 'DATA of 2^14 bytes is taken', (c) => [headers(1, post(c), open), data(1, 'x'.repeat(16_384), end)], served());
row('4.2', 'DATA of more is FRAME_SIZE_ERROR', (c) => [headers(1, post(c), open), data(1, 'x'.repeat(16_385), end)], connectionError(code.frameSize));
row('4.2', 'HEADERS of more are FRAME_SIZE_ERROR of the connection', (c) => [headers(1, get(c, ...[0, 1, 2, 3, 4].map(dummy)), whole)], connectionError(code.frameSize));

row('4.3', 'a header block that ends in a field is COMPRESSION_ERROR', () => [headers(1, [0x40], whole)], undecodable);
row('4.3', 'PRIORITY between the frames of a header block is PROTOCOL_ERROR', (c) => [
  headers(1, get(c), 0), priority(1, 0, 255), continuation(1, dummy())], failed, { times: 2 });
row('4.3', 'HEADERS of another stream between them are PROTOCOL_ERROR', (c) => [
  headers(1, get(c), 0), headers(3, get(c), whole), continuation(1, dummy())], failed, { times: 2 });

row('5.1', 'PRIORITY on an idle stream is taken', () => [priority(1, 0, 255), ping(zeros)], pong(zeros));
row('5.1', 'DATA on an idle stream is PROTOCOL_ERROR', () => [data(1, 'test', end)], failed);
row('5.1', 'RST_STREAM on an idle stream is PROTOCOL_ERROR', () => [reset(1)], failed, { times: 2 });
row('5.1', 'WINDOW_UPDATE on an idle stream is PROTOCOL_ERROR', () => [windowUpdate(1, 100)], failed);
row('5.1', 'CONTINUATION on an idle stream is PROTOCOL_ERROR', (c) => [continuation(1, get(c))], failed);
row('5.1', 'half-closed: WINDOW_UPDATE lets the answer go on', (c) => [
  settings([setting.window, 0]), headers(1, get(c), whole), windowUpdate(1, 1)], dataOf(1));
row('5.1', 'half-closed: PRIORITY changes nothing', (c) => [
  settings([setting.window, 0]), headers(1, get(c), whole), priority(1, 0, 255), windowUpdate(1, 1)], dataOf(1));
row('5.1', 'half-closed: RST_STREAM is taken', (c) => [headers(1, get(c), whole), reset(1), ping(zeros)], pong(zeros));
row('5.1', 'half-closed: DATA is STREAM_CLOSED', (c) => [headers(1, get(c), whole), data(1, 'test', end)], eitherError(code.streamClosed));
row('5.1', 'half-closed: DATA behind a POST without a body is STREAM_CLOSED', (c) => [headers(1, post(c), whole), data(1, 'test', end)], eitherError(code.streamClosed));
row('5.1', 'half-closed: HEADERS are STREAM_CLOSED', (c) => [headers(1, get(c), whole), headers(1, get(c), whole)], eitherError(code.streamClosed));
row('5.1', 'half-closed: CONTINUATION is STREAM_CLOSED or PROTOCOL_ERROR', (c) => [
  headers(1, get(c), whole), continuation(1, get(c))], connectionError(code.streamClosed, code.protocol));
row('5.1', 'reset by the client: DATA is STREAM_CLOSED', (c) => [headers(1, get(c), open), reset(1), data(1, 'test', end)], eitherError(code.streamClosed));
row('5.1', 'reset by the client: HEADERS are STREAM_CLOSED', (c) => [headers(1, get(c), open), reset(1), headers(1, get(c), whole)], eitherError(code.streamClosed));
row('5.1', 'reset by the client: CONTINUATION is STREAM_CLOSED or PROTOCOL_ERROR', (c) => [
  headers(1, get(c), open), reset(1), continuation(1, dummy())], connectionError(code.streamClosed, code.protocol));
row('5.1', 'closed: DATA is STREAM_CLOSED', answeredThen(data(1, 'test', end)), connectionError(code.streamClosed));
row('5.1', 'closed: HEADERS are STREAM_CLOSED of the connection', async (c) => answeredThen(headers(1, get(c), whole))(c), connectionError(code.streamClosed));
row('5.1', 'closed: CONTINUATION is STREAM_CLOSED or PROTOCOL_ERROR', answeredThen(continuation(1, dummy())), connectionError(code.streamClosed, code.protocol));
row('5.1', 'closed: PRIORITY is taken', answeredThen(priority(1, 0, 255), ping(zeros)), pong(zeros));

row('5.1.1', 'a stream with an even id is PROTOCOL_ERROR', (c) => [headers(2, get(c), whole)], failed);
row('5.1.1', 'a stream below an earlier one is PROTOCOL_ERROR', (c) => [headers(5, get(c), whole), headers(3, get(c), whole)], failed);
row('5.1.2', 'a stream more than SETTINGS allow is refused', async (c) => {
  assert.ok(c.settings.has(setting.streams), 'there is a limit');
  c.limit = c.settings.get(setting.streams);
  // With no window no answer can come to its end, so none makes room.
  await c.say(settings([setting.window, 0]));
  const same = get(c);
  await c.say(...Array.from({ length: c.limit + 1 }, (_, i) => headers(2 * i + 1, same, whole)));
}, Object.assign(async (c) => {
  const last = 2 * c.limit + 1;
  assert.ok([code.protocol, code.refused].includes((await c.untilReset(last)).code), c.heard());
  await c.say(settings([setting.window, 65_535]), windowUpdate(0, 2 * c.limit * bodySize));
  for (let stream = 1; stream < last; stream += 2) await c.untilEnd(stream);
  await isAlive(c);
}, { isError: true }));

row('5.3.1', 'HEADERS that depend on themselves are PROTOCOL_ERROR', (c) => [
  frame(type.headers, whole | flag.priority, 1, block(uint32(1), [255], get(c)))], eitherError(code.protocol));
row('5.3.1', 'PRIORITY that depends on itself is PROTOCOL_ERROR', () => [priority(1, 1, 255)], eitherError(code.protocol));
row('5.3.1', 'PRIORITY of the least weight is taken', (c) => [priority(1, 0, 0), headers(1, get(c), whole)], served());
row('5.3.1', 'PRIORITY of the greatest weight is taken', (c) => [priority(1, 0, 255), headers(1, get(c), whole)], served());
row('5.3.1', 'PRIORITY of a stream that depends on another one is taken', (c) => [priority(3, 1, 0), headers(1, get(c), whole)], served());
row('5.3.1', 'an exclusive dependency is taken', (c) => [priority(1, 0x80000000, 0), headers(1, get(c), whole)], served());
row('5.3.1', 'PRIORITY of an idle stream does not close those below it', (c) => [priority(3, 0, 255), headers(1, get(c), whole)], served());

row('5.4.1', 'after a connection error the connection closes, and GOAWAY says why', () => [ping(zeros, 0, 3)], failed, { times: 2 });
row('5.5', 'an unknown frame between the frames of a header block is PROTOCOL_ERROR', (c) => [headers(1, get(c), end), bare(0x16, 0, 0, 8)], failed);

row('6.1', 'DATA is taken', (c) => [headers(1, post(c), open), data(1, 'test', end)], served(), { times: 2 });
row('6.1', 'DATA in several frames is taken', (c) => [headers(1, post(c), open), data(1, 'test'), data(1, 'test', end)], served());
row('6.1', 'padding that is not zero is taken', (c) => [headers(1, post(c), open), padded(type.data, end, 1, 6, 'test', 'padded')], served());
row('6.1', 'DATA on stream 0 is PROTOCOL_ERROR', () => [data(0, 'test', end)], failed);
row('6.1', 'padding longer than its DATA is PROTOCOL_ERROR', (c) => [
  headers(1, post(c, ['content-length', '4']), open), padded(type.data, end, 1, 6, 'Test', '')], failed);

row('6.2', 'HEADERS are taken', (c) => [headers(1, get(c), whole)], served(), { times: 2 });
row('6.2', 'HEADERS with padding are taken', (c) => [padded(type.headers, whole, 1, 8, get(c), zeros)], served());
row('6.2', 'HEADERS with a priority are taken', (c) => [frame(type.headers, whole | flag.priority, 1, block(uint32(0), [255], get(c)))], served());
row('6.2', 'HEADERS on stream 0 are PROTOCOL_ERROR', (c) => [headers(0, get(c), whole)], failed);
row('6.2', 'padding longer than its HEADERS is PROTOCOL_ERROR', (c) => [padded(type.headers, whole, 1, get(c).length + 2, get(c), '')], failed);

row('6.3', 'PRIORITY on stream 0 is PROTOCOL_ERROR', () => [priority(0, 0, 255)], failed);
row('6.3', 'PRIORITY of 4 bytes is FRAME_SIZE_ERROR', (c) => [
  headers(1, get(c), whole), frame(type.priority, 0, 1, uint32(0x80000001))], eitherError(code.frameSize));

row('6.4', 'RST_STREAM of an open stream is taken', (c) => [headers(1, get(c), open), reset(1), ping(zeros)], pong(zeros));
row('6.4', 'RST_STREAM on stream 0 is PROTOCOL_ERROR', () => [reset(0)], failed);
row('6.4', 'RST_STREAM of 3 bytes is FRAME_SIZE_ERROR', (c) => [headers(1, get(c), whole), bare(type.reset, 0, 1, 3)], connectionError(code.frameSize));

row('6.5', 'all settings at once are acknowledged', (c) => c.say(settings([setting.tableSize, 4_096], [setting.push, 1], [setting.streams, 100],
  [setting.window, 65_535], [setting.frameSize, 16_384], [setting.listSize, 100])), async (c) => {
  await untilAck(c);
  await ignored(c);
});
row('6.5', 'an ACK with a payload is FRAME_SIZE_ERROR', () => [bare(type.settings, flag.ack, 0, 1)], connectionError(code.frameSize));
row('6.5', 'SETTINGS on a stream are PROTOCOL_ERROR', () => [frame(type.settings, 0, 1, Buffer.from([0, 3, 0, 0, 0, 0x64]))], failed);
row('6.5', 'SETTINGS of 3 bytes are FRAME_SIZE_ERROR', () => [frame(type.settings, 0, 0, Buffer.from([0, 3, 0]))], connectionError(code.frameSize));
row('6.5.2', 'ENABLE_PUSH of 2 is PROTOCOL_ERROR', () => [settings([setting.push, 2])], failed);
row('6.5.2', 'INITIAL_WINDOW_SIZE of 2^31 is FLOW_CONTROL_ERROR', () => [settings([setting.window, 0x80000000])], connectionError(code.flowControl), { times: 2 });
row('6.5.2', 'MAX_FRAME_SIZE of 16,383 is PROTOCOL_ERROR', () => [settings([setting.frameSize, 16_383])], failed);
row('6.5.2', 'MAX_FRAME_SIZE of 2^24 is PROTOCOL_ERROR', () => [settings([setting.frameSize, 1 << 24])], failed);
row('6.5.2', 'an unknown setting is ignored', () => [settings([0xff, 1]), ping(zeros)], pong(zeros));
row('6.5.3', 'of two values for one setting the last one counts', async (c) => {
  await c.say(settings([setting.window, 100], [setting.window, 1]));
  await untilAck(c);
  await c.say(headers(1, get(c), whole));
}, dataOf(1));
row('6.5.3', 'SETTINGS are acknowledged at once', () => [settings([setting.push, 0])], async (c) => {
  await untilAck(c);
  await ignored(c);
});

row('6.7', 'PING is answered with its payload', () => [ping('h2spec\0\0')], pong('h2spec\0\0'), { times: 2 });
row('6.7', 'PING with ACK is not answered', () => [ping('invalid\0', flag.ack), ping('h2spec\0\0')], pong('h2spec\0\0'));
row('6.7', 'PING on a stream is PROTOCOL_ERROR', () => [ping(zeros, 0, 1)], failed);
row('6.7', 'PING of 6 bytes is FRAME_SIZE_ERROR', () => [bare(type.ping, 0, 0, 6)], connectionError(code.frameSize));
row('6.8', 'GOAWAY is taken, and PING behind it answered', () => [goaway(0, code.none, 'h2spec'), ping('h2spec\0\0')], pong('h2spec\0\0'));
row('6.8', 'GOAWAY on a stream is PROTOCOL_ERROR', () => [bare(type.goaway, 0, 1, 8)], failed);

row('6.9', 'WINDOW_UPDATE of the connection is taken', () => [windowUpdate(0, 1), ping(zeros)], pong(zeros));
row('6.9', 'WINDOW_UPDATE of a stream is taken', (c) => [headers(1, get(c), whole), windowUpdate(1, 1)], served());
row('6.9', 'WINDOW_UPDATE of 0 on the connection is PROTOCOL_ERROR', () => [windowUpdate(0, 0)], failed);
row('6.9', 'WINDOW_UPDATE of 0 on a stream is PROTOCOL_ERROR for it', (c) => [headers(1, get(c), open), windowUpdate(1, 0)], malformed);
row('6.9', 'WINDOW_UPDATE of 3 bytes is FRAME_SIZE_ERROR', () => [frame(type.windowUpdate, 0, 0, Buffer.from([0, 0, 1]))], connectionError(code.frameSize));
row('6.9.1', 'an answer keeps within a window of one byte', async (c) => {
  await withWindow(1)(c);
  await c.say(headers(1, get(c), whole));
}, dataOf(1));
row('6.9.1', 'a connection’s window above 2^31-1 is FLOW_CONTROL_ERROR', () => [windowUpdate(0, 0x7fffffff), windowUpdate(0, 0x7fffffff)], connectionError(code.flowControl));
row('6.9.1', 'a stream’s window above 2^31-1 is FLOW_CONTROL_ERROR for it', (c) => [
  headers(1, get(c), open), windowUpdate(1, 0x7fffffff), windowUpdate(1, 0x7fffffff)], streamError(code.flowControl));
row('6.9.2', 'a window of 0 that a setting opens lets the answer go on', async (c) => {
  await withWindow(0)(c);
  await c.say(headers(1, get(c), whole), settings([setting.window, 1]));
}, dataOf(1));
row('6.9.2', 'a window that a setting made negative has to be made good first', async (c) => {
  await withWindow(3)(c);
  await c.say(headers(1, get(c), whole));
  assert.equal((await untilData(c)).payload.length, 3, c.heard());
  await withWindow(2)(c);
  await c.say(windowUpdate(1, 2));
}, dataOf(1));

row('6.10', 'a header block in HEADERS and CONTINUATION is taken', (c) => [headers(1, get(c).subarray(0, 5), end), continuation(1, get(c).subarray(5))], served());
row('6.10', 'a header block in HEADERS and two CONTINUATIONs is taken', (c) => [
  headers(1, get(c).subarray(0, 5), end), continuation(1, get(c).subarray(5, 10), 0), continuation(1, get(c).subarray(10))], served());
row('6.10', 'CONTINUATIONs with 8 KB of fields are taken', (c) => [headers(1, get(c), end), continuation(1, dummy(), 0), continuation(1, dummyAgain)], served());
row('6.10', 'DATA between CONTINUATIONs is PROTOCOL_ERROR', (c) => [headers(1, post(c), 0), continuation(1, dummy(), 0), data(1, 'test', end)], failed);
row('6.10', 'CONTINUATION on stream 0 is PROTOCOL_ERROR', (c) => [headers(1, get(c), end), continuation(0, dummy())], failed);
row('6.10', 'CONTINUATION behind whole HEADERS is PROTOCOL_ERROR', (c) => [headers(1, get(c), whole), continuation(1, dummy())], failed);
row('6.10', 'CONTINUATION behind the last one is PROTOCOL_ERROR', (c) => [headers(1, get(c), end), continuation(1, dummy()), continuation(1, dummyAgain)], failed);
row('6.10', 'CONTINUATION behind DATA is PROTOCOL_ERROR', (c) => [
  headers(1, post(c), 0), data(1, 'test', end), continuation(1, dummy(), 0), continuation(0, dummyAgain)], failed);

row('7', 'GOAWAY with an unknown code is taken as any other', () => [goaway(0, 0xff), ping('h2spec\0\0')], pong('h2spec\0\0'));
row('7', 'RST_STREAM with an unknown code is taken as any other', (c) => [headers(1, post(c), open), reset(1, 0xff), ping(zeros)], pong(zeros));

row('8.1', 'HEAD is answered without content', (c) => [headers(1, block(...request(c, { ':method': 'HEAD' })), whole)], async (c) => {
  await served()(c);
  assert.ok(!c.frames.some((one) => one.stream === 1 && one.type === type.data && one.payload.length > 0), c.heard());
});
row('8.1', 'a POST with trailers is answered', (c) => [headers(1, post(c, ['trailer', 'x-test']), open), data(1, 'test'), headers(1, block(['x-test', 'ok']), whole)], served());
row('8.1', 'trailers without END_STREAM are PROTOCOL_ERROR', (c) => [headers(1, post(c), open), data(1, 'test'), headers(1, block(['x-test', 'ok']), open)], malformed);
for (const [section, sentence, said] of [
  ['8.2.1', 'a name with upper-case letters', (c) => get(c, ['X-TEST', 'ok'])],
  ['8.2.2', 'Connection', (c) => get(c, ['connection', 'keep-alive'])],
  ['8.2.2', 'TE that says more than trailers', (c) => get(c, ['trailers', 'test'], ['te', 'trailers, deflate'])],
  ['8.3', 'an unknown pseudo-header field', (c) => get(c, [':test', 'ok'])],
  ['8.3', 'a pseudo-header field of responses', (c) => get(c, [':status', '200'])],
  ['8.3', 'pseudo-header fields behind others', (c) => block(['x-test', 'ok'], ...request(c))],
  ['8.3.1', 'an empty :path', (c) => block(...request(c, { ':path': '' }))],
  ['8.3.1', 'no :method', (c) => block(...request(c, { ':method': undefined }))],
  ['8.3.1', 'no :scheme', (c) => block(...request(c, { ':scheme': undefined }))],
  ['8.3.1', 'no :path', (c) => block(...request(c, { ':path': undefined }))],
  ['8.3.1', 'two :method', (c) => get(c, request(c)[0])],
  ['8.3.1', 'two :scheme', (c) => get(c, request(c)[1])],
  ['8.3.1', 'two :path', (c) => get(c, request(c)[2])],
]) row(section, `${sentence}: the request is malformed`, (c) => [headers(1, said(c), whole)], malformed);
row('8.3', 'a pseudo-header field in trailers: the request is malformed', (c) => [
  headers(1, post(c), open), data(1, 'test'), headers(1, block([':method', 'POST']), open)], malformed);
row('8.1.1', 'content-length below the DATA: the request is malformed', (c) => [headers(1, post(c, ['content-length', '1']), open), data(1, 'test', end)], malformed);
row('8.1.1', 'content-length below the sum of several DATA: the request is malformed', (c) => [
  headers(1, post(c, ['content-length', '1']), open), data(1, 'test'), data(1, 'test', end)], malformed);
row('8.4', 'PUSH_PROMISE from a client is PROTOCOL_ERROR', (c) => [frame(type.push, open, 1, block(uint32(3), get(c)))], failed);

const hpack = (section, sentence, bytes, outcome, options) => {
  row(`HPACK ${section}`, sentence, (c) => [headers(1, get(c, Buffer.from(bytes)), whole)], outcome, options);
};
const plain = [...text('x-test'), ...text('h2spec')];
const coded = [0x85, 0xf2, 0xb2, 0x4a, 0x84, 0xff, 0x84, 0x9c, 0x48, 0xac, 0xa4];  // the same in Huffman's code
const plainAgent = [...text('user-agent'), ...text('h2spec')];
const codedAgent = [0x87, 0xb5, 0x05, 0xb1, 0x61, 0xcc, 0x5a, 0x93, 0x84, 0x9c, 0x48, 0xac, 0xa4];
hpack('6.1', 'a field by its index is taken', [0xba], served());
for (const [section, mark, kind, times] of [['6.2.1', 0x40, 'to be indexed', 1], ['6.2.2', 0, 'without indexing', 1], ['6.2.3', 0x10, 'never to be indexed', 2]]) {
  hpack(section, `a literal ${kind} with a usual name is taken`, [mark, ...plainAgent], served());
  hpack(section, `a literal ${kind} with a usual name in Huffman’s code is taken`, [mark, ...codedAgent], served());
  // h2spec says the coded one twice where it is never indexed, instead of the plain one.
  hpack(section, `a literal ${kind} with a new name is taken`, [mark, ...plain], served(), { times: 2 - times });
  hpack(section, `a literal ${kind} with a new name in Huffman’s code is taken`, [mark, ...coded], served(), { times });
}
row('HPACK 6.3', 'a table size update is taken', (c) => [headers(1, block(integer(128, 5, 0x20), get(c)), whole)], served());
row('HPACK 4.2', 'two table size updates are taken', (c) => [headers(1, block([0x20], integer(4_096, 5, 0x20), get(c)), whole)], served());
hpack('2.3.3', 'an index beyond the tables is COMPRESSION_ERROR', [0xc6], undecodable);
hpack('2.3.3', 'a name’s index beyond the tables is COMPRESSION_ERROR', [0x7f, 0x07, 0x00], undecodable);
hpack('4.2', 'a table size update behind a field is COMPRESSION_ERROR', [0x21], undecodable);
hpack('5.2', 'padding of more than seven bits is COMPRESSION_ERROR', [0x00, ...coded.slice(0, 6), 0x84, 0x49, 0x50, 0x9f, 0xff], undecodable);
hpack('5.2', 'padding with zeros is COMPRESSION_ERROR', [0x00, ...coded.slice(0, 6), 0x83, 0x49, 0x50, 0x90], undecodable);
hpack('5.2', 'EOS in a string is COMPRESSION_ERROR', [0x00, ...coded.slice(0, 6), 0x87, 0xff, 0xff, 0xff, 0xfd, 0x25, 0x42, 0x7f], undecodable);
hpack('6.1', 'the index 0 is COMPRESSION_ERROR', [0x80], undecodable);
row('HPACK 6.3', 'a table size above what SETTINGS allow is COMPRESSION_ERROR', (c) => [
  headers(1, block(integer((c.settings.get(setting.tableSize) ?? 4_096) + 1, 5, 0x20), get(c)), whole)], undecodable);

// -- beyond h2spec: what it leaves to chance, and what is newer

const own = { times: 0 };
row('3.4', 'a preface that goes wrong after its first line is PROTOCOL_ERROR', async (c) => {
  await c.say(Buffer.from('PRI * HTTP/2.0\r\n\r\n'));
  await c.until((one) => one.type === type.settings, 'SETTINGS');
  await c.say(Buffer.from('SN\r\n\r\n'));
}, failed, { ...own, ...unspoken });
row('5.1', 'closed: frames of unknown types are ignored', answeredThen(bare(0x16, 0xff, 1, 8), ping(zeros)), pong(zeros), own);
row('5.1', 'an answer that came before the request’s end: what crosses its RST_STREAM is ignored', async (c) => {
  await c.say(headers(1, block(...request(c, { ':method': 'POST', ':path': '/early' })), open));
  await c.untilEnd(1);
  assert.equal((await c.untilReset(1)).code, code.none);
  await c.say(data(1, 'test'), windowUpdate(1, 0), headers(1, block(['x-test', 'ok']), whole), ping(zeros));
}, async (c) => {
  await c.until((one) => one.type === type.ping, 'PING');
  await isAlive(c);
  assert.equal(c.frames.filter((one) => one.type === type.reset).length, 1, c.heard());
}, own);
row('5.1.1', 'GOAWAY names the last stream that was taken', (c) => [headers(7, get(c), whole), ping(zeros, 0, 7)], Object.assign(async (c) => {
  const said = await c.untilGoaway();
  assert.deepEqual([said.code, said.last], [code.protocol, 7], c.heard());
  await c.untilClosed();
}, { isError: true, isFatal: true }), own);
row('6.3', 'closed: PRIORITY of 4 bytes is FRAME_SIZE_ERROR', answeredThen(bare(type.priority, 0, 1, 4)), eitherError(code.frameSize), own);
row('6.4', 'closed: RST_STREAM of 3 bytes is FRAME_SIZE_ERROR', answeredThen(bare(type.reset, 0, 1, 3)), connectionError(code.frameSize), own);
row('6.5.2', 'a table of no bytes for our blocks is taken, and the next answer can be read', (c) => [
  settings([setting.tableSize, 0]), headers(1, get(c), whole)], async (c) => {
  assert.deepEqual([...(await c.untilHeaders(1)).payload.subarray(0, 2)], [0x20, 0x88]);
  await c.untilEnd(1);
  await ignored(c);
}, own);
row('6.8', 'a request behind the client’s own GOAWAY is answered', (c) => [goaway(0), headers(1, get(c), whole)], served(), own);
row('6.9.2', 'a setting reopens the windows of many streams at once', async (c) => {
  await withWindow(0)(c);
  await c.say(...Array.from({ length: 9 }, (_, i) => headers(2 * i + 1, get(c), whole)), settings([setting.window, 65_535]));
}, async (c) => {
  for (let stream = 1; stream < 18; stream += 2) await c.untilEnd(stream);
  await ignored(c);
}, own);
row('8.2.1', 'a space behind a value is malformed (not so in RFC 7540)', (c) => [headers(1, get(c, ['x-test', 'ok ']), whole)], malformed, own);
row('8.2.1', 'a name with a space is malformed (not so in RFC 7540)', (c) => [headers(1, get(c, ['x test', 'ok']), whole)], malformed, own);
row('8.3.1', 'Host that differs from :authority is malformed (not so in RFC 7540)', (c) => [headers(1, get(c, ['host', 'elsewhere']), whole)], malformed, own);
row('8.3.1', ':authority with userinfo is malformed', (c) => [headers(1, block(...request(c, { ':authority': 'me@here' })), whole)], malformed, own);
row('8.1.1', 'content-length above the DATA: the request is malformed', (c) => [headers(1, post(c, ['content-length', '5']), open), data(1, 'test', end)], malformed, own);
row('RFC 9218 7.1', 'PRIORITY_UPDATE is taken or ignored', (c) => [frame(0x10, 0, 0, block(uint32(1), Buffer.from('u=1, i'))), headers(1, get(c), whole)], served(), own);
row('RFC 9218 2.1', 'NO_RFC7540_PRIORITIES is taken or ignored', () => [settings([9, 1]), ping(zeros)], pong(zeros), own);
row('RFC 9218 4', 'a priority field is taken', (c) => [headers(1, get(c, ['priority', 'u=1, i']), whole)], served(), own);
row('RFC 7838 4', 'ALTSVC from a client is ignored', () => [frame(0xa, 0, 0, block([0, 1], Buffer.from('ah2=":443"'))), ping(zeros)], pong(zeros), own);
row('HPACK 6.2.1', 'what one request put into the table the next one may refer to', (c) => [
  headers(1, get(c, ['x-test', 'h2spec']), whole), headers(3, block(...request(c).slice(0, 3), [0xbf, 0xbe]), whole)], served(3), own);
row('HPACK 4.4', 'a field that drives all others out of the table is taken', (c) => [headers(1, get(c, dummy()), whole), headers(3, get(c, dummy(1)), whole)], served(3), own);
