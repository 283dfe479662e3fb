"""The page: what is on it, and which function of a session each button calls."""

from importlib.resources import files
from typing import Any

import gradio as gr

from smat.app import views
from smat.app.events import LARGEST_RATE, USUAL_RATE, Events, framed
from smat.app.networks import Networks
from smat.app.sessions import Sessions

_DROP = """<div class="smat"><div class="drop"><p>{text}</p>
<button type="button" data-open="files">{choose}</button>
{folder}<input class="files" type="file" multiple hidden>
<p class="said soft" role="status" aria-live="polite"></p></div></div>"""
_FOLDER = """<button type="button" data-open="folder">Choose a folder</button>
<input class="folder" type="file" webkitdirectory hidden>"""
_RATES = "share of photos of the classes that are taken for unknown (false alarms)"


def asset(name: str) -> str:
    """A file of the page."""
    return (files("smat.app") / name).read_text(encoding="utf-8")


class Page:
    """The page of a classifier's makers.

    Args:
        sessions: who is on it.
        networks: what classifiers can be made with.
    """

    def __init__(self, sessions: Sessions, networks: Networks) -> None:
        with gr.Blocks(title="smat: photos to classifier", analytics_enabled=False) as self.blocks:
            gr.HTML(
                '<div class="smat"><h1>A classifier from a few photos</h1><p class="soft">Everything stays on this '
                "machine, and is forgotten when this page is closed.</p></div>"
            )
            with gr.Tabs():
                with gr.Tab("1 Photos"):
                    self._photos()
                with gr.Tab("2 Train"):
                    self._train(networks)
                with gr.Tab("3 Try") as trying:
                    self._try()
                with gr.Tab("4 Keep"):
                    self._keep()
            self._wire(Events(sessions), trying)

    def _photos(self) -> None:
        self.label = gr.Textbox(
            label="Class of the photos that you add next", placeholder="such as robin", max_lines=1, max_length=80
        )
        self.drop = _drop_zone(
            "Drop photos here, or folders: each folder becomes a class of its name. A folder of folders or a zip "
            "archive of them will do too."
        )
        self.status = _html('<p class="soft">5 photos of each class do well, 1 will do.</p>', live=True)
        self.board = _html("", js=asset("board.js"))
        self.anew = gr.Button("Forget all and begin anew", size="sm", variant="secondary")

    def _train(self, networks: Networks) -> None:
        self.network = gr.Radio(
            [(f"{network.name}: {network.summary}", network.name) for network in networks.choices],
            value=networks.choices[0].name,
            label="Network",
            elem_classes="smat-choice",
        )
        if networks.note:
            _html(f'<p class="note">{networks.note}</p>')
        self.train = gr.Button("Train", variant="primary")
        self.summary = _html("", live=True)
        self.doubts = _html("", js=asset("board.js"))
        with gr.Accordion("Fine-tune the network (optional, takes longer)", open=False):
            self.kind = gr.Radio(
                [("small adapters (LoRA)", "lora"), ("all of the network", "full")], value="lora", label="What is tuned"
            )
            self.choose = gr.Checkbox(
                True, label="Choose the learning rate by photos that are held out: safe, but about 15 times as long"
            )
            self.assess = gr.Checkbox(
                False, label="Find out how right it will be, and what is unknown: takes 5 more fine-tunings"
            )
            self.ask_time = gr.Button("How long will it take?")
            self.time = _html("", live=True)
            with gr.Row():
                self.tune = gr.Button("Fine-tune now", variant="primary", visible=False)
                self.stop = gr.Button("Stop", variant="stop", visible=False)

    def _try(self) -> None:
        self.drop_to_try = _drop_zone("Drop photos to try here, or folders of them, or a zip archive.")
        with gr.Accordion("Take a photo with the camera", open=False):
            self.camera = gr.Image(sources=["webcam"], type="filepath", format="jpeg", label="Camera", height=280)
        with gr.Row():
            self.reject = gr.Checkbox(False, label="Answer “unknown” for photos of none of the classes", min_width=280)
            self.rate = gr.Slider(
                0.01, LARGEST_RATE, USUAL_RATE, step=0.01, label=_RATES, interactive=False, min_width=280
            )
        self.tried_status = _html("", live=True)
        self.answers = _html(views.answers(None))
        self.clear = gr.Button("Clear these photos", size="sm")

    def _keep(self) -> None:
        gr.Markdown("### Take with you")
        self.thumbnails = gr.Checkbox(
            False, label="with small pictures of the labelled photos, so that they can be looked through later"
        )
        with gr.Row():
            self.keep = {
                "zip": gr.Button("Classifier (zip)", variant="primary"),
                "onnx": gr.Button("ONNX file"),
                "web": gr.Button("Web page (zip)"),
                "report.html": gr.Button("Report on the photos tried"),
                "labels.csv": gr.Button("Table of their labels (CSV)"),
            }
        self.made = gr.File(label="Ready to download", interactive=False, visible=False)
        self.kept_status = _html("", live=True)
        gr.Markdown(
            "### Go on with a classifier\nThe zip of its folder, as made above or by `smat fit`. It replaces all."
        )
        self.drop_classifier = _drop_zone("Drop the zip archive of a classifier here.", "Choose the archive", "")

    def _wire(self, does: Events, trying: gr.Tab) -> None:
        """Say which function each event calls."""
        quick: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "concurrency_limit": 8}
        long: dict[str, Any] = {"api_visibility": "private", "concurrency_limit": 1, "concurrency_id": "compute"}
        shown = [self.board, self.summary, self.doubts]
        many: dict[str, Any] = {"trigger_mode": "multiple"}
        self.blocks.load(does.load, None, [*shown, self.answers, self.rate, self.network], **quick)
        self.blocks.unload(does.unload)
        self.drop.upload(does.add, self.label, [self.status, *shown], **quick, **many)
        for board in (self.board, self.doubts):
            board.select(does.edit, None, [self.status, *shown], **quick, **many)
        self.anew.click(
            does.begin_anew, None, [self.status, *shown, self.answers, self.rate, self.network], **quick,
            js="() => confirm('Forget all photos and the classifier?') ? [] : Promise.reject('kept')",
        )  # fmt: skip
        self.train.click(
            does.train, [self.network, self.reject, self.rate], [*shown[1:], self.answers, self.rate], **long
        )
        tuning = [self.network, self.kind, self.choose, self.assess]
        self.ask_time.click(does.estimate, tuning, [self.time, self.tune], **long)
        for changed in tuning:
            changed.change(does.forget_time, None, [self.time, self.tune], **quick)
        begun = self.tune.click(does.begin_tuning, None, [self.tune, self.stop], **quick)
        begun.then(
            does.tune,
            [*tuning, self.reject, self.rate],
            [self.time, self.stop, *shown[1:], self.answers, self.rate],
            **long,
        )
        self.stop.click(does.stop, None, None, **quick)
        asked = [self.reject, self.rate]
        answered = [self.tried_status, self.answers, self.rate]
        self.drop_to_try.upload(does.receive, **quick, **many).success(does.ask, asked, answered, **long, **many)
        self.camera.input(does.receive_photo, self.camera, **quick).success(does.ask, asked, answered, **long)
        for control in asked:
            control.change(does.answer, asked, answered, **quick, trigger_mode="always_last")
        trying.select(does.answer, asked, answered, **quick)
        self.clear.click(does.clear, asked, answered, **quick)
        for what, button in self.keep.items():
            button.click(does.maker(what), [self.thumbnails, *asked], [self.made, self.kept_status], **long)
        opened = [self.kept_status, *shown, self.answers, self.rate, self.network]
        self.drop_classifier.upload(does.receive_classifier, **quick).success(does.open, None, opened, **long)


def _html(inner: str, *, live: bool = False, js: str | None = None) -> gr.HTML:
    """A part of the page that changes."""
    template = '<div role="status" aria-live="polite">${value}</div>' if live else "${value}"
    return gr.HTML(framed(inner), html_template=template, js_on_load=js)


def _drop_zone(text: str, choose: str = "Choose photos", folder: str = _FOLDER) -> gr.HTML:
    """A place for files and folders."""
    return gr.HTML(_DROP.format(text=text, choose=choose, folder=folder), js_on_load=asset("drop.js"))
