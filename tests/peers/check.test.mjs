// plait check finds what a start would find, and says it in the same words; neither starts with what cannot be meant.
import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { startH2Backend } from './lib/backends.mjs';
import { certificate } from './lib/certificate.mjs';
import { adminGet, metric, plaitBin, runPlait, startConfigured, startProxy, writeConfiguration } from './lib/plait.mjs';
import { defer, eventually, run, temporaryDirectory } from './lib/process.mjs';

const ok = (stream) => stream.respond({ ':status': 200 }, { endStream: true });
const plain = '[[listen]]\naddress = "127.0.0.1:0"\n[[backend]]\nurl = "h2c://127.0.0.1:1"\n';

// Both refuse with these lines, and nothing else is said.
async function refusedByBoth(file, lines) {
  for (const args of [['check', file], ['-c', file]]) {
    const { code, stdout, stderr } = await runPlait(args);
    assert.deepEqual({ code, stdout, lines: stderr.trim().split('\n') }, { code: 2, stdout: '', lines });
  }
}

test('a log whose folder is missing, or that is a folder, is found before the start', async (t) => {
  const folder = temporaryDirectory(t);
  const missing = path.join(folder, 'no', 'a.log');
  const file = writeConfiguration(t, `${plain}[access_log]\nfile = "${missing}"\n`);
  await refusedByBoth(file, [`${file}:6:8: cannot open the access log ${missing}: there is no folder ${path.dirname(missing)}`]);
  const second = writeConfiguration(t, `${plain}[access_log]\nfile = "${folder}"\n`);
  await refusedByBoth(second, [`${second}:6:8: cannot open the access log ${folder}: Is a directory`]);
  const under = path.join(plaitBin, 'a.log');
  const third = writeConfiguration(t, `${plain}[access_log]\nfile = "${under}"\n`);
  await refusedByBoth(third, [`${third}:6:8: cannot open the access log ${under}: Not a directory`]);
  const log = path.join(folder, 'a.log');
  assert.equal((await runPlait(['check', writeConfiguration(t, `${plain}[access_log]\nfile = "${log}"\n`)])).code, 0);
  assert.ok(!(await run('ls', [folder])).stdout.includes('a.log'), 'a check makes no file');
});

test('a log that this user may not write is found before the start', async (t) => {
  // Not below a temporary directory of ours, which nobody else may enter.
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plait-check-'));
  defer(t, () => rmSync(folder, { recursive: true }));
  chmodSync(folder, 0o755);
  const closed = path.join(folder, 'closed');
  mkdirSync(closed, { mode: 0o555 });
  const log = path.join(folder, 'a.log');
  writeFileSync(log, '', { mode: 0o444 });
  // root may write anywhere.
  const [program, ...under] = [...(process.getuid() === 0 ? ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'] : []), plaitBin];
  const refusal = (target) => run(program, [...under, 'check', '-b', 'h2c://127.0.0.1:1', '-p', '0', '--access-log', target]).then(() => '', (error) => error.stderr);
  assert.equal(await refusal(path.join(closed, 'a.log')), `plait: --access-log ${closed}/a.log: cannot open the access log ${closed}/a.log: no file can be made in ${closed}: Permission denied\n`);
  assert.equal(await refusal(log), `plait: --access-log ${log}: cannot open the access log ${log}: Permission denied\n`);
});

test('an address that is used twice is a mistake, also beside all addresses and for the admin', async (t) => {
  const { cert, key } = await certificate(t);
  const other = await certificate(t);
  const file = writeConfiguration(t, `
[[listen]]
address = "127.0.0.1:8443"
tls = "on"
cert = "${cert}"
key = "${key}"
[[listen]]
address = "127.0.0.1:8443"
tls = "on"
cert = "${other.cert}"
key = "${other.key}"
[[listen]]
address = "0.0.0.0:8443"
[[backend]]
url = "h2c://127.0.0.1:1"
[admin]
address = "127.0.0.1:8443"
`);
  await refusedByBoth(file, [
    `${file}:8:11: ${file}:3:11 has this address already, with another certificate: a listener has one, which may be for several names`,
    `${file}:13:11: this is all addresses, of which ${file}:3:11 has one already: 127.0.0.1:8443`,
    `${file}:17:11: ${file}:3:11 has this address already, and a listener cannot share it with [admin]`,
  ]);
});

test('a certificate out of its time is a warning, for clients and for backends', async (t) => {
  const { cert, key } = await certificate(t);
  const old = path.join(temporaryDirectory(t), 'old.pem');
  await run('openssl', ['req', '-new', '-key', key, '-subj', '/CN=localhost', '-out', `${old}.csr`]);
  await run('openssl', ['x509', '-req', '-in', `${old}.csr`, '-signkey', key, '-days', '-1', '-out', old]);
  const toml = `
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${old}"
key = "${key}"
[[backend]]
url = "https://127.0.0.1:1"
ca_file = "${cert}"
client_cert = "${old}"
client_key = "${key}"
`;
  const file = writeConfiguration(t, toml);
  const { code, stdout, stderr } = await runPlait(['check', file]);
  assert.deepEqual([code, stdout], [0, `${file}: ok\n`]);
  const lines = stderr.trim().split('\n');
  assert.equal(lines.length, 2, stderr);
  const expired = `warning: the certificate ${old} has expired: it was valid until 20`;
  assert.ok(lines[0].startsWith(`${file}:5:8: ${expired}`) && lines[1].startsWith(`${file}:10:15: ${expired}`), stderr);
  const plait = await startConfigured(t, toml);
  await eventually(() => /Z warning configuration: \S+:5:8: the certificate \S+ has expired: /.test(plait.stderr()), 'a start says it as well');
});

test('a key with a passphrase, and files of another kind, are said in words', async (t) => {
  const { cert, key } = await certificate(t);
  const secret = path.join(temporaryDirectory(t), 'secret.key');
  await run('openssl', ['pkey', '-in', key, '-aes128', '-passout', 'pass:secret', '-out', secret]);
  const file = writeConfiguration(t, `
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${cert}"
key = "${secret}"
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "plait.toml"
key = "${key}"
[[listen]]
address = "127.0.0.1:0"
tls = "on"
cert = "${key}"
key = "${cert}"
[[backend]]
url = "h2c://127.0.0.1:1"
`);
  await refusedByBoth(file, [
    `${file}:6:7: cannot read the private key ${secret}: it is encrypted with a passphrase, for which plait cannot ask: openssl pkey writes it without one`,
    `${file}:10:8: cannot read the certificate ${file}: it is no PEM file: no part of it begins with -----BEGIN`,
    `${file}:15:8: cannot read the certificate ${key}: it holds no certificate, but a PRIVATE KEY`,
  ]);
});

test('a backend that is named twice is one backend, with one series each in the metrics', async (t) => {
  const backend = await startH2Backend(t, ok);
  const plait = await startProxy(t, [backend, backend, `${backend.url}/`], { admin: true });
  assert.equal(plait.stderr().match(/warning configuration: .*: this is the backend of --backend \S+ once more: it is used once$/mg)?.length, 2);
  assert.equal(await metric(plait, 'plait_upstream_up', { backend: backend.url }), 1);
  const series = (await adminGet(plait, '/metrics')).body.split('\n').filter((line) => line !== '' && !line.startsWith('#')).map((line) => line.replace(/ \S+$/, ''));
  assert.ok(series.length > 100);
  assert.equal(new Set(series).size, series.length);
  const file = writeConfiguration(t, `${plain}[[backend]]\nurl = "h2c://127.0.0.1:1"\nhost = "other"\n`);
  await refusedByBoth(file, [`${file}:6:7: this is the backend of ${file}:4:7 with other settings`]);
});

test('plait check takes the flags of a start', async (t) => {
  const file = writeConfiguration(t, '[[backend]]\nurl = "h2c://127.0.0.1:1"\n');
  const said = async (args) => {
    const { code, stdout, stderr } = await runPlait(args);
    return { code, text: stdout + stderr };
  };
  for (const args of [['check', file, '-p', '8080'], ['-p', '8080', 'check', file], ['-c', file, '-p', '8080', 'check'], ['check', '-p', '8080', '-c', file], ['check', '-b', 'h2c://127.0.0.1:2', file, '-p', '8080']]) {
    assert.deepEqual(await said(args), { code: 0, text: `${file}: ok\n` }, args.join(' '));
  }
  assert.deepEqual(await said(['check', '-b', 'h2c://127.0.0.1:1', '-p', '8080']), { code: 0, text: 'plait: ok\n' });
  assert.deepEqual(await said(['check', '-b', 'h2c://127.0.0.1:1', '-p', '8080', '--listen', '127.0.0.1:8080']), {
    code: 2, text: 'plait: --port 8080: this is all addresses, of which --listen 127.0.0.1:8080 has one already: 127.0.0.1:8080\n',
  });
  assert.deepEqual(await said(['-c', file, 'check', 'other.toml']), { code: 2, text: `plait: two configurations are named, ${file} and other.toml: check looks at one\n` });
});

test('flags of other programs, and slips of the pen, get a hint', async () => {
  const said = async (...args) => {
    const { stdout, stderr } = await runPlait(args);
    return stdout + stderr;
  };
  assert.match(await said('-V'), /^plait \d+\.\d+\.\d+\n$/);
  for (const flag of ['-t', '-T', '--test', '--check']) assert.equal(await said(flag, 'plait.toml'), `plait: ${flag} is unknown: to look for mistakes in a configuration use plait check FILE\n`);
  assert.equal(await said('-v'), 'plait: -v is unknown: -V is the version, --verbose says more about memory\n');
  assert.equal(await said('--wrokers=2'), 'plait: --wrokers=2 is unknown, did you mean --workers? (see plait --help)\n');
  assert.equal(await said('chekc', 'plait.toml'), 'plait: chekc is unknown, did you mean check? (see plait --help)\n');
});
