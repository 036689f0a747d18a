"""A hub and two sites, each with a private broker, on links that a test can sever: as `ladle site add` makes them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from certificates import make_authority, make_certificate
from ladle_site import Site
from private_broker import a_private_rabbitmq
from severable_link import SeverableLink

from broker_config.rabbitmq.private import PrivateRabbitMQ
from broker_config.rabbitmq.site_command import SHOVEL_PLUGIN
from broker_config.rabbitmq.site_command import command as site_command
from planner import Client

MAY_BE_LOST = ("hub.", "client.", "control.")


class EdgeSite:
    """One site: its broker, its link to the hub, and the URLs of its users.

    Args:
        name: of the site; its nodes are called after it.
        hub_url: what the link leads to.
        folder: for its broker, and for what `ladle site add` writes.
    """

    def __init__(self, name: str, hub_url: str, folder: Path) -> None:
        self.name, self.nodes, self.folder = name, (f"{name}-1", f"{name}-2"), folder
        self.broker = a_private_rabbitmq(folder / "rabbitmq", plugins=[SHOVEL_PLUGIN])
        self.link = SeverableLink(hub_url)
        self.urls: dict[str, str] = {}

    def join(self, hub: PrivateRabbitMQ) -> None:
        """Do what `ladle site add` says."""
        nodes = [word for node in self.nodes for word in ("--node", node)]
        urls = ["--hub-url", without_user(self.link.url), "--site-url", without_user(self.broker.url)]
        site_command(["add", self.name, *nodes, *urls, "--out", str(self.folder)], standalone_mode=False)
        hub.rabbitmqctl("import_definitions", str(self.folder / f"hub-{self.name}.json"))
        for file in (f"queues-{self.name}.json", f"site-{self.name}.json"):
            self.broker.rabbitmqctl("import_definitions", str(self.folder / file))
        self.urls = json.loads((self.folder / f"{self.name}-urls.json").read_text())

    def client(self, hub: Site) -> Client:
        """A client at the site."""
        return hub.client(broker_url=self.urls[f"client.{self.name}"])

    def messages(self) -> dict[str, int]:
        """Return how many messages lie in each queue of the site's broker, apart from those that may be lost."""
        listed = json.loads(self.broker.rabbitmqctl("list_queues", "name", "messages", "--formatter", "json"))
        found = {queue["name"]: queue["messages"] for queue in listed}
        return {name: count for name, count in found.items() if not name.startswith(MAY_BE_LOST)}


class Federation:
    """Three private brokers, a planner at the hub, and two workers at each site; turin's link goes over TLS."""

    def __init__(self, folder: Path, **changes) -> None:
        certificates = folder / "certificates"
        make_authority(certificates)
        make_certificate(certificates, "server", "localhost")
        self.hub_broker = a_private_rabbitmq(folder / "hub-rabbitmq", certificates=certificates)
        trust = f"cacertfile={certificates}/ca.pem&verify=verify_peer&server_name_indication=localhost"
        hub_urls = {"berlin": self.hub_broker.url, "turin": f"{self.hub_broker.tls_url}?{trust}"}
        self.sites = {name: EdgeSite(name, url, folder / name) for name, url in hub_urls.items()}
        (folder / "hub").mkdir()
        self.hub = Site(folder / "hub", broker_url=self.hub_broker.url, **changes)

    def start(self) -> None:
        """Start the brokers, join the sites, then start the planner and the workers."""
        brokers = [self.hub_broker, *(site.broker for site in self.sites.values())]
        with ThreadPoolExecutor() as threads:
            list(threads.map(PrivateRabbitMQ.start, brokers))
            list(threads.map(lambda site: site.join(self.hub_broker), self.sites.values()))
            workers = [
                threads.submit(self.hub.start_worker, node, broker_url=site.urls[f"node.{node}"])
                for site in self.sites.values()
                for node in site.nodes
            ]
            self.hub.start_planner()
            for worker in workers:
                worker.result()

    def wait_ready(self) -> None:
        """Wait until the planner uses every node."""
        for site in self.sites.values():
            for node in site.nodes:
                self.hub.wait_for_node(node, "READY")

    def stop(self) -> None:
        self.hub.stop()
        for site in self.sites.values():
            site.link.cut()
            site.broker.kill()
        self.hub_broker.kill()


def without_user(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
