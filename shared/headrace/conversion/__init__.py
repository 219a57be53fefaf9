"""Converting models of scikit-learn, XGBoost and LightGBM to ONNX, with a parity report.

    report = convert(Path("model"))      # an MLflow model folder, or one .skops/.pkl/.joblib file
    report.holds, report.reason

Beside the model a folder `onnx/` appears with `parity.json` and, only when both models answer
alike, `model.onnx`; serving then takes that one. The model itself stays as it is, so that the
whole can be registered as one version. It is loaded in a confined child process, which matters
for pickled ones; needs the extra `headrace[convert]`.
"""

from headrace.conversion.converting import Converted, convert, converted
from headrace.conversion.process import Limits
from headrace.conversion.report import OutputParity, ParityReport

__all__ = ["Converted", "Limits", "OutputParity", "ParityReport", "convert", "converted"]
