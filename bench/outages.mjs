// The clients' view of an outage of one of three backends: goodput, failed and doubled requests, the slowest answer; with plait
// and with HAProxy (leastconn, redispatch, check) in the same run. Sixteen clients in a closed loop, and an open loop (Poisson)
// at half of what those had; half GETs, half POSTs, over HTTP/1.1 to the proxy and over h2c or HTTP/1.1 to the backends, which
// work 5 ms on each request. plait has its default settings, but for response_head_ms = 5000 towards HTTP/1.1; HAProxy's
// `timeout server` is the same. Each row has fresh processes. Prints Markdown.
//
//   node bench/outages.mjs [--only stopped,slow] [--proto h2c|http] [--loop closed|open] [--seconds 20] [--plait FILE] [--no-haproxy] [--io epoll] [--lines]
//
// Failures by their status go to standard error; with --lines the proxies' own lines as well.
import { execFileSync, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Load } from './lib/outage_clients.mjs';
import { freePort, listening, makeDirectory, otherCore, proxyCore, start, stop } from './lib/processes.mjs';

const { values: options } = parseArgs({
  options: {
    only: { type: 'string' },
    proto: { type: 'string', default: 'h2c,http' },
    loop: { type: 'string', default: 'closed,open' },
    seconds: { type: 'string', default: '20' },
    plait: { type: 'string', default: 'build/release/plait' },
    io: { type: 'string', default: 'auto' },
    'no-haproxy': { type: 'boolean', default: false },
    lines: { type: 'boolean', default: false },
  },
});
const seconds = Number(options.seconds);
const clients = 16;
// The open loop's rate at most, so that node, which asks and answers, is not what is measured.
const mostRate = 1_000;
const before_ms = 2_000;
const backendScript = fileURLToPath(new URL('lib/outage_backend.mjs', import.meta.url));
const dir = makeDirectory();
const stdio = ['ignore', 'ignore', options.lines ? 'inherit' : 'ignore'];
const cores = `${proxyCore},${otherCore}`;
let files = 0;

class Backend {
  static async begin(protocol, outage = 'none', port = 0, file = path.join(dir, `ids-${files++}`)) {
    const backend = new Backend();
    Object.assign(backend, { protocol, file, stopped: false });
    await backend.spawn(outage, port);
    return backend;
  }

  async spawn(outage, port) {
    this.child = fork(backendScript, [this.protocol, String(port), this.file, outage], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    this.child.on('error', () => {});
    children.add(this.child);
    [this.port] = await once(this.child, 'message');
  }

  tell(outage) {
    if (this.child.connected) this.child.send(outage);
  }

  async end() {
    children.delete(this.child);
    await stop(this.child);
  }

  async restart(outage) {
    await this.end();
    await this.spawn(outage, this.port);
  }
}
const children = new Set();
process.on('exit', () => { for (const child of children) child.kill('SIGKILL'); });

// How many connections wait to be accepted at this port.
function waitingAt(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/net/tcp', 'utf8').match(new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex} 00000000:0000 0A [0-9A-F]{8}:([0-9A-F]{8})`, 'm'));
  return line === null ? 0 : parseInt(line[1], 16);
}

async function swallow(backend) {
  backend.tell('swallow');
  const fillers = [];
  for (const end = Date.now() + 1_500; waitingAt(backend.port) <= 128 && Date.now() < end;) {
    for (let i = 0; i < 8; i += 1) {
      const socket = net.connect(backend.port, '127.0.0.1');
      socket.on('error', () => {});
      fillers.push(socket);
    }
    await pause(1);
  }
  return () => {
    for (const socket of fillers) socket.destroy();
    backend.child.kill('SIGCONT');
  };
}

const told = (outage) => async (backend) => {
  backend.tell(outage);
  return () => backend.tell('none');
};
const signalled = (signal, back) => async (backend) => {
  backend.child.kill(signal);
  return () => back(backend);
};

// Each begins and resolves with what ends it. `protocols` where it is not both.
const outages = {
  stopped: { name: 'SIGSTOP', begin: signalled('SIGSTOP', (backend) => backend.child.kill('SIGCONT')) },
  swallowed: { name: 'SYN swallowed', begin: swallow },
  rst_body: { name: "RST after the body's first byte", begin: told('rst_body') },
  rst_head: { name: 'RST before the head', begin: told('rst_head') },
  unavailable: { name: '503 to all', begin: told('503') },
  slow: { name: '500 ms slow', begin: told('slow') },
  killed: { name: 'kill -9', begin: signalled('SIGKILL', (backend) => backend.restart('none')) },
  restarts: {
    name: 'graceful restart, each 3 s',
    begin: async (backend) => {
      let running = true;
      const loop = (async () => {
        while (running) {
          backend.tell('drain');
          if (backend.child.exitCode === null) await once(backend.child, 'exit');
          await backend.restart('none');
          for (const end = Date.now() + 3_000; running && Date.now() < end;) await pause(50);
        }
      })();
      return () => {
        running = false;
        return loop;
      };
    },
  },
  settings: {
    name: 'restarted, SETTINGS never', protocols: ['h2c'],
    begin: async (backend) => {
      await backend.restart('no_settings');
      return () => backend.restart('none');
    },
  },
};

async function startPlait(protocol, backends) {
  const port = await freePort();
  const file = path.join(dir, `plait-${port}.toml`);
  writeFileSync(file, `[[listen]]\naddress = "127.0.0.1:${port}"\n${backends.map((backend) => `[[backend]]\nurl = "${protocol}://127.0.0.1:${backend.port}"\n`).join('')}${
    protocol === 'http' ? '[timeouts]\nresponse_head_ms = 5000\n' : ''}`);
  const child = start(cores, options.plait, ['-c', file, '--workers', '1', '--io', options.io], { stdio });
  await listening(port);
  return { port, child };
}

// Without http-no-delay its kernel holds a response back for 200 ms where END_STREAM comes in a frame of its own, as node sends it.
async function startHaproxy(protocol, backends) {
  const port = await freePort();
  const file = path.join(dir, `haproxy-${port}.cfg`);
  writeFileSync(file, `global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server ${protocol === 'http' ? 5 : 60}s
  timeout queue 5s
  retries 3
  option redispatch
  http-reuse always
  option http-no-delay
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  balance leastconn
${backends.map((backend, i) => `  server s${i} 127.0.0.1:${backend.port}${protocol === 'h2c' ? ' proto h2' : ''} check`).join('\n')}
`);
  const child = start(cores, 'haproxy', ['-db', '-f', file], { stdio });
  await listening(port);
  return { port, child };
}
const proxies = { plait: startPlait, ...(options['no-haproxy'] ? {} : { HAProxy: startHaproxy }) };

function doubledIn(backends) {
  const seen = new Map();
  for (const { file } of backends) {
    if (!existsSync(file)) continue;
    for (const id of readFileSync(file, 'utf8').split('\n')) if (id !== '') seen.set(id, (seen.get(id) ?? 0) + 1);
  }
  return [...seen.values()].filter((times) => times > 1).length;
}

// So much do all clients get while all is well.
const capacities = new Map();
async function capacityOf(name, protocol) {
  const key = `${name} ${protocol}`;
  if (!capacities.has(key)) {
    const { load, end } = await begin(name, protocol);
    load.closed(clients);
    await pause(1_000);
    const from = performance.now();
    await pause(2_000);
    capacities.set(key, load.goodput(from, performance.now()));
    await end();
  }
  return capacities.get(key);
}

async function begin(name, protocol) {
  const backends = await Promise.all([0, 1, 2].map(() => Backend.begin(protocol)));
  const proxy = await proxies[name](protocol, backends);
  const load = new Load(proxy.port);
  return {
    backends, load,
    end: async () => {
      await load.stop();
      await stop(proxy.child);
      for (const backend of backends) await backend.end();
    },
  };
}

async function measure(name, outage, protocol, loop) {
  const rate = loop === 'open' ? Math.min(0.5 * await capacityOf(name, protocol), mostRate) : 0;
  const { backends, load, end } = await begin(name, protocol);
  if (loop === 'open') load.openLoop(rate);
  else load.closed(clients);
  await pause(1_000 + before_ms);
  const failedBefore = load.records.filter(({ status }) => status !== 200 && status !== undefined).length;
  const begun = performance.now();
  const well = load.goodput(begun - before_ms, begun);
  const over = await outage.begin(backends[1]);
  await pause(Math.max(begun + seconds * 1_000 - performance.now(), 0));
  const ended = performance.now();
  const goodput = load.goodput(begun + 2_000, ended) / well;
  load.running = false;
  await over();
  await end();
  const during = load.records.filter((record) => record.ended >= begun);
  const kinds = {};
  for (const { method, status } of during) if (status !== 200) kinds[`${method} ${status}`] = (kinds[`${method} ${status}`] ?? 0) + 1;
  if (Object.keys(kinds).length > 0) console.error(`${name}, ${outage.name}, ${protocol}, ${loop}: ${JSON.stringify(kinds)}`);
  const failed = (method) => during.filter((record) => record.method === method && record.status !== 200).length;
  return {
    goodput, gets: failed('GET'), posts: failed('POST'), requests: during.length, doubled: doubledIn(backends), failedBefore,
    slowest: Math.max(...during.map((record) => Math.min(record.ended, performance.now()) - record.begun)), well,
  };
}

const show = ({ goodput, gets, posts, doubled, slowest, well, requests }) => (
  `${goodput.toFixed(2)} of ${well.toFixed(0)}/s | ${gets} | ${posts} | ${doubled} | ${(slowest / 1000).toFixed(2)} s | ${requests}`);

const names = options.only === undefined ? Object.keys(outages) : options.only.split(',');
for (const name of names) {
  if (!(name in outages)) {
    console.error(`--only names some of ${Object.keys(outages).join(', ')}`);
    process.exit(2);
  }
}
if (!options['no-haproxy']) {
  try {
    execFileSync('haproxy', ['-v'], { stdio: 'ignore' });
  } catch {
    console.error('haproxy is not here: install it, or say --no-haproxy');
    process.exit(2);
  }
}
const columns = ['goodput', 'failed GETs', 'failed POSTs', 'doubled POSTs', 'slowest', 'requests'];
const heads = Object.keys(proxies).flatMap((name) => columns.map((column) => `${name}: ${column}`));
console.log(`One of three backends fails for ${seconds} s; goodput is that from 2 s on, of what it was before.\n`);
console.log(`| outage | to backends | loop | ${heads.join(' | ')} |\n|---|---|---|${heads.map(() => '---|').join('')}`);
for (const name of names) {
  const outage = outages[name];
  for (const protocol of options.proto.split(',')) {
    if (outage.protocols !== undefined && !outage.protocols.includes(protocol)) continue;
    for (const loop of options.loop.split(',')) {
      const results = [];
      for (const proxy of Object.keys(proxies)) {
        const result = await measure(proxy, outage, protocol, loop);
        if (result.failedBefore > 0) console.error(`${proxy}, ${name}, ${protocol}, ${loop}: ${result.failedBefore} requests failed before the outage`);
        results.push(show(result));
      }
      console.log(`| ${outage.name} | ${protocol === 'http' ? 'HTTP/1.1' : protocol} | ${loop} | ${results.join(' | ')} |`);
    }
  }
}
process.exit(0);
