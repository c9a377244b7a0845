#!lua flags=allow-oom
-- Lets go of entries that are in the database now, or are to be set aside.
--
-- KEYS: stream, waiting, depths, books, poison, poisoned; then the dedup key of each entry that has one.
-- ARGV: the group; then for each entry: its place in the stream, the event's id, the organization, 1 if it has a
--   dedup key, what is the matter with it ('' for nothing).
-- Returns how many there were.
local stream, waiting, depths, books, poison, poisoned = unpack(KEYS, 1, 6)
local count, key = 0, 6
for place = 2, #ARGV, 5 do
    local entry, event, organization, has_key, reason = unpack(ARGV, place, place + 4)
    local dedup = false
    if has_key == '1' then
        key = key + 1
        dedup = KEYS[key]
    end
    if reason ~= '' then
        local found = redis.call('XRANGE', stream, entry, entry)[1]
        if found then
            local fields = found[2]
            fields[#fields + 1] = 'reason'
            fields[#fields + 1] = reason
            local kept = redis.call('XADD', poison, '*', unpack(fields))
            redis.call('HSET', poisoned, event, kept .. ' ' .. organization)
        end
    end
    redis.call('XACK', stream, ARGV[1], entry)
    local gone = redis.call('XDEL', stream, entry)
    local known = redis.call('HDEL', waiting, event)
    if gone + known > 0 then
        count = count + 1
        redis.call('HINCRBY', books, reason == '' and 'settled' or 'poisoned', 1)
        if redis.call('HINCRBY', depths, organization, -1) <= 0 then
            redis.call('HDEL', depths, organization)
        end
    end
    if dedup then
        local held = redis.call('GET', dedup)
        if held and string.sub(held, 2, 37) == event then
            if reason == '' then
                redis.call('SETRANGE', dedup, 0, 'L')
            else
                redis.call('DEL', dedup)
            end
        end
    end
end
return count
