// plait explain says what a running plait does, and plait check shows for each route a request that reaches it.
import assert from 'node:assert/strict';
import net from 'node:net';
import test from 'node:test';
import { startH1Backend } from './lib/backends.mjs';
import { cutMessages } from './lib/h1_wire.mjs';
import { runPlait, startPlait, writeConfiguration } from './lib/plait.mjs';
import { within } from './lib/process.mjs';

// A backend that answers with what it has seen, and with fields for routes to change.
const startEcho = (t, name) => startH1Backend(t, (incoming, response) => {
  incoming.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json', server: 'echo', 'x-hidden': 'yes' });
    response.end(JSON.stringify({ name, path: incoming.url, host: incoming.headers.host ?? '', fields: incoming.headers }));
  });
});

const configuration = (backends) => `[[listen]]
address = "127.0.0.1:0"
[forwarding]
trusted_proxies = ["127.0.0.1"]
${Object.entries(backends).map(([name, { url }]) => `[[cluster]]\nname = "${name}"\n[[cluster.backend]]\nurl = "${url}"\n${name === 'fixed' ? 'host = "fixed.internal"\n' : ''}`).join('')}
[[route]]
name = "api"
host = ["shop.example", "*.shop.example"]
path = "/api"
cluster = "api"
rewrite = { path = "/v2" }
request_fields = { set = { x-edge = "\${client_address} \${host}\${path}?\${query}" }, add = { x-tag = "two" }, remove = ["x-debug"] }
response_fields = { set = { server = "edge" }, add = { x-added = "\${method} \${scheme}" }, remove = ["x-hidden"] }
limits = { body_bytes = 10 }
[[route]]
name = "canary"
host = "shop.example"
path = "/api"
header = { x-canary = "yes" }
split = [{ cluster = "api", weight = 1 }, { cluster = "other", weight = 2 }]
split_key = { cookie = "who" }
rewrite = { host = "canary.internal" }
[[route]]
name = "drawn"
path = "/drawn"
split = [{ cluster = "api", weight = 1 }, { cluster = "other", weight = 2 }]
[[route]]
name = "fixed"
path_exact = "/fixed"
cluster = "fixed"
[[route]]
name = "admin"
path = "/admin"
respond = { status = 403, body = "closed" }
response_fields = { set = { x-why = "\${path}" } }
[[route]]
name = "old"
path = "/old"
redirect = { status = 301, path = "/new", host = "new.example" }
[[route]]
name = "moved"
path_regex = "/moved/[0-9]+"
example = "/moved/1"
redirect = { scheme = "https" }
[[route]]
name = "few"
path = "/few"
allow = "203.0.113.0/24"
cluster = "other"
[[route]]
name = "post"
path = "/post"
method = ["POST", "PUT"]
query = { a = "b c" }
cluster = "other"
`;

// What explain has said, by its keys.
function read(text) {
  const said = { requestFields: [], responseFields: [], clusters: [] };
  let list;
  for (const line of text.trimEnd().split('\n')) {
    const [, change, name, value] = line.match(/^ {2}(set|add|remove) ([^:]+)(?:: (.*))?$/) ?? [];
    if (change && list) {
      list.push({ change, name, value });
      continue;
    }
    if (line.startsWith('  ')) continue;
    list = line === 'request fields:' ? said.requestFields : line === 'response fields:' ? said.responseFields : undefined;
    const [, key, rest] = line.match(/^([a-z ]+?):(?: (.*))?$/) ?? [];
    if (key === 'cluster') said.clusters.push(rest.split(',')[0]);
    else if (key) said[key] = rest;
    if (line.startsWith('split by ')) said.chosen = line.match(/ goes to (\S+)$/)[1];
  }
  return said;
}

function send(port, { method, target, host, fields }) {
  return within(20_000, new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (chunk) => { text += chunk; }).on('error', reject);
    socket.on('close', () => resolve(cutMessages(text, { methods: [method], atEnd: true }).messages.find((one) => one.status >= 200)));
    const length = Object.keys(fields).includes('content-length') ? 'x'.repeat(Number(fields['content-length'])) : '';
    socket.write(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\n${Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join('')}Connection: close\r\n\r\n${length}`, 'latin1');
  }), `an answer to ${method} ${target}`);
}

const questions = [
  ...['/api', '/api/x?y=1', '/api/a%20b', '/api/../api/x', '/api/x/../y', '/apix', '/', '/drawn', '/fixed', '/admin', '/admin/x?y', '/x/../admin', '//x/admin', '/%61dmin', '/old', '/old/a/b?c', '/moved/12?x', '/moved/x', '/few', '/post?a=b+c']
    .flatMap((target) => ['shop.example', 'a.shop.example:8080', 'other.example'].map((host) => ({ target, host }))),
  ...['POST', 'PUT', 'DELETE', 'HEAD'].map((method) => ({ method, target: '/post?x&a=b%20c' })),
  ...['u1', 'u2', 'u3', 'u4', 'u5'].map((who) => ({ target: '/api/x', host: 'shop.example', fields: { 'x-canary': 'yes', cookie: `a=1; who=${who}` } })),
  { target: '/api/x', host: 'shop.example', fields: { 'x-canary': 'yes' } },
  { target: '/api/x', host: 'SHOP.example.', fields: { 'x-edge': 'forged', 'x-debug': '1', 'x-tag': 'one' } },
  { method: 'POST', target: '/api/x', host: 'shop.example', fields: { 'content-length': '10' } },
  { method: 'POST', target: '/api/x', host: 'shop.example', fields: { 'content-length': '11' } },
  { target: '/few', fields: { 'x-forwarded-for': '203.0.113.7' } }, { target: '/few', fields: { 'x-forwarded-for': '198.51.100.7' } },
  { target: '/api/x', host: 'shop.example', fields: { 'x-forwarded-for': '203.0.113.7' } },
  { method: 'OPTIONS', target: '*' }, { method: 'OPTIONS', target: '/api', fields: { 'max-forwards': '0' } },
];

test('what explain says of a request is what a running plait does with it', async (t) => {
  const backends = { api: await startEcho(t, 'api'), other: await startEcho(t, 'other'), fixed: await startEcho(t, 'fixed') };
  const file = writeConfiguration(t, configuration(backends));
  const plait = await startPlait(t, ['-c', file]);
  const routes = new Set();
  for (const { method = 'GET', target, host = 'other.example', fields = {} } of questions) {
    const what = `${method} ${host} ${target} ${JSON.stringify(fields)}`;
    const url = target === '*' ? target : `http://${host}${target}`;
    const args = ['explain', file, `${method} ${url}`, '-H', `host: ${host}`, ...Object.entries(fields).flatMap(([name, value]) => ['-H', `${name}: ${value}`]), '--client', '127.0.0.1'];
    const { code, stdout, stderr } = await runPlait(args);
    assert.deepEqual([code, stderr], [0, ''], what);
    const said = read(stdout);
    const done = await send(plait.port, { method, target, host, fields });
    routes.add(said.route?.split(' ')[0]);
    if (said.answer !== undefined) {
      const [, status, location] = said.answer.match(/^(\d+)(?: to (.*))?/);
      assert.equal(done.status, Number(status), `${what}\n${stdout}${done.head}`);
      assert.equal(done.value('location'), location, what);
    } else {
      assert.equal(done.status, 200, `${what}\n${stdout}${done.head}`);
    }
    for (const { change, name, value } of said.responseFields) assert.equal(done.values(name).at(-1), change === 'remove' ? undefined : value, `${what}: ${name}`);
    if (said.answer !== undefined || method === 'HEAD') continue;
    const seen = JSON.parse(done.body);
    assert.ok(said.clusters.includes(seen.name), `${what}: ${seen.name} of ${said.clusters}`);
    if (said.chosen) assert.equal(seen.name, said.chosen, what);
    assert.equal(seen.path, said.path ?? target, what);
    assert.equal(seen.host, said.host ?? (seen.name === 'fixed' ? 'fixed.internal' : host), what);
    for (const { change, name, value } of said.requestFields) {
      const has = seen.fields[name];
      if (change === 'remove') assert.equal(has, undefined, `${what}: ${name}`);
      else assert.ok(change === 'set' ? has === value : has.endsWith(value), `${what}: ${name} is ${has}`);
    }
  }
  assert.deepEqual([...routes].sort(), ['admin', 'api', 'canary', 'drawn', 'few', 'fixed', 'moved', 'old', 'post', undefined]);
});

test('explain says why a path is refused, which route is the nearest, and what is no question', async (t) => {
  const file = writeConfiguration(t, configuration({ api: { url: 'h2c://127.0.0.1:1' }, other: { url: 'h2c://127.0.0.1:2' }, fixed: { url: 'h2c://127.0.0.1:3' } }));
  const ask = async (...args) => (await runPlait(['explain', file, ...args])).stdout;
  assert.match(await ask('http://a/x/../admin'), /^answer: 400, the path can be read in several ways.*\nthe path can be read in 2 ways:\n {2}\/x\/\.\.\/admin → no route\n {2}\/admin → admin \(.*plait\.toml:\d+:1\)$/m);
  const nowhere = await ask('DELETE http://shop.example/post?a=b+c');
  assert.match(nowhere, /^answer: 404, no route leads anywhere for this host and path\n {2}not .*$/m);
  assert.match(nowhere, /not post \(.*\): the method differs$/m);
  assert.match(await ask('https://shop.example/api/x'), /^request: GET https:\/\/shop\.example\/api\/x\nroute: api \(.*plait\.toml:\d+:1\)\n/);
  assert.match(await ask('CONNECT a:1'), /^answer: 501, /m);
  for (const [args, sentence] of [[['ftp://a/x'], 'ftp://a/x: the URL of a request begins with http:// or https://'], [['GET /a b'], 'GET /a b: a byte that no target contains'],
    [['/x', '-H', 'nothing'], '-H nothing: expected "NAME: VALUE"'], [['/x', '--client', 'me'], '--client me: expected an address, as in 192.0.2.1']]) {
    const { code, stdout, stderr } = await runPlait(['explain', file, ...args]);
    assert.deepEqual([code, stdout, stderr], [2, '', `plait: ${sentence}\n`]);
  }
});

test('check shows a request for each route, takes it as explain does, and warns of those that nothing reaches', async (t) => {
  const file = writeConfiguration(t, configuration({ api: { url: 'h2c://127.0.0.1:1' }, other: { url: 'h2c://127.0.0.1:2' }, fixed: { url: 'h2c://127.0.0.1:3' } })
    + '[[route]]\nname = "all"\npath_regex = "/i/.*"\nexample = "/i/x"\ncluster = "api"\n[[route]]\nname = "behind"\npath = "/i/x"\ncluster = "api"\n[[route]]\nname = "unproven"\npath_regex = "/u/[0-9]"\ncluster = "api"\n');
  const { code, stdout, stderr } = await runPlait(['check', file]);
  assert.equal(code, 0);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines[0], `${file}: ok`);
  assert.equal(lines.length, 1 + 12 + 1);
  assert.match(lines[13], /^plan: \d+ bytes of the \d+ that plan_bytes allows$/);
  assert.match(stderr, new RegExp(`^${file}:\\d+:1: warning: no request was found that reaches the route "behind": GET https://\\S+/i/x\\S* goes to "all" \\(${file}:\\d+:1\\)\n$`));
  assert.ok(lines.includes('  behind: shadowed by all') && lines.includes('  unproven: not proven, an expression needs an example'));
  for (const line of lines.slice(1)) {
    const [, name, request, rest] = line.match(/^ {2}(\S+): ([A-Z]+ \S+)(.*)$/) ?? [];
    if (!request) continue;
    const fields = [...rest.matchAll(/-H '([^']*)'/g)].flatMap(([, field]) => ['-H', field]);
    assert.match((await runPlait(['explain', file, request, ...fields])).stdout, new RegExp(`^route: ${name} `, 'm'), line);
  }
});

test('check shows more than fifty routes only where it is asked to', async (t) => {
  const file = writeConfiguration(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[cluster]]\nname = "c"\n[[cluster.backend]]\nurl = "h2c://127.0.0.1:1"\n${Array.from({ length: 60 }, (_, i) => `[[route]]\npath = "/${i}"\ncluster = "c"\n`).join('')}`);
  assert.match((await runPlait(['check', file])).stdout, /: ok\nroutes: 60 of 60 proven to be reached, 0 shadowed\nplan: \d+ bytes of the 33554432 that plan_bytes allows\n$/);
  assert.equal((await runPlait(['check', '--verbose', file])).stdout.split('\n').filter((line) => /^ {2}route-\d+: GET /.test(line)).length, 60);
});
