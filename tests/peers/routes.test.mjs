// Routes and clusters over real sockets: which route a request gets, what the route does to it and to its response, and
// that what was matched, logged and forwarded is one path.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';
import WebSocket, { WebSocketServer } from 'ws';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { metric, startConfigured } from './lib/plait.mjs';
import { defer, eventually, freePort, temporaryDirectory, within } from './lib/process.mjs';
import { connectWire, fields, headers, preface, settings } from './lib/wire_h2.mjs';

const versions = ['h2c', 'http/1.1'];

// A backend that answers with what it has seen: { name, method, path, host, fields, body }.
async function startEcho(t, version, name) {
  const state = { seen: [] };
  const note = (method, target, host, fields, body) => {
    const one = { name, method, path: target, host, fields, body };
    state.seen.push(one);
    return JSON.stringify(one);
  };
  const started = version === 'h2c'
    ? await startH2Backend(t, (stream, headers) => {
      const chunks = [];
      stream.on('data', (chunk) => chunks.push(chunk));
      stream.on('end', () => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200, 'content-type': 'application/json', server: 'echo', 'x-one': ['a', 'b'] });
        stream.end(note(headers[':method'], headers[':path'], headers[':authority'], headers, Buffer.concat(chunks).toString()));
      });
    })
    : await startH1Backend(t, (incoming, response) => {
      const chunks = [];
      incoming.on('data', (chunk) => chunks.push(chunk));
      incoming.on('end', () => {
        response.writeHead(200, { 'content-type': 'application/json', server: 'echo', 'x-one': ['a', 'b'] });
        response.end(note(incoming.method, incoming.url, incoming.headers.host, incoming.headers, Buffer.concat(chunks).toString()));
      });
    });
  return Object.assign(started, state);
}

const cluster = (name, backends, keys = '') =>
  `[[cluster]]\nname = "${name}"\n${keys}\n${backends.map((one) => `[[cluster.backend]]\nurl = "${one.url ?? one}"\n`).join('')}`;
const route = (name, keys) => `[[route]]\nname = "${name}"\n${keys}\n`;
const answers = (name, keys = '') => route(name, `${keys}\nrespond = { body = "${name}" }`);

const serve = (t, toml) => startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n${toml}`, ['--access-log', '-', '--log-format', 'json']);

const logLines = (plait) => plait.stdout().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));

// One request over a connection of its own: { status, headers, body, seen }, where `seen` is what an echo has seen.
async function ask(t, plait, version, { method = 'GET', target = '/', host = 'any.example', fields = {}, body, tls } = {}) {
  const port = tls ? plait.tlsPort : plait.port;
  const result = version === 'h2c'
    ? await askH2(t, port, { method, target, host, fields, body, tls })
    : await askH1(port, { method, target, host, fields, body, tls });
  if (result.headers['content-type'] === 'application/json') result.seen = JSON.parse(result.body);
  return result;
}

async function askH2(t, port, { method, target, host, fields, body, tls }) {
  const session = connectH2(t, port, tls ?? {});
  const { status, headers, body: text, rstCode, error } = await request(session, {
    ':method': method, ':path': target, ':authority': host, ...(tls ? { ':scheme': 'https' } : {}), ...fields,
  }, { body });
  session.destroy();
  return { status, headers: headers ?? {}, body: text, rstCode, error };
}

function askH1(port, { method, target, host, fields, body, tls }) {
  return within(30_000, new Promise((resolve, reject) => {
    import(tls ? 'node:https' : 'node:http').then(({ default: client }) => {
      const outgoing = client.request({ port, host: '127.0.0.1', servername: 'localhost', method, path: target, headers: { host, ...fields }, agent: false, ...tls }, (incoming) => {
        let text = '';
        let error = null;
        incoming.setEncoding('latin1');
        incoming.on('data', (chunk) => { text += chunk; });
        incoming.on('error', (one) => { error = one; });
        incoming.on('close', () => resolve({ status: incoming.statusCode, headers: incoming.headers, raw: incoming.rawHeaders, body: text, error: incoming.complete ? null : error ?? new Error('not whole') }));
      });
      outgoing.on('error', reject);
      outgoing.end(body);
    });
  }), `an answer to ${method} ${target}`);
}

// Which of the routes that answers() made gets the request.
const nameFor = async (t, plait, version, what) => {
  const { status, body } = await ask(t, plait, version, what);
  return status === 200 ? body : status;
};

test('the most specific host gets the request: exact, then the longest wildcard, then none', async (t) => {
  const plait = await serve(t, answers('exact', 'host = "shop.example"') + answers('wild', 'host = "*.shop.example"')
    + answers('longer', 'host = ["*.eu.shop.example"]') + answers('none') + answers('address', 'host = "127.0.0.1"'));
  for (const version of versions) {
    for (const [host, name] of [
      ['shop.example', 'exact'], ['SHOP.example', 'exact'], ['shop.example:8080', 'exact'], ['shop.example.', 'exact'],
      ['a.shop.example', 'wild'], ['a.b.shop.example', 'wild'], ['eu.shop.example', 'wild'], ['x.eu.shop.example', 'longer'],
      ['shop.example.evil', 'none'], ['notshop.example', 'none'], ['127.0.0.1:1', 'address'], ['[::1]', 'none'],
    ]) assert.equal(await nameFor(t, plait, version, { host }), name, `${host} over ${version}`);
  }
  assert.match(await exchangeRaw(plait.port, 'GET / HTTP/1.0\r\n\r\n'), /none$/);
});

test('the most specific path gets the request, then methods, fields, parameters and priority decide', async (t) => {
  const plait = await serve(t, answers('all') + answers('api', 'path = "/api"') + answers('deep', 'path = "/api/v1"')
    + answers('exact', 'path_exact = "/api/v1/x"') + answers('regex', 'path_regex = "/api/[0-9]+"\nexample = "/api/7"')
    + answers('post', 'path = "/api"\nmethod = ["POST", "PUT"]')
    + answers('canary', 'path = "/api"\nheader = { x-canary = "yes" }')
    + answers('both', 'path = "/api"\nheader = { x-canary = "yes", x-user = "7" }')
    + answers('query', 'path = "/api"\nquery = { beta = "a b" }')
    + answers('higher', 'path = "/p"\nmethod = "GET"\npriority = 2') + answers('lower', 'path = "/p"\nmethod = ["GET", "POST"]\npriority = 1'));
  for (const version of versions) {
    for (const [what, name] of [
      [{ target: '/' }, 'all'], [{ target: '/apix' }, 'all'], [{ target: '/API' }, 'all'],
      [{ target: '/api' }, 'api'], [{ target: '/api/' }, 'api'], [{ target: '/api/x?beta=1' }, 'api'],
      [{ target: '/api/v1' }, 'deep'], [{ target: '/api/v1/xy' }, 'deep'], [{ target: '/api/v1/x' }, 'exact'], [{ target: '/api/v1/x?q' }, 'exact'],
      [{ target: '/api/v1/x/' }, 'deep'], [{ target: '/api/12' }, 'regex'], [{ target: '/api/12x' }, 'api'], [{ target: '/api/12/' }, 'api'],
      [{ target: '/api', method: 'POST' }, 'post'], [{ target: '/api', method: 'DELETE' }, 'api'],
      [{ target: '/api', fields: { 'x-canary': 'yes' } }, 'canary'], [{ target: '/api', fields: { 'x-canary': 'Yes' } }, 'api'],
      [{ target: '/api', fields: { 'x-canary': 'yes', 'x-user': '7' } }, 'both'],
      [{ target: '/api?beta=a+b' }, 'query'], [{ target: '/api?x=1&beta=a%20b' }, 'query'], [{ target: '/api?beta=c&beta=a+b' }, 'api'],
      [{ target: '/api?beta=a+b', fields: { 'x-canary': 'yes' } }, 'canary'],
      [{ target: '/p' }, 'higher'], [{ target: '/p', method: 'POST' }, 'lower'],
    ]) assert.equal(await nameFor(t, plait, version, what), name, `${JSON.stringify(what)} over ${version}`);
  }
});

test('without a route there is a 404 that says so, to gRPC a status', async (t) => {
  const plait = await serve(t, answers('one', 'host = "shop.example"'));
  for (const version of versions) {
    const answer = await ask(t, plait, version, { target: '/x?y' });
    assert.equal(answer.status, 404);
    assert.equal(answer.body, 'no route leads anywhere for this host and path\n');
    assert.equal(answer.headers['proxy-status'], 'plait; error=destination_not_found');
  }
  const grpc = await ask(t, plait, 'h2c', { method: 'POST', target: '/a.B/C', fields: { 'content-type': 'application/grpc', te: 'trailers' }, body: '' });
  assert.deepEqual([grpc.status, grpc.headers['grpc-status']], [200, '12']);
  await eventually(() => logLines(plait).length === 3, 'all are logged');
  assert.deepEqual(logLines(plait).map((line) => [line.status, line.path, line.cause]), [[404, '/x?y', 'no_route'], [404, '/x?y', 'no_route'], [200, '/a.B/C', 'no_route']]);
});

test('a split follows the weights, and a key keeps a client on its side', async (t) => {
  const [a, b] = [await startEcho(t, 'h2c', 'a'), await startEcho(t, 'http/1.1', 'b')];
  const split = 'split = [{ cluster = "a", weight = 3 }, { cluster = "b", weight = 1 }, { cluster = "never", weight = 0 }]';
  const plait = await serve(t, `[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n${cluster('a', [a])}${cluster('b', [b])}${cluster('never', ['h2c://127.0.0.1:1'])}`
    + route('drawn', `path = "/drawn"\n${split}`) + route('cookie', `path = "/cookie"\n${split}\nsplit_key = { cookie = "who" }`)
    + route('field', `path = "/field"\n${split}\nsplit_key = { header = "X-User" }`)
    + route('address', `path = "/address"\n${split}\nsplit_key = { client_address = true }`));
  const session = connectH2(t, plait.port);
  const sideOf = async (target, fields = {}) => JSON.parse((await request(session, { ':path': target, ...fields })).body).name;
  const sides = async (count, target, fieldsOf) => (await Promise.all(Array.from({ length: count }, (_, i) => sideOf(target, fieldsOf(i))))).filter((side) => side === 'a').length;
  // Five standard deviations on either side.
  const assertShare = (count, of) => assert.ok(Math.abs(count - of * 0.75) < 5 * Math.sqrt(of * 0.75 * 0.25), `${count} of ${of} went to the side of weight 3 of 4`);
  assertShare(await sides(400, '/drawn', () => ({})), 400);
  for (const [target, fieldsOf] of [
    ['/cookie', (i) => ({ cookie: `other=1; who=user-${i}` })], ['/field', (i) => ({ 'x-user': `user-${i}` })],
    ['/address', (i) => ({ 'x-forwarded-for': `192.0.2.${i % 250}, 198.51.100.7` })],
  ]) {
    if (target !== '/address') assertShare(await sides(400, target, fieldsOf), 400);
    for (let i = 0; i < 5; i += 1) assert.ok([0, 20].includes(await sides(20, target, () => fieldsOf(i))), `${target}: one key, one side`);
  }
  assertShare(await sides(400, '/address', (i) => ({ 'x-forwarded-for': `192.0.2.1, 198.51.100.${i % 250}` })), 400);
  const without = await sides(60, '/cookie', () => ({}));
  assert.ok(without > 0 && without < 60, 'a client without the key is drawn');
});

test('a retry stays on the side of the split that the request was given', async (t) => {
  const closing = await startRawBackend(t, (socket) => socket.on('data', () => socket.destroy()));
  const [good, other] = [await startEcho(t, 'http/1.1', 'good'), await startEcho(t, 'http/1.1', 'other')];
  const plait = await serve(t, cluster('a', [closing, good], 'outliers = { failures = 1000 }') + cluster('b', [other])
    + route('r', 'split = [{ cluster = "a", weight = 1 }, { cluster = "b", weight = 1 }]\nsplit_key = { header = "x-user" }'));
  const sides = new Map();
  for (let round = 0; round < 6; round += 1) {
    for (let user = 0; user < 8; user += 1) {
      const { status, seen } = await ask(t, plait, 'h2c', { fields: { 'x-user': `u${user}` } });
      assert.equal(status, 200);
      assert.equal(sides.get(user) ?? seen.name, seen.name, `user ${user}`);
      sides.set(user, seen.name);
    }
  }
  assert.equal(new Set(sides.values()).size, 2);
  await eventually(() => logLines(plait).some((line) => line.retries > 0), 'some requests were repeated');
});

test('a redirect is absolute, keeps what it does not replace, and has the route\'s fields', async (t) => {
  const plait = await serve(t, route('same', 'path = "/same"\nredirect = { status = 308, scheme = "https" }')
    + route('host', 'path = "/host"\nredirect = { status = 301, host = "new.example:8443" }')
    + route('path', 'path = "/old/place"\nredirect = { status = 302, path = "/new" }\nresponse_fields = { set = { x-from = "${path}" } }')
    + route('slash', 'path = "/strip"\nredirect = { status = 303, path = "/" }')
    + route('exact', 'path_exact = "/exact/one"\nredirect = { status = 307, path = "/two", port = 81, host = "[2001:db8::1]" }')
    + route('port', 'path = "/port"\nredirect = { port = 8443, scheme = "https" }')
    + route('regex', 'path_regex = "/r/.*"\nexample = "/r/x"\nredirect = { path = "/all" }'));
  for (const version of versions) {
    for (const [target, status, location] of [
      ['/same/x?q=1', 308, 'https://shop.example/same/x?q=1'], ['/same?', 308, 'https://shop.example/same?'],
      ['/host/a%20b?x', 301, 'http://new.example:8443/host/a%20b?x'],
      ['/old/place', 302, 'http://shop.example:8080/new'], ['/old/place/', 302, 'http://shop.example:8080/new/'],
      ['/old/place/x/y?z=/old', 302, 'http://shop.example:8080/new/x/y?z=/old'],
      ['/strip', 303, 'http://shop.example:8080/'], ['/strip/x', 303, 'http://shop.example:8080/x'],
      ['/exact/one?a', 307, 'http://[2001:db8::1]:81/two?a'], ['/port/x', 302, 'https://shop.example:8443/port/x'],
      ['/r/anything/else?q', 302, 'http://shop.example:8080/all?q'],
    ]) {
      const answer = await ask(t, plait, version, { target, host: 'shop.example:8080' });
      assert.deepEqual([answer.status, answer.headers.location, answer.body], [status, location, ''], `${target} over ${version}`);
      if (target.startsWith('/old')) assert.equal(answer.headers['x-from'], target.split('?')[0]);
    }
  }
  assert.match(await exchangeRaw(plait.port, 'GET /same HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 400 [\s\S]*names no host/, 'there is no absolute URL without a host');
});

test('a response of the route\'s own comes whole: text, file, status, HEAD', async (t) => {
  const folder = temporaryDirectory(t);
  const bytes = Buffer.from(Array.from({ length: 65_536 }, (_, i) => 32 + (i * 7 + (i >> 8)) % 90));
  writeFileSync(path.join(folder, 'page.html'), bytes);
  const plait = await serve(t, route('text', 'path = "/text"\nrespond = { status = 410, body = "gone\\n" }')
    + route('file', `path = "/file"\nrespond = { file = "${folder}/page.html" }\nresponse_fields = { set = { cache-control = "max-age=60" }, remove = ["content-type"] }`)
    + route('none', 'path = "/none"\nrespond = { status = 204 }') + route('typed', 'path = "/typed"\nrespond = { body = "{}", content_type = "application/problem+json" }')
    + route('empty', 'path = "/empty"\nrespond = { status = 200 }'));
  for (const version of versions) {
    const text = await ask(t, plait, version, { target: '/text', method: 'POST', body: 'a body that nobody wants' });
    assert.deepEqual([text.status, text.body, text.headers['content-type'], text.headers['content-length']], [410, 'gone\n', 'text/plain; charset=utf-8', '5']);
    const file = await ask(t, plait, version, { target: '/file' });
    assert.deepEqual([file.status, file.headers['content-length'], file.headers['cache-control'], file.headers['content-type']], [200, '65536', 'max-age=60', undefined]);
    assert.ok(file.body === bytes.toString('latin1'));
    const head = await ask(t, plait, version, { target: '/file', method: 'HEAD' });
    assert.deepEqual([head.status, head.headers['content-length'], head.body], [200, '65536', '']);
    const none = await ask(t, plait, version, { target: '/none' });
    assert.deepEqual([none.status, none.headers['content-length'], none.body], [204, undefined, '']);
    assert.equal((await ask(t, plait, version, { target: '/typed' })).headers['content-type'], 'application/problem+json');
    const empty = await ask(t, plait, version, { target: '/empty' });
    assert.deepEqual([empty.status, empty.headers['content-length'], empty.headers['content-type']], [200, '0', undefined]);
  }
  // A client that grants 1,000 bytes at a time, and stops for a while in the middle.
  const session = connectH2(t, plait.port, { settings: { initialWindowSize: 1000 } });
  const slow = await request(session, { ':path': '/file' }, { onHeaders: (stream) => {
    stream.pause();
    setTimeout(() => stream.resume(), 200);
  } });
  assert.ok(slow.status === 200 && slow.body === bytes.toString());
  const closed = await request(connectH2(t, plait.port, { settings: { initialWindowSize: 0 } }), { ':path': '/file' }, {
    onHeaders: (stream) => stream.close(8),
  });
  assert.equal(closed.status, 200, 'a client that takes nothing can leave');
  // A slow one of HTTP/1.1.
  const raw = await openRaw(t, plait.port);
  raw.socket.pause();
  raw.write('GET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  setTimeout(() => raw.socket.resume(), 200);
  await raw.ended();
  assert.ok(raw.text.endsWith(bytes.toString('latin1')));
});

for (const backendVersion of versions) {
  test(`a route rewrites path and host, and the query stays, towards ${backendVersion}`, async (t) => {
    const echo = await startEcho(t, backendVersion, 'e');
    const plait = await serve(t, cluster('e', [echo]) + route('prefix', 'path = "/api/v1"\ncluster = "e"\nrewrite = { path = "/v2" }')
      + route('strip', 'path = "/strip"\ncluster = "e"\nrewrite = { path = "/" }') + route('deeper', 'path = "/deeper/"\ncluster = "e"\nrewrite = { path = "/a/b/" }')
      + route('exact', 'path_exact = "/exact"\ncluster = "e"\nrewrite = { path = "/whole", host = "inner.example:81" }')
      + route('regex', 'path_regex = "/r/.*"\nexample = "/r/1"\ncluster = "e"\nrewrite = { path = "/fixed" }')
      + route('front', 'path = "/"\nhost = "front.example"\ncluster = "e"\nrewrite = { path = "/app" }') + route('rest', 'cluster = "e"'));
    for (const version of versions) {
      for (const [target, seen] of [
        ['/api/v1', '/v2'], ['/api/v1/', '/v2/'], ['/api/v1/x%2Cy?q=/api/v1', '/v2/x%2Cy?q=/api/v1'], ['/api/v1?', '/v2?'],
        ['/strip', '/'], ['/strip/', '/'], ['/strip/x/y', '/x/y'], ['/strip?q', '/?q'], ['/deeper', '/a/b/'], ['/deeper/x', '/a/b/x'],
        ['/exact?q', '/whole?q'], ['/r/any/thing?z', '/fixed?z'], ['/other/x?y', '/other/x?y'],
      ]) {
        const answer = await ask(t, plait, version, { target });
        assert.deepEqual([answer.seen.path, answer.seen.host], [seen, target.startsWith('/exact') ? 'inner.example:81' : 'any.example'], `${target} over ${version}`);
        assert.equal(answer.seen.fields['x-forwarded-host'], 'any.example', 'the backend learns what the client has asked for');
      }
      for (const [target, seen] of [['/', '/app/'], ['/x', '/app/x']]) assert.equal((await ask(t, plait, version, { target, host: 'front.example' })).seen.path, seen);
    }
    await eventually(() => logLines(plait).length === 30, 'all are logged');
    assert.ok(logLines(plait).every((line) => !line.path.startsWith('/v2') && !line.path.startsWith('/whole')), 'the log has what the client has asked for');
  });

  test(`a route sets, adds and removes fields, with variables, towards ${backendVersion}`, async (t) => {
    const echo = await startEcho(t, backendVersion, 'e');
    const plait = await serve(t, `[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n${cluster('e', [echo])}` + route('f', `
path = "/f"
cluster = "e"
rewrite = { path = "/g", host = "inner" }
request_fields = { set = { x-edge = "1", x-who = "\${client_address} \${method} \${scheme}://\${host}\${path}?\${query}", x-price = "5 $$", x-request-id = "mine" }, add = { x-tag = "two" }, remove = ["X-Debug", "user-agent"] }
response_fields = { set = { server = "edge", x-id = "\${request_id}", x-tls = "[\${tls_server_name}]" }, add = { x-one = "c", set-cookie = "a=1" }, remove = ["x-hidden"] }
`));
    for (const version of versions) {
      const { seen, headers } = await ask(t, plait, version, { target: '/f/x?a=b%20c', host: 'Shop.example:1', fields: { 'x-edge': 'forged', 'x-debug': 'yes', 'user-agent': 'me', 'x-tag': 'one', 'x-forwarded-for': '203.0.113.9' } });
      const { fields } = seen;
      assert.deepEqual([fields['x-edge'], fields['x-debug'], fields['user-agent'], fields['x-tag'], fields['x-price']], ['1', undefined, undefined, 'one, two', '5 $']);
      assert.equal(fields['x-who'], '203.0.113.9 GET http://Shop.example:1/f/x?a=b%20c', 'variables are what the client has asked for');
      assert.equal(fields['x-request-id'], 'mine');
      assert.deepEqual([headers.server, headers['x-tls'], headers['x-one']], ['edge', '[]', 'a, b, c']);
      assert.match(headers['x-id'], /^[0-9a-f]{16}$/);
      assert.deepEqual([headers['set-cookie']].flat(), ['a=1']);
    }
    // A value that is too long for a variable, and one that no field may have, are not set; what the client sent is gone all the same.
    const long = await ask(t, plait, 'http/1.1', { target: `/f/${'x'.repeat(8170)}`, fields: { 'x-who': 'forged' } });
    assert.deepEqual([long.status, long.seen.fields['x-who'], long.seen.fields['x-edge']], [200, undefined, '1']);
  });
}

test('a route\'s head timeout ends a request with 504, its idle and total timeouts break a response off', async (t) => {
  const handle = (target, { begin, write, silent }) => {
    if (target.startsWith('/silent')) return silent();
    begin();
    if (target.startsWith('/trickle')) {
      const timer = setInterval(() => { if (!write('x')) clearInterval(timer); }, 50);
      return undefined;
    }
    return write('begun');
  };
  const h2 = await startH2Backend(t, (stream, headers) => handle(headers[':path'], {
    begin: () => stream.respond({ ':status': 200 }), write: (text) => !stream.destroyed && (stream.write(text), true), silent: () => stream.resume(),
  }));
  const h1 = await startH1Backend(t, (incoming, response) => handle(incoming.url, {
    begin: () => response.writeHead(200), write: (text) => !response.destroyed && (response.write(text), true), silent: () => incoming.resume(),
  }));
  for (const backend of [h2, h1]) {
    const plait = await serve(t, `[timeouts]\ndrain_ms = 100\n${cluster('c', [backend])}` + route('head', 'path = "/silent/head"\ncluster = "c"\ntimeouts = { response_head_ms = 300 }')
      + route('idle', 'path = "/half"\ncluster = "c"\ntimeouts = { idle_ms = 300 }') + route('total', 'cluster = "c"\ntimeouts = { total_ms = 1000 }')
      + route('none', 'path = "/trickle/long"\ncluster = "c"\ntimeouts = { total_ms = 2500, idle_ms = 1000 }'));
    for (const version of versions) {
      const timed = async (what) => {
        const since = Date.now();
        const answer = await ask(t, plait, version, what);
        return { ...answer, ms: Date.now() - since };
      };
      const what = `${version} to ${backend.url}`;
      const head = await timed({ target: '/silent/head' });
      assert.ok(head.status === 504 && head.ms >= 290 && head.ms < 3000, `${what}: ${head.status} after ${head.ms} ms`);
      const posted = await timed({ target: '/silent/head', method: 'POST', body: 'x' });
      assert.equal(posted.status, 504);
      const total = await timed({ target: '/silent' });
      assert.ok(total.status === 504 && total.ms >= 990 && total.ms < 5000, `${what}: ${total.status} after ${total.ms} ms`);
      const idle = await timed({ target: '/half' });
      assert.ok(idle.status === 200 && idle.error && idle.ms < 3000, `${what}: an idle response is broken off`);
      assert.equal(idle.body, 'begun');
      const trickle = await timed({ target: '/trickle' });
      assert.ok(trickle.status === 200 && trickle.error && trickle.ms >= 990 && trickle.ms < 5000, `${what}: broken off after its time, ${trickle.ms} ms`);
      const long = await timed({ target: '/trickle/long' });
      assert.ok(long.status === 200 && long.ms >= 2400, `${what}: what trickles is not idle, ${long.ms} ms`);
    }
    await eventually(() => logLines(plait).length === 12, 'all are logged');
    assert.deepEqual(new Set(logLines(plait).map((line) => line.cause)), new Set(['deadline_exceeded']));
  }
});

test('a request whose body comes late is over after the route\'s total time as well', async (t) => {
  const echo = await startEcho(t, 'h2c', 'e');
  const plait = await serve(t, cluster('e', [echo]) + route('total', 'cluster = "e"\ntimeouts = { total_ms = 400 }'));
  const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { streaming: true, onStream: (stream) => stream.write('begun') });
  assert.equal(answer.status, 504);
  const raw = await openRaw(t, plait.port);
  raw.write('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nbegun');
  await raw.until(/^HTTP\/1\.1 504 /);
});

test('retries.max = 0 and unknown = "never" keep a request from being repeated', async (t) => {
  const closing = async (answersFrom) => {
    let requests = 0;
    return Object.assign(await startRawBackend(t, (socket) => socket.on('data', () => {
      requests += 1;
      if (requests < answersFrom) socket.destroy();
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    })), { requests: () => requests });
  };
  for (const [keys, status, requests] of [['', 200, 2], ['retries = { max = 0 }', 502, 1], ['retries = { unknown = "never" }', 502, 1], ['retries = { max = 3, unknown = "idempotent" }', 200, 2]]) {
    const backend = await closing(2);
    const plait = await serve(t, cluster('c', [backend]) + route('r', `cluster = "c"\n${keys}`));
    assert.deepEqual([(await ask(t, plait, 'h2c')).status, backend.requests()], [status, requests], keys);
  }
});

test('a body that is larger than its route allows is a 413, whatever says its length', async (t) => {
  for (const backendVersion of versions) {
    const echo = await startEcho(t, backendVersion, 'e');
    const plait = await serve(t, cluster('e', [echo]) + route('small', 'path = "/small"\ncluster = "e"\nlimits = { body_bytes = 10 }')
      + route('own', 'path = "/own"\nrespond = { body = "own" }\nlimits = { body_bytes = 10 }') + route('any', 'path = "/any"\ncluster = "e"\nlimits = { body_bytes = 0 }'));
    for (const version of versions) {
      assert.equal((await ask(t, plait, version, { method: 'POST', target: '/small', body: '0123456789' })).seen.body, '0123456789');
      for (const target of ['/small', '/own']) {
        const over = await ask(t, plait, version, { method: 'POST', target, body: '0123456789X', fields: { 'content-length': '11' } });
        assert.equal(over.status, 413, `${target} over ${version}`);
      }
      assert.equal((await ask(t, plait, version, { method: 'POST', target: '/any', body: 'x'.repeat(100_000) })).status, 200);
    }
    const before = echo.seen.length;
    const session = connectH2(t, plait.port);
    const late = await request(session, { ':path': '/small', ':method': 'POST' }, { streaming: true, onStream: (stream) => {
      stream.write('01234');
      setTimeout(() => stream.write('56789X'), 50);
    } });
    assert.equal(late.status, 413);
    const exact = await request(session, { ':path': '/small', ':method': 'POST' }, { streaming: true, onStream: (stream) => {
      stream.write('01234');
      setTimeout(() => stream.end('56789'), 50);
    } });
    assert.equal(exact.status, 200, 'the connection goes on');
    const large = await request(session, { ':path': '/small', ':method': 'POST' }, { body: 'x'.repeat(300_000) });
    assert.equal(large.status, 413);
    const raw = await openRaw(t, plait.port);
    raw.write('POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n');
    setTimeout(() => raw.write('6\r\n56789X\r\n'), 50);
    await raw.until(/^HTTP\/1\.1 413 /);
    const expecting = await openRaw(t, plait.port);
    expecting.write('POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n');
    await expecting.until(/^HTTP\/1\.1 413 /);
    const waiting = await openRaw(t, plait.port);
    waiting.write('POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n');
    await waiting.until(/^HTTP\/1\.1 100 Continue\r\n\r\n$/);
    waiting.write('0123456789');
    await waiting.until(/HTTP\/1\.1 200 /);
    for (const [length, status] of [[11, 413], [10, 200]]) {
      let invited = 0;
      const answer = await request(session, { ':path': '/small', ':method': 'POST', 'content-length': String(length), expect: '100-continue' }, { streaming: true, onStream: (stream) => {
        stream.on('continue', () => {
          invited += 1;
          stream.end('x'.repeat(length));
        });
      } });
      assert.deepEqual([answer.status, invited], [status, status === 200 ? 1 : 0]);
    }
    const pipelined = await exchangeRaw(plait.port, 'POST /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n0123456789XGET /small HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    assert.match(pipelined, /^HTTP\/1\.1 413 /);
    assert.ok(!/HTTP\/1\.1 400/.test(pipelined), 'no byte of a body is taken for a request');
    assert.equal(echo.seen.length - before, pipelined.includes(' 200 ') ? 4 : 3, 'no cut body has ended as if it were whole');
  }
});

test('a route and a cluster take as many requests at once as they may, and their places come back', async (t) => {
  const held = [];
  const backend = await startH2Backend(t, (stream) => held.push(stream));
  const plait = await serve(t, `[timeouts]\ndrain_ms = 100\n${cluster('a', [backend], 'limits = { requests = 3 }')}${cluster('b', [backend])}`
    + route('two', 'path = "/two"\ncluster = "b"\nlimits = { requests = 2 }') + route('a', 'path = "/a"\ncluster = "a"') + route('also-a', 'path = "/also"\ncluster = "a"')
    + route('own', 'path = "/own"\nrespond = { body = "own" }\nlimits = { requests = 1 }'));
  const session = connectH2(t, plait.port);
  const answerAll = () => {
    for (const stream of held.splice(0)) if (!stream.destroyed) stream.respond({ ':status': 200 }, { endStream: true });
  };
  for (const [targets, most, text] of [[['/two', '/two'], 2, 'the route has as many requests as limits.requests allows\n'], [['/a', '/also'], 3, 'the cluster has as many requests as its limits.requests allows\n']]) {
    for (let round = 0; round < 3; round += 1) {
      const running = Array.from({ length: most }, (_, i) => request(session, { ':path': targets[i % 2] }));
      await eventually(() => held.length === most, 'they are with the backend');
      const refused = await request(session, { ':path': targets[1] });
      assert.deepEqual([refused.status, refused.body, refused.headers['retry-after']], [503, text, '1']);
      // Clients that leave give their places back as well.
      if (round === 1) {
        for (const stream of held) stream.close(8);
        await Promise.all(running);
        held.length = 0;
      } else {
        answerAll();
        for (const one of await Promise.all(running)) assert.equal(one.status, 200);
      }
    }
  }
  for (let i = 0; i < 5; i += 1) assert.equal((await request(session, { ':path': '/own' })).body, 'own');
});

test('a client whose network a route denies, or does not allow, gets 403, as trusted proxies name it', async (t) => {
  const plait = await serve(t, '[forwarding]\ntrusted_proxies = ["127.0.0.1", "10.0.0.0/8"]\n' + answers('allow', 'path = "/allow"\nallow = ["192.0.2.0/24", "2001:db8::/32"]')
    + answers('deny', 'path = "/deny"\ndeny = ["192.0.2.0/24"]') + answers('both', 'path = "/both"\nallow = "192.0.2.0/24"\ndeny = "192.0.2.7"') + answers('here', 'path = "/here"\nallow = "127.0.0.0/8"'));
  for (const version of versions) {
    for (const [target, forwarded, expected] of [
      ['/allow', '192.0.2.9', 'allow'], ['/allow', '198.51.100.1', 403], ['/allow', '2001:db8::7', 'allow'], ['/allow', '::ffff:192.0.2.9', 'allow'], ['/allow', undefined, 403],
      ['/allow', '192.0.2.9, 198.51.100.1', 403], ['/allow', '198.51.100.1, 192.0.2.9, 10.1.1.1', 'allow'], ['/allow', 'unknown', 403], ['/allow', '192.0.2.9:1234', 403],
      ['/deny', '192.0.2.9', 403], ['/deny', '198.51.100.1', 'deny'], ['/deny', '::ffff:192.0.2.9', 403], ['/deny', 'unknown', 403], ['/deny', '192.0.2.9:1234', 403], ['/deny', undefined, 'deny'],
      ['/both', '192.0.2.8', 'both'], ['/both', '192.0.2.7', 403], ['/here', undefined, 'here'], ['/here', '192.0.2.7', 403],
    ]) assert.equal(await nameFor(t, plait, version, { target, fields: forwarded ? { 'x-forwarded-for': forwarded } : {} }), expected, `${target} ${forwarded} over ${version}`);
  }
  const text = await ask(t, plait, 'h2c', { target: '/allow' });
  assert.deepEqual([text.body, text.headers['proxy-status']], ['this route is not open to this client\n', 'plait; error=http_request_denied']);
});

test('Strict-Transport-Security goes out over TLS alone, once, in every answer of the route', async (t) => {
  const files = await certificate(t);
  const backend = await startH1Backend(t, (incoming, response) => {
    response.writeHead(200, { 'strict-transport-security': 'max-age=1' });
    response.end('ok');
  });
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\ncert = "${files.cert}"\nkey = "${files.key}"\n${cluster('c', [backend])}${cluster('down', ['h2c://127.0.0.1:1'])}`
    + route('c', 'path = "/c"\ncluster = "c"\nhsts = { max_age_s = 600, include_subdomains = true, preload = true }') + route('down', 'path = "/down"\ncluster = "down"\nhsts = { max_age_s = 0 }')
    + route('own', 'path = "/own"\nrespond = { body = "own" }\nhsts = { max_age_s = 5 }') + route('go', 'path = "/go"\nredirect = { path = "/x" }\nhsts = { max_age_s = 5 }'));
  for (const version of versions) {
    for (const [target, value] of [['/c', 'max-age=600; includeSubDomains; preload'], ['/down', 'max-age=0'], ['/own', 'max-age=5'], ['/go', 'max-age=5']]) {
      const secure = await ask(t, plait, version, { target, tls: { ca: files.pem.cert, servername: 'localhost' } });
      assert.equal(secure.headers['strict-transport-security'], value, `${target} over ${version}`);
      const plain = await ask(t, plait, version, { target });
      assert.equal(plain.headers['strict-transport-security'], target === '/c' ? 'max-age=1' : undefined);
    }
  }
});

test('response_fields that make a head too large are a 502 that says so', async (t) => {
  const echo = await startEcho(t, 'h2c', 'e');
  const set = `response_fields = { set = { ${Array.from({ length: 12 }, (_, n) => `x-${n} = "\${query}"`).join(', ')} } }`;
  const plait = await serve(t, `[admin]\naddress = "127.0.0.1:0"\n${cluster('e', [echo])}` + route('go', `path = "/go"\ncluster = "e"\n${set}`)
    + route('own', `path = "/own"\nrespond = { body = "own" }\n${set}`) + route('away', `path = "/away"\nredirect = { path = "/x" }\n${set}`)
    + route('denied', `path = "/denied"\ncluster = "e"\ndeny = "127.0.0.1"\n${set}`));
  for (const version of versions) {
    for (const target of ['/go', '/own', '/away']) {
      const over = await ask(t, plait, version, { target: `${target}?${'q'.repeat(7000)}` });
      assert.deepEqual([over.status, over.error ?? null, over.headers['x-0']], [502, null, undefined], `${target} over ${version}`);
      assert.match(over.headers['proxy-status'], /^plait; error=proxy_configuration_error/);
      assert.match(over.body, target === '/go' ? /./ : /too large with the response_fields of its route/);
      const fine = await ask(t, plait, version, { target: `${target}?small` });
      assert.deepEqual([fine.status < 400, fine.headers['x-11']], [true, 'small']);
    }
    const denied = await ask(t, plait, version, { target: `/denied?${'q'.repeat(7000)}` });
    assert.deepEqual([denied.status, denied.headers['x-0']], [403, undefined], 'an answer of plait\'s own goes without them');
  }
  await eventually(() => logLines(plait).filter((line) => line.cause === 'fields_too_large').length === 6, 'the log has the cause');
  assert.equal(await metric(plait, 'plait_response_fields_too_large_total'), 6);
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: `e/${echo.url}` }), 1);
});

test('what a route answers by itself is an answer to gRPC too', async (t) => {
  const plait = await serve(t, route('text', 'path = "/text"\nrespond = { status = 503, body = "closed for repairs\\n" }') + route('page', 'path = "/page"\nrespond = { status = 404, body = "<p>", content_type = "text/html" }')
    + route('none', 'path = "/none"\nrespond = { status = 204 }') + route('away', 'path = "/away"\nredirect = { status = 301, path = "/x" }') + route('denied', 'path = "/denied"\nrespond = { status = 401 }\nresponse_fields = { set = { x-route = "yes" } }'));
  for (const [target, grpcStatus, message] of [['/text', '14', 'closed for repairs'], ['/page', '12', ''], ['/none', '2', ''], ['/away', '2', 'the request is redirected, which gRPC does not follow'], ['/denied', '16', '']]) {
    const answer = await ask(t, plait, 'h2c', { method: 'POST', target, fields: { 'content-type': 'application/grpc+proto', te: 'trailers' }, body: 'x' });
    assert.deepEqual([answer.status, answer.headers['content-type'], answer.headers['grpc-status'], answer.headers['grpc-message'] ?? '', answer.body, answer.headers.location],
      [200, 'application/grpc', grpcStatus, message, '', undefined], target);
    assert.equal(answer.headers['x-route'], target === '/denied' ? 'yes' : undefined);
  }
  for (const version of versions) {
    const head = await ask(t, plait, version, { target: '/text', method: 'HEAD' });
    assert.deepEqual([head.status, head.body, head.headers['content-length']], [503, '', '19'], version);
  }
});

test('plait\'s own answers have the route\'s pages, but neither gRPC nor what a backend says', async (t) => {
  const folder = temporaryDirectory(t);
  const large = `<p>${'large '.repeat(2700)}</p>`;
  for (const status of [403, 413, 502, 503, 404]) writeFileSync(path.join(folder, `${status}.html`), status === 413 ? large : `<h1>page ${status}</h1>`);
  const pages = `error_pages = [${[403, 413, 502, 503, 404].map((status) => `{ status = ${status}, file = "${folder}/${status}.html" }`).join(', ')}]\nresponse_fields = { set = { x-page = "yes" } }`;
  const held = [];
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':path'] === '/held') held.push(stream);
    else stream.respond({ ':status': 503 }), stream.end('the backend\'s own');
  });
  const plait = await serve(t, `[timeouts]\ndrain_ms = 100\nqueue_ms = 300\n${cluster('c', [backend])}${cluster('down', [`http://127.0.0.1:${await freePort()}`])}`
    + route('denied', `path = "/denied"\ncluster = "c"\ndeny = "127.0.0.1"\n${pages}`) + route('small', `path = "/small"\ncluster = "c"\nlimits = { body_bytes = 1 }\n${pages}`)
    + route('down', `path = "/down"\ncluster = "down"\n${pages}`) + route('one', `path = "/held"\ncluster = "c"\nlimits = { requests = 1 }\n${pages}`) + route('c', `path = "/c"\ncluster = "c"\n${pages}`));
  const first = connectH2(t, plait.port).request({ ':path': '/held' });
  first.on('error', () => {});
  await eventually(() => held.length === 1, 'one is held');
  for (const version of versions) {
    for (const [what, status, page] of [[{ target: '/denied' }, 403], [{ target: '/small', method: 'POST', body: 'xx' }, 413, large], [{ target: '/down' }, 502], [{ target: '/held' }, 503]]) {
      const answer = await ask(t, plait, version, what);
      assert.deepEqual([answer.status, answer.body, answer.headers['content-type'], answer.headers['x-page']], [status, page ?? `<h1>page ${status}</h1>`, 'text/html; charset=utf-8', 'yes'], `${what.target} over ${version}`);
      assert.ok(answer.headers['proxy-status'].startsWith('plait; error='));
      const head = await ask(t, plait, version, { ...what, method: what.method ?? 'HEAD' });
      if (!what.method) assert.deepEqual([head.status, head.body, head.headers['content-length']], [status, '', String((page ?? `<h1>page ${status}</h1>`).length)]);
    }
    assert.equal((await ask(t, plait, version, { target: '/c' })).body, 'the backend\'s own');
    const nowhere = await ask(t, plait, version, { target: '/nowhere' });
    assert.deepEqual([nowhere.status, nowhere.body, nowhere.headers['x-page']], [404, 'no route leads anywhere for this host and path\n', undefined]);
  }
  const grpc = await ask(t, plait, 'h2c', { method: 'POST', target: '/denied', fields: { 'content-type': 'application/grpc', te: 'trailers' }, body: '' });
  assert.deepEqual([grpc.status, grpc.headers['grpc-status'], grpc.body, grpc.headers['x-page']], [200, '7', '', 'yes']);
  // A client with no room for the page gets the status all the same.
  const tiny = await request(connectH2(t, plait.port, { settings: { initialWindowSize: 0 } }), { ':path': '/denied' });
  assert.deepEqual([tiny.status, tiny.rstCode], [403, 0]);
});

test('a path that can be read in two ways is refused, and what goes on is as it came', async (t) => {
  const backends = [await startEcho(t, 'http/1.1', 'one'), await startEcho(t, 'h2c', 'two')];
  for (const backend of backends) {
    const plait = await serve(t, cluster('c', [backend]) + route('closed', 'path = "/admin"\nrespond = { status = 403, body = "closed" }') + route('open', 'cluster = "c"'));
    for (const version of versions) {
      for (const target of ['/x/../admin', '/%61dmin', '//admin', '/./admin', '/x/%2e%2e/admin', '/x%2f..%2fadmin', '/admin;x', '/admin%3bx', '/x/..;/admin', '/%2561dmin', '/admin%00', '/\\admin', '/x\\..\\admin',
        '/%5cadmin', '/x%5c..%5cadmin', '/a%zz', '/a%', '/%c0%ae%c0%ae/admin', '/admin%2f..', '/admin/..', '/x/%252e%252e/admin', '/admin%23', '/admin%3f', '/%2fadmin']) {
        const { status } = await ask(t, plait, version, { target });
        assert.ok(status === 400 || status === 403, `${target} over ${version}: ${status}`);
      }
      for (const target of ['/a/../b', '/x//y', '/@scope%2fname', '/a;b=c/d', '/x%20y', '/a%2Fb', '/%E2%82%AC', '/a/./b', '/administrator', '/Admin', '/x?/../admin', '/x?a=%00', '/x;/admin2', '/.well-known/x', '/a..b/...']) {
        const answer = await ask(t, plait, version, { target });
        assert.deepEqual([answer.status, answer.seen?.path], [200, target], `${target} over ${version}`);
      }
    }
    assert.match(await exchangeRaw(plait.port, 'GET /a#b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 400 /);
    const absolute = await exchangeRaw(plait.port, 'GET http://inner.example/admin/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    assert.match(absolute, /^HTTP\/1\.1 40[03] /);
    assert.match(await exchangeRaw(plait.port, 'OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /);
    await eventually(() => logLines(plait).filter((line) => line.status === 200).length === backend.seen.length, 'all are logged');
    assert.deepEqual(logLines(plait).filter((line) => line.status === 200).map((line) => line.path), backend.seen.map((one) => one.path));
  }
});

test('no rewritten path leaves what the route has put in place of its prefix', async (t) => {
  const echo = await startEcho(t, 'http/1.1', 'e');
  const plait = await serve(t, cluster('e', [echo]) + route('tenant', 'path = "/tenant"\ncluster = "e"\nrewrite = { path = "/public/tenant" }') + route('strip', 'path = "/strip"\ncluster = "e"\nrewrite = { path = "/" }'));
  for (const version of versions) {
    for (const target of ['/tenant/../tenant/x', '/tenant/x/../../tenant/y', '/tenant/%2e%2e/tenant/x', '/tenant/x/..%2f../tenant/y', '/tenant//../../tenant/x', '/tenant/..;/tenant/x', '/strip/../strip/x'])
      assert.equal((await ask(t, plait, version, { target })).status, 400, `${target} over ${version}`);
    for (const [target, seen] of [['/tenant/x/../y', '/public/tenant/x/../y'], ['/tenant/x//y', '/public/tenant/x//y'], ['/tenant/x%2fy', '/public/tenant/x%2fy'], ['/tenant//x', '/public/tenant//x'], ['/strip//x', '//x']]) {
      const answer = await ask(t, plait, version, { target });
      assert.deepEqual([answer.status, answer.seen?.path], [200, seen], `${target} over ${version}`);
    }
  }
});

test('a cluster\'s queue, connections and timeouts are its own', async (t) => {
  const held = [];
  const one = await startH1Backend(t, (incoming, response) => held.push(response));
  const two = await startH1Backend(t, (incoming, response) => held.push(response));
  const plait = await serve(t, `[timeouts]\ndrain_ms = 100\nqueue_ms = 20000\n${cluster('none', [one], 'limits = { queue = 0, connections = 2 }')}${cluster('waits', [two], 'limits = { connections = 1 }\ntimeouts = { queue_ms = 300, response_head_ms = 1500 }')}`
    + cluster('down', [`http://127.0.0.1:${await freePort()}`], 'limits = { queue = 0 }') + cluster('cold', [await startEcho(t, 'h2c', 'cold')], 'limits = { queue = 0 }')
    + route('down', 'path = "/down"\ncluster = "down"') + route('cold', 'path = "/cold"\ncluster = "cold"')
    + route('none', 'path = "/none"\ncluster = "none"') + route('waits', 'path = "/waits"\ncluster = "waits"'));
  const session = connectH2(t, plait.port);
  const first = [request(session, { ':path': '/none' }), request(session, { ':path': '/none' })];
  await eventually(() => held.length === 2, 'both connections are taken');
  const since = Date.now();
  const refused = await request(session, { ':path': '/none' });
  assert.equal(refused.status, 503);
  assert.ok(Date.now() - since < 2000, 'nobody waits where queue = 0');
  assert.equal(one.opened, 2);
  for (const response of held.splice(0)) response.end('ok');
  for (const answer of await Promise.all(first)) assert.equal(answer.status, 200);
  const silent = request(session, { ':path': '/waits' });
  await eventually(() => held.length === 1, 'the only connection is taken');
  const begun = Date.now();
  const late = await request(session, { ':path': '/waits' });
  assert.ok(late.status === 503 && Date.now() - begun >= 290 && Date.now() - begun < 1400, `${late.status} after ${Date.now() - begun} ms`);
  assert.equal((await silent).status, 504, 'the cluster\'s response_head_ms');
  assert.equal(two.opened, 1);
  for (let i = 0; i < 3; i += 1) assert.equal((await request(session, { ':path': '/down' })).status, 502, 'that a backend is down is no want of room');
  await eventually(() => logLines(plait).filter((line) => line.path === '/down').length === 3, 'all are logged');
  assert.deepEqual(new Set(logLines(plait).filter((line) => line.path === '/down').map((line) => line.cause)), new Set(['connect_failed']));
  // The first requests of many come before there is a connection that could carry them.
  assert.deepEqual((await Promise.all(Array.from({ length: 30 }, () => request(session, { ':path': '/cold' })))).map((answer) => answer.status), Array(30).fill(200));
});

test('a cluster that cannot be reached does not disturb another one', async (t) => {
  const silent = await startRawBackend(t, () => {});
  const good = await startEcho(t, 'h2c', 'good');
  const plait = await serve(t, `[timeouts]\ndrain_ms = 100\n${cluster('down', [`h2c://127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`])}${cluster('silent', [silent], 'limits = { connections = 4 }')}${cluster('good', [good])}`
    + route('down', 'path = "/down"\ncluster = "down"') + route('silent', 'path = "/silent"\ncluster = "silent"') + route('good', 'cluster = "good"'));
  const session = connectH2(t, plait.port);
  const stuck = Array.from({ length: 40 }, () => session.request({ ':path': '/silent' }).on('error', () => {}));
  await eventually(() => silent.opened === 4, 'the silent one has its connections');
  const refused = Array.from({ length: 20 }, () => request(session, { ':path': '/down' }));
  const fine = await Promise.all(Array.from({ length: 50 }, (_, i) => request(session, { ':path': `/${i}` })));
  assert.deepEqual(fine.map((one) => one.status), Array(50).fill(200));
  for (const one of await Promise.all(refused)) assert.ok([502, 503].includes(one.status), String(one.status));
  for (const stream of stuck) stream.close(8);
});

test('[[backend]] is the cluster "default", which routes can name', async (t) => {
  const [plain, other] = [await startEcho(t, 'h2c', 'default'), await startEcho(t, 'http/1.1', 'other')];
  const plait = await serve(t, `[[backend]]\nurl = "${plain.url}"\n${cluster('other', [other])}${route('d', 'path = "/d"\ncluster = "default"')}${route('o', 'path = "/o"\ncluster = "other"')}`);
  for (const version of versions) {
    assert.equal((await ask(t, plait, version, { target: '/d' })).seen.name, 'default');
    assert.equal((await ask(t, plait, version, { target: '/o' })).seen.name, 'other');
    assert.equal((await ask(t, plait, version, { target: '/' })).status, 404);
  }
  const several = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n${cluster('a', [plain])}${cluster('b', [other])}${route('r', 'cluster = "a"')}`);
  assert.equal((await ask(t, several, 'h2c')).seen.name, 'default');
});

test('one connection of a client reaches several clusters, in order', async (t) => {
  const [a, b] = [await startEcho(t, 'h2c', 'a'), await startEcho(t, 'http/1.1', 'b')];
  const plait = await serve(t, cluster('a', [a]) + cluster('b', [b]) + route('a', 'path = "/a"\ncluster = "a"') + route('b', 'path = "/b"\ncluster = "b"') + answers('own', 'path = "/own"'));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  defer(t, () => agent.destroy());
  const get = (target) => new Promise((resolve, reject) => {
    http.get({ port: plait.port, host: '127.0.0.1', path: target, agent }, async (incoming) => resolve(Buffer.concat(await incoming.toArray()).toString())).on('error', reject);
  });
  for (let i = 0; i < 5; i += 1) {
    assert.equal(JSON.parse(await get('/a')).name, 'a');
    assert.equal(JSON.parse(await get('/b')).name, 'b');
    assert.equal(await get('/own'), 'own');
  }
  const all = await exchangeRaw(plait.port, ['/a', '/own', '/b', '/nowhere', '/own'].map((target, i) => `GET ${target} HTTP/1.1\r\nHost: x\r\n${i === 4 ? 'Connection: close\r\n' : ''}\r\n`).join(''));
  assert.deepEqual([...all.matchAll(/HTTP\/1\.1 (\d+)/g)].map(([, status]) => status), ['200', '200', '200', '404', '200']);
});

test('a WebSocket goes through a route as any request does', async (t) => {
  const asked = [];
  const backend = await startH1Backend(t, () => {});
  const sockets = new WebSocketServer({ server: backend.server });
  sockets.on('connection', (socket, incoming) => {
    asked.push([incoming.url, incoming.headers.host, incoming.headers['x-edge']]);
    socket.on('message', (text) => socket.send(text));
  });
  const plait = await serve(t, cluster('c', [backend]) + route('ws', 'path = "/ws"\ncluster = "c"\nrewrite = { path = "/socket", host = "inner" }\nrequest_fields = { set = { x-edge = "${path}" } }\ntimeouts = { response_head_ms = 300 }')
    + route('short', 'path = "/short"\ncluster = "c"\ntimeouts = { total_ms = 400 }') + route('closed', 'path = "/closed"\nrespond = { status = 403 }'));
  const open = (target) => {
    const socket = new WebSocket(`ws://127.0.0.1:${plait.port}${target}`);
    socket.on('error', () => {});
    defer(t, () => socket.terminate());
    return socket;
  };
  const socket = open('/ws/x?y');
  await within(10_000, once(socket, 'open'), 'it opens');
  // It outlives the time to a head.
  await new Promise((resolve) => setTimeout(resolve, 500));
  socket.send('hello');
  assert.equal(String((await within(10_000, once(socket, 'message'), 'an echo'))[0]), 'hello');
  assert.deepEqual(asked, [['/socket/x?y', 'inner', '/ws/x']]);
  const short = open('/short');
  await within(10_000, once(short, 'close'), 'total_ms ends it');
  const closed = open('/closed');
  const [, refused] = await within(10_000, once(closed, 'unexpected-response'), 'it is refused');
  assert.equal(refused.statusCode, 403);
});

test('interim responses and trailers pass a route that changes fields, and a large upload to a stored answer harms nobody', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.resume();
    stream.additionalHeaders({ ':status': 103, link: '</style.css>; rel=preload' });
    stream.respond({ ':status': 200, 'x-gone': '1', 'x-length': String(headers[':path'].length) }, { waitForTrailers: true });
    stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0', 'x-gone': '2' }));
    stream.end('body');
  });
  const plait = await serve(t, cluster('c', [backend]) + route('c', 'path = "/c"\ncluster = "c"\nresponse_fields = { set = { server = "edge" }, remove = ["x-gone"] }') + answers('own', 'path = "/own"'));
  const session = connectH2(t, plait.port);
  for (let i = 0; i < 3; i += 1) {
    const answer = await request(session, { ':path': '/c', te: 'trailers' });
    assert.deepEqual([answer.status, answer.body, answer.headers.server, answer.headers['x-gone'], answer.trailers?.['grpc-status']], [200, 'body', 'edge', undefined, '0']);
    assert.equal(answer.interim.length, 1);
    const own = await request(session, { ':path': '/own', ':method': 'POST' }, { body: Buffer.alloc(500_000, 'x') });
    assert.deepEqual([own.status, own.body], [200, 'own']);
  }
  const raw = await openRaw(t, plait.port);
  raw.write(`POST /own HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n${'x'.repeat(500_000)}`);
  await raw.until(/^HTTP\/1\.1 200 [\s\S]*own$/);
});

test('a request that waits in line for room is over after its route\'s total time', async (t) => {
  const held = [];
  const backend = await startH1Backend(t, (incoming, response) => held.push(response));
  const plait = await serve(t, `[timeouts]\ndrain_ms = 100\nqueue_ms = 20000\n${cluster('c', [backend], 'limits = { connections = 1 }')}${route('held', 'path = "/held"\ncluster = "c"')}${route('total', 'cluster = "c"\ntimeouts = { total_ms = 300 }')}`);
  const session = connectH2(t, plait.port);
  const first = request(session, { ':path': '/held' });
  await eventually(() => held.length === 1, 'the connection is taken');
  for (let i = 0; i < 3; i += 1) assert.equal((await request(session, { ':path': '/' })).status, 504);
  // Clients that leave while they wait, and while the time runs, are forgotten.
  await Promise.all(Array.from({ length: 5 }, () => request(session, { ':path': '/' }, { onStream: (stream) => setTimeout(() => stream.close(8), 50) })));
  held[0].end('ok');
  assert.equal((await first).body, 'ok');
  const after = request(session, { ':path': '/held' });
  await eventually(() => held.length === 2, 'the line goes on');
  held[1].end('ok');
  assert.equal((await after).status, 200);
});

test('HTTP/2 requests without :authority are told apart by their Host, and none by two hosts', async (t) => {
  const plait = await serve(t, answers('shop', 'host = "shop.example"') + answers('none'));
  const ask = async (changes) => {
    const peer = await connectWire(plait.port);
    defer(t, () => peer.socket.destroy());
    peer.send(preface, settings());
    peer.send(headers(1, fields(changes)));
    const end = await peer.until((one) => one.stream === 1 && (one.endStream || one.code !== undefined), 'an end');
    return peer.frames.filter((one) => one.stream === 1 && one.type === 0).map((one) => one.payload.toString()).join('') || (end.code === undefined ? 'an error' : 'reset');
  };
  assert.equal(await ask({ ':authority': 'shop.example' }), 'shop');
  assert.equal(await ask({ ':authority': undefined, host: 'shop.example' }), 'shop');
  assert.equal(await ask({ ':authority': undefined }), 'reset', 'a request that names no host is none (RFC 9113 section 8.3.1)');
  assert.notEqual(await ask({ ':authority': 'other.example', host: 'shop.example' }), 'shop');
});
