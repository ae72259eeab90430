-- id, attempt, warning -> ok | missing | fenced
local id, attempt, warning = unpack(ARGV)
local refused = refusal(id, attempt)
if refused then
  return { refused }
end
if append_line(id, "warnings", warning) then
  append_event(id, "warning", warning)
end
return { "ok" }
