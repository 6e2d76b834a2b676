// gRPC through plait: calls of all four kinds, deadlines, cancellation, trailers and errors, and what plait itself answers.
import assert from 'node:assert/strict';
import test from 'node:test';
import { certificate } from './lib/certificate.mjs';
import { exchangeRaw } from './lib/clients.mjs';
import { connectGrpc, grpc, startGrpcBackend } from './lib/grpc.mjs';
import { metric, startProxy } from './lib/plait.mjs';
import { eventually, freePort, within } from './lib/process.mjs';

const { status } = grpc;

// What a unary or client-streaming call ended with.
function call(start) {
  return within(20_000, new Promise((resolve) => {
    const result = {};
    const running = start((error, value) => {
      Object.assign(result, { error, value });
      // The status comes by an event of its own, which may follow.
      setImmediate(() => resolve(result));
    });
    running.on('metadata', (metadata) => { result.metadata = metadata; });
    running.on('status', (ended) => { result.status = ended; });
    result.call = running;
  }), 'a gRPC call ends');
}

// All messages of a stream, and its status.
function collect(stream) {
  return within(20_000, new Promise((resolve) => {
    const values = [];
    stream.on('data', (value) => values.push(value));
    stream.on('error', () => {});
    stream.on('status', (ended) => resolve({ values, status: ended }));
  }), 'a gRPC stream ends');
}

const seen = { cancelled: 0 };
const handlers = {
  Unary: (c, done) => {
    c.on('cancelled', () => { seen.cancelled += 1; });
    if (c.request.never) return;
    if (c.request.fail) {
      const trailer = new grpc.Metadata();
      trailer.set('x-reason', 'because');
      done({ code: status.FAILED_PRECONDITION, details: 'not now: 50% \u00fc', metadata: trailer });
      return;
    }
    const head = new grpc.Metadata();
    head.set('x-head', 'early');
    c.sendMetadata(head);
    const trailer = new grpc.Metadata();
    trailer.set('x-trailer', 'late');
    trailer.set('x-binary-bin', Buffer.from([0, 1, 254, 255]));
    done(null, { echo: c.request.text, said: c.metadata.get('x-said') }, trailer);
  },
  ServerStream: (c) => {
    c.on('cancelled', () => { seen.cancelled += 1; });
    for (let i = 0; i < c.request.count; i += 1) c.write({ i, pad: 'p'.repeat(c.request.pad ?? 0) });
    if (!c.request.open) c.end();
  },
  ClientStream: (c, done) => {
    let sum = 0;
    c.on('data', ({ n }) => { sum += n; });
    c.on('end', () => done(null, { sum }));
  },
  Bidi: (c) => {
    c.on('data', (value) => c.write({ answer: value.n * 2 }));
    c.on('end', () => c.end());
  },
};

async function start(t, options = {}) {
  const secure = options.tls ? await certificate(t) : undefined;
  const backend = await startGrpcBackend(t, handlers, { secure: secure?.pem });
  const plait = await startProxy(t, [backend], { args: secure ? ['--ca-file', secure.cert] : [] });
  return connectGrpc(t, plait.port);
}

for (const tls of [false, true]) {
  test(`calls of all four kinds pass, with a backend over ${tls ? 'TLS' : 'h2c'}`, async (t) => {
    const client = await start(t, { tls });
    const metadata = new grpc.Metadata();
    metadata.set('x-said', 'hello');
    const unary = await call((done) => client.Unary({ text: 'x'.repeat(100_000) }, metadata, done));
    assert.equal(unary.error, null);
    assert.equal(unary.value.echo.length, 100_000);
    assert.deepEqual(unary.value.said, ['hello']);
    assert.deepEqual(unary.metadata.get('x-head'), ['early']);
    assert.deepEqual(unary.status.metadata.get('x-trailer'), ['late']);
    assert.deepEqual(unary.status.metadata.get('x-binary-bin'), [Buffer.from([0, 1, 254, 255])]);

    const many = await collect(client.ServerStream({ count: 500, pad: 2000 }));
    assert.equal(many.status.code, status.OK);
    assert.deepEqual(many.values.map(({ i }) => i), Array.from({ length: 500 }, (_, i) => i));

    const sum = await call((done) => {
      const stream = client.ClientStream(done);
      for (let n = 1; n <= 200; n += 1) stream.write({ n });
      stream.end();
      return stream;
    });
    assert.deepEqual(sum.value, { sum: 20_100 });

    const bidi = client.Bidi();
    const answers = collect(bidi);
    for (let n = 0; n < 20; n += 1) {
      const answered = new Promise((resolve) => bidi.once('data', resolve));
      bidi.write({ n });
      assert.deepEqual(await within(10_000, answered, 'an answer while the stream stays open'), { answer: n * 2 });
    }
    bidi.end();
    assert.equal((await answers).status.code, status.OK);
  });
}

test('an error of the service arrives with its code, text and trailers', async (t) => {
  const client = await start(t);
  const { error } = await call((done) => client.Unary({ fail: true }, done));
  assert.equal(error.code, status.FAILED_PRECONDITION);
  assert.equal(error.details, 'not now: 50% \u00fc');
  assert.deepEqual(error.metadata.get('x-reason'), ['because']);
});

test('a deadline and a cancellation end the call on the backend too', async (t) => {
  const client = await start(t);
  const before = seen.cancelled;
  const late = await call((done) => client.Unary({ never: true }, { deadline: Date.now() + 300 }, done));
  assert.equal(late.error.code, status.DEADLINE_EXCEEDED);
  await eventually(() => seen.cancelled === before + 1, 'the backend sees that the deadline has passed');
  const stream = client.ServerStream({ count: 3, open: true });
  const ended = collect(stream);
  await new Promise((resolve) => stream.once('data', resolve));
  stream.cancel();
  assert.equal((await ended).status.code, status.CANCELLED);
  await eventually(() => seen.cancelled === before + 2, 'the backend sees the cancellation');
});

test('a backend that cannot be reached is UNAVAILABLE, in a response of trailers alone', async (t) => {
  const plait = await startProxy(t, [`h2c://127.0.0.1:${await freePort()}`]);
  const { error } = await call((done) => connectGrpc(t, plait.port).Unary({ text: 'x' }, done));
  assert.equal(error.code, status.UNAVAILABLE);
  assert.match(error.details, /^the backend could not be reached[^\n]*$/, 'the reason arrives, without a line break');
  const text = await exchangeRaw(plait.port, 'POST /plait.test.Echo/Unary HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n'
    + 'Content-Length: 0\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 [\s\S]*grpc-status: 14\r\n/);
});

test('plait\'s own answers have the code that stands for their status', async (t) => {
  const backend = await startGrpcBackend(t, handlers);
  const plait = await startProxy(t, [backend], { admin: true });
  const ask = async (line, fields) => exchangeRaw(plait.port, `${line} HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc-web+proto\r\n${fields}Content-Length: 0\r\nConnection: close\r\n\r\n`);
  const looped = await ask('POST /x', `Via: ${Array.from({ length: 16 }, () => '2.0 plait').join(', ')}\r\n`);
  assert.match(looped, /^HTTP\/1\.1 200 [\s\S]*content-type: application\/grpc-web\+proto\r\n[\s\S]*grpc-status: 13\r\n/, 'a loop is no reason to try again');
  assert.match(await ask('TRACE /x', 'Max-Forwards: 0\r\n'), /grpc-status: 12\r\n/);
  assert.equal(await metric(plait, 'plait_grpc_responses_total', { code: 'INTERNAL', from: 'plait' }), 1);
  assert.equal(await metric(plait, 'plait_grpc_responses_total', { code: 'UNIMPLEMENTED', from: 'plait' }), 1);
  assert.equal(await metric(plait, 'plait_grpc_responses_total', { from: 'backend' }), undefined);
});

test('codes of services are counted and logged, whether they come in trailers or in the head', async (t) => {
  const backend = await startGrpcBackend(t, handlers);
  const plait = await startProxy(t, [backend], { admin: true, args: ['--access-log', '-', '--log-format', 'json'] });
  const client = connectGrpc(t, plait.port);
  assert.equal((await call((done) => client.Unary({ text: 'x' }, done))).error, null);
  assert.equal((await call((done) => client.Unary({ fail: true }, done))).error.code, status.FAILED_PRECONDITION);
  const counted = (code) => metric(plait, 'plait_grpc_responses_total', { code, from: 'backend' });
  await eventually(async () => await counted('OK') === 1 && await counted('FAILED_PRECONDITION') === 1, 'both are counted');
  const logged = () => plait.stdout().split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line).grpc_status);
  await eventually(() => logged().length === 2, 'both are logged');
  assert.deepEqual(logged(), ['OK', 'FAILED_PRECONDITION']);
});

test('a backend that goes away in the middle of a stream is an error, never a short stream', async (t) => {
  const backend = await startGrpcBackend(t, handlers);
  const plait = await startProxy(t, [backend]);
  const stream = connectGrpc(t, plait.port).ServerStream({ count: 3, open: true });
  const ended = collect(stream);
  await new Promise((resolve) => stream.once('data', resolve));
  backend.server.forceShutdown();
  assert.notEqual((await ended).status.code, status.OK);
});
