"""What a search found, as a page shows it."""

from __future__ import annotations

import math

from camshaft.accuracy.search import Account
from camshaft.report.page.data import Accuracy, Histogram, LayerNoise, Point, Trial
from camshaft.session import BuildSession


def accuracy_of(session: BuildSession) -> Accuracy | None:
    """The page's part on accuracy, of a session after `run`; None where nothing was measured."""
    account = session.account
    if account is None:
        return None
    noise = tuple(
        LayerNoise(" + ".join(unit), db, _precision(session, unit))
        for unit, db in account.decibels.items()
    )
    histograms = tuple(
        Histogram(seen.tensor, seen.counts, seen.edges, seen.low, seen.high)
        for seen in account.histograms
    )
    return Accuracy(
        noise,
        histograms,
        _front(account),
        _tried(account),
        account.metric or "score",
        math.nan if account.reference is None else account.reference,
        account.allowed,
    )


def _precision(session: BuildSession, unit: tuple[str, ...]) -> str:
    reasons = (session.reasons.get(layer, "") for layer in unit)
    return next((why.partition(":")[0] for why in reasons if why), "")


def _tried(account: Account) -> tuple[Trial, ...]:
    made, before = [], account.reference
    for repair in account.repairs:
        made.append(Trial(repair.what, math.nan, math.nan, math.nan, repair.words))
    for trial in account.trials:
        gain = 0.0 if before is None else trial.score - before
        spent = math.nan if trial.time_us is None else trial.time_us / 1e3
        words = f"{trial.kept} layers in float for their noise" if trial.kept else ""
        made.append(Trial(trial.what, trial.score, gain, spent, words))
        before = trial.score
    return tuple(made)


def _front(account: Account) -> tuple[Point, ...]:
    """Of the engines that were timed those of which no faster one is as good."""
    timed = [t for t in account.trials if t.time_us is not None]
    timed.sort(key=lambda t: (t.time_us or 0.0, -t.score))
    front: list[Point] = []
    for trial in timed:
        if not front or trial.score > front[-1].score:
            chosen = trial is account.chosen
            front.append(Point(trial.what, (trial.time_us or 0.0) / 1e3, trial.score, chosen))
    return tuple(front)
