"""`--tracking mlflow`: parameters, numbers to an epoch, and what a run has written."""

from pathlib import Path

import pytest
import torch
from conftest import ct, run, save_volume

from samparser_monai import methods
from samparser_monai.sam import build

mlflow = pytest.importorskip("mlflow")


def artifacts(client: object, run_id: str) -> set[str]:
    return {Path(found.path).name for found in client.list_artifacts(run_id)}


def test_training_and_evaluating_are_tracked(
    dataset: Path, overrides: dict, tmp_path: Path
) -> None:
    overrides |= {"dataset_dir": str(dataset), "tracking": "mlflow"}
    run("train", "train", run_id="training", **overrides)
    run("train", "train", "evaluate", run_id="evaluating", **overrides)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/eval/mlruns.db")
    (experiment,) = client.search_experiments(filter_string="name = 'monai_experiment'")
    judged, trained = client.search_runs([experiment.experiment_id])
    epochs = client.get_metric_history(trained.info.run_id, "dsc")
    assert [point.step for point in epochs] == [1, 2]
    assert client.get_metric_history(trained.info.run_id, "train_loss")
    assert trained.data.params["max_epochs"] == "2"
    assert {"tuned.safetensors", "curve.png"} <= artifacts(client, trained.info.run_id)
    found = artifacts(client, judged.info.run_id)
    assert {"summary.json", "metrics.csv"} <= found
    assert any(name.endswith(".png") for name in found)


def test_inference_is_tracked(tmp_path: Path) -> None:
    image, label = ct(0)
    save_volume(tmp_path / "images" / "c.nii.gz", image)
    save_volume(tmp_path / "coarse" / "c.nii.gz", label)
    torch.save(methods.coefficients(build("tiny")).state_dict(), tmp_path / "model.pt")
    run(
        "infer",
        "inference",
        run_id="inference",
        bundle_root=str(tmp_path),
        backbone="tiny",
        model_file=str(tmp_path / "model.pt"),
        prompts=str(tmp_path / "coarse"),
        tracking="mlflow",
    )
    (database,) = tmp_path.rglob("mlruns.db")
    client = mlflow.MlflowClient(f"sqlite:///{database}")
    (experiment,) = client.search_experiments(filter_string="name = 'monai_experiment'")
    (tracked,) = client.search_runs([experiment.experiment_id])
    assert {"cases.csv", "index.html"} <= artifacts(client, tracked.info.run_id)
