// plait.toml: what it says is what plait does, and its mistakes are named by line and column.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { runPlait, startPlait } from './lib/plait.mjs';
import { defer, run, temporaryDirectory } from './lib/process.mjs';

const echo = (stream, headers) => {
  stream.respond({ ':status': 200, 'content-type': 'application/json' });
  stream.end(JSON.stringify(headers));
};

function configuration(t, toml) {
  const file = path.join(temporaryDirectory(t), 'plait.toml');
  writeFileSync(file, toml);
  return file;
}

test('a configuration alone starts plait, and flags add to it', async (t) => {
  const backend = await startH2Backend(t, echo);
  const { cert, key } = await certificate(t);
  const file = configuration(t, `
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "[::1]:0"
tls = "on"
cert = "${cert}"
key = "${key}"
[[backend]]
url = "${backend.url}"
host = "backend"
[forwarding]
trusted_proxies = ["127.0.0.0/8"]
forwarded = true
`);
  const plait = await startPlait(t, ['-c', file, '--listen', '127.0.0.1:0', '--workers', '2']);
  assert.deepEqual(plait.listeners.map((l) => [l.host, l.kind]), [['127.0.0.1', 'plain'], ['[::1]', 'tls'], ['127.0.0.1', 'plain']]);
  const seen = JSON.parse((await request(connectH2(t, plait.port), { ':path': '/', 'x-forwarded-for': '203.0.113.7', forwarded: 'for=203.0.113.7' })).body);
  assert.equal(seen[':authority'], `127.0.0.1:${backend.port}`, 'host = "backend"');
  assert.equal(seen['x-forwarded-for'], '203.0.113.7, 127.0.0.1', 'a trusted proxy is believed');
  assert.equal(seen['x-forwarded-host'], `127.0.0.1:${plait.port}`);
  assert.match(seen.forwarded, /^for=203\.0\.113\.7, for=127\.0\.0\.1;/);
  const { stdout } = await run('curl', ['-s', '-m', '10', '-k', '-H', 'X-Forwarded-For: 203.0.113.7', `https://[::1]:${plait.listeners[1].port}/`]);
  assert.equal(JSON.parse(stdout)['x-forwarded-for'], '::1', 'others are not');
});

test('the authority can be a fixed one, and the certificate is still that of the backend', async (t) => {
  const { cert, key } = await certificate(t);
  const backend = await startH2Backend(t, echo, { secure: { cert: readFileSync(cert), key: readFileSync(key) } });
  const plait = await startPlait(t, ['-c', configuration(t, `
[[listen]]
address = "127.0.0.1:0"
[[backend]]
url = "${backend.url}"
host = "fixed.example"
ca_file = "${cert}"
`)]);
  const seen = JSON.parse((await request(connectH2(t, plait.port), { ':path': '/' })).body);
  assert.equal(seen[':authority'], 'fixed.example');
});

test('a backend that asks for a client certificate gets it', async (t) => {
  const { cert, key } = await certificate(t);
  const secure = { cert: readFileSync(cert), key: readFileSync(key), ca: readFileSync(cert), requestCert: true, rejectUnauthorized: true };
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end(stream.session.socket.getPeerCertificate().subject.CN);
  }, { secure });
  const listen = ['-b', backend.url, '--ca-file', cert, '--listen', '127.0.0.1:0'];
  const plait = await startPlait(t, [...listen, '--backend-cert', cert, '--backend-key', key]);
  assert.equal((await request(connectH2(t, plait.port), { ':path': '/' })).body, 'localhost');
  const without = await startPlait(t, listen);
  assert.equal((await request(connectH2(t, without.port), { ':path': '/' })).headers[':status'], 502);
});

test('a client certificate is asked for where client_ca says so', async (t) => {
  const backend = await startH2Backend(t, echo);
  const { cert, key } = await certificate(t);
  const plait = await startPlait(t, ['-c', configuration(t, `
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${cert}"
key = "${key}"
client_ca = "${cert}"
[[backend]]
url = "${backend.url}"
`)]);
  const get = (args) => run('curl', ['-s', '-m', '10', '--cacert', cert, '-o', '/dev/null', '-w', '%{http_code}', ...args, `https://localhost:${plait.port}/`]);
  assert.equal((await get(['--cert', cert, '--key', key])).stdout, '200');
  await assert.rejects(get([]));
});

test('plait check only warns of a port that a start is refused', async (t) => {
  const other = await startH2Backend(t, echo);
  const file = configuration(t, `[[listen]]\naddress = "127.0.0.1:${other.port}"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n`);
  const inUse = 'cannot listen: Address already in use; if another plait of this user has it, share_port = true or --share-port listens beside it\n';
  assert.deepEqual(await runPlait(['check', file]), { code: 0, stdout: `${file}: ok\n`, stderr: `${file}:2:11: warning: ${inUse}` });
  const started = await runPlait(['-c', file]);
  assert.equal(started.code, 2);
  assert.equal(started.stderr, `${file}:2:11: ${inUse}`);
});

test('every mistake of a file has one line with its place, and the exit code is 2', async (t) => {
  const { cert, key } = await certificate(t);
  const other = await certificate(t);
  const file = configuration(t, `[server]
wokers = 2
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "nothing-here.pem"
key = "${key}"
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${cert}"
key = "${other.key}"
[[backend]]
url = "h2c://no-such-name.invalid:80"
[timeouts]
connect_ms = "3s"
`);
  for (const args of [['check', file], ['-c', file]]) {
    const { code, stdout, stderr } = await runPlait(args);
    assert.equal(code, 2);
    assert.equal(stdout, '');
    const lines = stderr.trim().split('\n');
    const expected = [
      [2, 1, 'unknown key "wokers", did you mean "workers"?'],
      [6, 8, `cannot read the certificate ${path.dirname(file)}/nothing-here.pem`],
      [12, 7, `the private key ${other.key} does not belong to the certificate ${cert}`],
      [14, 7, 'the name no-such-name.invalid cannot be resolved'],
      [16, 14, 'connect_ms: expected a whole number of milliseconds, found a string'],
    ];
    assert.equal(lines.length, expected.length, stderr);
    for (const [i, [line, column, sentence]] of expected.entries()) {
      assert.ok(lines[i].startsWith(`${file}:${line}:${column}: ${sentence}`), lines[i]);
    }
  }
  assert.match((await runPlait(['check', '/nonexistent/plait.toml'])).stderr, /^plait: \/nonexistent\/plait\.toml: the file cannot be read\n$/);
});

test('one port takes TLS and plain clients of every version, where the first byte decides', async (t) => {
  const backend = await startH2Backend(t, echo);
  const { cert, key } = await certificate(t);
  const plait = await startPlait(t, ['-b', backend.url, '--listen', 'auto:127.0.0.1:0', '--tls-cert', cert, '--tls-key', key]);
  assert.equal(plait.listeners[0].kind, 'auto');
  for (const [version, scheme, args] of [
    ['1.1', 'http', ['--http1.1', `http://localhost:${plait.port}/`]],
    ['2', 'http', ['--http2-prior-knowledge', `http://localhost:${plait.port}/`]],
    ['1.1', 'https', ['--http1.1', '--cacert', cert, `https://localhost:${plait.port}/`]],
    ['2', 'https', ['--cacert', cert, `https://localhost:${plait.port}/`]],
  ]) {
    const { stdout } = await run('curl', ['-s', '-4', '-m', '10', '-w', '\n%{http_version} %{http_code}', ...args]);
    const [body, info] = stdout.split('\n');
    assert.equal(info, `${version} 200`, args.join(' '));
    assert.equal(JSON.parse(body)['x-forwarded-proto'], scheme);
  }
  // A ClientHello that arrives byte by byte at first, through a relay.
  const relay = net.createServer((client) => {
    const upstream = net.connect(plait.port, '127.0.0.1');
    upstream.setNoDelay(true);
    for (const socket of [client, upstream]) socket.on('error', () => {});
    upstream.pipe(client);
    client.once('data', async (chunk) => {
      client.pause();
      for (let i = 0; i < 8; i += 1) await new Promise((resolve) => upstream.write(chunk.subarray(i, i + 1), () => setImmediate(resolve)));
      upstream.write(chunk.subarray(8));
      client.pipe(upstream);
    });
  });
  relay.listen(0, '127.0.0.1');
  await once(relay, 'listening');
  defer(t, () => relay.close());
  const { stdout } = await run('curl', ['-s', '-4', '-m', '10', '--cacert', cert, '-o', '/dev/null', '-w', '%{http_code}', `https://localhost:${relay.address().port}/`]);
  assert.equal(stdout, '200');
});

test('the example of the reference is a configuration', async (t) => {
  const reference = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8');
  const example = reference.match(/```toml\n([\s\S]*?)```/)[1];
  const { stderr } = await runPlait(['check', configuration(t, example)]);
  for (const line of stderr.trim().split('\n')) assert.match(line, /cannot be resolved|cannot read the/, 'only what is not there on this machine');
});
