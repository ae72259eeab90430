import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.attacks.threat import NORMS, Threat

threats = st.sampled_from(NORMS).flatmap(
    lambda norm: st.builds(Threat, st.just(norm), st.floats(min_value=1e-6, max_value=1.0 if norm == "Linf" else 1e4))
)


@given(threats)
def test_text_reads_back_as_the_same_threat(threat: Threat) -> None:
    assert Threat.parse(str(threat)) == threat


@pytest.mark.parametrize(
    ("text", "threat"),
    [
        ("Linf:0.1", Threat("Linf", 0.1)),
        ("linf:8/255", Threat("Linf", 8 / 255)),
        (" L2 : 1.5 ", Threat("L2", 1.5)),
        ("L1:12", Threat("L1", 12.0)),
        ("Linf:1", Threat("Linf", 1.0)),
        ("Linf:255/255", Threat("Linf", 1.0)),
    ],
)
def test_parse_accepts_fractions_and_spaces(text: str, threat: Threat) -> None:
    assert Threat.parse(text) == threat


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("0.1", "write NORM:EPS"),
        ("L3:0.1", "use one of Linf, L2, L1"),
        ("L2:", "write a number"),
        ("L2:big", "write a number"),
        ("L2:1/0", "write a number"),
        ("Linf:8/", "write a number"),
        ("L2:1/ ", "write a number"),
        ("L2:/255", "write a number"),
        ("Linf:8", r"did you mean Linf:8/255\?"),
        ("Linf:1.01", "in \\[0, 1\\]"),
        ("L2:0", "positive finite"),
        ("L2:-1", "positive finite"),
        ("L2:nan", "positive finite"),
        ("L1:inf", "positive finite"),
    ],
)
def test_parse_says_what_to_write_instead(text: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        Threat.parse(text)


def test_only_text_is_refused_for_a_radius_wider_than_the_pixels() -> None:
    assert Threat("Linf", 8).eps == 8


def test_equal_threats_share_a_dictionary_entry() -> None:
    assert {Threat("L2", 1.5): "kept"}[Threat.parse("L2:1.5")] == "kept"
