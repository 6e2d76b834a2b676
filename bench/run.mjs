// CPU per request of the proxy's own process, against HAProxy and nghttpx in the same run. The proxy has one worker on
// core 0; client and backend share core 1. Rounds are interleaved over the proxies and ratios are paired by round, so that
// whatever else the machine does meets all of them alike. Prints a Markdown table.
//
//   node bench/run.mjs [--rounds N] [--requests N] [--io auto|uring|epoll] [--out FILE]
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
    rounds: { type: 'string', default: '5' },
    requests: { type: 'string', default: '100000' },
    io: { type: 'string', default: 'auto' },
    out: { type: 'string' },
    plait: { type: 'string', default: 'build/release/plait' },
  },
});
const rounds = Number(options.rounds);
const requests = Number(options.requests);

const workloads = [
  { name: 'W1 h2c → h2c, 100 B', port: 'plain', path: 'small', n: requests, size: 100, args: ['-c', '32', '-m', '32'], unit: 'µs/request' },
  { name: 'W2 h2+TLS → h2c, 100 B', port: 'tls', path: 'small', n: requests, size: 100, args: ['-c', '32', '-m', '32'], unit: 'µs/request' },
  { name: 'W4 HTTP/1.1 → h2c, 100 B', port: 'plainH1', path: 'small', n: requests, size: 100, args: ['--h1', '-c', '64'], unit: 'µs/request' },
  { name: 'W5 h2c → h2c, 1 MiB', port: 'plain', path: 'large', n: Math.max(64, requests / 100), size: 1 << 20, args: ['-c', '8', '-m', '8'], unit: 'µs/MiB' },
];

const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-bench-'));
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

// Nanoseconds on a CPU, over all threads of the process and of its children.
function cpuNs(pid) {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean)) total += cpuNs(child);
  }
  return total;
}

// Every response was 2xx. h2load cannot read the status of an HTTP/1.1 response without a reason phrase, which HAProxy's
// are where the backend speaks HTTP/2; then every request must be done and every byte of the content there.
function isComplete(stdout, workload) {
  const count = (pattern) => Number(stdout.match(pattern)?.[1] ?? 0);
  if (count(/status codes: (\d+) 2xx/) === workload.n) return true;
  return /status codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx/.test(stdout) && count(/, (\d+) done/) === workload.n && count(/, (\d+) errored/) === 0
    && count(/\((\d+)\) data/) === workload.n * workload.size;
}

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
};

const cert = path.join(dir, 'cert.pem');
const key = path.join(dir, 'key.pem');
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
writeFileSync(path.join(dir, 'both.pem'), readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'));
writeFileSync(path.join(dir, 'small'), Buffer.alloc(100, 'x'));
writeFileSync(path.join(dir, 'large'), Buffer.alloc(1 << 20, 'x'));

const origin = await freePort();
start(1, 'nghttpd', ['--no-tls', '-d', dir, String(origin)]);
await listening(origin);

const proxies = {};
{
  const [plain, tls] = [await freePort(), await freePort()];
  const child = start(0, options.plait, ['-b', `h2c://127.0.0.1:${origin}`, '--listen', `127.0.0.1:${plain}`, '--listen', `tls:127.0.0.1:${tls}`,
    '--tls-cert', cert, '--tls-key', key, '--io', options.io]);
  proxies.plait = { child, plain, plainH1: plain, tls };
}
{
  const [plain, plainH1, tls] = [await freePort(), await freePort(), await freePort()];
  writeFileSync(path.join(dir, 'haproxy.cfg'), `global
  nbthread 1
  maxconn 4000
defaults
  mode http
  timeout connect 3s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:${plain} proto h2
  bind 127.0.0.1:${plainH1}
  bind 127.0.0.1:${tls} ssl crt ${path.join(dir, 'both.pem')} alpn h2
  default_backend b
backend b
  server s 127.0.0.1:${origin} proto h2
`);
  proxies.haproxy = { child: start(0, 'haproxy', ['-f', path.join(dir, 'haproxy.cfg')]), plain, plainH1, tls };
}
{
  const [plain, tls] = [await freePort(), await freePort()];
  const child = start(0, 'nghttpx', ['-n1', '--no-ocsp', '--conf=/dev/null', '--errorlog-file=/dev/null', `-f127.0.0.1,${plain};no-tls`, `-f127.0.0.1,${tls}`,
    `-b127.0.0.1,${origin};;proto=h2`, '--workers=1', key, cert]);
  proxies.nghttpx = { child, plain, plainH1: plain, tls };
}
for (const proxy of Object.values(proxies)) {
  await listening(proxy.plain);
  await listening(proxy.tls);
}

const lines = [`| workload | ${Object.keys(proxies).join(' | ')} | plait / best peer |`, '|---|' + '---|'.repeat(Object.keys(proxies).length + 1)];
for (const workload of workloads) {
  const figures = Object.fromEntries(Object.keys(proxies).map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {  // the first round warms up
    for (const [name, proxy] of Object.entries(proxies)) {
      const scheme = workload.port === 'tls' ? 'https' : 'http';
      const url = `${scheme}://127.0.0.1:${proxy[workload.port]}/${workload.path}`;
      const before = cpuNs(proxy.child.pid);
      const { stdout } = await run('taskset', ['-c', '1', 'h2load', '-n', String(workload.n), ...workload.args, url], { timeout: 120_000 });
      const spent = cpuNs(proxy.child.pid) - before;
      if (round >= 0) figures[name].push(isComplete(stdout, workload) ? spent / 1000 / workload.n : NaN);
    }
  }
  const peers = Object.keys(proxies).filter((name) => name !== 'plait');
  const ratios = figures.plait.map((value, i) => value / Math.min(...peers.map((name) => figures[name][i]).filter((x) => !Number.isNaN(x))));
  const cells = Object.keys(proxies).map((name) => (figures[name].some(Number.isNaN) ? 'failed' : `${median(figures[name]).toFixed(2)} ${workload.unit}`));
  lines.push(`| ${workload.name} | ${cells.join(' | ')} | ${median(ratios).toFixed(2)} |`);
  console.error(lines.at(-1));
}
console.log(lines.join('\n'));
if (options.out) writeFileSync(options.out, `${lines.join('\n')}\n`);
process.exit(0);
