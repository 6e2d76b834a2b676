// What a backend says before it hangs up, and what is no answer at all: early answers to uploads, other protocols' banners,
// bodies that are wrong from the start, and tunnels of which one direction ends first.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import tls from 'node:tls';
import { certificate } from './lib/certificate.mjs';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, curl, exchangeRaw, openRaw, request } from './lib/clients.mjs';
import { adminGet, metric, startConfigured, startProxy } from './lib/plait.mjs';
import { defer, eventually, freePort, temporaryDirectory, within } from './lib/process.mjs';
import { errorCode, frame, frameType, headerBlock, startRawH2Backend, uint32 } from './lib/raw_h2.mjs';
import { code, connectWire, data, fields, greet, headers, reset, type } from './lib/wire_h2.mjs';

// A backend of bytes, with TLS where `secure` is given; sockets stay open for writing when their peer ends. `raw` is what
// is below TLS.
async function startBytes(t, handler, { secure } = {}) {
  const sockets = new Set();
  const server = net.createServer({ allowHalfOpen: true }, (raw) => {
    sockets.add(raw);
    raw.on('error', () => {});
    // Else Nagle's algorithm keeps the answer until TLS's tickets are acknowledged, and the reset takes it along.
    raw.setNoDelay(true);
    const socket = secure ? new tls.TLSSocket(raw, { ...secure, isServer: true, allowHalfOpen: true }) : raw;
    socket.on('error', () => {});
    handler(socket, raw);
  });
  defer(t, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  return { port, url: `${secure ? 'https' : 'http'}://127.0.0.1:${port}` };
}

const statusOf = (text) => Number(text.match(/^HTTP\/1\.1 (\d{3}) /)?.[1] ?? 0);

// An upload of 3 MB, as fast as it is taken; resolves with the status of the final response, 0 where there was none.
function upload(port, { chunked = false } = {}) {
  return within(20_000, new Promise((resolve) => {
    const body = Buffer.alloc(3_000_000);
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.write(`POST / HTTP/1.1\r\nHost: a\r\n${chunked ? 'Transfer-Encoding: chunked' : `Content-Length: ${body.length}`}\r\n\r\n`);
      if (chunked) socket.write(`${body.length.toString(16)}\r\n`);
      socket.write(body);
      if (chunked) socket.write('\r\n0\r\n\r\n');
    });
    let text = '';
    socket.setEncoding('latin1');
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      text += chunk;
      if (/\r\n\r\n/.test(text)) socket.destroy();
    });
    socket.on('close', () => resolve(statusOf(text)));
  }), 'an answer to an upload');
}

async function uploadH2(t, port) {
  const answer = await request(connectH2(t, port), { ':path': '/', ':method': 'POST' }, { body: Buffer.alloc(3_000_000) });
  return answer.status ?? 0;
}

function count(values) {
  const counts = {};
  for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
  return counts;
}

const tooLarge = 'HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n';
// Each hangs up with bytes of the upload unread, so that the kernel makes a reset of it.
const hangsUp = {
  'closes with the upload unread': (socket, raw) => socket.write(tooLarge, () => raw.destroy()),
  'resets the connection': (socket, raw) => socket.write(tooLarge, () => raw.resetAndDestroy()),
  'ends its side first': (socket, raw) => socket.end(tooLarge, () => raw.destroy()),
};

for (const [what, hangUp] of Object.entries(hangsUp)) {
  for (const secured of [false, true]) {
    test(`an early 413 of a backend${secured ? ' with TLS' : ''} that ${what} reaches everybody who uploads`, async (t) => {
      const secure = secured ? (await certificate(t)).pem : undefined;
      const backend = await startBytes(t, (socket, raw) => socket.once('data', () => {
        socket.pause();
        hangUp(socket, raw);
      }), { secure });
      const plait = await startProxy(t, [backend], { args: ['--insecure'] });
      const statuses = { length: [], chunked: [], h2: [] };
      for (let i = 0; i < 40; i += 1) {
        statuses.length.push(await upload(plait.port));
        statuses.chunked.push(await upload(plait.port, { chunked: true }));
        if (i % 4 === 0) statuses.h2.push(await uploadH2(t, plait.port));
      }
      assert.deepEqual(Object.values(statuses).map(count), [{ 413: 40 }, { 413: 40 }, { 413: 10 }]);
    });
  }
}

test('an early 413 over HTTP/2 of a backend that hangs up reaches everybody who uploads', async (t) => {
  const backend = await startRawH2Backend(t, {
    // Else Nagle's algorithm keeps the answer until its SETTINGS are acknowledged, and the reset takes it along.
    open: (connection) => connection.socket.setNoDelay(true),
    head(connection, stream) {
      connection.headers(stream, 413, [['content-length', '0']], true);
      connection.socket.pause();
      setImmediate(() => connection.destroy());
    },
  });
  const plait = await startProxy(t, [backend]);
  const statuses = [];
  for (let i = 0; i < 20; i += 1) statuses.push(await upload(plait.port), await uploadH2(t, plait.port));
  assert.deepEqual(count(statuses), { 413: 40 });
});

// curl takes a stream whose RST_STREAM it reads together with the response for one that failed, and so does git.
for (const [name, secured] of [['h2 with TLS', true], ['h2c', false]]) {
  test(`curl that uploads a megabyte over ${name} sees the status of each early answer`, async (t) => {
    const early = await startBytes(t, (socket) => socket.once('data', (head) => {
      socket.resume();
      const status = head.toString('latin1').match(/ \/(\d+) /)[1];
      socket.write(`HTTP/1.1 ${status} Early\r\nContent-Length: 6\r\nConnection: close\r\n\r\nearly\n`);
      setTimeout(() => socket.destroy(), 1000).unref();
    }));
    const gone = `http://127.0.0.1:${await freePort()}`;
    const file = path.join(temporaryDirectory(t), 'megabyte');
    writeFileSync(file, Buffer.alloc(1_000_000));
    for (const [backend, cases] of [
      [early, [['/413'], ['/404'], ['/401'], ['/500']]],
      // What plait answers by itself.
      [gone, [['/', 502], ['/', 501, ['-X', 'TRACE', '-H', 'Max-Forwards: 0']]]],
    ]) {
      const plait = await startProxy(t, [backend], { tls: true });
      const base = secured ? `https://127.0.0.1:${plait.tlsPort}` : `http://127.0.0.1:${plait.port}`;
      for (const [target, status = Number(target.slice(1)), args = []] of cases) {
        // Where a busy machine keeps curl from reading for a quarter of a second it may meet both after all.
        await eventually(async () => {
          const answer = await curl([secured ? '--http2' : '--http2-prior-knowledge', '-k', '-T', file, '-H', 'Expect:', ...args, base + target]);
          return answer.status === status && answer.exit === 0;
        }, `curl sees ${status} for ${target}`, 30_000);
      }
      await plait.stop();
    }
  });
}

const post = fields({ ':method': 'POST' });
async function startEarly(t, toml = '') {
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 413 }, { endStream: true });
    stream.resume();
  });
  return startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[admin]\naddress = "127.0.0.1:0"\n${toml}`);
}

test('a client that goes on sending after its answer gets credit for its connection alone, and RST_STREAM(NO_ERROR) a while later', async (t) => {
  const plait = await startEarly(t);
  const peer = await greet(await connectWire(plait.port));
  defer(t, () => peer.socket.destroy());
  const asked = performance.now();
  peer.send(headers(1, post, 4));
  await peer.untilEnd(1);
  for (let i = 0; i < 3; i += 1) peer.send(data(1, Buffer.alloc(16_000)));
  await peer.until((one) => one.type === type.windowUpdate && one.stream === 0, 'the connection’s credit');
  assert.equal((await peer.untilReset(1)).code, code.none);
  assert.ok(performance.now() - asked >= 250, 'the client has had its time');
  assert.ok(!peer.frames.some((one) => one.type === type.windowUpdate && one.stream === 1), peer.heard());
  await peer.settled();
});

test('a client that stops by itself after an early answer is told nothing more', async (t) => {
  const plait = await startEarly(t);
  const peer = await greet(await connectWire(plait.port));
  defer(t, () => peer.socket.destroy());
  peer.send(headers(1, post, 4), headers(3, post, 4));
  await peer.untilEnd(1);
  await peer.untilEnd(3);
  peer.send(reset(1), data(3, '', 1));
  await eventually(async () => (await metric(plait, 'plait_slab_used', { slab: 'exchanges_http2' })) === 0, 'both are over');
  const heard = peer.frames.length;
  // A third one, whose RST_STREAM comes later than that of the others would.
  peer.send(headers(5, post, 4));
  await peer.untilReset(5);
  assert.deepEqual(peer.frames.slice(heard).filter((one) => one.type === type.reset).map((one) => one.stream), [5]);
});

test('answers whose clients do not stop keep no exchange from others', async (t) => {
  const plait = await startEarly(t, '[limits]\nexchanges = 16\n');
  const peer = await greet(await connectWire(plait.port));
  defer(t, () => peer.socket.destroy());
  for (let stream = 1; stream < 200; stream += 2) {
    peer.send(headers(stream, post, 4));
    assert.ok((await peer.untilEnd(stream)).endStream);
    assert.ok((await metric(plait, 'plait_slab_used', { slab: 'exchanges_http2' })) <= 5);
  }
  assert.equal(await metric(plait, 'plait_requests_refused_total'), 0);
});

test('a process that ends waits no longer for a client that goes on sending after its answer', async (t) => {
  const plait = await startEarly(t, '[timeouts]\ndrain_ms = 40000\n');
  const peer = await greet(await connectWire(plait.port));
  defer(t, () => peer.socket.destroy());
  peer.send(headers(1, post, 4));
  await peer.untilEnd(1);
  plait.child.kill('SIGTERM');
  await peer.untilGoaway();
  await peer.untilReset(1);
  await within(10_000, plait.exited, 'plait ends');
});

test('an early answer with a body comes whole, though its backend hangs up behind it', async (t) => {
  const text = 'no more than a megabyte, please\n';
  const backend = await startBytes(t, (socket) => socket.once('data', () => {
    socket.pause();
    socket.write(`HTTP/1.1 413 Content Too Large\r\nContent-Length: ${text.length}\r\nConnection: close\r\n\r\n${text}`, () => socket.destroy());
  }));
  const plait = await startProxy(t, [backend]);
  for (let i = 0; i < 20; i += 1) {
    const answer = await request(connectH2(t, plait.port), { ':path': '/', ':method': 'POST' }, { body: Buffer.alloc(3_000_000) });
    assert.equal(answer.status, 413);
    assert.equal(answer.body, text);
  }
});

const banners = {
  'an SSH server': 'SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n',
  'an SMTP server': '220 mail.example ESMTP Postfix\r\n',
  'an FTP server without an end of its line': '220-welcome',
  'MySQL': '\x4a\0\0\0\x0a8.0.36\0',
  'HTTP/0.9': '<html><body>hello',
  'a version that is not asked for': 'HTTP/3.0 2',
  'a status line with letters in it': 'HTTP/1.1 2OO OK\r\n',
  'a status line without a status': 'HTTP/1.1\r\nServer: a\r\n',
  'a line that never ends': `HTTP/1.1 200 ${'a'.repeat(20_000)}`,
  'a TLS alert': '\x15\x03\x01\0\x02\x02\x46',
};

for (const [what, banner] of Object.entries(banners)) {
  test(`${what} in a backend's place is a 502 at once`, async (t) => {
    for (const at of ['connection', 'request']) {
      const backend = await startBytes(t, (socket) => {
        // Nothing else ever comes, and nothing ends.
        if (at === 'connection') socket.write(banner, 'latin1');
        else socket.once('data', () => socket.write(banner, 'latin1'));
        socket.resume();
      });
      const plait = await startProxy(t, [backend]);
      for (const method of ['GET', 'POST']) {
        const begun = Date.now();
        const text = await exchangeRaw(plait.port, `${method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
        assert.equal(statusOf(text), 502, text);
        assert.ok(Date.now() - begun < 10_000, 'long before the time for a head is over');
      }
    }
  });
}

test('an SSH server behind a backend without a scheme is a 502 at once', async (t) => {
  const backend = await startBytes(t, (socket) => socket.resume().write('SSH-2.0-OpenSSH_9.2p1\r\n'));
  const plait = await startProxy(t, [`127.0.0.1:${backend.port}`]);
  const answer = await request(connectH2(t, plait.port), { ':path': '/' }, { timeout: 15_000 });
  assert.equal(answer.status, 502);
});

test('another protocol in the place of a backend of HTTP/2 is a 502 at once', async (t) => {
  for (const banner of ['220 a\r\n', ...Object.values(banners)]) {
    const backend = await startBytes(t, (socket) => socket.resume().write(banner, 'latin1'));
    const plait = await startProxy(t, [backend.url.replace('http:', 'h2c:')]);
    const answer = await request(connectH2(t, plait.port), { ':path': '/' }, { timeout: 10_000 });
    assert.equal(answer.status, 502, banner.slice(0, 30));
    if (banner !== banners.MySQL) await eventually(() => /does not speak HTTP\/2 \(it answered "/.test(plait.stderr()), plait.stderr());
  }
});

const ok = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';
const wrongBodies = {
  'a chunk without a size': `${ok}zz\r\nhello\r\n`,
  'a chunk of too many digits': `${ok}fffffffffffffffff\r\n`,
  'a chunk that is longer than it says': `${ok}2\r\nhello\r\n0\r\n\r\n`,
  'a good chunk before a bad one': `${ok}5\r\nhello\r\n-1\r\n`,
  'a trailer without a name': `${ok}0\r\n: nothing\r\n\r\n`,
};

for (const [what, answer] of Object.entries(wrongBodies)) {
  test(`${what} before anything has left for the client is a 502`, async (t) => {
    const backend = await startBytes(t, (socket) => socket.on('data', () => socket.write(answer)));
    const plait = await startProxy(t, [backend], { admin: true });
    const text = await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
    assert.equal(statusOf(text), 502, text);
    assert.match(text, /broke off/);
    const h2 = await request(connectH2(t, plait.port), { ':path': '/' });
    assert.equal(h2.status, 502);
    assert.equal(h2.error, null);
    assert.equal(await metric(plait, 'plait_responses_total', { class: '2xx' }), 0, (await adminGet(plait, '/metrics')).body);
    assert.equal(await metric(plait, 'plait_responses_total', { class: '5xx' }), 2);
  });
}

test('an HTTP/2 response that is reset with its head is shown as far as it goes', async (t) => {
  const backend = await startRawH2Backend(t, {
    request: (connection, stream) => connection.send(
      frame(frameType.headers, 4, stream, headerBlock([[':status', '200']])),
      frame(frameType.data, 0, stream, Buffer.from('some')),
      frame(frameType.reset, 0, stream, uint32(errorCode.internal)),
    ),
  });
  const plait = await startProxy(t, [backend]);
  const text = await exchangeRaw(plait.port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');
  assert.match(text, /^HTTP\/1\.1 200 .*\r\n\r\n(4\r\nsome\r\n)?$/s);
  const h2 = await request(connectH2(t, plait.port), { ':path': '/' });
  assert.equal(h2.status, 200);
  assert.equal(h2.rstCode, errorCode.internal);
});

const upgrade = 'GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';
const switching = 'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n';

for (const secured of [false, true]) {
  test(`a backend${secured ? ' with TLS' : ''} that ends its direction of a tunnel first still hears its client to the end`, async (t) => {
    const secure = secured ? (await certificate(t)).pem : undefined;
    let heard = '';
    let has_ended = false;
    const backend = await startBytes(t, (socket) => {
      socket.setEncoding('latin1');
      let head = '';
      socket.on('data', (chunk) => {
        if (head.includes('\r\n\r\n')) return void (heard += chunk);
        head += chunk;
        if (head.includes('\r\n\r\n')) socket.end(`${switching}that is all from me`);
      });
      socket.on('end', () => { has_ended = true; });
    }, { secure });
    const plait = await startProxy(t, [backend], { admin: true, args: ['--insecure'] });
    const socket = net.connect({ port: plait.port, host: '127.0.0.1', allowHalfOpen: true });
    defer(t, () => socket.destroy());
    let text = '';
    let is_over = false;
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => { text += chunk; });
    socket.on('end', () => { is_over = true; });
    const closed = once(socket, 'close');
    socket.write(upgrade);
    await eventually(() => is_over, 'the client hears that the backend has said all');
    assert.match(text, /that is all from me$/);
    const much = 'm'.repeat(500_000);
    socket.write('still here, ');
    await eventually(() => heard === 'still here, ', 'what the client says afterwards arrives');
    assert.equal(has_ended, false);
    socket.end(much);
    await eventually(() => has_ended, 'the backend hears the end');
    assert.equal(heard.length, 'still here, '.length + much.length);
    await within(10_000, closed, 'the client’s connection ends');
    await eventually(async () => (await metric(plait, 'plait_upstream_streams')) === 0, 'nothing of the tunnel is left');
    assert.equal(await metric(plait, 'plait_responses_incomplete_total'), 0);
  });
}

test('a backend that is gone altogether ends a tunnel whose client goes on sending', async (t) => {
  const backend = await startBytes(t, (socket) => socket.once('data', () => socket.end(switching, () => socket.destroy())));
  const plait = await startProxy(t, [backend], { admin: true });
  const raw = await openRaw(t, plait.port);
  raw.socket.allowHalfOpen = true;
  raw.write(upgrade);
  await raw.until(/101 Switching/);
  let timer;
  await within(10_000, new Promise((resolve) => {
    timer = setInterval(() => raw.socket.write('anybody there?'), 5);
    raw.socket.on('close', resolve);
  }), 'the tunnel ends').finally(() => clearInterval(timer));
  await eventually(async () => (await metric(plait, 'plait_upstream_streams')) === 0, 'nothing of the tunnel is left');
});

test('a half of a tunnel in which nobody says anything ends after stream_idle_ms', async (t) => {
  const backend = await startBytes(t, (socket) => socket.once('data', () => socket.end(switching)));
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[timeouts]\nstream_idle_ms = 300\n[admin]\naddress = "127.0.0.1:0"\n`);
  const socket = net.connect({ port: plait.port, host: '127.0.0.1', allowHalfOpen: true });
  defer(t, () => socket.destroy());
  socket.on('error', () => {});
  socket.resume().write(upgrade);
  await within(10_000, once(socket, 'end'), 'the backend’s half has ended');
  await eventually(async () => (await metric(plait, 'plait_upstream_streams')) === 0, 'the other half ends by itself');
});
