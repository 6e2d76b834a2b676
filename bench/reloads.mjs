// The losses of reloads, ten a second, with plait, nginx (HUP to the master), HAProxy (USR2 to the master) and Caddy (POST /load),
// one after the other, each with one worker. Every second reload adds or removes a route and an endpoint of others. Meanwhile an open
// loop (Poisson) asks at half of what sixteen clients in a closed loop had, 1,000 a second at most, and WebSockets and streams are
// open. Spans with reloads and without take turns, as pairs; the dials are connections that the endpoint, which no reload changes,
// has accepted in them. Prints Markdown.
//
//   node bench/reloads.mjs [--reloads 1000] [--seconds N] [--pairs 10] [--websockets 2000] [--streams 500] [--rate N] [--only plait,nginx] [--plait FILE] [--io epoll]
//
// --seconds is the time for reloads in all, ten in each: another way to say --reloads. --rate is the same for all: where others use the
// machine too, half of what there was a moment ago may be more than there is.
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { renameSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Load } from './lib/outage_clients.mjs';
import { freePort, listening, makeDirectory, otherCore, proxyCore, residentBytes, start, stop } from './lib/processes.mjs';
import { markdown, median, quantile } from './lib/statistics.mjs';

const { values: options } = parseArgs({
  options: {
    reloads: { type: 'string', default: '1000' },
    seconds: { type: 'string' },
    pairs: { type: 'string', default: '10' },
    websockets: { type: 'string', default: '2000' },
    streams: { type: 'string', default: '500' },
    rate: { type: 'string' },
    only: { type: 'string', default: 'plait,nginx,HAProxy,Caddy' },
    plait: { type: 'string', default: 'build/release/plait' },
    io: { type: 'string', default: 'auto' },
  },
});
const perSecond = 10;
const reloads = options.seconds === undefined ? Number(options.reloads) : Number(options.seconds) * perSecond;
const pairs = Number(options.pairs);
const span_ms = reloads / pairs * 1_000 / perSecond;
const clients = 16;
// So that node, which asks and answers, is not what is measured.
const mostRate = 1_000;
const cores = `${proxyCore},${otherCore}`;
const dir = makeDirectory();
const backendScript = fileURLToPath(new URL('lib/reload_backend.mjs', import.meta.url));
const backends = new Set();
process.on('exit', () => { for (const child of backends) child.kill('SIGKILL'); });

class Backend {
  static async begin() {
    const backend = new Backend();
    backend.child = fork(backendScript, [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
    backends.add(backend.child);
    [backend.port] = await once(backend.child, 'message');
    return backend;
  }

  async connections() {
    const answer = once(this.child, 'message');
    this.child.send('count');
    return (await answer)[0];
  }
}

// A file that is replaced as a whole.
function put(file, text) {
  writeFileSync(`${file}.new`, text);
  renameSync(`${file}.new`, file);
}

// Each starts the proxy and resolves with { port, child, reload() }; a reload has the others' route where `n` is odd.
const proxies = {
  plait: async ({ port: backend }, { port: other }) => {
    const port = await freePort();
    const file = path.join(dir, 'plait.toml');
    const cluster = (name, to) => `[[cluster]]\nname = "${name}"\n[[cluster.backend]]\nurl = "http://127.0.0.1:${to}"\n`;
    const write = (n) => put(file, `[server]\nworkers = 1\nio = "${options.io}"\n[[listen]]\naddress = "127.0.0.1:${port}"\n[limits]\nupstream_connections = 4096\nsend_blocks = 32768\n`
      + `h1_connections_per_backend = 4096\n[timeouts]\nresponse_head_ms = 5000\n${cluster('main', backend)}[[route]]\nname = "main"\ncluster = "main"\n`
      + (n % 2 === 1 ? `${cluster('other', other)}[[route]]\nname = "other"\npath = "/other"\ncluster = "other"\n` : ''));
    write(0);
    const child = start(cores, options.plait, ['-c', file]);
    return { port, child, reload: (n) => { write(n); child.kill('SIGHUP'); } };
  },
  nginx: async ({ port: backend }, { port: other }) => {
    const port = await freePort();
    const file = path.join(dir, 'nginx.conf');
    const write = (n) => put(file, `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log /dev/null; worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; proxy_read_timeout 600s;
  client_body_temp_path ${dir}/b; proxy_temp_path ${dir}/p; fastcgi_temp_path ${dir}/f; uwsgi_temp_path ${dir}/u; scgi_temp_path ${dir}/s;
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  upstream main { server 127.0.0.1:${backend}; keepalive 1024; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port} backlog=4096;
    proxy_http_version 1.1; proxy_set_header Connection $connection_upgrade; proxy_set_header Upgrade $http_upgrade; proxy_buffering off;
    location / { proxy_pass http://main; }
    ${n % 2 === 1 ? `location /other { proxy_pass http://127.0.0.1:${other}; }` : ''}
  }
}
`);
    write(0);
    const child = start(cores, 'nginx', ['-c', file, '-e', '/dev/null']);
    return { port, child, reload: (n) => { write(n); child.kill('SIGHUP'); } };
  },
  HAProxy: async ({ port: backend }, { port: other }) => {
    const port = await freePort();
    const file = path.join(dir, 'haproxy.cfg');
    const write = (n) => put(file, `global
  nbthread 1
  maxconn 9000
  stats socket ${dir}/haproxy.sock expose-fd listeners
defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  timeout tunnel 600s
  http-reuse always
frontend f
  bind 127.0.0.1:${port} backlog 4096
  ${n % 2 === 1 ? 'use_backend other if { path_beg /other }' : ''}
  default_backend main
backend main
  server s 127.0.0.1:${backend}
${n % 2 === 1 ? `backend other\n  server s 127.0.0.1:${other}\n` : ''}`);
    write(0);
    const child = start(cores, 'haproxy', ['-W', '-db', '-f', file, '-x', `${dir}/haproxy.sock`]);
    return { port, child, reload: (n) => { write(n); child.kill('SIGUSR2'); } };
  },
  Caddy: async ({ port: backend }, { port: other }) => {
    const [port, admin] = [await freePort(), await freePort()];
    const file = path.join(dir, 'Caddyfile');
    const text = (n) => `{\n  admin 127.0.0.1:${admin}\n  auto_https off\n  storage file_system ${dir}\n  log {\n    output discard\n  }\n}\nhttp://:${port} {\n  bind 127.0.0.1\n${
      n % 2 === 1 ? `  handle /other* {\n    reverse_proxy 127.0.0.1:${other}\n  }\n` : ''}  handle {\n    reverse_proxy 127.0.0.1:${backend}\n  }\n}\n`;
    put(file, text(0));
    const child = start(cores, 'env', [`HOME=${dir}`, `XDG_CONFIG_HOME=${dir}`, 'caddy', 'run', '--adapter', 'caddyfile', '--config', file]);
    const reload = (n) => fetch(`http://127.0.0.1:${admin}/load`, { method: 'POST', headers: { 'content-type': 'text/caddyfile', 'cache-control': 'must-revalidate' }, body: text(n) }).then((answer) => answer.text()).catch(() => {});
    return { port, child, reload };
  },
};

// Connections that are to stay open: WebSockets, or streamed responses. `lost` counts those that did not.
class Lasting {
  constructor() {
    this.sockets = [];
    this.lost = 0;
    this.over = false;
  }

  async open(port, count, head, begun) {
    const one = () => new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => socket.write(head));
      let seen = '';
      const onData = (bytes) => {
        seen += bytes.toString('latin1');
        if (!begun.test(seen)) return;
        socket.off('data', onData);
        socket.resume();
        this.sockets.push(socket);
        socket.on('close', () => { if (!this.over) this.lost += 1; });
        resolve();
      };
      socket.on('data', onData);
      socket.on('error', reject);
    });
    for (let left = count; left > 0; left -= 50) await Promise.all(Array.from({ length: Math.min(left, 50) }, one));
  }

  end() {
    this.over = true;
    for (const socket of this.sockets) socket.destroy();
  }
}

// Nothing where a process that a reload has ended is gone while it is looked at.
function memoryOf(pid) {
  try {
    return residentBytes(pid);
  } catch {
    return undefined;
  }
}

async function begin(name) {
  const [main, other] = await Promise.all([Backend.begin(), Backend.begin()]);
  const proxy = await proxies[name](main, other);
  await listening(proxy.port);
  return {
    main, proxy,
    end: async () => {
      // A master would leave its workers behind.
      proxy.child.kill('SIGTERM');
      await Promise.race([once(proxy.child, 'exit'), pause(1_000)]);
      await stop(proxy.child);
      for (const { child } of [main, other]) {
        backends.delete(child);
        await stop(child);
      }
    },
  };
}

async function rateOf(name) {
  if (options.rate !== undefined) return Number(options.rate);
  const { proxy, end } = await begin(name);
  const load = new Load(proxy.port);
  load.closed(clients);
  await pause(1_000);
  const from = performance.now();
  await pause(2_000);
  const rate = load.goodput(from, performance.now());
  await load.stop();
  await end();
  return Math.min(rate / 2, mostRate);
}

async function measure(name) {
  const rate = await rateOf(name);
  const { main, proxy, end } = await begin(name);
  const [websockets, streams] = [new Lasting(), new Lasting()];
  await websockets.open(proxy.port, Number(options.websockets),
    'GET /socket HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n', /^HTTP\/1\.1 101 /);
  await streams.open(proxy.port, Number(options.streams), 'GET /stream HTTP/1.1\r\nHost: a\r\n\r\n', /begun/);
  const load = new Load(proxy.port);
  load.openLoop(rate);
  await pause(2_000);
  const spans = { with: [], without: [] };
  const dials = { with: 0, without: 0 };
  let done = 0;
  const span = async (kind) => {
    const before = await main.connections();
    const begun = performance.now();
    if (kind === 'with') {
      for (let i = 0; i < reloads / pairs; i += 1) {
        await proxy.reload(done += 1);
        await pause(Math.max(begun + (i + 1) * 1_000 / perSecond - performance.now(), 0));
      }
    } else {
      await pause(span_ms);
    }
    spans[kind].push([begun, performance.now()]);
    dials[kind] += await main.connections() - before;
  };
  let first;
  let last;
  for (let pair = 0; pair < pairs; pair += 1) {
    for (const kind of pair % 2 === 0 ? ['with', 'without'] : ['without', 'with']) await span(kind);
    last = memoryOf(proxy.child.pid) ?? last;
    first ??= last;
  }
  load.running = false;
  await pause(500);
  const result = { lostWebSockets: websockets.lost, lostStreams: streams.lost };
  websockets.end();
  streams.end();
  await load.stop();
  await end();
  const within = ([from, to]) => load.records.filter(({ begun }) => begun >= from && begun < to);
  const p99 = (one) => quantile(within(one).map(({ begun, ended }) => ended - begun), 0.99);
  const ratios = spans.with.map((one, i) => p99(one) / p99(spans.without[i]));
  const failures = load.records.filter(({ status }) => status !== 200 && status !== undefined);
  const kinds = {};
  for (const { status } of failures) kinds[status] = (kinds[status] ?? 0) + 1;
  if (failures.length > 0) console.error(`${name}: ${JSON.stringify(kinds)}`);
  return {
    ...result, rate, requests: load.records.length, failed: failures.length, dials, growth: (last - first) / 2 ** 20,
    p99: [median(spans.without.map(p99)), median(spans.with.map(p99))], ratio: median(ratios), quartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
  };
}

const rows = [];
for (const name of options.only.split(',')) {
  const one = await measure(name);
  rows.push([name, one.rate.toFixed(0), `${one.failed} of ${one.requests}`, `${one.lostWebSockets} of ${options.websockets}`, `${one.lostStreams} of ${options.streams}`,
    `${one.dials.with} / ${one.dials.without}`, one.p99.map((value) => value.toFixed(2)).reverse().join(' / '), `${one.ratio.toFixed(2)} (${one.quartiles.map((value) => value.toFixed(2)).join(' to ')})`, `${one.growth.toFixed(1)} MiB`]);
}
console.log(`${reloads} reloads, ${perSecond} a second, in ${pairs} spans of ${span_ms / 1000} s each; as many spans without.\n`);
console.log(markdown(['proxy', 'requests a second', 'failed requests', 'closed WebSockets', 'closed streams', 'dials with / without reloads', 'p99 with / without, ms', 'median ratio (quartiles)', 'memory grown'], rows));
process.exit(0);
