"""Ways into a coordinator's database that only tests take: an agent without an invite, a row that is nobody's."""

import sqlalchemy as sa

from edgeveil.coordinator.store import schema
from edgeveil.coordinator.store.agents import EnrolledAgent, _insert_agent
from edgeveil.coordinator.store.store import Store


def add_agent(store: Store, agent: EnrolledAgent) -> None:
    """Raises EnrollmentError if its name, identity or node key is enrolled."""
    with store._database.writing() as connection:
        _insert_agent(connection, agent)


def write_note(store: Store, key: str, value: str) -> None:
    with store._database.writing() as connection:
        connection.execute(sa.delete(schema.meta).where(schema.meta.c.key == key))
        connection.execute(sa.insert(schema.meta).values(key=key, value=value))


def note(store: Store, key: str) -> str | None:
    query = sa.select(schema.meta.c.value).where(schema.meta.c.key == key)
    with store._database.reading() as connection:
        return connection.execute(query).scalar_one_or_none()
