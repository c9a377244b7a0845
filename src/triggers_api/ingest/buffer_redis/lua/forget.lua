#!lua flags=allow-oom
-- Deletes an entry that was set aside.
--
-- KEYS: poison, poisoned. ARGV: its place, the event's id as the entry has it.
-- Returns 1, or 0 if there is no such entry.
local place = redis.call('HGET', KEYS[2], ARGV[2])
-- Of entries that are damaged several may have the same id, or none.
if place and string.match(place, '^(%S+) ') == ARGV[1] then
    redis.call('HDEL', KEYS[2], ARGV[2])
end
return redis.call('XDEL', KEYS[1], ARGV[1])
