"""What several analyses share."""

from bdb.analyses import common
from bdb.report import style


def test_of_many_layers_some_are_named_and_the_last_is() -> None:
    names = [f"layer{at}" for at in range(50)]
    axes = style.new_figure(2, 2).subplots()
    common.name_layers(axes.xaxis, names)
    common.name_layers(axes.yaxis, names[:24])
    many = [text.get_text() for text in axes.get_xticklabels()]
    few = [text.get_text() for text in axes.get_yticklabels()]
    assert many[-4:] == ["layer46", "", "", "layer49"]  # every third
    assert len(many) == 50
    assert sum(map(bool, many)) == 17
    assert few == names[:24]
