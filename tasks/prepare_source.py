"""The trained original: a checkpoint, checked by what it scores, or a training here (validation held out)."""

from __future__ import annotations

from dataclasses import asdict

from seam.files import write_csv
from seam.networks.source import save_source
from tasks.inputs.made_source import made_source
from tasks.project.stage import StageContext, StageResult, main


def prepare_source(context: StageContext) -> StageResult:
    """Load or train the source, measure it on val (a given checkpoint on test too), publish it with its hash.

    Raises:
        SourceError: a checkpoint that cannot be had or does not fit, or does not score what it
            should on this data.
    """
    dataset = context.artifact("validate_data", "dataset.safetensors")
    made = made_source(context, dataset, context.work_folder)
    info = made.info
    with context.publish() as out:
        save_source(made.network, info, out)
        write_csv(out / "history.csv", ("epoch", "loss", "val_accuracy"), map(asdict, made.history))
    on_test = {} if info.test_accuracy is None else {"test_accuracy": info.test_accuracy}
    measured = {"val_accuracy": info.val_accuracy} | on_test
    return context.result({**measured, "params_total": info.params_total, "trained_here": info.trained_here})


if __name__ == "__main__":
    main(prepare_source, __doc__)
