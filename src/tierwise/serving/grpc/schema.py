"""The protocol's gRPC messages, built from their names and field numbers.

No generated code: the messages that an agent speaks are few, and a pool of their own keeps them
apart from whatever other library of the process registers the package ``inference``. Fields that an
agent never reads or writes are left out; protobuf skips them. Source: the Open Inference Protocol's
gRPC service and Triton's repository, statistics and model configuration extensions
(https://github.com/kserve/open-inference-protocol, https://github.com/triton-inference-server).
"""

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"

# One field a line: type, name, number. "*": repeated; "map": from text to the type; "|": one of
# these. A dot names a message that lies in another.
_MESSAGES = {
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready 1",
    "ModelReadyRequest": "string name 1; string version 2",
    "ModelReadyResponse": "bool ready 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": "string name 1; string version 2; *string extensions 3",
    "ModelMetadataRequest": "string name 1; string version 2",
    "ModelMetadataResponse": "string name 1; *string versions 2; string platform 3; "
    "*ModelMetadataResponse.TensorMetadata inputs 4; "
    "*ModelMetadataResponse.TensorMetadata outputs 5",
    "ModelMetadataResponse.TensorMetadata": "string name 1; string datatype 2; *int64 shape 3",
    "InferParameter": "|bool bool_param 1; |int64 int64_param 2; |string string_param 3; "
    "|double double_param 4; |uint64 uint64_param 5",
    "InferTensorContents": "*bool bool_contents 1; *int32 int_contents 2; *int64 int64_contents 3; "
    "*uint32 uint_contents 4; *uint64 uint64_contents 5; *float fp32_contents 6; "
    "*double fp64_contents 7; *bytes bytes_contents 8",
    "ModelInferRequest": "string model_name 1; string model_version 2; string id 3; "
    "map InferParameter parameters 4; *ModelInferRequest.InferInputTensor inputs 5; "
    "*ModelInferRequest.InferRequestedOutputTensor outputs 6; *bytes raw_input_contents 7",
    "ModelInferRequest.InferInputTensor": "string name 1; string datatype 2; *int64 shape 3; "
    "map InferParameter parameters 4; InferTensorContents contents 5",
    "ModelInferRequest.InferRequestedOutputTensor": "string name 1; "
    "map InferParameter parameters 2",
    "ModelInferResponse": "string model_name 1; string model_version 2; string id 3; "
    "map InferParameter parameters 4; *ModelInferResponse.InferOutputTensor outputs 5; "
    "*bytes raw_output_contents 6",
    "ModelInferResponse.InferOutputTensor": "string name 1; string datatype 2; *int64 shape 3; "
    "map InferParameter parameters 4; InferTensorContents contents 5",
    "ModelConfigRequest": "string name 1; string version 2",
    "ModelConfigResponse": "ModelConfig config 1",
    "ModelConfig": "string name 1; string platform 2; ModelVersionPolicy version_policy 3; "
    "int32 max_batch_size 4; *ModelInput input 5; *ModelOutput output 6; "
    "map ModelParameter parameters 14; string backend 17",
    "ModelVersionPolicy": "|ModelVersionPolicy.Latest latest 1",
    "ModelVersionPolicy.Latest": "uint32 num_versions 1",
    "ModelInput": "string name 1; enum:DataType data_type 2; *int64 dims 4",
    "ModelOutput": "string name 1; enum:DataType data_type 2; *int64 dims 3",
    "ModelParameter": "string string_value 1",
    "ModelStatisticsRequest": "string name 1; string version 2",
    "ModelStatisticsResponse": "*ModelStatistics model_stats 1",
    "ModelStatistics": "string name 1; string version 2; uint64 last_inference 3; "
    "uint64 inference_count 4; uint64 execution_count 5; InferStatistics inference_stats 6",
    "InferStatistics": "StatisticDuration success 1; StatisticDuration fail 2; "
    "StatisticDuration queue 3; StatisticDuration compute_input 4; "
    "StatisticDuration compute_infer 5; StatisticDuration compute_output 6; "
    "StatisticDuration cache_hit 7; StatisticDuration cache_miss 8",
    "StatisticDuration": "uint64 count 1; uint64 ns 2",
    "ModelRepositoryParameter": "|bool bool_param 1; |int64 int64_param 2; "
    "|string string_param 3; |bytes bytes_param 4",
    "RepositoryIndexRequest": "string repository_name 1; bool ready 2",
    "RepositoryIndexResponse": "*RepositoryIndexResponse.ModelIndex models 1",
    "RepositoryIndexResponse.ModelIndex": "string name 1; string version 2; string state 3; "
    "string reason 4",
    "RepositoryModelLoadRequest": "string repository_name 1; string model_name 2; "
    "map ModelRepositoryParameter parameters 3",
    "RepositoryModelLoadResponse": "",
    "RepositoryModelUnloadRequest": "string repository_name 1; string model_name 2; "
    "map ModelRepositoryParameter parameters 3",
    "RepositoryModelUnloadResponse": "",
}
_DATA_TYPES = (
    "INVALID", "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64",
    "FP16", "FP32", "FP64", "STRING", "BF16",
)  # fmt: skip

_Field = descriptor_pb2.FieldDescriptorProto


def message_class(name: str) -> Any:
    """The class of a message, by its name in the package."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


def _build() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(
        name="tierwise/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    kinds = file.enum_type.add(name="DataType")
    for number, name in enumerate(_DATA_TYPES):
        kinds.value.add(name=f"TYPE_{name}", number=number)
    made: dict[str, Any] = {}
    for path, fields in _MESSAGES.items():
        outer, _, name = path.rpartition(".")
        siblings = made[outer].nested_type if outer else file.message_type
        made[path] = siblings.add(name=name)
        for text in filter(None, fields.split("; ")):
            _add_field(made[path], path, text)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _add_field(message: Any, path: str, text: str) -> None:
    kind, name, number = text.removeprefix("map ").rsplit(" ", 2)
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if text.startswith("map "):
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        key = entry.field.add(name="key", number=1, label=_Field.LABEL_OPTIONAL)
        _set_type(key, "string")
        value = entry.field.add(name="value", number=2, label=_Field.LABEL_OPTIONAL)
        _set_type(value, kind)
        field.label = _Field.LABEL_REPEATED
        _set_type(field, f"{path}.{entry.name}")
        return
    if kind.startswith("*"):
        field.label = _Field.LABEL_REPEATED
    if kind.startswith("|"):
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    _set_type(field, kind.lstrip("*|"))


def _set_type(field: Any, kind: str) -> None:
    if kind.startswith("enum:"):
        field.type, field.type_name = _Field.TYPE_ENUM, f".{PACKAGE}.{kind.removeprefix('enum:')}"
    elif kind[0].islower():
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f".{PACKAGE}.{kind}"


POOL = _build()
