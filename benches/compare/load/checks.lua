-- wrk: checks of keys. Arguments after `--`: form (get, post), pipeline depth, keys, order (random, once),
-- connections. `once` takes each key in turn; `distinct` at the end says how many there were, and
-- `percentiles` the median and the 99th in microseconds, of the latencies as they were.

local counter = 0

function setup(thread)
    thread:set("seed", os.time())
    worker = thread
end

local function one(number)
    if form == "post" then
        local body = string.format(
            '{"key":"user%012d","max_burst":1000000,"count_per_period":1,"period":60}', number)
        return "POST /throttle HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
    end
    return string.format("GET /v1/check/open/user%012d HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", number)
end

local function next_number()
    if order == "once" then
        counter = counter + 1
        sent = counter
        return (counter - 1) % keys
    end
    return math.random(0, keys - 1)
end

local function next_request()
    if depth == 1 then return one(next_number()) end
    local requests = {}
    for i = 1, depth do requests[i] = one(next_number()) end
    return table.concat(requests)
end

function init(arguments)
    form, depth, keys, order = arguments[1], tonumber(arguments[2]), tonumber(arguments[3]), arguments[4]
    connections = tonumber(arguments[5])
    math.randomseed(seed)
    -- Pipelined requests come too fast to be written one by one: as many as there are keys are ready.
    pool, at = nil, 0
    if depth > 1 and order == "random" then
        pool = {}
        for i = 1, math.ceil(keys / depth) do pool[i] = next_request() end
    end
end

function request()
    if not pool then return next_request() end
    at = at % #pool + 1
    return pool[at]
end

-- wrk adds to each latency those that requests in between would have had, one an interval, which it takes
-- from the number of answers. With pipelining that is far too short: it then adds below its own minimum, and
-- prints zeros. What was added to one value is what stands an interval above it.
local function measured(summary, latency, connections)
    local interval = math.floor(summary.duration / math.floor(summary.requests / connections))
    local found, values, total = {}, {}, 0
    for i = 1, #latency do
        local value, count = latency(i)
        values[i], found[value] = value, count
    end
    for i, value in ipairs(values) do
        local count = found[value] - (value > interval and found[value + interval] or 0)
        values[i], total = { value, count }, total + count
    end
    return values, total
end

local function percentile(values, total, part)
    local seen = 0
    for _, pair in ipairs(values) do
        seen = seen + pair[2]
        if seen >= part * total then return pair[1] end
    end
    return 0
end

function done(summary, latency)
    local connections = worker:get("connections")
    if summary.requests >= connections then
        local values, total = measured(summary, latency, connections)
        print("percentiles " .. percentile(values, total, 0.5) .. " " .. percentile(values, total, 0.99))
    end
    local count = worker:get("sent")
    if count then print("distinct " .. math.min(count, worker:get("keys"))) end
end
