-- id, attempt, points in the search, scope of the journal, ms that may be searched in all or "" -> ok, ms that earlier attempts searched | missing | fenced
local id, attempt, total, scope, limit = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
local before = get(id, "scope")
if before and before ~= scope then
  redis.call("UNLINK", key("job", id, "points"), key("job", id, "order"))
  forget_models(id)
  redis.call("HDEL", job_key(id), "best", "done", "pruned", "images", "backward", "searched")
end
set(id, "total", total, "scope", scope, "attempt_started_at", now, "attempt_points", 0, "progress_at", now)
local searched = tonumber(get(id, "searched") or 0)
if limit ~= "" then
  set(id, "search_ends_at", math.max(now, now + tonumber(limit) - searched))
end
progress_event(id)
return { "ok", searched }
