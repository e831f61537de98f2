// Calls one gRPC-Web method with both official clients, and prints how each reads the response:
// one line of JSON per call. Usage: grpc_web_peer.mjs URL [TOKEN]

import { createRequire } from "node:module";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import { ConnectError } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";

const require = createRequire(import.meta.url);
globalThis.XMLHttpRequest = require("xhr2");
const grpcWeb = require("grpc-web");

const [url, token] = process.argv.slice(2);
const headers = token ? { authorization: `Bearer ${token}` } : {};
const print = (client, status, message) => console.log(JSON.stringify({ client, status, message }));

// connect-web sends `application/grpc-web+proto`.
const method = {
  kind: "rpc",
  methodKind: "unary",
  name: "Get",
  localName: "get",
  parent: { typeName: "shop.Orders" },
  input: EmptySchema,
  output: EmptySchema,
};
const transport = createGrpcWebTransport({ baseUrl: url });
try {
  await transport.unary(method, undefined, 5_000, headers, {});
  print("connect-web", 0, "");
} catch (error) {
  const { code, rawMessage } = ConnectError.from(error);
  print("connect-web", code, rawMessage);
}

// grpc-web sends `application/grpc-web+proto`, and `application/grpc-web-text` as text.
const descriptor = new grpcWeb.MethodDescriptor(
  "/shop.Orders/Get",
  grpcWeb.MethodType.UNARY,
  Object,
  Object,
  () => new Uint8Array(),
  () => ({}),
);
for (const format of ["binary", "text"]) {
  const client = new grpcWeb.GrpcWebClientBase({ format });
  await new Promise((done) => {
    client.rpcCall(`${url}/shop.Orders/Get`, {}, headers, descriptor, (error) => {
      print(`grpc-web ${format}`, error?.code ?? 0, error?.message ?? "");
      done();
    });
  });
}
