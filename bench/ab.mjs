// CPU per request of two builds of plait against each other: for judging one change. Both run at the same time and serve
// the same rounds in turn, the order alternating, so that whatever else the machine does meets both alike; what is
// printed is the median of the ratios new / old, paired by round, and the quartiles around it.
//
//   node bench/ab.mjs --old FILE --new FILE [--only W1,W5] [--rounds N] [--requests N] [--old-io uring] [--new-io epoll]
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const { values: options } = parseArgs({
  options: {
    old: { type: 'string' },
    new: { type: 'string' },
    'old-io': { type: 'string', default: 'auto' },
    'new-io': { type: 'string', default: 'auto' },
    only: { type: 'string', default: 'W1,W2,W4,W5' },
    rounds: { type: 'string', default: '9' },
    requests: { type: 'string', default: '30000' },
  },
});
const rounds = Number(options.rounds);
const requests = Number(options.requests);
const workloads = [
  { name: 'W1', port: 'plain', path: 'small', n: requests, args: ['-c', '32', '-m', '32'] },
  { name: 'W2', port: 'tls', path: 'small', n: requests, args: ['-c', '32', '-m', '32'] },
  { name: 'W4', port: 'plain', path: 'small', n: requests, args: ['--h1', '-c', '64'] },
  { name: 'W5', port: 'plain', path: 'large', n: Math.max(64, requests / 100), args: ['-c', '8', '-m', '8'] },
].filter(({ name }) => options.only.split(',').includes(name));

const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-ab-'));
const children = [];
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
});

async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port) {
  for (const end = Date.now() + 10_000; Date.now() < end;) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
  }
  throw new Error(`nothing listens on port ${port}`);
}

function start(core, command, args) {
  const child = spawn('taskset', ['-c', String(core), command, ...args], { stdio: 'ignore' });
  children.push(child);
  return child;
}

function cpuNs(pid) {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return total;
}

const quantile = (numbers, share) => [...numbers].sort((a, b) => a - b)[Math.floor((numbers.length - 1) * share)];

const cert = path.join(dir, 'cert.pem');
const key = path.join(dir, 'key.pem');
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
writeFileSync(path.join(dir, 'small'), Buffer.alloc(100, 'x'));
writeFileSync(path.join(dir, 'large'), Buffer.alloc(1 << 20, 'x'));

const origin = await freePort();
start(1, 'nghttpd', ['--no-tls', '-d', dir, String(origin)]);
await listening(origin);
const sides = {};
for (const side of ['old', 'new']) {
  const [plain, tls] = [await freePort(), await freePort()];
  const child = start(0, options[side], ['-b', `h2c://127.0.0.1:${origin}`, '--listen', `127.0.0.1:${plain}`, '--listen', `tls:127.0.0.1:${tls}`,
    '--tls-cert', cert, '--tls-key', key, '--io', options[`${side}-io`]]);
  sides[side] = { child, plain, tls };
}
for (const { plain } of Object.values(sides)) await listening(plain);

for (const workload of workloads) {
  const figures = { old: [], new: [] };
  for (let round = -1; round < rounds; round += 1) {  // the first round warms up
    for (const side of round % 2 === 0 ? ['old', 'new'] : ['new', 'old']) {
      const url = `${workload.port === 'tls' ? 'https' : 'http'}://127.0.0.1:${sides[side][workload.port]}/${workload.path}`;
      const before = cpuNs(sides[side].child.pid);
      const { stdout } = await run('taskset', ['-c', '1', 'h2load', '-n', String(workload.n), ...workload.args, url], { timeout: 120_000 });
      const spent = cpuNs(sides[side].child.pid) - before;
      const succeeded = Number(stdout.match(/status codes: (\d+) 2xx/)?.[1] ?? 0);
      if (succeeded !== workload.n) throw new Error(`${workload.name} ${side}: ${succeeded} of ${workload.n} succeeded`);
      if (round >= 0) figures[side].push(spent / 1000 / workload.n);
    }
  }
  const ratios = figures.new.map((value, i) => value / figures.old[i]);
  const text = (share) => quantile(ratios, share).toFixed(3);
  console.log(`${workload.name}  old ${quantile(figures.old, 0.5).toFixed(2)} µs  new ${quantile(figures.new, 0.5).toFixed(2)} µs  ` +
    `best ${Math.min(...figures.old).toFixed(2)} → ${Math.min(...figures.new).toFixed(2)}  new / old ${text(0.5)} (quartiles ${text(0.25)} to ${text(0.75)})`);
}
process.exit(0);
