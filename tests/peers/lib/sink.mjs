// What an attack costs the machine without plait: a process that takes of each connection as many bytes as plait did,
// drops them, and closes. Its argument says how many.
import net from 'node:net';

const limit = Number(process.argv[2]);
const server = net.createServer((socket) => {
  let left = limit;
  socket.on('error', () => {});
  socket.on('data', (chunk) => {
    left -= chunk.length;
    if (left > 0) return;
    // As plait does with who has broken the rules: what comes behind is not read.
    socket.pause();
    setTimeout(() => socket.resetAndDestroy(), 1000);
  });
});
server.listen(0, '127.0.0.1', () => process.send(server.address().port));
