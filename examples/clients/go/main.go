// Asks the ensemble "digits" of examples/digits.yaml from Go, with stubs generated from ../protos.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	pb "accord-client/inference"
)

//go:generate ./generate.sh

const model = "digits"

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: go run . HOST:PORT IMAGE")
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func run(address, image string) error {
	pixels, err := read(image)
	if err != nil {
		return err
	}
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	client := pb.NewGRPCInferenceServiceClient(connection)
	// every member works within this deadline
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	server, err := client.ServerReady(ctx, &pb.ServerReadyRequest{})
	if err != nil {
		return err
	}
	fmt.Println("ready:", server.Ready)

	metadata, err := client.ModelMetadata(ctx, &pb.ModelMetadataRequest{Name: model})
	if err != nil {
		return err
	}
	for _, tensor := range append(metadata.Inputs, metadata.Outputs...) {
		fmt.Println(tensor.Name, tensor.Datatype, tensor.Shape)
	}

	answer, err := client.ModelInfer(ctx, request(pixels))
	if err != nil {
		return err
	}
	label, err := int64s(answer, "label")
	if err != nil {
		return err
	}
	fmt.Println("label:", label[0])
	fmt.Println("degraded:", answer.Parameters["accord_degraded"].GetBoolParam())

	_, err = client.ModelInfer(ctx, request(pixels[1:]))
	if err == nil {
		return errors.New("63 pixels were accepted")
	}
	fmt.Println("63 pixels:", reason(err))
	return nil
}

// read reads an image: its pixels as numbers, row by row.
func read(path string) ([]float32, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var pixels []float32
	for _, word := range strings.Fields(string(text)) {
		pixel, err := strconv.ParseFloat(word, 32)
		if err != nil {
			return nil, err
		}
		pixels = append(pixels, float32(pixel))
	}
	return pixels, nil
}

// request asks for one row of pixels, sent raw: elements in row-major order, little-endian.
func request(pixels []float32) *pb.ModelInferRequest {
	raw := make([]byte, 0, 4*len(pixels))
	for _, pixel := range pixels {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(pixel))
	}
	return &pb.ModelInferRequest{
		ModelName: model,
		Inputs: []*pb.ModelInferRequest_InferInputTensor{
			{Name: "pixels", Datatype: "FP32", Shape: []int64{1, int64(len(pixels))}},
		},
		RawInputContents: [][]byte{raw},
	}
}

// int64s decodes an output of datatype INT64; raw contents stand in the order of the outputs.
func int64s(answer *pb.ModelInferResponse, name string) ([]int64, error) {
	for i, output := range answer.Outputs {
		if output.Name == name {
			raw := answer.RawOutputContents[i]
			values := make([]int64, len(raw)/8)
			_, err := binary.Decode(raw, binary.LittleEndian, values)
			return values, err
		}
	}
	return nil, fmt.Errorf("the answer has no output %q", name)
}

// reason finds what a program may act on: the reason in the status' details, a google.rpc.ErrorInfo.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}
