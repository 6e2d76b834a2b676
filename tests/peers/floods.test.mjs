// Floods of frames that are cheap to send. Each must end with the right error, a reason and a counter, while nobody else
// notices.
import assert from 'node:assert/strict';
import test from 'node:test';
import { endure, startTarget, startTargeted } from './lib/attack.mjs';
import { connectH2 } from './lib/clients.mjs';
import { errorCode } from './lib/raw_h2.mjs';

const floods = [
  ['SETTINGS without end end in ENHANCE_YOUR_CALM', 'settingsFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['SETTINGS that change every window again and again end in ENHANCE_YOUR_CALM', 'fatSettingsFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['SETTINGS of thousands of entries end in ENHANCE_YOUR_CALM', 'tooManySettings', 'settings_size', errorCode.enhanceYourCalm],
  ['PING without end ends in ENHANCE_YOUR_CALM', 'pingFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['PRIORITY without end ends in ENHANCE_YOUR_CALM', 'priorityFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['WINDOW_UPDATE without end ends in ENHANCE_YOUR_CALM', 'windowUpdateFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['unknown frames without end end in ENHANCE_YOUR_CALM', 'unknownFrameFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['DATA frames that are empty end in ENHANCE_YOUR_CALM', 'emptyDataFlood', 'frame_flood', errorCode.enhanceYourCalm],
  ['a frame above SETTINGS_MAX_FRAME_SIZE ends in FRAME_SIZE_ERROR', 'oversizeFrame', 'frame_size_error', errorCode.frameSize],
];

test('floods of frames', async (t) => {
  const backend = await startTarget(t);
  const plait = await startTargeted(t, [backend]);
  const honest = connectH2(t, plait.port);
  for (const [name, attack, reason, code] of floods) {
    await t.test(name, async (sub) => {
      const seen = await endure(sub, plait, attack, { reason, ms: 300, honest });
      assert.ok(seen.goaways[code] > 0, `GOAWAY with ${code}`);
    });
  }
});
