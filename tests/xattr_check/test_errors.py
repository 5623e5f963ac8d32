"""Usage errors: rendered once from their fields, and changed by field."""

import copy
import itertools
import pickle

import pytest

from xattr_check.errors import SubjectError, UsageError, XattrError

FIELDS = {
    "what": "no check 'shap'",
    "option": "--xattr-checks",
    "value": "shap",
    "expected": "the name of a check",
    "came": "another one",
    "hint": "the nearest are shape",
    "place": "xattr.yaml:3",
}


def fields(error: UsageError) -> dict[str, object]:
    return {name: getattr(error, name) for name in FIELDS}


def told(*what: str, **given: object) -> str:
    return str(UsageError(*what, **given))


def test_all_fields_in_the_order_in_which_they_are_read() -> None:
    assert told(**FIELDS) == (
        "xattr.yaml:3: --xattr-checks='shap': no check 'shap'; expected the name of a check, came another "
        "one; the nearest are shape"
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (UsageError("a sentence"), "a sentence"),
        (UsageError("a sentence: it's {all} of %s"), "a sentence: it's {all} of %s"),
        (UsageError("no run", hint="save one"), "no run; save one"),
        (UsageError("ships two features", came="3"), "ships two features, came 3"),
        (UsageError(option="--method", expected="at least one"), "--method: expected at least one"),
        (UsageError(place="a.json", expected="a run", came="JSON"), "a.json: expected a run, came JSON"),
        (UsageError(), ""),
    ],
)  # fmt: skip
def test_what_is_empty_leaves_no_trace(error: UsageError, sentence: str) -> None:
    assert str(error) == sentence


@pytest.mark.parametrize(
    ("option", "value", "subject"),
    [
        ("--xattr-checks", "it's", '--xattr-checks="it\'s"'),
        ("--xattr-checks", "", "--xattr-checks=''"),
        ("--xattr-timeout", -1.0, "--xattr-timeout=-1"),
        ("--xattr-memory", 0, "--xattr-memory=0"),
        ("--xattr-gates", None, "--xattr-gates"),
        ("check", "deletion", "check 'deletion'"),
        ("patch", 3, "patch=3"),
        ("gates", None, "gates"),
    ],
)
def test_options_are_set_and_things_have_names(option: str, value: object, subject: str) -> None:
    assert told(option=option, value=value, expected="more") == f"{subject}: expected more"


def test_no_set_of_fields_leaves_a_loose_separator() -> None:
    for names in itertools.chain.from_iterable(itertools.combinations(FIELDS, n) for n in range(1, 8)):
        given = {name: FIELDS[name] for name in names}
        text = told(**given)
        assert text == text.strip(" ,;:=")
        assert not any(twice in text for twice in (": :", "; ;", ": ;", "; :", ";;", "::", "  "))
        shown = [part for name, part in given.items() if name != "value" or "option" in given]
        assert all(str(part) in text for part in shown)


def test_about_says_what_the_user_typed() -> None:
    error = UsageError(option="method", value="mymod:three", expected="a function", came="int 3")
    assert str(error) == "method 'mymod:three': expected a function, came int 3"
    other = error.about("--xattr-method", "mymod:three?n=2")
    assert str(other) == "--xattr-method='mymod:three?n=2': expected a function, came int 3"
    assert (other.option, other.value) == ("--xattr-method", "mymod:three?n=2")
    assert (error.option, error.value) == ("method", "mymod:three"), "the first one is as it was"


def test_about_gives_a_free_sentence_its_option() -> None:
    error = UsageError("zennit has no method 'Epsilon'").about("--xattr-method", "zennit:Epsilon")
    assert str(error) == "--xattr-method='zennit:Epsilon': zennit has no method 'Epsilon'"


def test_hints_add_up() -> None:
    error = UsageError("no package", hint="pip install it").advising("yours is a.py:b")
    assert str(error) == "no package; pip install it; yours is a.py:b"
    assert str(error.advising("")) == str(error)
    assert str(UsageError("no package").advising("see a.py")) == "no package; see a.py"


def test_the_first_place_is_kept() -> None:
    error = UsageError("it is wrong").at("xattr.yaml:3")
    assert str(error) == "xattr.yaml:3: it is wrong"
    assert str(error.at("other.yaml:1")) == "xattr.yaml:3: it is wrong"
    assert str(UsageError("it is wrong").at("")) == "it is wrong"


def test_a_kind_of_usage_error_stays_of_its_kind() -> None:
    error = SubjectError(option="subject", value="digits", expected="finite inputs")
    for one in (error, error.about("--xattr-subject", "digits"), error.at("xattr.yaml:1"), copy.copy(error)):
        assert type(one) is SubjectError
        assert isinstance(one, XattrError)


class OwnError(UsageError):
    """One that a package of the user's adds."""

    def __init__(self, number: int, most: int) -> None:
        super().__init__(f"{number} is more than {most}", hint="take fewer")
        self.number = number


def test_a_kind_of_ones_own_has_the_arguments_that_it_likes() -> None:
    error = OwnError(3, most=2)
    for one in (error, error.about("--xattr-subject", "many"), pickle.loads(pickle.dumps(error))):
        assert type(one) is OwnError
        assert one.number == 3
        assert str(one).endswith("3 is more than 2; take fewer")


@pytest.mark.parametrize("error", [UsageError(**FIELDS), SubjectError(**FIELDS), UsageError("a sentence")])
def test_errors_travel_between_processes(error: UsageError) -> None:
    for one in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(one) is type(error)
        assert str(one) == str(error)
        assert fields(one) == fields(error)


def test_repr_shows_the_sentence() -> None:
    assert repr(UsageError("no method", hint="type one")) == "UsageError('no method; type one')"
    assert repr(SubjectError(expected="inputs")) == "SubjectError('expected inputs')"
