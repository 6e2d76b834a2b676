// Backends that serve files, on the core that is not the proxy's. HTTP/2 is served by nghttpd, and by h2o where responses
// carry more fields; HTTP/1.1, which is all that nginx speaks to a backend, by another nginx.
import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { freePort, listening, otherCore, start } from './processes.mjs';

export const sizes = { empty: 0, small: 100, large: 1 << 20 };

export function makeFiles(dir, more = {}) {
  const root = path.join(dir, 'htdocs');
  mkdirSync(root, { recursive: true });
  for (const [name, size] of Object.entries({ ...sizes, ...more })) writeFileSync(path.join(root, name), Buffer.alloc(size, 'x'));
  return root;
}

// 12 fields as an application's framework adds them.
export const responseFields = [
  ['cache-control', 'private, max-age=0, no-cache'], ['vary', 'Accept-Encoding, Origin'], ['x-frame-options', 'SAMEORIGIN'],
  ['x-content-type-options', 'nosniff'], ['referrer-policy', 'strict-origin-when-cross-origin'], ['x-xss-protection', '0'],
  ['strict-transport-security', 'max-age=31536000; includeSubDomains'], ['content-security-policy', "default-src 'self'; img-src * data:"],
  ['access-control-allow-origin', 'https://app.example.com'], ['x-runtime', '0.012345'], ['x-app-version', '2026.11.3-rc1'],
  ['x-served-by', 'app-eu-central-1c-17'],
];

// kind: 'h2c', 'h2 over TLS', or 'HTTP/1.1', 'HTTP/1.1 over TLS'. Resolves with { port, tls, child }.
export async function startOrigin({ dir, root, kind, certificate, fields = [], core = otherCore, requestsEach = 1_000_000_000, tickets = true }) {
  const port = await freePort();
  const tls = kind.endsWith('TLS');
  let child;
  if (kind.startsWith('HTTP/1.1')) {
    const file = path.join(dir, `origin-${port}.conf`);
    writeFileSync(file, `daemon off; master_process off; pid ${dir}/origin-${port}.pid; error_log /dev/null;
worker_rlimit_nofile 20000;
events { worker_connections 15000; }
http {
  access_log off; default_type text/plain; keepalive_requests ${requestsEach}; client_body_temp_path ${dir}/body-${port};
  proxy_temp_path ${dir}/p-${port}; fastcgi_temp_path ${dir}/f-${port}; uwsgi_temp_path ${dir}/u-${port}; scgi_temp_path ${dir}/s-${port};
  ${tls ? `ssl_certificate ${certificate.cert}; ssl_certificate_key ${certificate.key}; ssl_session_cache off; ssl_session_tickets ${tickets ? 'on' : 'off'};` : ''}
  server { listen 127.0.0.1:${port}${tls ? ' ssl' : ''}; root ${root};
    ${fields.map(([name, value]) => `add_header ${name} "${value}";`).join(' ')}
  }
}
`);
    child = start(core, 'nginx', ['-c', file, '-e', '/dev/null']);
  } else if (fields.length > 0) {
    const file = path.join(dir, `origin-${port}.yaml`);
    writeFileSync(file, `num-threads: 1
user: ${os.userInfo().username}
http2-max-concurrent-requests-per-connection: 128
listen:
  host: 127.0.0.1
  port: ${port}
${tls ? `  ssl:\n    certificate-file: ${certificate.cert}\n    key-file: ${certificate.key}\n` : ''}hosts:
  default:
    paths:
      /:
        file.dir: ${root}
${fields.map(([name, value]) => `        header.add: "${name}: ${value}"`).join('\n')}
`);
    child = start(core, 'h2o', ['-c', file]);
  } else {
    const files = tls ? [certificate.key, certificate.cert] : [];
    child = start(core, 'nghttpd', [...(tls ? [] : ['--no-tls']), '-d', root, String(port), ...files]);
  }
  await listening(port);
  return { port, tls, child, isHttp1: kind.startsWith('HTTP/1.1') };
}
