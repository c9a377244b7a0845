#!lua flags=allow-oom
-- Forgets consumers that hold nothing. With what one holds it would be forgotten that somebody holds it.
--
-- KEYS: stream. ARGV: the group, who asks.
local forgotten = 0
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
    local fields = {}
    for place = 1, #consumer, 2 do
        fields[consumer[place]] = consumer[place + 1]
    end
    if fields['pending'] == 0 and fields['name'] ~= ARGV[2] then
        redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], fields['name'])
        forgotten = forgotten + 1
    end
end
return forgotten
