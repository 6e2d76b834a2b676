// HTTP/1.1 requests as one strict reader reads them: the grammar of RFC 9112 and RFC 9110, with none of what a recipient
// MAY tolerate. For saying whether the bytes that plait sends mean one thing alone.

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const fieldValue = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
const framing = new Set(['content-length', 'transfer-encoding', 'host', 'connection', 'trailer', 'te', 'upgrade', 'expect', 'authorization']);

class Fault extends Error {}

const fault = (what) => { throw new Fault(what); };

// A line without its CRLF, and where the next one begins; undefined while there is no end of it.
function line(text, at) {
  const end = text.indexOf('\n', at);
  if (end < 0) return undefined;
  if (text[end - 1] !== '\r') fault('a line ends in a bare LF');
  const content = text.slice(at, end - 1);
  if (content.includes('\r')) fault('a bare CR');
  return [content, end + 1];
}

function fieldSection(text, at) {
  const fields = [];
  for (;;) {
    const next = line(text, at);
    if (next === undefined) return undefined;
    at = next[1];
    if (next[0] === '') return [fields, at];
    const colon = next[0].indexOf(':');
    const name = next[0].slice(0, colon).toLowerCase();
    const value = next[0].slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '');
    if (colon < 1 || !token.test(name)) fault(`a field name: ${JSON.stringify(next[0])}`);
    if (!fieldValue.test(value)) fault(`a field value: ${JSON.stringify(next[0])}`);
    fields.push([name, value]);
  }
}

function chunkedBody(text, at) {
  let body = '';
  for (;;) {
    const size = line(text, at);
    if (size === undefined) return undefined;
    if (!/^[0-9a-fA-F]{1,8}$/.test(size[0])) fault(`a chunk size: ${JSON.stringify(size[0])}`);
    const count = parseInt(size[0], 16);
    at = size[1];
    if (count === 0) {
      const section = fieldSection(text, at);
      if (section === undefined) return undefined;
      for (const [name] of section[0]) if (framing.has(name)) fault(`a trailer that frames or routes: ${name}`);
      return [body, section[0], section[1]];
    }
    if (text.length < at + count + 2) return undefined;
    body += text.slice(at, at + count);
    if (text.slice(at + count, at + count + 2) !== '\r\n') fault('a chunk does not end where it says');
    at += count + 2;
  }
}

function oneRequest(text) {
  const start = line(text, 0);
  if (start === undefined) return undefined;
  const parts = start[0].split(' ');
  if (parts.length !== 3 || !token.test(parts[0]) || parts[2] !== 'HTTP/1.1') fault(`a request line: ${JSON.stringify(start[0])}`);
  if (!/^(?:\/[\x21-\x22\x24-\x7e\x80-\xff]*|\*|https?:\/\/[\x21-\x22\x24-\x7e]+)$/.test(parts[1])) fault(`a target: ${JSON.stringify(parts[1])}`);
  const section = fieldSection(text, start[1]);
  if (section === undefined) return undefined;
  const [fields, at] = section;
  const all = (name) => fields.filter(([key]) => key === name).map(([, value]) => value);
  if (all('host').length !== 1) fault(`${all('host').length} Hosts`);
  const [lengths, codings] = [all('content-length'), all('transfer-encoding')];
  if (lengths.length + codings.length > 1) fault('more than one framing field');
  const request = { method: parts[0], target: parts[1], host: all('host')[0], fields, body: '', trailers: [], size: at };
  if (codings.length > 0) {
    if (codings[0] !== 'chunked') fault(`a transfer coding: ${codings[0]}`);
    const chunks = chunkedBody(text, at);
    if (chunks === undefined) return undefined;
    [request.body, request.trailers, request.size] = chunks;
  } else if (lengths.length > 0) {
    if (!/^\d{1,15}$/.test(lengths[0])) fault(`a length: ${lengths[0]}`);
    request.size += Number(lengths[0]);
    if (text.length < request.size) return undefined;
    request.body = text.slice(at, request.size);
  }
  return request;
}

// The whole requests at the front of `text` (latin1), what is left behind them, and the first fault if there is one.
export function readRequests(text) {
  const requests = [];
  let rest = text;
  try {
    for (let one = oneRequest(rest); one !== undefined; one = oneRequest(rest)) {
      one.raw = rest.slice(0, one.size);
      requests.push(one);
      rest = rest.slice(one.size);
    }
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    return { requests, rest, fault: error.message };
  }
  return { requests, rest };
}
