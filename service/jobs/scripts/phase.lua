-- id, attempt, status, points in the search or "" -> ok | missing | fenced
local id, attempt, status, total = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
if total ~= "" and total ~= get(id, "total") then
  set(id, "total", total)
  progress_event(id)
end
if get(id, "status") ~= "cancelling" then
  set_status(id, status)
end
return { "ok" }
