// Servers of other makers in front of one folder, each of which reads a path in its own way.
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { startServer, temporaryDirectory } from './process.mjs';

export async function startApache(t, dir) {
  const work = temporaryDirectory(t);
  const server = await startServer(t, (port) => {
    const file = path.join(work, 'apache.conf');
    writeFileSync(file, `ServerRoot ${work}
ServerName localhost
PidFile ${work}/pid
Mutex file:${work}
Listen 127.0.0.1:${port}
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule mime_module /usr/lib/apache2/modules/mod_mime.so
TypesConfig /dev/null
ErrorLog /dev/null
DirectoryIndex index.html
AllowEncodedSlashes On
DocumentRoot ${dir}
<Directory ${dir}>
  Require all granted
</Directory>
`);
    return ['apache2', ['-f', file, '-X']];
  });
  return { ...server, url: `http://127.0.0.1:${server.port}` };
}

export async function startCaddy(t, dir) {
  const work = temporaryDirectory(t);
  const server = await startServer(t, (port) => {
    const file = path.join(work, 'Caddyfile');
    writeFileSync(file, `{
  admin off
  auto_https off
  storage file_system ${work}
}
http://:${port} {
  bind 127.0.0.1
  root * ${dir}
  file_server
}
`);
    // It keeps its configuration below its home.
    return ['env', [`HOME=${work}`, `XDG_CONFIG_HOME=${work}`, 'caddy', 'run', '--adapter', 'caddyfile', '--config', file]];
  });
  return { ...server, url: `http://127.0.0.1:${server.port}` };
}

// Python's own, which many tools bring along.
export async function startPythonServer(t, dir) {
  const server = await startServer(t, (port) => ['/usr/bin/python3', ['-m', 'http.server', '--bind', '127.0.0.1', '--protocol', 'HTTP/1.1', '--directory', dir, String(port)]]);
  return { ...server, url: `http://127.0.0.1:${server.port}` };
}
