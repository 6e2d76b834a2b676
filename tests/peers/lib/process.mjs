// What every test needs of the operating system: programs, ports, temporary directories, and waits that are bounded.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';

const execute = promisify(execFile);

// Debian keeps servers in sbin, which is not on every user's path.
const environment = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin`, LC_ALL: 'C' };

// Runs a program to its end; its output may be large, its time is bounded. Rejects on another exit code than 0.
export function run(command, args, options = {}) {
  return execute(command, args, { timeout: 120_000, maxBuffer: 64 << 20, env: environment, ...options });
}

export const MiB = 1 << 20;

export function within(ms, promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// Resolves with the first truthy value of `condition`. It asks once for each turn of the event loop that had something to
// do, and at least every few milliseconds; the test fails after `ms`, with what was waited for.
export async function eventually(condition, what, ms = 10_000) {
  for (const end = Date.now() + ms; ;) {
    const value = await condition();
    if (value) return value;
    if (Date.now() > end) throw new Error(`not within ${ms} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
    await nextTurn();
  }
}

const stacks = new WeakMap();

// What was started last is ended first: clients go before the proxy, so that it has nothing left to drain, and the proxy
// goes before its backends. node's own t.after runs in the order of registration.
export function defer(t, action) {
  if (!stacks.has(t)) {
    const stack = [];
    stacks.set(t, stack);
    t.after(async () => {
      const failures = [];
      while (stack.length > 0) {
        try {
          await stack.pop()();
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
    });
  }
  stacks.get(t).push(action);
}

export function temporaryDirectory(t) {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plait-test-'));
  defer(t, () => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

// A port that nothing listens on now. Another program may take it before its user does, so users try again.
export async function freePort(host = '127.0.0.1') {
  const server = net.createServer().listen(0, host);
  await once(server, 'listening');
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

export function isListening(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

// Starts a server that cannot bind port 0: `make(port)` gives its command and arguments for a free port, and another port
// is tried where it ends before it listens. Resolves with { port, child, stop }.
export async function startServer(t, make) {
  let said = '';
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const port = await freePort();
    const [command, args] = await make(port);
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env: environment });
    let ended = false;
    said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => { said = (said + chunk).slice(-4096); });
    const exited = new Promise((resolve) => {
      child.on('error', (error) => { said += error.message; ended = true; resolve(); });
      child.on('exit', () => { ended = true; resolve(); });
    });
    const stop = async (signal = 'SIGKILL') => {
      if (!ended) child.kill(signal);
      await within(10_000, exited, `${command} ends`);
    };
    const ready = await eventually(async () => (ended ? 'ended' : (await isListening(port)) && 'listening'), `${command} listens`);
    if (ready === 'listening' && !ended) {
      defer(t, () => stop());
      return { port, child, stop, pid: child.pid };
    }
    await stop();
  }
  throw new Error(`a server did not start: ${said}`);
}

// The state that the kernel has this connected socket of IPv4 in, as in include/net/tcp_states.h, or nothing where it has
// none: 8 once the peer has closed its half, nothing once it has reset the connection.
export function tcpStateOf({ localPort, remotePort }) {
  const hex = (port) => port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/net/tcp', 'utf8').match(new RegExp(`:${hex(localPort)} [0-9A-F]{8}:${hex(remotePort)} ([0-9A-F]{2}) `));
  return line === null ? undefined : parseInt(line[1], 16);
}

// How many established connections lead to this port of the loopback interface, as the kernel counts them.
export function connectionsTo(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  let count = 0;
  for (const table of ['/proc/net/tcp', '/proc/net/tcp6']) {
    for (const line of readFileSync(table, 'utf8').split('\n').slice(1)) {
      const [, , remote, state] = line.trim().split(/\s+/);
      if (state === '01' && remote?.endsWith(`:${hex}`)) count += 1;
    }
  }
  return count;
}

// The largest resident set that the process ever had, in bytes.
export function peakResidentBytes(pid) {
  return Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s+(\d+) kB/)[1]) * 1024;
}
