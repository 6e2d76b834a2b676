// One reading for all: requests as clients write them, right and a little wrong, are read by plait and by two other parsers,
// node's llhttp and Python's h11. Where plait takes a request, each of them has read the same one, or refuses; and what
// plait writes to its backend each of them reads without a fault as what plait read.
import assert from 'node:assert/strict';
import { METHODS } from 'node:http';
import test from 'node:test';
import { exchangeRaw, openRaw } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { startH11, startLlhttp } from './lib/readers.mjs';
import { startH1Recorder } from './lib/recorders.mjs';
import { connectWire, data, flag, greet, headers } from './lib/wire_h2.mjs';

// What plait takes and these readers refuse, none of it a matter of where a message ends: llhttp knows registered methods
// alone (a letter lost from a length's name lets the body be read as one), both know only ASCII in targets, h11 takes one
// message of an HTTP/1.0 connection and no CRLF ahead of a request, llhttp wants tokens for the names of chunk extensions.
const toleratedFaults = /^(?:HPE_INVALID_METHOD|HPE_INVALID_URL|illegal request line: .*\\x|h11 keeps no connection of HTTP\/1\.0|no request line received|HPE_STRICT)/;

// The same inputs in every run (xorshift).
function makeRandom(seed) {
  let state = seed;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

const bases = [
  'GET /a?b HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n',
  'POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n0123456789',
  'POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n',
  'POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n5;e=f;g="h"\r\nhello\r\na\r\n0123456789\r\n0\r\nX-T: 1\r\n\r\n',
  'GET http://b:81/c HTTP/1.1\r\nHost: b:81\r\n\r\n',
  'GET /a HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n',
  'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n',
  'POST /a HTTP/1.1\r\nHost: a\r\nConnection: x-hop, keep-alive\r\nX-Hop: 1\r\nCookie: a=b\r\nCookie: c=d\r\nContent-Length: 33\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n',
];
const snippets = [
  '\r\n', '\n', '\r', ' ', '\t', '\x0b', '\0', ':', ',', ';', '"', '0', '1', 'f', '-', '+', '0x', '\xa0', '\x7f', '#', '/', '\r\n ', '\r\n\t', '\r\n\r\n', '\n\n',
  '\r\nContent-Length: 5', '\r\nContent-Length: 10', '\r\nContent-Length: 0', '\r\ncontent-length:10', '\r\nContent-Length : 10', '\r\nTransfer-Encoding: chunked', '\r\nTransfer-Encoding: identity',
  '\r\nTransfer-Encoding:\x0bchunked', '\r\nTransfer-Encoding: gzip, chunked', '\r\nHost: b', '\r\nHost: a', '\r\nConnection: close', '\r\nConnection: host', '\r\nExpect: 100-continue',
  '\r\nUpgrade: h2c', '\r\nUpgrade: x\r\nConnection: upgrade', '5\r\nhello\r\n', '0\r\n\r\n', 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', ' HTTP/1.1', 'HTTP/1.0',
  'x', '\r\nX-B: z', '\r\nAccept:\t*/*', '~', '\r\nCookie: e', '\r\nX-Empty:', '\xe4',
];

function mutated(random, text) {
  for (let changes = 1 + random(3) % 2; changes > 0; changes -= 1) {
    // Half of them where the grammar has its joints.
    const joints = [...text.matchAll(/\r\n|[ :;,]/g)].map((match) => match.index);
    const at = random(2) === 0 || joints.length === 0 ? random(text.length + 1) : joints[random(joints.length)];
    const snippet = snippets[random(snippets.length)];
    switch (random(5)) {
      case 0: text = text.slice(0, at) + text.slice(at + 1); break;
      case 1: text = text.slice(0, at) + snippet + text.slice(at + 1); break;
      case 2: text = text.slice(0, at) + snippet + text.slice(at + 2); break;
      default: text = text.slice(0, at) + snippet + text.slice(at);
    }
  }
  return text;
}

// What a request means, whoever read it: absolute-form is host and path (RFC 9112 §3.2.2).
function meaning(one) {
  const [, , authority, rest] = one.target.match(/^(https?):\/\/([^/?]*)(.*)$/i) ?? [];
  const host = authority ?? one.fields.filter(([name]) => name === 'host').map(([, value]) => value).join();
  const path = authority === undefined ? one.target : one.method === 'OPTIONS' && rest === '' ? '*' : rest.replace(/^(?!\/)/, '/');
  return `${one.method} ${path} ${host} ${JSON.stringify(one.body)}`;
}

async function settled(plait) {
  const text = await exchangeRaw(plait.port, 'GET /settled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 /);
}

// Both other readers find in what plait wrote exactly what the strict one found.
async function readAlike(readers, requests) {
  // llhttp knows the methods that are registered, and no other token; of a target's bytes ASCII alone.
  requests = requests.filter((one) => METHODS.includes(one.method) && !/[\x80-\xff]/.test(one.target));
  const isUpgrade = (one) => one.fields.some(([name]) => name === 'upgrade');
  const groups = requests.filter(isUpgrade).map((one) => [one]);
  const others = requests.filter((one) => !isUpgrade(one));
  // Few at a time: a reader may bound how much it takes at once.
  while (others.length > 0) groups.push(others.splice(0, 20));
  for (const group of groups) {
    const raw = group.map((one) => one.raw).join('');
    for (const [name, read] of Object.entries(readers)) {
      const { requests: theirs, fault } = await read(raw);
      assert.equal(fault, undefined, `${name} finds a fault in ${JSON.stringify(raw)}`);
      assert.deepEqual(theirs.map(meaning), group.map(meaning), name);
      for (const [j, one] of theirs.entries()) {
        assert.deepEqual(one.trailers.map(([key]) => key), group[j].trailers.map(([key]) => key), `${name} reads the trailers`);
        assert.equal(one.fields.length, group[j].fields.length, `${name} reads as many fields`);
      }
    }
  }
}

test('what plait takes of HTTP/1.1, llhttp and h11 read alike, before and behind it', async (t) => {
  const backend = await startH1Recorder(t);
  const plait = await startProxy(t, [backend]);
  const readers = { llhttp: await startLlhttp(t), h11: await startH11(t) };
  const random = makeRandom(20_261_123);
  const inputs = [...bases, ...Array.from({ length: 500 }, (_, i) => mutated(random, bases[i % bases.length]))];
  const counts = { taken: 0, refused: 0, 'llhttp refuses': 0, 'h11 refuses': 0 };
  const written = [];
  for (const base of inputs) {
    const text = `${base}GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`;
    const raw = await openRaw(t, plait.port);
    raw.write(text);
    // Done when plait has closed, or waits for more: then nothing happens while others are served.
    for (let idle = 0, before = ''; !raw.closed && idle < 2;) {
      await settled(plait);
      const now = `${backend.requests.length - backend.requests.filter((one) => one.target === '/settled').length} ${raw.text.length}`;
      idle = now === before ? idle + 1 : 0;
      before = now;
    }
    raw.socket.destroy();
    const ours = backend.requests.splice(0).filter((one) => one.target !== '/settled');
    assert.deepEqual(backend.faults, [], JSON.stringify(text));
    written.push(...ours);
    const read = ours.map(meaning);
    counts.taken += read.length;
    if (/HTTP\/1\.1 [45]/.test(raw.text)) counts.refused += 1;
    for (const [name, reader] of Object.entries(readers)) {
      const { requests: theirs, fault, stopped } = await reader(text);
      const common = fault === undefined && !stopped ? read.length : Math.min(theirs.length, read.length);
      if (fault !== undefined && theirs.length < read.length) {
        counts[`${name} refuses`] += 1;
        assert.match(fault, toleratedFaults, `${name} refuses what plait takes: ${JSON.stringify(text)}`);
      }
      assert.deepEqual(theirs.slice(0, common).map(meaning), read.slice(0, common), `${name} reads ${JSON.stringify(text)}`);
    }
  }
  await readAlike(readers, written);
  t.diagnostic(JSON.stringify(counts));
  assert.ok(counts.taken > 100 && counts.refused > 100, JSON.stringify(counts));
});

test('what plait writes for clients of HTTP/2, llhttp and h11 read alike', async (t) => {
  const backend = await startH1Recorder(t);
  const plait = await startProxy(t, [backend]);
  const readers = { llhttp: await startLlhttp(t), h11: await startH11(t) };
  const random = makeRandom(7);
  const odd = ['\r\n', '\n', '\0', ' ', ':', '\t', ',', '"', '\r\nX: y', '\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', '#', '%', ';', '', '\x7f', '//', '?', '*', '0', '{'];
  const spoil = (text) => {
    const at = random(text.length + 1);
    return text.slice(0, at) + odd[random(odd.length)] + text.slice(at + random(2));
  };
  let taken = 0;
  for (let round = 0; round < 20; round += 1) {
    const peer = await greet(await connectWire(plait.port));
    for (let stream = 1; stream < 30; stream += 2) {
      const body = ['', '0\r\n\r\n', 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', 'abc'][random(4)];
      const fields = [[':method', random(2) ? 'POST' : 'PUT'], [':scheme', 'http'], [':path', '/a?b'], [':authority', 'a:80'],
        ['x-a', 'b'], ['cookie', 'c=d'], ['cookie', 'e=f'], ...(random(2) ? [['content-length', String(body.length)]] : [])];
      const trailers = random(3) === 0 ? [['x-t', 'u'], ['content-length', '1']].slice(0, 1 + random(2)) : undefined;
      const all = [...fields, ...(trailers ?? [])];
      if (random(3) !== 0) {
        const one = all[1 + random(all.length - 1)];
        const side = random(4) === 0 && one[0][0] !== ':' ? 0 : 1;
        one[side] = spoil(one[side]);
      }
      peer.send(headers(stream, fields, flag.endHeaders));
      peer.send(data(stream, body, trailers === undefined ? flag.endStream : 0));
      if (trailers !== undefined) peer.send(headers(stream, trailers));
      const end = await peer.until((frame) => frame.stream === stream && (frame.endStream || frame.code !== undefined), `the end of stream ${stream}`);
      if (end.endStream) taken += 1;
    }
    peer.socket.destroy();
  }
  await settled(plait);
  assert.deepEqual(backend.faults, []);
  assert.ok(taken > 100 && taken < 290, `${taken} were answered`);
  await readAlike(readers, backend.requests);
});
