// A real browser in front of real servers: what its user notices, over HTTP/2 with TLS and over plain HTTP/1.1, before a
// site that speaks HTTP/2 and one that speaks HTTP/1.1. Whatever it does in good faith, plait blames nobody for it.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { configuration } from './lib/attack.mjs';
import { inPage, openPage, patienceMs, startBrowser } from './lib/browser.mjs';
import { certificate } from './lib/certificate.mjs';
import { assertNoFault, startConfigured } from './lib/plait.mjs';
import { MiB, eventually, freePort, isListening, within } from './lib/process.mjs';
import { bytesOf, part, partsOfPage, sha256, startSite } from './lib/site.mjs';

const sites = ['h2c', 'http/1.1'];
const fronts = { h2: (plait) => `https://127.0.0.1:${plait.tlsPort}`, 'http/1.1': (plait) => `http://127.0.0.1:${plait.port}` };
// Timeouts so short that a second is several of each.
const hasty = '[timeouts]\nclient_idle_ms = 300\nstall_ms = 300\nping_ms = 200\n';
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// How many sockets listen on this port of the loopback interface, as the kernel counts them.
const listenersOn = (port) => readFileSync('/proc/net/tcp', 'utf8').split('\n').filter((line) => {
  const [, local, , state] = line.trim().split(/\s+/);
  return state === '0A' && local?.endsWith(`:${port.toString(16).toUpperCase().padStart(4, '0')}`);
}).length;

const startPlait = (t, secure, backends, lines = '', port = 0) => startConfigured(t, configuration(backends, lines, `[[listen]]
address = "127.0.0.1:${port}"
tls = "on"
cert = "${secure.cert}"
key = "${secure.key}"
`), port === 0 ? [] : ['--share-port']);

// Every way from the browser to a site, each with a page that the checks share: `checks` has them by name. They are called
// with { t, page, plait, site, version, front, origin }; the page shows nothing, and the site has seen nothing yet.
async function everyWay(t, { browser, secure }, checks, { lines = '', faultless = true } = {}) {
  for (const version of sites) {
    const site = await startSite(t, version);
    const plait = await startPlait(t, secure, [site], lines);
    for (const [front, originOf] of Object.entries(fronts)) {
      const origin = originOf(plait);
      const page = await openPage(t, browser, `${origin}/`);
      for (const [name, check] of Object.entries(checks)) {
        await t.test(`${name} (over ${front} to a site of ${version})`, async () => {
          await page.goto(`${origin}/`);
          site.seen.length = 0;
          await check({ t, page, plait, site, version, front, origin });
          if (faultless) await assertNoFault(plait);
        });
      }
    }
  }
}

async function assertWhole(page, front, origin) {
  await page.goto(`${origin}/whole`, { waitUntil: 'load' });
  const seen = await inPage(page, async () => ({
    fetched: await window.fetched,
    ran: window.ran.sort((a, b) => a - b),
    styles: Array.from({ length: 100 }, (_, i) => getComputedStyle(document.documentElement).getPropertyValue(`--style${i}`)).filter((value) => value !== '').map(Number),
    images: await Promise.all(Array.from(document.images, (image) => {
      const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
      const context = canvas.getContext('2d');
      context.drawImage(image, 0, 0);
      return sha256(context.getImageData(0, 0, canvas.width, canvas.height).data);
    })),
    entries: performance.getEntriesByType('resource').map(({ name, nextHopProtocol, decodedBodySize }) => [new URL(name).pathname, nextHopProtocol, decodedBodySize]),
    page: performance.getEntriesByType('navigation')[0].nextHopProtocol,
  }));
  const all = (kind, property) => Array.from({ length: partsOfPage[kind] }, (_, i) => property(part(kind, i), i));
  assert.deepEqual(seen.fetched, all('data', ({ bytes }) => sha256(bytes)));
  assert.deepEqual(seen.ran, all('script', (_, i) => i));
  assert.deepEqual(seen.styles, all('style', (_, i) => i));
  assert.deepEqual(seen.images, all('image', ({ shown }) => shown));
  assert.equal(seen.page, front);
  const expected = Object.keys(partsOfPage).flatMap((kind) => all(kind, ({ bytes }, i) => [`/${kind}/${i}`, front, bytes.length]));
  assert.deepEqual(seen.entries.sort(), expected.sort());
}

const checks = {
  'a page of 125 parts is loaded whole, each byte of it': async ({ page, front, origin }) => {
    await assertWhole(page, front, origin);
  },

  'page loads that are left half way end at the site too, and the next one is whole': async ({ page, site, front, origin }) => {
    // HTTP/1.1 has no more than six requests at once, and each of them hangs in the end: the next page has to wait until the
    // user stops this one.
    const [enough, times] = front === 'h2' ? [30, 6] : [6, 3];
    for (let i = 0; i < times; i += 1) {
      await page.goto(`${origin}/broken/${i}`, { waitUntil: 'commit' });
      await eventually(() => site.seen.filter(({ path }) => path.startsWith('/endless/') && path.endsWith(`?${i}`)).length >= enough, `half of page ${i} is there`, patienceMs);
      if (front !== 'h2' || i % 2 === 0) await inPage(page, () => window.stop());
    }
    await assertWhole(page, front, origin);
    await eventually(() => site.endless.size === 0, 'the site knows that nobody wants these any more', patienceMs);
  },

  'uploads arrive whole: a file, a form, a stream without a length': async ({ page, site, front }) => {
    const size = 3 * MiB + 17;
    const sent = await inPage(page, async (n) => {
      const pieces = [];
      for (let left = n; left > 0; left -= 65_536) pieces.push(crypto.getRandomValues(new Uint8Array(Math.min(left, 65_536))));
      const file = new Blob(pieces);
      const sum = await sha256(await file.arrayBuffer());
      const [whole, again] = await Promise.all([fetch('/sum', { method: 'POST', body: file }), fetch('/sum', { method: 'PUT', body: file })].map(async (answer) => (await answer).json()));
      return { sum, whole, again };
    }, size);
    assert.deepEqual(sent.whole, { method: 'POST', size, sum: sent.sum, length: String(size) });
    assert.deepEqual(sent.again, { method: 'PUT', size, sum: sent.sum, length: String(size) });
    // Browsers stream a body over HTTP/2 alone.
    if (front === 'h2') {
      const streamed = await inPage(page, async (n) => {
        const all = new Uint8Array(n);
        for (let i = 0; i < n; i += 65_536) crypto.getRandomValues(all.subarray(i, i + 65_536));
        let at = 0;
        const body = new ReadableStream({
          async pull(controller) {
            // Pieces of every size, some of which come later.
            const piece = all.slice(at, at + 1 + ((at * 7) % 49_999));
            at += piece.length;
            if (at % 5 === 0) await new Promise((resolve) => setTimeout(resolve));
            if (piece.length > 0) controller.enqueue(piece);
            if (at >= all.length) controller.close();
          },
        });
        const answer = await fetch('/sum', { method: 'POST', body, duplex: 'half' });
        return { sum: await sha256(all), answer: await answer.json() };
      }, 2 * MiB);
      assert.deepEqual(streamed.answer, { method: 'POST', size: 2 * MiB, sum: streamed.sum, length: null });
    }
    await inPage(page, () => {
      document.body.innerHTML = '<form method="post" action="/form" enctype="multipart/form-data"><input type="file" name="file"><input name="text" value="some text"></form>';
    });
    await page.setInputFiles('input[type=file]', { name: 'file.bin', mimeType: 'application/octet-stream', buffer: bytesOf('file', MiB) });
    await Promise.all([page.waitForNavigation(), inPage(page, () => document.forms[0].submit())]);
    assert.equal(await page.title(), 'empty', 'the redirection behind it was followed');
    assert.equal(site.form.method, 'POST');
    assert.ok(site.form.size > MiB && site.form.size === Number(site.form.length));
  },

  'a download of 24 MiB arrives whole while its reader stops in between, and holds up nothing else': async ({ page }) => {
    const size = 24 * MiB;
    const seen = await inPage(page, async (n) => {
      const response = await fetch(`/bytes/large/${n}`);
      const reader = response.body.getReader();
      const all = new Uint8Array(n);
      const { value: first } = await reader.read();
      all.set(first);
      let at = first.length;
      // Nobody reads on meanwhile.
      const others = await Promise.all(Array.from({ length: 20 }, (_, i) => fetch(`/data/${i}`).then((one) => one.arrayBuffer()).then(sha256)));
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return { length: at, others, sum: await sha256(all) };
        all.set(value, at);
        at += value.length;
      }
    }, size);
    assert.equal(seen.length, size);
    assert.equal(seen.sum, sha256(bytesOf('large', size)));
    assert.deepEqual(seen.others, Array.from({ length: 20 }, (_, i) => sha256(part('data', i).bytes)));
  },

  'an upload that is refused before it ends shows its refusal, and one that is aborted ends': async ({ page, front }) => {
    const seen = await inPage(page, async () => {
      const large = new Blob([new Uint8Array(4 << 20)]);
      const refused = [];
      for (let i = 0; i < 3; i += 1) refused.push(await outcome(fetch('/refuse', { method: 'POST', body: large })));
      const aborted = await Promise.all(Array.from({ length: 20 }, async (_, i) => {
        const controller = new AbortController();
        const result = outcome(fetch('/sum', { method: 'POST', body: large, signal: controller.signal }));
        await new Promise((resolve) => setTimeout(resolve, 5 * i));
        controller.abort();
        return result;
      }));
      return { refused, aborted, after: await outcome(fetch('/sum', { method: 'POST', body: 'small' })) };
    });
    for (const one of seen.refused) assert.deepEqual(one, { status: 413, text: 'too large' }, front);
    // One that was done before it was aborted is as good.
    assert.ok(seen.aborted.some(({ error }) => error === 'AbortError'));
    assert.ok(seen.aborted.every(({ error, status }) => error === 'AbortError' || status === 200), JSON.stringify(seen.aborted));
    assert.equal(JSON.parse(seen.after.text).sum, sha256('small'));
  },

  'what a hint names is asked for before the page is there': async ({ t, page, site, front, origin }) => {
    // Chromium makes use of hints over HTTP/2 alone; over HTTP/1.1 they must do no harm. A busy Chromium may leave one unused.
    const used = front === 'h2' ? 'early-hints' : 'link';
    let entries = [];
    for (let tries = 0; tries < 3 && entries[0]?.initiatorType !== used; tries += 1) {
      const fresh = tries === 0 ? page : await openPage(t, page.context().browser(), `${origin}/`);
      site.hint = undefined;
      const loaded = fresh.goto(`${origin}/hinted`);
      if (front !== 'h2') {
        await eventually(() => site.hint, 'the page is asked for', patienceMs);
        site.hint();
      }
      const unused = setTimeout(() => site.hint?.(), 10_000);
      await loaded;
      clearTimeout(unused);
      entries = await inPage(fresh, () => performance.getEntriesByName(new URL('/hint.css', location).href).map(({ initiatorType, decodedBodySize }) => ({ initiatorType, decodedBodySize })));
      assert.equal(await fresh.title(), 'hinted');
    }
    assert.deepEqual(entries, [{ initiatorType: used, decodedBodySize: part('style', 3).bytes.length }]);
  },

  'cookies of 4, 8 and 16 KB go both ways, and so do 170 of them': async ({ page, origin }) => {
    for (const size of [1000, 2000, 4000]) {
      const seen = await inPage(page, async (n) => [await outcome(fetch(`/cookies/${n}`)), await outcome(fetch('/cookies')), document.cookie], size);
      const expected = [0, 1, 2, 3].map((i) => `c${i}=${String(i).repeat(size)}`).join('; ');
      assert.deepEqual(seen.slice(1), [{ status: 200, text: expected }, expected]);
    }
    await page.goto(`${origin}/`);
    assert.equal(await page.title(), 'empty', 'a page with all of them');
    await page.context().clearCookies();
    const many = await inPage(page, async () => {
      for (let i = 0; i < 170; i += 1) document.cookie = `cookie${i}=${'v'.repeat(40)}`;
      return [await outcome(fetch('/cookies')), document.cookie];
    });
    assert.deepEqual(many, [{ status: 200, text: many[1] }, Array.from({ length: 170 }, (_, i) => `cookie${i}=${'v'.repeat(40)}`).join('; ')]);
    await page.context().clearCookies();
  },

  'what is known already is asked for with its tag and answered with 304': async ({ page, site }) => {
    const seen = await inPage(page, async () => {
      const sums = [];
      for (let i = 0; i < 3; i += 1) sums.push(await sha256(await (await fetch('/cached')).arrayBuffer()));
      return { sums, entries: performance.getEntriesByType('resource').map(({ transferSize, decodedBodySize }) => [transferSize < 1000, decodedBodySize]) };
    });
    assert.deepEqual(seen.sums, Array(3).fill(sha256(bytesOf('cached', 50_000))));
    assert.deepEqual(seen.entries, [[false, 50_000], [true, 50_000], [true, 50_000]]);
    assert.deepEqual(site.seen.map(({ headers }) => headers['if-none-match']), [undefined, '"one"', '"one"']);
  },

  'HEAD has a length and no body; another origin is asked by OPTIONS first': async ({ page, site, plait, front, origin }) => {
    const head = await inPage(page, async () => {
      const answer = await fetch('/data/7', { method: 'HEAD' });
      return { length: answer.headers.get('content-length'), body: await answer.text(), after: await sha256(await (await fetch('/data/7')).arrayBuffer()) };
    });
    assert.deepEqual(head, { length: String(part('data', 7).bytes.length), body: '', after: sha256(part('data', 7).bytes) });
    site.seen.length = 0;
    // The same plait is another origin on its other port, where the browser trusts the way there as much.
    const other = fronts[front === 'h2' ? 'http/1.1' : 'h2'](plait);
    const shown = await inPage(page, async (address) => {
      const answer = await fetch(`${address}/shared`, { method: 'PUT', body: 'shared body', headers: { 'X-Custom': 'mine' }, credentials: 'include' });
      return { status: answer.status, text: await answer.text(), sum: answer.headers.get('x-sum') };
    }, other);
    assert.deepEqual(shown, { status: 200, text: 'mine', sum: sha256('shared body') });
    assert.deepEqual(site.seen.map(({ method, headers }) => [method, headers.origin]), [['OPTIONS', origin], ['PUT', origin]]);
    assert.equal(site.seen[0].headers['access-control-request-headers'], 'x-custom');
  },

  'what a page says as it is left arrives': async ({ page, site, origin }) => {
    await inPage(page, () => {
      addEventListener('pagehide', () => {
        navigator.sendBeacon('/sum', 'x'.repeat(30_000));
        fetch('/sum', { method: 'POST', keepalive: true, body: 'y'.repeat(30_000) });
      });
    });
    await page.goto(`${origin}/`);
    await eventually(() => site.seen.filter(({ method, path, headers }) => method === 'POST' && path === '/sum' && headers['content-length'] === '30000').length === 2, 'both arrive', patienceMs);
  },
};

const patientChecks = {
  'events come for longer than every timeout, and go on where they ended': async ({ page, site }) => {
    site.feeds.length = 0;
    await inPage(page, () => {
      window.heard = [];
      window.troubles = 0;
      const source = new EventSource('/events');
      source.onmessage = ({ data, lastEventId }) => window.heard.push(`${lastEventId}: ${data}`);
      source.onerror = () => { window.troubles += 1; };
      window.source = source;
    });
    const hears = (id) => page.waitForFunction((last) => window.heard.includes(`${last}: event ${last}`), id, { polling: 20 });
    await hears(1);
    await pause(1200);
    site.feeds[0].say(2);
    await hears(2);
    assert.equal(await inPage(page, () => window.troubles), 0);
    assert.equal(site.feeds.length, 1, 'it was one response all the time');
    site.feeds[0].end();
    await hears(3);
    assert.deepEqual(site.feeds.map(({ last }) => last), [null, '2'], 'the browser says what it heard last');
    assert.deepEqual(await inPage(page, () => window.heard), ['1: event 1', '2: event 2', '3: event 3']);
    await inPage(page, () => window.source.close());
  },

  'WebSockets open through ws: and wss:, carry both ways, stay open, and close with a reason': async ({ page, site, version, origin }) => {
    site.closed = undefined;
    const url = `${origin.replace(/^http/, 'ws')}/socket`;
    const opened = await inPage(page, (address) => new Promise((resolve) => {
      const socket = new WebSocket(address);
      socket.binaryType = 'arraybuffer';
      window.socket = socket;
      window.heard = [];
      window.end = new Promise((done) => { socket.onclose = ({ code, reason, wasClean }) => { resolve('closed'); done({ code, reason, wasClean }); }; });
      socket.onmessage = ({ data }) => window.heard.push(data);
      socket.onopen = () => resolve('opened');
    }), url);
    if (version === 'h2c') {
      // HTTP/2 has another way to open tunnels, which plait does not use: the page is told so at once.
      assert.equal(opened, 'closed');
      assert.equal((await inPage(page, () => outcome(fetch('/data/1')))).status, 200);
      return;
    }
    assert.equal(opened, 'opened');
    const echoed = await inPage(page, async () => {
      const large = crypto.getRandomValues(new Uint8Array(60_000));
      const hears = async (n) => { while (window.heard.length < n) await new Promise((resolve) => setTimeout(resolve, 5)); };
      for (let i = 0; i < 200; i += 1) socket.send(`message ${i}`);
      for (let i = 0; i < 40; i += 1) socket.send(large);
      await hears(240);
      const sum = await sha256(large);
      const sums = await Promise.all(window.heard.splice(200).map(sha256));
      return { texts: window.heard, same: sums.every((one) => one === sum), binary: sums.length };
    });
    assert.deepEqual(echoed, { texts: Array.from({ length: 200 }, (_, i) => `message ${i}`), same: true, binary: 40 });
    await pause(1200);
    assert.equal(await inPage(page, async () => {
      window.heard.length = 0;
      socket.send('still here');
      while (window.heard.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      return window.heard[0];
    }), 'still here');
    for (const tunnel of site.sockets) tunnel.close(4001, 'the site is tired');
    assert.deepEqual(await inPage(page, () => window.end), { code: 4001, reason: 'the site is tired', wasClean: true });
    const end = await inPage(page, (address) => new Promise((resolve) => {
      const socket = new WebSocket(address);
      socket.onopen = () => socket.close(3001, 'the user is');
      socket.onclose = ({ code, wasClean }) => resolve({ code, wasClean });
    }), url);
    assert.deepEqual(end, { code: 3001, wasClean: true });
    await eventually(() => site.closed?.code === 3001, 'the site hears it');
  },
};

const brokenChecks = {
  'a response that the site cuts off is an error, never whole': async ({ page, version }) => {
    for (const kind of ['length', 'chunked']) {
      const seen = await inPage(page, async (path) => ({
        read: await outcome(fetch(path)),
        ran: await new Promise((resolve) => {
          const script = Object.assign(document.createElement('script'), { src: path, onload: () => resolve('loaded'), onerror: () => resolve('failed') });
          document.body.append(script);
        }),
        half: window.half ?? false,
        after: (await outcome(fetch('/data/1'))).status,
      }), `/cut/${kind}`);
      assert.deepEqual(seen, { read: { error: 'TypeError' }, ran: 'failed', half: false, after: 200 }, `${version}, ${kind}`);
    }
  },
};

const others = {
  'pages say it where no backend answers, is free, or answers in time': async (t, { browser, secure }) => {
    const dead = `h2c://127.0.0.1:${await freePort()}`;
    const timeouts = '[timeouts]\nqueue_ms = 800\nresponse_head_ms = 700\n';
    const limits = '[limits]\nh2_connections_per_backend = 1\nstreams_per_upstream_connection = 1\n';
    const site = await startSite(t, 'h2c');
    const page = await openPage(t, browser);
    const other = await openPage(t, browser);
    for (const [status, backend, busy] of [[502, { url: dead }, false], [503, site, true], [504, site, false]]) {
      const plait = await startPlait(t, secure, [backend], timeouts + limits);
      for (const [front, originOf] of Object.entries(fronts)) {
        if (busy) {
          await other.goto(`${originOf(plait)}/`);
          await inPage(other, async () => { window.held = (await fetch('/held')).arrayBuffer(); });
        }
        const answer = await page.goto(`${originOf(plait)}/silent`);
        assert.equal(answer.status(), status, front);
        assert.match(await inPage(page, () => document.body.innerText), /backend/, `${status} over ${front}`);
        assert.equal(await inPage(page, () => document.contentType), 'text/html', 'a page, since browsers prefer one');
        site.release();
        if (busy) await inPage(other, () => window.held);
      }
    }
  },

  'when plait is told to end, what a page waits for arrives whole, and what it asks for next fails at once': async (t, { browser, secure }) => {
    for (const [front, originOf] of Object.entries(fronts)) {
      const site = await startSite(t, 'h2c');
      const plait = await startPlait(t, secure, [site]);
      const page = await openPage(t, browser, `${originOf(plait)}/`);
      await inPage(page, async () => {
        const response = await fetch('/held');
        window.whole = response.arrayBuffer().then(sha256);
      });
      const stopped = plait.stop();
      await eventually(async () => !(await isListening(plait.port)) && !(await isListening(plait.tlsPort)), 'nobody listens any more');
      const next = await inPage(page, async () => {
        const begun = performance.now();
        const seen = [];
        // What is asked for before GOAWAY has arrived may be answered still.
        do seen.push(await outcome(fetch('/data/1', { cache: 'no-store' }))); while (!seen.at(-1).error && seen.length < 1000);
        return { last: seen.at(-1), ms: performance.now() - begun };
      });
      assert.deepEqual(next.last, { error: 'TypeError' }, front);
      assert.ok(next.ms < patienceMs / 2, 'it is no timeout');
      site.release();
      assert.equal(await inPage(page, () => window.whole), sha256(Buffer.concat([Buffer.from('begun'), bytesOf('held', 1 << 20)])), front);
      assert.equal(await within(patienceMs, stopped, 'plait ends'), 0);
      await assert.rejects(page.goto(`${originOf(plait)}/`), /ERR_CONNECTION_REFUSED/);
    }
  },

  'while plait is replaced by another on its port a page notices nothing': async (t, { browser, secure }) => {
    const site = await startSite(t, 'h2c');
    const old = await startPlait(t, secure, [site]);
    const page = await openPage(t, browser, `${fronts.h2(old)}/`);
    await inPage(page, async () => {
      const response = await fetch('/held');
      window.whole = response.arrayBuffer().then(sha256);
    });
    const young = await startPlait(t, secure, [site], '', old.tlsPort);
    assert.equal(young.tlsPort, old.tlsPort);
    const stopped = old.stop();
    await eventually(() => listenersOn(old.tlsPort) === 1, 'the old one listens no more');
    const seen = await inPage(page, async () => {
      const answers = [];
      for (let i = 0; i < 30; i += 1) answers.push((await outcome(fetch(`/data/${i % 25}`, { cache: 'no-store' }))).status);
      return answers;
    });
    assert.deepEqual(seen, Array(30).fill(200));
    site.release();
    assert.equal(await inPage(page, () => window.whole), sha256(Buffer.concat([Buffer.from('begun'), bytesOf('held', 1 << 20)])));
    assert.equal(await within(patienceMs, stopped, 'the old one ends'), 0);
    await assertWhole(page, 'h2', fronts.h2(young));
    await assertNoFault(young);
  },
};

test('a browser', async (t) => {
  const secure = await certificate(t);
  const shared = { browser: await startBrowser(t, secure), secure };
  await t.test('in front of sites', (sub) => everyWay(sub, shared, checks));
  await t.test('that waits', (sub) => everyWay(sub, shared, patientChecks, { lines: hasty }));
  await t.test('in front of sites that break off', (sub) => everyWay(sub, shared, brokenChecks, { faultless: false }));
  for (const [name, check] of Object.entries(others)) await t.test(name, (sub) => check(sub, shared));
});
