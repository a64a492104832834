"""Personas: which there are, which count, and what a bad file does to the others."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from greenroom.errors import InvalidConfig, UnknownPersona
from greenroom.interfaces import Persona
from greenroom.limits import DEFAULT_LIMITS, PERSONA_FILES_MAX
from greenroom.personas.catalogue import ScannedPersonas

SHIPPED = ["analyst", "concise", "default", "developer", "tutor", "writer"]
PIRATE = (
    "---\nname: pirate\ndescription: Talks like one\nmodel: gpt-4o\nbackend: openai\ntools: [Ship, Parrot]\n---\nArr.\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "personas"
    path.mkdir()
    return path


@pytest.fixture
def catalogue(folder: Path) -> ScannedPersonas:
    return ScannedPersonas([folder])


def names(catalogue: ScannedPersonas) -> list[str]:
    return [persona.name for persona in catalogue.all()]


class TestShipped:
    def test_they_are_there_without_any_folder(self) -> None:
        catalogue = ScannedPersonas()
        assert names(catalogue) == SHIPPED
        assert catalogue.problems() == []

    @pytest.mark.parametrize("name", SHIPPED)
    def test_each_is_fit_to_use(self, name: str) -> None:
        persona = ScannedPersonas().get(name)
        assert persona.name == name
        assert persona.description
        assert (persona.llm_model, persona.backend, persona.tools) == (None, None, ())
        assert len(persona.text.split()) < 150

    def test_the_default_is_short(self) -> None:
        # Small local models pay for every word of it, and get worse.
        assert len(ScannedPersonas().get("default").text.split()) < 60


class TestFolders:
    def test_a_file_with_front_matter(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "any-name.md").write_text(PIRATE)
        assert catalogue.get("pirate") == Persona(
            name="pirate",
            text="Arr.",
            description="Talks like one",
            llm_model="gpt-4o",
            backend="openai",
            tools=("Ship", "Parrot"),
        )
        with pytest.raises(UnknownPersona):
            catalogue.get("any-name")

    def test_a_file_without(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "Käpt'n 2.MD").write_bytes(b"\xef\xbb\xbfArr.\r\nHo.\r\n")
        assert catalogue.get("Käpt'n 2").text == "Arr.\nHo."

    def test_llm_model_is_model_and_one_tool_needs_no_list(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "a.md").write_text("---\nllm_model: m\ntools: Ship\n---\nText")
        assert (catalogue.get("a").llm_model, catalogue.get("a").tools) == ("m", ("Ship",))

    def test_other_files_are_none_of_our_business(self, catalogue: ScannedPersonas, folder: Path) -> None:
        for name in (".hidden.md", "notes.txt", "a.md~", "md"):
            (folder / name).write_text("---\n")
        assert names(catalogue) == SHIPPED
        assert catalogue.problems() == []

    def test_the_more_deliberate_one_counts(self, tmp_path: Path) -> None:
        first, second = tmp_path / "1", tmp_path / "2"
        for path in (first, second):
            path.mkdir()
            for name in ("default", "writer", "tutor"):
                (path / f"{name}.md").write_text(f"{name} of {path.name}")
        (second / "writer.md").unlink()
        catalogue = ScannedPersonas([first, second], extra=[Persona(name="tutor", text="in code")])
        assert catalogue.get("default").text == "default of 2"
        assert catalogue.get("writer").text == "writer of 1"
        assert catalogue.get("tutor").text == "in code"
        assert names(catalogue) == SHIPPED


class TestChanges:
    def test_a_folder_that_comes_and_goes(self, tmp_path: Path) -> None:
        folder = tmp_path / "later"
        catalogue = ScannedPersonas([folder])
        assert names(catalogue) == SHIPPED
        folder.mkdir()
        (folder / "new.md").write_text("New.")
        assert catalogue.get("new").text == "New."
        (folder / "new.md").unlink()
        folder.rmdir()
        assert names(catalogue) == SHIPPED

    def test_a_file_that_is_changed_in_place(self, catalogue: ScannedPersonas, folder: Path) -> None:
        path = folder / "new.md"
        path.write_text("One.")
        assert catalogue.get("new").text == "One."
        path.write_text("Two.")
        os.utime(path, ns=(1, 1))  # not even the time of the change has to be later
        assert catalogue.get("new").text == "Two."

    def test_a_file_that_is_repaired(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "new.md").write_text("")
        with pytest.raises(InvalidConfig):
            catalogue.get("new")
        (folder / "new.md").write_text("Text.")
        assert catalogue.get("new").text == "Text."

    def test_what_has_not_changed_is_not_read_again(
        self, catalogue: ScannedPersonas, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "new.md").write_text("One.")
        first = catalogue.get("new")
        monkeypatch.setattr(Path, "open", None)
        assert catalogue.get("new") is first

    def test_it_may_be_asked_from_several_threads(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "new.md").write_text("0")

        def ask() -> None:
            for _ in range(100):
                assert catalogue.get("new").text.isdigit()
                assert len(catalogue.all()) == len(SHIPPED) + 1

        with ThreadPoolExecutor(3) as threads:
            asking = [threads.submit(ask) for _ in range(3)]
            for number in range(100):
                (folder / "next").write_text(str(number))
                (folder / "next").rename(folder / "new.md")
            for each in asking:
                each.result()


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "../secret",
            "..",
            "",
            "/etc/passwd",
            "personas/default",
            "default.md",
            "DEFAULT",
            "default\0",
            "x" * 100_000,
            "\ud800",
        ],
    )
    def test_a_name_never_becomes_a_path(self, catalogue: ScannedPersonas, folder: Path, name: str) -> None:
        (folder.parent / "secret.md").write_text("The secret.")
        with pytest.raises(UnknownPersona, match="the personas are analyst, concise, default, developer") as refused:
            catalogue.get(name)
        assert len(str(refused.value)) < 500

    def test_many_alternatives_are_not_all_named(self, catalogue: ScannedPersonas, folder: Path) -> None:
        for number in range(50):
            (folder / f"p{number:02}.md").write_text("Text.")
        with pytest.raises(UnknownPersona, match="and 16 more"):
            catalogue.get("nobody")


class TestBadFiles:
    @pytest.fixture
    def good(self, folder: Path) -> None:
        (folder / "good.md").write_text("Good.")

    @pytest.mark.usefixtures("good")
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "has no text .say who the agent is"),
            (b"---\nname: bad\n---\n \n", "has no text"),
            (b"caf\xe9", "byte 4 is not UTF-8"),
            (b"x" * (DEFAULT_LIMITS.prompt_bytes_max + 1), "it is too large .a persona has at most 256 KiB"),
            (b"---\nText", "does not end"),
            (b"---\ntools:\n  - A\n---\nText", "line 2: tools has no value"),
            (b"---\nrole: x\n---\nText", "unknown key 'role' .the keys are name, description, model"),
            (b"---\nmodel: a\nllm_model: b\n---\nText", "both are given"),
            (b"---\ndescription: [a, b]\n---\nText", "description is a list"),
            (b"---\nmodel: [a]\n---\nText", "model is a list"),
            (b'---\nbackend: "' + b"x" * 65 + b'"\n---\nText', "backend"),
            (b'---\nmodel: "a\\nb"\n---\nText', "llm_model"),
        ],
    )
    def test_is_told_to_who_asks_and_harms_nobody_else(
        self, catalogue: ScannedPersonas, folder: Path, content: bytes, message: str
    ) -> None:
        (folder / "bad.md").write_bytes(content)
        with pytest.raises(InvalidConfig, match=rf"persona 'bad' cannot be used: bad\.md: .*{message}") as told:
            catalogue.get("bad")
        assert str(folder) not in str(told.value)
        assert names(catalogue) == sorted([*SHIPPED, "good"])
        [problem] = catalogue.problems()
        assert problem.path == str(folder / "bad.md")
        assert problem.text

    def test_a_name_that_cannot_be_one(self, catalogue: ScannedPersonas, folder: Path) -> None:
        for number, name in enumerate(['"\\u0007"', '" padded"', f'"{"x" * 129}"', '""']):
            (folder / f"{number}.md").write_text(f"---\nname: {name}\n---\nText")
        assert len(catalogue.problems()) == 4
        assert all("cannot be the name of a persona" in problem.text for problem in catalogue.problems())

    def test_a_bad_one_does_not_quietly_make_place_for_the_shipped_one(
        self, catalogue: ScannedPersonas, folder: Path
    ) -> None:
        (folder / "mine.md").write_text("---\nname: default\n---\n")
        with pytest.raises(InvalidConfig, match=r"persona 'default' cannot be used: mine\.md"):
            catalogue.get("default")
        assert "default" not in names(catalogue)

    def test_of_two_with_one_name_the_first_is_kept(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "a.md").write_text("---\nname: same\n---\nFirst.")
        (folder / "b.md").write_text("---\nname: same\n---\nSecond.")
        assert catalogue.get("same").text == "First."
        with pytest.raises(InvalidConfig, match=r"b\.md: a\.md is the persona 'same' already"):
            catalogue.get("b")

    def test_links_that_lead_out(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder.parent / "secret.md").write_text("The secret.")
        (folder / "out.md").symlink_to("../secret.md")
        (folder / "inside.md").symlink_to("real.md")
        (folder / "real.md").write_text("Real.")
        (folder / "nowhere.md").symlink_to("nothing.md")
        (folder / "circle.md").symlink_to("circle.md")
        assert catalogue.get("inside").text == "Real."
        for name, message in (
            ("out", "leads out of the folder"),
            ("nowhere", "it cannot be read: No such file"),
            ("circle", "it cannot be read"),
        ):
            with pytest.raises(InvalidConfig, match=message) as told:
                catalogue.get(name)
            assert "The secret" not in str(told.value)

    def test_a_folder_that_is_itself_a_link_is_the_users_choice(self, folder: Path, tmp_path: Path) -> None:
        (folder / "new.md").write_text("New.")
        (tmp_path / "link").symlink_to(folder)
        assert ScannedPersonas([tmp_path / "link"]).get("new").text == "New."

    def test_what_is_not_a_file(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "folder.md").mkdir()
        os.mkfifo(folder / "pipe.md")
        for name in ("folder", "pipe"):
            with pytest.raises(InvalidConfig, match="not a regular file"):
                catalogue.get(name)

    def test_a_folder_that_is_none(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        catalogue = ScannedPersonas([tmp_path / "file"])
        assert names(catalogue) == SHIPPED
        assert [problem.text for problem in catalogue.problems()] == ["the folder cannot be read: Not a directory"]

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
    def test_a_file_that_we_may_not_read(self, catalogue: ScannedPersonas, folder: Path) -> None:
        (folder / "new.md").write_text("New.")
        (folder / "new.md").chmod(stat.S_IWUSR)
        with pytest.raises(InvalidConfig, match="it cannot be read: Permission denied"):
            catalogue.get("new")

    def test_too_many_files(self, catalogue: ScannedPersonas, folder: Path) -> None:
        for number in range(PERSONA_FILES_MAX + 2):
            (folder / f"p{number:04}.md").write_text("Text.")
        assert len(catalogue.all()) == len(SHIPPED) + PERSONA_FILES_MAX
        assert [problem.text for problem in catalogue.problems()] == [
            "2 files too many: only the first 500 are looked at"
        ]


class TestInCode:
    @pytest.mark.parametrize(
        ("persona", "message"),
        [
            (Persona(name="", text="x"), "cannot be the name of a persona"),
            (Persona(name=" x", text="x"), "cannot be the name of a persona"),
            (Persona(name="x", text=" "), "has no text"),
            (Persona(name="x", text="x" * (DEFAULT_LIMITS.prompt_bytes_max + 1)), "is too long"),
            (Persona(name="x", text="x", backend=""), "backend"),
        ],
    )
    def test_a_bad_one_is_told_at_once(self, persona: Persona, message: str) -> None:
        with pytest.raises(InvalidConfig, match=message):
            ScannedPersonas(extra=[persona])

    def test_two_of_one_name(self) -> None:
        with pytest.raises(InvalidConfig, match="two personas have the same name"):
            ScannedPersonas(extra=[Persona(name="a", text="x"), Persona(name="a", text="y")])

    def test_making_a_catalogue_reads_nothing(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        with monkeypatch.context() as patched:
            for name in ("scandir", "stat", "open"):
                patched.setattr(os, name, None)
            catalogue = ScannedPersonas([folder], extra=[Persona(name="a", text="x")])
        assert catalogue.get("a").text == "x"


def test_what_is_known_now_is_as_true_as_what_is_looked_up(tmp_path: Path) -> None:
    personas = ScannedPersonas(folders=[tmp_path / "later"])
    assert personas.get_now("default") is None, "nothing was read yet"
    assert personas.get("default") == personas.get_now("default")
    (tmp_path / "later").mkdir()
    file = tmp_path / "later" / "pirate.md"
    file.write_text("Arr.")
    assert personas.get_now("default") is None, "a file has come"
    assert personas.get("pirate") == personas.get_now("pirate")
    file.write_text("Arr, Sir.")
    assert personas.get_now("pirate") is None, "it was edited"
    assert personas.get("pirate").text == "Arr, Sir."
    assert personas.get_now("nobody") is None
    file.unlink()
    assert personas.get_now("default") is None, "it has gone"
    assert personas.get("default") == personas.get_now("default")
    for number in range(20):
        (tmp_path / "later" / f"p{number}.md").write_text("One of many.")
    assert personas.get("p1").text == "One of many."
    assert personas.get_now("p1") is None, "looking at many files takes too long"
