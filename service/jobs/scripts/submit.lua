-- id, idempotency key or "", digest of the body, seconds to remember the key, most waiting or paused jobs, request,
-- digest of the pantry, digests of the sets with commas, ms since the epoch when these had not been looked up yet,
-- soups of an earlier job or ""
-- -> ok, id, 1 when new | conflict, id | full, waiting and paused jobs | deleted, kind, digest
local id, idempotency, digest, remember, quota, request, pantry, sets, looked_up, earlier = unpack(ARGV)

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
-- Paused jobs count too, so that all of them can be resumed.
local waiting = redis.call("XLEN", key("queue")) + redis.call("ZCARD", key("status", "paused"))
if waiting >= tonumber(quota) then
  return { "full", waiting }
end

local references = { { "pantries", pantry } }
for set_id in string.gmatch(sets, "[^,]+") do
  table.insert(references, { "sets", set_id })
end
for _, reference in ipairs(references) do
  local deleted = redis.call("ZSCORE", key("deletions"), table.concat(reference, ":"))
  if deleted and tonumber(deleted) >= tonumber(looked_up) then
    return { "deleted", unpack(reference) }
  end
end

for _, reference in ipairs(references) do
  refer(unpack(reference))
end
set(id, "created_at", now, "attempt", 0, "holder", 0)
set(id, "request", request, "pantry", pantry, "sets", sets)
if earlier ~= "" then
  redis.call("SET", key("job", id, "earlier"), earlier)
end
if remembered then
  redis.call("HSET", remembered, "job", id, "digest", digest)
  redis.call("EXPIRE", remembered, remember)
  set(id, "idempotency", remembered)
end
redis.call("ZADD", key("jobs"), now, id)
set_status(id, "queued")
set(id, "entry", redis.call("XADD", key("queue"), "*", "job", id))
return { "ok", id, 1 }
