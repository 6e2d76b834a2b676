// The PROXY protocol: a balancer says who the client is before anything else on the connection, and from then on that is
// its client everywhere. Nobody else may say so.
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import path from 'node:path';
import { Duplex } from 'node:stream';
import { describe, test } from 'node:test';
import tls from 'node:tls';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { curl, openRaw, request } from './lib/clients.mjs';
import { adminGet, metric, runPlait, startConfigured, startPlait, writeConfiguration } from './lib/plait.mjs';
import { defer, eventually, temporaryDirectory, within } from './lib/process.mjs';

const echo = (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(headers));
};

// plait whose clients come by a balancer at 127.0.0.1. `listen` and `more` are lines of its configuration.
async function start(t, { listen = '', more = '', trusted = '["127.0.0.1"]' } = {}) {
  const backend = await startH2Backend(t, echo);
  const log = path.join(temporaryDirectory(t), 'a.log');
  const file = writeConfiguration(t, `[[listen]]\naddress = "127.0.0.1:0"\nproxy_protocol = "require"\nproxy_trusted = ${trusted}\n${listen}
[[backend]]\nurl = "${backend.url}"\n[admin]\naddress = "127.0.0.1:0"\n[access_log]\nfile = "${log}"\nformat = "json"\n${more}`);
  const plait = await startPlait(t, ['-c', file]);
  plait.file = file;
  plait.line = (find) => eventually(() => readFileSync(log, 'utf8').split('\n').filter((one) => one !== '').map((one) => JSON.parse(one)).find((one) => one.path === find), `a line of ${find}`);
  plait.faults = (reason) => metric(plait, 'plait_client_connection_errors_total', { reason });
  plait.says = (pattern) => eventually(() => pattern.test(plait.stderr()), `plait says ${pattern}`);
  return plait;
}

const v1 = (address, family = address.includes(':') ? 'TCP6' : 'TCP4') => `PROXY ${family} ${address} ${family === 'TCP6' ? '::1' : '192.0.2.1'} 5432 443\r\n`;

function crc32c(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; ++bit) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}
const tlv = (type, value) => Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), Buffer.from(value)]);
// `sum` adds a checksum, which `wrong` makes a wrong one.
function v2(address, { command = 0x21, tlvs = [], sum = false, wrong = false } = {}) {
  const ends = Buffer.from([...address.split('.').map(Number), 192, 0, 2, 1, 0x15, 0x38, 1, 0xbb]);
  const content = Buffer.concat([ends, ...tlvs, ...(sum ? [tlv(3, Buffer.alloc(4))] : [])]);
  const header = Buffer.concat([Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1'), Buffer.from([command, 0x11, content.length >> 8, content.length & 0xff]), content]);
  if (sum) header.writeUInt32BE((crc32c(header) ^ (wrong ? 1 : 0)) >>> 0, header.length - 4);
  return header.toString('latin1');
}

const get = (target) => `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`;
// The fields that the backend got with a request over a connection that begins with those bytes.
async function seenBy(t, plait, header, target, pieces = [header + get(target)]) {
  const client = await openRaw(t, plait.port);
  client.socket.setNoDelay();
  for (const piece of pieces) {
    client.write(piece);
    if (pieces.length > 1) await new Promise((resolve) => setTimeout(resolve, 3));
  }
  const text = await client.until(/\r\n\r\n.*\}/s);
  assert.match(text, /^HTTP\/1\.1 200 /);
  return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
}

// A connection that begins with that header; `together` sends it in one piece with what follows.
function socketWith(t, port, header, together) {
  const socket = net.connect(port, '127.0.0.1');
  socket.on('error', () => {});
  defer(t, () => socket.destroy());
  if (!together) {
    socket.write(header, 'latin1');
    return socket;
  }
  let begun = false;
  const duplex = new Duplex({
    read() { socket.resume(); },
    write(chunk, encoding, done) {
      const bytes = begun ? chunk : Buffer.concat([Buffer.from(header, 'latin1'), chunk]);
      begun = true;
      socket.write(bytes, done);
    },
    final(done) { socket.end(done); },
    destroy(error, done) { socket.destroy(); done(error); },
  });
  socket.on('data', (chunk) => { if (!duplex.push(chunk)) socket.pause(); });
  socket.on('end', () => duplex.push(null));
  return duplex;
}

describe('who the client is', () => {
  test('both versions say it, for fields and logs, in one piece or byte by byte', async (t) => {
    const plait = await start(t);
    const cases = {
      v1: [v1('203.0.113.7'), '203.0.113.7'],
      v6: [v1('2001:db8::7'), '2001:db8::7'],
      mapped: [v1('::ffff:203.0.113.8'), '203.0.113.8'],
      v2: [v2('203.0.113.9'), '203.0.113.9'],
      sum: [v2('203.0.113.10', { tlvs: [tlv(1, 'h2'), tlv(2, 'shop.example'), tlv(4, 'x'.repeat(3000)), tlv(0xea, 'x')], sum: true }), '203.0.113.10'],
      unknown: ['PROXY UNKNOWN\r\n', '127.0.0.1'],
      local: [v2('203.0.113.11', { command: 0x20 }), '127.0.0.1'],
    };
    for (const [name, [header, client]] of Object.entries(cases)) {
      const seen = await seenBy(t, plait, header, `/${name}`);
      assert.equal(seen['x-forwarded-for'], client, name);
      assert.equal((await plait.line(`/${name}`)).client, client);
      const bytes = header.length > 200 ? [header.slice(0, 13), header.slice(13, 1000), header.slice(1000)] : [...header];
      assert.equal((await seenBy(t, plait, header, `/${name}/slow`, [...bytes, get(`/${name}/slow`)]))['x-forwarded-for'], client, name);
      const across = header + get(`/${name}/across`);
      assert.equal((await seenBy(t, plait, header, '', [across.slice(0, 10), across.slice(10)]))['x-forwarded-for'], client, name);
    }
    assert.equal((await plait.line('/v1')).real_client, undefined, 'the address is the peer, and no other is behind it');
    const { body } = await adminGet(plait, '/metrics');
    assert.deepEqual(body.split('\n').filter((line) => /^plait_client_connection_errors_total.* [1-9]/.test(line)), []);
  });

  test('routes, trusted proxies and allow ask about that address', async (t) => {
    const plait = await start(t, {
      more: '[forwarding]\ntrusted_proxies = ["203.0.113.7"]\n[[route]]\nname = "closed"\npath = "/closed"\ncluster = "default"\nallow = ["198.51.100.1"]\n[[route]]\nname = "rest"\ncluster = "default"\n',
    });
    const ask = async (address, target) => {
      const client = await openRaw(t, plait.port);
      client.write(`${v1(address)}GET ${target} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.1\r\n\r\n`);
      return client.until(/\r\n\r\n.+/s);
    };
    assert.match(await ask('203.0.113.7', '/closed'), /^HTTP\/1\.1 200 .*"x-forwarded-for":"198\.51\.100\.1, 203\.0\.113\.7"/s);
    assert.match(await ask('203.0.113.8', '/closed'), /^HTTP\/1\.1 403 /);
    assert.match(await ask('203.0.113.8', '/open'), /^HTTP\/1\.1 200 .*"x-forwarded-for":"203\.0\.113\.8"/s);
    // Nobody is trusted for being the balancer.
    assert.match(await ask('127.0.0.1', '/closed'), /^HTTP\/1\.1 403 /);
  });

  for (const together of [false, true]) {
    test(`TLS comes behind the header${together ? ' in one piece with it' : ''}, and so does HTTP/2 of any kind`, async (t) => {
      const { cert, key, pem } = await certificate(t);
      const secure = `cert = "${cert}"\nkey = "${key}"\n`;
      const on = await start(t, { listen: `tls = "on"\n${secure}` });
      const auto = await start(t, { listen: `tls = "auto"\n${secure}` });
      const speak = async (plait, isTls, ALPNProtocols, target) => {
        const plain = socketWith(t, plait.port, v2('203.0.113.20', { sum: true }), together);
        const socket = isTls ? tls.connect({ socket: plain, servername: 'localhost', ca: pem.cert, ALPNProtocols }) : plain;
        socket.on('error', () => {});
        defer(t, () => socket.destroy());
        if (ALPNProtocols[0] === 'h2') {
          const session = http2.connect('http://localhost', { createConnection: () => socket });
          session.on('error', () => {});
          defer(t, () => session.destroy());
          return JSON.parse((await request(session, { ':path': target })).body);
        }
        socket.write(get(target));
        let text = '';
        socket.on('data', (chunk) => { text += chunk; });
        await eventually(() => text.endsWith('}') || text.endsWith('}\r\n0\r\n\r\n'), 'an answer');
        return JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1));
      };
      for (const [plait, isTls] of [[on, true], [auto, true], [auto, false]]) {
        for (const protocol of ['h2', 'http/1.1']) {
          const seen = await within(20_000, speak(plait, isTls, [protocol], `/${protocol}/${isTls}`), `${protocol} over ${isTls}`);
          assert.deepEqual([seen['x-forwarded-for'], seen['x-forwarded-proto']], ['203.0.113.20', isTls ? 'https' : 'http']);
          assert.equal((await plait.line(`/${protocol}/${isTls}`)).client, '203.0.113.20');
        }
      }
    });
  }

  test('curl is understood, as a balancer of version 1', async (t) => {
    const plait = await start(t, { trusted: '["127.0.0.0/8"]' });
    const answer = await curl(['--haproxy-protocol', '--interface', '127.0.0.9', `http://127.0.0.1:${plait.port}/curl`]);
    assert.equal(answer.status, 200);
    assert.equal(JSON.parse(answer.body)['x-forwarded-for'], '127.0.0.9');
  });
});

describe('who may not say it', () => {
  test('a peer that is not trusted is closed before it says anything, and named', async (t) => {
    const plait = await start(t);
    for (const bytes of ['', v1('203.0.113.7') + get('/')]) {
      const client = await openRaw(t, plait.port, { localAddress: '127.0.0.2' });
      client.write(bytes);
      assert.equal(await client.ended(), '');
    }
    assert.equal(await plait.faults('proxy_untrusted'), 2);
    assert.equal(await metric(plait, 'plait_client_connections_refused_total'), 2);
    await plait.says(/client 127\.0\.0\.2: .*it is not among the listener's proxy_trusted/);
    assert.equal((await seenBy(t, plait, v1('203.0.113.7'), '/'))['x-forwarded-for'], '203.0.113.7');
  });

  test('what is no header, or a malformed one, closes the connection and is counted', async (t) => {
    const plait = await start(t);
    const garbage = [get('/'), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', '\x16\x03\x01\x00\x05', 'PROXY TCP4 1.2.3 4.5.6.7 1 2\r\n', `PROXY UNKNOWN ${'x'.repeat(200)}`,
      v2('203.0.113.7', { command: 0x22 }), v2('203.0.113.7', { tlvs: [tlv(4, 'x'.repeat(5000))] }), v2('203.0.113.7', { sum: true, wrong: true }),
      v2('203.0.113.7', { tlvs: [Buffer.from([4, 0xff, 0xff])] })];
    for (const bytes of garbage) {
      const client = await openRaw(t, plait.port);
      client.write(bytes + get('/'));
      assert.equal(await client.ended(), '', bytes);
    }
    assert.equal(await plait.faults('proxy_header'), garbage.length);
    await plait.says(/client 127\.0\.0\.1: .*the connection does not begin with a PROXY header/);
    // One that ends within its header is at fault, a health check that says nothing is not.
    for (let i = 0; i < 20; ++i) {
      const check = net.connect(plait.port, '127.0.0.1', () => check.resetAndDestroy());
      check.on('error', () => {});
    }
    for (const bytes of ['PROXY TC', '']) {
      const client = await openRaw(t, plait.port);
      client.socket.end(bytes);
      assert.equal(await client.ended(), '');
    }
    assert.equal(await plait.faults('proxy_header'), garbage.length + 1);
    assert.equal(await plait.faults('proxy_untrusted'), 0);
    assert.equal((await seenBy(t, plait, v1('203.0.113.7'), '/'))['x-forwarded-for'], '203.0.113.7');
  });

  test('a header that does not come in time closes the connection, however busily it trickles', async (t) => {
    const plait = await start(t, { more: '[timeouts]\nclient_header_ms = 500\n' });
    const silent = await openRaw(t, plait.port);
    const slow = await openRaw(t, plait.port);
    const header = v1('203.0.113.7');
    let sent = 0;
    const timer = setInterval(() => slow.write(header[sent++] ?? ''), 50);
    defer(t, () => clearInterval(timer));
    assert.equal(await slow.ended(), '');
    assert.equal(await silent.ended(), '');
    assert.equal(await plait.faults('header_timeout'), 2);
    await plait.says(/client 127\.0\.0\.1: .*the PROXY header did not come in time/);
  });

  test('a reload changes whom the next connections may come from', async (t) => {
    const plait = await start(t);
    const running = await openRaw(t, plait.port);
    running.write(v1('203.0.113.7') + get('/1'));
    await running.until(/"\/1".*\}/s);
    const change = async (from, to) => {
      const before = (plait.stderr().match(/PROXY protocol changed/g) ?? []).length;
      writeFileSync(plait.file, readFileSync(plait.file, 'utf8').replace(from, to));
      plait.child.kill('SIGHUP');
      await eventually(() => (plait.stderr().match(/PROXY protocol changed/g) ?? []).length > before, 'it is told');
    };
    await change('["127.0.0.1"]', '["127.0.0.2"]');
    const refused = await openRaw(t, plait.port);
    refused.write(v1('203.0.113.7') + get('/'));
    assert.equal(await refused.ended(), '');
    const other = await openRaw(t, plait.port, { localAddress: '127.0.0.2' });
    other.write(v1('203.0.113.8') + get('/2'));
    await other.until(/^HTTP\/1\.1 200 .*"203\.0\.113\.8".*\}/s);
    await change('proxy_protocol = "require"\nproxy_trusted = ["127.0.0.2"]\n', '');
    const plain = await openRaw(t, plait.port);
    plain.write(get('/3'));
    await plain.until(/^HTTP\/1\.1 200 .*"127\.0\.0\.1".*\}/s);
    running.write(get('/4'));
    await running.until(/"\/4".*\}/s);
    assert.match(running.text, /"203\.0\.113\.7".*"203\.0\.113\.7"/s);
  });

  test('a port without it takes no header', async (t) => {
    const backend = await startH2Backend(t, echo);
    const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n`);
    const client = await openRaw(t, plait.port);
    client.write(v1('203.0.113.7') + get('/'));
    assert.match(await client.ended(), /^HTTP\/1\.1 400 /);
  });

  test('without the names of balancers it is a mistake with its place', async (t) => {
    const file = writeConfiguration(t, '[[listen]]\naddress = "127.0.0.1:0"\nproxy_protocol = "require"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n');
    const { stdout, stderr, code } = await runPlait(['check', '-c', file]);
    assert.match(stdout + stderr, /:3:18: proxy_protocol: "require" needs proxy_trusted/);
    assert.equal(code, 2);
  });
});

describe('places', () => {
  test('handshakes that wait for others lose nothing of what came with the header', async (t) => {
    const { cert, key, pem } = await certificate(t);
    const plait = await start(t, { listen: `tls = "on"\ncert = "${cert}"\nkey = "${key}"\n`, more: '[limits]\ntls_handshakes = 1\nreceive_buffers = 16\n' });
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => within(20_000, new Promise((resolve, reject) => {
      const socket = tls.connect({ socket: socketWith(t, plait.port, v1(`203.0.113.${i + 1}`), true), servername: 'localhost', ca: pem.cert });
      defer(t, () => socket.destroy());
      let text = '';
      socket.on('error', reject);
      socket.on('data', (chunk) => {
        text += chunk;
        if (/\}(\r\n0\r\n\r\n)?$/.test(text)) resolve(text);
      });
      socket.write(get(`/${i}`));
    }), `the answer to ${i}`)));
    answers.forEach((text, i) => assert.match(text, new RegExp(`^HTTP/1\\.1 200 [^]*"203\\.0\\.113\\.${i + 1}"`)));
    assert.ok((await metric(plait, 'plait_tls_handshake_waits_total')) > 0, 'some have waited');
  });

  const limits = '[limits]\nclient_connections = 64\nexchanges = 128\n';

  test('a balancer may fill them with the connections of many clients', async (t) => {
    const plait = await start(t, { more: limits });
    const asked = [];
    for (let i = 0; i < 60; ++i) {
      const client = await openRaw(t, plait.port);
      client.write(v1(`203.0.113.${i + 1}`) + get(`/${i}`));
      await client.until(/\r\n\r\n.*\}/s);
      asked.push(client);
    }
    assert.ok(asked.every((client) => !client.closed), 'nobody has gone');
    assert.equal(await plait.faults('address_share'), 0);
  });

  test('one client behind it has its share, and the others their places', async (t) => {
    const plait = await start(t, { more: limits });
    const open = async (address) => {
      const client = await openRaw(t, plait.port);
      client.write(v1(address) + get('/'));
      return client;
    };
    await (await open('203.0.113.1')).until(/\r\n\r\n.*\}/s);
    const greedy = [];
    for (let i = 0; i < 80; ++i) greedy.push(await open('203.0.113.99'));
    await eventually(() => greedy.some((client) => client.closed), 'it is refused');
    await plait.says(/client 203\.0\.113\.99: .*the client's address has its share of connections/);
    for (let i = 2; i < 6; ++i) await (await open(`203.0.113.${i}`)).until(/^HTTP\/1\.1 200 .*\}/s);
  });
});
