// Certificates of a running plait are replaced: new clients get the new ones at once, and nobody loses anything.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { appendFileSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import http2 from 'node:http2';
import path from 'node:path';
import { describe, test } from 'node:test';
import { startH1Backend } from './lib/backends.mjs';
import { metric, plaitBin, startPlait } from './lib/plait.mjs';
import { defer, eventually, run, temporaryDirectory, within } from './lib/process.mjs';
import { ask, issue } from './lib/sites.mjs';

// plait with one site, whose certificate belongs to the listener or stands in a [[certificate]].
async function start(t, kind, { workers = 2 } = {}) {
  const directory = temporaryDirectory(t);
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const file = path.join(directory, 'plait.toml');
  const socket = path.join(directory, 'plait.sock');
  const shown = await issue(directory, 'shown', ['site.test']);
  const write = (more = '') => {
    const site = `cert = "${shown.cert}"\nkey = "${shown.key}"\n${more}`;
    const listen = `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n`;
    writeFileSync(file, `[server]\nworkers = ${workers}\n${listen}${kind === 'a listener' ? site : `[[certificate]]\n${site}`}`
      + `[[backend]]\nurl = "${backend.url}"\n[admin]\naddress = "127.0.0.1:0"\nsocket = "${socket}"\n`);
  };
  write();
  const plait = await startPlait(t, ['-c', file]);
  // A certificate of that name takes the place of the one that is shown.
  const put = (made) => {
    copyFileSync(made.cert, shown.cert);
    copyFileSync(made.key, shown.key);
  };
  const reload = async () => {
    const { stdout, stderr } = await run(plaitBin, ['reload', '--socket', socket]).catch((error) => error);
    return stdout + stderr;
  };
  return Object.assign(plait, { directory, shown, write, put, reload, issue: (name, ...more) => issue(directory, name, ['site.test'], ...more) });
}

function connect(t, port, options = {}) {
  const session = http2.connect(`https://127.0.0.1:${port}`, { servername: 'site.test', rejectUnauthorized: false, ...options });
  session.on('error', () => {});
  defer(t, () => session.destroy());
  const get = async (host = 'site.test') => {
    const stream = session.request({ ':authority': host, ':path': '/' });
    const [headers] = await within(10_000, once(stream, 'response'), 'an answer');
    stream.resume();
    await within(10_000, once(stream, 'close'), 'the end of the answer');
    return headers[':status'];
  };
  return Object.assign(get, { session });
}

// Reloads that change a certificate; more in a long run.
const certificate_changes = Number(process.env.PLAIT_CERTIFICATE_CHANGES ?? 12);

// New connections without a pause, until it is ended; returns the names on the certificates that they were shown.
function startNewcomers(port, count = 4) {
  const names = [];
  let is_over = false;
  const one = async () => {
    while (!is_over) {
      const seen = await ask(port, 'site.test');
      assert.match(seen.answer, /^HTTP\/1\.1 200 /);
      names.push(seen.name);
    }
  };
  const all = Promise.all(Array.from({ length: count }, one));
  all.catch(() => {});
  return { names, end: () => { is_over = true; return all; } };
}

for (const kind of ['a listener', 'a site']) {
  describe(`the certificate of ${kind}`, () => {
    test('is replaced under load: who comes then is shown the new one, and connections live on', async (t) => {
      const plait = await start(t, kind);
      const lasting = connect(t, plait.port);
      assert.equal(await lasting(), 200);
      const newcomers = startNewcomers(plait.port);
      for (const name of ['second', 'third', 'fourth']) {
        plait.put(await plait.issue(name));
        await eventually(() => newcomers.names.length > 0, 'newcomers');
        assert.match(await plait.reload(), /^generation \d+\ncertificates changed: /);
        assert.equal((await ask(plait.port, 'site.test')).name, name);
        newcomers.names.length = 0;
        await eventually(() => newcomers.names.length > 20, 'newcomers');
        // A few had begun before.
        assert.ok(newcomers.names.slice(8).every((seen) => seen === name), newcomers.names.join());
        assert.equal(await lasting(), 200);
      }
      await newcomers.end();
      assert.equal(await metric(plait, 'plait_client_connections_total') > 60, true);
    });

    test('is freed with the last connection that has it, however many follow each other', async (t) => {
      const plait = await start(t, kind);
      const contexts = () => metric(plait, 'plait_tls_contexts');
      assert.equal(await contexts(), 1);
      const made = [];
      for (const name of ['second', 'third', 'fourth']) made.push(await plait.issue(name));
      const lasting = connect(t, plait.port);
      assert.equal(await lasting(), 200);
      for (let i = 0; i < certificate_changes; i += 1) {
        // Its key with a file that nobody has seen before.
        plait.put(made[i % made.length]);
        appendFileSync(plait.shown.cert, `# ${i}\n`);
        assert.match(await plait.reload(), /certificates changed/);
        if (i % 10 === 0) assert.equal((await ask(plait.port, 'site.test')).name, ['second', 'third', 'fourth'][i % made.length]);
      }
      assert.equal(await lasting(), 200);
      await eventually(async () => await contexts() === 2, 'the present one, and that of the connection from before');
      lasting.session.destroy();
      await eventually(async () => await contexts() === 1, 'the present one alone');
      assert.equal((await ask(plait.port, 'site.test')).answer.slice(0, 12), 'HTTP/1.1 200');
    });

    test('may come back, and the tickets of all go on', async (t) => {
      const plait = await start(t, kind);
      const first = { cert: `${plait.shown.cert}.first`, key: `${plait.shown.key}.first` };
      copyFileSync(plait.shown.cert, first.cert);
      copyFileSync(plait.shown.key, first.key);
      const second = await plait.issue('second');
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3']) {
        let { ticket } = await ask(plait.port, 'site.test', { maxVersion });
        const resumes = async (what) => {
          const seen = await ask(plait.port, 'site.test', { maxVersion, session: ticket });
          assert.equal(seen.resumed, true, what);
          ticket = seen.ticket ?? ticket;
        };
        await resumes('before');
        assert.match(await plait.reload(), /nothing has changed/);
        await resumes('after a reload that changes nothing');
        plait.put(second);
        assert.match(await plait.reload(), /certificates changed/);
        await resumes('under another certificate');
        assert.equal((await ask(plait.port, 'site.test', { maxVersion })).name, 'second');
        plait.put(first);
        assert.match(await plait.reload(), /certificates changed/);
        await resumes('under the first one again');
        assert.equal((await ask(plait.port, 'site.test', { maxVersion })).name, 'shown');
      }
    });

    test('goes on where the new key is wrong, however often it is asked for', async (t) => {
      const plait = await start(t, kind);
      const { ticket } = await ask(plait.port, 'site.test');
      const second = await plait.issue('second');
      copyFileSync(second.cert, plait.shown.cert);
      for (let i = 0; i < 3; i += 1) {
        const said = await plait.reload();
        assert.match(said, /^not reloaded, generation 1 goes on\n/);
        assert.match(said, /the private key \S+shown\.key does not belong to the certificate \S+shown\.pem/);
        assert.equal((await ask(plait.port, 'site.test')).name, 'shown');
      }
      writeFileSync(plait.shown.key, 'no key');
      assert.match(await plait.reload(), /cannot read the private key/);
      assert.equal((await ask(plait.port, 'site.test', { session: ticket })).resumed, true);
      copyFileSync(second.key, plait.shown.key);
      assert.match(await plait.reload(), /^generation 2\n/);
      assert.equal((await ask(plait.port, 'site.test')).name, 'second');
    });

    test('has its end as a metric, that of the new one after a reload', async (t) => {
      const plait = await start(t, kind);
      const days = async () => Math.round((await metric(plait, 'plait_certificate_not_after_seconds', { certificate: plait.shown.cert }) - Date.now() / 1000) / 86400);
      assert.equal(await days(), 90);
      plait.put(await plait.issue('second', 'ec', 10));
      assert.match(await plait.reload(), /warning: \S+ the certificate \S+shown\.pem expires in (9|10) days/);
      assert.equal(await days(), 10);
    });

    test('with another client_ca: tickets from before are void', async (t) => {
      const plait = await start(t, kind);
      const known = async (name) => {
        const made = await issue(plait.directory, name, ['client.test']);
        return { file: made.cert, cert: readFileSync(made.cert), key: readFileSync(made.key) };
      };
      const [one, other] = [await known('one'), await known('other')];
      const open = connect(t, plait.port);
      assert.equal(await open(), 200);
      const { ticket: unasked } = await ask(plait.port, 'site.test');
      plait.write(`client_ca = "${one.file}"\n`);
      assert.match(await plait.reload(), /^generation 2\n/);
      await assert.rejects(ask(plait.port, 'site.test', { session: unasked }), /certificate required/);
      const { ticket } = await ask(plait.port, 'site.test', one);
      assert.equal((await ask(plait.port, 'site.test', { ...one, session: ticket })).resumed, true);
      plait.write(`client_ca = "${other.file}"\n`);
      assert.match(await plait.reload(), /^generation 3\n/);
      await assert.rejects(ask(plait.port, 'site.test', { ...one, session: ticket }), /alert/);
      assert.match((await ask(plait.port, 'site.test', other)).answer, /^HTTP\/1\.1 200 /);
      // A connection that was made when nobody was asked may not go round the authority, and is told to go.
      if (kind === 'a site') assert.equal(await open(), 421);
    });
  });
}

test('of many certificates a new one with a wrong key is refused', async (t) => {
  const directory = temporaryDirectory(t);
  const backend = await startH1Backend(t, (incoming, response) => response.end('ok'));
  const sites = await Promise.all(Array.from({ length: 70 }, (_, i) => issue(directory, `site${i}`, [`site${i}.test`])));
  const [file, socket] = ['plait.toml', 'plait.sock'].map((name) => path.join(directory, name));
  writeFileSync(file, `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n${sites.map((one) => one.toml).join('')}[[backend]]\nurl = "${backend.url}"\n[admin]\nsocket = "${socket}"\n`);
  const plait = await startPlait(t, ['-c', file]);
  const reload = async () => {
    const { stdout, stderr } = await run(plaitBin, ['reload', '--socket', socket]).catch((error) => error);
    return stdout + stderr;
  };
  const { ticket } = await ask(plait.port, 'site5.test');
  const fresh = await issue(directory, 'fresh', ['site66.test']);
  copyFileSync(fresh.cert, sites[66].cert);
  for (let i = 0; i < 2; i += 1) assert.match(await reload(), /not reloaded[^]*site66\.key does not belong to the certificate/);
  assert.equal((await ask(plait.port, 'site5.test', { session: ticket })).resumed, true);
  copyFileSync(fresh.key, sites[66].key);
  assert.match(await reload(), /^generation 2\n/);
  assert.equal((await ask(plait.port, 'site66.test')).name, 'fresh');
  assert.equal((await ask(plait.port, 'site5.test')).name, 'site5');
});
