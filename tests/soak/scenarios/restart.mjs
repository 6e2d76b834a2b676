// A backend that is ended and started anew every two seconds, by SIGKILL and by SIGTERM in turn: no GET fails, and no POST
// runs twice.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { metric, startProxy } from '../../peers/lib/plait.mjs';
import { defer, eventually, freePort, isListening, temporaryDirectory, within } from '../../peers/lib/process.mjs';
import { checkExecutions, runLoad } from '../load.mjs';

export default async function restart(t, size) {
  const file = path.join(temporaryDirectory(t), 'ids');
  writeFileSync(file, '');
  const port = await freePort();
  const script = fileURLToPath(new URL('../peers/counting_backend.mjs', import.meta.url));
  let child;
  const start = async () => {
    child = spawn(process.execPath, [script, String(port), file], { stdio: 'ignore' });
    await eventually(() => isListening(port), 'the backend listens');
  };
  await start();
  defer(t, () => child.kill('SIGKILL'));
  const plait = await startProxy(t, [`h2c://127.0.0.1:${port}`], { admin: true });
  const rounds = size(15, 2);
  let running = true;
  const restarts = async () => {
    for (let i = 0; i < rounds; i += 1) {
      await pause(2000);
      child.kill(i % 2 === 0 ? 'SIGKILL' : 'SIGTERM');
      await within(10_000, once(child, 'exit'), 'the backend ends');
      await start();
    }
  };
  const [result] = await within(300_000, Promise.all([
    runLoad(t, plait.port, 64, () => running),
    restarts().finally(() => { running = false; }),
  ]), 'the load ends');
  checkExecutions(readFileSync(file, 'utf8').split('\n').filter(Boolean), result);
  const retries = await Promise.all(['unprocessed', 'unknown'].map((name) => metric(plait, 'plait_retries_total', { class: name })));
  assert.ok(retries[0] + retries[1] > 0, 'requests were under way when the backend went');
  return `${rounds} restarts under ${result.gets} GETs and ${result.posts.length} POSTs, none failed and none ran twice; `
    + `${result.unknown.length} POSTs of unknown fate got 502; ${retries[0]} retries as unprocessed, ${retries[1]} as idempotent`;
}
