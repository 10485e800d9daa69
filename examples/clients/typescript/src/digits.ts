// Asks the ensemble "digits" of examples/digits.yaml from TypeScript, with ../protos loaded at run time.
import { readFileSync } from "node:fs";
import { type ServiceError, credentials, loadPackageDefinition, type requestCallback } from "@grpc/grpc-js";
import { type MessageTypeDefinition, loadSync } from "@grpc/proto-loader";
import { getProtoPath } from "google-proto-files";

import type { ErrorInfo, ErrorInfo__Output } from "./types/google/rpc/ErrorInfo";
import type { Status, Status__Output } from "./types/google/rpc/Status";
import type { ModelInferRequest } from "./types/inference/ModelInferRequest";
import type { ModelInferResponse__Output } from "./types/inference/ModelInferResponse";
import type { ModelMetadataResponse__Output } from "./types/inference/ModelMetadataResponse";
import type { ServerReadyResponse__Output } from "./types/inference/ServerReadyResponse";
import type { ProtoGrpcType } from "./types/open_inference";

const MODEL = "digits";

const definition = loadSync(["open_inference.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"], {
  includeDirs: ["../protos", getProtoPath("..")],
  keepCase: true,
  longs: Number,
  defaults: true,
  oneofs: true,
});
const { inference } = loadPackageDefinition(definition) as unknown as ProtoGrpcType;
const STATUS = definition["google.rpc.Status"] as MessageTypeDefinition<Status, Status__Output>;
const ERROR_INFO = definition["google.rpc.ErrorInfo"] as MessageTypeDefinition<ErrorInfo, ErrorInfo__Output>;

async function run(address: string, image: string): Promise<void> {
  const pixels = readFileSync(image, "utf8").trim().split(/\s+/).map(Number);
  const client = new inference.GRPCInferenceService(address, credentials.createInsecure());
  try {
    // every member works within this deadline
    const options = { deadline: Date.now() + 10_000 };
    const infer = (request: ModelInferRequest) =>
      ask<ModelInferResponse__Output>((done) => client.modelInfer(request, options, done));

    const server = await ask<ServerReadyResponse__Output>((done) => client.serverReady({}, options, done));
    console.log("ready:", server.ready);

    const metadata = await ask<ModelMetadataResponse__Output>((done) =>
      client.modelMetadata({ name: MODEL }, options, done),
    );
    for (const { name, datatype, shape } of [...metadata.inputs, ...metadata.outputs]) {
      console.log(name, datatype, `[${shape.join(" ")}]`);
    }

    const answer = await infer(request(pixels));
    console.log("label:", Number(int64s(answer, "label")[0]));
    console.log("degraded:", answer.parameters["accord_degraded"]?.bool_param);

    const refused = await infer(request(pixels.slice(1))).then(
      () => "accepted",
      (error: ServiceError) => reason(error),
    );
    console.log("63 pixels:", refused);
  } finally {
    client.close();
  }
}

// The answer of a unary call, as a promise.
function ask<Answer>(call: (done: requestCallback<Answer>) => void): Promise<Answer> {
  return new Promise((resolve, reject) => call((error, answer) => (error ? reject(error) : resolve(answer!))));
}

// One row of pixels, sent raw: elements in row-major order, little-endian.
function request(pixels: number[]): ModelInferRequest {
  const raw = Buffer.alloc(4 * pixels.length);
  pixels.forEach((pixel, at) => raw.writeFloatLE(pixel, 4 * at));
  return {
    model_name: MODEL,
    inputs: [{ name: "pixels", datatype: "FP32", shape: [1, pixels.length] }],
    raw_input_contents: [raw],
  };
}

// An output of datatype INT64; raw contents stand in the order of the outputs.
function int64s(answer: ModelInferResponse__Output, name: string): bigint[] {
  const raw = answer.raw_output_contents[answer.outputs.findIndex((output) => output.name === name)];
  if (raw === undefined) throw new Error(`the answer has no output "${name}"`);
  return Array.from({ length: raw.length / 8 }, (_, at) => raw.readBigInt64LE(8 * at));
}

// What a program may act on: the reason in the status' details, a google.rpc.ErrorInfo.
function reason(error: ServiceError): string | undefined {
  const [packed] = error.metadata.get("grpc-status-details-bin") as Buffer[];
  if (packed === undefined) return undefined;
  const info = STATUS.deserialize(packed).details.find((any) => any.type_url.endsWith("/google.rpc.ErrorInfo"));
  return info && ERROR_INFO.deserialize(info.value as Buffer).reason;
}

const [address, image] = process.argv.slice(2);
if (address === undefined || image === undefined) {
  console.error("usage: npm start -- HOST:PORT IMAGE");
  process.exit(2);
}
await run(address, image);
