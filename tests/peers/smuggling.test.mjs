// Request smuggling, over all four ways through plait: what a client writes so that one reader sees one request and the
// next reader another. Each case ends with a request that only a wrong reader finds. A backend that reads strictly must
// have got exactly the requests that the case names, each written by plait; docs/smuggling.md has the rules.
import assert from 'node:assert/strict';
import test from 'node:test';
import { exchangeRaw, openRaw } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { eventually } from './lib/process.mjs';
import { startH1Recorder, startH2Recorder } from './lib/recorders.mjs';
import { connectWire, data, flag, greet, headers } from './lib/wire_h2.mjs';

// -- clients of HTTP/1.1: what is written, and what the backend has to see. `@` stands for the case's own path.

const h1Cases = [];
const next = 'GET @/next HTTP/1.1\r\nHost: a\r\n\r\n';
const get = (...lines) => ['GET @ HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n');
const post = (lines, body) => ['POST @ HTTP/1.1', 'Host: a', ...lines, '', body].join('\r\n');
// Nothing of it is a request for anybody, and the connection ends.
const refused = (name, bytes) => h1Cases.push({ name: `${name}: refused`, bytes: bytes + next, expected: [] });
const served = (name, bytes, ...expected) => h1Cases.push({ name: `${name}: ${expected.length} request(s)`, bytes, expected });

const chunkedBody = '3\r\nabc\r\n0\r\n\r\n';
// CL.TE and TE.CL: either reading finds another request in the body.
refused('CL.TE', post(['Content-Length: 6', 'Transfer-Encoding: chunked'], '0\r\n\r\nG'));
refused('TE.CL', post(['Transfer-Encoding: chunked', 'Content-Length: 4'], `${'27'}\r\n${next}\r\n0\r\n\r\n`));
refused('CL.0', post(['Content-Length: 0', 'Transfer-Encoding: chunked'], chunkedBody));
for (const [name, lines] of Object.entries({
  'a space before the colon': ['Transfer-Encoding : chunked'],
  'a tab before the colon': ['Transfer-Encoding\t: chunked'],
  'a vertical tab before the colon': ['Transfer-Encoding\x0b: chunked'],
  'NUL in the name': ['Transfer-Encoding\0: chunked'],
  'a vertical tab before the value': ['Transfer-Encoding: \x0bchunked'],
  'a vertical tab behind the value': ['Transfer-Encoding: chunked\x0b'],
  'a form feed behind the value': ['Transfer-Encoding: chunked\x0c'],
  'a no-break space before the value': ['Transfer-Encoding: \xa0chunked'],
  'NUL behind the value': ['Transfer-Encoding: chunked\0'],
  'a folded value': ['Transfer-Encoding:', ' chunked'],
  'a folded line of something else': ['X: y', ' Transfer-Encoding: chunked'],
  'a line behind a bare LF': ['X: y\nTransfer-Encoding: chunked'],
  'a line behind a bare CR': ['X: y\rTransfer-Encoding: chunked'],
  'two LF in one line': ['X: y\n\nTransfer-Encoding: chunked'],
  'an unknown coding': ['Transfer-Encoding: xchunked'],
  'the word behind chunked': ['Transfer-Encoding: chunkedx'],
  'quotes': ['Transfer-Encoding: "chunked"'],
  'a parameter': ['Transfer-Encoding: chunked;q=1'],
  'identity': ['Transfer-Encoding: identity'],
  'identity behind it': ['Transfer-Encoding: chunked, identity'],
  'identity in front of it': ['Transfer-Encoding: identity, chunked'],
  'chunked twice in a list': ['Transfer-Encoding: chunked, chunked'],
  'chunked twice in lines': ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'],
  'another one in a second line': ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity'],
  'another one in a first line': ['Transfer-Encoding: cow', 'transfer-encoding: chunked'],
  'an empty value': ['Transfer-Encoding:'],
  'a line that is no field': ['Transfer-Encoding chunked'],
})) {
  refused(`TE.TE, ${name}`, post(lines, chunkedBody));
  refused(`TE.TE with a length, ${name}`, post([...lines, 'Content-Length: 3'], 'abc'));
}
for (const value of ['CHUNKED', '\tchunked\t ', 'cHunked']) {
  served(`TE, a legal spelling ${JSON.stringify(value)}`, post([`tRANSFER-eNCODING:${value}`], chunkedBody) + next, 'POST @ a abc', 'GET @/next a ');
}
// A name of its own is no framing, whatever it looks like.
served('a name with an underscore', post(['Transfer_Encoding: chunked', 'Content-Length: 3'], 'abc') + next, 'POST @ a abc', 'GET @/next a ');
refused('TE in HTTP/1.0', `POST @ HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n${chunkedBody}`);

for (const [name, lines] of Object.entries({
  'two that differ': ['Content-Length: 3', 'Content-Length: 30'],
  'a list that differs': ['Content-Length: 3, 30'],
  'a list with an empty member': ['Content-Length: 3,'],
  'a plus': ['Content-Length: +3'],
  'a minus': ['Content-Length: -0'],
  'hexadecimal': ['Content-Length: 0x3'],
  'a space within': ['Content-Length: 3 0'],
  'a fraction': ['Content-Length: 3.0'],
  'an exponent': ['Content-Length: 3e0'],
  'nothing': ['Content-Length:'],
  'a semicolon': ['Content-Length: 3;'],
  'a vertical tab': ['Content-Length: \x0b3'],
  '2^64 and three': ['Content-Length: 18446744073709551619'],
  '2^32 and three as a second': ['Content-Length: 3', 'Content-Length: 4294967299'],
  'a space before the colon': ['Content-Length : 3'],
  'a folded value': ['Content-Length:', ' 3'],
  'a line behind a bare CR': ['X: y\rContent-Length: 3'],
})) refused(`CL.CL, ${name}`, post(lines, 'abc'));
served('CL.CL, the same twice', post(['Content-Length: 3', 'Content-Length: 3'], 'abc') + next, 'POST @ a abc', 'GET @/next a ');
served('CL.CL, the same in a list', post(['Content-Length: 3, 3'], 'abc') + next, 'POST @ a abc', 'GET @/next a ');
served('a length with zeros ahead', post(['Content-Length: 0003'], 'abc') + next, 'POST @ a abc', 'GET @/next a ');

refused('bare LF throughout', 'GET @ HTTP/1.1\nHost: a\n\n');
refused('bare LF behind the request line', 'GET @ HTTP/1.1\nHost: a\r\n\r\n');
refused('bare LF at the end of the head', 'POST @ HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\nabc');
refused('bare CR at the end of the head', 'GET @ HTTP/1.1\r\nHost: a\r\r\n');
refused('CR CR LF', 'GET @ HTTP/1.1\r\nHost: a\r\r\n\r\n');
refused('obs-fold', get('X: y', '\tz'));
refused('whitespace before the first field', 'GET @ HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n');
for (const [name, char] of [['NUL', '\0'], ['CR', '\r'], ['BEL', '\x07'], ['DEL', '\x7f']]) {
  refused(`${name} in a value`, get(`X: a${char}b`));
  refused(`${name} in a name`, get(`X${char}: b`));
  refused(`${name} in the target`, `GET @${char}x HTTP/1.1\r\nHost: a\r\n\r\n`);
  refused(`${name} in the method`, `GE${char}T @ HTTP/1.1\r\nHost: a\r\n\r\n`);
}
refused('a space in the target', 'GET @ x HTTP/1.1\r\nHost: a\r\n\r\n');
refused('another version in the target', 'GET @ HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n');
refused('HTTP/0.9', 'GET @\r\n');
refused('a version with more digits', 'GET @ HTTP/1.10\r\nHost: a\r\n\r\n');

refused('two Hosts', 'GET @ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n');
refused('two Hosts that agree', 'GET @ HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n');
refused('Host with a path', 'GET @ HTTP/1.1\r\nHost: a/b\r\n\r\n');
refused('Host with userinfo', 'GET @ HTTP/1.1\r\nHost: b@a\r\n\r\n');
refused('Host as a list', 'GET @ HTTP/1.1\r\nHost: a, b\r\n\r\n');
refused('a space before Host’s colon', 'GET @ HTTP/1.1\r\nHost : b\r\nHost: a\r\n\r\n');
served('absolute-form with another Host', `GET http://b@ HTTP/1.1\r\nHost: a\r\n\r\n${next}`, 'GET @ b ', 'GET @/next a ');
refused('absolute-form with userinfo', 'GET http://a:x@b@ HTTP/1.1\r\nHost: b\r\n\r\n');
refused('absolute-form with two Hosts', 'GET http://b@ HTTP/1.1\r\nHost: b\r\nHost: a\r\n\r\n');
refused('absolute-form with an empty authority', 'GET http://@ HTTP/1.1\r\nHost: a\r\n\r\n');

const chunks = (body) => post(['Transfer-Encoding: chunked'], body);
for (const [name, body] of Object.entries({
  'a sign': '+3\r\nabc\r\n0\r\n\r\n',
  'a minus': '-3\r\nabc\r\n0\r\n\r\n',
  '0x': '0x3\r\nabc\r\n0\r\n\r\n',
  'a space ahead': ' 3\r\nabc\r\n0\r\n\r\n',
  'an underscore': '0_3\r\nabc\r\n0\r\n\r\n',
  'nothing': '\r\nabc\r\n0\r\n\r\n',
  'more than 64 bits': '10000000000000003\r\nabc\r\n0\r\n\r\n',
  '64 bits': 'ffffffffffffffff\r\nabc\r\n0\r\n\r\n',
  'a size that is too small': '2\r\nabc\r\n0\r\n\r\n',
  'a letter behind it': '3g\r\nabc\r\n0\r\n\r\n',
  'a vertical tab': '3\x0b\r\nabc\r\n0\r\n\r\n',
  'NUL': '3\0\r\nabc\r\n0\r\n\r\n',
  'a bare LF behind the size': '3\nabc\r\n0\r\n\r\n',
  'a bare CR behind the size': '3\rabc\r\n0\r\n\r\n',
  'a bare LF behind the data': '3\r\nabc\n0\r\n\r\n',
  'other bytes behind the data': '3\r\nabcXX0\r\n\r\n',
  'a bare LF at the end': '3\r\nabc\r\n0\n\n',
  'a bare LF behind the last size': '3\r\nabc\r\n0\n\r\n',
  'an extension with a bare LF': '3;x=\ny\r\nabc\r\n0\r\n\r\n',
  'an extension with a bare CR': '3;x=\ry\r\nabc\r\n0\r\n\r\n',
  'an extension with CR LF in quotes': '3;x="\r\nabc\r\n0\r\n\r\n"\r\n0\r\n\r\n',
  'an extension with NUL': '3;x=\0\r\nabc\r\n0\r\n\r\n',
  'an extension without a semicolon': '3 x\r\nabc\r\n0\r\n\r\n',
  'a trailer with a space before its colon': '3\r\nabc\r\n0\r\nX : y\r\n\r\n',
  'a trailer that is folded': '3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n',
  'a trailer behind a bare LF': '3\r\nabc\r\n0\r\nX: y\nZ: w\r\n\r\n',
  'a trailer with a bare CR': '3\r\nabc\r\n0\r\nX: y\rZ: w\r\n\r\n',
})) refused(`chunks, ${name}`, chunks(body));
served('chunks, zeros ahead, capitals and extensions', `${chunks('0000000A;a;b=c;d="e\\"; f"\r\n0123456789\r\n00;z\r\n\r\n')}${next}`, 'POST @ a 0123456789', 'GET @/next a ');
served('trailers that frame and route', `${chunks('3\r\nabc\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\nHost: b\r\nConnection: x-sum\r\nTE: trailers\r\nAuthorization: x\r\nX-Sum: 1\r\n\r\n')}${next}`,
  'POST @ a abc', 'GET @/next a ');
served('GET with a length', `${get('Content-Length: 37')}${next.replaceAll('@', '/hidden').padEnd(37, '\n').slice(0, 37)}${next}`, /^GET @ a GET \/hidden[^@]*$/, 'GET @/next a ');
served('GET with chunks', `${get('Transfer-Encoding: chunked')}${chunkedBody}${next}`, 'GET @ a abc', 'GET @/next a ');
served('a request in a body', `${post(['Content-Length: 36'], 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n123')}${next}`, /^POST @ a GET \/hidden HTTP/, 'GET @/next a ');
served('HEAD, and what follows it', `HEAD @ HTTP/1.1\r\nHost: a\r\n\r\n${next}`, 'HEAD @ a ', 'GET @/next a ');
served('empty lines between requests', `\r\n${get()}\r\n${next}`, 'GET @ a ', 'GET @/next a ');
served('Connection that nominates framing', `${post(['Connection: content-length, transfer-encoding, host', 'Content-Length: 3'], 'abc')}${next}`, 'POST @ a abc', 'GET @/next a ');
served('Expect, and no waiting', `${post(['Expect: 100-continue', 'Content-Length: 3'], 'abc')}${next}`, 'POST @ a abc', 'GET @/next a ');
served('an upgrade to h2c with a preface behind it', `${get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABk')}${next}`, 'GET @ a ', 'GET @/next a ');
served('Upgrade that Connection does not name', `${get('Upgrade: websocket')}${next}`, 'GET @ a ', 'GET @/next a ');
refused('CONNECT', 'CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n');
refused('the preface of HTTP/2 behind a request', `${'PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n'}`);
// What a client means to say as one of a body and says too little of: no request, for nobody.
h1Cases.push({ name: 'a body that stops short: no request', bytes: post(['Content-Length: 99'], 'abc'), expected: [], stops: true });
h1Cases.push({ name: 'chunks that stop short: no request', bytes: chunks('3\r\nabc\r\n0\r\nX: y\r\n'), expected: [], stops: true });
h1Cases.push({ name: 'a head that stops short: no request', bytes: 'GET @ HTTP/1.1\r\nHost: a\r\nX: y', expected: [], stops: true });

// -- clients of HTTP/2: the frames on stream 1, and what the backend has to see

const h2Cases = [];
const open = flag.endHeaders;
const head = (...fields) => [[':method', 'GET'], [':scheme', 'http'], [':path', '@'], [':authority', 'a'], ...fields];
const upload = (...fields) => [[':method', 'POST'], [':scheme', 'http'], [':path', '@'], [':authority', 'a'], ...fields];
const pseudo = (changes) => Object.entries({ ':method': 'GET', ':scheme': 'http', ':path': '@', ':authority': 'a', ...changes })
  .filter(([, value]) => value !== undefined);
// `parts`: [fields, flags] for a header block, a string or [string, flags] for DATA.
const malformed = (name, ...parts) => h2Cases.push({ name: `${name}: refused`, parts, expected: [] });
// What is wrong comes behind a request that was whole: the client hears of it, and a backend may have read the request, as it is.
const malformedBehind = (name, possible, ...parts) => h2Cases.push({ name: `${name}: refused`, parts, expected: [], possible });
const taken = (name, parts, ...expected) => h2Cases.push({ name: `${name}: ${expected.length} request(s)`, parts, expected });

for (const [name, value] of Object.entries({
  'CR LF': 'b\r\nHost: x\r\n\r\nGET /hidden HTTP/1.1',
  'a bare LF': 'b\nHost: x', 'a bare CR': 'b\rHost: x', NUL: 'b\0c', 'a space ahead': ' b', 'a space behind': 'b ', 'a tab ahead': '\tb', 'a control': 'b\x01c', DEL: 'b\x7f',
})) {
  malformed(`${name} in a value`, [head(['x', value])]);
  malformed(`${name} in a cookie`, [head(['cookie', value])]);
  malformed(`${name} in a trailer`, [upload(), open], 'abc', [[['x', value]]]);
}
for (const [name, field] of Object.entries({
  'CR LF': 'x: y\r\nz', 'a colon': 'x:y', 'a colon and a value': 'content-length: 0\r\ntransfer-encoding', 'a space': 'x y', 'a space ahead': ' x', 'a space behind': 'transfer-encoding ',
  'a tab': 'x\t', NUL: 'x\0', 'a capital': 'X-A', nothing: '', 'a bare LF': 'x\ny', DEL: 'x\x7f', 'a parenthesis': 'x(',
})) {
  malformed(`${name} in a name`, [head([field, 'b'])]);
  malformed(`${name} in a trailer’s name`, [upload(), open], 'abc', [[[field, 'b']]]);
}
for (const [name, changes] of Object.entries({
  ':path with a space': { ':path': '@ HTTP/1.1\r\nHost: x' }, ':path with a space alone': { ':path': '@ x' }, ':path with CR LF': { ':path': '@\r\nX: y' }, ':path with NUL': { ':path': '@\0' },
  ':path with a tab': { ':path': '@\tx' }, ':path with a fragment': { ':path': '@#x' }, ':path without a slash': { ':path': 'x@' }, ':path as a URI': { ':path': 'http://b@' },
  ':path that is empty': { ':path': '' }, ':path of * with GET': { ':path': '*' }, ':path with a space ahead': { ':path': ' @' },
  ':method with a request in it': { ':method': 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\nGET' }, ':method with a space': { ':method': 'GET /x' }, ':method that is empty': { ':method': '' },
  ':method with a tab': { ':method': 'GET\t' }, ':method with a colon': { ':method': 'GE:T' },
  ':authority with CR LF': { ':authority': 'a\r\nX: y' }, ':authority with a space': { ':authority': 'a b' }, ':authority with a path': { ':authority': 'a/x' }, ':authority with userinfo': { ':authority': 'x@a' },
  ':authority with NUL': { ':authority': 'a\0' }, ':authority with a comma': { ':authority': 'a, b' }, 'no authority': { ':authority': undefined }, ':authority that is empty': { ':authority': '' },
  ':scheme with a URI in it': { ':scheme': 'http://b/x?' }, ':scheme with CR LF': { ':scheme': 'http\r\nX: y' }, ':scheme with a space': { ':scheme': 'ht tp' }, 'no :scheme': { ':scheme': undefined },
  'an unknown pseudo-field': { ':x': 'y' }, ':status': { ':status': '200' }, ':protocol': { ':protocol': 'websocket' },
})) malformed(name, [pseudo(changes)]);
malformed('a :path behind a field', [[[':method', 'GET'], [':scheme', 'http'], [':authority', 'a'], ['x', 'y'], [':path', '@']]]);
malformed('two :path', [head().concat([[':path', '/hidden']])]);
malformed('two :authority', [pseudo({}).concat([[':authority', 'b']])]);
malformed('Host that differs from :authority', [head(['host', 'b'])]);
malformed('two Hosts that differ', [pseudo({ ':authority': undefined }).concat([['host', 'a'], ['host', 'b']])]);
malformed('Host with CR LF', [pseudo({ ':authority': undefined }).concat([['host', 'a\r\nX: y']])]);
taken('Host that equals :authority', [[head(['host', 'a'])]], 'GET @ a ');
taken('Host in place of :authority', [[pseudo({ ':authority': undefined }).concat([['host', 'b']])]], 'GET @ b ');
for (const [name, value] of [['transfer-encoding', 'chunked'], ['connection', 'close'], ['keep-alive', 'x'], ['proxy-connection', 'x'], ['upgrade', 'websocket'], ['te', 'gzip']]) {
  malformed(`${name} in HTTP/2`, [head([name, value])]);
  malformed(`${name} in HTTP/2 with a body`, [upload([name, value]), open], ['0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', flag.endStream]);
}
for (const [name, length, body] of [
  ['too short', '2', 'abc'], ['too long', '4', 'abc'], ['of 0', '0', 'abc'], ['with a plus', '+3', 'abc'], ['with a minus', '-3', 'abc'], ['in hexadecimal', '0x3', 'abc'],
  ['that is empty', '', 'abc'], ['of two values', '3, 4', 'abc'], ['with a space', '3 0', 'abc'], ['of 2^64 and three', '18446744073709551619', 'abc'],
]) {
  const refused = length === '0' ? (what, ...parts) => malformedBehind(what, 'POST @ a ', ...parts) : malformed;
  refused(`a Content-Length ${name}`, [upload(['content-length', length]), open], [body, flag.endStream]);
  refused(`a Content-Length ${name}, with trailers`, [upload(['content-length', length]), open], body, [[['x', 'y']]]);
}
malformed('a Content-Length and no body', [upload(['content-length', '3'])]);
malformed('two Content-Lengths that differ', [upload(['content-length', '3'], ['content-length', '4']), open], ['abc', flag.endStream]);
taken('two Content-Lengths that agree', [[upload(['content-length', '3'], ['content-length', '3']), open], ['abc', flag.endStream]], 'POST @ a abc');
taken('a request in DATA', [[upload(), open], ['0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', flag.endStream]], 'POST @ a 0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n');
taken('a request in the DATA of GET', [[head(), open], ['GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n', flag.endStream]], 'GET @ a GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n');
taken('a chunk’s end in DATA', [[upload(), open], '0\r\n', '\r\n', [[['x', 'y']]]], 'POST @ a 0\r\n\r\n');
for (const [name, value] of [['content-length', '9'], ['host', 'b'], ['authorization', 'x'], ['content-encoding', 'gzip'], ['cache-control', 'x']]) {
  taken(`${name} in trailers`, [[upload(), open], 'abc', [[[name, value], ['x-sum', '1']]]], 'POST @ a abc');
}
malformed('transfer-encoding in trailers', [upload(), open], 'abc', [[['transfer-encoding', 'chunked']]]);
malformed('connection in trailers', [upload(), open], 'abc', [[['connection', 'close']]]);
malformed('a pseudo-field in trailers', [upload(), open], 'abc', [[[':path', '/hidden']]]);
malformed('CONNECT', [[[':method', 'CONNECT'], [':authority', 'a:80']], open], 'GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n');

// -- how a case runs

const shown = (one) => `${one.method} ${one.target} ${one.host} ${one.body}`;

// Whatever was sent before on other connections has been dealt with: this request came later and is answered.
async function settled(plait) {
  const text = await exchangeRaw(plait.port, 'GET /settled HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 /);
}

async function runH1(t, plait, one, own) {
  const raw = await openRaw(t, plait.port);
  raw.write(one.bytes.replaceAll('@', own));
  if (one.stops) {
    await settled(plait);
  } else if (one.expected.length === 0) {
    assert.match(await raw.ended(), /^(?:HTTP\/1\.1 100 [^\n]*\r\n(?:[^\n]+\r\n)*\r\n)?HTTP\/1\.1 [45]\d\d |^$/);
    assert.equal((raw.text.match(/HTTP\/1\.1 [2-5]/g) ?? []).length <= 1, true, raw.text);
  } else {
    await raw.until(new RegExp(`(?:HTTP/1\\.1 200 [^]*){${one.expected.length}}`));
    assert.equal(raw.text.match(/HTTP\/1\.1 [2-5]/g).length, one.expected.length, raw.text);
  }
  raw.socket.destroy();
}

async function runH2(t, plait, one, own) {
  const peer = await greet(await connectWire(plait.port));
  for (const part of one.parts) {
    if (Array.isArray(part) && Array.isArray(part[0])) {
      const fields = part[0].map(([name, value]) => [name, value.replaceAll('@', own)]);
      peer.send(headers(1, fields, part[1]));
    } else {
      peer.send(data(1, ...[part].flat()));
    }
  }
  const end = await peer.until((frame) => frame.endStream || frame.code !== undefined, 'the end of the stream');
  const first = peer.frames.find((frame) => frame.type === 1);
  // 0x88 is ":status: 200" in HPACK's static table, and the status begins a head; behind it any byte may be one of a value.
  const isWell = first?.payload[0] === 0x88;
  assert.equal(isWell && end.code === undefined, one.expected.length > 0, peer.heard());
  peer.socket.destroy();
}

const backends = { h1: startH1Recorder, h2: startH2Recorder };
const clients = { h1: [h1Cases, runH1], h2: [h2Cases, runH2] };
for (const [client, [cases, run]] of Object.entries(clients)) {
  for (const [kind, start] of Object.entries(backends)) {
    test(`${client} to ${kind}: ${cases.length} ways to smuggle a request`, async (t) => {
      const backend = await start(t);
      const plait = await startProxy(t, [backend]);
      for (const [i, one] of cases.entries()) {
        const own = `/${client}-${i}`;
        await t.test(one.name, async (tt) => {
          await run(tt, plait, one, own);
          const mine = () => backend.requests.filter(({ target }) => target === own || target === `${own}/next`);
          await eventually(() => mine().length >= one.expected.length, 'the backend has the requests');
          const seen = mine().map(shown).filter((request) => request !== one.possible?.replaceAll('@', own));
          assert.deepEqual(backend.faults.splice(0), []);
          assert.equal(seen.length, one.expected.length, JSON.stringify(seen));
          for (const [j, expected] of one.expected.entries()) {
            if (typeof expected === 'string') assert.equal(seen[j], expected.replaceAll('@', own));
            else assert.match(seen[j].replaceAll(own, '@'), expected);
          }
        });
      }
      // What would have come late, or under another name, is there by now.
      await settled(plait);
      const expected = cases.flatMap((one, i) => one.expected.map((_, j) => `/${client}-${i}${j === 0 ? '' : '/next'}`));
      const possible = cases.map((one, i) => one.possible?.replaceAll('@', `/${client}-${i}`));
      const taken = backend.requests.filter((request) => request.target !== '/settled' && !possible.includes(shown(request)));
      assert.deepEqual(taken.map(({ target }) => target), expected);
      assert.deepEqual(backend.faults, []);
    });
  }
}
