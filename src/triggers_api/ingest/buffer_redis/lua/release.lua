#!lua
-- Puts an entry that was set aside back, to be tried as if it had just come in.
--
-- KEYS: stream, waiting, depths, books, poison, poisoned. ARGV: its place among those that are set aside.
-- Returns 1, or 0 if there is no such entry.
local stream, waiting, depths, books, poison, poisoned = unpack(KEYS, 1, 6)
local found = redis.call('XRANGE', poison, ARGV[1], ARGV[1])[1]
if not found then
    return 0
end
local number = redis.call('HINCRBY', books, 'added', 1)
local fields, event, organization = {}, '', ''
for place = 1, #found[2], 2 do
    local name, value = found[2][place], found[2][place + 1]
    if name == 'id' then
        event = value
    elseif name == 'organization' then
        organization = value
    end
    if name ~= 'reason' then
        fields[#fields + 1] = name
        fields[#fields + 1] = name == 'number' and number or value
    end
end
redis.call('XDEL', poison, ARGV[1])
redis.call('HDEL', poisoned, event)
local again = redis.call('XADD', stream, '*', unpack(fields))
redis.call('HSET', waiting, event, again .. ' ' .. organization)
redis.call('HINCRBY', depths, organization, 1)
return 1
