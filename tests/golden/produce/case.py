"""One broken (or healthy) project and the command that shows it."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    id: str
    type: str
    tool: str
    command: str
    files: dict = field(default_factory=dict)
    alt: str = ""
    note: str = ""
    before: str = ""
    ci: str = ""
