"""How much of what a classifier says is right, by the names of folders."""

from made_predictions import predicted


def test_unknown_is_wrong_for_an_image_of_a_class_and_right_in_a_folder_of_that_name() -> None:
    names = ["cat/1.png", "cat/2.png", "owl/3.png", "unknown/4.png", "unknown/5.png", "elsewhere/6.png"]
    labels = ["cat", "unknown", "cat", "unknown", "owl", "unknown"]
    result = predicted(names, labels, [0.9] * 6, "unknown")
    assert result.truths == ("cat", "cat", "owl", "unknown", "unknown", None)
    assert (result.accuracy, result.scored) == (2 / 5, 5)
    assert (result.answered, result.accuracy_of_answered) == (3, 1 / 3)
    assert result.other_folders == ("elsewhere",)


def test_a_folder_called_unknown_says_nothing_where_every_image_gets_a_class() -> None:
    result = predicted(["cat/1.png", "owl/2.png", "unknown/3.png"], ["cat", "owl", "owl"], [0.9] * 3)
    assert (result.accuracy, result.scored, result.answered, result.accuracy_of_answered) == (1.0, 2, 2, 1.0)
    assert result.other_folders == ("unknown",)


def test_without_folders_of_classes_there_is_no_accuracy() -> None:
    result = predicted(["1.png", "x/2.png"], ["cat", "owl"], [0.9] * 2)
    assert (result.accuracy, result.scored, result.accuracy_of_answered, result.other_folders) == (None, 0, None, ())
