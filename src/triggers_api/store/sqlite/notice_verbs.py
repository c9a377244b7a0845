"""What is to be told: written down with what it tells of, and taken out when it has been told."""

from collections.abc import Collection, Iterable

import apsw

from triggers_api.model.notice import Notice
from triggers_api.store import bodies
from triggers_api.store.base import PendingNotice
from triggers_api.store.sqlite.tables import SQL, Tables


class NoticeVerbs(Tables):
    """The verbs around ``notices``."""

    def write(self, db: apsw.Connection, organization: int, notices: Iterable[Notice]) -> None:
        """Part of the transaction that makes it so."""
        for notice in notices:
            db.execute(SQL["write_notice"], (organization, notice.at, bodies.encode(notice)))

    def notices(self, db: apsw.Connection, limit: int) -> list[PendingNotice]:
        """Those that wait, oldest first."""
        return [
            PendingNotice(number.hex(), self.keys.organization(organization), bodies.notice(body))
            for number, organization, body in db.execute(SQL["notices"], (limit,))
        ]

    def forget(self, db: apsw.Connection, notice_ids: Collection[str]) -> None:
        """They have been told."""
        for identifier in notice_ids:
            db.execute(SQL["forget_notice"], (bytes.fromhex(identifier),))
