// plait in both roles of HTTP/1.1, held against RFC 9112 and against what RFC 9110 asks of intermediaries, rule by rule and
// byte by byte.
import assert from 'node:assert/strict';
import test from 'node:test';
import { startRawBackend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { startProxy } from './lib/plait.mjs';
import { eventually } from './lib/process.mjs';

// -- a backend that keeps what it is asked, byte for byte, and answers `state.answer`

const okAnswer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

function wholeRequest(text) {
  const cut = text.indexOf('\r\n\r\n');
  if (cut < 0) return undefined;
  const head = text.slice(0, cut + 4);
  const rest = text.slice(cut + 4);
  if (/^transfer-encoding: chunked\r$/im.test(head)) {
    const last = rest.match(/(?:^|\r\n)0\r\n(?:[^\r\n]+\r\n)*\r\n/);
    return last ? text.slice(0, cut + 4 + last.index + last[0].length) : undefined;
  }
  const length = Number(head.match(/^content-length: (\d+)\r$/im)?.[1] ?? 0);
  return rest.length < length ? undefined : text.slice(0, cut + 4 + length);
}

async function startRecorder(t) {
  const state = { requests: [], answer: okAnswer, closes: false, connections: 0, partial: '' };
  const backend = await startRawBackend(t, (socket) => {
    state.connections += 1;
    let text = '';
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      text += chunk;
      for (let one = wholeRequest(text); one !== undefined; one = wholeRequest(text)) {
        text = text.slice(one.length);
        state.requests.push(one);
        socket.write(state.answer, 'latin1');
        if (state.closes) socket.end();
      }
      state.partial = text;
    });
  });
  return Object.assign(state, { url: `http://127.0.0.1:${backend.port}` });
}

// -- plait as a server

const serverCases = [];
const serverRule = (section, name, said, reaction) => serverCases.push({ section, name, said, reaction });
const answerPattern = /^HTTP\/1\.1 \d{3} [\s\S]*?\r\n\r\n/;

// The request is refused with this status, the connection ends, and the backend hears nothing of it.
const refused = (status) => async ({ raw, backend }) => {
  const text = await raw.ended();
  assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), text);
  assert.match(text, /^connection: close\r$/im);
  assert.equal(text.match(/HTTP\/1\.1 \d/g).length, 1, 'nothing else is answered');
  assert.deepEqual(backend.requests, []);
};
// The request reaches the backend, whose answer comes back; `check` looks at what the backend saw and the client got.
const served = (check = () => {}) => async ({ raw, backend }) => {
  const text = await raw.until(/^HTTP\/1\.[01] 200 [\s\S]*?\r\n\r\n(?:ok|2\r\nok\r\n0\r\n\r\n)/m);
  assert.equal(backend.requests.length, 1);
  await check(backend.requests[0], text, raw);
};
// A body that turns out to be malformed: the request is never complete for the backend, and plait answers it, once.
const malformedBody = (status) => async ({ raw, backend }) => {
  const text = await raw.ended();
  assert.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), text);
  assert.match(text, /^connection: close\r$/im);
  assert.equal(text.match(/HTTP\/1\.1 \d/g).length, 1, 'nothing else is answered');
  assert.deepEqual(backend.requests, []);
};
// A request that ends early: it is never complete for the backend, nor answered with success.
const brokenOff = async ({ raw, backend }) => {
  const text = await raw.ended();
  assert.doesNotMatch(text, /^HTTP\/1\.1 2/);
  assert.deepEqual(backend.requests, []);
};
const fieldsOf = (text) => text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n').slice(1).map((line) => line.split(': '));
const valuesOf = (text, name) => fieldsOf(text).filter(([key]) => key.toLowerCase() === name).map(([, ...value]) => value.join(': '));
const get = (...lines) => ['GET / HTTP/1.1', 'Host: a', ...lines, '', ''].join('\r\n');
const post = (lines, body) => ['POST / HTTP/1.1', 'Host: a', ...lines, '', body].join('\r\n');
const chunked = (body) => post(['Transfer-Encoding: chunked'], body);

serverRule('9112 §2.2', 'lines that end in a bare LF are 400', 'GET / HTTP/1.1\nHost: a\n\n', refused(400));
serverRule('9112 §2.2', 'one line that ends in a bare LF is 400', 'GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n', refused(400));
serverRule('9112 §2.2', 'a bare CR in the request line is 400', 'GET /\r HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §2.2', 'whitespace before the first field is 400', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n', refused(400));
serverRule('9112 §2.2', 'an empty line before the request is taken', `\r\n${get()}`, served());
serverRule('9112 §2.2', 'what is not HTTP is 400', 'hello, how are you?\r\n\r\n', refused(400));
serverRule('9112 §2.2', 'what may be HTTP/2’s preface gone wrong is not answered', 'INVALID CONNECTION PREFACE\r\n\r\n', async ({ raw, backend }) => {
  assert.equal(await raw.ended(), '');
  assert.equal(raw.error, null);
  assert.deepEqual(backend.requests, []);
});
serverRule('9112 §2.2', 'behind a request it is 400', `${get()}INVALID CONNECTION PREFACE\r\n\r\n`, async ({ raw, backend }) => {
  assert.match(await raw.ended(), /^HTTP\/1\.1 200 [\s\S]*HTTP\/1\.1 400 /);
  assert.equal(backend.requests.length, 1);
});
serverRule('9112 §2.3', 'a request of HTTP/1.0 is forwarded with plait’s own version', 'GET / HTTP/1.0\r\nHost: a\r\n\r\n', served((seen) => assert.match(seen, /^GET \/ HTTP\/1\.1\r\n/)));
serverRule('9112 §2.3', 'HTTP/2.0 in a request line is 505', 'GET / HTTP/2.0\r\nHost: a\r\n\r\n', refused(505));
for (const version of ['HTTP/1', 'http/1.1', 'HTTP/1.11', 'HTTP/1.x', 'HTTPS/1.1', 'HTTP/ 1.1']) {
  serverRule('9112 §2.3', `a version that is none is 400: ${version}`, `GET / ${version}\r\nHost: a\r\n\r\n`, refused(400));
}
serverRule('9112 §3', 'a request line without a version is 400', 'GET /\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3', 'two spaces in a request line are 400', 'GET  / HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3', 'a space behind the version is 400', 'GET / HTTP/1.1 \r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3', 'a tab between method and target is 400', 'GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3', 'a space within the target is 400', 'GET /a b HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3', 'a target that is too long is 414', `GET /${'a'.repeat(40_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, refused(414));
serverRule('9112 §3', 'a request line of 8,000 bytes is taken', `GET /${'a'.repeat(7986)} HTTP/1.1\r\nHost: a\r\n\r\n`, served((seen) => assert.equal(seen.indexOf('\r\n'), 8000)));
serverRule('9112 §3.1', 'a method that is no token is 400', 'GE(T / HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3.1', 'a method keeps its case', 'get / HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => assert.match(seen, /^get \/ /)));
serverRule('9112 §3.2', 'no Host is 400', 'GET / HTTP/1.1\r\n\r\n', refused(400));
serverRule('9112 §3.2', 'two Hosts are 400', 'GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n', refused(400));
for (const host of ['a b', 'a/b', 'user@a', 'a:port', '[::1', '']) {
  serverRule('9112 §3.2', `an invalid Host is 400: "${host}"`, `GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`, refused(400));
}
serverRule('9112 §3.3', 'a request of HTTP/1.0 without Host is for the backend’s own name', 'GET / HTTP/1.0\r\n\r\n', served((seen) => assert.match(valuesOf(seen, 'host').join(), /^127\.0\.0\.1:\d+$/)));
serverRule('9112 §3.2.1', 'a target that is neither path nor URI is 400', 'GET index.html HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3.2.1', 'a fragment in a target is 400', 'GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3.2.2', 'a target in absolute-form replaces Host', 'GET http://b.example:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => {
  assert.match(seen, /^GET \/x\?y HTTP\/1\.1\r\n/);
  assert.deepEqual(valuesOf(seen, 'host'), ['b.example:81']);
}));
serverRule('9112 §3.2.2', 'a target in absolute-form without a path means /', 'GET http://b.example?y HTTP/1.1\r\nHost: b.example\r\n\r\n', served((seen) => assert.match(seen, /^GET \/\?y /)));
serverRule('9112 §3.2.3', 'CONNECT without a port is 400', 'CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));
serverRule('9112 §3.2.3', 'CONNECT is 501, for plait is no tunnel', 'CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n', refused(501));
serverRule('9112 §3.2.4', 'OPTIONS of * is forwarded so', 'OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => assert.match(seen, /^OPTIONS \* HTTP\/1\.1\r\n/)));
serverRule('9112 §3.2.4', 'OPTIONS of a whole server in absolute-form becomes *', 'OPTIONS http://a:80 HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => assert.match(seen, /^OPTIONS \* HTTP\/1\.1\r\n/)));
serverRule('9112 §3.2.4', 'a target of * with GET is 400', 'GET * HTTP/1.1\r\nHost: a\r\n\r\n', refused(400));

serverRule('9112 §5.1', 'a space before a field’s colon is 400', get('X-A : b'), refused(400));
serverRule('9112 §5.1', 'a field without a name is 400', get(': b'), refused(400));
serverRule('9112 §5.1', 'a field without a colon is 400', get('X-A'), refused(400));
serverRule('9112 §5.1', 'whitespace around a value is not part of it', get('X-A: \t b \t'), served((seen) => assert.deepEqual(valuesOf(seen, 'x-a'), ['b'])));
serverRule('9112 §5.2', 'a folded line is 400', get('X-A: b', ' c'), refused(400));
serverRule('9110 §5.5', 'NUL in a value is 400', get('X-A: b\0c'), refused(400));
serverRule('9110 §5.5', 'a control character in a value is 400', get('X-A: b\x01c'), refused(400));
serverRule('9110 §5.5', 'bytes above 127 in a value pass', get('X-A: \xe4\xf6\xfc'), served((seen) => assert.deepEqual(valuesOf(seen, 'x-a'), ['\xe4\xf6\xfc'])));
serverRule('9110 §5.4', 'a field section that is too large is 431', get(`X-A: ${'a'.repeat(70_000)}`), refused(431));
serverRule('9110 §5.4', 'too many fields are 431', get(...Array.from({ length: 200 }, (_, i) => `X-${i}: b`)), refused(431));
serverRule('9110 §5.3', 'fields of one name keep their order', get('X-A: 1', 'X-B: 2', 'X-A: 3'), served((seen) => assert.deepEqual(valuesOf(seen, 'x-a'), ['1', '3'])));
serverRule('9110 §5.1', 'unknown fields are forwarded', get('X-Unknown-Thing: yes'), served((seen) => assert.deepEqual(valuesOf(seen, 'x-unknown-thing'), ['yes'])));

serverRule('9112 §6.1', 'Transfer-Encoding beside Content-Length is 400', post(['Transfer-Encoding: chunked', 'Content-Length: 3'], '0\r\n\r\n'), refused(400));
serverRule('9112 §6.1', 'Transfer-Encoding twice is 400', post(['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked'], '0\r\n\r\n'), refused(400));
serverRule('9112 §6.1', 'chunked twice is 400', post(['Transfer-Encoding: chunked, chunked'], '0\r\n\r\n'), refused(400));
serverRule('9112 §6.1', 'an unknown transfer coding is 501', post(['Transfer-Encoding: gzip, chunked'], '0\r\n\r\n'), refused(501));
for (const value of ['chunked,', ', chunked', 'chunked;a=b']) {
  serverRule('9112 §6.1', `a coding that is written in another way is 400: "${value}"`, post([`Transfer-Encoding: ${value}`], '0\r\n\r\n'), refused(400));
}
serverRule('9112 §6.3', 'a request whose last coding is not chunked is 400', post(['Transfer-Encoding: chunked, gzip'], '0\r\n\r\n'), refused(400));
serverRule('9112 §6.3', 'a request of a coding without chunked is 400', post(['Transfer-Encoding: gzip'], 'abc'), refused(400));
serverRule('9112 §6.1', 'Transfer-Encoding in HTTP/1.0 is 400', 'POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', refused(400));
serverRule('9112 §7', 'the name of a coding ignores case', post(['Transfer-Encoding: CHUNKED'], '2\r\nab\r\n0\r\n\r\n'), served((seen) => assert.match(seen, /ab/)));
for (const length of ['+5', '-5', '5 5', '5, 6', '0x5', '5;', '5.0', '', '99999999999999999999']) {
  serverRule('9112 §6.3', `an invalid Content-Length is 400: "${length}"`, post([`Content-Length: ${length}`], 'abcde'), refused(400));
}
serverRule('9112 §6.3', 'two lengths that differ are 400', post(['Content-Length: 5', 'Content-Length: 6'], 'abcdef'), refused(400));
serverRule('9112 §6.3', 'the same length twice becomes one', post(['Content-Length: 5, 5', 'Content-Length: 5'], 'abcde'), served((seen) => {
  assert.deepEqual(valuesOf(seen, 'content-length'), ['5']);
  assert.ok(seen.endsWith('\r\n\r\nabcde'));
}));
serverRule('9112 §6.3', 'a request without length and coding has no body', `${get()}GET /second HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`, async ({ raw, backend }) => {
  const text = await raw.ended();
  assert.equal(text.match(/HTTP\/1\.1 200 /g).length, 2);
  assert.equal(backend.requests.length, 2);
});
serverRule('9112 §6.3', 'a body that breaks off is no request', async ({ raw, backend }) => {
  raw.write(post(['Content-Length: 10'], 'abc'));
  await eventually(() => backend.partial.endsWith('abc'), 'the backend sees the start');
  raw.socket.end();
}, brokenOff);
serverRule('9112 §6.2', 'plait sends either a length or a coding', chunked('3\r\nabc\r\n0\r\n\r\n'), served((seen) => {
  assert.equal(valuesOf(seen, 'content-length').length + valuesOf(seen, 'transfer-encoding').length, 1);
  assert.match(seen, /abc/);
}));

serverRule('9112 §7.1', 'chunk sizes in capitals and with zeros ahead are taken', chunked('00A\r\n0123456789\r\n000\r\n\r\n'), served((seen) => assert.match(seen, /0123456789/)));
serverRule('9112 §7.1', 'a chunk size that is no number breaks the request off', chunked('x\r\nabc\r\n0\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.1', 'a chunk size with a sign breaks the request off', chunked('+3\r\nabc\r\n0\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.1', 'a chunk size that overflows breaks the request off', chunked('fffffffffffffffff\r\nabc'), malformedBody(400));
serverRule('9112 §7.1', 'a chunk longer than its size breaks the request off', chunked('3\r\nabcd\r\n0\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.1', 'a bare LF behind a chunk size breaks the request off', chunked('3\nabc\r\n0\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.1', 'a bare LF behind a chunk breaks the request off', chunked('3\r\nabc\n0\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.1.1', 'chunk extensions are ignored and not forwarded', chunked('3;name=value;flag\r\nabc\r\n0;last\r\n\r\n'), served((seen) => assert.doesNotMatch(seen, /name=value|flag|last/)));
serverRule('9112 §7.1.1', 'chunk extensions without end break the request off', chunked(`3;${'x'.repeat(20_000)}\r\nabc\r\n0\r\n\r\n`), malformedBody(431));
serverRule('9112 §7.1.2', 'trailers pass, but not those of framing, routing or authentication', chunked('1\r\na\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nHost: b\r\nAuthorization: c\r\nTransfer-Encoding: chunked\r\n\r\n'), served((seen) => {
  assert.match(seen, /\r\n0\r\nx-sum: 1\r\n\r\n$/i);
}));
serverRule('9112 §7.1.2', 'a malformed trailer breaks the request off', chunked('1\r\na\r\n0\r\nX Sum: 1\r\n\r\n'), malformedBody(400));
serverRule('9112 §7.4', 'TE of codings is for this hop alone', get('TE: gzip;q=1, deflate', 'Connection: TE'), served((seen) => assert.deepEqual(valuesOf(seen, 'te'), [])));
serverRule('9112 §7.4', 'TE of trailers is forwarded and nominated', get('TE: trailers', 'Connection: TE'), served((seen) => {
  assert.deepEqual(valuesOf(seen, 'te'), ['trailers']);
  assert.deepEqual(valuesOf(seen, 'connection'), ['te']);
}));

serverRule('9112 §9.3', 'a connection of HTTP/1.1 persists', get(), async ({ raw, backend }) => {
  await raw.until(/\r\n\r\nok$/);
  raw.write(get('Connection: close'));
  const text = await raw.ended();
  assert.equal(text.match(/HTTP\/1\.1 200 /g).length, 2);
  assert.equal(text.match(/^connection: close\r$/gim).length, 1, 'the last response says so');
  assert.equal(backend.requests.length, 2);
});
serverRule('9112 §9.6', 'what comes behind a request with close is not answered', `${get('Connection: close')}${get()}`, async ({ raw, backend }) => {
  assert.equal((await raw.ended()).match(/HTTP\/1\.1 \d/g).length, 1);
  assert.equal(backend.requests.length, 1);
});
serverRule('9112 §9.3', 'a connection of HTTP/1.0 ends with its response', 'GET / HTTP/1.0\r\n\r\n', async ({ raw }) => {
  assert.match(await raw.ended(), /^HTTP\/1\.1 200 [\s\S]*\r\n\r\nok$/);
});
serverRule('9112 §9.3', 'a connection of HTTP/1.0 with keep-alive persists, and says so', 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', async ({ raw }) => {
  assert.match(await raw.until(/\r\n\r\nok$/), /^connection: keep-alive\r$/im);
  raw.write('GET / HTTP/1.0\r\n\r\n');
  assert.equal((await raw.ended()).match(/HTTP\/1\.1 200 /g).length, 2);
});

serverRule('9112 §9.3', 'a connection of HTTP/1.0 whose client takes plait for its proxy ends with the response', 'GET http://a/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n', async ({ raw }) => {
  const text = await raw.ended();
  assert.match(text, /^HTTP\/1\.1 200 [\s\S]*\r\n\r\nok$/);
  assert.deepEqual(valuesOf(text, 'connection'), ['close']);
});

serverRule('9110 §6.6.1', 'a response without Date gets one', get(), served((seen, text) => {
  const [date] = valuesOf(text, 'date');
  assert.match(date, /^(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z][a-z] \d{4} \d\d:\d\d:\d\d GMT$/);
  assert.ok(Math.abs(Date.parse(date) - Date.now()) < 10_000, date);
}));
serverRule('9110 §6.6.1', 'plait’s own refusals have a Date', 'GET / HTTP/1.1\r\n\r\n', async (world) => {
  await refused(400)(world);
  assert.equal(valuesOf(world.raw.text, 'date').length, 1);
});
serverRule('9110 §7.2', 'Host is the first field of what is forwarded', get('X-A: b'), served((seen) => assert.equal(fieldsOf(seen)[0][0].toLowerCase(), 'host')));
serverRule('9110 §7.6.1', 'fields of one hop go, those that Connection nominates too', get('Connection: close, X-Hop', 'X-Hop: secret', 'Keep-Alive: timeout=5', 'Proxy-Connection: close', 'X-End: kept'), served((seen) => {
  for (const name of ['connection', 'x-hop', 'keep-alive', 'proxy-connection']) assert.deepEqual(valuesOf(seen, name), [], name);
  assert.deepEqual(valuesOf(seen, 'x-end'), ['kept']);
}));
serverRule('9110 §7.6.1', 'Connection cannot remove what every recipient needs', get('Connection: Host, Cookie, Authorization', 'Cookie: a=b', 'Authorization: c'), served((seen) => {
  assert.deepEqual(valuesOf(seen, 'host'), ['a']);
  assert.deepEqual(valuesOf(seen, 'cookie'), ['a=b']);
  assert.deepEqual(valuesOf(seen, 'authorization'), ['c']);
}));
serverRule('9110 §7.6.1', 'a malformed Connection is 400', get('Connection: a b'), refused(400));
serverRule('9110 §7.6.2', 'OPTIONS with Max-Forwards of 0 goes no further', 'OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n', async ({ raw, backend }) => {
  const text = await raw.until(answerPattern);
  assert.match(text, /^HTTP\/1\.1 200 /);
  assert.deepEqual(valuesOf(text, 'content-length'), ['0']);
  assert.deepEqual(backend.requests, []);
});
serverRule('9110 §7.6.2', 'TRACE with Max-Forwards of 0 goes no further', 'TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nCookie: secret\r\n\r\n', async ({ raw, backend }) => {
  const text = await raw.until(answerPattern);
  assert.match(text, /^HTTP\/1\.1 501 /);
  assert.doesNotMatch(text, /secret/);
  assert.deepEqual(backend.requests, []);
});
for (const [method, value, forwarded] of [['OPTIONS', '5', '4'], ['TRACE', '1', '0'], ['TRACE', '010', '9'], ['OPTIONS', '99999999999999999999', '999999999'], ['OPTIONS', 'many', 'many'], ['GET', '0', '0'], ['POST', '7', '7']]) {
  serverRule('9110 §7.6.2', `Max-Forwards of ${value} with ${method} is forwarded as ${forwarded}`, `${method} / HTTP/1.1\r\nHost: a\r\nMax-Forwards: ${value}\r\n\r\n`,
    served((seen) => assert.deepEqual(valuesOf(seen, 'max-forwards'), [forwarded])));
}
serverRule('9110 §7.6.3', 'Via names the version that plait was asked in', get(), served((seen) => assert.deepEqual(valuesOf(seen, 'via'), ['1.1 plait'])));
serverRule('9110 §7.6.3', 'Via is added to, not replaced', 'GET / HTTP/1.0\r\nHost: a\r\nVia: 1.1 other\r\n\r\n', served((seen) => assert.deepEqual(valuesOf(seen, 'via'), ['1.1 other, 1.0 plait'])));
serverRule('9110 §7.6', 'a request that has come through plait 16 times is 508', get(`Via: ${Array(8).fill('1.1 plait, 2.0 PLAIT (again)').join(', ')}`), async ({ raw, backend }) => {
  assert.match(await raw.until(answerPattern), /^HTTP\/1\.1 508 /);
  assert.deepEqual(backend.requests, []);
});
serverRule('9110 §7.6', 'a request that has come through plait less often, or through others, is served', get(`Via: ${Array(15).fill('1.1 plait').join(', ')}`, `Via: ${Array(50).fill('1.1 plaited, HTTP/1.1 a.plait (plait)').join(', ')}`), served());
serverRule('9110 §7.4', 'a target of https is not believed without TLS', 'GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => assert.deepEqual(valuesOf(seen, 'x-forwarded-proto'), ['http'])));
serverRule('9110 §7.7', 'path and query are forwarded byte for byte', 'GET /a//b/../c;d=%2f%2F/.?x=%00&y=a+b&&z HTTP/1.1\r\nHost: a\r\n\r\n',
  served((seen) => assert.ok(seen.startsWith('GET /a//b/../c;d=%2f%2F/.?x=%00&y=a+b&&z HTTP/1.1\r\n'), seen)));
serverRule('9110 §7.8', 'an upgrade to h2c is a request without it', get('Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'), served((seen) => {
  for (const name of ['upgrade', 'http2-settings', 'connection']) assert.deepEqual(valuesOf(seen, name), [], name);
}));
serverRule('9110 §7.8', 'Upgrade in HTTP/1.0 is ignored', 'GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n', served((seen) => assert.deepEqual(valuesOf(seen, 'upgrade'), [])));
serverRule('9110 §7.8', 'Upgrade that Connection does not name is ignored', get('Upgrade: websocket'), served((seen) => assert.deepEqual(valuesOf(seen, 'upgrade'), [])));
serverRule('9110 §9.1', 'an unknown method is forwarded', 'FROBNICATE / HTTP/1.1\r\nHost: a\r\n\r\n', served((seen) => assert.match(seen, /^FROBNICATE \/ /)));
serverRule('9110 §10.1.1', '100-continue is answered before the body is sent', post(['Content-Length: 5', 'Expect: 100-continue'], ''), async (world) => {
  await world.raw.until(/^HTTP\/1\.1 100 /);
  world.raw.write('hello');
  await served((seen) => {
    assert.ok(seen.endsWith('hello'));
    assert.deepEqual(valuesOf(seen, 'expect'), []);
  })(world);
});
serverRule('9110 §10.1.1', 'an expectation of something else is 417', post(['Content-Length: 5', 'Expect: the unexpected'], 'hello'), refused(417));
serverRule('9110 §10.1.1', 'an expectation in HTTP/1.0 is ignored', 'POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello', served((seen, text) => {
  assert.doesNotMatch(text, /^HTTP\/1\.1 100/);
  assert.deepEqual(valuesOf(seen, 'expect'), []);
}));
serverRule('9110 §10.1.1', 'an expectation without a body is not answered with 100', get('Expect: 100-continue'), served((seen, text) => assert.doesNotMatch(text, /^HTTP\/1\.1 100/)));

test('as a server of HTTP/1.1 plait reacts to every case as the RFCs say', async (t) => {
  const backend = await startRecorder(t);
  const plait = await startProxy(t, [backend]);
  for (const { section, name, said, reaction } of serverCases) {
    await t.test(`${section}: ${name}`, async () => {
      backend.requests.length = 0;
      const raw = await openRaw(t, plait.port);
      try {
        if (typeof said === 'function') await said({ raw, backend });
        else raw.write(said);
        await reaction({ raw, backend });
      } finally {
        raw.socket.destroy();
      }
    });
  }
});

// -- plait as a client

const clientCases = [];
const clientRule = (section, name, answer, outcome, options = {}) => clientCases.push({ section, name, answer, outcome, ...options });
const isWhole = (body, status = 200) => (result) => {
  assert.equal(result.error, null);
  assert.equal(result.status, status);
  assert.equal(result.body, body);
};
const badGateway = (result) => assert.equal(result.status, 502);
const cutShort = (result) => assert.ok(result.status === 502 || (result.error !== null && result.rstCode !== 0), 'visibly not whole');
// Whether the backend's connection may carry another request.
const kept = { reuse: true };
const dropped = { reuse: false };
const closing = { closes: true };
const answerOf = (head, body = '') => `HTTP/1.1 200 OK\r\n${head}\r\n${body}`;
const chunkedAnswer = (body) => answerOf('Transfer-Encoding: chunked\r\n', body);

for (const [name, line] of [
  ['a status of four digits is 502', 'HTTP/1.1 2000 OK'],
  ['a status of two digits is 502', 'HTTP/1.1 20 OK'],
  ['a status that is no number is 502', 'HTTP/1.1 2x0 OK'],
  ['a status below 100 is 502', 'HTTP/1.1 099 OK'],
  ['a status above 599 is 502', 'HTTP/1.1 600 OK'],
  ['a status line of another protocol is 502', 'ICY 200 OK'],
  ['a status line of HTTP/2.0 is 502', 'HTTP/2.0 200 OK'],
  ['a status line with two spaces is 502', 'HTTP/1.1  200 OK'],
]) clientRule('9112 §4', name, `${line}\r\nContent-Length: 0\r\n\r\n`, badGateway, dropped);
clientRule('9112 §4', 'a status line without a reason is taken', 'HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok', isWhole('ok'), kept);
clientRule('9112 §4', 'a status line without the space before the reason is taken', 'HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok', isWhole('ok'), kept);
clientRule('9112 §2.2', 'lines that end in a bare LF are 502', 'HTTP/1.1 200 OK\nContent-Length: 2\n\nok', badGateway, dropped);
clientRule('9112 §2.2', 'whitespace before the first field is 502', 'HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 2\r\n\r\nok', badGateway, dropped);
clientRule('9113 §8.2.2', 'TE of an answer goes no further', answerOf('Content-Length: 2\r\nTE: trailers\r\n', 'ok'), (result) => {
  isWhole('ok')(result);
  assert.equal(result.headers.te, undefined);
}, kept);
clientRule('9112 §5.1', 'a space before a field’s colon is 502', answerOf('Content-Length : 2\r\n', 'ok'), badGateway, dropped);
clientRule('9112 §5.2', 'a folded line is 502', answerOf('X-A: b\r\n c\r\nContent-Length: 2\r\n', 'ok'), badGateway, dropped);
clientRule('9110 §5.5', 'NUL in a value is 502', answerOf('X-A: b\0\r\nContent-Length: 2\r\n', 'ok'), badGateway, dropped);
clientRule('9110 §5.5', 'a bare CR in a value is 502', answerOf('X-A: b\rSet-Cookie: c\r\nContent-Length: 2\r\n', 'ok'), badGateway, dropped);
clientRule('9112 §6.1', 'Transfer-Encoding beside Content-Length is 502', answerOf('Transfer-Encoding: chunked\r\nContent-Length: 2\r\n', '2\r\nok\r\n0\r\n\r\n'), badGateway, dropped);
clientRule('9112 §6.1', 'Transfer-Encoding in HTTP/1.0 is 502', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n', badGateway, dropped);
clientRule('9112 §6.1', 'a coding that nobody asked for is 502', answerOf('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'), badGateway, dropped);
clientRule('9112 §6.3', 'two lengths that differ are 502', answerOf('Content-Length: 2\r\nContent-Length: 3\r\n', 'ok!'), badGateway, dropped);
clientRule('9112 §6.3', 'a length that is no number is 502', answerOf('Content-Length: two\r\n', 'ok'), badGateway, dropped);
clientRule('9112 §6.3', 'the same length twice becomes one', answerOf('Content-Length: 2, 2\r\n', 'ok'), (result) => {
  isWhole('ok')(result);
  assert.equal(result.headers['content-length'], '2');
}, kept);
clientRule('9112 §6.3', 'without length and coding the connection’s end is the body’s', answerOf('X-A: b\r\n', 'until the end'), isWhole('until the end'), { ...closing, ...dropped });
clientRule('9112 §6.3', 'a body shorter than its length is never whole', answerOf('Content-Length: 10\r\n', 'short'), cutShort, { ...closing, ...dropped });
clientRule('9112 §6.3', 'bytes behind a whole answer belong to nobody', answerOf('Content-Length: 2\r\n', 'okHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil'), isWhole('ok'), dropped);
clientRule('9112 §6.3', 'the answer to HEAD has no body, whatever its length says', answerOf('Content-Length: 10\r\n'), (result) => {
  isWhole('')(result);
  assert.equal(result.headers['content-length'], '10');
}, { method: 'HEAD', ...kept });
clientRule('9112 §6.3', '204 has no body; what follows it belongs to nobody', 'HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil', isWhole('', 204), dropped);
clientRule('9110 §8.6', '204 is forwarded without Content-Length', 'HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n', (result) => {
  isWhole('', 204)(result);
  assert.equal(result.headers['content-length'], undefined);
}, kept);
clientRule('9112 §6.3', '304 has no body and may name a length', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n', (result) => {
  isWhole('', 304)(result);
  assert.equal(result.headers['content-length'], '10');
}, kept);
clientRule('9112 §7.1', 'chunks with extensions are taken', chunkedAnswer('1;a=b\r\no\r\n1\r\nk\r\n0\r\n\r\n'), isWhole('ok'), kept);
clientRule('9112 §7.1.2', 'trailers pass, those of framing do not', chunkedAnswer('2\r\nok\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n'), (result) => {
  isWhole('ok')(result);
  assert.equal(result.trailers['x-sum'], '1');
  assert.equal(result.trailers['content-length'], undefined);
}, kept);
for (const [name, body] of [
  ['a chunk size that is no number is never a whole answer', '2\r\nok\r\nzz\r\n'],
  ['a chunk longer than its size is never a whole answer', '1\r\nok\r\n0\r\n\r\n'],
  ['a chunk size that overflows is never a whole answer', '11111111111111111\r\nok'],
  ['a malformed trailer is never a whole answer', '2\r\nok\r\n0\r\nX Sum: 1\r\n\r\n'],
]) clientRule('9112 §7.1', name, chunkedAnswer(body), cutShort, dropped);
clientRule('9112 §8', 'chunks without the last one are never a whole answer', chunkedAnswer('2\r\nok\r\n'), cutShort, { ...closing, ...dropped });
clientRule('9112 §8', 'a head that breaks off is 502', 'HTTP/1.1 200 OK\r\nContent-Le', badGateway, { ...closing, ...dropped });
clientRule('9112 §9.6', 'after an answer with close the connection is not used again', answerOf('Content-Length: 2\r\nConnection: close\r\n', 'ok'), isWhole('ok'), dropped);
clientRule('9112 §9.3', 'after an answer of HTTP/1.0 the connection is not used again', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok', isWhole('ok'), dropped);
clientRule('9112 §9.3', 'after an answer of HTTP/1.0 with keep-alive the connection is used again', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok', isWhole('ok'), kept);
clientRule('9110 §6.6.1', 'a Date of the backend’s is left as it is', answerOf('Content-Length: 2\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n', 'ok'), (result) => {
  isWhole('ok')(result);
  assert.equal(result.headers.date, 'Sun, 06 Nov 1994 08:49:37 GMT');
}, kept);
clientRule('9110 §6.6.1', 'an answer without Date gets one over HTTP/2, too', okAnswer, (result) => {
  isWhole('ok')(result);
  assert.ok(Math.abs(Date.parse(result.headers.date) - Date.now()) < 10_000, result.headers.date);
}, kept);
clientRule('9110 §7.6.1', 'fields of one hop go, those that Connection nominates too', answerOf('Content-Length: 2\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 2\r\n', 'ok'), (result) => {
  isWhole('ok')(result);
  for (const name of ['connection', 'x-hop', 'keep-alive']) assert.equal(result.headers[name], undefined, name);
  assert.equal(result.headers['x-end'], '2');
}, kept);
clientRule('9110 §15.2', 'interim answers are forwarded before the final one', `HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n${okAnswer}`, (result) => {
  isWhole('ok')(result);
  assert.equal(result.interim[0][':status'], 103);
}, kept);
clientRule('9110 §15.2', 'an unknown interim status is forwarded, too', `HTTP/1.1 199 What\r\n\r\n${okAnswer}`, (result) => {
  isWhole('ok')(result);
  assert.equal(result.interim[0][':status'], 199);
}, kept);
clientRule('9110 §15.2.2', '101 that nobody asked for is 502', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n', badGateway, dropped);
clientRule('9110 §15', 'an unknown status of a known class is forwarded as it is', 'HTTP/1.1 299 What\r\nContent-Length: 2\r\n\r\nok', isWhole('ok', 299), kept);

test('as a client of HTTP/1.1 plait reacts to every answer as the RFCs say', async (t) => {
  const backend = await startRecorder(t);
  const plait = await startProxy(t, [backend]);
  const client = connectH2(t, plait.port);
  for (const { section, name, answer, outcome, method = 'POST', reuse, closes = false } of clientCases) {
    await t.test(`${section}: ${name}`, async () => {
      // What is under test is the second answer of a connection, and whether there is a third.
      const ask = (which) => request(client, { ':path': '/', ':method': which, 'content-length': '0' });
      Object.assign(backend, { answer: okAnswer, closes: false });
      isWhole('ok')(await ask('POST'));
      const before = backend.connections;
      Object.assign(backend, { answer, closes });
      outcome(await ask(method));
      assert.equal(backend.connections, before, 'the answer came on the connection that there was');
      Object.assign(backend, { answer: okAnswer, closes: false });
      isWhole('ok')(await ask('POST'));
      assert.equal(backend.connections, reuse ? before : before + 1);
    });
  }
});
