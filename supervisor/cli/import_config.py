"""``import-config``: translate another tool's configuration file into one for this program.

The result goes to standard output. What of the file has no equivalent, and what works another way here, is told on standard error,
each with its place in the file and what to do. Exit code 2 for a file that cannot be read, 1 where nothing of it could be translated,
and with --strict also where anything was lost.
"""

import argparse

from supervisor.cli.tables import complain, show, show_json, table
from supervisor.importers import installed, named, read_source, text_of, translate, whole

EXAMPLES = """\
examples:
  %(prog)s --list
  %(prog)s sriov-network-device-plugin config.json > config.yaml
  kubectl -n kube-system get configmap NAME -o yaml | %(prog)s k8s-rdma-shared-dev-plugin -
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's own arguments."""
    parser.add_argument("format", metavar="FORMAT", nargs="?", help="the tool whose file it is; --list names those known")
    parser.add_argument("file", metavar="FILE", nargs="?", help="its file, or a ConfigMap that holds it; - for standard input")
    parser.add_argument("--list", action="store_true", help="list the formats that installed packages translate")
    parser.add_argument("--key", help="which text of a ConfigMap (default: config.json, or its only one)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything has no equivalent")
    parser.add_argument("--json", action="store_true", help="print configuration and remarks as one JSON document")
    parser.set_defaults(refuse=parser.error)


def main(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if args.list:
        return _list(as_json=args.json)
    if args.format is None or args.file is None:
        args.refuse("the following arguments are required: FORMAT, FILE (or --list)")
    importer = named(args.format)
    source = read_source(args.file, args.key)
    translation = translate(importer, source)
    lost, notes = source.told(translation.lost), source.told(translation.notes)
    text = text_of(translation) if translation.section is not None else ""
    if args.json:
        show_json({"config": whole(translation) if text else None, "lost": lost, "notes": notes})
    else:
        complain(*(f"lost: {each}" for each in lost), *(f"note: {each}" for each in notes))
        show(text.rstrip("\n"))
    if not text:
        complain("nothing of it has an equivalent here")
    return int(not text or (args.strict and bool(lost)))


def _list(*, as_json: bool) -> int:
    if as_json:
        show_json([{"format": each.name, "distribution": each.distribution, "version": each.version} for each in installed()])
    else:
        rows = [(each.name, f"{each.distribution} {each.version}") for each in installed()]
        show(table(("FORMAT", "FROM"), rows) if rows else "no installed package translates any format")
    return 0
