// Many clients' requests go over few connections to the backend, whichever version the clients speak.
import assert from 'node:assert/strict';
import { h2load } from '../../peers/lib/clients.mjs';
import { metric, startPlait, startProxy } from '../../peers/lib/plait.mjs';
import { connectionsTo } from '../../peers/lib/process.mjs';

const mostPerWorker = 8;

export default async function multiplex(t, size) {
  const n = size(200_000, 10_000);
  const demo = await startPlait(t, ['demo', '--listen', '127.0.0.1:0']);
  const figures = [];
  for (const [name, workers, args] of [
    ['h2c 64 × 16', 1, ['-c', '64', '-m', '16']],
    ['HTTP/1.1 × 256', 1, ['--h1', '-c', '256']],
    ['h2c 64 × 16, two workers', 2, ['-c', '64', '-m', '16']],
  ]) {
    const plait = await startProxy(t, [`h2c://127.0.0.1:${demo.port}`], { admin: true, args: ['--workers', String(workers)] });
    let most = 0;
    const look = () => { most = Math.max(most, connectionsTo(demo.port)); };
    const watch = setInterval(look, 20);
    const { ok, stdout } = await h2load(['-n', String(n), ...args, `http://127.0.0.1:${plait.port}/`], { timeout: 600_000 }).finally(() => clearInterval(watch));
    assert.equal(ok, n, stdout);
    look();  // a short load may end between two looks; its connections stay for the next
    // Both the connections that the kernel showed at any one time, and all that were ever made.
    assert.ok(most >= 1 && most <= workers * mostPerWorker, `${most} connections to the backend at a time`);
    const made = await metric(plait, 'plait_upstream_connects_total');
    assert.ok(made <= workers * mostPerWorker, `${made} connections were made`);
    figures.push(`${name}: ${n} of ${n} 2xx over ${made} connections, ${Math.round(stdout.match(/([\d.]+) req\/s/)[1])} req/s`);
    assert.equal(await plait.stop(), 0);
  }
  return figures.join('; ');
}
