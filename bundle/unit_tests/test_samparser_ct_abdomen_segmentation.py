"""The bundle's workflows on small random volumes, as the model zoo's own tests run them.

Run it where ``models/samparser_ct_abdomen_segmentation`` lies, or set BUNDLE_ROOT.
"""

import json
import os
import shutil
import sys
import tempfile
import unittest
from pathlib import Path

import nibabel as nib
import numpy as np
from monai.bundle import ConfigWorkflow

ROOT = os.environ.get("BUNDLE_ROOT", "models/samparser_ct_abdomen_segmentation")
sys.path.insert(0, ROOT)


class TestSamparserCTAbdomenSegmentation(unittest.TestCase):
    """Training, evaluation and inference from the shipped configurations."""

    def setUp(self) -> None:
        """Write three volumes with an organ that is a block of bright noise."""
        self.folder = Path(tempfile.mkdtemp())
        self.data = self.folder / "data"
        random = np.random.default_rng(0)
        self.data = self.folder / "data"
        for name in ("images", "labels"):
            (self.data / name).mkdir(parents=True)
        for n in range(3):
            label = np.zeros((64, 64, 4), np.uint8)
            label[16:48, 16:48] = 1
            image = (100 * label + random.normal(0, 9, label.shape)).astype(np.int16)
            for name, values in (("images", image), ("labels", label)):
                volume = nib.Nifti1Image(values, np.diag([-1.0, -1.0, 3.0, 1.0]))
                nib.save(volume, self.data / name / f"case_{n}.nii.gz")
        prompt = {"label": "liver", "box": [16, 16, 0, 47, 47, 3]}
        prompts = {f"case_{n}": [prompt] for n in range(3)}
        (self.folder / "prompts.json").write_text(json.dumps(prompts))

    def tearDown(self) -> None:
        """Remove what was written."""
        shutil.rmtree(self.folder)

    def workflow(self, kind: str, *names: str, **override: object) -> ConfigWorkflow:
        """Return the workflow of some configurations, on the small backbone of the tests."""
        return ConfigWorkflow(
            workflow_type=kind,
            config_file=[os.path.join(ROOT, "configs", f"{name}.json") for name in names],
            logging_file=os.path.join(ROOT, "configs", "logging.conf"),
            meta_file=os.path.join(ROOT, "configs", "metadata.json"),
            bundle_root=ROOT,
            backbone="tiny",
            dataset_dir=str(self.data),
            ckpt_dir=str(self.folder / "models"),
            output_dir=str(self.folder / "eval"),
            **override,
        )

    def check(self, workflow: ConfigWorkflow, properties: bool = True) -> None:
        """Initialize, check the properties, run and finalize a workflow."""
        workflow.initialize()
        if properties:
            self.assertFalse(workflow.check_properties())
        workflow.run()
        workflow.finalize()

    def test_train_evaluate_and_infer(self) -> None:
        """Each workflow works on what the one before has left."""
        options = {"epochs": 1, "cache_dir": str(self.folder / "cache"), "min_volume": 100}
        self.check(self.workflow("train", "train", **options))
        self.assertTrue((self.folder / "models" / "model.pt").exists())
        self.check(self.workflow("train", "train", "evaluate", **options), properties=False)
        self.assertTrue((self.folder / "eval" / "summary.json").exists())
        prompts = str(self.folder / "prompts.json")
        self.check(self.workflow("infer", "inference", prompts=prompts))
        found = nib.load(self.folder / "eval" / "case_0.nii.gz")
        self.assertEqual(found.shape, (64, 64, 4))


if __name__ == "__main__":
    unittest.main()
