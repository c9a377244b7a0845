#!lua
-- Puts a poisoned event back, to be tried as if it had just come in.
--
-- KEYS: stream, waiting, depths, books, poison, poisoned. ARGV: the event.
-- Returns 1, or 0 if there is no such event.
local stream, waiting, depths, books, poison, poisoned = unpack(KEYS, 1, 6)
local kept = redis.call('HGET', poisoned, ARGV[1])
if not kept then
    return 0
end
local entry, organization = string.match(kept, '^(%S+) (%S+)$')
local found = redis.call('XRANGE', poison, entry, entry)[1]
redis.call('HDEL', poisoned, ARGV[1])
redis.call('XDEL', poison, entry)
if not found then
    return 0
end
local number = redis.call('HINCRBY', books, 'added', 1)
local fields = {}
for place = 1, #found[2], 2 do
    local name = found[2][place]
    if name ~= 'reason' then
        fields[#fields + 1] = name
        fields[#fields + 1] = name == 'number' and number or found[2][place + 1]
    end
end
local again = redis.call('XADD', stream, '*', unpack(fields))
redis.call('HSET', waiting, ARGV[1], again .. ' ' .. organization)
redis.call('HINCRBY', depths, organization, 1)
return 1
