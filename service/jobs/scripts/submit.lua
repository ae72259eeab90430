-- id, idempotency key or "", digest of the body, seconds to remember the key, most waiting jobs, request, pantry, sets
-- -> ok, id, 1 when new | conflict, id | full, waiting jobs
local id, idempotency, digest, remember, quota, request, pantry, sets = unpack(ARGV)

if redis.call("EXISTS", job_key(id)) == 1 then
  return { "ok", id, 1 }
end
local remembered = idempotency ~= "" and key("idempotency", idempotency)
if remembered then
  local earlier = redis.call("HMGET", remembered, "job", "digest")
  if earlier[1] then
    return earlier[2] == digest and { "ok", earlier[1], 0 } or { "conflict", earlier[1] }
  end
end
local waiting = redis.call("XLEN", key("queue"))
if waiting >= tonumber(quota) then
  return { "full", waiting }
end

set(id, "created_at", now, "attempt", 0, "holder", 0)
set(id, "request", request, "pantry", pantry, "sets", sets)
if remembered then
  redis.call("HSET", remembered, "job", id, "digest", digest)
  redis.call("EXPIRE", remembered, remember)
  set(id, "idempotency", remembered)
end
redis.call("ZADD", key("jobs"), now, id)
set_status(id, "queued")
set(id, "entry", redis.call("XADD", key("queue"), "*", "job", id))
return { "ok", id, 1 }
