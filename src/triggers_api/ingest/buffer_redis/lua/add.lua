#!lua
-- Takes the events of one request into the buffer, all or none.
--
-- KEYS: stream, waiting, depths, books; then the dedup key of each event that has one, in their order.
-- ARGV: how many may wait, how many of one organization, the organization, seconds that a dedup key is kept, a
--   name for books that have none yet; then for each event: its id, what its dedup key is to hold ('' without
--   one), the event whose key may be taken over ('' for none), the event.
-- Returns {1, books' name, number of the last event added, for each event: '' if it is in the buffer now,
--   else what the dedup key holds} or {0, what waits, what waits of the organization}.
--
-- A dedup key holds W or L (waits, landed), the event's id, and what its sender may be told of it.
local stream, waiting, depths, books = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local most, most_of_one, organization = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]

local answers, fresh, taken = {}, {}, {}
local key = 4
for place = 6, #ARGV, 4 do
    local event, mark, over = ARGV[place], ARGV[place + 1], ARGV[place + 2]
    local held, dedup = false, false
    if mark ~= '' then
        key = key + 1
        dedup = KEYS[key]
        held = taken[dedup] or redis.call('GET', dedup)
        local holder = held and string.sub(held, 2, 37)
        -- Whose key it is while it neither waits nor landed has vanished: the key means nothing.
        if held and (holder == event or holder == over or (not taken[dedup]
                and string.sub(held, 1, 1) == 'W' and redis.call('HEXISTS', waiting, holder) == 0)) then
            held = false
        end
        taken[dedup] = held or mark
    end
    if held then
        answers[#answers + 1] = held
    else
        answers[#answers + 1] = ''
        -- It is there when the answer to the same call was lost.
        if redis.call('HEXISTS', waiting, event) == 0 then
            fresh[#fresh + 1] = {event, mark, dedup, ARGV[place + 3]}
        end
    end
end

local depth = redis.call('XLEN', stream)
local own = tonumber(redis.call('HGET', depths, organization) or '0')
if #fresh > 0 and (depth + #fresh > most or own + #fresh > most_of_one) then
    return {0, depth, own}
end

local name = redis.call('HGET', books, 'name')
if not name then
    name = ARGV[5]
    redis.call('HSET', books, 'name', name)
end
local number = tonumber(redis.call('HGET', books, 'added') or '0')
if #fresh > 0 then
    for _, each in ipairs(fresh) do
        number = number + 1
        local entry = redis.call('XADD', stream, '*', 'id', each[1], 'organization', organization,
            'number', number, 'event', each[4])
        redis.call('HSET', waiting, each[1], entry .. ' ' .. organization)
        if each[3] then
            redis.call('SET', each[3], each[2], 'EX', ARGV[4])
        end
    end
    redis.call('HSET', books, 'added', number)
    redis.call('HINCRBY', depths, organization, #fresh)
end
return {1, name, number, unpack(answers)}
