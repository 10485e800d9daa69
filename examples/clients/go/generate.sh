#!/bin/sh
# Makes the stubs in inference/ from ../protos with the plug-ins that go.mod pins; any protoc will do (PROTOC=protoc).
set -eu
mkdir -p inference
${PROTOC:-python -m grpc_tools.protoc} -I ../protos open_inference.proto \
  --plugin="$(go tool -n protoc-gen-go)" --go_out=inference \
  --plugin="$(go tool -n protoc-gen-go-grpc)" --go-grpc_out=inference \
  --go_opt=paths=source_relative --go_opt=Mopen_inference.proto=accord-client/inference \
  --go-grpc_opt=paths=source_relative --go-grpc_opt=Mopen_inference.proto=accord-client/inference
