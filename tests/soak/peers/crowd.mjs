// Clients of HTTP/1.1 that all come at once, ask for one thing and stay, in a process of their own:
//   node crowd.mjs PORT COUNT ADDRESS
// ADDRESS is where they come from, so that several crowds have ports enough. Prints a line of JSON four times a second: how
// many were answered, how many of their connections are open, how many ended without an answer, and what errors there were. "leave" on standard
// input ends all of them.
import net from 'node:net';

const [port, count, localAddress] = [Number(process.argv[2]), Number(process.argv[3]), process.argv[4]];
const seen = { served: 0, open: 0, failed: 0, errors: {} };
const sockets = new Set();

function come() {
  const socket = net.connect({ port, host: '127.0.0.1', localAddress });
  let answered = false;
  sockets.add(socket);
  socket.on('connect', () => {
    seen.open += 1;
    socket.write('GET /small HTTP/1.1\r\nHost: a\r\n\r\n');
  });
  socket.on('data', (chunk) => {
    if (answered) return;
    answered = true;
    if (chunk.toString('latin1').startsWith('HTTP/1.1 200')) seen.served += 1;
    else seen.failed += 1;
  });
  socket.on('error', ({ code }) => { seen.errors[code] = (seen.errors[code] ?? 0) + 1; });
  socket.on('close', () => {
    sockets.delete(socket);
    if (socket.bytesWritten > 0) seen.open -= 1;
    if (!answered) seen.failed += 1;
    answered = true;
  });
}

// Few at a time, or those that are connected would wait with their request until all have been made.
let left = count;
const more = () => {
  for (let i = 0; i < 50 && left > 0; i += 1, left -= 1) come();
  if (left > 0) setImmediate(more);
};
more();
setInterval(() => console.log(JSON.stringify(seen)), 250);
process.stdin.on('data', () => {
  for (const socket of sockets) socket.destroy();
});
