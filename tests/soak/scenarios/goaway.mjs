// A backend that says GOAWAY after every 100 requests of a connection: nothing fails and nothing runs twice.
import assert from 'node:assert/strict';
import { endInOrder, startH2Backend } from '../../peers/lib/backends.mjs';
import { metric, startProxy } from '../../peers/lib/plait.mjs';
import { checkExecutions, runLoad } from '../load.mjs';

export default async function goaway(t, size) {
  const executed = [];
  const backend = await startH2Backend(t, (stream, headers) => {
    executed.push(headers['x-id']);
    const { session } = stream;
    session.served = (session.served ?? 0) + 1;
    if (session.served === 100) endInOrder(session);
    stream.resume();
    stream.respond({ ':status': 200 });
    stream.end(headers['x-id']);
  });
  const plait = await startProxy(t, [backend], { admin: true });
  let left = size(10_000, 1_000);
  const total = left;
  const result = await runLoad(t, plait.port, 64, () => {
    left -= 1;
    return left >= 0;
  });
  assert.deepEqual(result.unknown, [], 'GOAWAY says which requests were not processed, so no fate is unknown');
  checkExecutions(executed, result);
  assert.equal(executed.length, total, 'GETs ran once, too');
  assert.ok(backend.opened >= total / 200, `the load went over ${backend.opened} connections`);
  const retries = await metric(plait, 'plait_retries_total', { class: 'unprocessed' });
  return `${total} requests, a third of them POSTs, over ${backend.opened} connections to the backend, each executed once; ${retries} retries`;
}
