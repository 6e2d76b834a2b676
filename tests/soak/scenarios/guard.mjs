// After the start nothing calls malloc on the way of a request. The guard, which is on in every scenario, would end plait at
// the first call; this one looks at nothing else.
import assert from 'node:assert/strict';
import { h2load } from '../../peers/lib/clients.mjs';
import { startPlait, startProxy } from '../../peers/lib/plait.mjs';

export default async function guard(t, size) {
  assert.equal(process.env.PLAIT_ALLOC_GUARD, 'abort');
  const demo = await startPlait(t, ['demo', '--listen', '127.0.0.1:0']);
  const plait = await startProxy(t, [`h2c://127.0.0.1:${demo.port}`], { tls: true, args: ['--verbose'] });
  const load = async (count, args, url) => {
    const { ok, stdout } = await h2load(['-n', String(count), ...args, url], { timeout: 600_000 });
    assert.equal(ok, count, stdout + plait.stderr());
  };
  const url = `http://127.0.0.1:${plait.port}/`;
  const [h2, h1, tls] = [size(700_000, 14_000), size(300_000, 6_000), size(100_000, 2_000)];
  await load(h2, ['-c', '64', '-m', '16'], url);
  await load(h1, ['--h1', '-c', '64'], url);
  await load(tls, ['-c', '16', '-m', '16'], `https://127.0.0.1:${plait.tlsPort}/`);
  assert.equal(await plait.stop(), 0, plait.stderr());
  assert.match(plait.stdout(), /^malloc calls while serving: 0$/m);
  return `${h2} requests over h2c, ${h1} over HTTP/1.1, ${tls} over TLS: malloc called 0 times; ${plait.stdout().match(/^tls.*$/mi)?.[0]}`;
}
