from dataclasses import replace

from tierwise.recommend.as_json import as_json
from tierwise.recommend.blocks import in_fewer_blocks, measured_text
from tierwise.recommend.verdict import recommend
from tierwise.testing.results import made_up_results


def left_out_after(results, strategy_id, blocks):
    """As if a look had shown it to be slower."""
    trials = tuple(
        replace(
            trial,
            latency_s=trial.latency_s[:blocks],
            block=trial.block[:blocks],
            input_index=trial.input_index[:blocks],
            parts_s={part: seconds[:blocks] for part, seconds in trial.parts_s.items()},
            energy_j=trial.energy_j[:blocks],
        )
        if trial.strategy.id == strategy_id
        else trial
        for trial in results.trials
    )
    return replace(results, trials=trials)


def test_a_strategy_with_fewer_blocks_than_the_others_is_named_with_their_number():
    results = left_out_after(made_up_results(blocks=60), "cloud/I", 30)
    found = recommend(results)
    assert in_fewer_blocks(found.verdicts[0]) == {"cloud/I": 30}
    (told,) = as_json(found)["measured"]
    assert told["in_fewer_blocks"] == {"cloud/I": 30}
    assert in_fewer_blocks(recommend(left_out_after(results, "edge/I", 57)).verdicts[0]) == {
        "cloud/I": 30
    }


def test_json_says_why_measuring_stopped_and_which_blocks_were_disturbed():
    (told,) = as_json(recommend(made_up_results(blocks=20)))["measured"]
    assert told["stopped"] == "all that the study asks for are measured"
    assert [one["block"] for one in told["disturbed"]] == [9, 19]
    assert told["plan"]["target_relative_width"] == 0.02
    assert told["late_share"] is None
    assert told["warm_up"]["requests"] > 0


def test_in_words_it_is_one_line():
    (measured,) = made_up_results(blocks=20).measured.values()
    assert measured_text(measured) == (
        "20 blocks: all that the study asks for are measured; 2 of them disturbed"
    )
    late = replace(
        measured,
        plan={**measured.plan, "arrivals_per_s": 5.0},
        blocks=tuple(replace(block, late=1) for block in measured.blocks[:8]),
    )
    share = 1 / measured.blocks[0].requests
    assert measured_text(late) == (
        f"8 blocks: all that the study asks for are measured; {share:.1%} of the requests sent late"
    )
