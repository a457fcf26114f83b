"""A backend from outside of the package; CONTRIBUTING.md shows it."""

import numpy as np

from sleap_infer.model import find_model_files
from sleap_infer.runners import BackendFacts, BaseInferenceRunner
from sleap_infer.runners.graph.io import require_export, run_graph, thresholds


class ToyRunner(BaseInferenceRunner):
    """Runs exported graphs."""

    backend = "toy"
    facts = BackendFacts(
        label="Toy",
        imports=("onnxruntime",),
        packages=("toy-backend",),
        install="pip install toy-backend",
        export_format="onnx",
    )

    def __init__(self, session, opening):
        super().__init__(opening.spec, opening.settings, opening.returned)
        self.session = session
        names = [item.name for item in (*session.get_inputs(), *session.get_overridable_initializers())]
        self.thresholds = thresholds(opening.settings, names)

    @classmethod
    def _open(cls, opening):
        import onnxruntime  # only here: listing backends imports no runtime

        require_export(opening.spec, opening.returned, cls.backend)
        path = find_model_files(opening.path).weights
        return cls(onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]), opening)

    def _predict(self, images):
        return run_graph(self._call, images, self.spec)

    def _call(self, images: np.ndarray) -> dict[str, np.ndarray]:
        names = [item.name for item in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, {"image": images, **self.thresholds}), strict=True))
