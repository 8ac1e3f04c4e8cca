"""Which attacks failed: they are shown, and kept out of every average over attacks and ranking."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from bdb.layout import CLEAN_ATTACK, control_of, is_control
from bdb.report import fields

UNDEFENDED = "none"
MIN_ASR, MAX_C_ACC_LOSS = 0.8, 0.03
COLUMN = "failed_attack"
COLUMNS = [COLUMN, "validity"]
NAME = "failed attack"
NO_CONTROL = "no control: only ASR is judged"
IMPORTED = "imported"  # the recipe of victims that were trained elsewhere
_CONTROL_KEYS = ["dataset", "model", "seed", "recipe", "clean_set", "_shared"]
_VICTIM = [*_CONTROL_KEYS, "attack", "poison_ratio", "_attack"]
_ROUNDED = 9  # 0.95 - 0.92 is a little more than 0.03


def judge(
    board: pd.DataFrame, min_asr: float = MIN_ASR, max_c_acc_loss: float = MAX_C_ACC_LOSS
) -> pd.DataFrame:
    """Judge every run by its undefended victim.

    Args:
        board: rows of `bdb.report.board`: keys, seed, setting, `c_acc` and `asr`.
        min_asr: a fraction; an attack that reaches less has failed.
        max_c_acc_loss: a fraction; so has one that costs its victim more against the control of the
            same data, model and seed, trained as it was where there is such a one. Of an imported
            victim nobody knows how that was: its control may be trained in any way.

    Returns:
        On the same index, `failed_attack` (bool) and `validity`: why, or what could not be judged.
    """
    rows = board.assign(**_parts(board))
    victims = rows[rows["defense"] == UNDEFENDED]
    is_clean = victims["attack"].map(is_control).astype(bool)
    clean = victims[is_clean]
    anyhow = clean.assign(recipe=IMPORTED)
    trained = pd.concat([clean, anyhow.assign(**_parts(anyhow))])
    controls = trained.groupby([*_CONTROL_KEYS, "attack"])["c_acc"].mean()
    attacked = victims[~is_clean].groupby(_VICTIM)[["c_acc", "asr"]].mean()
    pairs = zip(attacked["asr"], attacked["c_acc"], _before(attacked, controls), strict=True)
    verdicts = [_verdict(*pair, min_asr, max_c_acc_loss) for pair in pairs]
    judged = pd.DataFrame(verdicts, index=attacked.index, columns=pd.Index(COLUMNS))
    found = judged.reindex(pd.MultiIndex.from_frame(rows[_VICTIM]))
    failed = found["failed_attack"].eq(True).to_numpy()
    said = found["validity"].fillna("").to_numpy()
    return pd.DataFrame({COLUMNS[0]: failed, COLUMNS[1]: said}, index=board.index)


def _before(attacked: pd.DataFrame, controls: pd.Series) -> np.ndarray:
    """The C-Acc of each victim's control: of that which was trained as it was, if there is one."""
    levels = attacked.index.get_level_values
    places = [levels(name) for name in _CONTROL_KEYS]
    own, usual = (
        controls.reindex(pd.MultiIndex.from_arrays([*places, names])).to_numpy(dtype=float)
        for names in (levels("attack").map(control_of), [CLEAN_ATTACK] * len(attacked))
    )
    return np.where(np.isnan(own), usual, own)


def counted(board: pd.DataFrame, keys: Sequence[str]) -> pd.DataFrame:
    """The rows that make a group's mean: those of attacks that worked, or all if none did."""
    works = ~board["failed_attack"]
    any_works = works.groupby([board[name] for name in keys]).transform("any")
    return board[works | ~any_works]


def _verdict(
    asr: float, c_acc: float, before: float, min_asr: float, max_loss: float
) -> tuple[bool, str]:
    loss = round(before - c_acc, _ROUNDED)
    reasons = []
    if asr < min_asr:
        reasons.append(f"ASR {100 * asr:.1f} % is below {100 * min_asr:g} %")
    if loss > max_loss:
        lost = f"C-Acc {100 * loss:.1f} points below the control's"
        reasons.append(f"{lost}, more than {100 * max_loss:g}")
    failed = bool(reasons)
    if math.isnan(before):
        reasons.append(NO_CONTROL)
    return failed, "; ".join(reasons)


def _parts(board: pd.DataFrame) -> dict[str, list[str]]:
    """The setting of each row's victim: what concerns the attack, and what all attacks share."""
    shared, own = [], []
    names = ("setting", "attack", "defense", "recipe")
    for setting, attack, defense, recipe in zip(*(board[name] for name in names), strict=True):
        of_victim = fields.without(setting, defense)
        own.append(fields.of(of_victim, attack))
        of_victim = fields.without(of_victim, attack)
        shared.append(fields.without(of_victim, "training") if recipe == IMPORTED else of_victim)
    return {"_shared": shared, "_attack": own, "clean_set": fields.of_victims(board)}
