// Reads the #include lines and fails on an arrow that the architecture forbids.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const allowed = {
  base: ['base'],
  http: ['base', 'http'],
  route: ['base', 'http', 'route'],
  h1: ['base', 'http', 'h1'],
  h2: ['base', 'http', 'h2'],
  io: ['base', 'io'],
  net: ['base', 'io', 'net'],
  runtime: ['base', 'http', 'io', 'runtime'],
  client: ['base', 'http', 'h1', 'h2', 'io', 'net', 'runtime', 'client'],
  cluster: ['base', 'http', 'route', 'h1', 'h2', 'io', 'net', 'runtime', 'client', 'server', 'plan', 'cluster'],
  server: ['base', 'http', 'h1', 'h2', 'io', 'net', 'runtime', 'server'],
  plan: ['base', 'http', 'route', 'h1', 'h2', 'io', 'net', 'runtime', 'client', 'server', 'plan'],
  filter: ['base', 'http', 'route', 'h1', 'h2', 'io', 'net', 'runtime', 'server', 'filter'],
  proxy: ['base', 'http', 'h1', 'h2', 'io', 'net', 'runtime', 'client', 'cluster', 'server', 'route', 'plan', 'filter', 'proxy'],
  config: ['base', 'http', 'h1', 'h2', 'io', 'net', 'runtime', 'client', 'server', 'route', 'plan', 'config'],
  control: ['base', 'http', 'h1', 'h2', 'io', 'net', 'runtime', 'client', 'cluster', 'server', 'route', 'plan', 'filter', 'proxy', 'config', 'control'],
};

// The violations of one file: which line names what it must not.
function violations(layer, file, text) {
  const found = [];
  for (const [, include] of text.matchAll(/^#include\s+[<"]([^>"]+)[>"]/gm)) {
    const target = include.match(/^plait\/([a-z0-9]+)\//)?.[1];
    if (target && !allowed[layer].includes(target)) found.push(`${file}: ${layer} may not include ${include}`);
    if (include === 'plait/limits.h' && !['proxy', 'config', 'control'].includes(layer) && !/_test\.(cc|h)$/.test(file)) found.push(`${file}: each layer has limits of its own`);
    if (include.startsWith('sim/')) found.push(`${file}: nobody includes sim`);
    if (include.startsWith('hs/') && file !== 'route/regex_set.cc') found.push(`${file}: only route/regex_set.cc names vectorscan`);
    if (include.startsWith('openssl/') && layer !== 'net') found.push(`${file}: only net names OpenSSL`);
    const kernel = /^(liburing\.h|sys\/(epoll|eventfd|socket)\.h|poll\.h)$/.test(include);
    const mayNameKernel = /_backend\.cc$|\/op\.h$|^io\/uring_buffers\.h$/.test(file) || (layer === 'net' && (file.endsWith('resolver.cc') || include === 'sys/socket.h')) || (file === 'control/clerk.cc' && include === 'poll.h');
    if (kernel && !mayNameKernel && !/_test\.(cc|h)$/.test(file)) found.push(`${file}: only io/*_backend.cc and io/uring_buffers.h name the kernel (${include})`);
  }
  return found;
}

test('no layer includes one above it', () => {
  const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', 'plait');
  const found = [];
  let files = 0;
  for (const layer of Object.keys(allowed)) {
    for (const name of readdirSync(path.join(root, layer))) {
      if (!/\.(h|cc)$/.test(name)) continue;
      files += 1;
      found.push(...violations(layer, `${layer}/${name}`, readFileSync(path.join(root, layer, name), 'utf8')));
    }
  }
  assert.ok(files > 50, 'the sources are where this test looks');
  assert.deepEqual(found, []);
});

test('an embedder names plait.h alone', () => {
  const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..');
  const sources = ['tests/consumer', 'tests/embed', 'examples'].flatMap((dir) => readdirSync(path.join(root, dir)).filter((name) => name.endsWith('.cc')).map((name) => `${dir}/${name}`));
  assert.ok(sources.length > 3);
  for (const source of sources) {
    const named = [...readFileSync(path.join(root, source), 'utf8').matchAll(/^#include\s+[<"](plait\/[^>"]+)[>"]/gm)].map(([, name]) => name);
    assert.deepEqual(named, ['plait/plait.h'], source);
  }
});

test('a forbidden arrow is seen', () => {
  assert.equal(violations('client', 'client/x.cc', '#include "plait/server/server.h"\n').length, 1);
  assert.equal(violations('h2', 'h2/x.cc', '#include <openssl/ssl.h>\n#include "plait/io/io.h"\n').length, 2);
  assert.equal(violations('server', 'server/x.cc', '#include <sys/epoll.h>\n').length, 1);
});
