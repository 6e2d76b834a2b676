// Floods of requests: taken back at once, malformed, too large, or too many. Each must end with the right error, a reason
// and a counter, while nobody else notices.
import assert from 'node:assert/strict';
import test from 'node:test';
import { endure, startDemo, startTargeted } from './lib/attack.mjs';
import { connectH2 } from './lib/clients.mjs';
import { metric } from './lib/plait.mjs';
import { errorCode } from './lib/raw_h2.mjs';

const floods = [
  ['requests that are reset at once (rapid reset) end in ENHANCE_YOUR_CALM', 'rapidReset', 'reset_flood', errorCode.enhanceYourCalm],
  ['making plait reset streams costs the same as resetting them (made you reset)', 'madeYouReset', 'reset_flood', errorCode.enhanceYourCalm],
  ['resets of a stream that is over end in ENHANCE_YOUR_CALM', 'resetFlood', 'reset_flood', errorCode.enhanceYourCalm],
  ['a header block of endless CONTINUATION frames ends in ENHANCE_YOUR_CALM', 'continuationFlood', 'continuation_flood', errorCode.enhanceYourCalm],
  ['CONTINUATION frames that are empty end in ENHANCE_YOUR_CALM', 'emptyContinuations', 'continuation_flood', errorCode.enhanceYourCalm],
  ['HEADERS that are empty end in ENHANCE_YOUR_CALM', 'emptyHeadersFlood', 'reset_flood', errorCode.enhanceYourCalm],
  ['fields that grow without end out of few bytes end in ENHANCE_YOUR_CALM (HPACK bomb)', 'hpackBomb', 'message_too_large', errorCode.enhanceYourCalm],
  ['streams far beyond what was announced end in ENHANCE_YOUR_CALM', 'tooManyStreams', 'stream_flood', errorCode.enhanceYourCalm],
];

test('floods of requests', async (t) => {
  const plait = await startTargeted(t, [await startDemo(t)]);
  const honest = connectH2(t, plait.port);
  for (const [name, attack, reason, code] of floods) {
    await t.test(name, async (sub) => {
      const seen = await endure(sub, plait, attack, { reason, ms: 300, honest });
      assert.ok(seen.goaways[code] > 0, `GOAWAY with ${code}`);
    });
  }
});

test('requests that are refused one by one', async (t) => {
  const plait = await startTargeted(t, [await startDemo(t)]);
  const honest = connectH2(t, plait.port);
  const counter = 'plait_requests_rejected_total';
  await t.test('fields that grow out of few bytes to some times what is admitted', async (sub) => {
    const seen = await endure(sub, plait, 'hpackFirecrackers', { reason: 'message_too_large', counter, ms: 300, honest });
    assert.ok(seen.answers > 0);
    assert.ok(seen.goaways[errorCode.enhanceYourCalm] > 0, 'soon there are too many of them');
  });
  await t.test('more fields than are admitted', async (sub) => {
    const seen = await endure(sub, plait, 'oversizeHeaders', { reason: 'message_too_large', counter, ms: 300, honest });
    assert.ok(seen.answers > 0);
    assert.ok(await metric(plait, 'plait_responses_total', { class: '4xx' }) > 0);
  });
  await t.test('a request line that is none', async (sub) => {
    const seen = await endure(sub, plait, 'malformedHttp1', { reason: 'malformed_message', counter, ms: 300, honest });
    assert.ok(seen.statuses[400] > 0);
  });
  await t.test('a head of HTTP/1.1 that does not end', async (sub) => {
    const seen = await endure(sub, plait, 'oversizeHttp1', { reason: 'message_too_large', counter, ms: 300, honest });
    assert.ok(seen.statuses[431] > 0);
  });
});

test('segments of a byte each are allowed and cost nobody else anything', async (t) => {
  const plait = await startTargeted(t, [await startDemo(t)]);
  await endure(t, plait, 'tinySegments', { ms: 500 });
});
