"""How far the making of a student is: on a bar and on the run page."""

from __future__ import annotations

from tqdm import tqdm

from seam.configs.methods import TransferConfig
from seam.methods.protocol import Watch
from seam.search.result import Round
from seam.training.batches import whole_epochs
from seam.training.loop import Epoch
from tasks.project.stage import StageContext

TRAINED = 0.9
"""Share of the progress at which training is over, and measuring begins."""


def watch_student(context: StageContext, config: TransferConfig, num_train: int) -> Watch:
    """Keeps the state beside the outputs; shows every round and epoch on a bar and on the run page."""
    name = context.student
    trainings = config.trainings(name.row.training_of(config))
    each = [whole_epochs(training, num_train) for training in trainings]
    rounds, now_trying = name.row.rounds_of(config), 0
    total = rounds + sum(each)
    bar = tqdm(total=total, desc=f"{context.name} {name}", unit="epoch", disable=None)

    def show(done: int, text: str) -> None:
        bar.update(done - bar.n)
        bar.set_postfix_str(text)
        context.progress(TRAINED * done / max(1, total), text)

    def on_setting(number: int) -> None:
        nonlocal now_trying
        now_trying = number

    def on_round(now: Round) -> None:
        show(
            now.round + 1,
            f"round {now.round + 1}/{rounds}, density {now.density:.3f}, val accuracy {now.val_accuracy:.3f}",
        )

    def on_epoch(now: Epoch) -> None:
        done, of = rounds + sum(each[:now_trying]) + now.epoch, f"{now.epoch}/{each[now_trying]}"
        setting = f", setting {now_trying + 1}/{len(each)}" if len(each) > 1 else ""
        show(done, f"epoch {of}{setting}, val accuracy {now.val_accuracy:.3f}")
        if done == total:
            bar.close()

    return Watch(context.work_folder, on_round, on_epoch, on_setting)
