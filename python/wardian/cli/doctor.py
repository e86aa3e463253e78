"""`wardian doctor`: what this host offers, which engines run, what to do about the rest."""

from __future__ import annotations

import json
import textwrap
from argparse import Namespace
from typing import Any

import wardian
from wardian.base.units import MIB
from wardian.cpu.choice import EngineReport, explain_choice, judge_engines
from wardian.cpu.preflight import HostFacts, gather_host

OK, FAILED = 0, 1


def doctor(options: Namespace) -> int:
    """Prints the report; 0 if a machine can run here."""
    host = gather_host()
    reports = judge_engines(host)
    if options.format == "json":
        print(json.dumps(as_data(host, reports), indent=2))
    else:
        print(as_text(host, reports))
    return OK if any(report.available for report in reports) else FAILED


def as_data(host: HostFacts, reports: tuple[EngineReport, ...]) -> dict[str, Any]:
    """The report for programs. Keys are added over time, never renamed; sizes are in bytes."""
    engine, why = explain_choice(reports)
    return {
        "version": wardian.__version__,
        "host": {
            "machine": host.machine,
            "kernel": host.kernel,
            "cpu_vendor": host.cpu_vendor,
            "cpu_name": host.cpu_name,
            "cpus": host.cpus,
            "hardware_virtualization": host.hardware_virtualization or None,
            "memory_total": host.memory_total,
            "memory_available": host.memory_available,
            "kvm": {
                "open_error": host.kvm.open_error or None,
                "api_version": host.kvm.api_version,
                "pvm_module": host.kvm.pvm_module,
            },
            "core_version": host.core.version,
        },
        "engines": [
            {
                "engine": report.engine,
                "available": report.available,
                "refusals": [
                    {"code": r.code, "reason": r.reason, "remedy": r.remedy}
                    for r in report.refusals
                ],
            }
            for report in reports
        ],
        "auto": {"engine": engine, "why": why},
    }


def as_text(host: HostFacts, reports: tuple[EngineReport, ...]) -> str:
    """The report for people."""
    virtualization = host.hardware_virtualization or "neither"
    lines = [
        "Host",
        f"  CPU       {host.cpu_name} ({host.cpu_vendor}), {host.cpus} CPUs for this process",
        f"  kernel    Linux {host.kernel} on {host.machine}",
        f"  memory    {host.memory_available // MIB:,} MiB available "
        f"of {host.memory_total // MIB:,} MiB",
        f"  vmx/svm   {virtualization}",
        f"  /dev/kvm  {_kvm(host)}",
        f"  core      {host.core.version or 'missing'}",
        "",
        "Engines",
    ]
    for report in reports:
        verdict = "runs" if report.available else "no"
        lines.append(f"  {report.engine:<10}{verdict:<6}{report.summary}")
        for refusal in report.refusals:
            lines.append(_wrap(f"- {refusal.code}: {refusal.reason}.", 18))
            lines.append(_wrap(f"Remedy: {refusal.remedy}.", 20))
    engine, why = explain_choice(reports)
    lines += ["", _wrap(f"--engine auto takes {engine or 'nothing'}: {why}.", 0)]
    return "\n".join(lines)


def _wrap(text: str, indent: int) -> str:
    margin = " " * indent
    return textwrap.fill(
        text, 96, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )


def _kvm(host: HostFacts) -> str:
    if host.kvm.open_error:
        return f"cannot be opened ({host.kvm.open_error})"
    kind = "kvm_pvm" if host.kvm.pvm_module else "kvm"
    return f"opens, API version {host.kvm.api_version}, {kind}"
