// Starts plait by its command line and reads what it says on standard output.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { certificate } from './certificate.mjs';
import { defer, run, temporaryDirectory, within } from './process.mjs';

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
export const plaitBin = process.env.PLAIT_BIN ?? path.join(root, 'build/release/plait');
export const io = process.env.PLAIT_IO ?? 'auto';

// Starts plait and resolves once it is ready. `stop` sends SIGTERM and resolves with the exit code. However the test ends,
// plait must drain and end with 0, unless the test ended it: a crash or a hang on the way out is a failure of that test.
// `under` is a program that becomes plait, with its arguments.
export async function startPlait(t, args, { under = [] } = {}) {
  // One worker, unless the test says how many: what it counts is that one's.
  const saysWorkers = args.includes('--workers') || (args.includes('-c') && /^workers = /m.test(readFileSync(args[args.indexOf('-c') + 1], 'utf8')));
  const [program, ...rest] = [...under, plaitBin, ...args, ...(saysWorkers ? [] : ['--workers', '1']), '--io', io];
  const child = spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  let err = '';
  let ended = false;
  let exited;
  child.stderr.on('data', (chunk) => { err += chunk; });
  await within(20_000, new Promise((resolve, reject) => {
    exited = new Promise((done) => {
      child.on('exit', (code, signal) => {
        ended = true;
        done(code ?? signal);
      });
      // All that it said has been read.
      child.on('close', (code, signal) => {
        reject(new Error(`plait ended with ${code ?? signal}: ${err}`));
      });
    });
    child.on('error', reject);
    child.stdout.on('data', (chunk) => {
      out += chunk;
      if (/^ready$/m.test(out)) resolve();
    });
  }), 'plait is ready').catch((error) => {
    child.kill('SIGKILL');
    throw error;
  });
  const listeners = [...out.matchAll(/^listening on (\S+):(\d+) \((plain|tls|auto)\)$/gm)].map(([, host, port, kind]) => ({ host, port: Number(port), kind }));
  const admin = Number(out.match(/^admin on \S+:(\d+)$/m)?.[1] ?? 0);
  // A second SIGTERM would end it at once.
  let stopping;
  const stop = () => {
    if (!ended && !stopping) child.kill('SIGTERM');
    stopping ??= within(45_000, exited, 'plait drains after SIGTERM');
    return stopping;
  };
  defer(t, async () => {
    if (ended) return;
    try {
      const code = await stop();
      assert.equal(code, 0, `plait ends with 0 after SIGTERM; it said: ${err}`);
    } finally {
      child.kill('SIGKILL');
    }
  });
  return {
    child, pid: child.pid, listeners, admin, stop, exited,
    port: listeners[0]?.port,
    tlsPort: listeners.find((l) => l.kind === 'tls')?.port,
    stderr: () => err,
    stdout: () => out,
  };
}

// plait in front of these backends, on a plain port that the kernel chose; with `tls`, on a TLS port as well, and with
// `admin`, with its admin listener.
export async function startProxy(t, backends, { tls = false, admin = false, args = [] } = {}) {
  const flags = backends.flatMap((backend) => ['-b', typeof backend === 'string' ? backend : backend.url]);
  flags.push('--listen', '127.0.0.1:0');
  let files;
  if (tls) {
    files = await certificate(t);
    flags.push('--listen', 'tls:127.0.0.1:0', '--tls-cert', files.cert, '--tls-key', files.key);
  }
  if (admin) flags.push('--admin', '127.0.0.1:0');
  const plait = await startPlait(t, [...flags, ...args]);
  return Object.assign(plait, { certificate: files });
}

// plait by a configuration file alone.
export async function startConfigured(t, toml, args = [], options = {}) {
  return startPlait(t, ['-c', writeConfiguration(t, toml), ...args], options);
}

export function writeConfiguration(t, toml) {
  const file = path.join(temporaryDirectory(t), 'plait.toml');
  writeFileSync(file, toml);
  return file;
}

// Runs plait to its end, for invocations that are not expected to serve. One that does serve is ended, and has no code.
export async function runPlait(args) {
  try {
    const more = ['check', 'explain'].includes(args[0]) || args.includes('check') || args.includes('--workers') ? [] : ['--workers', '1'];
    const { stdout, stderr } = await run(plaitBin, [...args, ...more], { timeout: 20_000 });
    return { code: 0, stdout, stderr };
  } catch (error) {
    return { code: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

// The admin listener's answer to one path.
export async function adminGet(plait, target) {
  assert.notEqual(plait.admin, 0, 'plait has printed "admin on ADDRESS:PORT"');
  const { stdout } = await run('curl', ['-s', '-m', '10', '-w', '\n%{http_code}', `http://127.0.0.1:${plait.admin}${target}`]);
  const cut = stdout.lastIndexOf('\n');
  return { body: stdout.slice(0, cut), status: Number(stdout.slice(cut + 1)) };
}

// The sum of a metric's samples whose labels include these; nothing where there is no such sample.
export async function metric(plait, name, labels = {}) {
  const { body } = await adminGet(plait, '/metrics');
  let sum;
  for (const line of body.split('\n')) {
    const [, sample, list = '', value] = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/) ?? [];
    if (sample !== name) continue;
    if (!Object.entries(labels).every(([key, wanted]) => list.includes(`${key}="${wanted}"`))) continue;
    sum = (sum ?? 0) + Number(value);
  }
  return sum;
}

// Nobody has been blamed for anything: neither clients nor backends, neither connections nor requests.
export async function assertNoFault(plait) {
  const { body } = await adminGet(plait, '/metrics');
  const faults = body.split('\n').filter((line) => /^plait_(client_(connection_errors|stream_errors|timeouts)|upstream_(connection|stream)_errors|requests_(rejected|refused))_total[{ ]/.test(line) && !line.endsWith(' 0'));
  assert.deepEqual(faults, []);
}

// The memory that plait says it reserves, over all workers.
export function reservedBytes(plait) {
  const [, mib, workers = 1] = (plait.stdout() + plait.stderr()).match(/memory: \d+ MiB resident now, (\d+) MiB at most(?: for each of (\d+) worker)?/) ?? [];
  assert.ok(mib, 'plait prints the memory that it reserves');
  return Number(mib) * Number(workers) * (1 << 20);
}

export const closed = (emitter) => once(emitter, 'close');
