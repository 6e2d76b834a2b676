// Clients that take all that they can get, in a process of their own: HTTP/2 connections, each with so many uploads open, of
// which every one that ends is begun anew. Asked over IPC, it tells how many were begun, how many are open, and how the others
// have ended.
import http2 from 'node:http2';

const [, , port, clients, uploads, addresses] = process.argv;
const state = { begun: 0, open: 0, ended: {} };

function upload(session) {
  if (session.destroyed || session.closed) return;
  const stream = session.request({ ':method': 'POST', ':path': '/upload' });
  state.begun += 1;
  state.open += 1;
  let status;
  stream.on('response', (fields) => { status = fields[':status']; });
  stream.on('error', () => {});
  stream.resume();
  stream.on('close', () => {
    state.open -= 1;
    const key = status ?? `code ${stream.rstCode}`;
    state.ended[key] = (state.ended[key] ?? 0) + 1;
    // A breath, so that being refused at once is no flood of its own.
    setTimeout(() => upload(session), 100);
  });
  stream.write('the beginning of an upload');
}

function connect(i) {
  const session = http2.connect(`http://127.0.0.1:${port}`, addresses === 'own' ? { localAddress: `127.0.2.${i + 1}` } : {});
  session.on('error', () => {});
  session.on('close', () => setTimeout(() => connect(i), 100));
  session.on('connect', () => {
    for (let k = 0; k < Number(uploads); k += 1) upload(session);
  });
}
for (let i = 0; i < Number(clients); i += 1) connect(i);

process.on('message', () => process.send(state));
process.on('disconnect', () => process.exit());
