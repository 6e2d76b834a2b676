import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { endInOrder, startH2Backend } from './lib/backends.mjs';
import { configuration } from './lib/attack.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { startConfigured, startPlait, startProxy } from './lib/plait.mjs';
import { defer, eventually, freePort, run, temporaryDirectory, within } from './lib/process.mjs';
import { frame, frameType, headerBlock, startRawH2Backend, uint32 } from './lib/raw_h2.mjs';

test('1,024 requests at once share at most 8 upstream connections and call malloc never', async (t) => {
  const dir = temporaryDirectory(t);
  writeFileSync(path.join(dir, 'small'), Buffer.alloc(100));
  const port = await freePort();
  const nghttpd = spawn('nghttpd', ['--no-tls', '-d', dir, String(port)], { stdio: 'ignore' });
  t.after(() => nghttpd.kill());
  const plait = await startPlait(t, ['-b', `h2c://127.0.0.1:${port}`, '--listen', '127.0.0.1:0', '--verbose']);
  for (const args of [['-c', '64', '-m', '16'], ['--h1', '-c', '256']]) {
    const load = run('h2load', ['-n', '20000', ...args, `http://127.0.0.1:${plait.port}/small`]);
    const { stdout } = await within(60_000, load, 'h2load is done');
    assert.match(stdout, /20000 succeeded, 0 failed, 0 errored/);
    assert.match(stdout, /status codes: 20000 2xx/);
    const used = (await run('ss', ['-tnH', 'state', 'established', `( dport = :${port} )`])).stdout.trim().split('\n');
    assert.ok(used.length <= 8, `${used.length} connections`);
  }
  assert.equal(await plait.stop(), 0);
  assert.match(plait.stdout(), /^malloc calls while serving: 0$/m);
});

test('a backend that says GOAWAY every 100 requests loses no GET and gets no POST twice', async (t) => {
  const posts = new Map();
  const backend = await startH2Backend(t, (stream, headers) => {
    const id = headers['x-id'];
    if (headers[':method'] === 'POST') posts.set(id, (posts.get(id) ?? 0) + 1);
    const session = stream.session;
    session.served = (session.served ?? 0) + 1;
    if (session.served === 100) endInOrder(session);
    stream.respond({ ':status': 200 });
    stream.end(id);
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  let failed = 0;
  for (let round = 0; round < 30; round += 1) {
    const answers = await Promise.all(Array.from({ length: 50 }, (_, i) => {
      const id = `${round}-${i}`;
      const method = i % 2 ? 'POST' : 'GET';
      return request(client, { ':path': '/', ':method': method, 'x-id': id }, method === 'POST' ? { body: 'x' } : {}).then((r) => ({ id, method, ...r }));
    }));
    for (const answer of answers) {
      if (answer.method === 'GET') assert.equal(answer.body, answer.id);
      else if (answer.headers?.[':status'] !== 200) failed += 1;
    }
  }
  assert.equal(Math.max(...posts.values()), 1);
  assert.ok(backend.opened > 5, 'connections were replaced');
  assert.ok(failed < 750 * 0.05, `${failed} POSTs failed`);
});

test('a lone backend whose connections all say GOAWAY to the next request loses none of them', async (t) => {
  const held = [];
  let holds = false;
  const backend = await startRawH2Backend(t, {
    settings: Buffer.from([0, 3, 0, 0, 0, 4]),  // four streams at a time
    request: (connection, stream) => {
      if (connection.isOld) return connection.goaway(connection.answered);
      return holds ? held.push([connection, stream]) : connection.respond(stream);
    },
  });
  const plait = await startConfigured(t, configuration([backend]));
  const client = connectH2(t, plait.port);
  // From here on plait knows the limit.
  assert.equal((await request(client, { ':path': '/' })).status, 200);
  holds = true;
  const burst = Array.from({ length: 27 }, () => request(client, { ':path': '/' }));
  await eventually(() => held.length === 27, 'the burst is under way');
  assert.ok(backend.connections.size >= 7, `more connections than a request has tries: ${backend.connections.size}`);
  holds = false;
  for (const [connection, stream] of held) {
    Object.assign(connection, { isOld: true, answered: Math.max(connection.answered ?? 0, stream) });
    connection.respond(stream);
  }
  for (const { status } of await Promise.all(burst)) assert.equal(status, 200);
  for (const method of ['POST', 'GET', 'GET']) {
    assert.equal((await request(client, { ':path': '/', ':method': method }, method === 'POST' ? { body: 'x' } : {})).status, 200, method);
  }
});

test('REFUSED_STREAM is repeated elsewhere without the client noticing, POSTs too', async (t) => {
  let seen = 0;
  const backend = await startH2Backend(t, (stream) => {
    seen += 1;
    if (seen % 3 === 1) return stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
    stream.respond({ ':status': 200 });
    stream.pipe(stream);
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 30; i += 1) {
    const answer = await request(client, { ':path': '/', ':method': 'POST' }, { body: `body ${i}` });
    assert.equal(answer.headers[':status'], 200);
    assert.equal(answer.body, `body ${i}`);
  }
  assert.ok(seen > 30);
});

test('a POST whose fate is unknown gets 502 and is not repeated; a GET is', async (t) => {
  const seen = { GET: 0, POST: 0 };
  const backend = await startH2Backend(t, (stream, headers) => {
    const method = headers[':method'];
    seen[method] += 1;
    // The whole connection breaks, without a word of HTTP/2 about what was processed.
    if (seen[method] === 1) return backend.sockets.forEach((socket) => socket.destroy());
    stream.respond({ ':status': 200 });
    stream.end('second');
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  const post = await request(client, { ':path': '/', ':method': 'POST' }, { body: 'pay' });
  assert.equal(post.headers[':status'], 502);
  assert.equal(seen.POST, 1);
  const get = await request(client, { ':path': '/' });
  assert.equal(get.headers[':status'], 200);
  assert.equal(seen.GET, 2);
});

test('a pooled connection that the backend closed while idle costs no request', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 20; i += 1) {
    assert.equal((await request(client, { ':path': '/', ':method': 'POST' }, { body: 'x' })).headers?.[':status'], 200);
    const gone = [...backend.sessions].map((session) => once(session, 'close'));
    for (const session of backend.sessions) session.destroy();
    await within(5_000, Promise.all(gone), 'the backend has closed its sessions');
  }
});

test('a backend that is down passes its requests to the other one; with none left the answer is 502', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const dead = await freePort();
  const plait = await startPlait(t, ['-b', `h2c://127.0.0.1:${dead}`, '-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 20; i += 1) assert.equal((await request(client, { ':path': '/' })).headers[':status'], 200);
  const alone = await startPlait(t, ['-b', `h2c://127.0.0.1:${dead}`, '--listen', '127.0.0.1:0']);
  assert.equal((await request(connectH2(t, alone.port), { ':path': '/' })).headers[':status'], 502);
  const grpc = await request(connectH2(t, alone.port), { ':path': '/a.B/C', ':method': 'POST', 'content-type': 'application/grpc' }, { body: '' });
  assert.equal(grpc.headers['grpc-status'], '14');
});

test('SIGTERM lets a request in flight finish, says GOAWAY, and ends with 0', async (t) => {
  let finish;
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('first ');
    finish = () => stream.end('last');
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0']);
  const client = connectH2(t, plait.port);
  const goaway = once(client, 'goaway');
  let stopped;
  const answer = await request(client, { ':path': '/' }, {
    onHeaders: () => {
      stopped = plait.stop();
      goaway.then(() => finish());
    },
  });
  assert.equal(answer.body, 'first last');
  assert.equal(await stopped, 0);
});

test('a client may send the preface of HTTP/2, or a method of HTTP/1.1, in single bytes', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  const plait = await startProxy(t, [backend]);
  for (const [text, answer] of [
    [`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(frameType.settings, 0, 0).toString('latin1')}`, /^\0\0.\x04/s],
    ['PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n', /^HTTP\/1\.1 200 /],
  ]) {
    const client = await openRaw(t, plait.port);
    client.socket.setNoDelay(true);
    for (const byte of text) {
      client.write(byte);
      await new Promise((resolve) => { setImmediate(resolve); });
    }
    await client.until(answer);
  }
});

test('no more streams are opened than SETTINGS allow that came with the answer to a probe', async (t) => {
  let most = 0;
  const backend = await startRawH2Backend(t, {
    settings: Buffer.concat([Buffer.from([0, 3]), uint32(1)]),
    open: (connection) => { connection.running = 0; },
    head: (connection) => {
      connection.running += 1;
      most = Math.max(most, connection.running);
    },
    request: (connection, stream) => setTimeout(() => {
      connection.running -= 1;
      connection.respond(stream);
    }, 20),
  });
  const plait = await startProxy(t, [`127.0.0.1:${backend.port}`]);
  const client = connectH2(t, plait.port);
  const answers = await Promise.all(Array.from({ length: 12 }, () => request(client, { ':path': '/' })));
  assert.ok(answers.every(({ status }) => status === 200), JSON.stringify(answers.map(({ status }) => status)));
  assert.equal(most, 1);
});

test('a backend that was silent when it was probed is not taken for HTTP/1.1 for ever', async (t) => {
  const h2 = http2.createServer();
  h2.on('stream', (stream) => {
    stream.respond({ ':status': 200 });
    stream.end('ok');
  });
  h2.on('sessionError', () => {});
  let connections = 0;
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    connections += 1;
    if (connections > 1) h2.emit('connection', socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => server.close());
  const plait = await startProxy(t, [`127.0.0.1:${server.address().port}`]);
  const client = connectH2(t, plait.port);
  await request(client, { ':path': '/' });
  const answer = await request(client, { ':path': '/' });
  assert.equal(answer.status, 200);
  assert.equal(answer.body, 'ok');
});

test('what counts as never sent is not sent with the last words to a backend that breaks the rules', async (t) => {
  let heads = 0;
  const backend = await startRawH2Backend(t, {
    // A SETTINGS_MAX_FRAME_SIZE of 100, which is an error, is the first that is heard of it: then the request is queued.
    settings: Buffer.concat([Buffer.from([0, 5]), uint32(100)]),
    head: () => { heads += 1; },
  });
  const plait = await startProxy(t, [`127.0.0.1:${backend.port}`]);
  const client = connectH2(t, plait.port);
  const answer = await request(client, { ':path': '/', ':method': 'POST' }, { body: 'once' });
  assert.equal(answer.status, 502);
  assert.ok(heads <= 1, `the backend has seen ${heads} requests`);
});

test('a response that is whole stays so when its stream fails before the request has ended', async (t) => {
  const backend = await startRawH2Backend(t, {
    head: (connection, stream) => connection.send(
      frame(frameType.headers, 4, stream, headerBlock([[':status', '404'], ['content-length', '5']])),
      frame(frameType.data, 1, stream, Buffer.from('early')),
      // A stream that depends on itself.
      frame(frameType.priority, 0, stream, Buffer.concat([uint32(stream), Buffer.from([0])])),
    ),
  });
  const plait = await startProxy(t, [backend]);
  for (let i = 0; i < 5; i += 1) {
    const stream = connectH2(t, plait.port).request({ ':path': '/', ':method': 'POST' });
    stream.on('error', () => {});
    stream.write('the beginning of a request');
    const [headers] = await within(10_000, once(stream, 'response'), 'the response');
    assert.equal(headers[':status'], 404);
    let body = '';
    stream.setEncoding('latin1');
    stream.on('data', (chunk) => { body += chunk; });
    await within(10_000, once(stream, 'end'), 'the response ends');
    assert.equal(body, 'early');
    stream.destroy();
  }
});

for (const protocol of ['h2', 'http/1.1']) {
  test(`an idle connection of TLS ends with a closure alert: ${protocol}`, async (t) => {
    const { pem, cert } = await certificate(t);
    // Of TLS 1.2, whose alerts are records that can be told from others by their type.
    const options = { ...pem, maxVersion: 'TLSv1.2' };
    const answer = (incoming, response) => response.end('ok');
    const server = protocol === 'h2' ? http2.createSecureServer(options, answer) : https.createServer(options, answer);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const types = [];
    let ended = false;
    const relay = net.createServer((socket) => {
      const behind = net.connect(server.address().port, '127.0.0.1');
      let heard = Buffer.alloc(0);
      socket.on('data', (chunk) => {
        behind.write(chunk);
        heard = Buffer.concat([heard, chunk]);
        for (let size; heard.length >= 5 && heard.length >= (size = 5 + heard.readUInt16BE(3)); heard = heard.subarray(size)) types.push(heard[0]);
      });
      behind.on('data', (chunk) => socket.write(chunk));
      for (const [one, other] of [[socket, behind], [behind, socket]]) {
        one.on('error', () => {});
        one.on('close', () => other.destroy());
      }
      socket.on('close', () => { ended = true; });
    });
    relay.listen(0, '127.0.0.1');
    await once(relay, 'listening');
    defer(t, () => {
      relay.close();
      server.close();
    });
    const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "https://localhost:${relay.address().port}"\nca_file = "${cert}"\n[timeouts]\nupstream_idle_ms = 200\n`);
    assert.match(await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 200 /);
    await eventually(() => ended, 'plait ends the idle connection', 10_000);
    assert.equal(types.at(-1), 21, `an alert is the last record; their types are ${types}`);
  });
}
