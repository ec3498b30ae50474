from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from auditwire.cli.show_markup import Html, element, joined, said, visible


class Reader(HTMLParser):
    """What a browser would make of it: tags and texts."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@given(st.text(), st.text())
def test_no_text_becomes_markup(text: str, value: str) -> None:
    read = Reader(element("p", text, title=value))
    assert read.tags == [("p", {"title": visible(value)})]
    assert read.text == visible(text)


@given(st.text())
def test_what_is_visible_is_printable_and_one_to_one_for_what_was(text: str) -> None:
    assert visible(text).isprintable()
    assert text.isprintable() == (visible(text) == text)


def test_marks_that_turn_the_direction_and_control_characters_become_escapes() -> None:
    assert visible("a\u202eb\u0000c\ud800d\u200f") == "a\\u202eb\\x00c\\ud800d\\u200f"
    assert visible("a\nb", keep="\n") == "a\nb"


def test_what_is_no_value_is_left_out_and_true_needs_none() -> None:
    assert element("p", None, id=None, hidden=False, open=True, class_="a", data_x=1) == (
        '<p open class="a" data-x="1"></p>'
    )


def test_an_element_without_an_end_has_none() -> None:
    assert element("input", type="search") == '<input type="search">'


def test_elements_go_in_as_they_are_and_their_text_does_not() -> None:
    inner = element("b", "<")
    assert element("p", inner, "&") == "<p><b>&lt;</b>&amp;</p>"
    assert joined([inner, None, inner]) == "<b>&lt;</b><b>&lt;</b>"
    assert not isinstance(inner + "x", Html)
    assert element("p", f"{inner}") == "<p>&lt;b&gt;&amp;lt;&lt;/b&gt;</p>"


def test_a_text_of_an_event_is_one_line_in_its_own_direction() -> None:
    assert said("", 10) is None
    assert said(" a\n b ", 10, "text") == '<bdi class="text">a b</bdi>'


def test_a_long_text_is_cut_and_says_how_long_it_is() -> None:
    cut = said("x" * 5_000, 10)
    assert cut == '<bdi>xxxxxxxxxx<span class="cut"> … 5,000 characters</span></bdi>'
