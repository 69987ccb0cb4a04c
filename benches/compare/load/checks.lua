-- wrk: checks of keys. Arguments after `--`: form (get, post), pipeline depth, keys, order (random, once).
-- `once` takes each key in turn; `distinct` at the end says how many there were.

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

function done()
    local count = worker:get("sent")
    if count then print("distinct " .. math.min(count, worker:get("keys"))) end
end
