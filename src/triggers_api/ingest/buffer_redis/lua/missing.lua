#!lua flags=allow-oom
-- Looks through a part of the events that are known to wait for those whose entries have vanished, and writes them
-- off: they were accepted, and are lost.
--
-- KEYS: stream, waiting, depths, books, lost. ARGV: where the part begins, how many to look at.
-- Returns {where the next part begins, the lost events' ids ...}.
local stream, waiting, depths, books, lost = unpack(KEYS, 1, 5)
local found = redis.call('HSCAN', waiting, ARGV[1], 'COUNT', ARGV[2])
local answer = {found[1]}
for place = 1, #found[2], 2 do
    local event = found[2][place]
    local entry, organization = string.match(found[2][place + 1], '^(%S+) (%S+)$')
    if entry and #redis.call('XRANGE', stream, entry, entry) == 0 then
        redis.call('HDEL', waiting, event)
        redis.call('HINCRBY', books, 'lost', 1)
        redis.call('XADD', lost, 'MAXLEN', '~', 10000, '*', 'id', event, 'organization', organization)
        if redis.call('HINCRBY', depths, organization, -1) <= 0 then
            redis.call('HDEL', depths, organization)
        end
        answer[#answer + 1] = event
    end
end
return answer
