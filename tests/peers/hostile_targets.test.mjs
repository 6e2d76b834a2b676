// Seven kinds of backend behind a route that closes /admin: whatever target a client invents, none of them sees a request
// below /admin that plait has not taken for one.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import test from 'node:test';
import express from 'express';
import { startH1Backend, startH2o, startNginx } from './lib/backends.mjs';
import { connectH2, exchangeRaw, request } from './lib/clients.mjs';
import { startApache, startCaddy, startPythonServer } from './lib/file_servers.mjs';
import { startConfigured } from './lib/plait.mjs';
import { defer, eventually, temporaryDirectory } from './lib/process.mjs';

const secret = 'this is behind the closed door';

// Ways to come to the next element, names that somebody may take for "admin", and ways to go on.
const ways = ['/', '//', '///', '/./', '/x/../', '/%2e/', '/x/%2e%2e/', '/x/%2E%2e/', '/x/.%2e/', '/x/..%2f', '/x%2f..%2f', '/%2f', '/x/..;/', '/;/', '/;a=b/', '/x;y/../', '/x/%2e%2e%3b/', '/x/..%3b/',
  '/x/..\\', '/\\', '/%5c', '/x%5c..%5c', '/x/%252e%252e/', '/%252f', '/x/..%252f', '/x/%c0%ae%c0%ae/', '/%c0%af', '/x/%e0%80%ae%e0%80%ae/', '/x%00/../', '/%00/', '/x//../', '/x/..//', '/a/b/../../',
  '/../', '/../../', '/x/.../../', '/x/..%00/', '/x/..%20/', '/x%3f/../', '/x%23/../', '//x/', '//x//', '//x/../', '/%2f%2fx/', '/x/../x/../', '/.//', '/.%2f', '/%2e%2e/', '/%2e%2f', '/x/..%5c', '/x%0a/../', '/x%09/../'];
const names = ['admin', '%61dmin', 'adm%69n', '%61%64%6d%69%6e', '%2561dmin', 'admin;x', 'admin%3bx', 'admin%20', 'admin%00', 'admin%2f', 'admin%5c', 'admin%23', 'admin%3f', 'x/../admin', 'admin/.', 'admin/x/..', 'admin.', './admin',
  'ADMIN', 'adminx', 'y/admin', 'admin..', '..admin', 'y/%61dmin', 'y%2fadmin', 'y;/admin', 'y%5cadmin', 'y//admin'];
const ends = ['/secret', '//secret', '/./secret', '%2fsecret', ';/secret', '/%73ecret', '/secret?x=/../', '/x/../secret', '', '/', '/%2e/secret'];

function targets() {
  const all = new Set(ends.map((end) => `/admin${end}`));
  for (const way of ways) for (const name of [names[0], names[1], 'y/admin', 'y/../x']) all.add(`${way}${name}/secret`);
  let n = 0;
  for (const way of ways) for (const name of names) for (const end of ends) if ((n += 1) % 47 === 0) all.add(`${way}${name}${end}`);
  return [...all];
}

// What programs of node make of req.url; each as its author would compare it with "/admin".
const views = [
  (url) => url.split('?')[0],
  (url) => new URL(url, 'http://localhost').pathname,
  (url) => decodeURIComponent(url.split('?')[0]),
  (url) => decodeURIComponent(new URL(url, 'http://localhost').pathname),
  (url) => path.posix.normalize(decodeURIComponent(url.split('?')[0])),
  (url) => path.posix.normalize(url.split('?')[0]),
  (url) => path.win32.normalize(decodeURIComponent(url.split('?')[0])).replaceAll('\\', '/'),
  (url) => decodeURIComponent(decodeURIComponent(url.split('?')[0])),
  (url) => decodeURIComponent(url.split('?')[0]).replace(/;[^/]*/g, ''),
  (url) => decodeURIComponent(url.split('?')[0]).replace(/\/+/g, '/'),
];
const isBelow = (seen) => seen === '/admin' || seen.startsWith('/admin/');
function breaches(url) {
  return views.filter((view) => {
    try {
      return isBelow(view(url));
    } catch {
      return false;  // a program that throws serves nothing
    }
  });
}

async function startAll(t) {
  const dir = path.join(temporaryDirectory(t), 'www');
  for (const folder of ['admin', 'admin/x', 'x', 'a/b']) mkdirSync(path.join(dir, folder), { recursive: true });
  for (const file of ['admin/index.html', 'admin/secret', 'admin/x/index.html']) writeFileSync(path.join(dir, file), secret);
  for (const file of ['index.html', 'x/index.html', 'a/b/index.html']) writeFileSync(path.join(dir, file), 'open');
  const seen = [];
  const node = await startH1Backend(t, (incoming, response) => {
    seen.push(incoming.url);
    response.end(breaches(incoming.url).length > 0 ? secret : 'open');
  });
  const app = express();
  // Elsewhere, too, the case of a path counts.
  app.set('case sensitive routing', true);
  app.use('/admin', (incoming, response) => response.end(secret));
  app.use(express.static(dir));
  const expressBackend = await startH1Backend(t, app);
  return {
    seen,
    backends: {
      node, express: expressBackend, nginx: await startNginx(t, dir), h2o: { url: `http://${(await startH2o(t, dir)).address}` }, apache: await startApache(t, dir), caddy: await startCaddy(t, dir), python: await startPythonServer(t, dir),
    },
  };
}

// Over one connection after the other, a few at a time.
async function each(items, use) {
  const rest = [...items];
  await Promise.all(Array.from({ length: 6 }, async () => {
    for (let item; (item = rest.shift()) !== undefined;) await use(item);
  }));
}
const get = (port, host, target) => exchangeRaw(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);

test('no hostile target comes behind a closed prefix at any backend', async (t) => {
  const all = targets();
  assert.ok(all.length >= 500, `${all.length} targets`);
  const { backends, seen } = await startAll(t);
  const kinds = Object.keys(backends);
  // The door is there, and the targets are hostile: each backend, asked directly, opens it for some of them.
  for (const kind of kinds) {
    const port = Number(new URL(backends[kind].url).port);
    assert.ok((await get(port, 'a', '/admin/secret')).includes(secret), `${kind} has a secret`);
    let opened = 0;
    await each(all, async (target) => { opened += (await get(port, 'a', target)).includes(secret) ? 1 : 0; });
    assert.ok(opened > 3, `${kind} opens to ${opened} of the targets`);
  }
  seen.length = 0;
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n${kinds.map((kind) => `[[cluster]]\nname = "${kind}"\n[[cluster.backend]]\nurl = "${backends[kind].url}"\n`).join('')}${kinds.map((kind) => `
[[route]]
name = "${kind}-closed"
host = "${kind}.example"
path = "/admin"
respond = { status = 403, body = "closed" }
[[route]]
name = "${kind}"
host = "${kind}.example"
cluster = "${kind}"
`).join('')}`, ['--access-log', '-', '--log-format', 'json']);
  const broken = [];
  const counts = {};
  for (const kind of kinds) {
    await each(all, async (target) => {
      const text = await get(plait.port, `${kind}.example`, target);
      const status = text.match(/^HTTP\/1\.1 (\d+)/)?.[1];
      counts[status] = (counts[status] ?? 0) + 1;
      if (text.includes(secret)) broken.push(`${kind}: ${target}`);
      if (!status) broken.push(`${kind}: ${target} has no answer`);
    });
  }
  assert.deepEqual(broken, []);
  assert.ok(counts[400] > 1000 && counts[403] > 20 && counts[200] + counts[404] > 300, JSON.stringify(counts));
  // Over HTTP/2, and as an absolute URL.
  const session = connectH2(t, plait.port);
  await each(all, async (target) => {
    const answer = await request(session, { ':path': target, ':authority': 'node.example' });
    if (answer.body.includes(secret)) broken.push(`node over HTTP/2: ${target}`);
  });
  await each(all, async (target) => {
    if ((await get(plait.port, 'elsewhere', `http://node.example${target}`)).includes(secret)) broken.push(`node by an absolute URL: ${target}`);
  });
  assert.deepEqual(broken, []);
  // What has been forwarded is what came, and what was logged.
  assert.ok(seen.every((url) => all.includes(url)));
  const forwarded = () => plait.stdout().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)).filter((line) => line.upstream.startsWith('node/'));
  await eventually(() => forwarded().length === seen.length, 'all are logged');
  assert.deepEqual(forwarded().map((line) => line.path).sort(), [...seen].sort());
});

test('what registries, package managers, git and S3 ask for goes through a route as it is', async (t) => {
  const seen = [];
  const backend = await startH1Backend(t, (incoming, response) => {
    seen.push(incoming.url);
    response.end();
  });
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[cluster]]\nname = "c"\n[[cluster.backend]]\nurl = "${backend.url}"\n[[route]]\nname = "closed"\npath = "/admin"\nrespond = { status = 403 }\n[[route]]\nname = "open"\ncluster = "c"\n`);
  const asked = ['/@scope%2fname', '/@scope%2Fname/-/name-1.0.0.tgz', '/v2/library/nginx/manifests/sha256:0123', '/v2/a/b/blobs/uploads/?mount=sha256:1&from=x%2fy', '/repo.git/info/refs?service=git-upload-pack',
    '/repo.git/objects/info/packs', '/bucket/key%20with%20spaces/%E2%82%AC?X-Amz-Signature=a%2Fb%3D', '/bucket/a%2Bb/c+d', '/a;matrix=1/b', '/wiki/AC%2fDC', '/~user/.well-known/x', '/a:b@c!$&\'()*,='];
  const agent = new http.Agent({ keepAlive: true });
  defer(t, () => agent.destroy());
  for (const target of asked) {
    const status = await new Promise((resolve, reject) => {
      http.get({ port: plait.port, host: '127.0.0.1', path: target, agent }, (incoming) => incoming.resume().on('end', () => resolve(incoming.statusCode))).on('error', reject);
    });
    assert.equal(status, 200, target);
  }
  assert.deepEqual(seen, asked);
});
