// For tests of outages: backends that can be stopped, and clients that go on asking whatever happens.
import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { defer, eventually, within } from './process.mjs';

const childBackend = fileURLToPath(new URL('child_backend.mjs', import.meta.url));

// A backend of lib/child_backend.mjs. `asked()` resolves with how many requests it was asked, and their ids.
export async function startChildBackend(t, protocol, { port = 0, backlog = 511 } = {}) {
  const child = fork(childBackend, [protocol, String(port), String(backlog)], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  child.on('error', () => {});
  defer(t, () => child.kill('SIGKILL'));
  const [started] = await within(10_000, once(child, 'message'), 'the backend listens');
  const asked = async () => {
    const answered = once(child, 'message');
    child.send('asked');
    const [said] = await within(10_000, answered, 'the backend says what it was asked');
    return { asked: said.asked, ids: new Map(said.ids) };
  };
  return {
    child, asked, port: started.port, backlog, url: `${protocol}://127.0.0.1:${started.port}`,
    count: async () => (await asked()).asked,
  };
}

// How many connections wait in the listen queue of this port, or nothing where nobody listens.
function waitingAt(port) {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const line = readFileSync('/proc/net/tcp', 'utf8').match(new RegExp(`^ *\\d+: [0-9A-F]{8}:${hex} 00000000:0000 0A [0-9A-F]{8}:([0-9A-F]{8})`, 'm'));
  return line === null ? undefined : parseInt(line[1], 16);
}

const isStopped = (pid) => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1][0] === 'T';

// The backend's process stops between two answers. SIGCONT makes it well.
export async function stopBackend(backend) {
  backend.child.send('stop');
  await eventually(() => isStopped(backend.child.pid), 'the backend has stopped');
}

// From here on the backend's kernel drops each SYN, as a firewall or a host that is gone does: its connections are reset,
// it is stopped, and its listen queue is full. SIGCONT to its process makes it well.
export async function swallowSyns(t, backend) {
  backend.child.send('leave');
  await eventually(() => isStopped(backend.child.pid), 'the backend has stopped');
  await eventually(() => {
    if (waitingAt(backend.port) > backend.backlog) return true;
    const socket = net.connect(backend.port, '127.0.0.1');
    socket.on('error', () => {});
    defer(t, () => socket.destroy());
    return false;
  }, 'the listen queue is full');
}

// One request over HTTP/1.1; resolves with { status, body, ms, error } whatever happens.
export function ask(port, { agent, method = 'GET', path = '/', headers = {}, body, timeout = 20_000 } = {}) {
  const begun = performance.now();
  return new Promise((resolve) => {
    const done = (answer) => resolve({ ...answer, method, ms: performance.now() - begun });
    const length = body === undefined ? {} : { 'content-length': Buffer.byteLength(body) };
    const outgoing = http.request({ port, host: '127.0.0.1', agent, method, path, headers: { ...length, ...headers } }, (incoming) => {
      let text = '';
      incoming.setEncoding('latin1');
      incoming.on('data', (chunk) => { text += chunk; });
      incoming.on('end', () => done({ status: incoming.statusCode, headers: incoming.headers, body: text }));
      incoming.on('error', (error) => done({ status: 0, error: error.code }));
    });
    outgoing.on('error', (error) => done({ status: 0, error: error.code }));
    outgoing.setTimeout(timeout, () => outgoing.destroy(Object.assign(new Error('no answer'), { code: 'no answer' })));
    outgoing.end(body);
  });
}

// How many answers there were of each kind: { 200: 40, ECONNRESET: 1 }.
export function tally(answers) {
  const counts = {};
  for (const { status, error } of answers) counts[error ?? status] = (counts[error ?? status] ?? 0) + 1;
  return counts;
}

export function assertAllAre200(answers, what = 'every request is answered with 200') {
  const other = answers.find(({ status }) => status !== 200);
  const said = other === undefined ? '' : `; one has ${other.error ?? other.status}: ${other.headers?.['proxy-status'] ?? ''} ${other.body ?? ''}`;
  assert.deepEqual(tally(answers), { 200: answers.length }, `${what}${said}: ${JSON.stringify(tally(answers))}`);
}

// Clients that each ask, wait for the answer, and ask again. A short breath between leaves a small machine time for everybody
// else; its length varies, so that clients do not fall into step with a balancer's turns. Every client has its own connection, and with `addresses` its own address. `request(n)` gives the options of the n-th
// request of all.
export function startLoad(t, port, { clients = 16, breath_ms = 10, addresses = false, request = () => ({}) } = {}) {
  const load = { answers: [], served: Array.from({ length: clients }, () => 0), failed: () => load.answers.filter(({ status }) => status !== 200) };
  let running = true;
  let begun = 0;
  const agents = [];
  const loops = load.served.map(async (_, i) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1, ...(addresses ? { localAddress: `127.0.1.${i + 1}` } : {}) });
    agents.push(agent);
    while (running) {
      begun += 1;
      load.answers.push(await ask(port, { agent, ...request(begun) }));
      load.served[i] += 1;
      await new Promise((resolve) => { setTimeout(resolve, breath_ms * (0.5 + Math.random())); });
    }
  });
  load.stop = async () => {
    running = false;
    await within(30_000, Promise.all(loops), 'the last answers come');
    for (const agent of agents) agent.destroy();
  };
  // Every client has got so many more answers.
  load.eachGets = async (more, what, ms = 10_000) => {
    const goal = load.served.map((served) => served + more);
    await eventually(() => load.served.every((served, i) => served >= goal[i]), what, ms).catch((error) => {
      throw new Error(`${error.message}; missing for each client: ${load.served.map((served, i) => Math.max(goal[i] - served, 0))}; answers: ${JSON.stringify(tally(load.answers))}`);
    });
  };
  defer(t, () => {
    running = false;
    for (const agent of agents) agent.destroy();
  });
  return load;
}

// How many of the ids that POSTs carried have come to backends more than once.
export async function doubled(backends) {
  const sum = new Map();
  for (const backend of backends) {
    for (const [id, times] of (await backend.asked()).ids) sum.set(id, (sum.get(id) ?? 0) + times);
  }
  return [...sum].filter(([, times]) => times > 1).map(([id]) => id);
}
