#!/usr/bin/env bash
# curl: a chat, its answer as it comes, and a wrong request. Needs nothing but curl.
set -euo pipefail
url=${OPENAI_BASE_URL:-http://127.0.0.1:8080/v1}
model=${MODEL:-qwen2.5-coder-0.5b}

post() { # post PATH: the standard input is the body
    curl -sS --no-buffer "$url/$1" -H "Authorization: Bearer ${OPENAI_API_KEY:-none}" \
        -H 'Content-Type: application/json' --data-binary @-
}

echo "Whole:"
post chat/completions <<EOF
{"model": "$model", "max_tokens": 24, "temperature": 0,
 "messages": [{"role": "user", "content": "Name three colours."}]}
EOF

printf '\n\nAs it comes:\n'
post chat/completions <<EOF
{"model": "$model", "max_tokens": 8, "temperature": 0, "stream": true,
 "messages": [{"role": "user", "content": "Count to three."}]}
EOF

printf 'A mistake, explained:\n'
post chat/completions <<EOF
{"model": "$model", "messages": [], "temperature": 0}
EOF
echo
