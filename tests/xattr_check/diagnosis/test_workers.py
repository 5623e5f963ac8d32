"""Who does what of shared work, and that all of it is done."""

from collections.abc import Iterator

from xattr_check.diagnosis.workers import Task, Tasks, workers


def nothing(bench: object) -> list[object]:
    return []


def taken(tasks: Tasks, *processes: int) -> list[object]:
    return [task.about if (task := tasks.take(process)) else None for process in processes]


def test_a_process_goes_on_with_what_it_knows() -> None:
    tasks = Tasks(Task(about, nothing) for about in "abab")
    assert taken(tasks, 0, 1, 0, 1, 0) == ["a", "b", "a", "b", None]


def test_what_is_added_is_for_those_who_know_it() -> None:
    tasks = Tasks([Task("a", nothing), Task("b", nothing), Task("c", nothing)])
    assert taken(tasks, 0, 1) == ["a", "b"]
    tasks.add([Task("a", nothing)])
    assert taken(tasks, 1, 0) == ["c", "a"]


def test_who_has_nothing_left_takes_from_the_most_that_is() -> None:
    tasks = Tasks([Task("a", nothing), Task("b", nothing)])
    assert taken(tasks, 0, 0) == ["a", "b"]
    tasks.add(Task(about, nothing) for about in "abb")
    assert len(tasks) == 3
    assert taken(tasks, 1, 1, 1) == ["b", "b", "a"]


def double(bench: list[int]) -> list[int]:
    bench.append(len(bench))
    return [2 * len(bench)]


def results(processes: int) -> Iterator[int]:
    told: list[str] = []
    with workers(list, processes, told.append) as work:
        tasks = Tasks([Task("a", double)])
        for (found,) in work(tasks):
            yield found
            if found < 6:
                tasks.add([Task("a", double)])
    assert told == []


def test_what_is_added_while_work_goes_on_is_done() -> None:
    assert list(results(1)) == [2, 4, 6]
