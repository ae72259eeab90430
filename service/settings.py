"""Settings, from environment variables that begin with ``SOUPSEARCH_``."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 2**20
_HOST = re.compile(r"[0-9a-z_.-]+|[0-9a-f:.]*:[0-9a-f:.]*")


class Settings(BaseSettings):
    """Everything that an operator can set. Each field is ``SOUPSEARCH_<NAME>`` in the environment."""

    model_config = SettingsConfigDict(env_prefix="SOUPSEARCH_", env_file=".env", extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: user_data_path("soupsearch"),
        description="Folder of pantries, adaptation sets and models; API and workers share it.",
    )
    host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the API listens on; 0 takes a free one.")
    allowed_hosts: str = Field(
        default="localhost",
        description=(
            "Host names and addresses that the API answers to, besides loopback ones, separated by commas; `*`: any."
        ),
    )
    public_url: str = Field(default="", description="Prefix of the URLs in answers; relative URLs when empty.")

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", description="Redis or Valkey that holds the jobs.")
    redis_prefix: str = Field(default="soupsearch", description="Prefix of all keys.")

    ray_address: str = Field(default="auto", description="Address of the Ray cluster's head.")
    evaluators: int = Field(
        default=0, ge=0, le=1024, description="Evaluators; 0: one per GPU, or one if there is no GPU."
    )
    evaluator_threads: int = Field(default=0, ge=0, description="CPU threads of one evaluator; 0: cores / evaluators.")
    evaluator_device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="auto, cpu or cuda.")
    batch_size: int = Field(
        default=256,
        ge=1,
        description="Images that one evaluator processes at once: one batch on a GPU, smaller ones on a CPU.",
    )
    points_per_trial: int = Field(default=16, ge=1, description="Points that one Tune trial carries.")
    evaluator_cache_bytes: int = Field(
        default=8192 * MEBIBYTE, ge=0, description="Bytes of pantries and sets that an evaluator keeps for later jobs."
    )

    max_upload_bytes: int = Field(default=512 * MEBIBYTE, ge=1, description="Largest packed adaptation set.")
    max_unpacked_bytes: int = Field(default=2048 * MEBIBYTE, ge=1, description="Largest unpacked adaptation set.")
    max_pantry_bytes: int = Field(default=16384 * MEBIBYTE, ge=1, description="Largest upload of a pantry.")
    max_images: int = Field(default=50_000, ge=1, description="Images in one adaptation set.")
    max_image_pixels: int = Field(default=40_000_000, ge=1, description="Pixels in one image.")
    max_points: int = Field(default=100_000, ge=1, description="Points in one search.")
    max_passes: int = Field(
        default=10**9, ge=1, description="Forward passes of one image that one search may take, attacks included."
    )
    max_kept_soups: int = Field(
        default=64, ge=0, description="Soups of one job that are merged on request and kept beside its model."
    )
    max_queued_jobs: int = Field(default=1000, ge=1, description="Jobs that may wait or be paused at one time.")
    min_free_bytes: int = Field(default=64 * MEBIBYTE, ge=0, description="Disk space that uploads must leave free.")

    job_ttl: int = Field(
        default=7 * 86400, ge=1, description="Seconds that a job and its model are kept after the job has ended."
    )
    journal_ttl: int = Field(default=7 * 86400, ge=1, description="Seconds that scores are kept for reuse.")
    journal_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=0,
        description="Bytes of Redis's memory that the outcomes of one search may take.",
    )
    idempotency_ttl: int = Field(default=86400, ge=1, description="Seconds that an Idempotency-Key is remembered.")
    staging_ttl: int = Field(
        default=3600,
        ge=1,
        description="Seconds after which an abandoned upload, or an artifact that nothing refers to, is removed.",
    )
    lease: float = Field(default=15.0, gt=0, description="Seconds that a silent supervisor keeps its job.")
    max_attempts: int = Field(
        default=3, ge=1, description="Attempts that may fail by a job's own fault before the job has failed."
    )
    max_losses: int = Field(
        default=10,
        ge=1,
        description="Attempts in a row that may lose their process, node or evaluators without gaining a point.",
    )
    verify_timeout: float = Field(
        default=120.0, gt=0, description="Seconds that a call waits for a worker to check a pantry or merge a soup."
    )
    max_log_bytes: int = Field(
        default=16 * MEBIBYTE,
        ge=1,
        description="Size at which a log file moves to `NAME.1`, of which one is kept, and starts afresh.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="debug, info, warning or error."
    )

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, value: str) -> str:
        names = [name.strip().lower() for name in value.split(",") if name.strip()]
        for name in names:
            if name != "*" and not _HOST.fullmatch(name):
                msg = (
                    f"{name!r} is not the name or address of a host: leave out scheme, port, path and brackets, as in "
                    "soup.example.org,192.0.2.7"
                )
                raise ValueError(msg)
        return ",".join(names)

    def environment(self) -> dict[str, str]:
        """The variables with which another process has the same settings."""
        return {f"SOUPSEARCH_{name.upper()}": str(value) for name, value in self.model_dump(mode="json").items()}


@lru_cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return Settings()
