// Other readers of HTTP/1.1, as one function each: from the bytes of a client to { requests, fault, stopped }, where the
// requests are those that came whole, each { method, target, fields, body, trailers }; `stopped` says that the reader
// would read no more.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import readline from 'node:readline';
import { fileURLToPath } from 'node:url';
import { defer, within } from './process.mjs';

// node's own: llhttp, as its server is by default.
export async function startLlhttp(t) {
  let seen;
  const server = http.createServer({ joinDuplicateHeaders: false }, (incoming, response) => {
    const one = { method: incoming.method, target: incoming.url, fields: pairs(incoming.rawHeaders), body: '', trailers: [] };
    // Behind a request with Upgrade it reads nothing more, whether or not the protocol changes.
    if (incoming.upgrade || (incoming.headers.upgrade !== undefined && /upgrade/i.test(incoming.headers.connection ?? ''))) seen.stopped = true;
    incoming.setEncoding('latin1');
    incoming.on('data', (chunk) => { one.body += chunk; });
    incoming.on('end', () => {
      one.trailers = pairs(incoming.rawTrailers);
      seen.requests.push(one);
      response.end();
    });
    incoming.on('error', () => {});
  });
  server.on('clientError', (error, socket) => {
    // What merely ends in the middle is no fault.
    if (error.code?.startsWith('HPE_') && error.code !== 'HPE_INVALID_EOF_STATE') seen.fault = error.code;
    socket.destroy();
  });
  server.on('checkExpectation', (incoming, response) => server.emit('request', incoming, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  defer(t, () => server.close());
  return async (text) => {
    seen = { requests: [], fault: undefined };
    const socket = net.connect(server.address().port, '127.0.0.1');
    socket.on('error', () => {});
    socket.resume();
    socket.end(text, 'latin1');
    await within(10_000, once(socket, 'close'), 'node has read');
    return seen;
  };
}

function pairs(list) {
  const fields = [];
  for (let i = 0; i < list.length; i += 2) fields.push([list[i].toLowerCase(), list[i + 1]]);
  return fields;
}

// h11, of Python: the one that the distribution's packages belong to.
export async function startH11(t) {
  const child = spawn('/usr/bin/python3', [fileURLToPath(new URL('h11_reader.py', import.meta.url))], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  defer(t, () => child.kill());
  return async (text) => {
    child.stdin.write(`${JSON.stringify({ bytes: Buffer.from(text, 'latin1').toString('base64') })}\n`);
    const { value, done } = await within(10_000, lines.next(), 'h11 has read');
    if (done) throw new Error('h11 has ended');
    const read = JSON.parse(value);
    return { requests: read.requests, fault: read.fault ?? undefined };
  };
}
