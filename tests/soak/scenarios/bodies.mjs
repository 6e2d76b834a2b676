// Bodies larger than any buffer arrive whole in both directions.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, openSync, writeSync } from 'node:fs';
import path from 'node:path';
import { startH2Backend } from '../../peers/lib/backends.mjs';
import { reservedBytes, startProxy } from '../../peers/lib/plait.mjs';
import { MiB, peakResidentBytes, run, temporaryDirectory } from '../../peers/lib/process.mjs';

export default async function bodies(t, size) {
  const pieces = size(1024, 24);
  const piece = randomBytes(MiB);
  const expected = createHash('sha256');
  const file = path.join(temporaryDirectory(t), 'body');
  const out = openSync(file, 'w');
  for (let i = 0; i < pieces; i += 1) {
    piece.writeUInt32BE(i);  // no two pieces are alike, so that one that is lost, doubled or late changes the hash
    expected.update(piece);
    writeSync(out, piece);
  }
  closeSync(out);
  const sum = expected.digest('hex');
  const backend = await startH2Backend(t, (stream, headers) => {
    if (headers[':method'] === 'GET') {
      stream.respondWithFile(file);
      return;
    }
    const hash = createHash('sha256');
    stream.on('data', (chunk) => hash.update(chunk));
    stream.on('end', () => {
      stream.respond({ ':status': 200 });
      stream.end(hash.digest('hex'));
    });
  });
  const plait = await startProxy(t, [backend]);
  const url = `http://127.0.0.1:${plait.port}/body`;
  const rates = [];
  const timed = async (name, action) => {
    const start = Date.now();
    assert.equal(await action(), sum, name);
    rates.push(`${name} ${Math.round(pieces / ((Date.now() - start) / 1000))} MiB/s`);
  };
  for (const [name, version] of [['h2c', '--http2-prior-knowledge'], ['HTTP/1.1', '--http1.1']]) {
    await timed(`${name} down`, async () => (await run('sh', ['-c', `curl -sf ${version} ${url} | sha256sum`], { timeout: 600_000 })).stdout.split(' ')[0]);
    await timed(`${name} up`, async () => (await run('curl', ['-sf', version, '-H', 'Expect:', '-T', file, url], { timeout: 600_000 })).stdout);
  }
  const peak = peakResidentBytes(plait.pid);
  assert.ok(peak <= reservedBytes(plait), `${peak} bytes resident`);
  return `${pieces} MiB in each direction with equal hashes (${rates.join(', ')}); resident at most ${Math.round(peak / MiB)} MiB`;
}
