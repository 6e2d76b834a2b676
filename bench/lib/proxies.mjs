// plait and its peers, each with one worker on the proxy's core, in front of the same origins. Every one listens plain
// (HTTP/2 by prior knowledge), plain for HTTP/1.1, and with TLS and ALPN.
import { writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { freePort, listening, proxyCore, start } from './processes.mjs';

export const allNames = ['plait', 'plait, epoll', 'plait, pgo', 'HAProxy', 'HAProxy, tuned', 'nghttpx', 'nginx'];
export const isPlait = (name) => name.startsWith('plait');

function haproxyProtocol({ tls, isHttp1 }) {
  if (tls) return `ssl verify none alpn ${isHttp1 ? 'http/1.1' : 'h2'} sni str(localhost)`;
  return isHttp1 ? '' : 'proto h2';
}

// `binary`: plait's, `pgo`: the same with profile-guided optimisation. `origins`: HTTP/2 ones. `h1Origins`: what nginx uses, because the distribution's speaks no HTTP/2 to
// a backend; without them there is no nginx. Resolves with { child, plain, plainH1, tls, admin?, succeeded? }.
export async function startProxy(name, { dir, certificate, origins, h1Origins = [], binary, pgo, io = 'auto', core = proxyCore, args = [], workers = 1 }) {
  const [plain, plainH1, tls, admin] = [await freePort(), await freePort(), await freePort(), await freePort()];
  const id = `${name.replace(/\W+/g, '-')}-${plain}`;
  const ports = { name, plain, plainH1, tls };
  let made;
  if (isPlait(name)) {
    const chosen = name === 'plait, epoll' ? 'epoll' : io;
    const backends = origins.flatMap((origin) => ['-b', `${origin.tls ? 'https' : origin.isHttp1 ? 'http' : 'h2c'}://localhost:${origin.port}`]);
    const child = start(core, name === 'plait, pgo' ? pgo : binary, [...backends, ...(origins[0].tls ? ['--insecure'] : []), '--listen', `127.0.0.1:${plain}`, '--listen',
      `tls:127.0.0.1:${tls}`, '--tls-cert', certificate.cert, '--tls-key', certificate.key, '--io', chosen, '--admin', `127.0.0.1:${admin}`,
      '--workers', String(workers), ...args]);
    made = { ...ports, plainH1: plain, child, admin };
  } else if (name.startsWith('HAProxy')) {
    const control = path.join(dir, `${id}.sock`);
    const file = path.join(dir, `${id}.cfg`);
    // Its buffers hold 16 KiB unless told otherwise, into which a DATA frame of 16 KiB with its header does not fit: large
    // bodies then cost it at least twice what they cost with larger buffers. So it runs both ways.
    writeFileSync(file, `global
  nbthread ${workers}
  maxconn 9900
  stats socket ${control}
${name === 'HAProxy, tuned' ? '  tune.bufsize 65536\n' : ''}defaults
  mode http
  timeout connect 3s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend f
  bind 127.0.0.1:${plain} proto h2
  bind 127.0.0.1:${plainH1}
  bind 127.0.0.1:${tls} ssl crt ${certificate.both} alpn h2,http/1.1
  default_backend b
backend b
  balance roundrobin
${origins.map((origin, i) => `  server s${i} 127.0.0.1:${origin.port} ${haproxyProtocol(origin)}`).join('\n')}
`);
    made = { ...ports, child: start(core, 'haproxy', ['-f', file]), succeeded: () => haproxySucceeded(control) };
  } else if (name === 'nghttpx') {
    const backends = origins.map((origin) => `-b127.0.0.1,${origin.port};;proto=${origin.isHttp1 ? 'http/1.1' : 'h2'}${origin.tls ? ';tls;sni=localhost' : ''}`);
    const child = start(core, 'nghttpx', [`-n${workers}`, '-k', '--no-ocsp', '--conf=/dev/null', '--errorlog-file=/dev/null', `-f127.0.0.1,${plain};no-tls`,
      `-f127.0.0.1,${tls}`, ...backends, '--frontend-http2-read-timeout=600', '--frontend-keep-alive-timeout=600', certificate.key, certificate.cert]);
    made = { ...ports, plainH1: plain, child };
  } else if (name === 'nginx') {
    const file = path.join(dir, `${id}.conf`);
    const scheme = h1Origins[0].tls ? 'https' : 'http';
    writeFileSync(file, `daemon off; master_process ${workers === 1 ? 'off' : 'on'}; worker_processes ${workers}; pid ${dir}/${id}.pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events { worker_connections 19000; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; http2_max_concurrent_streams 128; client_body_temp_path ${dir}/${id}-b;
  proxy_temp_path ${dir}/${id}-p; fastcgi_temp_path ${dir}/${id}-f; uwsgi_temp_path ${dir}/${id}-u; scgi_temp_path ${dir}/${id}-s;
  upstream origin {
    ${h1Origins.map((origin) => `server 127.0.0.1:${origin.port};`).join(' ')}
    keepalive 1024; keepalive_requests 1000000000;
  }
  client_max_body_size 0; proxy_request_buffering off;
  proxy_http_version 1.1; proxy_set_header Connection ""; proxy_max_temp_file_size 0; proxy_ssl_verify off; proxy_ssl_session_reuse on;
  ssl_certificate ${certificate.cert}; ssl_certificate_key ${certificate.key};
  server {
    listen 127.0.0.1:${plain} http2; listen 127.0.0.1:${plainH1}; listen 127.0.0.1:${tls} ssl http2;
    location / { proxy_pass ${scheme}://origin; }
  }
}
`);
    made = { ...ports, child: start(core, 'nginx', ['-c', file, '-e', '/dev/null']) };
  } else {
    throw new Error(`no proxy is called ${name}`);
  }
  for (const port of new Set([made.plain, made.plainH1, made.tls])) await listening(port);
  return made;
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

// A figure of plait's /metrics, summed over its labels.
export async function plaitMetric(proxy, name) {
  const text = await (await fetch(`http://127.0.0.1:${proxy.admin}/metrics`)).text();
  const samples = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
  if (samples.length === 0) throw new Error(`plait has no metric ${name}`);
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
}
