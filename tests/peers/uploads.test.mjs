// Uploads of which a backend takes nothing hold up nothing but themselves, however many there are; and where they hold the
// memory for uploads, those that hold most of it are ended.
import assert from 'node:assert/strict';
import test from 'node:test';
import { configuration, settled } from './lib/attack.mjs';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { connectGrpc, startGrpcBackend } from './lib/grpc.mjs';
import { metric, startConfigured, startProxy } from './lib/plait.mjs';
import { defer, eventually, within } from './lib/process.mjs';

// /busy reads nothing of any request, and answers once release() is called. /small is read and answered with its size.
async function startBusy(t, protocol) {
  const held = new Set();
  const release = () => {
    for (const answer of [...held]) {
      held.delete(answer);
      answer();
    }
  };
  const state = { held, release };
  const hold = (emitter, answer) => {
    held.add(answer);
    emitter.on('close', () => held.delete(answer));
  };
  const backend = protocol === 'h2c'
    ? await startH2Backend(t, (stream, fields) => {
      const respond = (text) => {
        if (stream.destroyed) return;
        stream.respond({ ':status': 200 });
        stream.end(text);
      };
      if (fields[':path'] !== '/small') return hold(stream, () => stream.resume().on('end', () => respond('released')));
      let size = 0;
      stream.on('data', (chunk) => { size += chunk.length; });
      stream.on('end', () => respond(`${size}`));
    })
    : await startH1Backend(t, (incoming, response) => {
      if (incoming.url !== '/small') return hold(response, () => incoming.resume().on('end', () => response.end('released')));
      let size = 0;
      incoming.on('data', (chunk) => { size += chunk.length; });
      incoming.on('end', () => response.end(`${size}`));
    }, { options: { requestTimeout: 0 } });
  return Object.assign(state, { url: backend.url });
}

// node refuses streams of a session that holds 10 MB.
const roomy = { maxSessionMemory: 1_000 };
const small = (session) => request(session, { ':path': '/small', ':method': 'POST' }, { body: 's'.repeat(1_000), timeout: 10_000 });

for (const protocol of ['h2c', 'http']) {
  for (const stuck of [1, 2, 20, 100]) {
    test(`${stuck} uploads that the backend does not read delay no small one on their connection: ${protocol}`, async (t) => {
      const backend = await startBusy(t, protocol);
      const plait = await startProxy(t, [backend], { admin: true });
      const session = connectH2(t, plait.port, roomy);
      const uploads = Array.from({ length: stuck }, () => request(session, { ':path': '/busy', ':method': 'POST' }, { body: Buffer.alloc(1_000_000), timeout: 60_000 }));
      await eventually(() => backend.held.size === stuck, 'all of them are at the backend');
      // Over HTTP/1.1 kernels may hold all of it; a stream of HTTP/2 holds at least half of its window.
      const least = protocol === 'h2c' ? stuck * 8 : 0;
      await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'upload_blocks' })) >= least, 'none of them moves any more');
      for (let i = 0; i < 3; i += 1) {
        const answer = await small(session);
        assert.deepEqual([answer.status, answer.body], [200, '1000'], `beside ${stuck} that are stuck: ${answer.error?.message}`);
      }
      assert.equal(backend.held.size, stuck, 'all of them are still there');
      backend.release();
      for (const answer of await Promise.all(uploads)) assert.deepEqual([answer.status, answer.body], [200, 'released']);
      await settled(plait, { connections: Infinity });
    });
  }
}

for (const stuck of [1, 20, 100]) {
  test(`${stuck} gRPC calls whose messages the server does not read delay no other call on the channel`, async (t) => {
    const open = new Set();
    const backend = await startGrpcBackend(t, {
      Unary: (call, done) => done(null, { echo: call.request.text }),
      ServerStream: (call) => call.end(),
      Bidi: (call) => call.end(),
      // Its messages are never asked for.
      ClientStream: (call) => { open.add(call); },
    });
    const plait = await startProxy(t, [backend]);
    const client = connectGrpc(t, plait.port);
    const calls = [];
    defer(t, () => calls.forEach((call) => call.cancel()));
    for (let i = 0; i < stuck; i += 1) {
      const call = client.ClientStream(() => {});
      calls.push(call);
      call.on('error', () => {});
      for (let k = 0; k < 20; k += 1) call.write({ pad: 'p'.repeat(10_000) });
    }
    await eventually(() => open.size === stuck, 'all calls are open', 20_000);
    for (let i = 0; i < 3; i += 1) {
      const answer = await within(15_000, new Promise((resolve) => {
        client.Unary({ text: `call ${i}` }, { deadline: Date.now() + 10_000 }, (error, value) => resolve({ code: error?.code, echo: value?.echo }));
      }), 'a unary call ends');
      assert.deepEqual(answer, { code: undefined, echo: `call ${i}` });
    }
  });
}

// So little memory that a few of them have half of it.
const scarce = '[limits]\nupload_pool_bytes = 1048576\nexchanges = 256\n';

test('memory for uploads that stuck ones hold: who holds most loses those that have been stuck longest, and no other', async (t) => {
  const backend = await startBusy(t, 'h2c');
  const plait = await startConfigured(t, configuration([backend], scarce));
  const hog = connectH2(t, plait.port, roomy);
  const others = Array.from({ length: 30 }, () => request(hog, { ':path': '/busy', ':method': 'POST' }, { body: Buffer.alloc(200_000), timeout: 60_000 }));
  await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'upload_blocks' })) > 128, 'half of the memory is used');
  const modest = connectH2(t, plait.port);
  const kept = request(modest, { ':path': '/busy', ':method': 'POST' }, { body: Buffer.alloc(70_000), timeout: 60_000 });
  const counted = () => metric(plait, 'plait_client_stream_errors_total', { reason: 'stuck_upload' });
  await eventually(async () => (await counted()) > 0, 'one of them was ended');
  await eventually(() => /stuck_upload: /.test(plait.stderr()), 'a line on standard error says so');
  // Who wants little is served all the while, on its own connection and on the hog's.
  for (const session of [modest, connectH2(t, plait.port)]) assert.equal((await small(session)).body, '1000');
  const releasing = setInterval(backend.release, 20);
  defer(t, () => clearInterval(releasing));
  const answers = await Promise.all(others);
  const late = answers.filter((answer) => answer.status === 408);
  for (const answer of answers) assert.ok([200, 408].includes(answer.status), `${answer.status} ${answer.rstCode}`);
  assert.ok(late.length > 0 && late.length < 30, `${late.length} of 30 were ended`);
  assert.equal(await counted(), late.length);
  assert.equal((await kept).body, 'released');
  await settled(plait, { connections: Infinity });
});

test('memory for uploads that stuck ones over HTTP/1.1 hold: some get 408, all others their answers', async (t) => {
  const backend = await startBusy(t, 'http');
  const plait = await startConfigured(t, configuration([backend], scarce));
  const uploads = await Promise.all(Array.from({ length: 24 }, () => openRaw(t, plait.port)));
  for (const one of uploads) one.write(`POST /busy HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n${'b'.repeat(3_000_000)}`);
  const is408 = (one) => one.text.startsWith('HTTP/1.1 408 ');
  await eventually(() => uploads.some(is408), 'one of them is ended', 20_000);
  const releasing = setInterval(backend.release, 20);
  defer(t, () => clearInterval(releasing));
  await eventually(() => uploads.every((one) => is408(one) || one.text.includes('released')), 'each has an answer', 20_000);
  assert.ok(!uploads.every(is408), 'not all of them were ended');
  await settled(plait, { connections: Infinity });
});
