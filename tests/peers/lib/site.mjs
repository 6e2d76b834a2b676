// What a web site has, the same over HTTP/2 and over HTTP/1.1: pages of many parts, and what pages ask for.
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { WebSocketServer } from 'ws';
import { startH1Backend, startH2Backend } from './backends.mjs';
import { defer } from './process.mjs';

export const sha256 = (bytes, encoding = 'hex') => createHash('sha256').update(bytes).digest(encoding);
// Bytes that depend on all of the name and on their place.
export const bytesOf = (name, size) => createHash('shake256', { outputLength: size }).update(name).digest();

// A part of a page: its kind, its bytes, and what the browser must make of it.
const kinds = {
  script: (i) => {
    const bytes = Buffer.from(`/* ${bytesOf(`script${i}`, 20 + i * 1800).toString('base64')} */ (window.ran ??= []).push(${i});\n`);
    return { type: 'text/javascript', bytes };
  },
  style: (i) => {
    const bytes = Buffer.from(`/* ${bytesOf(`style${i}`, 20 + i * 900).toString('base64')} */ :root { --style${i}: ${i} }\n`);
    return { type: 'text/css', bytes };
  },
  // A bitmap without compression: the pixels that a canvas shows are its bytes.
  image: (i) => {
    const [width, height] = [32, 4 + i * 8];
    const pixels = bytesOf(`image${i}`, width * height * 3);
    const head = Buffer.alloc(54);
    head.write('BM');
    head.writeUInt32LE(54 + pixels.length, 2);
    head.writeUInt32LE(54, 10);
    head.writeUInt32LE(40, 14);
    head.writeInt32LE(width, 18);
    head.writeInt32LE(-height, 22);
    head.writeUInt16LE(1, 26);
    head.writeUInt16LE(24, 28);
    const shown = Buffer.alloc(width * height * 4, 255);
    for (let k = 0; k < width * height; k += 1) for (let c = 0; c < 3; c += 1) shown[4 * k + c] = pixels[3 * k + 2 - c];
    return { type: 'image/bmp', bytes: Buffer.concat([head, pixels]), shown: sha256(shown) };
  },
  data: (i) => ({ type: 'application/octet-stream', bytes: bytesOf(`data${i}`, 1 + i * 2500) }),
};
const made = new Map();
export function part(kind, i) {
  const key = `${kind}${i}`;
  if (!made.has(key)) made.set(key, kinds[kind](i));
  return made.get(key);
}

export const partsOfPage = { style: 20, script: 40, image: 40, data: 25 };
const numbers = (n) => Array.from({ length: n }, (_, i) => i);
// The browser itself compares scripts and styles with the digests that the page names, and uses none that differs.
const integrity = (kind, i) => `integrity="sha256-${sha256(part(kind, i).bytes, 'base64')}"`;
const wholePage = () => `<!doctype html><meta charset="utf-8"><title>whole</title><link rel="icon" href="data:,">
${numbers(partsOfPage.style).map((i) => `<link rel="stylesheet" href="/style/${i}" ${integrity('style', i)}>`).join('\n')}
${numbers(partsOfPage.script).map((i) => `<script defer src="/script/${i}" ${integrity('script', i)}></script>`).join('\n')}
${numbers(partsOfPage.image).map((i) => `<img src="/image/${i}" alt="">`).join('\n')}
<script>
  window.fetched = Promise.all(${JSON.stringify(numbers(partsOfPage.data))}.map(async (i) => sha256(await (await fetch('/data/' + i)).arrayBuffer())));
</script>`;
// Half of its parts never end.
const endlessPage = (n) => `<!doctype html><meta charset="utf-8"><title>endless</title><link rel="icon" href="data:,">
${numbers(30).map((i) => `<img src="/image/${i}?${n}" alt="">`).join('\n')}
<script>for (let i = 0; i < 30; i += 1) fetch('/endless/' + i + '?${n}').catch(() => {});</script>
${numbers(10).map((i) => `<img src="/endless/image${i}?${n}" alt="">`).join('\n')}`;
const emptyPage = '<!doctype html><meta charset="utf-8"><title>empty</title><link rel="icon" href="data:,">';

async function sumOf(request) {
  const hash = createHash('sha256');
  let size = 0;
  for await (const chunk of request) {
    hash.update(chunk);
    size += chunk.length;
  }
  return { method: request.method, size, sum: hash.digest('hex'), length: request.headers['content-length'] ?? null };
}

// Starts it over `version`, "h2c" or "http/1.1". `seen` are its requests so far; `held` the responses that wait for
// release(); `endless` those that never end. WebSockets are echoed, over HTTP/1.1 alone.
export async function startSite(t, version) {
  const site = { seen: [], held: new Set(), endless: new Set(), sockets: new Set() };
  const html = (response, text, fields = {}) => {
    response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-length': Buffer.byteLength(text), ...fields });
    response.end(text);
  };
  const cutOff = (request) => (request.stream ? request.stream.close(2) : request.socket.destroy());
  const routes = {
    whole: ({ response }) => html(response, wholePage()),
    broken: ({ response, rest }) => html(response, endlessPage(rest[0])),
    endless: ({ response }) => {
      site.endless.add(response);
      response.on('close', () => site.endless.delete(response));
      response.writeHead(200, { 'content-type': 'image/bmp' });
      response.write('begun');
    },
    bytes: ({ response, rest }) => {
      const bytes = bytesOf(rest[0], Number(rest[1]));
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': bytes.length });
      // In pieces, since node holds no more than ten megabytes for a session of HTTP/2, and refuses others meanwhile.
      let at = 0;
      new Readable({ read() { this.push(at < bytes.length ? bytes.subarray(at, at += 65_536) : null); } }).pipe(response);
    },
    sum: async ({ request, response }) => {
      const text = JSON.stringify(await sumOf(request));
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(text);
    },
    // The answer is there before the body, of which nothing is read.
    refuse: ({ response }) => {
      response.writeHead(413, { 'content-type': 'text/plain', 'content-length': 9 });
      response.end('too large');
    },
    form: async ({ request, response }) => {
      site.form = await sumOf(request);
      response.writeHead(303, { location: '/' });
      response.end();
    },
    held: ({ response }) => {
      const release = () => response.end(bytesOf('held', 1 << 20));
      site.held.add(release);
      response.on('close', () => site.held.delete(release));
      response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': (1 << 20) + 5 });
      response.write('begun');
    },
    silent: () => {},
    // The rest of it is never sent: a length or the end of the last chunk is missing.
    cut: ({ request, response, rest }) => {
      response.writeHead(200, { 'content-type': 'text/javascript', ...(rest[0] === 'length' ? { 'content-length': 100_000 } : {}) });
      response.write(`window.half = true;${' '.repeat(40_000)}`, () => cutOff(request));
    },
    cached: ({ request, response }) => {
      const tag = '"one"';
      const known = request.headers['if-none-match'] === tag;
      response.writeHead(known ? 304 : 200, { etag: tag, 'cache-control': 'no-cache', ...(known ? {} : { 'content-type': 'application/octet-stream' }) });
      response.end(known ? undefined : bytesOf('cached', 50_000));
    },
    // Four cookies, since none may be longer than 4 KiB.
    cookies: ({ request, response, rest }) => {
      const fields = { 'content-type': 'text/plain' };
      if (rest[0]) fields['set-cookie'] = [0, 1, 2, 3].map((i) => `c${i}=${String(i).repeat(Number(rest[0]))}; Path=/`);
      response.writeHead(200, fields);
      response.end(request.headers.cookie ?? '');
    },
    // The response comes only after the browser has asked for what the hint names.
    hinted: ({ response }) => {
      site.hint = () => {
        site.hint = undefined;
        html(response, '<!doctype html><title>hinted</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/hint.css">');
      };
      response.writeEarlyHints({ link: '</hint.css>; rel=preload; as=style' });
    },
    'hint.css': ({ response }) => {
      site.hint?.();
      const { type, bytes } = part('style', 3);
      response.writeHead(200, { 'content-type': type, 'content-length': bytes.length, 'cache-control': 'max-age=60' });
      response.end(bytes);
    },
    events: ({ request, response }) => {
      response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
      const feed = { last: request.headers['last-event-id'] ?? null, say: (id) => response.write(`id: ${id}\nretry: 10\ndata: event ${id}\n\n`), end: () => response.end() };
      site.feeds.push(feed);
      feed.say(feed.last === null ? 1 : Number(feed.last) + 1);
    },
    // For pages of other origins.
    shared: async ({ request, response }) => {
      const fields = { 'access-control-allow-origin': request.headers.origin ?? '*', 'access-control-allow-credentials': 'true', vary: 'origin' };
      if (request.method === 'OPTIONS') {
        response.writeHead(204, { ...fields, 'access-control-allow-methods': 'PUT', 'access-control-allow-headers': 'x-custom' });
        response.end();
        return;
      }
      const { sum } = await sumOf(request);
      response.writeHead(200, { ...fields, 'access-control-expose-headers': 'x-sum', 'x-sum': sum, 'content-type': 'text/plain' });
      response.end(request.headers['x-custom']);
    },
    '': ({ response }) => html(response, emptyPage),
  };
  site.feeds = [];
  const handle = (request, response) => {
    request.on('error', () => {});
    response.on('error', () => {});
    const [route, ...rest] = request.url.split('?')[0].slice(1).split('/');
    site.seen.push({ method: request.method, path: request.url, headers: request.headers });
    if (kinds[route]) {
      const { type, bytes } = part(route, Number(rest[0]));
      response.writeHead(200, { 'content-type': type, 'content-length': bytes.length, 'cache-control': 'no-store' });
      response.end(request.method === 'HEAD' ? undefined : bytes);
      return;
    }
    // What fails here has lost its client in the middle.
    Promise.resolve((routes[route] ?? routes[''])({ request, response, rest })).catch(() => response.destroy?.());
  };
  site.release = () => { for (const release of [...site.held]) release(); };
  if (version === 'h2c') {
    const backend = await startH2Backend(t, () => {});
    backend.server.on('request', handle);
    return Object.assign(site, { url: backend.url, port: backend.port });
  }
  const backend = await startH1Backend(t, handle, { options: { maxHeaderSize: 65_536 } });
  const tunnels = new WebSocketServer({ noServer: true, perMessageDeflate: true, maxPayload: 16 << 20 });
  backend.server.on('upgrade', (request, socket, head) => {
    tunnels.handleUpgrade(request, socket, head, (tunnel) => {
      site.sockets.add(tunnel);
      tunnel.on('error', () => {});
      tunnel.on('message', (bytes, binary) => tunnel.send(bytes, { binary }));
      tunnel.on('close', (code, reason) => {
        site.sockets.delete(tunnel);
        site.closed = { code, reason: reason.toString() };
      });
    });
  });
  defer(t, () => { for (const tunnel of site.sockets) tunnel.terminate(); });
  return Object.assign(site, { url: backend.url, port: backend.port });
}
