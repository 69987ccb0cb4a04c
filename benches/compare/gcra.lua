-- GCRA as people run it inside Redis.
-- KEYS[1] the bucket; ARGV burst, tokens a period, the period in seconds, cost.
-- Answers {1 or 0, tokens left, ms until full, ms until the same check fits}.
local burst, cost = tonumber(ARGV[1]), tonumber(ARGV[4])
local interval = tonumber(ARGV[3]) / tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local before = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now)
local after = before + cost * interval
local wait = after - now - burst * interval
if wait > 0 then
    local left = math.floor(burst - (before - now) / interval)
    return { 0, left, math.ceil((before - now) * 1000), math.ceil(wait * 1000) }
end
redis.call('SET', KEYS[1], string.format('%.6f', after), 'EX', math.ceil(after - now))
return { 1, math.floor(burst - (after - now) / interval), math.ceil((after - now) * 1000), 0 }
