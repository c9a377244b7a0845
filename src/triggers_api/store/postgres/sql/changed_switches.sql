-- What was turned, and beside it, as true, the row that other versions read: both of one moment.
SELECT body, false AS older FROM switches WHERE version > $1
UNION ALL
SELECT body, true FROM controls WHERE version > $1
