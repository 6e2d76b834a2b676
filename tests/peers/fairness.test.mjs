// Clients with thousands of open uploads take all the streams of a backend that they can get; another client's requests are
// served beside them all the same.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { configuration } from './lib/attack.mjs';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { ask, tally } from './lib/outages.mjs';
import { startConfigured } from './lib/plait.mjs';
import { defer, eventually, within } from './lib/process.mjs';

const uploaders = fileURLToPath(new URL('lib/uploaders.mjs', import.meta.url));

async function startUploaders(t, port, addresses) {
  const child = fork(uploaders, [String(port), '30', '100', addresses], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('error', () => {});
  defer(t, async () => {
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  });
  return {
    state: async () => {
      const answered = once(child, 'message');
      child.send('state');
      return (await within(10_000, answered, 'the uploaders say how they fare'))[0];
    },
  };
}

// A backend that holds each upload for ever and answers anything else at once. `held` is what it holds now.
async function startHolding(t, protocol) {
  const state = { held: 0 };
  const hold = (emitter) => {
    state.held += 1;
    emitter.on('close', () => { state.held -= 1; });
  };
  const backend = protocol === 'h2c'
    ? await startH2Backend(t, (stream, fields) => {
      stream.resume();
      if (fields[':path'] === '/upload') return hold(stream);
      stream.on('end', () => {
        stream.respond({ ':status': 200 });
        stream.end('ok');
      });
    })
    : await startH1Backend(t, (incoming, response) => {
      incoming.resume();
      if (incoming.url === '/upload') return hold(response);
      incoming.on('end', () => response.end('ok'));
    });
  return Object.assign(state, { url: backend.url });
}

// So much can be asked of a backend at once: 8 connections of 128 streams, or 256 connections.
const places = { h2c: 1024, http: 256 };
// Far below queue_ms, and far above what a request takes on a busy machine.
const bound_ms = 1_000;

for (const protocol of ['h2c', 'http']) {
  for (const addresses of ['own', 'one']) {
    const where = addresses === 'own' ? 'at addresses of their own' : 'all at the address of the other client too';
    test(`30 clients with 100 open uploads each, ${where}, hold up no request of another client: ${protocol}`, async (t) => {
      const backend = await startHolding(t, protocol);
      const plait = await startConfigured(t, configuration([backend]));
      const crowd = await startUploaders(t, plait.port, addresses);
      await eventually(() => backend.held >= 0.8 * places[protocol], 'the uploads hold the greater part of the backend', 20_000);
      await eventually(async () => (await crowd.state()).begun >= 3_000, 'all uploads are begun', 20_000);
      const answers = [];
      const session = connectH2(t, plait.port);
      const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
      defer(t, () => agent.destroy());
      for (let i = 0; i < 60; i += 1) {
        const isPost = i % 2 === 1;
        if (i % 4 < 2) {
          answers.push(await ask(plait.port, { agent, ...(isPost ? { method: 'POST', body: 'small' } : {}) }));
        } else {
          const begun = performance.now();
          const { status, rstCode } = await request(session, { ':path': '/', ':method': isPost ? 'POST' : 'GET' }, isPost ? { body: 'small' } : {});
          answers.push({ status: status ?? `code ${rstCode}`, ms: performance.now() - begun });
        }
        // A request that has waited says enough.
        if (answers.at(-1).ms > bound_ms || answers.at(-1).status !== 200) break;
      }
      const slowest = Math.max(...answers.map(({ ms }) => ms));
      t.diagnostic(`the slowest of ${answers.length} took ${slowest.toFixed(0)} ms; the backend holds ${backend.held} uploads`);
      assert.deepEqual(tally(answers), { 200: 60 });
      assert.ok(slowest < bound_ms, `the slowest took ${slowest} ms`);
    });
  }
}
