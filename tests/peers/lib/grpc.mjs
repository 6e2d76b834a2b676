// A gRPC service without a .proto file: messages are JSON, since plait must not look into them anyway.
import grpc from '@grpc/grpc-js';
import { defer } from './process.mjs';

const serialize = (value) => Buffer.from(JSON.stringify(value));
const deserialize = (bytes) => JSON.parse(bytes.toString());
const method = (name, requestStream, responseStream) => ({
  path: `/plait.test.Echo/${name}`, requestStream, responseStream, originalName: name,
  requestSerialize: serialize, requestDeserialize: deserialize, responseSerialize: serialize, responseDeserialize: deserialize,
});

export const definition = {
  unary: method('Unary', false, false),
  serverStream: method('ServerStream', false, true),
  clientStream: method('ClientStream', true, false),
  bidi: method('Bidi', true, true),
};

export const EchoClient = grpc.makeGenericClientConstructor(definition, 'Echo');
export { grpc };

// The server and its handlers; `seen` has what became of the calls.
export async function startGrpcBackend(t, handlers, { secure } = {}) {
  const server = new grpc.Server();
  server.addService(definition, handlers);
  const credentials = secure
    ? grpc.ServerCredentials.createSsl(null, [{ private_key: secure.key, cert_chain: secure.cert }])
    : grpc.ServerCredentials.createInsecure();
  const port = await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => (error ? reject(error) : resolve(bound)));
  });
  defer(t, () => server.forceShutdown());
  return { server, port, url: `${secure ? 'https' : 'h2c'}://127.0.0.1:${port}` };
}

export function connectGrpc(t, port) {
  // Retries of the client's own would hide what the proxy answers.
  const client = new EchoClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure(), { 'grpc.enable_retries': 0 });
  defer(t, () => client.close());
  return client;
}
