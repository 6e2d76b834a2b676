// A cluster that refuses everything is not asked many times as much as it is when it is well, and a client that may repeat its
// request itself is told so.
import assert from 'node:assert/strict';
import test from 'node:test';
import { configuration } from './lib/attack.mjs';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { ask, startLoad, tally } from './lib/outages.mjs';
import { startConfigured } from './lib/plait.mjs';
import { within } from './lib/process.mjs';
import { errorCode, startRawH2Backend } from './lib/raw_h2.mjs';

// Backends that refuse each request as soon as its head is there; `asked` counts over all.
async function startRefusing(t, count) {
  const state = { asked: 0, backends: [] };
  for (let i = 0; i < count; i += 1) {
    state.backends.push(await startRawH2Backend(t, {
      head: (connection, stream) => {
        state.asked += 1;
        connection.reset(stream, errorCode.refused);
      },
    }));
  }
  return state;
}

for (const count of [1, 2, 3]) {
  for (const method of ['GET', 'POST']) {
    test(`${count === 1 ? 'a backend' : `${count} backends`} refusing everything get at most 1.5 tries for each ${method}`, async (t) => {
      const refusing = await startRefusing(t, count);
      const plait = await startConfigured(t, configuration(refusing.backends, '[limits]\nunknown_retry_burst = 0\n'));
      const load = startLoad(t, plait.port, { clients: 8, breath_ms: 5, request: () => (method === 'POST' ? { method, body: 'x' } : {}) });
      // The first ones may be repeated more often: nothing is known of the cluster yet.
      await load.eachGets(5, 'the first answers come');
      const [asked, answers] = [refusing.asked, load.answers.length];
      await load.eachGets(50, 'more answers come', 20_000);
      // Requests in flight are counted at the backends, but not yet among the answers.
      const [tries, requests] = [refusing.asked - asked, load.answers.length - answers];
      await load.stop();
      t.diagnostic(`${tries} tries for ${requests} requests`);
      assert.ok(tries <= 1.5 * (requests + 8), `${tries} tries for ${requests} requests`);
      assert.deepEqual(Object.keys(tally(load.answers)).filter((status) => !['502', '503'].includes(status)), [], JSON.stringify(tally(load.answers)));
    });
  }
}

test('a backend that refuses one request in ten, with a budget of nothing, loses none of them', async (t) => {
  let asked = 0;
  const some = await startRawH2Backend(t, {
    head: (connection, stream, { hasBody }) => {
      asked += 1;
      if (asked % 10 === 0) return connection.reset(stream, errorCode.refused);
      if (hasBody) return;
      connection.respond(stream);
    },
  });
  const plait = await startConfigured(t, configuration([some], '[limits]\nunknown_retry_burst = 0\n'));
  const load = startLoad(t, plait.port, { clients: 8, breath_ms: 5 });
  await load.eachGets(50, 'answers come');
  await load.stop();
  assert.deepEqual(tally(load.answers), { 200: load.answers.length });
  assert.ok(asked > load.answers.length, 'some were refused');
});

// An upload that is longer than what is kept for a repetition, and that the backend refuses when it has come.
const upload = Buffer.alloc(200_000, 'u');

for (const count of [1, 2]) {
  test(`an HTTP/2 client whose upload was refused and cannot be repeated here is told by REFUSED_STREAM that it may repeat it: ${count === 1 ? 'one backend' : 'two backends'}`, async (t) => {
    let received = 0;
    const backends = [];
    for (let i = 0; i < count; i += 1) {
      backends.push(await startH2Backend(t, (stream) => {
        let taken = 0;
        stream.on('data', (chunk) => {
          received += chunk.length;
          taken += chunk.length;
          if (taken >= 60_000 && !stream.destroyed) stream.close(errorCode.refused);
        });
      }));
    }
    const plait = await startConfigured(t, configuration(backends));
    const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { body: upload, timeout: 10_000 });
    assert.ok(received >= 60_000, 'the backend took the beginning');
    assert.equal(answer.status, undefined, 'no answer claims that anything was done');
    assert.equal(answer.rstCode, errorCode.refused);
  });
}

test('an HTTP/1.1 client whose upload was refused and cannot be repeated gets an answer that says so', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    let taken = 0;
    stream.on('data', (chunk) => {
      taken += chunk.length;
      if (taken >= 60_000 && !stream.destroyed) stream.close(errorCode.refused);
    });
  });
  const plait = await startConfigured(t, configuration([backend]));
  const answer = await within(10_000, ask(plait.port, { method: 'POST', body: upload }), 'an answer');
  assert.ok([502, 503].includes(answer.status), JSON.stringify(answer));
});

test('an upload whose fate is unknown does not end with REFUSED_STREAM', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    let taken = 0;
    stream.on('data', (chunk) => {
      taken += chunk.length;
      if (taken >= 60_000) backend.sockets.forEach((socket) => socket.destroy());
    });
  });
  const plait = await startConfigured(t, configuration([backend]));
  const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { body: upload, timeout: 10_000 });
  assert.notEqual(answer.rstCode, errorCode.refused);
  assert.equal(answer.status, 502);
});
