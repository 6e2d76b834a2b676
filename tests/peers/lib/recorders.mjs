// Backends that keep what they are asked and judge it strictly. `requests` are those that came whole, `faults` is what no
// strict reader would take.
import { startH2Backend, startRawBackend } from './backends.mjs';
import { readRequests } from './strict_h1.mjs';

// plait puts itself into every request that it forwards: one without that was written by somebody else.
function judge(state, one) {
  const via = one.fields.filter(([name]) => name === 'via');
  if (via.length !== 1 || !/plait$/.test(via[0][1])) state.faults.push(`a request that plait did not write: ${JSON.stringify(one)}`);
  state.requests.push(one);
}

export async function startH1Recorder(t) {
  const state = { requests: [], faults: [] };
  const backend = await startRawBackend(t, (socket) => {
    let text = '';
    socket.setEncoding('latin1');
    socket.on('data', (chunk) => {
      const read = readRequests(text + chunk);
      text = read.rest;
      for (const one of read.requests) {
        judge(state, one);
        socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      }
      if (read.fault === undefined) return;
      state.faults.push(`${read.fault} in ${JSON.stringify(read.rest)}`);
      socket.destroy();
    });
  });
  return Object.assign(state, { url: `http://127.0.0.1:${backend.port}` });
}

// node's server, and nghttp2 in it, refuses what is malformed in HTTP/2; what could be split in HTTP/1.1 is looked for here.
export async function startH2Recorder(t) {
  const state = { requests: [], faults: [] };
  const backend = await startH2Backend(t, (stream, headers, flags, raw) => {
    const fields = [];
    for (let i = 0; i < raw.length; i += 2) fields.push([raw[i], raw[i + 1]]);
    const one = {
      method: headers[':method'], target: headers[':path'], host: headers[':authority'], fields: fields.filter(([name]) => name[0] !== ':'),
      body: '', trailers: [],
    };
    for (const [name, value] of fields) {
      if (!/^:?[!#$%&'*+.^_`|~0-9a-z-]+$/.test(name)) state.faults.push(`a field name: ${JSON.stringify(name)}`);
      if (/[\0\r\n]|^[ \t]|[ \t]$/.test(value)) state.faults.push(`a field value: ${JSON.stringify(value)}`);
      if (['connection', 'transfer-encoding', 'upgrade', 'keep-alive', 'host'].includes(name)) state.faults.push(`a field of one hop: ${name}`);
    }
    if (/[\s#]/.test(one.target)) state.faults.push(`a target: ${JSON.stringify(one.target)}`);
    stream.setEncoding('latin1');
    stream.on('data', (chunk) => { one.body += chunk; });
    stream.on('trailers', (_, __, list) => {
      for (let i = 0; i < list.length; i += 2) {
        one.trailers.push([list[i], list[i + 1]]);
        if (/^(?:content-length|transfer-encoding|host|connection|te|trailer|authorization|:.*)$/.test(list[i])) state.faults.push(`a trailer that frames or routes: ${list[i]}`);
      }
    });
    stream.on('end', () => {
      if (stream.rstCode !== 0 || stream.aborted) return;
      const length = headers['content-length'];
      if (length !== undefined && Number(length) !== one.body.length) state.faults.push(`a length of ${length} for ${one.body.length} bytes`);
      judge(state, one);
      stream.respond({ ':status': 200 });
      stream.end('ok');
    });
  });
  return Object.assign(state, { url: backend.url });
}
