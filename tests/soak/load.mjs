// Load that is checked request by request: clients of both versions send GETs and POSTs, each with an id of its own, as
// fast as they are answered.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { connectH2, request } from '../peers/lib/clients.mjs';
import { defer } from '../peers/lib/process.mjs';

async function sendH1(agent, port, method, id) {
  const outgoing = http.request({ agent, port, host: '127.0.0.1', method, path: '/', headers: { 'x-id': id }, timeout: 60_000 });
  outgoing.on('timeout', () => outgoing.destroy(new Error(`no answer to ${method} ${id}`)));
  outgoing.end(method === 'POST' ? 'x' : undefined);
  const [response] = await once(outgoing, 'response');
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += chunk;
  return { status: response.statusCode, body };
}

// Runs `count` workers, three of four over HTTP/2, until `more()` says no. Every third request is a POST. A GET must be
// answered with 200 and its own id; a POST too, or with 502 if its fate is unknown. Resolves with
// { gets, posts, unknown }: a count, and two lists of ids.
export async function runLoad(t, port, count, more) {
  const sessions = Array.from({ length: Math.ceil(count / 16) }, () => connectH2(t, port));
  const agent = new http.Agent({ keepAlive: true });
  defer(t, () => agent.destroy());
  const result = { gets: 0, posts: [], unknown: [] };
  const worker = async (index) => {
    for (let i = 0; more(); i += 1) {
      const id = `${index}-${i}`;
      const method = i % 3 === 0 ? 'POST' : 'GET';
      const answer = index % 4 === 3
        ? await sendH1(agent, port, method, id)
        : await request(sessions[index % sessions.length], { ':path': '/', ':method': method, 'x-id': id }, method === 'POST' ? { body: 'x' } : {});
      const said = `${method} ${id} was answered with ${answer.status} ${answer.error ?? ''} ${answer.body}`;
      if (answer.status === 200) {
        assert.equal(answer.body, id, said);
        if (method === 'POST') result.posts.push(id);
        else result.gets += 1;
      } else {
        assert.equal(method, 'POST', said);
        assert.equal(answer.status, 502, said);
        result.unknown.push(id);
      }
    }
  };
  await Promise.all(Array.from({ length: count }, (_, i) => worker(i)));
  return result;
}

// `executed` has an entry for each time that a backend executed a request, GETs included.
export function checkExecutions(executed, { posts, unknown }) {
  const times = new Map();
  for (const id of executed) times.set(id, (times.get(id) ?? 0) + 1);
  for (const id of posts) assert.equal(times.get(id), 1, `POST ${id}, which was answered with 200`);
  for (const id of unknown) assert.ok((times.get(id) ?? 0) <= 1, `POST ${id}, whose fate is unknown, ran ${times.get(id)} times`);
}
