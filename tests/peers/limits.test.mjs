// Where one request meets the bounds of time and size, and what is said then must still be true.
import assert from 'node:assert/strict';
import net from 'node:net';
import { Readable } from 'node:stream';
import test from 'node:test';
import { startH1Backend, startH2Backend, startRawBackend } from './lib/backends.mjs';
import { connectH2, openRaw, request } from './lib/clients.mjs';
import { metric, startConfigured, startProxy } from './lib/plait.mjs';
import { eventually, within } from './lib/process.mjs';
import { frame, frameType, headerBlock, uint32 } from './lib/raw_h2.mjs';

const listen = (lines, backends) => `[[listen]]
address = "127.0.0.1:0"
${backends.map((url) => `[[backend]]\nurl = "${url}"\n`).join('')}
${lines}
`;

test('a body that breaks off is a reset for a client of HTTP/1.0, to whom a close would be its end', async (t) => {
  const h2 = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('hello');
  });
  const h1 = await startRawBackend(t, (socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n'));
  });
  for (const backend of [h2, h1]) {
    const plait = await startProxy(t, [backend]);
    const raw = await openRaw(t, plait.port);
    raw.write('GET / HTTP/1.0\r\nHost: a\r\n\r\n');
    // node reports an end instead of a reset that comes before the data have been read.
    await raw.until(/\r\n\r\nhello/);
    for (const socket of backend.sockets) socket.destroy();
    await raw.ended();
    assert.equal(raw.error?.code, 'ECONNRESET', backend.url);
  }
});

test('an upload that goes on may take longer than the time for a response head', async (t) => {
  const drain = (incoming, done) => {
    let size = 0;
    incoming.on('data', (chunk) => { size += chunk.length; });
    incoming.on('end', () => done(String(size)));
  };
  const h2 = await startH2Backend(t, (stream) => drain(stream, (size) => {
    stream.respond({ ':status': 200 });
    stream.end(size);
  }));
  const h1 = await startH1Backend(t, (incoming, response) => drain(incoming, (size) => response.end(size)));
  for (const backend of [h2, h1]) {
    const plait = await startConfigured(t, listen('[timeouts]\nresponse_head_ms = 500', [backend.url]));
    const start = Date.now();
    const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, {
      streaming: true,
      onStream: (stream) => {
        const timer = setInterval(() => {
          if (stream.destroyed || Date.now() - start > 1600) {
            clearInterval(timer);
            stream.end();
          } else {
            stream.write('y'.repeat(1000));
          }
        }, 50);
      },
    });
    assert.equal(answer.status, 200, backend.url);
    assert.ok(Number(answer.body) >= 1000);
    assert.ok(Date.now() - start > 1500);
  }
});

test('trailers of a request reach the backend without those that may not be trailers', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    let trailers = {};
    stream.on('trailers', (fields) => { trailers = fields; });
    stream.resume();
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(JSON.stringify(trailers));
    });
  });
  const plait = await startProxy(t, [backend]);
  const raw = await openRaw(t, plait.port);
  raw.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n'
    + '1\r\nx\r\n0\r\nX-Sum: 1\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n');
  assert.match(await raw.ended(), /"x-sum":"1"/);
  assert.doesNotMatch(raw.text, /6\.6\.6\.6/);
  const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, {
    streaming: true, onStream: (stream) => stream.end('x'), trailers: { 'x-sum': '2', 'x-forwarded-for': '6.6.6.6', authorization: 'forged' },
  });
  assert.equal(answer.status, 200);
  const { 'x-sum': sum, 'x-forwarded-for': forged, authorization } = JSON.parse(answer.body);
  assert.deepEqual([sum, forged, authorization], ['2', undefined, undefined]);
});

test('a chain of proxies too long to be kept leaves the address that we know', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    stream.end(JSON.stringify({ from: headers['x-forwarded-for'], via: headers.via }));
  });
  const plait = await startProxy(t, [backend], { args: ['--trusted-proxy', '127.0.0.0/8'] });
  const client = connectH2(t, plait.port);
  const kept = JSON.parse((await request(client, { ':path': '/', 'x-forwarded-for': '9.9.9.9' })).body);
  assert.equal(kept.from, '9.9.9.9, 127.0.0.1');
  const answer = await request(client, { ':path': '/', 'x-forwarded-for': Array(350).fill('10.11.12.13').join(', '), via: Array(350).fill('1.1 someone').join(', ') });
  assert.equal(answer.status, 200);
  const long = JSON.parse(answer.body);
  assert.equal(long.from, '127.0.0.1');
  assert.match(long.via, /plait$/);
});

test('the line before full backends is waited in once, not once for each', async (t) => {
  const start = async () => {
    const backend = await startH2Backend(t, (stream) => {
      stream.resume();
      backend.taken = true;
    }, { settings: { maxConcurrentStreams: 1 } });
    return backend;
  };
  const backends = [await start(), await start()];
  const plait = await startConfigured(t, listen('[timeouts]\nqueue_ms = 1500\n[limits]\nh2_connections_per_backend = 1', backends.map((b) => b.url)));
  const client = connectH2(t, plait.port);
  for (let i = 0; i < 2; i += 1) client.request({ ':path': '/held' }).on('error', () => {});
  // A connection whose SETTINGS have not come yet would be given another stream, and refuse it.
  await eventually(() => backends.every(({ taken }) => taken), 'both are full');
  const begun = Date.now();
  const answer = await request(client, { ':path': '/late' });
  assert.equal(answer.status, 503);
  assert.ok(Date.now() - begun < 2800, `${Date.now() - begun} ms`);
});

test('a request of unknown fate is repeated once, over all backends', async (t) => {
  let executed = 0;
  const lose = (stream) => {
    executed += 1;
    stream.session.destroy();
  };
  const first = await startH2Backend(t, (stream) => {
    lose(stream);
    first.server.close();
  });
  const second = await startH2Backend(t, lose);
  const plait = await startProxy(t, [first, second]);
  const answer = await within(20_000, request(connectH2(t, plait.port), { ':path': '/' }), 'an answer');
  assert.equal(answer.status, 502);
  assert.ok(executed <= 2, `executed ${executed} times`);
});

test('clients that do not read use up the send blocks for themselves, not for the backends and everybody', async (t) => {
  let sessions = 0;
  const piece = Buffer.alloc(64 << 10, 'b');
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': 200 });
    if (headers[':path'] === '/big') {
      // In pieces, since node refuses streams once a session holds more than ten megabytes.
      let left = 384;
      new Readable({ read() { this.push(left-- > 0 ? piece : null); } }).pipe(stream).on('error', () => {});
    } else {
      let size = 0;
      stream.on('data', (chunk) => { size += chunk.length; });
      stream.on('end', () => stream.end(String(size)));
    }
  });
  backend.server.on('session', () => { sessions += 1; });
  const plait = await startConfigured(t, listen('[limits]\nsend_blocks = 256\nclient_connections = 150\nupstream_connections = 16\nh2_connections_per_backend = 1\n[admin]\naddress = "127.0.0.1:0"', [backend.url]));
  const honest = connectH2(t, plait.port);
  const upload = honest.request({ ':path': '/upload', ':method': 'POST' });
  upload.setEncoding('utf8');
  let answer = '';
  upload.on('data', (text) => { answer += text; });
  upload.write('begun');
  const slow = Array.from({ length: 80 }, (_, i) => {
    const socket = net.connect({ port: plait.port, host: '127.0.0.1', onread: undefined });
    t.after(() => socket.destroy());
    socket.on('error', () => {});
    socket.pause();
    if (i % 2 === 0) {
      socket.write('GET /big HTTP/1.1\r\nHost: a\r\n\r\n');
    } else {
      const get = headerBlock([[':method', 'GET'], [':scheme', 'http'], [':path', '/big'], [':authority', 'a']]);
      socket.write(Buffer.concat([
        Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, 4]), uint32(32 << 20)])),
        frame(frameType.windowUpdate, 0, 0, uint32(64 << 20)), ...[1, 3].map((id) => frame(frameType.headers, 5, id, get)),
      ]));
    }
    return socket;
  });
  const used = () => metric(plait, 'plait_slab_used', { slab: 'send_blocks' });
  let seen = 0;
  let same = 0;
  await eventually(async () => {
    const now = await used();
    same = now > 80 && now === seen ? same + 1 : 0;
    seen = now;
    return same === 20;
  }, 'the slow ones fill their queues and stand still');
  for (let round = 0; round < 20; round += 1) {
    const small = await within(5000, request(honest, { ':path': '/small', ':method': 'POST' }, { body: 'x'.repeat(50_000) }), 'an answer among slow readers');
    assert.equal(small.body, '50000');
  }
  upload.end('and ended');
  await eventually(() => answer === '14', 'the stream from before them is complete');
  assert.equal(sessions, 1, 'the shared connection is the same');
  for (const socket of slow) socket.destroy();
  await eventually(async () => await used() === 0, 'all blocks are back');
});

test('a client of HTTP/1.1 that closes its half while it waits has cancelled its request', async (t) => {
  let arrived = 0;
  let cancelled = 0;
  const backend = await startH2Backend(t, (stream) => {
    arrived += 1;
    stream.on('error', () => {});
    stream.on('aborted', () => { cancelled += 1; });
    stream.resume();
  });
  const plait = await startProxy(t, [backend]);
  const client = await openRaw(t, plait.port);
  client.write('GET /held HTTP/1.1\r\nHost: a\r\n\r\n');
  await eventually(() => arrived === 1, 'the request has arrived');
  client.socket.end();
  await eventually(() => cancelled === 1, 'the backend hears of it');
});
