// What a server may do about what a client said in frames. Each is awaited with the connection (wire_h2.mjs) and fails
// when anything else happens. `isError`: the server has to find fault; `isFatal`: so that the connection ends.
import assert from 'node:assert/strict';
import { fields, headers, type } from './wire_h2.mjs';

const quiet = (c) => !c.frames.some((one) => one.type === type.goaway || one.type === type.reset);

// The connection still serves: a request on it is answered with 200 to its end.
export async function isAlive(c) {
  const stream = 0x10001;
  c.send(headers(stream, fields()));
  const head = await c.untilHeaders(stream);
  assert.equal(head.payload[0] === 0x20 ? head.payload[1] : head.payload[0], 0x88, ':status 200, by its index in the static table');
  await c.untilEnd(stream);
}

// A connection error: GOAWAY with one of these codes, and then the connection closes, before who waits for that gives up
// (RFC 9113 §5.4.1).
export const connectionError = (...expected) => Object.assign(async (c) => {
  const said = await c.untilGoaway();
  assert.ok(expected.includes(said.code), c.heard());
  await c.untilClosed(2_000);
  assert.ok(!c.frames.some((one) => one.type === type.reset), `no stream error besides; heard ${c.heard()}`);
}, { isError: true, isFatal: true });

// A stream error: RST_STREAM with this code, and the connection goes on (RFC 9113 §5.4.2).
export const streamError = (expected, stream = 1) => Object.assign(async (c) => {
  const said = await c.untilReset(stream);
  assert.equal(said.code, expected, c.heard());
  await isAlive(c);
  assert.ok(!c.frames.some((one) => one.type === type.goaway), c.heard());
}, { isError: true });

// Nothing happens, and the connection goes on.
export const ignored = async (c) => {
  await c.settled();
  await isAlive(c);
  assert.ok(quiet(c), c.heard());
};

// The request on this stream is answered with 200 to its end, without any error.
export const served = (stream = 1) => async (c) => {
  const head = await c.untilHeaders(stream);
  assert.equal(head.payload[0], 0x88, c.heard());
  if (!head.endStream) await c.untilEnd(stream);
  await ignored(c);
};
