#!lua flags=allow-oom
-- Has the group, from the first entry on. What waits must be let go of also when there is no memory left.
--
-- KEYS: stream, books. ARGV: the group.
-- Returns 0 if it was there, 1 if it was made for the first time, 2 if it was made again.
local made = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if made.err then
    if string.find(made.err, 'BUSYGROUP', 1, true) then
        return 0
    end
    return made
end
return 2 - redis.call('HSETNX', KEYS[2], 'group', ARGV[1])
