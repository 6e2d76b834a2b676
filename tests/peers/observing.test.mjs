// What an operator sees of plait: the admin address, the access log, and the memory of TLS.
import assert from 'node:assert/strict';
import { existsSync, readFileSync, renameSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { connectH2, request } from './lib/clients.mjs';
import { adminGet, metric, runPlait, startPlait, startProxy } from './lib/plait.mjs';
import { eventually, freePort, run, temporaryDirectory } from './lib/process.mjs';

const ok = (stream) => {
  stream.respond({ ':status': 200 });
  stream.end('hello');
};

test('the metrics count what was served, over all workers', async (t) => {
  const backend = await startH2Backend(t, (stream, headers) => {
    stream.respond({ ':status': headers[':path'] === '/missing' ? 404 : 200 });
    stream.end('hello');
  });
  const plait = await startProxy(t, [backend], { admin: true, args: ['--workers', '2'] });
  for (let i = 0; i < 5; i += 1) {
    const client = connectH2(t, plait.port);
    await request(client, { ':path': '/', ':method': 'POST' }, { body: 'four' });
    await request(client, { ':path': '/missing' });
  }
  await run('curl', ['-s', '-m', '10', `http://127.0.0.1:${plait.port}/`]);
  assert.equal(await metric(plait, 'plait_requests_total', { protocol: 'http2' }), 10);
  assert.equal(await metric(plait, 'plait_requests_total', { protocol: 'http1' }), 1);
  assert.equal(await metric(plait, 'plait_responses_total', { class: '2xx' }), 6);
  assert.equal(await metric(plait, 'plait_responses_total', { class: '4xx' }), 5);
  assert.equal(await metric(plait, 'plait_body_bytes_total', { direction: 'in' }), 20);
  assert.equal(await metric(plait, 'plait_body_bytes_total', { direction: 'out' }), 55);
  assert.equal(await metric(plait, 'plait_request_duration_seconds_count'), 11);
  assert.equal(await metric(plait, 'plait_upstream_connects_total'), backend.opened);
  assert.equal(await metric(plait, 'plait_upstream_connections_ready', { backend: backend.url }), backend.opened);
  assert.equal(await metric(plait, 'plait_serving_allocations_total'), 0);
  assert.equal(await metric(plait, 'plait_upstream_streams'), 0);
  assert.ok(await metric(plait, 'plait_slab_peak', { slab: 'exchanges_http2' }) > 0);
  const { stdout } = await run('curl', ['-s', '-m', '10', '-o', '/dev/null', '-w', '%{content_type}', `http://127.0.0.1:${plait.admin}/metrics`]);
  assert.match(stdout, /^text\/plain; version=0\.0\.4/);
  const [, version, commit, compiler] = (await runPlait(['--version'])).stdout.match(/^plait (\d+\.\d+\.\d+) \((?:commit ([0-9a-f]+(?:-dirty)?), )?(clang [\d.]+)\)\n$/);
  assert.equal(await metric(plait, 'plait_build_info', { version, commit: commit ?? 'unknown', compiler }), 1);
});

test('a request that waits for its backend holds two coroutine frames and the memory of one head, and nothing when it is over', async (t) => {
  const held = [];
  const backend = await startH2Backend(t, (stream, headers) => (headers[':path'] === '/held' ? held.push(stream) : ok(stream)));
  const plait = await startProxy(t, [backend], { admin: true });
  const used = async (slab) => metric(plait, 'plait_slab_used', { slab });
  const client = connectH2(t, plait.port);
  // All connections are there, and those of the admin address are not this worker's.
  assert.equal((await request(client, { ':path': '/' })).status, 200);
  const frames = await used('frames');
  const answers = Array.from({ length: 40 }, () => request(client, { ':path': '/held' }));
  await eventually(() => held.length === 40, 'the backend has all requests');
  assert.equal(await used('frames') - frames, 80);
  assert.equal(await used('header_blocks_small'), 40);
  assert.equal(await used('exchanges_http2'), 40);
  held.forEach(ok);
  for (const answer of await Promise.all(answers)) assert.equal(answer.status, 200);
  for (const slab of ['header_blocks_small', 'exchanges_http2', 'upstream_streams']) assert.equal(await used(slab), 0, slab);
  assert.equal(await used('frames'), frames);
});

test('the admin address answers its three paths, and nothing else', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend], { admin: true });
  assert.deepEqual(await adminGet(plait, '/healthz'), { body: 'ok\n', status: 200 });
  assert.deepEqual(await adminGet(plait, '/ready?verbose'), { body: 'ready\n', status: 200 });
  assert.equal((await adminGet(plait, '/')).status, 404);
  const { stdout } = await run('curl', ['-s', '-m', '10', '-d', 'x', '-w', '%{http_code}', `http://127.0.0.1:${plait.admin}/metrics`]);
  assert.equal(stdout, 'only GET is answered here\n405');
  const head = await run('curl', ['-s', '-m', '10', '-I', `http://127.0.0.1:${plait.admin}/healthz`]);
  assert.match(head.stdout, /^HTTP\/1\.1 200 /);
  const taken = await runPlait(['-b', backend.url, '-p', '0', '--admin', `127.0.0.1:${backend.port}`]);
  assert.equal(taken.code, 2);
  assert.equal(taken.stderr, `plait: --admin 127.0.0.1:${backend.port}: cannot listen: Address already in use; if another plait of this user has it, share_port = true or --share-port listens beside it\n`);
});

test('plait is not ready while no backend can be reached, and is again when one is back, without any traffic', async (t) => {
  // An address at which no other test listens meanwhile.
  const host = '127.0.0.9';
  const port = await freePort(host);
  const plait = await startProxy(t, [`h2c://${host}:${port}`], { admin: true });
  assert.equal((await adminGet(plait, '/ready')).status, 200, 'nothing is known against it yet');
  await request(connectH2(t, plait.port), { ':path': '/' });
  assert.deepEqual(await adminGet(plait, '/ready'), { body: 'no backend can be reached\n', status: 503 });
  assert.equal(await metric(plait, 'plait_upstream_up'), 0);
  assert.equal((await adminGet(plait, '/healthz')).status, 200);
  await startH2Backend(t, ok, { host, port });
  await eventually(async () => (await adminGet(plait, '/ready')).status === 200, 'plait is ready again');
  assert.equal(await metric(plait, 'plait_upstream_up'), 1);
});

test('while it drains plait says so, and still answers its admin address', async (t) => {
  let finish;
  const backend = await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.write('first');
    finish = () => stream.end('last');
  });
  const plait = await startProxy(t, [backend], { admin: true });
  let began;
  const seen = new Promise((resolve) => { began = resolve; });
  const response = request(connectH2(t, plait.port), { ':path': '/' }, { onHeaders: began });
  await seen;
  const stopped = plait.stop();
  await eventually(async () => (await adminGet(plait, '/ready')).status === 503, 'plait drains');
  assert.equal((await adminGet(plait, '/ready')).body, 'draining\n');
  assert.equal((await adminGet(plait, '/healthz')).status, 200);
  finish();
  assert.equal((await response).body, 'firstlast');
  assert.equal(await stopped, 0);
});

test('the access log has a line for each request, and is opened anew on SIGHUP', async (t) => {
  const backend = await startH2Backend(t, ok);
  const file = path.join(temporaryDirectory(t), 'access.log');
  const plait = await startProxy(t, [backend], { admin: true, args: ['--access-log', file, '--workers', '2'] });
  await request(connectH2(t, plait.port), { ':path': '/a?b', 'user-agent': 'evil" \\ agent', referer: 'http://r/' });
  await run('curl', ['-s', '-m', '10', '-A', 'curl', `http://127.0.0.1:${plait.port}/b`]);
  const lines = () => (existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : []);
  await eventually(() => lines().length === 2, 'both lines are written');
  const first = lines().find((line) => line.includes('/a?b'));
  assert.match(first, /^127\.0\.0\.1 - - \[\d\d\/\w{3}\/\d{4}:\d\d:\d\d:\d\d \+0000\] "GET \/a\?b HTTP\/2\.0" 200 5 "http:\/\/r\/" "evil\\x22 \\x5c agent" 0\.\d{6} "h2c:\/\/127\.0\.0\.1:\d+" 0 - - "-" "-" [0-9a-f]{16}$/);
  assert.ok(lines().some((line) => line.includes('"GET /b HTTP/1.1" 200 5 "-" "curl"')));
  renameSync(file, `${file}.1`);
  plait.child.kill('SIGHUP');
  await eventually(() => existsSync(file), 'the log is opened anew');
  await run('curl', ['-s', '-m', '10', `http://127.0.0.1:${plait.port}/c`]);
  await eventually(() => lines().length === 1, 'the next line is in the new file');
  assert.equal(await metric(plait, 'plait_access_log_lines_total'), 3);
  assert.equal(await metric(plait, 'plait_access_log_dropped_total'), 0);
  const refused = await runPlait(['-b', backend.url, '-p', '0', '--access-log', '/nonexistent/access.log']);
  assert.equal(refused.code, 2);
  assert.match(refused.stderr, /^plait: --access-log \/nonexistent\/access\.log: cannot open the access log .*: there is no folder \/nonexistent$/m);
});

test('the access log in JSON names the backend and the class of a retry', async (t) => {
  let refusals = 0;
  const backend = await startH2Backend(t, (stream) => {
    if (refusals++ === 0) return stream.close(7);
    ok(stream);
  });
  const plait = await startPlait(t, ['-b', backend.url, '--listen', '127.0.0.1:0', '--access-log', '-', '--log-format', 'json']);
  await request(connectH2(t, plait.port), { ':path': '/', ':authority': 'example.test' });
  const line = await eventually(() => plait.stdout().split('\n').find((text) => text.startsWith('{')), 'the line is written');
  const { time, ended, request_id: id, duration_ms: duration, ...rest } = JSON.parse(line);
  assert.ok(Date.parse(ended) >= Date.parse(time));
  assert.match(id, /^[0-9a-f]{16}$/);
  assert.ok(Math.abs(Date.parse(time) - Date.now()) < 60_000);
  assert.ok(duration > 0 && duration < 60_000);
  assert.deepEqual(rest, {
    client: '127.0.0.1', method: 'GET', authority: 'example.test', path: '/', protocol: 'HTTP/2.0', status: 200, bytes: 5, complete: true,
    upstream: backend.url, retries: 1, retry_class: 'unprocessed', referer: '', user_agent: '',
  });
});

test('lines that are logged last are written before plait ends', async (t) => {
  const backend = await startH2Backend(t, ok);
  const file = path.join(temporaryDirectory(t), 'access.log');
  const plait = await startProxy(t, [backend], { args: ['--access-log', file] });
  const client = connectH2(t, plait.port);
  await Promise.all(Array.from({ length: 100 }, () => request(client, { ':path': '/' })));
  assert.equal(await plait.stop(), 0);
  assert.equal(readFileSync(file, 'utf8').trim().split('\n').length, 100);
});

test('with TLS on both sides serving calls malloc as little as without', async (t) => {
  const files = await certificate(t);
  const secure = { cert: readFileSync(files.cert), key: readFileSync(files.key) };
  const backend = await startH2Backend(t, ok, { secure });
  const plait = await startPlait(t, ['-b', backend.url, '--ca-file', files.cert, '--listen', 'tls:127.0.0.1:0', '--admin', '127.0.0.1:0',
    '--tls-cert', files.cert, '--tls-key', files.key, '--verbose']);
  for (const args of [['--http1.1'], [], ['--tls-max', '1.2']]) {
    for (let i = 0; i < 5; i += 1) await run('curl', ['-s', '-f', '-m', '10', '--cacert', files.cert, ...args, `https://localhost:${plait.port}/`]);
  }
  assert.equal(await metric(plait, 'plait_responses_total', { class: '2xx' }), 15);
  assert.equal(await metric(plait, 'plait_serving_allocations_total'), 0);
  assert.ok(await metric(plait, 'plait_tls_arena_allocations_total') > 10_000, 'OpenSSL allocates, in the arena');
  assert.equal(await metric(plait, 'plait_tls_arena_refusals_total'), 0);
  assert.ok(await metric(plait, 'plait_tls_arena_peak_bytes') < await metric(plait, 'plait_tls_arena_reserved_bytes'));
  assert.equal(await plait.stop(), 0);
  assert.match(plait.stdout(), /^malloc calls while serving: 0$/m);
  assert.match(plait.stdout(), /^TLS arena: \d+ allocations, 0 refused, at most \d+ of \d+ KiB used by a worker$/m);
});

test('standard error says why a backend cannot be used, and that it is back', async (t) => {
  const port = await freePort();
  const plait = await startProxy(t, [`h2c://127.0.0.1:${port}`]);
  const client = connectH2(t, plait.port);
  const waiting = request(client, { ':path': '/' });
  await eventually(() => new RegExp(`^\\S+Z error backend h2c://127\\.0\\.0\\.1:${port}: cannot be used: .*refused.*$`, 'm').test(plait.stderr()), 'the reason is said');
  await startH2Backend(t, (stream) => {
    stream.respond({ ':status': 200 });
    stream.end();
  }, { port });
  assert.equal((await waiting).status, 200, 'the request has waited');
  await eventually(() => plait.stderr().includes(`info backend h2c://127.0.0.1:${port}: reached again`), 'its return is said');
});
