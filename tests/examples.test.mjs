import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import test from 'node:test';
import { connectH2, exchangeRaw, request } from './peers/lib/clients.mjs';
import { startPlait } from './peers/lib/plait.mjs';
import { run, within } from './peers/lib/process.mjs';

const startDemo = (t) => startPlait(t, ['demo', '--listen', '127.0.0.1:0']);

test('a hundred requests at once go over one connection', async (t) => {
  const demo = await startDemo(t);
  const { stdout } = await run(process.env.EMBED_POOL, ['127.0.0.1', String(demo.port)], { timeout: 30_000 });
  assert.match(stdout, /^status 200: 100$/m);
  assert.match(stdout, /^failed: 0$/m);
  assert.match(stdout, /^connections: 1$/m);
  // 100 times "hello from plait's demo origin: GET /hello": no byte is lost that came together with the head.
  assert.equal(Number(stdout.match(/^bytes: (\d+)$/m)[1]) % 100, 0);
  assert.ok(Number(stdout.match(/^bytes: (\d+)$/m)[1]) > 1000);
});

test('the embedded proxy serves both versions and drains when it is told to stop', async (t) => {
  const demo = await startDemo(t);
  const proxy = spawn(process.env.REVERSE_PROXY, ['0', '127.0.0.1', String(demo.port)], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => proxy.kill('SIGKILL'));
  const exited = once(proxy, 'exit');
  const [line] = await within(20_000, once(proxy.stdout, 'data'), 'the proxy listens');
  const port = Number(String(line).match(/^listening on 127\.0\.0\.1:(\d+)$/m)[1]);
  const text = await exchangeRaw(port, 'GET /one HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 /);
  assert.match(text, /GET \/one/);
  const session = connectH2(t, port);
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => request(session, { ':path': `/${i}` })));
  for (const [i, answer] of answers.entries()) {
    assert.equal(answer.headers[':status'], 200);
    assert.match(answer.body, new RegExp(`GET /${i}\\b`));
  }
  proxy.kill('SIGTERM');
  const [code] = await within(20_000, exited, 'the proxy ends');
  assert.equal(code, 0);
});
