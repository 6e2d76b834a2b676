// HTTP/1.1 as bytes, read strictly: what a test's client or backend heard, cut into messages.
import net from 'node:net';
import { defer } from './process.mjs';

// One message at the start of `text` (latin1), or null when it is not all there. `bodyless`: it has no body whatever it says;
// `atEnd`: the connection is over, which ends a body without a length.
function cutMessage(text, { bodyless, atEnd }) {
  const headEnd = text.indexOf('\r\n\r\n');
  if (headEnd < 0) return null;
  const [start, ...lines] = text.slice(0, headEnd).split('\r\n');
  const fields = lines.map((line) => {
    const colon = line.indexOf(':');
    if (colon < 1 || /[^!#$%&'*+.^_`|~0-9A-Za-z-]/.test(line.slice(0, colon))) throw new Error(`no field line: ${JSON.stringify(line)}`);
    return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
  });
  if (/[\r\n\0]/.test(start) || lines.some((line) => /[\r\n\0]/.test(line))) throw new Error('a bare CR, LF or NUL in a head');
  const values = (name) => fields.filter((field) => field[0] === name).map((field) => field[1]);
  const message = { start, fields, values, value: (name) => values(name)[0], head: text.slice(0, headEnd), body: '', trailers: [], framing: 'none' };
  let rest = text.slice(headEnd + 4);
  const isRequest = !start.startsWith('HTTP/');
  if (!isRequest) message.status = Number(start.split(' ')[1]);
  const length = values('content-length');
  const coding = values('transfer-encoding');
  if (length.length + coding.length > 1) throw new Error(`more than one framing field: ${message.head}`);
  if (bodyless || (!isRequest && (message.status < 200 || message.status === 204 || message.status === 304))) {
    message.framing = 'none';
  } else if (coding.length === 1) {
    message.framing = 'chunked';
    while (true) {
      const line = rest.indexOf('\r\n');
      if (line < 0) return null;
      if (!/^[0-9a-fA-F]+$/.test(rest.slice(0, line))) throw new Error(`no chunk size: ${JSON.stringify(rest.slice(0, line))}`);
      const size = parseInt(rest.slice(0, line), 16);
      if (size === 0) {
        rest = rest.slice(line + 2);
        const end = rest.startsWith('\r\n') ? 0 : rest.indexOf('\r\n\r\n') + 2;
        if (end === 1) return null;
        if (rest.length < end + 2) return null;
        message.trailers = rest.slice(0, end).split('\r\n').filter(Boolean);
        rest = rest.slice(end + 2);
        break;
      }
      if (rest.length < line + 2 + size + 2) return null;
      message.body += rest.slice(line + 2, line + 2 + size);
      if (rest.slice(line + 2 + size, line + 4 + size) !== '\r\n') throw new Error('chunk data longer than its size');
      rest = rest.slice(line + 4 + size);
    }
  } else if (length.length === 1) {
    message.framing = 'length';
    if (rest.length < Number(length[0])) return null;
    message.body = rest.slice(0, Number(length[0]));
    rest = rest.slice(Number(length[0]));
  } else if (!isRequest) {
    message.framing = 'close';
    if (!atEnd) return null;
    message.body = rest;
    rest = '';
  }
  return { message, rest };
}

// All whole messages of `text`, and what is left of it. `methods` are those of the requests that were asked, so that the
// answer to HEAD is read as one.
export function cutMessages(text, { methods = [], atEnd = false } = {}) {
  const messages = [];
  let finals = 0;
  for (let cut; text.length > 0 && (cut = cutMessage(text, { bodyless: methods[finals] === 'HEAD', atEnd })) !== null; text = cut.rest) {
    messages.push(cut.message);
    if (cut.message.status === undefined || cut.message.status >= 200) finals += 1;
    if (cut.message.status === 101) return { messages, rest: cut.rest };
  }
  return { messages, rest: text };
}

// A backend that speaks HTTP/1.1 in bytes. Each whole request goes to `script.onRequest(connection, message)`; it answers
// with connection.say(bytes), and connection.end() or connection.reset() after them.
export async function startH1WireBackend(t, script) {
  const state = { connections: [], requests: [], script };
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    const connection = {
      socket, text: '', count: 0, ended: false,
      say: (bytes) => socket.write(bytes, 'latin1'),
      end: () => socket.end(),
      reset: () => socket.resetAndDestroy(),
    };
    state.connections.push(connection);
    socket.setEncoding('latin1');
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('end', () => { connection.ended = true; socket.end(); });
    socket.on('close', () => { connection.ended = true; });
    socket.on('data', (chunk) => {
      connection.text += chunk;
      const { messages, rest } = cutMessages(connection.text);
      connection.text = rest;
      for (const message of messages) {
        [message.method, message.target, message.version] = message.start.split(' ');
        connection.count += 1;
        state.requests.push(message);
        state.script.onRequest(connection, message);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.on('listening', resolve); });
  defer(t, () => {
    for (const { socket } of state.connections) socket.destroy();
    server.close();
  });
  return Object.assign(state, { port: server.address().port, url: `http://127.0.0.1:${server.address().port}` });
}

export const answer = (body, fields = [], status = '200 OK') =>
  `HTTP/1.1 ${status}\r\ncontent-length: ${body.length}\r\n${fields.map((line) => `${line}\r\n`).join('')}\r\n${body}`;
