"""All results, as frozen dataclasses of plain values that every other module can share."""

from __future__ import annotations

from lrscout.results.batch_size import (
    BatchSizeResult,
    BatchStopReason,
    GradientNoise,
    LoaderTiming,
    Loading,
    MemoryBudget,
    MemoryEstimate,
    MemoryModel,
    NoiseMoment,
    Outcome,
    OwnSize,
    ScaledRate,
    Split,
    StepTiming,
    Throughput,
    Trial,
)
from lrscout.results.check import BatchField, Check, CheckResult, CheckStatus
from lrscout.results.comparison import (
    ComparedRun,
    CompareResult,
    Difference,
    FinalMetric,
    Metric,
    RankedSchedule,
    RateRange,
    Role,
    RunStatus,
    Verdict,
)
from lrscout.results.learning_rate import (
    Confidence,
    LrResult,
    OptimizerResult,
    Probe,
    Probing,
    Refinement,
    SeedSweep,
    StopReason,
    Suggestion,
    SweepPoint,
    SweepResult,
    Use,
)
from lrscout.results.record import (
    PLACEHOLDERS,
    SCHEMA,
    CommandTarget,
    RunRecord,
    Status,
    Target,
    TargetOnRanks,
)
from lrscout.results.run import TrainRunResult
from lrscout.results.training import (
    TrainingPoint,
    TrainingResult,
    TrainingStatus,
)
from lrscout.results.tuning import StageStatus, TunedStage, TuneResult

__all__ = [
    "StageStatus",
    "TuneRecord",
    "TuneResult",
    "TunedStage",
    "ScaledRate",
    "StepTiming",
    "NoiseMoment",
    "GradientNoise",
    "BatchField",
    "BatchSizeRecord",
    "BatchSizeResult",
    "BatchStopReason",
    "Check",
    "CheckRecord",
    "CheckResult",
    "CheckStatus",
    "CompareRecord",
    "CommandTarget",
    "CompareResult",
    "ComparedRun",
    "Confidence",
    "Difference",
    "FinalMetric",
    "LoaderTiming",
    "Loading",
    "LrRecord",
    "LrResult",
    "MemoryBudget",
    "MemoryEstimate",
    "MemoryModel",
    "Metric",
    "Outcome",
    "OptimizerResult",
    "OwnSize",
    "PLACEHOLDERS",
    "Probe",
    "Probing",
    "RESULTS",
    "RankedSchedule",
    "TargetOnRanks",
    "RateRange",
    "Refinement",
    "Role",
    "RunRecord",
    "RunStatus",
    "SCHEMA",
    "SeedSweep",
    "Split",
    "Status",
    "StopReason",
    "Suggestion",
    "SweepPoint",
    "SweepResult",
    "Target",
    "Throughput",
    "TrainRunRecord",
    "TrainRunResult",
    "TrainingPoint",
    "TrainingResult",
    "TrainingStatus",
    "Trial",
    "Use",
    "Verdict",
]

CheckRecord = RunRecord[CheckResult]
LrRecord = RunRecord[LrResult]
BatchSizeRecord = RunRecord[BatchSizeResult]
CompareRecord = RunRecord[CompareResult]
TrainRunRecord = RunRecord[TrainRunResult]
TuneRecord = RunRecord[TuneResult]

RESULTS: dict[str, type] = {
    "check": CheckResult,
    "find-lr": LrResult,
    "find-batch-size": BatchSizeResult,
    "compare-schedulers": CompareResult,
    "run": TrainRunResult,
    "tune": TuneResult,
}
"""The result class of each command."""
