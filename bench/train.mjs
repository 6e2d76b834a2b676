// Runs a program of the preset `profile` through what it will mostly do, so that the preset `pgo` can optimise for it:
// small requests over HTTP/2, TLS and HTTP/1.1, long heads, uploads, large bodies, with either way of doing I/O. The
// records of all runs are merged into one file.
//
//   node bench/train.mjs --plait build/profile/plait --out build/plait.profdata
import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';

const run = promisify(execFile);
const { values: options } = parseArgs({ options: { plait: { type: 'string' }, out: { type: 'string' } } });

const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-train-'));
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

function start(command, args, env = {}) {
  const child = spawn(command, args, { stdio: 'ignore', env: { ...process.env, ...env } });
  children.push(child);
  return child;
}

const cert = path.join(dir, 'cert.pem');
const key = path.join(dir, 'key.pem');
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
  '-subj', '/CN=localhost', '-keyout', key, '-out', cert], { stdio: 'ignore' });
writeFileSync(path.join(dir, 'small'), Buffer.alloc(100, 'x'));
writeFileSync(path.join(dir, 'large'), Buffer.alloc(1 << 20, 'x'));
writeFileSync(path.join(dir, 'upload'), Buffer.alloc(20_000, 'x'));

const browser = ['accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', 'accept-language: en-GB,en;q=0.7,de;q=0.3',
  'accept-encoding: gzip, deflate, br', 'cookie: session=6bd1f0a8c3e94d7c9b52; theme=dark; visited=2024-11-02T10:21:07Z', 'sec-fetch-mode: navigate',
  'sec-fetch-dest: document', 'referer: https://shop.example/catalogue?page=3', 'x-trace: 7f3a'].flatMap((field) => ['-H', field]);
const multiplexed = ['-c', '32', '-m', '32'];
const workloads = [
  { port: 'plain', path: 'small', args: ['-n', '40000', ...multiplexed] },
  { port: 'tls', path: 'small', args: ['-n', '15000', ...multiplexed] },
  { port: 'plain', path: 'small', args: ['-n', '20000', '--h1', '-c', '64'] },
  { port: 'plain', path: 'small', args: ['-n', '15000', ...multiplexed, ...browser] },
  { port: 'plain', path: 'small', args: ['-n', '5000', '--h1', '-c', '64', ...browser] },
  { port: 'plain', path: 'small', args: ['-n', '1000', '-c', '8', '-m', '8', '-d', path.join(dir, 'upload')] },
  { port: 'plain', path: 'large', args: ['-n', '150', '-c', '8', '-m', '8'] },
];

const origin = await freePort();
start('nghttpd', ['--no-tls', '-d', dir, String(origin)]);
await listening(origin);
for (const io of ['uring', 'epoll']) {
  const ports = { plain: await freePort(), tls: await freePort() };
  const plait = start(options.plait, ['-b', `h2c://127.0.0.1:${origin}`, '--listen', `127.0.0.1:${ports.plain}`, '--listen', `tls:127.0.0.1:${ports.tls}`,
    '--tls-cert', cert, '--tls-key', key, '--io', io], { LLVM_PROFILE_FILE: path.join(dir, `${io}.profraw`) });
  await listening(ports.plain);
  for (const workload of workloads) {
    const url = `${workload.port === 'tls' ? 'https' : 'http'}://127.0.0.1:${ports[workload.port]}/${workload.path}`;
    const { stdout } = await run('h2load', [...workload.args, url], { timeout: 120_000 });
    const wanted = workload.args[1];
    if (stdout.match(/status codes: (\d+) 2xx/)?.[1] !== wanted) throw new Error(`not every request succeeded:\n${stdout}`);
  }
  plait.kill('SIGTERM');
  const [code] = await once(plait, 'exit');
  if (code !== 0) throw new Error(`plait ended with ${code}`);
}
const records = readdirSync(dir).filter((name) => name.endsWith('.profraw')).map((name) => path.join(dir, name));
execFileSync('llvm-profdata-19', ['merge', '-o', options.out, ...records], { stdio: 'inherit' });
process.exit(0);
