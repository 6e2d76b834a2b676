// Runs a program of the preset `profile` through what it will mostly do, so that the preset `pgo` can optimise for it:
// small requests over HTTP/2, TLS and HTTP/1.1, long heads, uploads, large bodies, with either way of doing I/O. The
// records of all runs are merged into one file.
//
//   node bench/train.mjs --plait build/profile/plait --out build/plait.profdata
import { execFile, execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { freePort, listening, makeCertificate, makeDirectory, otherCore, proxyCore, start } from './lib/processes.mjs';

const run = promisify(execFile);
const { values: options } = parseArgs({ options: { plait: { type: 'string' }, out: { type: 'string' } } });

const dir = makeDirectory();
const { cert, key } = makeCertificate(dir);
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
start(otherCore, 'nghttpd', ['--no-tls', '-d', dir, String(origin)]);
await listening(origin);
for (const io of ['uring', 'epoll']) {
  const ports = { plain: await freePort(), tls: await freePort() };
  const plait = start(proxyCore, options.plait, ['-b', `h2c://127.0.0.1:${origin}`, '--listen', `127.0.0.1:${ports.plain}`, '--listen', `tls:127.0.0.1:${ports.tls}`,
    '--tls-cert', cert, '--tls-key', key, '--io', io], { env: { ...process.env, LLVM_PROFILE_FILE: path.join(dir, `${io}.profraw`) } });
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
