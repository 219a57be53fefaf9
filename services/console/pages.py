"""From what is known to HTML, region by region."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from headrace import moments
from headrace.plots import STYLE, bars
from headrace.runtime.clock import Clock
from services.console import formats, stories
from services.console.boards import Change, Regions
from services.console.charts import accuracy_charts, accuracy_curves
from services.console.domain.alerts import alert_views
from services.console.domain.runs import runs
from services.console.domain.turns import Turn, turns, waiting_promotions
from services.console.health import Health
from services.console.live import Live

HERE: Final = Path(__file__).parent
SHOWN_TURNS: Final = 40
SHOWN_ALERTS: Final = 60
SHOWN_RUNS: Final = 8
TRAFFIC_SECONDS: Final = 120

SETTLED_REGIONS: Final = (
    "models",
    "waiting",
    "headline",
    "loop",
    "accuracy",
    "alerts",
    "turns",
    "runs",
)
"""Regions that change with facts only; the others change with every second."""
MOVING_REGIONS: Final = ("clock", "traffic", "health")


class Pages:
    """Renders the page of one model; settled regions are kept until the facts change."""

    def __init__(
        self, *, live: Live, health: Callable[[], tuple[Health, ...]], clock: Clock
    ) -> None:
        self._live = live
        self._health = health
        self._clock = clock
        self._templates = _environment()
        self._assets = _digest(HERE / "static")
        self._settled: dict[str, tuple[int, Regions]] = {}

    def model_or_default(self, asked: str | None) -> str:
        """The model asked for, else the first known, else no name at all."""
        models = self._live.models
        if asked in models:
            return str(asked)
        return models[0] if models else ""

    def page(self, model: str, change: Change) -> str:
        """The whole page, live from `change` on."""
        return self._templates.get_template("page.html").render(
            model=model,
            plot_style=STYLE,
            assets=self._assets,
            stream_id=change.id,
            regions={
                name: Markup(html)  # noqa: S704 - came out of our own templates
                for name, html in change.regions.items()
            },
        )

    def regions(self, model: str) -> Regions:
        """Every region of a model's page."""
        revision, settled = self._settled.get(model, (-1, {}))
        if revision != self._live.revision or not settled:
            revision, settled = self._live.revision, self._settled_regions(model)
            self._settled[model] = (revision, settled)
        return {**settled, **self._moving_regions(model)}

    def chain_of(self, request_id: str) -> Mapping[str, str]:
        """Headers that put a decision into the turn that its promotion request belongs to."""
        asked = [
            fact
            for fact in self._live.facts.facts("PromotionRequested", "PromotionDecided")
            if getattr(fact.data, "request_id", None) == request_id
        ]
        if not asked:
            return {}
        latest = max(asked, key=lambda fact: fact.rank)
        return {
            "x-correlation-id": latest.correlation_id or latest.id,
            "x-causation-id": latest.id,
        }

    def _settled_regions(self, model: str) -> Regions:
        facts = self._live.facts
        found = turns(facts.facts(), model)
        loops = [turn for turn in found if turn.kind == "drift"]
        alerts = alert_views(
            facts.alerts(model),
            facts.facts("RetrainDecided"),
            facts.facts("DriftDetected"),
            model=model,
        )
        curves = accuracy_curves(facts, model)
        context: dict[str, object] = {
            "model": model,
            "models": [(name, facts.promoted(name)) for name in self._live.models],
            "promoted": facts.promoted(model),
            "deployed": facts.deployed(model),
            "labelled": facts.labelled(model),
            "curves": curves,
            "waiting": waiting_promotions(found),
            "turn": _current(found),
            "turns": found[:SHOWN_TURNS],
            "numbers": {turn.id: len(loops) - index for index, turn in enumerate(loops)},
            "alerts": alerts[:SHOWN_ALERTS],
            "open_alerts": sum(alert.status == "open" for alert in alerts),
            "raised_alerts": sum(alert.status != "repeated" for alert in alerts),
            "charts": accuracy_charts(facts, model, curves),
            "runs": runs(facts.facts("PipelineRunRequested", "PipelineRunChanged", "StepChanged"))[
                :SHOWN_RUNS
            ],
        }
        return self._render(SETTLED_REGIONS, context)

    def _moving_regions(self, model: str) -> Regions:
        now = self._clock.now()
        second = int(now.timestamp())
        traffic = self._live.traffic
        series = traffic.series(model, now=second, seconds=TRAFFIC_SECONDS)
        context: dict[str, object] = {
            "rate": traffic.rate(model, now=second),
            "total": traffic.total(model),
            "event_time": traffic.event_time(model),
            "now": now,
            "bars": Markup(  # noqa: S704 - figures only
                bars(series, width=480, height=72, color=1, title="Rows answered a second")
            ),
            "peak": max(series, default=0),
            "busy": any(series),
            "seconds": TRAFFIC_SECONDS,
            "health": self._health(),
        }
        return self._render(MOVING_REGIONS, context)

    def _render(self, names: tuple[str, ...], context: Mapping[str, object]) -> Regions:
        return {
            name: self._templates.get_template(f"regions/{name}.html").render(context)
            for name in names
        }


def _current(found: tuple[Turn, ...]) -> Turn | None:
    """The turn to show large: one that goes on, else the latest of the loop, else the latest."""
    going = [turn for turn in found if turn.ended is None]
    loops = [turn for turn in found if turn.kind == "drift"]
    return next(iter(going or loops or found), None)


def _digest(folder: Path) -> str:
    """Changes with any file of the folder, so that no browser keeps an old one."""
    content = sha256()
    for file in sorted(folder.iterdir()):
        content.update(file.read_bytes())
    return content.hexdigest()[:12]


def _environment() -> Environment:
    """Every template as it is now: files that change under a running console do no harm."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(
        duration=formats.duration,
        number=formats.number,
        figure=formats.figure,
        day=moments.day,
        event_time=moments.event_time,
        clock=formats.clock,
        moment=formats.moment,
        ticking=formats.ticking,
        short=formats.short,
        words=formats.words,
        metric=formats.metric,
        plain=moments.plain,
        about=stories.about,
        headline=stories.headline,
        origin=stories.origin,
    )
    environment.globals.update(
        stage_text=stories.stage_text,
        stage_titles=stories.STAGE_TITLES,
        evidence_text=stories.evidence,
    )
    for name in environment.list_templates():
        environment.get_template(name)
    return environment
