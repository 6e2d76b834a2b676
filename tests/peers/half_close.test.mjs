// Clients of HTTP/1.1 that end their direction while they wait for an answer, by FIN alone and by close_notify, and those whose
// request body pauses (docs/decisions/0007).
import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import test from 'node:test';
import tls from 'node:tls';
import { startH1Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { openRaw } from './lib/clients.mjs';
import { startConfigured } from './lib/plait.mjs';
import { defer, eventually, run, within } from './lib/process.mjs';

// A backend that answers each request when it is told to, and counts those that are taken back.
async function startHeld(t) {
  const state = { held: [], cancelled: 0 };
  const backend = await startH1Backend(t, (incoming, outgoing) => {
    let body = '';
    incoming.on('data', (chunk) => { body += chunk; });
    incoming.on('end', () => state.held.push(() => outgoing.end(`answer to ${incoming.method} ${body}`)));
    outgoing.on('close', () => { if (!outgoing.writableEnded) state.cancelled += 1; });
  });
  return Object.assign(state, { url: backend.url });
}

async function startFront(t, backend, server = '') {
  const files = await certificate(t);
  const plait = await startConfigured(t, `[server]
${server}
[[listen]]
address = "127.0.0.1:0"
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${files.cert}"
key = "${files.key}"
[[backend]]
url = "${backend.url}"
[timeouts]
stall_ms = 500
`);
  return Object.assign(plait, { ca: files.pem.cert });
}

// Sends the request, and FIN once `seen` holds; `text` is what comes back until the other end closes.
async function halfClosed(t, plait, request, { secured = false, seen = () => true } = {}) {
  const raw = net.connect({ port: secured ? plait.tlsPort : plait.port, host: '127.0.0.1', allowHalfOpen: true });
  const socket = secured ? tls.connect({ socket: raw, servername: 'localhost', ca: plait.ca, allowHalfOpen: true }) : raw;
  const client = { text: '', over: false };
  defer(t, () => raw.destroy());
  for (const one of [raw, socket]) one.on('error', () => {});
  socket.setEncoding('latin1').on('data', (chunk) => { client.text += chunk; });
  for (const one of ['end', 'close']) socket.on(one, () => { client.over = true; });
  await within(10_000, once(socket, secured ? 'secureConnect' : 'connect'), 'the client is connected');
  socket.write(request);
  await eventually(seen, 'the client may end its direction');
  socket.end();
  return client;
}

const get = (more = '') => `GET / HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
const answered = {
  'HTTP/1.0': ['GET / HTTP/1.0\r\n\r\n'],
  'HTTP/1.0, with a body': ['POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello'],
  'Connection: close': [get('Connection: close\r\n')],
  'Connection: close, over TLS': [get('Connection: close\r\n'), { secured: true }],
  'close_notify of TLS': [get(), { secured: true }],
  'close_notify of TLS, with a body': ['POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello', { secured: true }],
  'half_close = "answer"': [get(), {}, 'half_close = "answer"'],
};
for (const [what, [request, options, server]] of Object.entries(answered)) {
  test(`a client that half-closes behind its request is answered: ${what}`, async (t) => {
    const backend = await startHeld(t);
    const plait = await startFront(t, backend, server);
    const client = await halfClosed(t, plait, request, options);
    await eventually(() => backend.held.length === 1, 'the request has arrived');
    // Its FIN has been seen by now.
    const other = await openRaw(t, plait.port);
    other.write(get());
    await eventually(() => backend.held.length === 2, 'another request has arrived');
    backend.held[0]();
    await eventually(() => client.over, 'the answer is there');
    assert.match(client.text, /^HTTP\/1\.[01] 200 OK\r\n[^]*answer to (GET|POST hello)/);
    assert.equal(backend.cancelled, 0);
    backend.held[1]();
    await other.until(/answer to GET/);
  });
}

const left = {
  'FIN, when more requests might have come': [get()],
  'FIN within the body': ['POST / HTTP/1.0\r\nContent-Length: 50\r\n\r\nhello'],
};
for (const [what, [request, options]] of Object.entries(left)) {
  test(`a client has left: ${what}`, async (t) => {
    const cancelled = [];
    let arrived = 0;
    const backend = await startH1Backend(t, (incoming, outgoing) => {
      arrived += 1;
      incoming.resume().on('error', () => {});
      outgoing.on('close', () => cancelled.push(incoming.url));
    });
    const plait = await startFront(t, backend);
    const client = await halfClosed(t, plait, request, { ...options, seen: () => arrived === 1 });
    await eventually(() => client.over && cancelled.length === 1, 'it is noticed');
    assert.doesNotMatch(client.text, / 200 /);
  });
}

// node says close_notify in any case.
const finAlone = `
import socket, ssl, sys
context = ssl._create_unverified_context()
client = context.wrap_socket(socket.create_connection(('127.0.0.1', int(sys.argv[1]))), server_hostname='localhost')
client.sendall(b'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n')
sys.stdin.read(1)
socket.socket.shutdown(client, socket.SHUT_WR)
while socket.socket.recv(client, 4096): pass
`;
test('a client has left: FIN without close_notify', async (t) => {
  const backend = await startHeld(t);
  const plait = await startFront(t, backend);
  const client = run('python3', ['-c', finAlone, String(plait.tlsPort)], { timeout: 30_000 });
  await eventually(() => backend.held.length === 1, 'the request has arrived');
  client.child.stdin.end('.');
  await eventually(() => backend.cancelled === 1, 'it is noticed');
  await client;
});

test('a half-closed client that is given nothing for ten seconds is not waited for, though half_close is "answer"', async (t) => {
  const backend = await startHeld(t);
  const plait = await startFront(t, backend, 'half_close = "answer"');
  const client = await halfClosed(t, plait, get());
  await eventually(() => backend.held.length === 1, 'the request has arrived');
  await eventually(() => backend.cancelled === 1 && client.over, 'the request is taken back', 30_000);
});

test('a client of HTTP/1.1 whose response has begun may pause in its body for longer than stall_ms', async (t) => {
  let received = '';
  const backend = await startH1Backend(t, (incoming, outgoing) => {
    outgoing.writeHead(200);
    outgoing.write('begun;');
    let ticks = 0;
    const timer = setInterval(() => outgoing.write(`tick ${ticks += 1};`), 100);
    incoming.on('data', (chunk) => { received += chunk; });
    incoming.on('end', () => {
      clearInterval(timer);
      outgoing.end('all of it');
    });
    outgoing.on('close', () => clearInterval(timer));
  });
  const plait = await startFront(t, backend);
  const raw = await openRaw(t, plait.port);
  raw.write('POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
  await raw.until(/tick 25;/);
  raw.write('5\r\nagain\r\n0\r\n\r\n');
  await raw.until(/all of it/);
  assert.equal(received, 'helloagain');
});
