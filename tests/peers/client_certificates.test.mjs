// What backends hear of the certificate that a client has shown.
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import test from 'node:test';
import { startH1Backend, startH2Backend } from './lib/backends.mjs';
import { startConfigured } from './lib/plait.mjs';
import { defer, temporaryDirectory, within } from './lib/process.mjs';
import { ask, issue } from './lib/sites.mjs';

// Answers with the fields that it got.
function startEcho(t, version) {
  return version === 2
    ? startH2Backend(t, (stream, headers) => {
      stream.respond({ ':status': 200 });
      stream.end(JSON.stringify(headers));
    })
    : startH1Backend(t, (incoming, response) => response.end(JSON.stringify(incoming.headers)));
}

const fieldsIn = (answer) => JSON.parse(answer.slice(answer.indexOf('{'), answer.lastIndexOf('}') + 1));

async function start(t, certificates, { more = '', backend } = {}) {
  const { url } = backend ?? await startEcho(t, 1);
  return startConfigured(t, `[[listen]]\naddress = "127.0.0.1:0"\ntls = "on"\n${certificates}[[backend]]\nurl = "${url}"\n${more}`);
}

async function setting(t, names = ['client.test']) {
  const directory = temporaryDirectory(t);
  const client = await issue(directory, 'client', names);
  const site = await issue(directory, 'site', ['site.test']);
  return {
    asking: `${site.toml}client_ca = "${client.cert}"\nclient_auth = "request"\n`,
    known: { cert: readFileSync(client.cert), key: readFileSync(client.key) },
    shown: new X509Certificate(readFileSync(client.cert)),
  };
}

const hashOf = (certificate) => certificate.fingerprint256.replaceAll(':', '').toLowerCase();
const clientCertOf = (certificate) => `:${certificate.raw.toString('base64')}:`;
const elementOf = (certificate) => `Hash=${hashOf(certificate)};Subject="CN=client";DNS=client.test`;

test('a backend gets the certificate in both fields, and none that a client has made up', async (t) => {
  const { asking, known, shown } = await setting(t);
  for (const version of [1, 2]) {
    const plait = await start(t, asking, { backend: await startEcho(t, version) });
    const fields = 'Client-Cert: :ZmFrZQ==:\r\nX-Forwarded-Client-Cert: Hash=00\r\nClient_Cert: :ZmFrZQ==:\r\nClient-Cert-Chain: :ZmFrZQ==:\r\n';
    for (const own of ['', fields, 'Connection: client-cert, x-forwarded-client-cert\r\n']) {
      const seen = fieldsIn((await ask(plait.port, 'site.test', { ...known, fields: own })).answer);
      assert.equal(seen['client-cert'], clientCertOf(shown));
      assert.equal(seen['x-forwarded-client-cert'], elementOf(shown));
      assert.equal(seen['client-cert-chain'], undefined);
      assert.equal(seen.client_cert, undefined);
    }
    const without = fieldsIn((await ask(plait.port, 'site.test', { fields })).answer);
    assert.deepEqual(Object.keys(without).filter((name) => /client.cert/.test(name)), []);
  }
});

test('it goes with every request of a connection, resumed ones too', async (t) => {
  const { asking, known, shown } = await setting(t);
  const plait = await start(t, asking);
  const { ticket } = await ask(plait.port, 'site.test', known);
  const again = await ask(plait.port, 'site.test', { ...known, session: ticket });
  assert.equal(again.resumed, true);
  assert.equal(fieldsIn(again.answer)['client-cert'], clientCertOf(shown));
  const session = http2.connect(`https://127.0.0.1:${plait.port}`, { servername: 'site.test', rejectUnauthorized: false, ...known });
  defer(t, () => session.destroy());
  for (let i = 0; i < 3; i += 1) {
    const stream = session.request({ ':authority': 'site.test', ':path': `/${i}` });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk) => { text += chunk; });
    await within(10_000, once(stream, 'end'), 'an answer');
    assert.equal(JSON.parse(text)['x-forwarded-client-cert'], elementOf(shown));
  }
});

test('it can be kept from backends', async (t) => {
  const { asking, known } = await setting(t);
  const plait = await start(t, asking, { more: '[forwarding]\nclient_cert = "off"\n' });
  const seen = fieldsIn((await ask(plait.port, 'site.test', { ...known, fields: 'Client-Cert: :ZmFrZQ==:\r\n' })).answer);
  assert.deepEqual(Object.keys(seen).filter((name) => /client.cert/.test(name)), []);
});

test('a trusted proxy tells of its own client, and is one more element', async (t) => {
  const { asking, known, shown } = await setting(t);
  const plait = await start(t, asking, { more: '[forwarding]\ntrusted_proxies = ["127.0.0.1"]\n' });
  const told = fieldsIn((await ask(plait.port, 'site.test', { ...known, fields: 'Client-Cert: :dXNlcg==:\r\nX-Forwarded-Client-Cert: Hash=ab\r\n' })).answer);
  assert.equal(told['client-cert'], ':dXNlcg==:');
  assert.equal(told['x-forwarded-client-cert'], `Hash=ab, ${elementOf(shown)}`);
  const silent = fieldsIn((await ask(plait.port, 'site.test', known)).answer);
  assert.equal(silent['client-cert'], undefined, 'its client has shown none');
  assert.equal(silent['x-forwarded-client-cert'], elementOf(shown));
});

test('a certificate that is too long to be handed on is refused, not left out', async (t) => {
  const { asking, known } = await setting(t, Array.from({ length: 400 }, (_, i) => `${'long'.repeat(10)}-${i}.test`));
  const plait = await start(t, asking);
  assert.match((await ask(plait.port, 'site.test', known)).answer, /^HTTP\/1\.1 431 [^]*the client's certificate is too long to be handed on/);
});

test('routes may say who the client is in their own words', async (t) => {
  const { asking, known, shown } = await setting(t);
  const plait = await start(t, asking, {
    more: `[[route]]
path = "/"
cluster = "default"
request_fields = { set = { x-who = "<\${client_cert_subject}> at \${tls_server_name}", x-print = "\${client_cert_fingerprint}" }, remove = ["client-cert"] }
response_fields = { set = { x-you = "\${client_cert_subject}" } }
`,
  });
  const { answer } = await ask(plait.port, 'site.test', known);
  const seen = fieldsIn(answer);
  assert.equal(seen['x-who'], '<CN=client> at site.test');
  assert.equal(seen['x-print'], hashOf(shown));
  assert.equal(seen['client-cert'], undefined);
  assert.match(answer, /\r\nx-you: CN=client\r\n/i);
  const stranger = fieldsIn((await ask(plait.port, 'site.test')).answer);
  assert.equal(stranger['x-who'], '<> at site.test');
  assert.equal(stranger['x-print'], '');
});
