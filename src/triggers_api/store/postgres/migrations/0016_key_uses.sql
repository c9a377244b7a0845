-- When keys were last used, some seconds late. Apart from the keys: it is no change of theirs.
CREATE TABLE key_uses (
    key_id  uuid   PRIMARY KEY,
    used_at bigint NOT NULL
) WITH (fillfactor = 50);
