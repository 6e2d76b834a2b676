// The workloads of ./dev bench that are CPU per request under h2load. A workload names where its clients connect, which
// origins stand behind the proxies, and h2load's arguments.
import { sizes } from './origins.mjs';

const requestFields = [
  ['accept', 'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8'], ['accept-encoding', 'gzip, deflate, br, zstd'],
  ['accept-language', 'en-GB,en;q=0.9,de;q=0.8'], ['cache-control', 'max-age=0'], ['cookie', `session=${'0123456789abcdef'.repeat(18)}`.padEnd(300, 'x')],
  ['dnt', '1'], ['origin', 'https://app.example.com'], ['pragma', 'no-cache'], ['priority', 'u=0, i'], ['referer', 'https://app.example.com/dashboard/overview'],
  ['sec-ch-ua', '"Chromium";v="130", "Not?A_Brand";v="99"'], ['sec-ch-ua-mobile', '?0'], ['sec-ch-ua-platform', '"Linux"'], ['sec-fetch-dest', 'document'],
  ['sec-fetch-mode', 'navigate'], ['sec-fetch-site', 'same-origin'], ['sec-fetch-user', '?1'], ['upgrade-insecure-requests', '1'],
  ['x-requested-with', 'XMLHttpRequest'], ['x-trace-id', '4bf92f3577b34da6a3ce929d0e0e4736'],
];

const many = ['-c', '32', '-m', '32'];
export const workloads = [
  { id: 'W1', title: 'h2c → h2c, 100 B, 32 × 32', port: 'plain', origin: 'h2c', path: 'small', args: many },
  { id: 'W2', title: 'h2+TLS → h2c, 100 B, 32 × 32', port: 'tls', origin: 'h2c', path: 'small', args: many },
  { id: 'W3', title: 'h2+TLS → h2+TLS, 100 B, 32 × 32', port: 'tls', origin: 'h2 over TLS', path: 'small', args: many },
  { id: 'W4', title: 'HTTP/1.1 → h2c, 100 B, 64 connections', port: 'plainH1', origin: 'h2c', path: 'small', args: ['--h1', '-c', '64'] },
  { id: 'W5', title: 'h2c → h2c, 1 MiB, 8 × 8, for each MiB', port: 'plain', origin: 'h2c', path: 'large', args: ['-c', '8', '-m', '8'], share: 0.01 },
  { id: 'W7', title: 'W1 with 20 request and 12 more response fields', port: 'plain', origin: 'h2c, more fields', path: 'small',
    args: [...many, ...requestFields.flatMap(([name, value]) => ['-H', `${name}: ${value}`])] },
].map((workload) => ({ ...workload, size: sizes[workload.path] }));

export const countOf = (workload, requests) => Math.max(64, Math.ceil(requests * (workload.share ?? 1)));
