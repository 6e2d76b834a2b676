// What plait says on standard error about itself: start, signals, logs, drain and end; and the names of its threads.
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { connectH2, exchangeRaw, request } from './lib/clients.mjs';
import { metric, runPlait, startConfigured, startProxy } from './lib/plait.mjs';
import { eventually, temporaryDirectory, within } from './lib/process.mjs';

const ok = (stream) => {
  stream.respond({ ':status': 200 });
  stream.end('ok');
};
const says = (plait, text) => eventually(() => plait.stderr().includes(text), `plait says: ${text}; it said: ${plait.stderr()}`);
const get = (port) => exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n');

// A backend whose responses are open until `finish` is called, and requests to it that have begun.
async function startHeld(t, count, args = []) {
  const held = [];
  const backend = await startH2Backend(t, (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
    stream.write('first');
    held.push(stream);
  });
  const plait = await startProxy(t, [backend], { args });
  const client = connectH2(t, plait.port);
  const responses = Array.from({ length: count }, () => request(client, { ':path': '/' }));
  await eventually(() => held.length === count, 'the backend has all requests');
  return { plait, responses, backend, finish: () => held.forEach((stream) => stream.end('last')) };
}

test('every line has a time, a level and a subject', async (t) => {
  const { plait, responses, finish } = await startHeld(t, 2, ['--workers', '2']);
  const [version] = (await runPlait(['--version'])).stdout.match(/^plait [\d.]+/);
  await says(plait, `info plait: ${version} has started: process ${plait.pid}, 2 worker(s), `);
  const stopped = plait.stop();
  await says(plait, 'info plait: SIGTERM: draining, 2 request(s), at most 25 s');
  finish();
  for (const { body } of await Promise.all(responses)) assert.equal(body, 'firstlast');
  assert.equal(await stopped, 0);
  await eventually(() => / info plait: ended\n$/.test(plait.stderr()), 'the end is told');
  assert.doesNotMatch(plait.stderr(), /cut/);
  for (const line of plait.stderr().trim().split('\n')) {
    assert.match(line, /^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (info|warning|error) [^:]+: ./);
    assert.ok(Math.abs(Date.parse(line.slice(0, 24)) - Date.now()) < 120_000);
  }
});

test('requests that the deadline cuts are counted', async (t) => {
  const backend = await startH2Backend(t, (stream) => {
    stream.on('error', () => {});
    stream.respond({ ':status': 200 });
    stream.write('never ends');
  });
  const plait = await startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "${backend.url}"\n[timeouts]\ndrain_ms = 300\n`);
  const client = connectH2(t, plait.port);
  let begun = 0;
  const responses = Array.from({ length: 3 }, () => request(client, { ':path': '/' }, { onHeaders: () => { begun += 1; } }));
  await eventually(() => begun === 3, 'all responses have begun');
  assert.equal(await plait.stop(), 0);
  await Promise.all(responses);
  await says(plait, ' info plait: ended\n');
  assert.match(plait.stderr(), /info plait: SIGTERM: draining, 3 request\(s\), at most 0\.3 s\n/);
  assert.match(plait.stderr(), /warning plait: cut 3 request\(s\) at the deadline\n\S+ info plait: ended\n$/);
});

test('a second signal ends plait at once', async (t) => {
  for (const [first, second] of [['SIGTERM', 'SIGTERM'], ['SIGQUIT', 'SIGINT']]) {
    const { plait, responses } = await startHeld(t, 1);
    plait.child.kill(first);
    await says(plait, `info plait: ${first}: draining, 1 request(s)`);
    plait.child.kill(second);
    assert.equal(await within(10_000, plait.exited, 'plait ends'), 1);
    await says(plait, `warning plait: a second signal, ${second}: ended at once`);
    await Promise.all(responses);
  }
});

test('SIGHUP, SIGUSR1 and SIGUSR2 say what they do and what they do not, and nothing ends', async (t) => {
  const backend = await startH2Backend(t, ok);
  const file = path.join(temporaryDirectory(t), 'a.log');
  const plait = await startProxy(t, [backend], { args: ['--access-log', file] });
  plait.child.kill('SIGUSR2');
  await says(plait, 'warning plait: SIGUSR2: this version cannot hand over to another program yet; it goes on as it is');
  plait.child.kill('SIGHUP');
  await says(plait, 'info plait: SIGHUP: the configuration is read anew; the access log is opened anew');
  await says(plait, `info access log ${file}: opened anew`);
  renameSync(file, `${file}.1`);
  plait.child.kill('SIGUSR1');
  await says(plait, 'info plait: SIGUSR1: the access log is opened anew');
  await eventually(() => existsSync(file), 'it is');
  assert.match(await get(plait.port), /^HTTP\/1\.1 200 /);
  const silent = await startProxy(t, [backend]);
  silent.child.kill('SIGUSR1');
  await says(silent, 'info plait: SIGUSR1: there is no access log to be opened anew');
});

test('a log that cannot be opened anew is said and counted, and its lines are not lost', async (t) => {
  const backend = await startH2Backend(t, ok);
  const file = path.join(temporaryDirectory(t), 'a.log');
  const plait = await startProxy(t, [backend], { admin: true, args: ['--access-log', file] });
  renameSync(file, `${file}.1`);
  mkdirSync(file);
  plait.child.kill('SIGHUP');
  await says(plait, `error access log ${file}: cannot open the access log ${file}: Is a directory; lines go on into the file that was open`);
  assert.equal(await metric(plait, 'plait_access_log_reopen_failures_total'), 1);
  await get(plait.port);
  await eventually(() => readFileSync(`${file}.1`, 'utf8').includes('GET / '), 'the line is in the old file');
  rmSync(file, { recursive: true });
  plait.child.kill('SIGHUP');
  await says(plait, `info access log ${file}: opened anew`);
  assert.ok(existsSync(file));
});

test('a log that cannot be written is said and counted', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend], { admin: true, args: ['--access-log', '/dev/full'] });
  await get(plait.port);
  await says(plait, 'error access log /dev/full: cannot be written: No space left on device; 1 line(s) are lost');
  assert.equal(await metric(plait, 'plait_access_log_dropped_total', { reason: 'write_failed' }), 1);
});

test('threads are named after what they do', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend], { args: ['--workers', '2'] });
  const names = () => readdirSync(`/proc/${plait.pid}/task`).map((id) => readFileSync(`/proc/${plait.pid}/task/${id}/comm`, 'utf8').trim());
  for (const name of ['plait-w0', 'plait-w1', 'plait-control', 'plait-resolver']) assert.ok(names().includes(name), `${name} among ${names()}`);
});

test('the start says what is resident and what it may become, and figures for developers only where they are asked for', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend]);
  const [, resident, most] = plait.stdout().match(/^memory: (\d+) MiB resident now, (\d+) MiB at most for each of 1 worker\(s\), \d+ for the control thread, \d+ for plans; io: (?:io_uring|epoll)$/m) ?? [];
  assert.ok(Number(resident) < Number(most) / 4, plait.stdout());
  assert.equal(await plait.stop(), 0);
  assert.doesNotMatch(plait.stdout(), /malloc/);
});
