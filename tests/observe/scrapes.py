"""Pages of metrics, read as Prometheus reads them."""

from prometheus_client.parser import text_string_to_metric_families


def samples(page: bytes, name: str) -> dict[tuple[str, ...], float]:
    """Label values, in the order of the labels' names, to value, of the samples of one name, which is ours: without its prefix."""
    families = text_string_to_metric_families(page.decode())
    found = (sample for family in families for sample in family.samples if sample.name == f"device_plugin_{name}")
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in found}
