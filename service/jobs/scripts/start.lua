-- id, attempt, points in the search, scope of the journal -> ok | missing | fenced
local id, attempt, total, scope = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
set(id, "total", total, "scope", scope, "attempt_started_at", now, "attempt_points", 0, "progress_at", now)
progress_event(id)
return { "ok" }
