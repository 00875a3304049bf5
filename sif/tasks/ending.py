"""The end of a job: its model, documents, table, figures, page and last words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sif.errors import first_line
from sif.report import PAGE, RECORD, write_page
from sif.tasks.base import JobContext, Results, RunResult
from sif.tasks.figures import Draw, save_and_draw
from sif.tasks.records import JobRecords
from sif.tasks.report_data import report_document
from sif.tasks.study import Study
from sif.tasks.summary import comparison_table, metrics_document
from sif.utils.checkpoint import finite_document, write_json_atomic, write_text_atomic


@dataclass(frozen=True, eq=False)
class Ending:
    """Everything that a job leaves behind.

    Attributes:
        study: Of the job.
        context: Run folder and console.
        records: The job in trackers.
        draw: Draws the figures.
    """

    study: Study
    context: JobContext
    records: JobRecords
    draw: Draw

    def finish(
        self, results: Results, plan: Mapping[str, Any], late: Callable[[], str | None]
    ) -> RunResult:
        """Writes and tells everything.

        Args:
            results: Of the job.
            plan: For metrics.json.
            late: Gives the words of a budget that was not kept, asked once all is written.
        """
        study, folder, console = self.study, self.context.folder, self.context.console
        study.save(folder / "model", results, console)  # first: nothing below may cost it
        genotype = study.genotype(results)
        if genotype is not None:
            write_text_atomic(folder / "genotype.json", genotype.to_json())
        document = metrics_document(study, results) | {"plan": plan}
        write_json_atomic(folder / "metrics.json", document)
        self._tell(results)
        figures = self._figures(results)
        self._write_page(results)
        if told := late():
            console.line(told)
        console.line(f"{results.seconds:.1f} s; everything is in {folder}")
        self.records.end(document, results, figures)
        if closing := self._closing(results):
            console.result("\n" + "\n".join(closing))
        return RunResult(folder, document, results.verdict)

    def _tell(self, results: Results) -> None:
        """The tables and the verdicts."""
        study, console = self.study, self.context.console
        for text in (comparison_table(study, results), *study.tables(results)):
            console.result(f"\n{text}")
        console.result(f"\nverdict: {results.verdict.text}")
        if results.searching is not None:
            console.result(f"search: {results.searching.text}")
        if told := study.told_choice(results):
            console.result(told)

    def _figures(self, results: Results) -> list[Path]:
        """Paths of the figures; whatever happens while they are made costs them alone."""
        try:
            document = self.study.figure_data(results)
            return save_and_draw(self.context.folder / "plots", document, self.draw)
        except Exception as error:  # of a drawing library, whose kinds nobody can list
            told = first_line(error).removeprefix("figures: ")
            self.context.console.line(f"left out: figures: {told}")
            return []

    def _write_page(self, results: Results) -> None:
        """The page; like the figures, it costs nothing else."""
        folder = self.context.folder
        try:
            document = finite_document(report_document(self.study, results), {})
            write_json_atomic(folder / RECORD, document)
            write_page(folder)
        except Exception as error:  # of whatever models and data bring with them
            self.context.console.line(f"left out: {PAGE}: {first_line(error)}")

    def _closing(self, results: Results) -> list[str]:
        """The last words; whatever happens while they are found costs them alone."""
        try:
            return self.study.closing(results, self.context.folder)
        except Exception as error:  # all that a job is run for is done and told
            self.context.console.line(f"left out: last words: {first_line(error)}")
            return []
