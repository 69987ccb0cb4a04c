-- wrk: one kind of request, named after `--`; counts answers whose status that kind must not get.

local head = "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n"

local function get(path, fields) return head:format("GET", path) .. (fields or "") .. "\r\n" end
local function post(path, body)
    return head:format("POST", path) .. "Content-Length: " .. #body .. "\r\n\r\n" .. body
end

local function open_path() return ("/v1/check/open/user%012d"):format(math.random(0, 99999)) end

local function batch()
    local checks = {}
    for i = 1, math.random(1, 64) do
        checks[i] = ('{"policy":"open","key":"user%012d","cost":1}'):format(math.random(0, 99999))
    end
    return post("/v1/check", '{"checks":[' .. table.concat(checks, ",") .. "]}")
end

local mistakes = {
    function() return get("/v1/check/unknown/key") end,
    function() return get("/v1/check/open/key?cost=many") end,
    function() return get("/v1/check/tight/key?cost=2") end,
    function() return get("/nothing") end,
    function() return post("/v1/check", '{"checks":[') end,
    function() return post("/health", "") end,
}

local kinds = {
    allowed = { make = function() return get(open_path()) end, [200] = true },
    denied = { make = function() return get("/v1/check/tight/key") end, [200] = true, [429] = true },
    batch = { make = batch, [200] = true },
    mistakes = { make = function() return mistakes[math.random(#mistakes)]() end,
        [400] = true, [404] = true, [405] = true },
    health = { make = function() return get("/health") end, [200] = true },
    metrics = { make = function() return get("/metrics") end, [200] = true },
    churn = { make = function() return get(open_path(), "Connection: close\r\n") end, [200] = true },
}

function setup(thread) worker = thread end

function init(arguments)
    kind, unexpected, answered = kinds[arguments[1]], 0, 0
    math.randomseed(os.time())
end

function request() return kind.make() end

function response(status)
    answered = answered + 1
    if not kind[status] then unexpected = unexpected + 1 end
end

-- A minute's metrics are enough; the rest is as fast as it goes.
function delay() return kind == kinds.metrics and 1000 or 0 end

function done() print("answered " .. worker:get("answered") .. " unexpected " .. worker:get("unexpected")) end
