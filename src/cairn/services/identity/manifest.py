"""Accounts, logins and sessions."""

from cairn.kernel.plugin.manifest import Manifest, NodeContext
from cairn.kernel.session import Authenticator
from cairn.services.identity.bootstrap import bootstrap_admin
from cairn.services.identity.passwords import Passwords, interactive_hasher
from cairn.services.identity.service import IdentityService
from cairn.services.identity.sessions import Sessions


def build(node: NodeContext) -> None:
    sessions = Sessions(
        node.store, node.bus, node.clock, node.ids, node.config, node.settings.session_seconds, node.invalidation
    )
    passwords = Passwords(interactive_hasher(), node.clock)
    node.bus.serve(IdentityService(node.store, node.jobs, node.tags, node.cascade, sessions, passwords))
    node.provide(Authenticator, sessions)
    node.preparations.append(lambda: bootstrap_admin(node.store, node.settings, node.ids, node.clock))
    node.loops.every("session sweep", lambda: 3600.0, sessions.sweep, once_per_cloud=True)
    node.loops.every("expired sessions in memory", lambda: 3600.0, sessions.trim)


MANIFEST = Manifest(package="cairn.services.identity", build=build)
