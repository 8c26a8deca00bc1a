"""What would be measured twice under two names is measured once, and the others say whose it is."""

from dataclasses import dataclass

from tierwise.caveats import ResultWarning, WarningKind
from tierwise.operators.strategy import Operator
from tierwise.study.left_out import same_as_others, slower_than_fp32


@dataclass
class Record:
    sha256: str


@dataclass
class Variant:
    record: Record


def variants(**files):
    return {Operator(name): Variant(Record(sha256)) for name, sha256 in files.items()}


def test_nothing_is_left_out_where_every_variant_is_a_file_of_its_own():
    assert not same_as_others(tuple(Operator), variants(I="i", Q="q", E="e", QE="qe"))


def test_where_quantizing_kept_fp32_its_strategies_are_those_without_it():
    found = same_as_others(tuple(Operator), variants(I="i", Q="i", E="e", QE="e"))
    assert {op.value: why.split(":")[0] for op, why in found.items()} == {
        "Q": "the same as I",
        "QE": "the same as E",
        "QP": "the same as P",
        "QEP": "the same as EP",
    }
    assert found[Operator.Q] == "the same as I: quantizing changed nothing"


def test_where_no_block_can_be_skipped_the_exit_does_nothing():
    found = same_as_others(tuple(Operator), variants(I="i", Q="q"))
    assert {op.value: why for op, why in found.items()} == {
        "E": "the same as I: no block is skipped",
        "QE": "the same as Q: no block is skipped",
        "EP": "the same as P: no block is skipped",
        "QEP": "the same as QP: no block is skipped",
    }


def test_where_neither_does_anything_all_are_the_model_as_it_is():
    found = same_as_others(tuple(Operator), variants(I="i", Q="i"))
    assert [op.value for op in Operator if op not in found] == ["I", "P"]
    assert (
        found[Operator.QEP] == "the same as P: no block is skipped and quantizing changed nothing"
    )


def test_one_that_stands_alone_is_measured_under_its_own_name():
    kept = variants(I="i", Q="i", E="e", QE="e")
    assert not same_as_others((Operator.I, Operator.QP), kept)
    without_exit = same_as_others((Operator.I, Operator.EP), variants(I="i"))
    assert without_exit == {Operator.EP: "no block is skipped"}


def test_a_quantized_model_is_not_measured_on_a_tier_where_8_bits_are_slower():
    kind = WarningKind.INT8_SLOWER
    warnings = [
        ResultWarning(kind, "Q", "Kept fp32.", ""),
        ResultWarning(kind, "cloud/Q", "On cloud it takes 1.2 x the time of fp32.", ""),
        ResultWarning(WarningKind.RETRIED, "edge/Q", "It was.", ""),
    ]
    assert slower_than_fp32(warnings) == {"cloud/Q": "8 bits are no faster than fp32 there"}
