// A backend in a process of its own, so that it can be stopped, killed, or have its listen queue filled. It answers every
// request with "ok", and over IPC tells on demand how many requests it was asked and which ids of theirs (x-id) came twice.
import http from 'node:http';
import http2 from 'node:http2';

const [, , protocol, port, backlog] = process.argv;
const sockets = new Set();
const ids = new Map();
let asked = 0;
let answering = 0;
let leaving = '';

const answer = (incoming, response) => {
  asked += 1;
  const id = incoming.headers['x-id'];
  if (id !== undefined) ids.set(id, (ids.get(id) ?? 0) + 1);
  incoming.on('error', () => {});
  response.on('error', () => {});
  incoming.resume();
  incoming.on('end', () => {
    if (leaving !== '') return;
    answering += 1;
    response.on('close', () => {
      answering -= 1;
      leave();
    });
    response.end('ok');
  });
};

// Every answer that has begun is whole before the process stops: a response that broke off would be the client's loss.
function leave() {
  if (leaving === '' || answering > 0) return;
  if (leaving === 'leave') for (const socket of sockets) socket.resetAndDestroy();
  leaving = '';
  // Nothing is accepted between the end of the connections and the stop.
  process.kill(process.pid, 'SIGSTOP');
}

const server = protocol === 'h2c' ? http2.createServer(answer) : http.createServer(answer);
server.on('sessionError', () => {});
server.on('session', (session) => session.on('error', () => {}));
server.on('connection', (socket) => {
  sockets.add(socket);
  socket.on('error', () => {});
  socket.on('close', () => sockets.delete(socket));
});
server.listen({ port: Number(port), host: '127.0.0.1', backlog: Number(backlog) }, () => process.send({ port: server.address().port }));

process.on('message', (message) => {
  if (message === 'asked') process.send({ asked, ids: [...ids] });
  if (message === 'leave' || message === 'stop') {
    leaving = message;
    leave();
  }
});
process.on('disconnect', () => process.exit());
