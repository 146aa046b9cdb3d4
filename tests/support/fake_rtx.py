"""TensorRT-RTX whose engine is an ONNX file, run by ONNX Runtime in the "device" memory of fake_cuda."""

import ctypes
import math

import numpy as np
import onnx
import onnxruntime

MOST = (8, 288, 320)


class FakeRtx:
    """As much of ``tensorrt_rtx_bindings`` as the engine calls."""

    def __init__(self):
        self.Logger = type("Logger", (), {"WARNING": 2, "__init__": lambda _self, _level: None})

    def Runtime(self, _logger):  # noqa: N802  its name there
        return self

    def nptype(self, kind):
        return kind

    def deserialize_cuda_engine(self, data):
        try:
            model = onnx.load_from_string(data)
        except Exception:  # noqa: BLE001  protobuf's own
            return None
        return _Engine(model)


class _Engine:
    def __init__(self, model):
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        self.names = [item.name for item in (*self.session.get_inputs(), *self.session.get_outputs())]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, number):
        return self.names[number]

    def get_tensor_dtype(self, name):
        return {"frame": np.uint8, "num_dets": np.int32, "det_classes": np.int32}.get(name, np.float32)

    def get_tensor_profile_shape(self, _name, _profile):
        return (1, 3, 2), (4, *MOST[1:]), MOST

    def create_execution_context(self):
        return _Context(self)


class _Context:
    def __init__(self, engine):
        self.engine = engine
        self.addresses = {}

    def set_input_shape(self, _name, shape):
        self.shape = shape

    def set_tensor_address(self, name, address):
        self.addresses[name] = address

    def get_tensor_shape(self, name):
        if name == "frame":
            return self.shape
        sides = next(item.shape for item in self.engine.session.get_outputs() if item.name == name)
        return (self.shape[0], *sides[1:])

    def execute_async_v3(self, _stream):
        frames = ctypes.string_at(self.addresses["frame"], math.prod(self.shape))
        frames = np.frombuffer(frames, np.uint8).reshape(self.shape)
        names = self.engine.names[1:]
        for name, values in zip(names, self.engine.session.run(names, {"frame": frames}), strict=True):
            ctypes.memmove(self.addresses[name], np.ascontiguousarray(values).ctypes.data, values.nbytes)
        return True
