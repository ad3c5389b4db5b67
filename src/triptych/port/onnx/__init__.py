"""ONNX files: read by their operators, written with opset 20, run by onnxruntime and by the
reference evaluator, which knows float64.

``operators.py`` has a function for each operator that is read, ``writing.py`` one for each layer
that is written. No other format belongs here.
"""

from triptych.port.onnx.porter import PORTER

__all__ = ["PORTER"]
