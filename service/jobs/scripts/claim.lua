-- supervisor, token of this call, lease in ms, most losses, ms to keep an ended job
-- -> ok, id, attempt | none, last id of the queue, ms to the next lease's end or -1
local supervisor, token, lease, max_losses, ttl = unpack(ARGV)
lease, max_losses, ttl = tonumber(lease), tonumber(max_losses), tonumber(ttl)
local answered = key("claim", supervisor)

-- The last attempt has searched until its last point, or until the last renewal of its lease while it searched.
local function note_search(id)
  local names = { "attempt_started_at", "progress_at", "searching_at" }
  local began, point, alive = unpack(redis.call("HMGET", job_key(id), unpack(names)))
  if began then
    redis.call("HINCRBY", job_key(id), "searched", math.max(tonumber(point), tonumber(alive or 0)) - tonumber(began))
    redis.call("HDEL", job_key(id), "attempt_started_at", "searching_at")
  end
end

local function take(id)
  note_search(id)
  local attempt = redis.call("HINCRBY", job_key(id), "attempt", 1)
  set(id, "holder", attempt, "supervisor", supervisor, "attempt_points", 0)
  redis.call("HSETNX", job_key(id), "started_at", now)
  redis.call("ZADD", key("leases"), now + lease, id)
  if get(id, "status") ~= "cancelling" then
    set_status(id, "running")
  end
  redis.call("HSET", answered, "token", token, "job", id, "attempt", attempt)
  redis.call("PEXPIRE", answered, lease)
  return { "ok", id, attempt }
end

-- A call whose answer was lost is repeated with the same token.
local earlier = redis.call("HMGET", answered, "token", "job", "attempt")
if earlier[1] == token then
  return { "ok", earlier[2], tonumber(earlier[3]) }
end

-- After a restart of the server, supervisors that could not renew meanwhile have a whole lease to do so.
local function started()
  local seconds = string.match(redis.call("INFO", "server"), "uptime_in_seconds:(%d+)")
  return now - 1000 * tonumber(seconds)
end

local silent = redis.call("ZRANGEBYSCORE", key("leases"), "-inf", now)
if #silent > 0 and now >= started() + lease then
  for _, id in ipairs(silent) do
    local reason = "supervisor " .. get(id, "supervisor") .. " fell silent"
    fail_attempt(id, reason, true, max_losses, ttl)
  end
end

local id = redis.call("LINDEX", key("returned"), 0)
if not id then
  local first = redis.call("XRANGE", key("queue"), "-", "+", "COUNT", 1)[1]
  id = first and first[2][2]
end
if id then
  leave_queue(id)
  return take(id)
end

local last, wait = "0-0", -1
if redis.call("EXISTS", key("queue")) == 1 then
  local stream = redis.call("XINFO", "STREAM", key("queue"))
  for position = 1, #stream, 2 do
    if stream[position] == "last-generated-id" then
      last = stream[position + 1]
    end
  end
end
local next_lease = redis.call("ZRANGE", key("leases"), 0, 0, "WITHSCORES")[2]
if next_lease then
  wait = math.max(tonumber(next_lease) - now, 0)
end
return { "none", last, wait }
