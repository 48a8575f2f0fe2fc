#!/usr/bin/env bash
# One answer whole, then one as it is generated; needs curl and jq. Ctrl-C stops the answer.
set -euo pipefail
model=http://127.0.0.1:8000/v2/models/smollm2
question=${1:-What is the capital of France?}

# messages is JSON inside a JSON string: jq quotes whatever the question holds
body=$(jq -n --arg question "$question" '{
  messages: [{role: "user", content: $question}] | tojson,
  max_tokens: 256
}')

# the text of a response, or the server's error on stderr and exit code 1
text='if .error then "error: \(.error)\n" | halt_error(1) else .text_output end'

curl -sS "$model/generate" -d "$body" | jq -r "$text"

# an event of the stream is a line `data: {...}`
jq '.stream = true' <<<"$body" |
  curl -sSN "$model/generate_stream" -d @- |
  jq -Rj --unbuffered "ltrimstr(\"data:\") | select(. != \"\") | fromjson | $text"
echo
