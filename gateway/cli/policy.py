"""``mxgw policy schema|check|test|digest|show``: policies without a node.

Those that a cluster shares: ``policy_push``.

Known gaps: none.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.cli import policy_push, policy_shadow
from gateway.cli.output import config_argument, faults_json, output_argument, show_columns, show_faults, show_json
from gateway.cli.policy_files import CASES, PACKAGED, policy_in_force
from gateway.cli.sysexits import CONFIG, DATAERR, NEGATIVE, OK

if TYPE_CHECKING:
    pass


def arguments(parser: argparse.ArgumentParser) -> None:
    """The actions."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    actions.add_parser("schema", help="JSON Schema of a policy file")
    check = actions.add_parser("check", help="report everything that is wrong with a policy file; 78 when something is")
    check.add_argument("file", type=Path, metavar="FILE")
    output_argument(check)
    test = actions.add_parser("test", help="run case files: facts in, verdict out; 1 when one differs")
    test.add_argument("folder", nargs="?", type=Path, default=CASES, metavar="DIR", help="absent: ours")
    test.add_argument(
        "--policy", action="append", type=Path, default=[], metavar="FILE", help="more policies, by file name"
    )
    output_argument(test)
    digest = actions.add_parser("digest", help="the digest that nodes with this policy show")
    digest.add_argument("file", type=Path, metavar="FILE")
    output_argument(digest)
    show = actions.add_parser("show", help="the rules in force, in their order")
    show.add_argument("file", nargs="?", type=Path, metavar="FILE", help="absent: the policy of the settings")
    config_argument(show)
    output_argument(show)
    policy_push.add_actions(actions)
    policy_shadow.arguments(actions.add_parser("shadow", help="judge live mail with a candidate too; nothing changes"))


def run(args: argparse.Namespace) -> int:
    """Call the action."""
    if "act" in args:
        return int(args.act(args))
    return {
        "schema": _schema,
        "check": _check,
        "test": _test,
        "digest": _digest,
        "show": _show,
        "shadow": policy_shadow.run,
    }[args.action](args)


def _schema(_: argparse.Namespace) -> int:
    from gateway.policy.schema import policy_schema

    print(json.dumps(policy_schema(), indent=2))
    return OK


def _check(args: argparse.Namespace) -> int:
    from gateway.policy.load import load
    from gateway.yamlfile import FaultsError

    try:
        policy = load(args.file)
    except FaultsError as error:
        if args.output == "json":
            show_json("policy-check", {"file": str(args.file), "ok": False, "faults": faults_json(error)})
        else:
            show_faults(error)
        return CONFIG
    if args.output == "json":
        show_json("policy-check", {"file": str(args.file), "ok": True, "faults": [], "digest": policy.digest})
    else:
        rules, profiles = len(policy.default.rules), len(policy.profiles)
        size = f"{rules} rules, {profiles} profiles"
        print(f"{args.file}: OK; {size}, mode {policy.default.mode}, digest {policy.digest[:8]}")
    return OK


def _test(args: argparse.Namespace) -> int:
    from gateway.policy.casefile import run_case_files
    from gateway.policy.load import load, load_packaged

    paths = sorted(args.folder.rglob("*.yaml")) if args.folder.is_dir() else [args.folder]
    if not paths:
        show_columns([(f"{args.folder}: no case files",)])
        return DATAERR
    policies = {name: load_packaged(name) for name in PACKAGED}
    policies.update({path.stem: load(path) for path in args.policy})
    results = run_case_files(paths, policies)
    failed = [result for result in results if not result.passed]
    if args.output == "json":
        cases = [
            {"file": r.file, "name": r.name, "passed": r.passed, "line": r.line, "differences": list(r.differences)}
            for r in results
        ]
        show_json("policy-test", {"cases": cases, "failed": len(failed)})
    else:
        for result in failed:
            print(result)
        print(f"{len(results)} cases, {len(failed)} failed")
    return NEGATIVE if failed else OK


def _digest(args: argparse.Namespace) -> int:
    from gateway.policy.load import load

    policy = load(args.file)
    if args.output == "json":
        show_json("policy-digest", {"file": str(args.file), "digest": policy.digest, "short": policy.digest[:8]})
    else:
        print(policy.digest)
    return OK


def _show(args: argparse.Namespace) -> int:
    policy = policy_in_force(args.file, args.config)
    profiles = (policy.default, *policy.profiles)
    if args.output == "json":
        values = [
            {
                "name": profile.name,
                "domains": list(profile.domains),
                "mode": profile.mode.value,
                "rules": [
                    {"id": rule.id, "at": rule.at.value, "then": rule.then.name.lower(), "reason": rule.reason}
                    for rule in profile.rules
                ],
                "posture": {name: posture.value for name, posture in profile.posture.items()},
            }
            for profile in profiles
        ]
        show_json("policy-show", {"source": policy.source, "digest": policy.digest, "profiles": values})
        return OK
    print(f"{policy.source or 'packaged default'}  digest {policy.digest[:8]}")
    for profile in profiles:
        print(f"\n{profile.name}  mode {profile.mode.value}  {' '.join(profile.domains)}".rstrip())
        show_columns([(r.id, r.at.value, r.then.name.lower(), r.reason) for r in profile.rules])
    return OK
