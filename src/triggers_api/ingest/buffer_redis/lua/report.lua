#!lua flags=allow-oom
-- Somebody remembers more than the books say: the server has lost its memory, or a replica took over that had not
-- heard of everything. New books are begun, and what is missing is written down once, whoever reports it.
--
-- KEYS: books. ARGV: the name of the books that are remembered, how many events they had added, how many of these
--   are surely gone the right way, a name for new books.
-- Returns how many are missing of those books.
local books = KEYS[1]
local remembered, added, gone, name = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local function number(field)
    return tonumber(redis.call('HGET', books, field) or '0')
end
local past = 'past:' .. remembered .. ':'
if redis.call('HGET', books, 'name') == remembered then
    if number('added') >= added then
        return 0
    end
    redis.call('HSET', books, 'name', name, past .. 'kept', number('added'))
elseif redis.call('HEXISTS', books, 'name') == 0 then
    redis.call('HSET', books, 'name', name)
end
redis.call('HSET', books, past .. 'added', math.max(number(past .. 'added'), added),
    past .. 'kept', math.max(number(past .. 'kept'), gone))
return math.max(0, number(past .. 'added') - number(past .. 'kept'))
