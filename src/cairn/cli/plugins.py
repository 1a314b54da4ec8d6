"""``cairn plugin``: what plugins bring, what they have left in the database, and its removal."""

from __future__ import annotations

import click

from cairn.cli import output
from cairn.cli.context import Context, common, pass_context
from cairn.cli.errors import usage


@click.group("plugin")
def plugin() -> None:
    """What plugins bring, and what they have left in the database (`cairn get-plugins` lists those of a running node)."""


@plugin.command("reference")
@click.argument("name")
@common
@pass_context
def reference(context: Context, name: str) -> None:
    """Print a page about what the plugin NAME brings: calls, tables, settings, tags, events, steps, errors."""
    from cairn.bootstrap import load_plugins
    from cairn.cli.plugin_pages import plugin_page
    from cairn.kernel.settings import load

    loaded = load_plugins(load(context.environment, data_dir=context.data_dir))
    found = next((manifest for manifest in loaded.manifests if manifest.name == name), None)
    if found is None:
        reasons = {one.name: one.reason for one in loaded.left_out}
        there = ", ".join(manifest.name for manifest in loaded.manifests)
        why = f"The plugin {name} is left out: {reasons[name]}." if name in reasons else f"There is no plugin {name!r}."
        raise usage(f"{why} There are: {there}.", code="cli.no-such-plugin")
    click.echo(plugin_page(found, loaded), nl=False)


@plugin.command("purge")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Remove it. Without this it is only shown.")
@common
@pass_context
def purge(context: Context, name: str, yes: bool) -> None:
    """Show what the plugin NAME has left in the database, or remove it: tables, resources, settings, tags.

    No node may run, and the plugin must be taken out or disabled on all of them. It cannot be undone: make a backup first.
    """
    from cairn.cli.database import Place, shown
    from cairn.kernel.plugin.purge import plugins_with_traces
    from cairn.kernel.plugin.purge import purge as remove

    place = Place(context)
    known = plugins_with_traces(place.where)
    if name not in known:
        there = ", ".join(known) or "none"
        raise usage(
            f"No plugin {name!r} has left anything in {shown(place.where)}; there are: {there}.",
            code="cli.no-such-plugin",
        )
    if yes and name in {manifest.name for manifest in place.loaded.manifests}:
        raise usage(
            f"The plugin {name} would be loaded at the next start, and make it all anew. Take it out, or name it in "
            "CAIRN_PLUGINS_DISABLED.",
            code="cli.plugin-in-use",
        )
    with place.alone():
        left = remove(place.where, name, really=yes)
    if context.as_json:
        output.print_json(left)
        return
    output.table(("what", "name", "rows"), ((one.kind.value, one.name, str(one.rows)) for one in left))
    output.say("All of this is removed." if yes else "Nothing was changed. Add --yes to remove all of this.")
