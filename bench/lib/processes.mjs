// Processes of a measurement: pinned to a core, ended with it, and what the kernel says about them.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

const children = new Set();
const directories = [];
process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  for (const dir of directories) rmSync(dir, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

export const proxyCore = '0';
export const otherCore = '1';

export function makeDirectory() {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-bench-'));
  directories.push(dir);
  return dir;
}

// A certificate for localhost: { cert, key, both }, names of files.
export function makeCertificate(dir) {
  const [cert, key, both] = ['cert.pem', 'key.pem', 'both.pem'].map((name) => path.join(dir, name));
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  execFileSync('sh', ['-c', `cat '${cert}' '${key}' > '${both}'`]);
  return { cert, key, both };
}

export async function freePort() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export async function listening(port) {
  for (const end = Date.now() + 60_000; Date.now() < end;) {
    const open = await new Promise((resolve) => {
      const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
      socket.on('error', () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`nothing listens on port ${port}`);
}

// Starts a program on a core (or several: '0,1') with as many descriptors as it may have.
export function start(core, command, args, options = {}) {
  const child = spawn('sh', ['-c', 'ulimit -n "$(ulimit -Hn)"; exec taskset -c "$0" "$@"', core, command, ...args], { stdio: 'ignore', ...options });
  children.add(child);
  child.on('exit', () => children.delete(child));
  return child;
}

export async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

function withChildren(pid) {
  const pids = [pid];
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    for (const child of readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean)) pids.push(...withChildren(child));
  }
  return pids;
}

// Nanoseconds on a CPU, over all threads of the process and of its children.
export function cpuNs(pid) {
  let total = 0;
  for (const one of withChildren(pid)) {
    for (const task of readdirSync(`/proc/${one}/task`)) total += Number(readFileSync(`/proc/${one}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return total;
}

// Resident memory of its own, without pages of files: bytes, over the process and its children.
export function residentBytes(pid) {
  let total = 0;
  for (const one of withChildren(pid)) {
    // One that ends meanwhile has none.
    const [, kilobytes] = readFileSync(`/proc/${one}/status`, 'utf8').match(/RssAnon:\s+(\d+)/) ?? [];
    total += 1024 * Number(kilobytes ?? 0);
  }
  return total;
}

// How many TCP connections the process has to that port.
export function connectionsTo(pid, port) {
  const remote = port.toString(16).toUpperCase().padStart(4, '0');
  const established = new Set();
  for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
    const column = line.trim().split(/\s+/);
    if (column[3] === '01' && column[2].endsWith(`:${remote}`)) established.add(`socket:[${column[9]}]`);
  }
  let count = 0;
  for (const one of withChildren(pid)) {
    for (const fd of readdirSync(`/proc/${one}/fd`)) {
      try {
        if (established.has(readlinkSync(`/proc/${one}/fd/${fd}`))) count += 1;
      } catch {
        // closed meanwhile
      }
    }
  }
  return count;
}
