-- What model.quota.spend says, by this server's clock. KEYS: a meter, "level microseconds". ARGV: events a minute,
-- burst, debt, how many more are needed and wanted. Gives back how many were granted, and the level. A number holds
-- 2^53 exactly: bursts up to 150 million, beyond that to a few parts of a unit.
local PARTS = 60000000
local per_minute, burst, debt = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local need, want = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local level = 0
local kept = redis.call('GET', KEYS[1])
if kept then
    local space = string.find(kept, ' ', 1, true)
    local at = tonumber(string.sub(kept, space + 1))
    level = math.max(tonumber(string.sub(kept, 1, space - 1)) - math.max(now - at, 0) * per_minute, 0)
    now = math.max(now, at)
end
level = math.max(level + debt * PARTS, 0)
local free = math.floor(math.max(burst * PARTS - level, 0) / PARTS)
local granted = 0
if free >= need then granted = math.min(want, free) end
level = level + granted * PARTS
-- It is forgotten when it is empty.
redis.call('SET', KEYS[1], string.format('%.0f %.0f', level, now), 'PX', math.floor(level / per_minute / 1000) + 1000)
return {granted, string.format('%.0f', level)}
