-- id, attempt, status -> ok | missing | fenced
local id, attempt, status = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
if get(id, "status") ~= "cancelling" then
  set_status(id, status)
end
return { "ok" }
