"""The doctor: limits of containers count, findings come with advice."""

import json

import pytest

from geofm import doctor, processor
from geofm.cli.app import main

GIB = 2**30


@pytest.fixture
def files(monkeypatch):
    """Let the doctor read these files, and no others."""

    def install(**content: str) -> None:
        table = {name.replace("__", "/"): text for name, text in content.items()}
        monkeypatch.setattr(
            doctor, "_lines", lambda path: table.get(str(path).lstrip("/"), "").splitlines()
        )

    return install


def test_every_finding_is_a_sentence(capsys) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [check["name"] for check in told["checks"]]
    for name in ("geofm", "packages", "GDAL", "CPU", "bfloat16", "compiler", "memory", "disk"):
        assert name in names
    for check in told["checks"]:
        assert check["found"]
        assert (check["state"] == "ok") == (check["advice"] == "")


def test_people_get_a_line_each(capsys) -> None:
    assert main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("ok  geofm")
    assert max(map(len, told.splitlines())) <= 100


def test_the_tightest_control_group_counts(files) -> None:
    files(
        proc__self__cgroup="0::/user/job\n",
        **{
            "sys__fs__cgroup__user__job__memory.max": "max",
            "sys__fs__cgroup__user__memory.max": str(3 * GIB),
            "sys__fs__cgroup__user__job__cpu.max": "150000 100000",
        },
    )
    assert doctor.memory_limit() == 3 * GIB
    assert doctor.available_cores() <= 1.5


def test_control_groups_of_version_1(files) -> None:
    files(
        proc__self__cgroup="4:memory:/job\n1:cpu:/\n",
        **{
            "sys__fs__cgroup__memory__job__memory.limit_in_bytes": str(2 * GIB),
            "sys__fs__cgroup__memory__memory.limit_in_bytes": str(2**63 - 4096),
        },
    )
    assert doctor.memory_limit() == 2 * GIB


def test_no_limit(files) -> None:
    files()
    assert doctor.memory_limit() is None


def test_little_memory_is_advice(files, monkeypatch) -> None:
    files(proc__self__cgroup="0::/\n", **{"sys__fs__cgroup__memory.max": str(GIB)})
    monkeypatch.setattr(doctor, "physical_memory", lambda: 8 * GIB)
    (check,) = [check for check in doctor.examine() if check.name == "memory"]
    assert (check.state, check.advice) == ("advice", "map with --memory 256MiB")


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags\t\t: fpu avx512_bf16 amx_bf16 amx_tile", ("amx_bf16", "avx512_bf16")),
        ("Features\t: fp asimd bf16", ("bf16",)),
        ("flags\t\t: fpu avx2", ()),
    ],
)
def test_bfloat16_is_read_from_the_flags(monkeypatch, flags, found) -> None:
    monkeypatch.setattr(processor, "cpu_lines", lambda: [flags])
    assert doctor.bfloat16_flags() == found


def test_a_missing_package_is_a_problem(monkeypatch, capsys) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 1
    assert "install no-such-package" in capsys.readouterr().out
