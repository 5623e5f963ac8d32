"""How a sentence for a person is put."""

from xattr_check.wording import nearest


def test_nearest_says_all_where_few_are_known_and_none_is_near() -> None:
    assert nearest("zzz", ["b", "a"]) == "the nearest are a, b"
    assert nearest("zzz", map(str, range(20))) == ""
    assert nearest("gradent", ["gradient", *map(str, range(20))]) == "the nearest are gradient"
