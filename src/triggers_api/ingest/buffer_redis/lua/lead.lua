#!lua flags=allow-oom
-- Takes or keeps the lead: one consumer lands what waits, in the order in which it came in.
--
-- KEYS: leader. ARGV: who asks, for how many milliseconds.
-- Returns 2 if it was taken now, 1 if it was kept, 0 if it is another's.
local leader = redis.call('GET', KEYS[1])
if leader == ARGV[1] then
    redis.call('PEXPIRE', KEYS[1], ARGV[2])
    return 1
end
if leader then
    -- When the server's clock has gone back, or somebody took the expiry away: nobody has it for longer than that.
    local left = redis.call('PTTL', KEYS[1])
    if left < 0 or left > tonumber(ARGV[2]) then
        redis.call('PEXPIRE', KEYS[1], ARGV[2])
    end
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 2
