package load

import (
	"bytes"
	"fmt"
)

// Request returns the bytes of a chat completion request as an SDK would send it.
func Request(host, key string, body []byte) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST /v1/chat/completions HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", host, key)
	fmt.Fprintf(&b, "Content-Type: application/json\r\nAccept: application/json\r\nContent-Length: %d\r\n\r\n", len(body))
	b.Write(body)
	return b.Bytes()
}

// Chat returns the body of a chat completion request of size bytes, or of as few as it takes. A longer body is
// a longer conversation: what a gateway pays for is the number of messages and escapes as well as the bytes.
func Chat(model string, stream bool, size int) []byte {
	const turn = 2 << 10
	head := fmt.Sprintf(`{"model":%q,"messages":[`, model)
	tail := fmt.Sprintf(`],"temperature":0.7,"stream":%t}`, stream)
	turns := max(1, size/turn)
	var b bytes.Buffer
	b.WriteString(head)
	for i := range turns {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"role":%q,"content":"`, role(i, turns))
		room := (size - len(tail) - b.Len()) / (turns - i) // what is left, shared by the turns to come
		b.WriteString(prose(room - len(`"},`)))
		b.WriteString(`"}`)
	}
	if missing := size - len(tail) - b.Len(); missing > 0 {
		b.WriteString(fmt.Sprintf("%*s", missing, "")) // the division's rest
	}
	b.WriteString(tail)
	return b.Bytes()
}

// role makes the last turn the user's.
func role(i, turns int) string {
	switch {
	case i == 0 && turns > 1:
		return "system"
	case (turns-1-i)%2 == 0:
		return "user"
	}
	return "assistant"
}

const passage = `The harbour office keeps two ledgers, one for ships and one for weather. \"When they disagree,\" the clerk said, ` +
	`\"believe the weather.\"\nEvery spring a third list is drawn up: ropes, lamps, oars, and who owes whom 3.50 for what. `

// prose returns n bytes of JSON string content.
func prose(n int) string {
	if n <= 0 {
		return ""
	}
	b := bytes.Repeat([]byte(passage), n/len(passage)+1)[:n]
	if b[n-1] == '\\' {
		b[n-1] = '.' // the cut went through an escape
	}
	return string(b)
}
