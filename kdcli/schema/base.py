"""What every section of a configuration is made of: strict, closed, immutable, with ranges that can be named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError, ValidatorFunctionWrapHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class Section(BaseModel):
    """A part of a configuration: no unknown key, no silent conversion, no NaN, no change afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class Interval:
    """A closed range of numbers, or one that leaves its lower end out, as an annotation of a field."""

    low: float
    high: float | None = None
    low_open: bool = False

    def __str__(self) -> str:
        if self.high is None:
            return f"{'>' if self.low_open else '>='} {self.low:g}"
        return f"{'(' if self.low_open else '['}{self.low:g}, {self.high:.10g}]"

    def contains(self, value: float) -> bool:
        """Say whether ``value`` lies in the range; NaN lies in none."""
        above = value > self.low if self.low_open else value >= self.low
        return above and (self.high is None or value <= self.high)

    def __get_pydantic_core_schema__(self, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Put the check around the number's own schema, so that every refusal names the range."""
        return core_schema.no_info_wrap_validator_function(self._check, handler(source))

    def _check(self, value: object, number: ValidatorFunctionWrapHandler) -> float:
        try:
            checked: float = number(value)
        except ValidationError as failure:
            wrong = {"wrong": failure.errors()[0]["type"], "interval": str(self)}
            raise PydanticCustomError("not_a_number", "allowed: {interval}", wrong) from None
        if not self.contains(checked):
            raise PydanticCustomError("interval", "allowed: {interval}", {"interval": str(self)})
        return checked


DEVICE = r"^(auto|cpu|mps|cuda(:\d+)?)$"
IN_WORDS = {DEVICE: "auto, cpu, mps, cuda, or one GPU of several, such as cuda:1"}
"""What people are told of a pattern."""

Temperature = Annotated[float, Interval(0.01, 10_000)]
Weight = Annotated[float, Interval(0, 1)]
Rate = Annotated[float, Interval(0, 100, low_open=True)]
Probability = Annotated[float, Interval(0, 0.99)]
Share = Annotated[float, Interval(0, 1, low_open=True)]
Positive = Annotated[float, Interval(0, low_open=True)]
NonNegative = Annotated[float, Interval(0)]
Count = Annotated[int, Interval(1, 10_000_000)]
Seed = Annotated[int, Interval(0, 2**32 - 1)]
