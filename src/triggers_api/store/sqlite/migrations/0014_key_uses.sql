-- When keys were last used, some seconds late. Apart from the keys: it is no change of theirs.
CREATE TABLE key_uses (
    key_id  INTEGER PRIMARY KEY,
    used_at INTEGER NOT NULL
) STRICT;
