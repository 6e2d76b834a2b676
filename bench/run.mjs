// CPU per request of the proxy's own process, against HAProxy and nghttpx in the same run. The proxy has one worker on
// core 0; client and backend share core 1. Rounds are interleaved over the proxies and ratios are paired by round, so that
// whatever else the machine does meets all of them alike. Every response counts: a run in which one was not 2xx, or in
// which the bodies do not add up to the byte, ends the program. Prints a Markdown table.
//
//   node bench/run.mjs [--only W1,W5] [--rounds N] [--requests N] [--io auto|uring|epoll] [--out FILE]
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
    only: { type: 'string', default: 'W1,W2,W4,W5' },
    io: { type: 'string', default: 'auto' },
    out: { type: 'string' },
    plait: { type: 'string', default: 'build/release/plait' },
  },
});
const rounds = Number(options.rounds);
const requests = Number(options.requests);

const sizes = { small: 100, large: 1 << 20 };
const workloads = [
  { name: 'W1 h2c → h2c, 100 B', port: 'plain', path: 'small', n: requests, args: ['-c', '32', '-m', '32'], unit: 'µs/request' },
  { name: 'W2 h2+TLS → h2c, 100 B', port: 'tls', path: 'small', n: requests, args: ['-c', '32', '-m', '32'], unit: 'µs/request' },
  { name: 'W4 HTTP/1.1 → h2c, 100 B', port: 'plainH1', path: 'small', n: requests, args: ['--h1', '-c', '64'], unit: 'µs/request' },
  { name: 'W5 h2c → h2c, 1 MiB', port: 'plain', path: 'large', n: Math.max(64, Math.ceil(requests / 100)), args: ['-c', '8', '-m', '8'], unit: 'µs/MiB' },
].filter(({ name }) => options.only.split(',').includes(name.split(' ')[0]));

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

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
};

const cert = path.join(dir, 'cert.pem');
const key = path.join(dir, 'key.pem');
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
writeFileSync(path.join(dir, 'both.pem'), readFileSync(cert, 'utf8') + readFileSync(key, 'utf8'));
for (const [name, size] of Object.entries(sizes)) writeFileSync(path.join(dir, name), Buffer.alloc(size, 'x'));

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
// HAProxy's buffers hold 16 KiB unless told otherwise, into which a DATA frame of 16 KiB with its header does not fit: large
// bodies then cost it at least twice what they cost with larger buffers. So it runs both ways, and either may be the
// best peer.
async function startHaproxy(name, tuning) {
  const [plain, plainH1, tls] = [await freePort(), await freePort(), await freePort()];
  const control = path.join(dir, `${name}.sock`);
  const file = path.join(dir, `${name}.cfg`);
  writeFileSync(file, `global
  nbthread 1
  maxconn 4000
  stats socket ${control}
${tuning}defaults
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
  return { child: start(0, 'haproxy', ['-f', file]), plain, plainH1, tls, succeeded: () => haproxySucceeded(control) };
}

// How many 2xx responses HAProxy has sent since it started, by its own count.
async function haproxySucceeded(control) {
  const socket = net.connect(control).setEncoding('utf8');
  socket.end('show stat\n');
  let text = '';
  for await (const chunk of socket) text += chunk;
  const [names, ...rows] = text.trim().split('\n').map((line) => line.split(','));
  return Number(rows.find((row) => row[0] === 'f' && row[1] === 'FRONTEND')[names.indexOf('hrsp_2xx')]);
}

proxies.haproxy = await startHaproxy('haproxy', '');
proxies['haproxy, tuned'] = await startHaproxy('haproxy-tuned', '  tune.bufsize 65536\n');
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

// One run of a workload through one proxy: the proxy's CPU time for each request, in µs. Throws unless every request was
// answered with 2xx and with its whole body.
async function measure(workload, name) {
  const proxy = proxies[name];
  const scheme = workload.port === 'tls' ? 'https' : 'http';
  const url = `${scheme}://127.0.0.1:${proxy[workload.port]}/${workload.path}`;
  const earlier = await proxy.succeeded?.();
  const before = cpuNs(proxy.child.pid);
  const { stdout } = await run('taskset', ['-c', '1', 'h2load', '-n', String(workload.n), ...workload.args, url], { timeout: 300_000 });
  const spent = cpuNs(proxy.child.pid) - before;
  // h2load notices the status of an HTTP/1.1 response only where a reason phrase follows it. HAProxy writes none when the
  // response came over HTTP/2, so its own count is asked.
  const succeeded = proxy.succeeded ? await proxy.succeeded() - earlier : Number(stdout.match(/status codes: (\d+) 2xx/)?.[1] ?? 0);
  const bytes = Number(stdout.match(/\((\d+)\) data/)?.[1] ?? 0);
  if (succeeded !== workload.n || bytes !== workload.n * sizes[workload.path]) {
    throw new Error(`${workload.name} through ${name}: ${succeeded} of ${workload.n} responses were 2xx, with ${bytes} bytes\n${stdout}`);
  }
  return spent / 1000 / workload.n;
}

const names = Object.keys(proxies);
const lines = [`| workload | ${names.join(' | ')} | plait / best peer |`, '|---|' + '---|'.repeat(names.length + 1)];
for (const workload of workloads) {
  const figures = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {  // the first round warms up
    for (let i = 0; i < names.length; i += 1) {  // each round begins with another proxy
      const name = names[(i + round + 1) % names.length];
      const figure = await measure(workload, name);
      if (round >= 0) figures[name].push(figure);
    }
  }
  const ratios = figures.plait.map((value, i) => value / Math.min(...names.slice(1).map((name) => figures[name][i])));
  const cells = names.map((name) => `${median(figures[name]).toFixed(2)} ${workload.unit}`);
  lines.push(`| ${workload.name} | ${cells.join(' | ')} | ${median(ratios).toFixed(2)} |`);
  console.error(lines.at(-1));
}
console.log(lines.join('\n'));
if (options.out) writeFileSync(options.out, `${lines.join('\n')}\n`);
process.exit(0);
