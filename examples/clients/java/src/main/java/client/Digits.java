package client;

import com.google.protobuf.Any;
import com.google.protobuf.ByteString;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.ErrorInfo;
import inference.GRPCInferenceServiceGrpc;
import inference.GRPCInferenceServiceGrpc.GRPCInferenceServiceBlockingStub;
import inference.ModelInferRequest;
import inference.ModelInferRequest.InferInputTensor;
import inference.ModelInferResponse;
import inference.ModelMetadataRequest;
import inference.ModelMetadataResponse.TensorMetadata;
import inference.ServerReadyRequest;
import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;

/** Asks the ensemble "digits" of examples/digits.yaml from Java, with stubs generated from ../protos. */
public final class Digits {
  private static final String MODEL = "digits";

  private final GRPCInferenceServiceBlockingStub stub;

  private Digits(ManagedChannel channel) {
    stub = GRPCInferenceServiceGrpc.newBlockingStub(channel);
  }

  public static void main(String[] arguments) throws IOException {
    if (arguments.length != 2) {
      System.err.println("usage: Digits HOST:PORT IMAGE");
      System.exit(2);
    }
    String[] words = Files.readString(Path.of(arguments[1])).trim().split("\\s+");
    double[] pixels = Stream.of(words).mapToDouble(Double::parseDouble).toArray();
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    try {
      new Digits(channel).run(pixels);
    } finally {
      channel.shutdownNow();
    }
  }

  private void run(double[] pixels) throws InvalidProtocolBufferException {
    var server = timed().serverReady(ServerReadyRequest.getDefaultInstance());
    System.out.println("ready: " + server.getReady());

    var metadata = timed().modelMetadata(ModelMetadataRequest.newBuilder().setName(MODEL).build());
    for (var tensors : Arrays.asList(metadata.getInputsList(), metadata.getOutputsList())) {
      for (TensorMetadata tensor : tensors) {
        System.out.println(tensor.getName() + " " + tensor.getDatatype() + " " + tensor.getShapeList());
      }
    }

    ModelInferResponse answer = timed().modelInfer(request(pixels));
    System.out.println("label: " + raw(answer, "label").getLong());
    System.out.println("degraded: " + answer.getParametersOrThrow("accord_degraded").getBoolParam());

    try {
      timed().modelInfer(request(Arrays.copyOfRange(pixels, 1, pixels.length)));
    } catch (StatusRuntimeException error) {
      System.out.println("63 pixels: " + reason(error));
    }
  }

  /** Every member works within this deadline. */
  private GRPCInferenceServiceBlockingStub timed() {
    return stub.withDeadlineAfter(10, TimeUnit.SECONDS);
  }

  /** One row of pixels, sent raw: elements in row-major order, little-endian. */
  private static ModelInferRequest request(double[] pixels) {
    ByteBuffer raw = ByteBuffer.allocate(4 * pixels.length).order(ByteOrder.LITTLE_ENDIAN);
    for (double pixel : pixels) {
      raw.putFloat((float) pixel);
    }
    return ModelInferRequest.newBuilder()
        .setModelName(MODEL)
        .addInputs(
            InferInputTensor.newBuilder()
                .setName("pixels")
                .setDatatype("FP32")
                .addShape(1)
                .addShape(pixels.length))
        .addRawInputContents(ByteString.copyFrom(raw.flip()))
        .build();
  }

  /** The elements of an output; raw contents stand in the order of the outputs. */
  private static ByteBuffer raw(ModelInferResponse answer, String name) {
    for (int at = 0; at < answer.getOutputsCount(); at++) {
      if (answer.getOutputs(at).getName().equals(name)) {
        return answer.getRawOutputContents(at).asReadOnlyByteBuffer().order(ByteOrder.LITTLE_ENDIAN);
      }
    }
    throw new IllegalStateException("the answer has no output " + name);
  }

  /** What a program may act on: the reason in the status' details, a google.rpc.ErrorInfo. */
  private static String reason(StatusRuntimeException error) throws InvalidProtocolBufferException {
    for (Any detail : StatusProto.fromThrowable(error).getDetailsList()) {
      if (detail.is(ErrorInfo.class)) {
        return detail.unpack(ErrorInfo.class).getReason();
      }
    }
    return "";
  }
}
