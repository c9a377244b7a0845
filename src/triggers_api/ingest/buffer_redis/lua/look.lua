#!lua flags=no-writes,allow-oom
-- How things stand, at one moment.
--
-- KEYS: stream, waiting, books, poison. ARGV: the group.
-- Returns {length, events that are known to wait, poisoned ones, entries in a consumer's hands (-1: there is no
--   group), the first entry's place ('' without one), the server's time in milliseconds, books}.
local stream, waiting, books, poison = unpack(KEYS, 1, 4)
local pending = -1
if redis.call('EXISTS', stream) == 1 then
    for _, group in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
        local fields = {}
        for place = 1, #group, 2 do
            fields[group[place]] = group[place + 1]
        end
        if fields['name'] == ARGV[1] then
            pending = fields['pending']
        end
    end
end
local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
local now = redis.call('TIME')
return {
    redis.call('XLEN', stream), redis.call('HLEN', waiting), redis.call('XLEN', poison), pending,
    first and first[1] or '', now[1] * 1000 + math.floor(now[2] / 1000), redis.call('HGETALL', books),
}
