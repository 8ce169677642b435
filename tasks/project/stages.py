"""Which stages there are, of what, in what order."""

from __future__ import annotations

SHARED_STAGES = ("describe_machine", "validate_data", "prepare_source")
PROBLEM_STAGES = (
    "split_dataset",
    "search",
    "finetune",
    "evaluate",
    "evaluate_robustness",
    "benchmark_latency",
    "register_model",
)
STAGES = ("describe_machine", "validate_data", "split_dataset", "prepare_source", *PROBLEM_STAGES[1:])
"""Every stage of `seam run`, in the order they run."""
TARGET_STAGES = (
    "validate_target",
    "fetch_source",
    "attack_target",
    "transfer",
    "compare_transfers",
    "register_transfer",
)
TRANSFER_STAGES = ("describe_machine", *TARGET_STAGES)
"""Every stage of `seam transfer`, in the order they run; `transfer` runs once for each student."""
