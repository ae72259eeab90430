-- Put before every script. KEYS[1] is the prefix of all keys; the scripts name the others themselves,
-- so that on a Redis cluster the prefix must be a hash tag, as in "{soupsearch}".

local time = redis.call("TIME")
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local EVENTS_KEPT = 20000
local ENDED = { succeeded = true, failed = true, cancelled = true }

local function key(...)
  return table.concat({ KEYS[1], ... }, ":")
end

local function job_key(id)
  return key("job", id)
end

local function get(id, field)
  return redis.call("HGET", job_key(id), field)
end

local function set(id, ...)
  redis.call("HSET", job_key(id), ...)
end

local function append_event(id, kind, data)
  redis.call("XADD", key("job", id, "events"), "MAXLEN", "~", EVENTS_KEPT, "*", "type", kind, "data", data)
end

-- Documents in one field, one per line; an existing document is not added again.
local function append_line(id, field, line)
  local lines = get(id, field) or ""
  if string.find("\n" .. lines .. "\n", "\n" .. line .. "\n", 1, true) then
    return false
  end
  set(id, field, lines == "" and line or lines .. "\n" .. line)
  return true
end

local function status_event(id, kind)
  local data = { status = get(id, "status"), attempt = tonumber(get(id, "attempt")) }
  append_event(id, kind, cjson.encode(data))
end

local function set_status(id, status)
  local before = get(id, "status")
  if before == status then
    return
  end
  if before then
    redis.call("ZREM", key("status", before), id)
  end
  redis.call("ZADD", key("status", status), get(id, "created_at"), id)
  set(id, "status", status)
  status_event(id, "status")
end

local function progress_event(id)
  local names = {
    "done", "pruned", "total", "images", "backward", "attempt_points", "attempt_started_at", "progress_at", "search_ends_at"
  }
  local values = redis.call("HMGET", job_key(id), unpack(names))
  local data = {}
  for position, name in ipairs(names) do
    data[name] = tonumber(values[position] or 0)
  end
  append_event(id, "progress", cjson.encode(data))
end

-- nil if `attempt` may write to the job, otherwise the reason why not.
local function refusal(id, attempt)
  local holder = get(id, "holder")
  if not holder then
    return "missing"
  end
  if holder ~= attempt then
    return "fenced"
  end
  return nil
end

local function leave_queue(id)
  local entry = get(id, "entry")
  if entry then
    redis.call("XDEL", key("queue"), entry)
    redis.call("HDEL", job_key(id), "entry")
  end
  redis.call("LREM", key("returned"), 0, id)
end

-- The entry wakes supervisors that wait for the stream; the list puts the job before those that never ran.
local function return_to_queue(id)
  redis.call("ZREM", key("leases"), id)
  redis.call("RPUSH", key("returned"), id)
  set(id, "holder", 0, "entry", redis.call("XADD", key("queue"), "*", "job", id))
  if get(id, "status") ~= "cancelling" then
    set_status(id, "queued")
  end
end

local function end_job(id, status, ttl)
  redis.call("ZREM", key("leases"), id)
  set(id, "holder", 0, "finished_at", now, "expires_at", now + ttl)
  redis.call("ZADD", key("expiries"), now + ttl, id)
  set_status(id, status)
  status_event(id, "end")
end

-- Record a failed attempt: by the job's own fault or, if `lost`, by the infrastructure's. Failures are counted
-- in all; losses in a row, and only those of attempts that evaluated nothing. At the limit the job ends.
-- Returns 1 when it is tried again, 0 when it has ended, and the count.
local function fail_attempt(id, reason, lost, limit, ttl)
  append_line(id, "failures", cjson.encode("attempt " .. get(id, "attempt") .. ": " .. reason))
  local count
  if lost and tonumber(get(id, "attempt_points")) > 0 then
    count = 0
    set(id, "losses", 0)
  else
    count = redis.call("HINCRBY", job_key(id), lost and "losses" or "failed_attempts", 1)
  end
  if count < limit then
    return_to_queue(id)
    return 1, count
  end
  local what = lost and " attempts in a row were lost before they evaluated anything" or " attempts failed"
  local message = count .. what .. "; the last: " .. reason
  set(id, "error", cjson.encode({ code = "attempts_exhausted", message = message, retryable = true }))
  end_job(id, get(id, "status") == "cancelling" and "cancelled" or "failed", ttl)
  return 0, count
end

-- References of jobs to artifacts: those of a kind in a hash, digest to the number of jobs.
local function refer(kind, digest)
  redis.call("HINCRBY", key("references", kind), digest, 1)
end

local function release(kind, digest)
  if redis.call("HINCRBY", key("references", kind), digest, -1) <= 0 then
    redis.call("HDEL", key("references", kind), digest)
  end
end

-- The models that were merged from a job's points on demand.
local function forget_models(id)
  for _, document in ipairs(redis.call("HVALS", key("job", id, "models"))) do
    release("models", cjson.decode(document).sha256)
  end
  redis.call("UNLINK", key("job", id, "models"))
end

local function forget_job(id)
  local job = redis.call("HMGET", job_key(id), "status", "model", "idempotency", "pantry", "sets")
  release("pantries", job[4])
  for digest in string.gmatch(job[5], "[^,]+") do
    release("sets", digest)
  end
  if job[2] then
    release("models", job[2])
  end
  forget_models(id)
  if job[3] and redis.call("HGET", job[3], "job") == id then
    redis.call("UNLINK", job[3])
  end
  redis.call("ZREM", key("status", job[1]), id)
  redis.call("ZREM", key("jobs"), id)
  redis.call("ZREM", key("expiries"), id)
  redis.call("UNLINK", job_key(id), key("job", id, "earlier"))
  redis.call("UNLINK", key("job", id, "points"), key("job", id, "order"), key("job", id, "events"))
end
